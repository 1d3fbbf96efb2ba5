-- Takes a store in a file back from schema 6 to schema 5, for a sidecar of before. What was said stays; what each chat
-- is known to send (all of it or what is new, its system message, its tools) goes, and is learned anew. From schema 7
-- `sqlite-schema-6.sql` goes first.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-5.sql
--
-- It prints 1, which is right. A newer sidecar brings it to schema 6 again when it starts.

PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 6));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

DROP TABLE thread;
PRAGMA user_version = 5;
COMMIT;
