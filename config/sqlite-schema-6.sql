-- Takes a store in a file back from schema 7 to schema 6, for a sidecar of before: nothing of it is lost. From
-- schema 8 `sqlite_schema_7.py` goes first; from here `sqlite-schema-5.sql` goes on to schema 5.
--
-- Stop every sidecar on the file, make a copy of it (`sidecar backup FILE`), then
--
--   sqlite3 -bail sidecar.db < config/sqlite-schema-6.sql
--
-- A newer sidecar brings it to schema 7 again when it starts. Needs SQLite 3.37 or newer, and room in the file's
-- folder for a fifth of the file.

BEGIN IMMEDIATE;
-- Fails, and with it all the rest, on a file of another schema.
CREATE TEMP TABLE checked (version INTEGER CHECK (version = 7));
INSERT INTO checked SELECT user_version FROM pragma_user_version;
DROP TABLE checked;

CREATE INDEX message_by_parent ON message (conversation, parent) WHERE parent IS NOT NULL;
CREATE INDEX message_by_hash ON message (substr(id, 1, 16), conversation);
CREATE INDEX message_by_answer ON message (digest, conversation) WHERE source = 'upstream';
CREATE INDEX echo_anywhere ON echo (hash, conversation);
DROP INDEX thread_by_age;
CREATE INDEX thread_by_age ON thread (conversation, updated_at, root);
ALTER TABLE thread DROP COLUMN is_crowded;
ALTER TABLE conversation DROP COLUMN newest;
DROP TABLE tip;
DROP TABLE known_by;
PRAGMA user_version = 6;
COMMIT;
