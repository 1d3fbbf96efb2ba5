-- Keys that clients present (`sidecar keys`), without the keys themselves: `data` is what
-- `sidecar/access/client_keys.py` writes, with a hash of each. `version` counts the changes of a key, `used` is the
-- day of its last use, in days since 1970.
CREATE TABLE client_key (
    id       TEXT    PRIMARY KEY,
    version  INTEGER NOT NULL,
    data     BLOB    NOT NULL,
    used     INTEGER
) STRICT, WITHOUT ROWID;
