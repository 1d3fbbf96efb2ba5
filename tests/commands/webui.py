"""A `webui.db` with the tables of the real one (Open WebUI 0.12), and what that would send of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager

SCHEMA = """
CREATE TABLE chat (
    id VARCHAR NOT NULL, user_id VARCHAR, title TEXT, created_at BIGINT, updated_at BIGINT, share_id TEXT,
    archived BOOLEAN, chat JSON, pinned BOOLEAN, meta JSON DEFAULT '{}' NOT NULL, folder_id TEXT, tasks JSON,
    summary TEXT, last_read_at BIGINT, current_message_id TEXT, variables JSON, timer_at BIGINT,
    PRIMARY KEY (id), UNIQUE (share_id)
);
CREATE TABLE chat_message (
    id TEXT NOT NULL, chat_id TEXT NOT NULL, user_id TEXT, role TEXT NOT NULL, parent_id TEXT, content JSON,
    output JSON, model_id TEXT, files JSON, sources JSON, embeds JSON, done BOOLEAN, status_history JSON,
    error JSON, usage JSON, created_at BIGINT, updated_at BIGINT, context_summary TEXT, meta JSON,
    PRIMARY KEY (id), FOREIGN KEY(chat_id) REFERENCES chat (id) ON DELETE CASCADE
);
CREATE TABLE file (
    id VARCHAR NOT NULL, user_id VARCHAR, filename TEXT, meta JSON, created_at BIGINT, hash TEXT, data JSON,
    updated_at BIGINT, path TEXT, PRIMARY KEY (id)
);
"""
# Before 0.7: no rows of messages, and fewer columns.
OLD_SCHEMA = """
CREATE TABLE chat (
    id VARCHAR NOT NULL, user_id VARCHAR, title TEXT, share_id TEXT, archived BOOLEAN, chat JSON,
    created_at BIGINT, updated_at BIGINT, PRIMARY KEY (id)
);
"""
START = 1_790_000_000


def said(id, parent, text, **more):
    return {"id": id, "parentId": parent, "role": "user", "content": text, **more}


def told(id, parent, text, **more):
    parts = [{"type": "output_text", "text": text}]
    output = (
        [{"type": "message", "id": f"msg_{id}", "status": "completed", "content": parts}] if text else None
    )
    fields = {"role": "assistant", "content": text, "output": output, "model": "demo", "done": True}
    return {"id": id, "parentId": parent, **fields, **more}


class Webui:
    """A file that is made, and filled chat by chat."""

    def __init__(self, file, *, old=False):
        self.file, self.old = file, old
        with self._open() as connection:
            connection.executescript(OLD_SCHEMA if old else SCHEMA)

    def add(self, id, *messages, user="ada", current=None, rows=True):
        """A chat of these messages; without `rows` they stand in the JSON alone, as in older versions."""
        known = {}
        for at, each in enumerate(messages):
            known[each["id"]] = {"timestamp": START + at, "childrenIds": [], **each}
            if each["parentId"] in known:
                known[each["parentId"]]["childrenIds"].append(each["id"])
        content = {"id": "", "title": "A title", "models": ["demo"], "params": {}}
        content["history"] = {
            "messages": known,
            "currentId": current or messages[-1]["id"] if messages else None,
        }
        values = (id, user, "A title", START, START + len(messages), json.dumps(content))
        names = "id, user_id, title, created_at, updated_at, chat"
        with self._open() as connection:
            connection.execute(f"INSERT OR REPLACE INTO chat ({names}) VALUES (?, ?, ?, ?, ?, ?)", values)
            if rows and not self.old:
                rows_of_it = [_row(id, user, each) for each in known.values()]
                places = ", ".join("?" * len(_COLUMNS))
                insert = f"INSERT OR REPLACE INTO chat_message ({', '.join(_COLUMNS)}) VALUES ({places})"
                connection.executemany(insert, rows_of_it)

    def upload(self, id, path, name, **meta):
        with self._open() as connection:
            connection.execute(
                "INSERT INTO file (id, path, filename, meta) VALUES (?, ?, ?, ?)",
                (id, str(path), name, json.dumps(meta)),
            )

    def execute(self, sql):
        with self._open() as connection:
            connection.execute(sql)

    def _open(self):
        return _committed(self.file)


@contextmanager
def _committed(file):
    with closing(sqlite3.connect(file)) as connection, connection:
        yield connection


_COLUMNS = (
    "id",
    "chat_id",
    "user_id",
    "role",
    "parent_id",
    "content",
    "output",
    "model_id",
    "files",
    "done",
    "error",
    "usage",
    "created_at",
)


def _row(chat, user, each):
    return (
        f"{chat}-{each['id']}",
        chat,
        user,
        each["role"],
        each["parentId"],
        json.dumps(each["content"]),
        json.dumps(each.get("output")),
        each.get("model"),
        json.dumps(each.get("files")),
        each.get("done", True),
        json.dumps(each.get("error")),
        json.dumps(each.get("usage")),
        each["timestamp"],
    )
