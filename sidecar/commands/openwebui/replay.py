"""One message of Open WebUI, as it sends it to a model on later turns (seen with 0.12.4).

- A user's message is its text. Images are parts behind the text, by their bytes; files that are attached are
  named in front of it, in `<attached_files>`, which Open WebUI does where tools are the model's own.
- An answer is what its `output` says: texts joined line by line, tool calls and behind them their results.
  Calls without a result, and results without a call, are left out. Where there is no `output` (older
  versions), it is the text.
- An answer in which nothing stands, as after an error, is no message.

Reasoning is kept where it came in a field of its own. Open WebUI does not send it, and it does not count
when messages are compared; settings may put it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidecar.commands.openwebui.uploads import Image
from sidecar.conversation.message import encode

__all__ = ["replayed"]

_SETTLED = frozenset(("completed", "failed", "rejected"))
_IMAGES = "Here are the images from the tool results above. Please analyze them."

Fields = dict[str, Any]


def replayed(message: Mapping[str, Any], image: Image) -> list[bytes]:
    """The messages that it is sent as, in JSON. `image` gives an uploaded one as a `data:` URL."""
    role, content = message["role"], message.get("content")
    if role == "assistant":
        output = message.get("output")
        told = (
            _answer([each for each in output if isinstance(each, dict)]) if isinstance(output, list) else []
        )
        if not told and content:
            told = [{"role": role, "content": content}]
        return [encode(each) for each in told]
    files = message.get("files")
    attached = [each for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    if role == "user":
        content = _with_files(_with_images(content or "", attached, image), attached)
    return [encode({"role": role, "content": content or ""})]


def _with_images(content: Any, files: Sequence[Fields], image: Image) -> Any:
    urls = [str(each["url"]) for each in files if _is_image(each) and each.get("url")]
    if not urls or not isinstance(content, str):
        return content
    parts = [{"type": "image_url", "image_url": {"url": _inline(url, image)}} for url in urls]
    # A part without text is left out, since some providers refuse it.
    return [{"type": "text", "text": content}, *parts] if content.strip() else parts


def _is_image(file: Fields) -> bool:
    kind = str(file.get("content_type") or "").partition(";")[0].strip().lower()
    return file.get("type") == "image" or (kind.startswith("image/") and kind != "image/svg+xml")


def _inline(url: str, image: Image) -> str:
    return url if url.startswith(("data:", "http")) else image(url) or url


def _with_files(content: Any, files: Sequence[Fields]) -> Any:
    tags = [_tag(each) for each in files if _is_named(each)]
    if not tags:
        return content
    text = "\n".join(["<attached_files>", *tags, "</attached_files>", "", ""])
    return [{"type": "text", "text": text}, *content] if isinstance(content, list) else f"{text}{content}"


def _is_named(file: Fields) -> bool:
    url = str(file.get("url") or "")
    return bool(url and not url.startswith("data:")) or bool(file.get("type") == "chat" and file.get("id"))


def _tag(file: Fields) -> str:
    about = {"type": file.get("type", "file"), "id": file.get("id") or file.get("url")}
    about |= {name: file[name] for name in ("url", "content_type", "name") if file.get(name)}
    attributes = " ".join(f'{name}="{value}"' for name, value in about.items())
    return f"<file {attributes}/>"


class _Answer:
    """The messages of one answer, as its items come."""

    def __init__(self, paired: frozenset[str]) -> None:
        self.messages: list[Fields] = []
        self._paired = paired
        self._texts: list[str] = []
        self._calls: list[Fields] = []
        self._thoughts: list[str] = []
        self._images: list[str] = []

    def add(self, item: Fields) -> None:
        kind = item.get("type")
        if kind == "function_call_output":
            self._add_result(item)
            return
        self._end_results()
        if kind == "message":
            text = "".join(_texts(item.get("content"), "output_text"))
            self._texts += [text] if text else []
        elif kind == "function_call" and _call_id(item) in self._paired:
            self._calls.append(_call(item))
        elif kind == "reasoning" and _came_in_a_field(item):
            self._thoughts += _texts(item.get("summary") or item.get("content"), None)
        elif kind == "open_webui:code_interpreter":
            self._texts += _executed(item)

    def end(self) -> list[Fields]:
        self._end_results()
        self._end_reply()
        return self.messages

    def _add_result(self, item: Fields) -> None:
        if _call_id(item) not in self._paired:
            return
        self._end_reply()
        text = "".join(_texts(item.get("output"), "input_text"))
        self.messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
        parts = item.get("output")
        if isinstance(parts, list):
            urls = (part.get("image_url") for part in parts if isinstance(part, dict))
            self._images += [str(url) for url in urls if url]

    def _end_results(self) -> None:
        if self._images:
            images = [{"type": "image_url", "image_url": {"url": url}} for url in self._images]
            self.messages.append({"role": "user", "content": [{"type": "text", "text": _IMAGES}, *images]})
            self._images = []

    def _end_reply(self) -> None:
        if self._texts or self._calls:
            reply: Fields = {"role": "assistant", "content": "\n".join(self._texts)}
            reply |= {"tool_calls": self._calls} if self._calls else {}
            reply |= {"reasoning_content": "\n".join(self._thoughts)} if self._thoughts else {}
            self.messages.append(reply)
        self._texts, self._calls, self._thoughts = [], [], []


def _answer(output: Sequence[Fields]) -> list[Fields]:
    called = {_call_id(each) for each in output if _is_settled_call(each)}
    told = {_call_id(each) for each in output if each.get("type") == "function_call_output"}
    answer = _Answer(frozenset(id for id in called & told if id))
    for item in output:
        answer.add(item)
    return answer.end()


def _call_id(item: Fields) -> str:
    id = item.get("call_id")
    return id if isinstance(id, str) else ""


def _is_settled_call(item: Fields) -> bool:
    status = item.get("status")
    return item.get("type") == "function_call" and isinstance(status, str) and status in _SETTLED


def _call(item: Fields) -> Fields:
    asked = item.get("provider_function")
    asked = asked if isinstance(asked, dict) else item
    arguments = asked.get("arguments", "{}")
    text = arguments if isinstance(arguments, str) else encode(arguments).decode()
    return {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": asked.get("name", ""), "arguments": text},
    }


def _came_in_a_field(item: Fields) -> bool:
    about = item.get("attributes")
    return isinstance(about, dict) and about.get("type") == "reasoning_content"


def _texts(parts: Any, kind: str | None) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and kind in (None, part.get("type")) and part.get("text"):
            yield str(part["text"])


def _executed(item: Fields) -> Iterator[str]:
    code, told = item.get("code"), item.get("output")
    if code:
        yield f"<code_interpreter>\n{code}\n</code_interpreter>"
    if isinstance(told, dict):
        told = told.get("stdout") or told.get("result")
    if told:
        yield f"<code_interpreter_output>\n{told}\n</code_interpreter_output>"
