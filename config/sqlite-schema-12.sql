-- Takes a store in a file back from schema 13 to schema 12, for a sidecar of before. What was said stays; what is known
-- of responses that were made in the background, beside their chats, goes. From schema 12 `sqlite-schema-11.sql` goes on.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-12.sql
--
-- It prints 1, which is right. A newer sidecar brings it to schema 13 again when it starts.

PRAGMA secure_delete = ON;
BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 13));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

DROP TABLE running_event;
DROP TABLE running_response;
PRAGMA user_version = 12;
COMMIT;
