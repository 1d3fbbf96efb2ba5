"""Open WebUI's own database, read-only, and not trusted.

Rules: not ours, so nothing is written to it, and no column counts that a version may lack. Its newer
versions keep messages as rows of `chat_message`, the older ones inside the JSON of `chat`, and some have
both with gaps in the first: a row wins, as it does for Open WebUI itself. The only SQL outside `store/`.

Such a file may have been made to do harm (https://sqlite.org/security.html). So only plain columns of plain
tables are read, never a view, a virtual table or a column that is computed; each row once and by its key;
each question has a time limit, each chat a size. One that cannot be read is `Unreadable`, and the others are.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.commands.openwebui.tables import Table
from sidecar.commands.openwebui.uploads import Image, Uploads
from sidecar.errors import SidecarError
from sidecar.printable import printable

__all__ = ["MAX_MESSAGES", "MAX_SIZE", "Chat", "Database", "Unreadable", "opened", "time_of"]

MAX_SIZE = 64 << 20  # bytes of a chat, and of its images
MAX_MESSAGES = 100_000
_MAX_PIECES = 4_000_000  # values in one JSON text: each takes far more memory than its bytes
_QUERY_TIMEOUT = 60.0  # seconds for one question
_STEPS_PER_CHECK = 100_000  # SQLite's steps between two looks at the clock
_MAX_CACHE = 16 << 20
_DEFENSIVE = 1010  # SQLITE_DBCONFIG_DEFENSIVE
_MILLISECONDS = 10_000_000_000  # times above this are no seconds
_LATEST = 1e19  # nanoseconds
_CHAT = ("id", "user_id", "chat", "created_at", "updated_at")
_FIELDS = {
    "role": "role",
    "parent_id": "parentId",
    "content": "content",
    "output": "output",
    "model_id": "model",
    "files": "files",
    "usage": "usage",
    "error": "error",
    "done": "done",
    "created_at": "timestamp",
}
_JSON = frozenset(("content", "output", "files", "usage", "error"))


class Unreadable(SidecarError):
    """One chat cannot be brought in; `message` says why, in half a sentence. `id`: as far as it is known."""

    def __init__(self, message: str, id: object = None) -> None:
        super().__init__(message)
        self.id = id


@dataclass(slots=True, frozen=True)
class Chat:
    """One chat. `messages`: by id, each with `role`, `parentId`, `content` and what else there is."""

    id: str
    user: str
    created_at: float
    updated_at: float
    current: str | None
    messages: Mapping[str, Mapping[str, Any]]


@contextmanager
def opened(file: str, uploads: str | None = None) -> Iterator[Database]:
    """The database, while the body runs. Raises `SidecarError` if it is none.

    `uploads`: the folder with the images; without it the one beside the file.
    """
    path = Path(file)
    if not path.is_file():
        raise SidecarError(f"there is no file {file}; Open WebUI keeps webui.db in its DATA_DIR")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            _distrust(connection)
            yield Database(connection, path, Uploads(path.parent / "uploads", uploads))
    except sqlite3.Error as error:
        raise SidecarError(f"{file} cannot be read: {error}") from error


def _distrust(connection: sqlite3.Connection) -> None:
    for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_SIZE)
    # What is no UTF-8 stands out as halves of characters, and is refused with its chat.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    if configure := getattr(connection, "setconfig", None):  # from Python 3.12 on
        configure(_DEFENSIVE, True)


class Database:
    """Chats, and the images in them."""

    def __init__(self, connection: sqlite3.Connection, path: Path, uploads: Uploads) -> None:
        self._connection, self._path, self._uploads = connection, path, uploads
        #: Does a link lie where the images should? It is not followed.
        self.has_link = uploads.is_link
        self._deadline = 0.0
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS_PER_CHECK)
        self._left = _most_to_read(path)
        chats = Table.of("chat", self._ask)
        if chats is None or not chats.columns.issuperset(_CHAT):
            raise SidecarError(f"{path} has no table of chats: is it Open WebUI's webui.db?")
        self._chats = chats
        self._keys = chats.keys("ORDER BY created_at, id COLLATE BINARY")
        messages = Table.of("chat_message", self._ask)
        self._messages = messages if messages and {"id", "role", "chat_id"} <= messages.columns else None
        self._keys_of = self._messages.keys_by("chat_id") if self._messages else {}
        files = Table.of("file", self._ask)
        self._files = files if files and {"id", "path"} <= files.columns else None
        self._keys_of_files = self._files.keys_by("id") if self._files else {}

    def count(self) -> int:
        """How many chats there are."""
        return len(self._keys)

    def chats(self) -> Iterator[Chat | Unreadable]:
        """Every chat, oldest first."""
        for key in self._keys:
            try:
                chat = self._chat(key)
            except Unreadable as error:
                yield error
            except sqlite3.Error:
                yield Unreadable("the database is damaged there, or a value is too large")
            else:
                if chat is not None:  # else deleted meanwhile
                    yield chat

    def images(self) -> Image:
        """The images of one chat, as many as a request could carry; None for one that is not there.

        It may be on another machine.
        """
        return self._uploads.images(self._file, MAX_SIZE)

    def _file(self, id: str) -> Mapping[str, Any] | None:
        if self._files is None:
            return None
        names = [each for each in ("path", "meta") if each in self._files.columns]
        for key in self._keys_of_files.get(id, ())[:1]:
            try:
                row = self._files.row(names, key)
                return {**row, "meta": _decoded(row.get("meta"))} if row else None
            except (sqlite3.Error, Unreadable):
                return None
        return None

    def _chat(self, key: Sequence[Any]) -> Chat | None:
        optional = [each for each in ("current_message_id",) if each in self._chats.columns]
        row = self._chats.row([*_CHAT, *optional], key)
        if row is None:
            return None
        id = _text(row["id"])
        try:
            return self._chat_of(id, row)
        except Unreadable as error:
            raise Unreadable(error.message, id) from error
        except sqlite3.Error as error:
            raise Unreadable("the database is damaged there, or a value is too large", id) from error

    def _chat_of(self, id: str, row: Mapping[str, Any]) -> Chat:
        user = row["user_id"]
        if isinstance(user, bytes):
            raise Unreadable("its user is not text")
        content = _decoded(row["chat"])
        history = content.get("history") if isinstance(content, dict) else None
        history = history if isinstance(history, dict) else {}
        kept = history.get("messages")
        messages = (
            {id: each for id, each in kept.items() if _is_message(each)} if isinstance(kept, dict) else {}
        )
        messages |= self._rows(id, MAX_SIZE - _size(row))
        if len(messages) > MAX_MESSAGES:
            raise Unreadable(f"it has more than {MAX_MESSAGES:,} messages")
        current = row.get("current_message_id") or history.get("currentId")
        created_at, updated_at = time_of(row["created_at"]), time_of(row["updated_at"])
        return Chat(
            id=id,
            user=_text(user),
            created_at=created_at or 0.0,
            updated_at=updated_at or created_at or 0.0,
            current=current if isinstance(current, str) else None,
            messages=messages,
        )

    def _rows(self, chat: str, room: int) -> dict[str, Mapping[str, Any]]:
        if self._messages is None:
            return {}
        names = [name for name in _FIELDS if name in self._messages.columns]
        rows = {}
        for key in self._keys_of.get(chat, ()):
            row = self._messages.row(["id", *names], key)
            if row is None:  # deleted meanwhile
                continue
            room -= _size(row)
            if room < 0:
                raise Unreadable(f"it is larger than {MAX_SIZE >> 20} MiB")
            values = {name: _decoded(row[name]) if name in _JSON else row[name] for name in names}
            # The same message of a clone has another row.
            rows[_text(row["id"]).removeprefix(f"{chat}-")] = {
                _FIELDS[name]: value for name, value in values.items() if value is not None
            }
        return {id: each for id, each in rows.items() if _is_message(each)}

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of the answer. Raises `sqlite3.Error`.

        A file does not compress: one that gives more than it holds is a trick.
        """
        self._deadline = time.monotonic() + _QUERY_TIMEOUT
        try:
            rows = self._connection.execute(query, values).fetchall()
        except UnicodeDecodeError as error:  # of SQLite's own complaint, which repeats a name from the file
            raise sqlite3.DatabaseError("it holds names that are not UTF-8") from error
        self._left -= sum(len(value) for row in rows for value in row if isinstance(value, str | bytes))
        if self._left < 0:
            raise SidecarError(f"{printable(str(self._path))} gives more than it can hold: it is no webui.db")
        return rows


