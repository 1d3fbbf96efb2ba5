-- Most conversations are found by the id that the client sends. By what they hold are found those alone that
-- began without a key, and only these are listed here: by the hash of a stored path, an echo of it, or the digest
-- of a reply, all of them keyed by tenant. With the conversation in the key the newest of thousands that read alike
-- are found without passing through the others. No foreign key: it would have to look through the whole table.
CREATE TABLE known_by (
    hash          BLOB    NOT NULL,
    conversation  INTEGER NOT NULL,
    PRIMARY KEY (hash, conversation)
) STRICT, WITHOUT ROWID;

-- Does anything follow a message? Nothing does after a tip: there is one for each branch. The one that was
-- recorded last stands in its conversation, whose row every turn writes in any case; the others stand here.
ALTER TABLE conversation ADD COLUMN newest BLOB;
CREATE TABLE tip (
    conversation  INTEGER NOT NULL REFERENCES conversation (number) ON DELETE CASCADE,
    message       BLOB    NOT NULL,
    PRIMARY KEY (conversation, message)
) STRICT, WITHOUT ROWID;

-- `is_crowded`: its conversation has more roots than are looked at without an index.
ALTER TABLE thread ADD COLUMN is_crowded INTEGER NOT NULL DEFAULT 0;

INSERT INTO known_by
SELECT substr(m.id, 1, 16), c.number FROM conversation c CROSS JOIN message m ON m.conversation = c.number
WHERE c."key" IS NULL AND c.tenant != x''
UNION
SELECT m.digest, c.number FROM conversation c CROSS JOIN message m ON m.conversation = c.number
WHERE c."key" IS NULL AND c.tenant != x'' AND m.source = 'upstream'
UNION
SELECT e.hash, c.number FROM conversation c CROSS JOIN echo e ON e.conversation = c.number
WHERE c."key" IS NULL AND c.tenant != x''
ORDER BY 1, 2;

INSERT INTO tip
SELECT conversation, id FROM message m INDEXED BY message_by_id
WHERE NOT EXISTS (
    SELECT 1 FROM message n INDEXED BY message_by_parent WHERE n.conversation = m.conversation AND n.parent = m.id
) ORDER BY conversation, id;

UPDATE thread SET is_crowded = 1 WHERE conversation IN (
    SELECT conversation FROM thread GROUP BY conversation HAVING count(*) > 64);

DROP INDEX message_by_hash;
DROP INDEX message_by_answer;
DROP INDEX message_by_parent;
DROP INDEX echo_anywhere;
DROP INDEX thread_by_age;
CREATE INDEX thread_by_age ON thread (conversation, updated_at, root) WHERE is_crowded;
