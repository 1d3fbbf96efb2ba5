-- Every table but the small ones at the end is keyed by what a database of many machines can share it out by:
-- the conversation, or the hash of a path. No sequence, no trigger and no foreign key reaches over such keys:
-- whoever writes to a conversation has locked its row first, which keeps the rest of it together.

-- A conversation belongs to a tenant. `key` is the client's id for it, NULL if it sent none. `number` is a hash
-- of `id`: as short in every table and index, whatever ids look like, and known without a look-up.
-- `born`: when it was first recorded, by this database's clock, in microseconds; the order among conversations.
-- `positions`: how many places in the order of recording its messages have taken.
CREATE TABLE conversation (
    number      uuid             PRIMARY KEY,
    id          text             NOT NULL,
    tenant      bytea            NOT NULL,
    key         text,
    tip         bytea,
    "full"      boolean          NOT NULL DEFAULT false,
    system      bytea,
    weights     bytea,
    created_at  double precision NOT NULL,
    updated_at  double precision NOT NULL,
    born        bigint           NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    positions   integer          NOT NULL DEFAULT 0
) WITH (fillfactor = 80);  -- every turn changes a row, and none of what the indexes hold
CREATE INDEX conversation_by_age ON conversation (born, number);
CREATE INDEX conversation_by_tenant ON conversation (tenant, born, number);
CREATE INDEX conversation_by_key ON conversation (key) WHERE key IS NOT NULL;

-- One node of the tree. `id` is the chain hash (16 bytes: names the path from the root) and 8 bytes that tell
-- apart nodes which read alike, so the one index serves look-ups by path as well as by node.
CREATE TABLE message (
    conversation   uuid             NOT NULL,
    position       integer          NOT NULL,
    id             bytea            NOT NULL,
    parent         bytea,
    digest         bytea            NOT NULL,
    exact          bytea            NOT NULL,
    role           text             NOT NULL,
    body           bytea            NOT NULL,
    source         text             NOT NULL CHECK (source IN ('client', 'upstream')),
    state          text             NOT NULL CHECK (state IN ('complete', 'partial', 'failed')),
    created_at     double precision NOT NULL,
    message_id     text,
    model          text,
    usage          bytea,
    finish_reason  text,
    PRIMARY KEY (conversation, id)
);

-- Does anything follow a message? Asked for every request, so it must not take a walk through the history.
CREATE INDEX message_by_parent ON message (conversation, parent) WHERE parent IS NOT NULL;

-- The hash under which a client names a node whose own hash is another: it sent an echo on the way.
CREATE TABLE echo (
    conversation  uuid  NOT NULL,
    hash          bytea NOT NULL,
    message       bytea NOT NULL,
    PRIMARY KEY (conversation, hash)
);

-- Leading system messages belong to requests and not to the tree; the first and the last are kept.
CREATE TABLE system_prompt (
    conversation  uuid  PRIMARY KEY,
    first         bytea NOT NULL,
    last          bytea NOT NULL
);

-- What stands for the turns that are left out for length. The first one of a front stays.
CREATE TABLE summary (
    conversation  uuid             NOT NULL,
    hash          bytea            NOT NULL,
    text          text             NOT NULL,
    model         text             NOT NULL,
    created_at    double precision NOT NULL,
    PRIMARY KEY (conversation, hash)
);

-- A request without a conversation id is recognised by its history: by the hash of a stored path, an echo of
-- it, or the digest of a reply, all of them keyed by tenant. Here is which conversations hold one; in the order
-- of the key the newest of thousands that read alike are found without passing through the others.
CREATE TABLE known_by (
    hash          bytea  NOT NULL,
    born          bigint NOT NULL,
    conversation  uuid   NOT NULL,
    PRIMARY KEY (hash, born, conversation)
);

-- Whose turn it is to append to a conversation, until when by this database's clock. There are rows only for
-- appends under way. `conversation` is a hash of the name under which the requests stand in line.
CREATE TABLE append_lease (
    conversation  uuid        PRIMARY KEY,
    holder        uuid        NOT NULL,
    ends          timestamptz NOT NULL
);

-- What is learned of models, by names such as `tokens:MODEL`. The greater the number, the newer the value.
CREATE TABLE learned (
    name    text   PRIMARY KEY,
    value   bytea  NOT NULL,
    number  bigint NOT NULL
);

CREATE TABLE secret (value bytea NOT NULL);
