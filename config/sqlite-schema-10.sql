-- Takes a store in a file back from schema 11 to schema 10, for a sidecar of before. What was said stays; the requests
-- that were kept as their clients sent them go. From schema 10 `sqlite-schema-9.sql` goes on.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-10.sql
--
-- It prints 1, which is right. A newer sidecar brings it to schema 11 again when it starts.

PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 11));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

DROP TABLE kept_request;
PRAGMA user_version = 10;
COMMIT;
