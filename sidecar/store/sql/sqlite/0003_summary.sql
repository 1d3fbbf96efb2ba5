-- What stands for the turns that are left out for length. `hash` is the chain hash that names the front of
-- a path, so every branch has its own. The first one of a front stays: a prompt has to read the same for ever.
CREATE TABLE summary (
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    hash          BLOB    NOT NULL,
    text          TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    created_at    REAL    NOT NULL
) STRICT;
CREATE UNIQUE INDEX summary_by_hash ON summary (conversation, hash);
