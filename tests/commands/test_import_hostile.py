"""A webui.db that was made to do harm reads no other file, holds nothing up and keeps no other chat out."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.cli import main
from tests.commands.webui import START, Webui, said, told

SECRET = "PRIVATE KEY 4711"
#: Seconds of CPU that the worst of these may take; on a quiet machine it is one.
MOST = 15.0


@pytest.fixture
def webui(tmp_path):
    (tmp_path / "owui").mkdir()
    return Webui(tmp_path / "owui" / "webui.db")


@pytest.fixture
def bring(run, webui):
    def bring(*flags):
        begun = time.process_time()
        code, out, err = run("import", "openwebui", str(webui.file), "--credential", "K", *flags)
        assert time.process_time() - begun < MOST
        assert out == ""
        assert "a fault of its own" not in err
        return code, re.sub(r"\Asidecar: the chats go into [^\n]+\n", "", err)

    return bring


def keys(run):
    return [json.loads(line)["conversation"]["key"] for line in run("export")[1].splitlines()]


def picture(id):
    file = {"type": "image", "url": id, "content_type": "image/png"}
    return said(f"u-{id}", None, f"see {id}", files=[file])


def images(run):
    """What was inlined: every image of every message, decoded."""
    found = []
    for line in run("export")[1].splitlines():
        for message in json.loads(line)["messages"]:
            content = message["message"]["content"]
            for part in content if isinstance(content, list) else ():
                url = part.get("image_url", {}).get("url", "")
                found += [base64.b64decode(url.partition("base64,")[2])] if url.startswith("data:") else []
    return found


class TestFiles:
    @pytest.fixture
    def folder(self, webui):
        folder = webui.file.parent / "uploads"
        folder.mkdir()
        (folder / "own.png").write_bytes(b"own")
        (webui.file.parent / "secret.png").write_text(SECRET)
        return folder

    @pytest.mark.parametrize(
        "path",
        [
            "{outside}/secret.png",
            "../secret.png",
            "uploads/../secret.png",
            "..%2fsecret.png",
            "file://{outside}/secret.png",
            "/proc/self/environ",
            "..\\secret.png",
            "../uploads/..",
            "link.png",
            "linked/secret.png",
            "linked",
            "pipe.png",
            ".",
            "",
            "a\0b.png",
            "x" * 5000 + ".png",
            "half \ud800.png".encode("utf-8", "surrogatepass"),
        ],
    )
    def test_nothing_is_read_but_a_file_in_the_folder(self, run, bring, webui, folder, path):
        (folder / "link.png").symlink_to(webui.file.parent / "secret.png")
        (folder / "linked").symlink_to(webui.file.parent)
        os.mkfifo(folder / "pipe.png")
        if isinstance(path, str):
            webui.upload("f", path.format(outside=webui.file.parent), "x.png", content_type="image/png")
        else:
            webui.execute(f"INSERT INTO file (id, path) VALUES ('f', CAST(x'{path.hex()}' AS TEXT))")
        webui.add("chat-1", picture("f"))

        assert bring()[0] == 0
        assert keys(run) == ["chat-1"]
        assert images(run) == []

    @pytest.mark.parametrize("path", ["own.png", "/app/data/uploads/own.png", "C:\\data\\uploads\\own.png"])
    def test_one_that_is_there_is_read_by_its_name(self, run, bring, webui, folder, path):
        webui.upload("f", path, "x.png")
        webui.add("chat-1", picture("f"))

        assert bring()[0] == 0
        assert images(run) == [b"own"]

    def test_a_link_in_place_of_the_folder_is_followed_only_if_named(self, run, bring, webui, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "own.png").write_bytes(b"own")
        link = webui.file.parent / "uploads"
        link.symlink_to(tmp_path / "elsewhere")
        webui.upload("f", "own.png", "x.png")
        webui.add("chat-1", picture("f"))

        code, err = bring()
        assert code == 0
        assert "uploads beside the file is a symbolic link and not followed: name it with --uploads" in err
        assert images(run) == []
        webui.add("chat-2", picture("f"))
        assert "symbolic link" not in bring("--uploads", str(link))[1]
        assert images(run) == [b"own"]

    def test_no_more_is_read_than_a_request_could_carry(self, run, bring, webui, folder, monkeypatch):
        monkeypatch.setattr("sidecar.commands.openwebui.database.MAX_SIZE", 1 << 20)
        (folder / "large.png").write_bytes(b"x" * 400_000)
        webui.upload("f", "large.png", "x.png")
        file = {"type": "image", "url": "f"}
        webui.add("chat-1", said("u1", None, "see", files=[file] * 100))

        assert bring()[0] == 0
        assert len(images(run)) == 2


def raw(webui, id, content, *, user="ada", created_at=START):
    with closing(sqlite3.connect(webui.file)) as connection, connection:
        names = "id, user_id, chat, created_at, updated_at"
        connection.execute(
            f"INSERT INTO chat ({names}) VALUES (?, ?, ?, ?, ?)", (id, user, content, created_at, created_at)
        )


def history(messages):
    return json.dumps({"history": {"messages": messages}})


def alone(**fields):
    return {"m": {"id": "m", "parentId": None, "role": "user", "content": "hi", "timestamp": START, **fields}}


HI = alone()["m"]


def deep(depth):
    return '{"history":{"messages":{"m":{"role":"user","content":' + "[" * depth + "]" * depth + "}}}}"


LEFT_OUT = {
    "nested too deep to be read": (deep(100_000), "nested too deeply"),
    "half a character": (history(alone(content="\ud800")), "half of a surrogate pair"),
    "half a character as a role": (history(alone(role="\ud800")), "half of a surrogate pair"),
    "half a character as an id": (history({"\ud800": HI}), "half of a surrogate pair"),
    "half a character as a model": (
        history(alone(role="assistant", model="\ud800")),
        "half of a surrogate pair",
    ),
    "a model that no database keeps": (history(alone(role="assistant", model="a\0b")), "name that cannot be"),
    "a circle": (
        history({"a": {**HI, "parentId": "b"}, "b": {**HI, "parentId": "a"}}),
        "form a cycle",
    ),
    "too many answers to one": (
        history({str(at): HI for at in range(300)}),
        "more than 250 messages follow the same message",
    ),
    "too many values": ('{"a":[' + "0," * 4_100_000 + "0]}", "too many values"),
    "larger than SQLite may read": ("x" * (65 << 20), "a value is too large"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_chat_that_cannot_be_read_is_left_out_and_the_others_come_in(run, bring, webui, kind):
    content, why = LEFT_OUT[kind]
    webui.add("before", said("u1", None, "hi"))
    raw(webui, "odd", content)
    webui.add("after", said("u1", None, "hi"))

    code, err = bring()

    assert code == 1
    first, last = err.splitlines()
    assert first.startswith("sidecar: chat odd is left out: ") or "?" in first
    assert why in first
    assert "3 chats, left out 1 that cannot be read; new: 2 conversations, 2 messages" in last
    assert sorted(keys(run)) == ["after", "before"]


COMES_IN = {
    "infinite": alone(timestamp=float("inf")),
    "not a number": alone(timestamp=float("nan")),
    "beyond a float": alone(timestamp=10**400),
    "negative": alone(timestamp=-1e300),
    "a text": alone(timestamp="yesterday"),
    "a switch": alone(timestamp=True),
    "a number": alone(content=5),
    "files": alone(files=[{"type": "image", "url": "\0"}, {"type": "image", "url": 5}, 7, {"type": {}}]),
    "usage": alone(role="assistant", usage={"a": float("nan")}),
    "output": alone(
        role="assistant",
        output=[
            {"type": "function_call", "call_id": {}, "status": []},
            {"type": "function_call_output", "call_id": []},
            {"type": "message", "content": 5},
            {"type": []},
            3,
        ],
    ),
    "its own parent": alone(parentId="m"),
    "a parent that is no text": alone(parentId=["m"]),
    "half a circle": {**alone(), "a": {**HI, "parentId": "a2"}, "a2": {**HI, "parentId": "a"}},
    "half an emoji in what is not sent": alone(title="\ud800"),
}


@pytest.mark.parametrize("kind", COMES_IN)
def test_what_is_only_odd_comes_in(run, bring, webui, kind):
    raw(webui, "odd", history(COMES_IN[kind]))

    code, err = bring()

    assert (code, err) == (0, "sidecar: 1 chats; new: 1 conversations, 1 messages\n")
    assert keys(run) == ["odd"]
    assert run("verify")[0] == 0


@pytest.mark.parametrize("created_at", [9e999, -9e999, "x", b"\0", None, -5, 2**62])
def test_a_time_that_is_none_is_no_harm(run, bring, webui, created_at):
    raw(webui, "odd", history(alone()), created_at=created_at)

    assert bring()[0] == 0
    assert len(keys(run)) == 1
    assert run("conversations", "list")[0] == 0


def test_a_name_does_nothing_to_the_terminal(bring, webui):
    raw(webui, "\x1b[2J" + "x" * 100, deep(100_000))

    err = bring()[1]

    assert r"chat \x1b[2Jxxx" in err
    assert "\x1b" not in err
    assert len(err.splitlines()[0]) < 130


def test_of_many_that_cannot_be_read_some_are_named(bring, webui):
    for number in range(30):
        raw(webui, f"odd-{number}", deep(100_000))

    lines = bring()[1].splitlines()

    assert len(lines) == 22
    assert lines[20] == "sidecar: and 10 more chats are left out"
    assert "left out 30 that cannot be read" in lines[21]


class TestTables:
    ENDLESS = "WITH RECURSIVE x (i) AS (SELECT 1 UNION ALL SELECT i FROM x) SELECT i AS id FROM x"

    @pytest.mark.parametrize("name", ["chat", "CHAT", "chat_message", "file"])
    @pytest.mark.parametrize("what", ["view", "virtual"])
    def test_what_is_no_table_is_not_asked(self, bring, webui, name, what):
        webui.execute(f"DROP TABLE {name}")
        if what == "view":
            webui.execute(f"CREATE VIEW {name} AS {self.ENDLESS}")
        else:
            webui.execute(f"CREATE VIRTUAL TABLE {name} USING rtree (id, low, high)")

        code, err = bring()

        assert code == 1
        assert "is not a plain table: it is not Open WebUI's webui.db\n" in err

    def test_a_computed_column_is_not_asked(self, bring, webui):
        webui.execute("DROP TABLE chat")
        webui.execute(
            "CREATE TABLE chat (id, user_id, created_at, updated_at, chat AS (hex(zeroblob(30000000))))"
        )
        webui.execute("INSERT INTO chat (id) VALUES ('a'), ('b')")

        code, err = bring()

        assert code == 1
        assert "has no table of chats" in err

    def test_a_default_that_makes_rows_of_nothing_is_a_trick(self, bring, webui):
        webui.execute("DROP TABLE chat")
        webui.execute("CREATE TABLE chat (id, user_id, created_at, updated_at)")
        with closing(sqlite3.connect(webui.file)) as connection, connection:
            connection.executemany("INSERT INTO chat (id) VALUES (?)", [(str(at),) for at in range(1000)])
            connection.execute(f"ALTER TABLE chat ADD COLUMN chat DEFAULT '{'x' * 900_000}'")

        code, err = bring()

        assert code == 1
        assert "gives more than it can hold: it is no webui.db" in err

    def test_a_table_without_row_ids_is_read_by_its_key(self, run, bring, webui):
        webui.execute("DROP TABLE chat")
        columns = "chat, created_at, updated_at, user_id, id TEXT"
        webui.execute(
            f'CREATE TABLE chat ({columns}, "a ""b" DEFAULT 1, PRIMARY KEY (id, "a ""b")) WITHOUT ROWID'
        )
        raw(webui, "one", history(alone()))
        raw(webui, "two", history(alone()))

        assert bring()[0] == 0
        assert keys(run) == ["one", "two"]

    def test_a_column_called_rowid_is_not_taken_for_it(self, run, bring, webui):
        webui.execute("ALTER TABLE chat ADD COLUMN rowid DEFAULT 7")
        for id in ("one", "two"):
            raw(webui, id, history(alone(content=id)))

        assert bring()[0] == 0
        assert keys(run) == ["one", "two"]

    def test_rows_are_found_at_once_though_no_index_helps(self, run, bring, webui):
        rows = [(f"c{at}-m", f"c{at}", "user", '"hi"') for at in range(20_000)]
        with closing(sqlite3.connect(webui.file)) as connection, connection:
            connection.execute("CREATE TABLE plain (id, chat_id, role, content)")
            connection.executemany("INSERT INTO plain VALUES (?, ?, ?, ?)", rows)
            connection.execute("DROP TABLE chat_message")
            connection.execute("ALTER TABLE plain RENAME TO chat_message")
            insert = "INSERT INTO chat (id, user_id, chat) VALUES (?, 'other', '{}')"
            connection.executemany(insert, [(f"c{at}",) for at in range(20_000)])

        assert bring("--user", "ada")[0] == 0

    def test_what_is_no_utf8_leaves_its_chat_out(self, run, bring, webui):
        raw(webui, "good", history(alone()))
        webui.execute("INSERT INTO chat (id, user_id, chat) VALUES (CAST(x'ff' AS TEXT), 'ada', '{}')")
        bad = history(alone(content="?")).encode().replace(b"?", b"\xff").hex()
        webui.execute(f"INSERT INTO chat (id, user_id, chat) VALUES ('bad', 'ada', CAST(x'{bad}' AS TEXT))")
        webui.execute("INSERT INTO chat (id, user_id, chat) VALUES ('b', x'ff', '{}')")

        code, err = bring()

        assert code == 1
        assert "chat b is left out: its user is not text" in err
        assert keys(run) == ["good"]

    def test_a_long_chain_takes_no_longer_than_its_length(self, run, bring, webui):
        messages = {str(at): {**HI, "parentId": str(at - 1) if at else None} for at in range(20_000)}
        raw(webui, "long", history(messages))

        assert bring()[1] == "sidecar: 1 chats; new: 1 conversations, 20000 messages\n"


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=40),
    st.text(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
        max_leaves=6,
    ).map(json.dumps),
)
COLUMNS = {
    "chat": ("id", "user_id", "chat", "created_at", "updated_at", "current_message_id"),
    "chat_message": (
        *("id", "chat_id", "role", "parent_id", "content", "output", "model_id", "files"),
        *("done", "error", "usage", "created_at"),
    ),
    "file": ("id", "path", "meta"),
}
PLACES = [(table, column) for table, columns in COLUMNS.items() for column in columns]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A database as Open WebUI leaves one, with a chat that nobody touches."""
    webui = Webui(tmp_path_factory.mktemp("real") / "webui.db")
    (webui.file.parent / "uploads").mkdir()
    (webui.file.parent / "uploads" / "a.png").write_bytes(b"png")
    webui.upload("f", "a.png", "a.png", content_type="image/png")
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
    result = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]}
    for id in ("odd", "good"):
        webui.add(
            id,
            said(f"u1-{id}", None, "hi", files=[{"type": "image", "url": "f"}]),
            told(f"a1-{id}", f"u1-{id}", "Hello.", output=[call, result], usage={"total_tokens": 3}),
            said(f"u2-{id}", f"a1-{id}", "and?"),
        )
    return webui.file