def _most_to_read(path: Path) -> int:
    """Bytes: twice the file and its log, since a text in UTF-16 may grow."""
    log = Path(f"{path}-wal")
    return _MAX_CACHE + 2 * (path.stat().st_size + (log.stat().st_size if log.is_file() else 0))


def time_of(value: object) -> float | None:
    """Seconds, of what may be milliseconds or nanoseconds; None for what is no time since 1970."""
    if not isinstance(value, int | float) or not 0 <= value < _LATEST:
        return None
    seconds = float(value)
    while seconds > _MILLISECONDS:
        seconds /= 1000
    return seconds


def _decoded(value: object) -> Any:
    if not isinstance(value, str | bytes):
        return value
    if len(value) > _MAX_PIECES and _pieces(value) > _MAX_PIECES:
        raise Unreadable("its JSON has too many values")
    try:
        return json.loads(value)
    except ValueError:  # older versions kept some texts as they are
        return value
    except RecursionError as error:
        raise Unreadable("its JSON is nested too deeply") from error


def _pieces(value: str | bytes) -> int:
    if isinstance(value, str):
        return sum(map(value.count, (",", "[", "{")))
    return sum(map(value.count, (b",", b"[", b"{")))


def _size(row: Mapping[str, Any]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str | bytes))


def _text(value: object) -> str:
    """An id; what is neither text nor a number is none."""
    return "" if value is None or isinstance(value, bytes) else str(value)


def _is_message(each: object) -> bool:
    return isinstance(each, Mapping) and isinstance(each.get("role"), str)
