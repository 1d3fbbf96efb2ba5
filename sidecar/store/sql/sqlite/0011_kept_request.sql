-- A request as its client sent it, if `inspector.keep_requests` says that it is kept: `bytes` is what
-- `sidecar/exchange/client_request.py` packs. `exchange` is the id of its exchange.
CREATE TABLE kept_request (
    number        INTEGER PRIMARY KEY,
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    exchange      BLOB    NOT NULL,
    bytes         BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX kept_request_by_exchange ON kept_request (conversation, exchange);
