"""A store of an older schema: the server and `sidecar upgrade` bring it to the newest, others leave it."""

from __future__ import annotations

import asyncio
import base64
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from sidecar.cli import main
from sidecar.commands import parsers
from sidecar.errors import StoreUnavailable
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.store import make_store
from sidecar.store.migrations import migrations, newest_schema
from sidecar.store.postgres import schema
from tests.commands.conftest import talk
from tests.commands.webui import Webui, said
from tests.proxy.process import serving
from tests.store.postgres import Server
from tests.store.record import FOLDER

KEY = base64.b64encode(bytes(range(32))).decode()
BACK_TO_12 = Path(__file__).parents[2] / "config" / "sqlite-schema-12.sql"
NEWEST = newest_schema()
COMMANDS = {
    "export": (),
    "conversations list": (),
    "conversations show": ("a",),
    "conversations delete": ("a", "--yes"),
    "inspect": ("a",),
    "keys add": ("ada",),
    "keys list": (),
    "keys set": ("ada", "--rpm", "5"),
    "keys rotate": ("ada",),
    "keys revoke": ("ada",),
    "delete": ("--all", "--yes"),
    "prune": (),
    "verify": (),
    "rekey": (),
    "migrate": ("--from", "{store}", "--to", "sqlite:///{folder}/other.db"),
    "import openwebui": ("{folder}/webui.db", "--no-credential"),
}
DO_THEIR_WORK = {"backup", "upgrade"}
WHAT_IS_WRONG = {
    True: "is none of encryption.key",
    False: "is encrypted: set encryption.key",
}
REFUSED = (
    "has schema {0}, and this version needs {1}. Nothing has been changed: make a backup, then start `sidecar"
    " serve` once or run `sidecar upgrade`, or use the version that wrote it\n"
)


def restore(file: Path, number: int) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((FOLDER / f"{number:04}.sql").read_text("utf-8"))


def sealed(file: Path) -> None:
    talk(file, ("a", "hi", {}), encryption={"key": KEY})
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(BACK_TO_12.read_text("utf-8"))


def schema_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


@pytest.fixture(params=["plain", "sealed"])
def older(request, file, monkeypatch):
    """The number of an older schema that the file has."""
    if request.param == "plain":
        restore(file, 5)
        return 5
    sealed(file)
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", KEY)
    return 12


@pytest.fixture
def database_of(server: Server, monkeypatch):
    """Makes a database as a sidecar of schema 7 did, with these keys; gives its URL."""

    def made(keys: Sequence[bytes] = ()) -> str:
        url = server.url(asyncio.run(server.database()))

        async def make() -> None:
            store = make_store(url, keys=keys)
            await store.open()
            await store.close()

        first = migrations("postgres")[:7]
        with monkeypatch.context() as patched:
            patched.setattr(schema, "migrations", lambda _: first)
            asyncio.run(make())
        return url

    return made


@pytest.fixture
def database(database_of):
    return database_of()


def what_is_in(database: str) -> list[tuple[object, ...]]:
    async def ask() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(database.partition("&")[0])
        try:
            found = [tuple(await connection.fetchrow("SELECT version, value FROM sidecar_schema, secret"))]
            query = "SELECT table_name, column_name FROM information_schema.columns ORDER BY 1, 2"
            return [*found, *map(tuple, await connection.fetch(query))]
        finally:
            await connection.close()

    return asyncio.run(ask())


