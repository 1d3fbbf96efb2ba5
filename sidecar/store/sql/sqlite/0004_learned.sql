-- What is learned of models, by names such as `tokens:MODEL`. The greater the number, the newer the value.
CREATE TABLE learned (
    number  INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    value   BLOB    NOT NULL
) STRICT;

-- The weights of the estimate that a conversation's prompts are cut by.
ALTER TABLE conversation ADD COLUMN weights BLOB;
