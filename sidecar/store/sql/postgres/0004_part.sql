-- Large parts of messages, such as images and documents, each once in its conversation: their rows in `message` hold
-- the rest, and the names (`sidecar/store/parts.py`). A sidecar of before this table could not read such a message, and
-- may be at work until it is replaced: so there are some only where `shares_parts` says so, as in every database that
-- is made from now on.
CREATE TABLE part (
    conversation  uuid  NOT NULL,
    name          bytea NOT NULL,
    bytes         bytea NOT NULL,
    PRIMARY KEY (conversation, name)
);
ALTER TABLE sidecar_schema ADD COLUMN shares_parts boolean NOT NULL DEFAULT false;
UPDATE sidecar_schema SET shares_parts = NOT EXISTS (SELECT FROM secret);  -- which the first start makes last