def arguments(command: str, store: str, folder: Path) -> list[str]:
    words = [each.format(store=store, folder=folder) for each in COMMANDS[command]]
    return [*command.split(), *words, *(() if command == "migrate" else ("--store", store))]


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_no_command_is_left_out_here():
    assert COMMANDS.keys() | DO_THEIR_WORK == parsers._COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_an_older_schema_is_refused_and_keeps_every_byte(
    older, file, tmp_path, capsys, monkeypatch, command
):
    monkeypatch.setenv("SIDECAR_RETENTION__MAX_DAYS", "1")
    Webui(tmp_path / "webui.db").add("chat-1", said("u1", None, "hi"))
    before = bytes_in(tmp_path)
    capsys.readouterr()

    assert main(arguments(command, f"sqlite:///{file}", tmp_path)) == 1

    told = f"sidecar: the store {file} {REFUSED.format(older, NEWEST)}"
    assert capsys.readouterr() == ("", told)
    assert bytes_in(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_of_an_older_schema_is_refused_and_stays(database, tmp_path, capsys, monkeypatch, command):
    monkeypatch.setenv("SIDECAR_RETENTION__MAX_DAYS", "1")
    Webui(tmp_path / "webui.db").add("chat-1", said("u1", None, "hi"))
    before = what_is_in(database)
    capsys.readouterr()

    assert main(arguments(command, database, tmp_path)) == 1

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.endswith(REFUSED.format(7, newest_schema("postgres")))
    assert what_is_in(database) == before


def test_an_older_store_to_migrate_to_is_refused_as_well(run, file, tmp_path):
    restore(file, 5)
    talk(tmp_path / "new.db", ("a", "hi", {}))
    before = file.read_bytes()
    names = ("--from", f"sqlite:///{tmp_path}/new.db", "--to", f"sqlite:///{file}")
    code, _, err = run("migrate", *names, store=None)

    assert (code, err) == (1, f"sidecar: the store {file} {REFUSED.format(5, NEWEST)}")
    assert file.read_bytes() == before


def test_what_lies_in_the_log_of_an_older_file_stays_there(run, file, tmp_path):
    restore(tmp_path / "in-use.db", 5)
    with closing(sqlite3.connect(tmp_path / "in-use.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("INSERT INTO learned (name, value) VALUES ('tokens:m', x'01')")
        for end in ("", "-wal"):  # as a killed sidecar leaves them
            Path(f"{file}{end}").write_bytes((tmp_path / f"in-use.db{end}").read_bytes())
    log = Path(f"{file}-wal")
    before = file.read_bytes(), log.read_bytes()
    code, out, err = run("verify")

    assert (code, out) == (1, "")
    assert err.endswith(REFUSED.format(5, NEWEST))
    assert before[1]
    assert (file.read_bytes(), log.read_bytes()) == before


def test_a_file_whose_newer_schema_lies_in_its_log_is_opened(run, file, tmp_path):
    talk(tmp_path / "in-use.db", ("a", "hi", {}))
    with closing(sqlite3.connect(tmp_path / "in-use.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 5")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute(f"PRAGMA user_version = {NEWEST}")
        for end in ("", "-wal"):
            Path(f"{file}{end}").write_bytes((tmp_path / f"in-use.db{end}").read_bytes())

    assert run("verify")[0] == 0


def test_a_backup_of_an_older_file_keeps_its_schema_and_says_so(run, older, file, tmp_path, monkeypatch):
    monkeypatch.delenv("SIDECAR_ENCRYPTION__KEY", raising=False)  # a copy needs none
    before = file.read_bytes()
    copy = tmp_path / "copy.db"

    told = f"sidecar: the store was copied to {copy}, with the schema that it has, {older}\n"
    assert run("backup", str(copy)) == (0, "", told)
    assert file.read_bytes() == before
    assert schema_of(copy) == older
    with closing(sqlite3.connect(copy)) as copied, closing(sqlite3.connect(file)) as first:
        query = "SELECT * FROM message ORDER BY number"
        assert copied.execute(query).fetchall() == first.execute(query).fetchall() != []


def test_a_backup_of_an_older_database_is_the_databases_own(database, tmp_path, capsys):
    before = what_is_in(database)

    assert main(["backup", str(tmp_path / "copy.db"), "--store", database]) == 1
    assert "this store is not a file" in capsys.readouterr().err
    assert what_is_in(database) == before


def test_a_file_is_upgraded_without_serving(run, older, file):
    dry = f"sidecar: the store has schema {older}, and this version needs {NEWEST}\n"
    assert run("upgrade", "--dry-run") == (0, "", dry)
    assert schema_of(file) == older

    code, out, err = run("upgrade")
    assert (code, out) == (0, "")
    assert f"sidecar: the store was brought from schema {older} to {NEWEST} in 0." in err
    assert schema_of(file) == NEWEST
    assert run("verify")[0] == 0
    told = (0, "", f"sidecar: the store has schema {NEWEST} already, which is this version's\n")
    assert run("upgrade") == run("upgrade", "--dry-run") == told


def test_a_database_is_upgraded_without_serving(database, capsys):
    newest = newest_schema("postgres")
    before = what_is_in(database)

    assert main(["upgrade", "--dry-run", "--store", database]) == 0
    dry = f"sidecar: the store has schema 7, and this version needs {newest}\n"
    assert capsys.readouterr().err == dry
    assert what_is_in(database) == before
    assert main(["upgrade", "--store", database]) == 0
    assert f"sidecar: the store was brought from schema 7 to {newest} in 0." in capsys.readouterr().err
    assert main(["verify", "--store", database]) == 0
    assert main(["upgrade", "--store", database]) == 0
    told = f"sidecar: the store has schema {newest} already, which is this version's\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize("key", ["", base64.b64encode(bytes(32)).decode()])
def test_a_store_that_could_not_be_opened_is_not_upgraded(run, file, monkeypatch, key):
    sealed(file)
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", key)
    before = file.read_bytes()
    code, out, err = run("upgrade")

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert WHAT_IS_WRONG[bool(key)] in err
    with pytest.raises(StoreUnavailable):
        serve_for_a_moment(f"sqlite:///{file}", encryption={"key": key})
    assert (schema_of(file), file.read_bytes()) == (12, before)


@pytest.mark.parametrize("key", ["", base64.b64encode(bytes(32)).decode()])
def test_a_database_that_could_not_be_opened_is_not_upgraded(database_of, capsys, monkeypatch, key):
    database = database_of(keys=[bytes(range(32))])
    before = what_is_in(database)
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", key)

    assert main(["upgrade", "--store", database]) == 1
    assert WHAT_IS_WRONG[bool(key)] in capsys.readouterr().err
    assert what_is_in(database) == before


def serve_for_a_moment(store: str, **settings: object) -> None:
    async def serve() -> None:
        given = Settings.model_validate({"store": store, "listen": "127.0.0.1:0", **settings})
        async with running(given):
            pass

    asyncio.run(serve())


def upgrades_told(records: list[logging.LogRecord]) -> list[tuple[object, ...]]:
    told = [vars(each) for each in records if hasattr(each, "to")]
    assert 0 < told[-1].pop("seconds") < 60
    return [(each["msg"], each["from"], each["to"]) for each in told]


def test_the_server_upgrades_a_file_and_says_when_it_begins_and_has_ended(older, file, caplog):
    encryption = {} if older == 5 else {"encryption": {"key": KEY}}
    serve_for_a_moment(f"sqlite:///{file}", **encryption)

    assert schema_of(file) == NEWEST
    assert upgrades_told(caplog.records) == [
        ("bringing the store to a newer schema", older, NEWEST),
        ("the store has the newer schema", older, NEWEST),
    ]


def test_the_server_upgrades_a_database_and_says_when_it_begins_and_has_ended(database, caplog):
    serve_for_a_moment(database)

    newest = newest_schema("postgres")
    assert what_is_in(database)[0][0] == newest
    assert upgrades_told(caplog.records) == [
        ("bringing the store to a newer schema", 7, newest),
        ("the store has the newer schema", 7, newest),
    ]


async def test_several_workers_upgrade_a_file_once(file, tmp_path):
    restore(file, 5)
    async with serving("--workers", "2", "--store", f"sqlite:///{file}", folder=tmp_path):
        assert schema_of(file) == NEWEST
