-- A request as its client sent it, if `inspector.keep_requests` says that it is kept: `bytes` is what
-- `sidecar/exchange/client_request.py` packs. `id` and `born` are those of its exchange.
CREATE TABLE kept_request (
    conversation  uuid   NOT NULL,
    born          bigint NOT NULL,
    id            bytea  NOT NULL,
    bytes         bytea  NOT NULL,
    PRIMARY KEY (conversation, born, id)
);
