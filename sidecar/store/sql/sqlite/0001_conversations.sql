-- A conversation belongs to a tenant. `key` is the client's id for it, NULL if it sent none.
-- `number` is only a short name for joins within this file; the id is what the outside knows.
CREATE TABLE conversation (
    number      INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    tenant      BLOB    NOT NULL,
    key         TEXT,
    tip         BLOB,
    "full"      INTEGER NOT NULL DEFAULT 0,
    system      BLOB,
    created_at  REAL    NOT NULL,
    updated_at  REAL    NOT NULL
) STRICT;

-- One node of the tree. `id` is the chain hash (16 bytes: names the path from the root) and 8 bytes that
-- tell apart nodes which read alike, so the one index serves look-ups by path as well as by node.
-- A plain table with a unique index: four times as cheap to fill as WITHOUT ROWID.
CREATE TABLE message (
    number         INTEGER PRIMARY KEY,
    conversation   INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    id             BLOB    NOT NULL,
    parent         BLOB,
    digest         BLOB    NOT NULL,
    exact          BLOB    NOT NULL,
    role           TEXT    NOT NULL,
    body           BLOB    NOT NULL,
    source         TEXT    NOT NULL CHECK (source IN ('client', 'upstream')),
    state          TEXT    NOT NULL CHECK (state IN ('complete', 'partial', 'failed')),
    message_id     TEXT,
    model          TEXT,
    usage          BLOB,
    finish_reason  TEXT,
    created_at     REAL    NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_by_id ON message (conversation, id);

-- Does anything follow a message? Asked for every request, so it must not take a walk through the history.
CREATE INDEX message_by_parent ON message (conversation, parent) WHERE parent IS NOT NULL;

-- A request without a conversation id is recognised by its last answer. Hashes are keyed by tenant.
CREATE INDEX message_by_answer ON message (digest, id) WHERE role = 'assistant';

-- The hash under which a client names a node whose own hash is another: it sent an echo on the way.
CREATE TABLE echo (
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    hash          BLOB    NOT NULL,
    message       BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX echo_by_hash ON echo (conversation, hash);

-- Leading system messages belong to requests and not to the tree; the first and the last are kept.
CREATE TABLE system_prompt (
    conversation  INTEGER PRIMARY KEY REFERENCES conversation (number) ON DELETE CASCADE,
    first         BLOB NOT NULL,
    last          BLOB NOT NULL
) STRICT;

CREATE TABLE secret (value BLOB NOT NULL) STRICT;
