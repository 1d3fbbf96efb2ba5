-- Takes a store in a file back from schema 12 to schema 11, for a sidecar of before. What was said stays; the keys of
-- clients (`sidecar keys`) go, and with them who may ask. From schema 11 `sqlite-schema-10.sql` goes on.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-11.sql
--
-- It prints 1, which is right. A newer sidecar brings it to schema 12 again when it starts.

PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 12));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

DROP TABLE client_key;
PRAGMA user_version = 11;
COMMIT;
