"""Whatever state a chat or the store is in, there is a page for it, and nobody else waits for that page."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from base64 import b64encode
from contextlib import closing

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, exchange_id, packed
from sidecar.conversation.records import ConversationUpdate
from sidecar.errors import StoreUnavailable
from sidecar.inspector import reading
from sidecar.store import make_store
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened, texts
from tests.proxy.mock_upstream import Upstream, completion, says, sends
from tests.store.conftest import KEY
from tests.store.trees import chat, exchange, message, question, reply, talk, update

JSON = {"Content-Type": "application/json"}
#: Seconds for which nobody else may wait.
HELD = 0.05


class Witness:
    """How long the loop did nothing else, at most, in seconds of this process's work: what others do with the
    machine holds up everything."""

    async def __aenter__(self):
        self.held = 0.0
        self._looking = asyncio.create_task(self._look())
        await asyncio.sleep(0.02)
        self.held = 0.0
        return self

    async def __aexit__(self, *_):
        self._looking.cancel()

    async def _look(self):
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            self.held = max(self.held, time.process_time() - before)


async def held_least(work):
    """The shortest of up to twenty."""
    least = 10.0
    for _ in range(20):
        async with Witness() as witness:
            await work()
        least = min(least, witness.held)
        if least < HELD:
            break
    return least


async def test_a_store_that_fails_is_a_page_and_no_fault(visitor: Visitor, tmp_path):
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
        other.execute("ALTER TABLE message RENAME TO elsewhere")
        other.commit()
        ways = ("", path, f"{path}m/{'00' * 24}", f"{path}x/{'00' * 10}", f"{path}x/{'00' * 10}/diff")
        for way in (*ways, f"{path}m/{'00' * 24}/fork", "search"):
            page = await visitor.get(way)
            assert (page.status, "the store failed" in page.text) == (503, True)
            assert (await visitor.get(way + "?format=json")).json["error"]["code"] == "store_unavailable"
        other.execute("ALTER TABLE elsewhere RENAME TO message")
        other.commit()
    assert (await visitor.get(path)).status == 200


async def test_a_conversation_that_is_deleted_meanwhile_says_so(visitor: Visitor, tmp_path):
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    await store.delete(path[2:-1])
    await store.close()
    assert (await visitor.get(path)).status == 404


async def test_what_is_encrypted_is_read_with_the_key(visit, upstream: Upstream):
    visitor: Visitor = await visit(encryption={"key": b64encode(KEY).decode()})
    upstream.will(says("The word is mellon."))
    await visitor.sidecar.ask("Say friend.", id="a")
    assert (await visitor.value())["rows"][0]["words"] == "Say friend."
    assert texts(await visitor.value(await opened(visitor, "a"))) == ["Say friend.", "The word is mellon."]


async def test_a_message_that_cannot_be_decrypted_hides_no_other(visit, upstream: Upstream, tmp_path):
    visitor: Visitor = await visit(encryption={"key": b64encode(KEY).decode()})
    upstream.will(says("The word is mellon."))
    await visitor.sidecar.ask("Say friend.", id="a")
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
        other.execute(
            "UPDATE message SET body = (SELECT body FROM message WHERE number = 1) WHERE number = 2"
        )
        other.commit()
    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert texts(page) == ["Say friend.", ""]
    assert page["entries"][1]["message"]["problem"]
    html = await visitor.get(path)
    assert (html.status, 'class="problem"' in html.text) == (200, True)


async def test_a_conversation_that_cannot_be_decrypted_hides_no_other(visit, upstream: Upstream, tmp_path):
    visitor: Visitor = await visit(encryption={"key": b64encode(KEY).decode()})
    for id in ("a", "b"):
        await visitor.sidecar.ask(f"I am {id}.", id=id)
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
        other.execute(
            "UPDATE message SET body = (SELECT body FROM message WHERE number = 2) WHERE number = 1"
        )
        other.commit()
    words = [each["words"] for each in (await visitor.value())["rows"]]
    assert words[0] == "I am b."
    assert words[1].startswith("(not readable: ")


async def test_of_a_damaged_message_it_is_said_that_it_is_none():
    store = make_store(None)
    await store.open()
    (node,) = chat("hi")
    await store.record(update(talk(), replace(node, body=b"\xff\x00 no JSON")))
    page = await reading.conversation_page(store, "conv_1")
    assert "no JSON object" in page.entries[0].message.problem
    whole = await reading.message_page(store, "conv_1", node.id, 1)
    assert whole.source == "\ufffd\\x00 no JSON"


async def test_a_message_that_no_store_gives_is_told_by_its_error():
    class Failing(type(make_store(None))):  # type: ignore[misc] # that of the memory
        async def messages(self, conversation, nodes):
            raise StoreUnavailable("it is broken")

    store = Failing()
    await store.record(update(talk(), *chat("hi", "hello")))
    with pytest.raises(StoreUnavailable):
        await reading.conversation_page(store, "conv_1")


async def test_a_reply_of_five_megabytes_has_a_page_of_its_own(visitor: Visitor, upstream: Upstream):
    text = "".join(f"Line {at} of many.\n" for at in range(270_000))
    assert len(text) > 5_000_000
    upstream.will(sends(completion(text), headers=JSON))
    await visitor.sidecar.ask("All of it.", id="a")

    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert page["entries"][1]["message"]["id"]
    html = await visitor.get(path)
    assert (html.status, len(html.text) < 100_000) == (200, True)
    whole = f"{path}m/{page['entries'][1]['message']['id']}"
    first, last = await visitor.get(whole), await visitor.get(f"{whole}?part=9999")
    assert (first.status, last.status) == (200, 200)
    assert "Line 269999 of many." in last.text
    assert max(len(first.text), len(last.text)) < 500_000
    for way in (whole, f"{whole}?format=json", "search?q=nowhere"):
        assert await held_least(lambda way=way: visitor.get(way)) < HELD
    assert "Line 269999 of many." in (await visitor.get(f"{path}export.md")).text


@pytest.mark.parametrize(
    "text",
    [
        "איפה יש בית קפה?",
        "# Title\n\n```\n</pre>\n```\n<script>",
        "\x00\x01\x02\x7f\x9b",
        "a" * 100_000,
        "\n" * 5000,
        "😀" * 2000,
        json.dumps({"role": "user"}),
    ],
)
async def test_whatever_is_said_has_a_page(visitor: Visitor, upstream: Upstream, text: str):
    upstream.will(says(text))
    await visitor.sidecar.ask(text, id="a")
    path = await opened(visitor, "a")
    page = await visitor.get(path)
    assert page.status == 200
    assert len(page.text) < 100_000


async def long(store, turns=5000):
    """A conversation of many messages."""
    line = []
    under = None
    for at in range(turns):
        ask = question(f"Question {at}: what of the harbour, and of the ships that lie in it?", under)
        under = reply(f"Answer {at}. " + "It is wide and deep. " * 20, ask)
        line += [ask, under]
        done = exchange("conv_1", ask, under, at=1000 + at, output_tokens=9)
        if at % 250 == 249:
            await store.record(ConversationUpdate(talk(), tuple(line), exchange=done))
            line = []
    return under


async def test_ten_thousand_messages_are_a_small_page_that_holds_up_nobody(visitor: Visitor, tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    tip = await long(store)
    await store.close()
    page = await visitor.get("c/conv_1/")
    assert page.status == 200
    assert "Messages 9,961 to 10,000 of 10,000" in page.text
    assert len(page.text) < 200_000
    assert "Answer 4999." in page.text
    assert await held_least(lambda: visitor.get("c/conv_1/")) < HELD
    front = await visitor.get(f"c/conv_1/?at={tip.id.hex()}&from=0")
    assert "Messages 1 to 40 of 10,000" in front.text


async def test_a_long_chat_is_forked_while_others_are_served(visitor: Visitor, tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    tip = await long(store)
    await store.close()
    url = f"{visitor.root}c/conv_1/m/{tip.id.hex()}/fork"
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert await held_least(lambda: visitor.send("POST", url, headers=headers)) < HELD
    value = await visitor.value()
    assert value["total"] >= 2
    assert {each["messages"] for each in value["rows"]} == {10_000}


async def test_usage_of_many_is_counted_while_others_are_served(visitor: Visitor, tmp_path):
    path = str(tmp_path / "sidecar.db")
    store = make_store(path)
    await store.open()
    await store.record(update(talk(), question("hi")))
    await store.close()
    detail, now = packed(Detail(cached_tokens=2)), int(time.time() * 1000)
    rows = [(exchange_id(now - at, b"abcd"), now - at, "m", 5, detail) for at in range(20_000)]
    with closing(sqlite3.connect(path)) as other:
        other.executemany(
            "INSERT INTO exchange (conversation, id, began_at, outcome, model, input_tokens, detail)"
            " VALUES (1, ?, ?, 'continue', ?, ?, ?)",
            rows,
        )
        other.commit()
    assert (await visitor.value("usage?days=2"))["total"]["cached"] == 40_000
    assert await held_least(lambda: visitor.get("usage?days=2")) < HELD


async def test_many_branches_are_counted(visitor: Visitor, tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    ask = question("A number?")
    answers = [message({"role": "assistant", "content": str(at)}, ask, nonce=at) for at in range(1000)]
    await store.record(update(talk(), ask, *answers))
    await store.close()
    page = await visitor.get("c/conv_1/")
    assert "202 of 1,001 are listed" in page.text
    assert "1000 of 1000" in page.text
    assert len(page.text) < 200_000


@pytest.mark.parametrize(
    "part", ['{"type":"text","text":"x"}', '{"type":"image_url","image_url":{"url":"x"}}']
)
async def test_of_a_message_of_very_many_parts_some_are_shown_and_the_others_named(
    visitor: Visitor, part: str
):
    body = f'{{"model":"m","messages":[{{"role":"user","content":[{",".join([part] * 20_000)}]}}]}}'
    for _ in range(3):
        await visitor.sidecar.send(
            "POST", "/v1/chat/completions", data=body.encode(), headers={"X-Conversation-ID": "many"}
        )
    id = (await visitor.value())["rows"][0]["id"]
    page = await visitor.get(f"c/{id}/")
    assert "further parts, which are not shown" in page.text
    assert len(page.text) < 500_000
    found = re.search(r'href="(m/\w+)"', page.text)
    assert found is not None
    alone = await visitor.get(f"c/{id}/{found[1]}")
    assert "further parts, which are not shown" in alone.text
    assert len(alone.text) < 1_000_000
