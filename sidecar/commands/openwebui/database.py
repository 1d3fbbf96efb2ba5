"""Open WebUI's own database, read-only.

Rules: not ours, so nothing is written to it, and no column counts that a version may lack. Its newer
versions keep messages as rows of `chat_message`, the older ones inside the JSON of `chat`, and some have
both with gaps in the first: a row wins, as it does for Open WebUI itself. The only SQL outside `store/`.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import SidecarError

__all__ = ["Chat", "Database", "opened"]

_MILLISECONDS = 10_000_000_000  # times above this are no seconds
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
def opened(file: str) -> Iterator[Database]:
    """The database, while the body runs. Raises `SidecarError` if it is none."""
    path = Path(file)
    if not path.is_file():
        raise SidecarError(f"there is no file {file}; Open WebUI keeps webui.db in its DATA_DIR")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            names = {row[1] for row in connection.execute("PRAGMA table_info (chat)")}
            if not {"id", "user_id", "chat", "created_at", "updated_at"} <= names:
                raise SidecarError(f"{file} has no table of chats: is it Open WebUI's webui.db?")
            yield Database(connection, path)
    except sqlite3.Error as error:
        raise SidecarError(f"{file} cannot be read: {error}") from error


class Database:
    """Chats, and the images in them."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._uploads = path.parent / "uploads"
        self._columns = {row[1] for row in connection.execute("PRAGMA table_info (chat_message)")}
        self._has_files = bool(connection.execute("PRAGMA table_info (file)").fetchall())

    def count(self) -> int:
        """How many chats there are."""
        return int(self._connection.execute("SELECT count(*) FROM chat").fetchone()[0])

    def chats(self) -> Iterator[Chat]:
        """Every chat, oldest first."""
        for (id,) in self._connection.execute("SELECT id FROM chat ORDER BY created_at, id").fetchall():
            row = self._connection.execute("SELECT * FROM chat WHERE id = ?", (id,)).fetchone()
            if row is not None:  # deleted meanwhile
                yield self._chat(row)

    def image(self, id: str) -> str | None:
        """An uploaded image as a `data:` URL; None if it is not there, as on another machine."""
        if not self._has_files:
            return None
        row = self._connection.execute("SELECT path, filename, meta FROM file WHERE id = ?", (id,)).fetchone()
        if row is None or not row["path"]:
            return None
        # The path is that of Open WebUI's own machine or container.
        places = (Path(row["path"]), self._uploads / Path(row["path"]).name)
        place = next((each for each in places if each.is_file()), None)
        meta = _decoded(row["meta"])
        told = meta.get("content_type") if isinstance(meta, dict) else None
        kind = mimetypes.guess_type(place.name)[0] or told if place else None
        if place is None or not kind:
            return None
        return f"data:{kind};base64,{base64.b64encode(place.read_bytes()).decode()}"

    def _chat(self, row: sqlite3.Row) -> Chat:
        content = _decoded(row["chat"])
        history = content.get("history") if isinstance(content, dict) else None
        history = history if isinstance(history, dict) else {}
        kept = history.get("messages")
        messages = (
            {id: each for id, each in kept.items() if _is_message(each)} if isinstance(kept, dict) else {}
        )
        messages |= self._rows(row["id"])
        current = row["current_message_id"] if "current_message_id" in row.keys() else None  # noqa: SIM118 - a Row is its values
        created_at, updated_at = time_of(row["created_at"]), time_of(row["updated_at"])
        return Chat(
            id=str(row["id"]),
            user=str(row["user_id"] or ""),
            created_at=created_at or 0.0,
            updated_at=updated_at or created_at or 0.0,
            current=current or history.get("currentId"),
            messages=messages,
        )

    def _rows(self, chat: str) -> dict[str, Mapping[str, Any]]:
        if "chat_id" not in self._columns:
            return {}
        names = [name for name in _FIELDS if name in self._columns]
        query = f"SELECT id, {', '.join(names)} FROM chat_message WHERE chat_id = ?"
        rows = {}
        for row in self._connection.execute(query, (chat,)):
            values = {name: _decoded(row[name]) if name in _JSON else row[name] for name in names}
            # The same message of a clone has another row.
            rows[str(row["id"]).removeprefix(f"{chat}-")] = {
                _FIELDS[name]: value for name, value in values.items() if value is not None
            }
        return {id: each for id, each in rows.items() if _is_message(each)}


def time_of(value: object) -> float | None:
    """Seconds, of what may be milliseconds or nanoseconds."""
    if not isinstance(value, int | float):
        return None
    seconds = float(value)
    while seconds > _MILLISECONDS:
        seconds /= 1000
    return seconds


def _decoded(value: object) -> Any:
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except ValueError:  # older versions kept some texts as they are
        return value


def _is_message(each: object) -> bool:
    return isinstance(each, Mapping) and isinstance(each.get("role"), str)
