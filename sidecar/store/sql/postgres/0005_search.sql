-- The index of what was said, if `search.index` is on; see `sidecar/store/postings.py`. `search_message` numbers the
-- messages, 1024 to a segment, as they come; `search_done` tells how many places of a conversation have been numbered.
-- Only segments listed in `search_segment` are whole; `stamp` tells by which rules and under which secret one was made.
-- `born` as in `exchange`.
CREATE TABLE search_message (
    segment          integer  NOT NULL,
    place         smallint NOT NULL,
    conversation  uuid     NOT NULL,
    born          bigint   NOT NULL,
    id            bytea    NOT NULL,
    PRIMARY KEY (segment, place)
);
CREATE INDEX search_message_by_conversation ON search_message (conversation, segment);
CREATE TABLE search_done (
    conversation  uuid    PRIMARY KEY,
    born          bigint  NOT NULL,
    positions     integer NOT NULL
);
CREATE TABLE search_segment (
    segment   integer PRIMARY KEY,
    stamp  bytea   NOT NULL
);
CREATE TABLE search_row (
    segment    integer  NOT NULL,
    bucket  smallint NOT NULL,
    keys    bytea    NOT NULL,
    PRIMARY KEY (segment, bucket)
);
