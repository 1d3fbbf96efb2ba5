"""`python -m tests.store.record`: a small database of each schema, as SQL, for the tests of migrations.

A file that is there is never written anew: it is what a sidecar of that time left behind.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import zlib
from base64 import b64encode
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from sidecar.conversation.exchange_record import (
    Detail,
    Difference,
    Exchange,
    Reference,
    Refusal,
    Sent,
    exchange_id,
)
from sidecar.conversation.identity import conversation_id, tenant_of
from sidecar.conversation.records import Summary
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.conversation.tree import Chain, Node
from sidecar.exchange.client_request import ClientRequest, packed_request
from sidecar.store import SQLiteStore
from sidecar.store.client_keys import KeyRow
from sidecar.store.migrations import migrations
from tests.store.trees import chat, question, reply, talk, thread, update

FOLDER = Path(__file__).parent / "recorded"
SECRET = bytes(range(32))
# Said in the second conversation alone. Since schema 8 it is kept smaller.
_LARGE = (f"{'so it is ' * 200} data:image/png;base64,{b64encode(SECRET * 40).decode()}",)
# Sent with a question, and again when that was edited. Since schema 9 it is kept once.
_IMAGE = f"data:image/png;base64,{b64encode(SECRET * 400).decode()}"


async def fill(file: Path) -> None:
    """With something of everything that the newest schema can keep."""
    store = SQLiteStore(str(file))
    await store.open()
    await store.replace_secret(SECRET)
    for at, user in enumerate(("ada", "grace"), 1):
        tenant = tenant_of(SECRET, "Bearer sk", user)
        system = f'[{{"role":"system","content":"Be kind to {user}."}}]'.encode()
        nodes = chat("Grüße \N{GRINNING FACE}", "hello", "and?", f"so, {user}", tenant=tenant)
        again = reply("hello again", nodes[0], tenant=tenant, state="partial", usage=b'{"prompt_tokens":3}')
        edited = question("good day", tenant=tenant, message_id="m-1")
        answer = reply("good evening", edited, tenant=tenant, model="demo", finish_reason="stop", nonce=at)
        id = conversation_id(SECRET, tenant, "same-key")
        about = talk(id, key="same-key", tenant=tenant, tip=answer.id, full=True, weights=b'{"w":1}')
        about = replace(about, updated_at=2.5, system=Chain(tenant).hash(None, system))
        echoes = [(b"e" * 16, nodes[1].id)]
        await store.record(update(about, *nodes, again, edited, answer, echoes=echoes, system=b"[]"))
        whole = thread(edited, answer, system=system, is_thin=True, is_whole=True, updated_at=2.5)
        done = exchange(id, edited, answer)
        await store.record(update(about, exchange=done, thread=whole))
        head = ClientRequest("/v1/chat/completions", (("x-conversation-id", "same-key"),), ("authorization",))
        await store.keep_request(id, done.id, packed_request(head, b'{"model":"demo"}', 1 << 20), most=0)
        where = Reference(id, exchange_id(1_700_000_000_001, b"abcd"))
        made = RunningResponse(where, tenant, "me", b'{"status":"queued"}', 1)
        await store.begin_response(made, KeptEvents(0, 1, zlib.compress(b"event: a\n\n" * 2)))
        end = KeptEvents(2, 2, zlib.compress(b"event: b\n\n"))
        await store.end_response(where, b'{"status":"failed"}', 2, end)
        await store.record(update(about, system=system))
        data = b'{"id":"key' + f"{at}".encode() + b'"}'
        await store.put_client_key(KeyRow(f"key{at}", at, data, 20_000 + at))
        await store.add_summary(id, Summary(nodes[1].hash, "They greeted.", "small", 3.5))
        nameless = talk(f"conv_{at}", tenant=tenant)
        await store.record(update(nameless, *chat("hi", "ho", *_LARGE[: at - 1], tenant=tenant)))
        for asked in ("What is this?", "What is that?"):
            parts = [{"type": "text", "text": asked}, {"type": "image_url", "image_url": {"url": _IMAGE}}]
            await store.record(update(nameless, question(parts, tenant=tenant)))
    await store.save_learned("tokens:demo", b'{"a":1}')
    await store.close()


def exchange(id: str, ask: Node, answer: Node) -> Exchange:
    """An exchange as the recordings have it."""
    detail = Detail(
        replies=(answer.id,),
        answered_by="demo-2",
        target="cloud",
        api="responses",
        finish="stop",
        head_ms=12,
        first_token_ms=34,
        cached_tokens=5,
        reasoning_tokens=6,
        estimated_tokens=78,
        restored=1,
        dropped=2,
        shortened=3,
        summary=ask.hash,
        overflow_retries=1,
        form_retries=2,
        degraded=True,
        silent_cut=True,
        system=b"s" * 8,
        tools=b"t" * 8,
        difference=Difference(0, "system"),
        sent=Sent("cut", ask.id, ((answer.id, "out"),)),
    )
    return Exchange(
        exchange_id(1_700_000_000_000, b"abcd"),
        id,
        ask.id,
        "branch",
        "demo",
        200,
        80,
        9,
        1234,
        "context_length_exceeded",
        detail,
    )


def with_everything(id: str, ask: Node, answer: Node) -> Exchange:
    """The same with something in every field, also in those that the recordings were made without."""
    done = exchange(id, ask, answer)
    detail = replace(
        done.detail,
        member="http://10.0.0.3:8080/v1",
        received_ms=1,
        sent_ms=2,
        recalled=4,
        budget=700,
        saved=21,
        quoted=(ask.hash,),
        recall_score=7.5,
        refusal=Refusal(600, 800),
        supplied=("signature",),
        left_out=("reasoning",),
        brought=3,
        told=b'{"id":"resp_1"}',
        client_key="ada0000000",
        system_put_in=True,
        system_tokens=11,
        tools_tokens=222,
        phases=((answer.id, "commentary"),),
        waited_ms=333,
        reading_ms=44,
        no_room_ms=55,
    )
    return replace(done, detail=detail)


def dumped(filled: sqlite3.Connection, number: int) -> str:
    """The same rows in the tables that the first `number` migrations make, as SQL."""
    with closing(sqlite3.connect(":memory:")) as old:
        old.executescript("".join(sql for at, sql in migrations() if at <= number))
        tables = old.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid").fetchall()
        for (table,) in tables:
            names = ", ".join(f'"{row[1]}"' for row in old.execute(f"PRAGMA table_info ({table})"))
            rows = filled.execute(f"SELECT {names} FROM {table}").fetchall()
            places = ", ".join("?" * (names.count(",") + 1))
            old.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)
        old.commit()
        return "\n".join([*old.iterdump(), f"PRAGMA user_version = {number};", ""])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sidecar.db"
        asyncio.run(fill(file))
        with closing(sqlite3.connect(file)) as filled:
            for number, _sql in migrations():
                target = FOLDER / f"{number:04}.sql"
                if not target.exists():
                    target.write_text(dumped(filled, number), "utf-8")


if __name__ == "__main__":
    main()
