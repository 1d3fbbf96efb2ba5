-- One request and its reply: what was done to it, and never a word of what was said. `id` begins with the time
-- (6 bytes, Unix milliseconds), so the one index serves a look-up as well as the newest first. `detail`: the
-- rest as MessagePack, by letters that are listed in `sidecar/conversation/exchange_record.py`.
-- A plain table with a unique index: cheaper to fill than WITHOUT ROWID, no larger, and rows that are not moved
-- leave no copies that a deletion would miss.
CREATE TABLE exchange (
    number         INTEGER PRIMARY KEY,
    conversation   INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    id             BLOB    NOT NULL,
    began_at       INTEGER NOT NULL,
    parent         BLOB,
    outcome        TEXT    NOT NULL,
    model          TEXT,
    status         INTEGER,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    duration_ms    INTEGER,
    error          TEXT,
    detail         BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX exchange_by_id ON exchange (conversation, id);
