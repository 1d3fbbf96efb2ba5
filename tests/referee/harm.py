"""Does the sidecar do harm? Random clients against random upstreams, and what is compared.

The property: if the client's own request is taken by the referee, so is what the sidecar sends; what it sends
holds every word of the client's, no word of another chat, and none that the client has taken back. A chat
that grows is one session upstream, whether it names itself, begins to, or does not, and nobody else's.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from aiohttp import ClientError

from tests.proxy.client import CHAT, Reply, Sidecar
from tests.proxy.mock_upstream import CUT, Exchange, Received, Upstream, event, says, sends, streams
from tests.referee import profiles
from tests.referee.models import THOUGHT, extras
from tests.referee.profiles import NAMED, refused
from tests.referee.reading import Fields, calls_of
from tests.referee.strict import Strict
from tests.referee.talkers import FAITHFUL, GREETING, HABITS, WORDS, Talker, words

_FAULTS = ("fails", "is cut", "says nothing")
#: Where the upstream is told the session.
SESSION = "X-Session-Of-The-Chat"


@dataclass
class Answers:
    """An upstream with all profiles: the model of a request names the one that it is for."""

    chance: random.Random
    failing: float = 0.0
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    refusals: int = 0
    #: Was the last request answered badly on purpose?
    is_spoilt: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        body = exchange.request.json
        strict = Strict(NAMED[body["model"]], self._answer)
        await strict(exchange)
        self.refusals += len(strict.refusals)

    async def _answer(self, exchange: Exchange) -> None:
        body = exchange.request.json
        number = next(self.numbers)
        asked = WORDS.findall(json.dumps(body["messages"][-1]))
        text = f"c{asked[-1][0] if asked else 0}w{10_000 + number}"
        if self.chance.random() < self.failing:
            self.is_spoilt = True
            await self._fail(exchange, text)
            return
        more: dict[str, Any] = {}
        if body["messages"][-1]["content"] == GREETING:
            await says("Hello!")(exchange)
            return
        if body.get("tools") and self.chance.random() < 0.5:
            made = {"name": "look", "arguments": json.dumps({"what": text})}
            call = {"id": f"id{number:07}", "type": "function", "function": made}
            more = {**extras(NAMED[body["model"]], call), "finish": "tool_calls"}
        elif self.chance.random() < 0.3:
            more = dict(THOUGHT)
        await says(f" {text} it\n is\n", **more)(exchange)

    async def _fail(self, exchange: Exchange, text: str) -> None:
        match self.chance.choice(_FAULTS):
            case "fails":
                await sends(b'{"error":{"message":"the machine is on fire"}}', status=503)(exchange)
            case "is cut" if exchange.request.wants_stream:
                await streams(event({"role": "assistant", "content": f"{text} it"}), CUT)(exchange)
            case _:
                await says("")(exchange)


async def harm(sidecar: Sidecar, upstream: Upstream, seed: int, steps: int) -> tuple[list[str], int]:
    """Let clients talk, in any order; what was found, and how many requests were compared."""
    chance = random.Random(seed)
    upstream.otherwise = answers = Answers(chance, failing=chance.choice([0.0, 0.1]))
    talkers = [_talker(chance, seed, number) for number in range(1, chance.randint(3, 8))]
    _share_ids(chance, talkers)
    found: list[str] = []
    owners: dict[str, str] = {}
    compared = 0
    for step in range(steps):
        talker = chance.choice(talkers)
        body = talker.next()
        data = json.dumps(body).encode()
        own = refused(NAMED[body["model"]], data)
        before, answers.is_spoilt = len(upstream.requests), False
        try:
            reply = await sidecar.send("POST", CHAT, data=data, headers=talker.headers)
        except ClientError:  # the response was cut
            reply = None
        sent = upstream.requests[before:]
        compared += own is None
        message = _message(reply) if reply is not None else None
        if talker.is_thin and talker.says_so and (lost := talker.told - words(sent[-1].json["messages"])):
            found.append(f"seed {seed}, step {step} (thin): forgot {sorted(lost)}")
        for fault in _faults(talker, body, own is None, reply, sent, answers.is_spoilt):
            profile = body["model"]
            found.append(f"seed {seed}, step {step} ({talker}, {profile}): {fault}")
        if words(body["messages"]):  # a greeting alone is anybody's
            for fault in _strays(talker, sent, owners):
                found.append(f"seed {seed}, step {step} ({talker}): {fault}")
        if message is None or answers.is_spoilt:
            talker.refused()
        elif body is talker.last:
            talker.answered(message)
            if words(body["messages"]):
                talker.session = sent[-1].headers[SESSION]
                owners[talker.session] = talker.owner
    return found, compared


def _talker(chance: random.Random, seed: int, number: int) -> Talker:
    is_thin = chance.random() < 0.4
    id = f"chat-{seed}-{number}" if is_thin or chance.random() < 0.6 else None
    is_named_late = id is not None and not is_thin and chance.random() < 0.3
    names = [each.name for each in profiles.ALL]
    talks_to = [chance.choice(names)]
    if not is_thin and chance.random() < 0.2:
        talks_to.append(chance.choice(names))
    return Talker(
        random.Random(chance.random()),
        seed * 100 + number,
        id,
        is_thin,
        chance.random() < 0.5,
        chance.choice(FAITHFUL if is_named_late else HABITS),
        talks_to,
        has_system=chance.random() < 0.3,
        is_named_late=is_named_late,
        greets=chance.random() < 0.4,
    )


def _share_ids(chance: random.Random, talkers: list[Talker]) -> None:
    """Sub-agents under the id of the chat that they work for, if they say what they send."""
    for first, second in pairwise(talkers):
        may_share = not any(each.is_thin or each.is_named_late for each in (first, second))
        may_share = may_share and first.says_so and second.says_so
        if may_share and chance.random() < 0.4:
            second.id = first.id


def _faults(
    talker: Talker, body: Fields, is_taken: bool, reply: Reply | None, sent: list[Received], is_spoilt: bool
) -> Iterator[str]:
    if is_taken and not is_spoilt and (reply is None or reply.status != 200):
        told = reply.body[:300] if reply is not None else b"nothing"
        yield f"its own request is taken, and not through the sidecar: {told.decode()}"
    if len(sent) > 5 or not sent:
        yield f"{len(sent)} requests upstream"
        return
    said = words(sent[-1].json["messages"])
    if lost := words(body["messages"]) - said:
        yield f"lost {sorted(lost)}: {_shown(sent[-1].json['messages'])}"
    own = str(talker.number)
    if foreign := {each for each in said if (of := WORDS.fullmatch(each)) is None or of[1] != own}:
        yield f"words of another chat: {sorted(foreign)}"
    if not talker.is_thin and (back := said & talker.gone - words(body["messages"])):
        yield f"taken back, and there again: {sorted(back)}"


def _strays(talker: Talker, sent: list[Received], owners: dict[str, str]) -> Iterator[str]:
    """Is it in another session than before, or in that of somebody else?"""
    for each in sent:
        session = each.headers[SESSION]
        if talker.session not in (None, session):
            yield f"another session: {talker.session}, then {session}"
        if owners.get(session, talker.owner) != talker.owner:
            yield f"the session of {owners[session]}: {session}"


def _shown(messages: list[Fields]) -> str:
    return json.dumps(messages)[:600]


def _message(reply: Reply) -> Fields | None:
    """The answer as a client has it; None for an error."""
    if reply.status != 200 or b'"error"' in reply.body:
        return None
    if not reply.headers["Content-Type"].startswith("text/event-stream"):
        message: Fields = reply.json["choices"][0]["message"]
        return message
    message = {"role": "assistant", "content": ""}
    for data in re.findall(rb"data: (\{.*\})", reply.body):
        delta = json.loads(data)["choices"][0]["delta"]
        message["content"] += delta.pop("content", None) or ""
        message |= delta
    return message if b"[DONE]" in reply.body and (message["content"] or calls_of(message)) else None