def changed(source, target, changes):
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    with closing(sqlite3.connect(target)) as connection, connection:
        for (table, column), value in changes:
            where = {"chat": "id = 'odd'", "chat_message": "id LIKE 'odd-%'", "file": "1"}[table]
            try:
                connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {where}", (value,))
            except (sqlite3.IntegrityError, UnicodeEncodeError):
                continue


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=4))
def test_whatever_a_row_holds_the_import_ends_and_brings_the_rest(real, capsys, tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("odd")
    changed(real, folder / "webui.db", changes)
    store = ("--store", f"sqlite:///{folder / 'sidecar.db'}")
    capsys.readouterr()
    begun = time.process_time()

    code = main(["import", "openwebui", str(folder / "webui.db"), "--credential", "K", *store])

    err = capsys.readouterr().err
    assert time.process_time() - begun < MOST
    assert code in (0, 1), err
    assert "a fault of its own" not in err
    assert "unknown structure" not in err
    assert main(["export", "--conversation", "good", *store]) == 0
    assert main(["verify", *store]) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    count=st.integers(1, 64),
    cut=st.booleans(),
)
@example(at=0.09375, byte=128, count=1, cut=False)  # a name in the schema that is no UTF-8
def test_whatever_bytes_the_file_holds_the_import_ends_in_a_sentence(
    real, capsys, tmp_path_factory, at, byte, count, cut
):
    folder = tmp_path_factory.mktemp("bytes")
    content = bytearray(real.read_bytes())
    begin = int(at * len(content))
    content[begin : begin + count] = bytes([byte]) * min(count, len(content) - begin)
    (folder / "webui.db").write_bytes(content[:begin] if cut else content)
    capsys.readouterr()
    begun = time.process_time()

    store = ("--store", f"sqlite:///{folder / 'sidecar.db'}")
    code = main(["import", "openwebui", str(folder / "webui.db"), "--credential", "K", *store])

    err = capsys.readouterr().err
    assert time.process_time() - begun < MOST
    assert code in (0, 1), err
    assert "a fault of its own" not in err
    assert all(line.startswith("sidecar: ") for line in err.splitlines()), err
