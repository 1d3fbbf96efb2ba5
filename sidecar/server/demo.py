"""A small OpenAI-compatible upstream, to see the sidecar work without a model.

Rules: the answer shows what arrived here, so that a person sees which history the sidecar sent. A question
that says the names of some of the request's tools has those called first, all at once, so that a tool loop
can be tried: with the question's last word for each argument that has to be given and is a text.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["answer", "called", "demo_app", "start_demo"]

MODEL = "demo"
_SHOWN = 60  # characters of a message that the answer repeats
_DIMENSIONS = 8
_PAUSE = web.AppKey("pause", float)


def demo_app(pause: float = 0.02) -> web.Application:
    """The server; `pause` is the time between two words of a stream, in seconds."""
    # A size limit is the sidecar's business: what it lets through is to be seen here.
    app = web.Application(middlewares=[_openai_errors], client_max_size=0)
    app[_PAUSE] = pause
    app.router.add_get("/health", _health)
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _chat_completions)
    app.router.add_post("/v1/embeddings", _embeddings)
    return app


async def start_demo(host: str = "127.0.0.1", port: int = 0) -> tuple[web.AppRunner, str]:
    """Serve on `host` and `port` (0: any free one).

    Returns the runner, whose `cleanup()` ends it, and the base URL, such as `http://127.0.0.1:40123/v1`.
    """
    runner = web.AppRunner(demo_app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    name = f"[{host}]" if ":" in host else host
    return runner, f"http://{name}:{runner.addresses[0][1]}/v1"


def answer(messages: list[Any]) -> str:
    """One sentence about `messages`: how many they are, what the first and the last say."""
    system = [each for each in messages if _role(each) in ("system", "developer")]
    others = [each for each in messages if _role(each) not in ("system", "developer")]
    seen = [f"a system message that says {_quoted(system[0])}"] if len(system) == 1 else []
    if len(system) > 1:
        seen = [f"{len(system)} system messages, the first of which says {_quoted(system[0])}"]
    seen.append(f"{len(others) or 'no'} message{'' if len(others) == 1 else 's'}")
    says = ""
    if len(others) == 1:
        says = f"; it says {_quoted(others[0])}"
    elif others:
        says = f"; the first says {_quoted(others[0])}, the last says {_quoted(others[-1])}"
    return f"I see {' and '.join(seen)}{says}."


def called(messages: list[Any], tools: Any) -> list[dict[str, Any]]:
    """The calls of the tools that a question at the end asks for by their names."""
    if _role(messages[-1]) != "user" or not isinstance(tools, list):
        return []
    words = re.findall(r"[\w-]+", _text(messages[-1]))
    said, calls = {word.lower() for word in words}, []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name.lower() in said:
            arguments = dict.fromkeys(_texts_of(function), words[-1])
            made = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
            calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": made})
    return calls


def _texts_of(function: Any) -> list[str]:
    """The names of the arguments that it has to be given and that are texts."""
    schema = function.get("parameters")
    try:
        properties = schema["properties"]
        return [name for name in schema["required"] if properties[name]["type"] == "string"]
    except (TypeError, KeyError):  # it has none, or they are described in another way
        return []


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _quoted(message: Any) -> str:
    text = " ".join(_text(message).split())
    return f"“{text if len(text) <= _SHOWN else text[: _SHOWN - 1].rstrip() + '…'}”"


def _text(message: Any) -> str:
    if not isinstance(message, dict):
        return json.dumps(message, ensure_ascii=False)
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [_part(part) for part in parts if part]
    calls = message.get("tool_calls")
    texts += [f"[calls {_called(call)}]" for call in calls] if isinstance(calls, list) else []
    return " ".join(texts)


def _part(part: Any) -> str:
    if isinstance(part, dict):
        text = part.get("text")
        return text if isinstance(text, str) else f"[{part.get('type') or 'something'}]"
    return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)


def _called(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else "something"


async def _health(request: web.Request) -> web.Response:
    return _json({"status": "ok"})


async def _models(request: web.Request) -> web.Response:
    return _json(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "sidecar"}]}
    )


async def _chat_completions(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _BadRequest("'messages' must be a list with at least one message", "messages")
    calls = called(messages, body.get("tools"))
    if body.get("parallel_tool_calls") is False:
        calls = calls[:1]
    text = answer(messages) if not calls else None
    said = len(text if text is not None else json.dumps(calls))
    usage = _usage(sum(len(json.dumps(each, ensure_ascii=False)) for each in messages), said)
    reply = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": _model(body),
    }
    if body.get("stream") is True:
        options = body.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        return await _streamed(request, reply, _chunks(text, calls, usage if counted else None))
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": _finish(calls)}
    return _json({**reply, "object": "chat.completion", "choices": [choice], "usage": usage})


def _finish(calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls else "stop"


async def _streamed(
    request: web.Request, reply: dict[str, Any], chunks: Iterator[dict[str, Any]]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    # A client that leaves needs no more of the answer, and no word about it in the log.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for number, chunk in enumerate(chunks):
            if number:
                await asyncio.sleep(request.app[_PAUSE])
            event = _encoded({**reply, "object": "chat.completion.chunk", **chunk})
            await response.write(b"data: " + event + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
    return response


def _chunks(
    text: str | None, calls: list[dict[str, Any]], usage: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    # As OpenAI does: where usage was asked for, every chunk has the member and only the last one the numbers.
    pending: dict[str, Any] = {} if usage is None else {"usage": None}

    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **pending}

    yield choice({"role": "assistant", "content": "" if text is not None else None})
    for word in re.findall(r"\S+\s*", text or ""):
        yield choice({"content": word})
    for index, call in enumerate(calls):
        yield choice({"tool_calls": [{"index": index, **call}]})
    yield choice({}, _finish(calls))
    if usage is not None:
        yield {"choices": [], "usage": usage}


async def _embeddings(request: web.Request) -> web.Response:
    body = await _body(request)
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        raise _BadRequest("'input' must be a text or a list of texts", "input")
    # A list of numbers is one text, given as tokens.
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(each, packed)}
        for index, each in enumerate(inputs)
    ]
    tokens = _tokens(sum(len(str(each)) for each in inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _json({"object": "list", "model": _model(body), "data": data, "usage": usage})


def _vector(value: Any, packed: bool) -> list[float] | str:
    digest = hashlib.sha256(json.dumps(value).encode()).digest()
    numbers = [(byte - 128) / 128 for byte in digest[:_DIMENSIONS]]
    return base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *numbers)).decode() if packed else numbers


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else MODEL


def _tokens(characters: int) -> int:
    return max(1, characters // 4)


def _usage(call: int, answered: int) -> dict[str, int]:
    prompt, completion = _tokens(call), _tokens(answered)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class _BadRequest(Exception):
    """The request's body cannot be answered; `param` is the member that is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise _BadRequest("the body is not JSON") from error
    if not isinstance(body, dict):
        raise _BadRequest("the body is not a JSON object")
    return body


@web.middleware
async def _openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _BadRequest as error:
        return _error(400, str(error), "invalid_request", error.param)
    except RecursionError:
        return _error(400, "the body is nested too deeply", "invalid_request")
    except web.HTTPException as error:
        message = f"{request.method} {request.path}: {error.reason}"
        return _error(error.status, message, "not_found" if error.status == 404 else "invalid_request")


def _error(status: int, message: str, code: str, param: str | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return _json({"error": error}, status)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=_encoded(body), status=status, content_type="application/json")


def _encoded(body: dict[str, Any]) -> bytes:
    # People read this with curl: letters as letters. Half a surrogate pair has no bytes and becomes "?".
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")
