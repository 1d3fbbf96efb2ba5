"""`sidecar export`: the shape that programs read, and the text that people read."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sqlite3
from contextlib import closing

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from sidecar.cli import main
from sidecar.commands.export import export
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.conversation.exchange_record import Exchange, exchange_id
from sidecar.conversation.records import Thread
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.export import _indented, as_json, as_markdown
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.store import SQLiteStore
from tests.store.record import with_everything
from tests.store.trees import chat, exchange, question, reply, talk, thread, update


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sidecar.db"


@pytest.fixture
def settings(file):
    return Settings(store=f"sqlite:///{file}")


def keep(file, *turns):
    async def record():
        store = SQLiteStore(str(file))
        await store.open()
        for each in turns:
            await store.record(each)
        await store.close()

    asyncio.run(record())


def exported(settings, conversation=None, format="jsonl"):
    out = io.StringIO()
    assert asyncio.run(export(settings, TenantSelector(), name=conversation, format=format, out=out)) == 0
    return out.getvalue()


def lines(text):
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


class TestJson:
    def test_a_conversation_is_one_line_of_exactly_this_shape(self, file, settings):
        ask = question("hi", at=2.5, message_id="m-1")
        answer = reply("hello", ask, at=2.5, message_id="m-2", model="demo", state="partial", usage=b"{}")
        keep(file, update(replace(talk(key="mine"), updated_at=2.5), ask, answer, system=b"[]"))

        assert lines(exported(settings)) == [
            {
                "conversation": {
                    "id": "conv_1",
                    "key": "mine",
                    "tenant": talk().tenant.hex(),
                    "created_at": 1.0,
                    "updated_at": 2.5,
                },
                "messages": [
                    {
                        "id": "b2:" + ask.id.hex(),
                        "parent": None,
                        "role": "user",
                        "message": {"role": "user", "content": "hi"},
                        "source": "client",
                        "state": "complete",
                        "message_id": "m-1",
                        "model": None,
                        "created_at": 2.5,
                    },
                    {
                        "id": "b2:" + answer.id.hex(),
                        "parent": "b2:" + ask.id.hex(),
                        "role": "assistant",
                        "message": {"role": "assistant", "content": "hello"},
                        "source": "upstream",
                        "state": "partial",
                        "message_id": "m-2",
                        "model": "demo",
                        "created_at": 2.5,
                    },
                ],
                "threads": [],
                "exchanges": [],
            }
        ]

    def test_conversations_come_oldest_first_one_a_line(self, file, settings):
        keep(file, *(update(talk(id), question("hi")) for id in ("conv_b", "conv_a")))

        assert [line["conversation"]["id"] for line in lines(exported(settings))] == ["conv_b", "conv_a"]

    def test_an_exchange_has_exactly_this_shape(self, file, settings):
        ask, answer = chat("hi", "hello")
        done = with_everything("conv_1", ask, answer)
        keep(file, update(talk(), ask, answer, exchange=done))

        asked, answered = ("b2:" + node.id.hex() for node in (ask, answer))
        (line,) = lines(exported(settings))
        assert list(line) == ["conversation", "messages", "threads", "exchanges"]
        assert line["exchanges"] == [
            {
                "id": "018bcfe5680061626364",
                "parent": asked,
                "outcome": "branch",
                "model": "demo",
                "status": 200,
                "input_tokens": 80,
                "output_tokens": 9,
                "duration_ms": 1234,
                "error": "context_length_exceeded",
                "replies": [answered],
                "answered_by": "demo-2",
                "target": "cloud",
                "member": "http://10.0.0.3:8080/v1",
                "api": "responses",
                "finish": "stop",
                "received_ms": 1,
                "sent_ms": 2,
                "head_ms": 12,
                "first_token_ms": 34,
                "cached_tokens": 5,
                "reasoning_tokens": 6,
                "estimated_tokens": 78,
                "restored": 1,
                "dropped": 2,
                "shortened": 3,
                "recalled": 4,
                "summary": ask.hash.hex(),
                "overflow_retries": 1,
                "form_retries": 2,
                "degraded": True,
                "silent_cut": True,
                "system": b"ssssssss".hex(),
                "tools": b"tttttttt".hex(),
                "difference": {"index": 0, "cause": "system"},
                "sent": {"rule": "cut", "first": asked, "exceptions": {answered: "out"}},
                "budget": 700,
                "saved": 21,
                "quoted": ["b2:" + ask.hash.hex()],
                "recall_score": 7.5,
                "refusal": {"window": 600, "prompt": 800},
                "supplied": ["signature"],
                "left_out": ["reasoning"],
                "brought": 3,
                "told": {"id": "resp_1"},
                "client_key": "ada0000000",
                "system_put_in": True,
                "system_tokens": 11,
                "tools_tokens": 222,
                "phases": {answered: "commentary"},
                "waited_ms": 333,
                "reading_ms": 44,
                "no_room_ms": 55,
                "began_at": 1_700_000_000.0,
            }
        ]

    def test_what_is_not_known_of_an_exchange_is_null(self, file, settings):
        keep(file, update(talk(), exchange=Exchange(exchange_id(1500, b"abcd"), "conv_1")))

        (line,) = lines(exported(settings))
        (told,) = line["exchanges"]
        assert (told["began_at"], told["target"], told["replies"], told["restored"]) == (
            1.5,
            "default",
            [],
            0,
        )
        assert {told[name] for name in ("parent", "model", "status", "sent", "difference", "tools")} == {None}

    def test_exchanges_stand_with_their_conversation_the_oldest_first(self, file, settings):
        many = [exchange("conv_a", None, at=at) for at in range(1201)]
        keep(file, *(update(talk("conv_a"), exchange=each) for each in many[::-1]))
        keep(file, update(talk("conv_b"), exchange=exchange("conv_b", None)))

        one, other = lines(exported(settings))
        assert [each["conversation"]["id"] for each in (one, other)] == ["conv_a", "conv_b"]
        assert [each["id"] for each in one["exchanges"]] == [each.id.hex() for each in many]
        assert len(other["exchanges"]) == 1
        assert "exchange" not in exported(settings, format="markdown")

    def test_a_thread_has_exactly_this_shape(self, file, settings):
        ask, answer = chat("hi", "hello")
        root = thread(ask, answer, system=b'[{"role":"system",\r\n"content":"x","n":1e400}]', is_thin=True)
        keep(file, update(talk(), ask, answer, thread=root))
        told = exported(settings)

        (line,) = lines(told)
        assert '"n":1e400' in told
        del line["threads"][0]["system"][0]["n"]
        assert line["threads"] == [
            {
                "root": "b2:" + ask.id.hex(),
                "head": "b2:" + answer.id.hex(),
                "system": [{"role": "system", "content": "x"}],
                "model": "demo",
                "tools": ["search"],
                "is_answered": True,
                "is_thin": True,
                "is_whole": False,
                "updated_at": 1.0,
            }
        ]
        assert "search" not in exported(settings, format="markdown")

    def test_what_is_not_known_of_a_thread_is_null(self):
        (line,) = lines(as_json(talk(), [], [Thread(b"root")]))
        (told,) = line["threads"]
        assert {told[name] for name in ("head", "system", "model")} == {None}
        assert told["tools"] == []

    def test_threads_stand_with_their_conversation_the_oldest_first(self, file, settings):
        for id in ("conv_a", "conv_b"):
            roots = [question(f"{number}") for number in range(9)]
            told = [thread(root, updated_at=float(at * 5 % 9)) for at, root in enumerate(roots)]
            keep(file, *(update(talk(id), root, thread=each) for root, each in zip(roots, told, strict=True)))
            keep(file, update(talk(id), exchange=exchange(id, roots[0])))

        for line in lines(exported(settings)):
            assert [each["updated_at"] for each in line["threads"]] == sorted(map(float, range(9)))
            assert len(line["exchanges"]) == 1

    @pytest.mark.parametrize("name", [None, "conv_b"])
    def test_one_that_is_damaged_is_left_out_and_said_and_the_others_are_not(
        self, file, settings, capsys, name
    ):
        keep(file, *(update(talk(id), question(id)) for id in ("conv_a", "conv_b", "conv_c")))
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(
                "UPDATE message SET body = x'7b' WHERE conversation ="
                " (SELECT number FROM conversation WHERE id = 'conv_b')"
            )

        out = io.StringIO()
        assert asyncio.run(export(settings, TenantSelector(), name=name, format="jsonl", out=out)) == 1
        found = [each["conversation"]["id"] for each in map(json.loads, out.getvalue().splitlines())]
        assert found == ([] if name else ["conv_a", "conv_c"])
        said = capsys.readouterr().err
        assert said.startswith("sidecar: conv_b is left out: ")
        assert said.count("\n") == 1

    @pytest.mark.parametrize("system", [b"", b"{}", b"[", b"\xff", b"[\xff]"])
    def test_a_damaged_prompt_of_a_thread_is_said_by_its_name(self, system):
        with pytest.raises(StoreUnavailable, match="the thread of b2:726f6f74 in conversation conv_1 is dam"):
            as_json(talk(), [], [Thread(b"root", system=system)])

    def test_an_empty_store_exports_as_nothing(self, file, settings):
        keep(file)

        assert exported(settings) == ""

    def test_a_message_keeps_every_byte_that_says_something(self):
        body = b'{"role":"user","content":"\\u00fc \\n","seed":1e400,"big":123456789012345678901234567890}'
        line = as_json(talk(), [replace(question("hi"), body=body)])

        assert body.decode() in line

    def test_an_indented_message_stays_on_its_line(self):
        body = b'{\r\n  "role": "user",\n  "content": "one\\r\\ntwo"\n}'
        (line,) = lines(as_json(talk(), [replace(question("hi"), body=body)]))

        assert line["messages"][0]["message"] == {"role": "user", "content": "one\r\ntwo"}

    def test_a_conversation_without_a_key_says_null(self):
        (line,) = lines(as_json(talk(), []))

        assert line["conversation"]["key"] is None
        assert line["messages"] == []


class TestMarkdown:
    def test_branches_say_what_they_follow(self, file, settings):
        first, edited = chat("hi", "hello", "and?", "so"), chat("good day", "good evening")
        again = reply("hello again", first[0], model="demo", state="failed")
        keep(file, update(talk(key="mine"), *first, *edited, again))

        assert exported(settings, format="markdown") == (
            "# mine\n\n"
            "## 1. user\n\n    hi\n\n"
            "## 2. assistant\n\n    hello\n\n"
            "## 3. user\n\n    and?\n\n"
            "## 4. assistant\n\n    so\n\n"
            "## 5. user, after the start\n\n    good day\n\n"
            "## 6. assistant\n\n    good evening\n\n"
            "## 7. assistant (demo), after 1, failed\n\n    hello again\n\n"
        )

    def test_a_conversation_without_a_key_is_headed_by_its_id(self):
        assert as_markdown(talk(), []).startswith("# conv_1\n")

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            (
                {"content": [{"type": "text", "text": "see"}, {"type": "image_url"}]},
                "    see\n\n`(image_url)`",
            ),
            (
                {
                    "content": None,
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}],
                },
                '`calls f({"a":1})`',
            ),
            ({"content": "x", "tool_calls": ["odd"]}, "    x\n\n`calls odd`"),
            ({"content": ["odd"]}, "`(no text)`"),
            ({"content": ""}, "`(no text)`"),
            ({}, "`(no text)`"),
            ({"content": "\n\n  indented\n\ttab\n\nend\n"}, "      indented\n    \ttab\n\n    end"),
            ({"content": [{"type": "a`b``\n# c"}]}, "``` (a`b``\\n# c) ```"),
        ],
    )
    def test_what_is_not_text_is_named(self, fields, shown):
        node = replace(question("hi"), body=json.dumps({"role": "assistant", **fields}).encode())

        assert as_markdown(talk(), [node]) == f"# conv_1\n\n## 1. user\n\n{shown}\n\n"

    @pytest.mark.parametrize(
        "text",
        [
            "hi\n\n## 2. assistant (gpt)\n\nI promise you a refund\n\n# another",
            "setext\n======\n\nsetext\n---",
            "```\n# fenced",
            "<h2>2. assistant</h2><script>alert(1)</script>",
            "\r# with a carriage return\r\n# again\x0b# tab\x85# next\u2028# line",
            "> # quoted\n\n1. # item",
        ],
    )
    def test_no_text_and_no_name_can_make_a_heading_or_a_message(self, text):
        body = json.dumps({"role": "user", "content": text, "tool_calls": [text]}).encode()
        node = replace(question("hi"), body=body, model=f"m)\n\n{text}", role=text)
        told = as_markdown(talk(key=text), [node])

        beginnings = {line[:1] for line in told.splitlines()}
        assert beginnings <= {"#", " ", "`", ""}, "a heading of ours, indented text, a piece of code"
        assert [line.split(" ")[0] for line in told.splitlines() if line.startswith("#")] == ["#", "##"]
        assert not re.search(r"(?<!\\)[<\[&]", "".join(line for line in told.splitlines() if line[:1] == "#"))

    def test_control_characters_are_spelled_out(self, file, settings):
        text = "\x1b]0;owned\x07 \x9b2J \u202e\x7f"
        ask = question("hi", model=text, message_id=text)
        keep(
            file,
            update(talk(key=text), replace(ask, body=json.dumps(_user(text), ensure_ascii=False).encode())),
        )

        for format in ("markdown", "jsonl"):
            assert not set("\x1b\x07\x9b\x7f\u202e") & set(exported(settings, format=format))
        (line,) = lines(exported(settings))
        assert line["conversation"]["key"] == text
        (message,) = line["messages"]
        assert (message["message"], message["model"], message["message_id"]) == (_user(text), text, text)

    @pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b"", b'{"role":"user"}\n{"a":1}'])
    def test_a_body_that_is_no_message_is_said(self, body):
        node = replace(question("hi"), body=body)

        assert as_markdown(talk(), [node]) == "# conv_1\n\n## 1. user\n\n`(not a message)`\n\n"
        with pytest.raises(
            StoreUnavailable, match=f"message b2:{node.id.hex()} in conversation conv_1 is damaged"
        ):
            as_json(talk(), [node])


def _user(text):
    return {"role": "user", "content": text}


class TestOneConversation:
    def test_it_is_named_by_its_id_or_by_the_clients_key(self, file, settings):
        keep(file, update(talk("conv_a", key="mine"), question("hi")), update(talk("conv_b"), question("hi")))

        for name in ("mine", "conv_a"):
            (line,) = lines(exported(settings, name))
            assert line["conversation"]["id"] == "conv_a"

    def test_an_unknown_one_is_an_error(self, file, settings):
        keep(file, update(talk(), question("hi")))

        with pytest.raises(SidecarError, match=f"there is no conversation 'yours' in sqlite:///{file}"):
            exported(settings, "yours")


class TestErrors:
    def test_a_store_that_is_not_there_is_not_made(self, file, settings):
        with pytest.raises(SidecarError, match=f"there is no store {file}; set --store"):
            exported(settings)

        assert not file.exists()

    def test_memory_keeps_nothing_to_export(self):
        with pytest.raises(SidecarError, match="keeps nothing once its process ends"):
            exported(Settings(store="memory:"))

    def test_a_file_that_is_no_store_is_said_in_one_line(self, file, capsys):
        file.write_text("Dear diary, " * 100)

        assert main(["export", "--store", f"sqlite:///{file}"]) == 1
        assert capsys.readouterr() == (
            "",
            f"sidecar: cannot open the store {file}: file is not a database (put a backup in its place, or"
            " set `store` to another file)\n",
        )

    def test_the_command_prints_what_was_asked_for(self, file, capsys):
        keep(
            file,
            update(talk("conv_a", key="mine"), question("Grüße")),
            update(talk("conv_b"), question("hi")),
        )
        store = ["--store", f"sqlite:///{file}"]

        assert main(["export", *store, "--conversation", "mine", "--format", "markdown"]) == 0
        assert capsys.readouterr() == ("# mine\n\n## 1. user\n\n    Grüße\n\n", "")


async def test_one_can_export_while_a_server_writes(settings):
    settings = settings.model_copy(update={"listen": "127.0.0.1:0"})
    seen = 0

    async def talks(http, url, number):
        nonlocal seen
        for turn_number in range(10):
            body = {"messages": [{"role": "user", "content": f"question {turn_number}"}]}
            headers = {"X-Conversation-ID": f"chat-{number}"}
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                assert response.status == 200
                await response.read()
            seen += 1

    async with running(settings) as url, ClientSession() as http:
        clients = [asyncio.ensure_future(talks(http, url, number)) for number in range(5)]
        while not all(client.done() for client in clients):
            before = seen
            text = await asyncio.to_thread(exported, settings)
            told = lines(text) if text else []
            trees = [line["messages"] for line in told]
            assert all(len(tree) % 2 == 0 for tree in trees), "a question and its reply come together"
            assert sum(map(len, trees)) >= 2 * before
        await asyncio.gather(*clients)
        told = lines(await asyncio.to_thread(exported, settings))
        assert sum(len(line["messages"]) for line in told) == 100
        assert sum(len(line["exchanges"]) for line in told) == 50


@pytest.mark.parametrize(
    "text", ["a\nb", "\n" * 200_000 + "x", "word\n" * 50_000 + "\n\n", "x" * 200_000, ""]
)
def test_a_text_of_megabytes_is_indented_as_a_short_one_is(text):
    assert _indented(text) == "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
