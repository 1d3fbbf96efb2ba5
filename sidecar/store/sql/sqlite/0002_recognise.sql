-- A request without a conversation id is recognised by its history: by the hash of a stored path, in
-- whatever conversation that is, or by a reply in it. With the conversation in the index, the newest
-- conversations that hold it are found without passing through all messages that read alike.
-- Hashes and digests are keyed by tenant.
CREATE INDEX message_by_hash ON message (substr(id, 1, 16), conversation);
CREATE INDEX echo_anywhere ON echo (hash, conversation);
DROP INDEX message_by_answer;
CREATE INDEX message_by_answer ON message (digest, conversation) WHERE source = 'upstream';
