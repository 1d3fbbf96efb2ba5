-- What one root and the messages under it are known by. A turn replaces the row of its root, but for what
-- `joined` in `sidecar/conversation/records.py` says. `born` is that of the conversation, for the reason given
-- for exchanges. By age, since a client can begin roots in one conversation without end.
CREATE TABLE thread (
    conversation  uuid             NOT NULL,
    born          bigint           NOT NULL,
    root          bytea            NOT NULL,
    head          bytea,
    system        bytea,
    model         text,
    tools         bytea            NOT NULL,
    is_answered   boolean          NOT NULL,
    is_thin       boolean          NOT NULL,
    is_whole      boolean          NOT NULL,
    updated_at    double precision NOT NULL,
    PRIMARY KEY (conversation, born, root)
);
CREATE INDEX thread_by_age ON thread (conversation, born, updated_at, root);
