-- Large parts of messages, such as images and documents, each once in its conversation: their rows in `message` hold
-- the rest, and the names (`sidecar/store/parts.py`). The rows that are there stay as they are. `bytes` may be kept
-- smaller (`sidecar/store/sqlite/bodies.py`).
CREATE TABLE part (
    number        INTEGER PRIMARY KEY,
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    name          BLOB    NOT NULL,
    bytes         BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX part_by_name ON part (conversation, name);
