-- One request and its reply: what was done to it, and never a word of what was said. `id` begins with the time
-- (6 bytes, Unix milliseconds), so the one index serves a look-up as well as the newest first. `detail`: the
-- rest as MessagePack, by letters that are listed in `sidecar/conversation/exchange_record.py`.
-- `born` is that of the conversation: what belongs to one that a sidecar of before this table has deleted is
-- never taken for part of a later one of the same id. `scrub` deletes it.
CREATE TABLE exchange (
    conversation   uuid    NOT NULL,
    born           bigint  NOT NULL,
    id             bytea   NOT NULL,
    began_at       bigint  NOT NULL,
    parent         bytea,
    outcome        text    NOT NULL,
    model          text,
    status         integer,
    input_tokens   integer,
    output_tokens  integer,
    duration_ms    integer,
    error          text,
    detail         bytea   NOT NULL,
    PRIMARY KEY (conversation, born, id)
);
