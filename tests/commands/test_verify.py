"""What `sidecar verify` finds, and that it finds nothing in what real requests leave."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from sidecar.commands.verify import wrongs
from sidecar.conversation.exchange_record import Detail, Exchange, Sent, exchange_id
from sidecar.conversation.records import Snapshot, Thread
from tests.commands.conftest import talk
from tests.store.trees import chat, reply
from tests.store.trees import talk as conversation


@pytest.fixture
def filled(file):
    talk(
        file, ("a", "hi", {}), ("a", "and?", {}), (None, "no id", {}), ("b", "ünïcode \n ", {"api-key": "k"})
    )


def change(file, sql, *values):
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0


def test_what_was_recorded_is_right(run, filled):
    assert run("verify") == (0, "", "sidecar: 3 conversations with 8 messages: all as it was recorded\n")


def test_nothing_is_wrong_with_a_chat_that_got_its_name_later_or_shares_it(run, file):
    agent = {"X-Session-ID": "login"}
    talk(
        file,
        (None, "hi", {}),
        ("named later", ["hi", "I see 1 message; it says “hi”.", "and?"], {}),
        (None, "the first chat under its name", agent),
        (None, "another one", agent),
    )
    assert run("verify") == (0, "", "sidecar: 3 conversations with 8 messages: all as it was recorded\n")

    change(file, "UPDATE conversation SET key = 'c' WHERE key = 'named later'")
    assert "its id does not match its key" in run("verify")[1]
    change(file, "UPDATE conversation SET key = 'named later' WHERE key = 'c'")
    change(file, "UPDATE conversation SET key = 'logout' WHERE key = 'login'")
    assert run("verify")[1].count("its id does not match its key") == 2


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE message SET body = CAST(replace(body, 'hi', 'ho') AS BLOB) WHERE number = 1", "its digest"),
        ("UPDATE message SET body = CAST('{' AS BLOB) WHERE number = 1", "its body is not valid JSON"),
        ("UPDATE message SET digest = zeroblob(16) WHERE number = 2", "its digest"),
        ("UPDATE message SET exact = zeroblob(16) WHERE number = 2", "its exact chain"),
        ("UPDATE message SET role = 'tool' WHERE number = 2", "its role"),
        ("UPDATE message SET parent = zeroblob(24) WHERE number = 3", "its parent is missing"),
        (
            "UPDATE message SET id = CAST(substr(id, 1, 16) || zeroblob(8) AS BLOB) WHERE number = 3",
            "its id does not match",
        ),
        ("UPDATE message SET id = zeroblob(24) WHERE number = 4", "its hash"),
        ("UPDATE conversation SET tip = zeroblob(24) WHERE number = 1", "its tip is missing"),
        ("UPDATE conversation SET key = 'c' WHERE number = 1", "its id does not match its key"),
        ("UPDATE secret SET value = zeroblob(32)", "its id does not match its key"),
        ("INSERT INTO echo VALUES (1, zeroblob(16), zeroblob(24))", "the message of the echo"),
    ],
)
def test_what_is_another_is_said(run, filled, file, sql, said):
    change(file, sql)
    code, out, err = run("verify")

    assert code == 1
    assert said in out
    assert "things are wrong" in err


def test_a_system_message_that_is_another_is_said(run, file):
    talk(file, ("a", "hi", {}))
    change(file, "INSERT INTO system_prompt VALUES (1, ?, ?)", b"[]", b"[]")
    assert run("verify")[0] == 0
    change(file, "UPDATE conversation SET system = zeroblob(16)")

    assert "its system message does not match its digest" in run("verify")[1]


def test_the_names_are_those_of_the_export(run, filled, file):
    exported = [json.loads(line) for line in run("export")[1].splitlines()]
    change(file, "UPDATE message SET digest = zeroblob(16) WHERE number = 2")
    _, out, _ = run("verify")

    first = exported[0]
    assert out.startswith(f"{first['conversation']['id']}: message {first['messages'][1]['id']}: ")


@pytest.mark.parametrize("gone", ["parent", "reply", "first that was sent", "exception"])
def test_an_exchange_whose_messages_are_not_there_is_said(gone):
    nodes = {name: reply(name, None) for name in ("parent", "reply", "first that was sent", "exception")}
    parent, answer, first, other = (node.id for node in nodes.values())
    detail = Detail(replies=(answer,), sent=Sent("cut", first, ((other, "out"),)))
    done = Exchange(exchange_id(5, b"abcd"), "conv_1", parent=parent, detail=detail)
    whole = Snapshot(conversation("conv_1"), tuple(nodes.values()), exchanges=(done,))
    assert list(wrongs(whole, b"secret")) == []
    by_hash = replace(done, detail=Detail(sent=Sent("cut", nodes["first that was sent"].hash)))
    assert list(wrongs(replace(whole, exchanges=(by_hash,)), b"secret")) == []

    left = tuple(node for name, node in nodes.items() if name != gone)
    said = f"exchange 00000000000561626364: the message b2:{nodes[gone].id.hex()} that it names is missing"
    assert list(wrongs(replace(whole, nodes=left), b"secret")) == [said]


def test_a_thread_whose_root_or_head_is_not_there_is_said():
    ask, answer, more = chat("hi", "hello", "and?")
    other, so = chat("good day", "good evening")
    whole = Snapshot(conversation("conv_1"), (ask, answer, more, other, so))
    right = Thread(ask.id), Thread(ask.id, more.id), Thread(ask.id, ask.id), Thread(other.id, so.id)
    assert list(wrongs(replace(whole, threads=right), b"secret")) == []

    for root in (answer.id, b"gone"):
        said = [f"the thread of b2:{root.hex()}: no path begins there"]
        assert list(wrongs(replace(whole, threads=(Thread(root, more.id),)), b"secret")) == said
    for head in (so.id, b"gone"):
        said = [f"the thread of b2:{ask.id.hex()}: its head is not under it"]
        assert list(wrongs(replace(whole, threads=(Thread(ask.id, head),)), b"secret")) == said


def test_an_exchange_that_cannot_be_read_is_said(run, filled, file):
    row = "SELECT number, x'000000000005', 5, 'start', x'c1' FROM conversation LIMIT 1"
    change(file, f"INSERT INTO exchange (conversation, id, began_at, outcome, detail) {row}")
    code, out, _ = run("verify")

    assert code == 1
    assert ": cannot be read: exchange 000000000005 of conversation conv_" in out
