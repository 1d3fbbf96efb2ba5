-- A response that is made in the background, until a while after its end. Its conversation may not be there yet, so
-- this has the id of it. `runner` is the process that makes it, `heard` when that last said so, `ended` when it was
-- over (Unix seconds), `unwanted` whether it is to be cancelled, `last` the number of its last event, and `told` the
-- response as it began, or ended, JSON.
CREATE TABLE running_response (
    number        INTEGER PRIMARY KEY,
    conversation  TEXT    NOT NULL,
    exchange      BLOB    NOT NULL,
    tenant        BLOB    NOT NULL,
    runner        TEXT    NOT NULL,
    told          BLOB    NOT NULL,
    last          INTEGER NOT NULL,
    unwanted      INTEGER NOT NULL,
    heard         REAL    NOT NULL,
    ended         REAL
) STRICT;
CREATE UNIQUE INDEX running_response_by_exchange ON running_response (conversation, exchange);
CREATE INDEX running_response_by_runner ON running_response (runner) WHERE ended IS NULL;
-- Its events as they were told, from one number to another, for whoever follows it; `bytes` is what
-- `sidecar/dialects/responses/in_background.py` packs.
CREATE TABLE running_event (
    number    INTEGER PRIMARY KEY,
    response  INTEGER NOT NULL REFERENCES running_response (number) ON DELETE CASCADE,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    bytes     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX running_event_by_number ON running_event (response, last);
