-- What one root and the messages under it are known by. A turn replaces the row of its root, but for what
-- `joined` in `sidecar/conversation/records.py` says. The short columns stand first, so that none is read
-- by way of a long prompt. By age, since a client can begin roots in one conversation without end.
CREATE TABLE thread (
    number        INTEGER PRIMARY KEY,
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    root          BLOB    NOT NULL,
    head          BLOB,
    is_answered   INTEGER NOT NULL,
    is_thin       INTEGER NOT NULL,
    is_whole      INTEGER NOT NULL,
    updated_at    REAL    NOT NULL,
    model         TEXT,
    tools         BLOB    NOT NULL,
    system        BLOB
) STRICT;
CREATE UNIQUE INDEX thread_by_root ON thread (conversation, root);
CREATE INDEX thread_by_age ON thread (conversation, updated_at, root);
