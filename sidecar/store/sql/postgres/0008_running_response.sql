-- A response that is made in the background, until a while after its end. Its conversation may not be there yet.
-- `runner` is the process that makes it, `heard` when that last said so, `ended` when it was over, `unwanted` whether
-- it is to be cancelled, `last` the number of its last event, and `told` the response as it began, or ended, JSON.
CREATE TABLE running_response (
    conversation  uuid        NOT NULL,
    exchange      bytea       NOT NULL,
    tenant        bytea       NOT NULL,
    runner        text        NOT NULL,
    told          bytea       NOT NULL,
    last          integer     NOT NULL,
    unwanted      boolean     NOT NULL,
    heard         timestamptz NOT NULL,
    ended         timestamptz,
    PRIMARY KEY (conversation, exchange)
);
CREATE INDEX running_response_by_runner ON running_response (runner) WHERE ended IS NULL;
CREATE INDEX running_response_by_age ON running_response (coalesce(ended, heard));
-- Its events as they were told, from one number to another, for whoever follows it; `bytes` is what
-- `sidecar/dialects/responses/in_background.py` packs.
CREATE TABLE running_event (
    conversation  uuid    NOT NULL,
    exchange      bytea   NOT NULL,
    first         integer NOT NULL,
    last          integer NOT NULL,
    bytes         bytea   NOT NULL,
    PRIMARY KEY (conversation, exchange, last)
);
