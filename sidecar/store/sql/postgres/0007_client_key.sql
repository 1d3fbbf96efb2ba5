-- Keys that clients present (`sidecar keys`), without the keys themselves: `data` is what
-- `sidecar/access/client_keys.py` writes, with a hash of each. `version` counts the changes of a key, `used` is the
-- day of its last use, in days since 1970.
CREATE TABLE client_key (
    id       text   PRIMARY KEY,
    version  bigint NOT NULL,
    data     bytea  NOT NULL,
    used     bigint
);
