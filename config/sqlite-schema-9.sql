-- Takes a store in a file back from schema 10 to schema 9, for a sidecar of before. What was said stays; the index of
-- it goes. From schema 9 `sqlite_schema_8.py` goes on.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-9.sql
--
-- It prints 1, which is right. A newer sidecar brings it to schema 10 again when it starts, and makes the index anew.

PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 10));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

DROP TABLE search_row;
DROP TABLE search_segment;
PRAGMA user_version = 9;
COMMIT;
