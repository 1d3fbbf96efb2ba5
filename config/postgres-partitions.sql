-- Divides the large tables of a store in PostgreSQL into 16 parts each, by hash, so that vacuum, index builds and
-- backups work on a sixteenth at a time. Worth it from some hundred million messages on; below that, leave it.
--
-- Run it once, while the store is empty: start a sidecar, stop it, then
--
--   psql "postgresql://USER@HOST/DATABASE" -v ON_ERROR_STOP=1 -f config/postgres-partitions.sql
--
-- Nothing else changes: every query of a request names the conversation, or the hash of a path, and so goes to one
-- part alone.
-- To divide a store that is in use, make a second one, divide it, and `sidecar migrate` from the first to that.

DO $$
DECLARE
    parts CONSTANT integer := 16;
    each record;
    held boolean;
BEGIN
    FOR each IN
        SELECT * FROM (VALUES
            ('conversation', 'number'), ('message', 'conversation'), ('echo', 'conversation'),
            ('system_prompt', 'conversation'), ('summary', 'conversation'), ('known_by', 'hash'),
            ('exchange', 'conversation'), ('thread', 'conversation'), ('part', 'conversation'),
            ('search_message', 'segment'), ('search_done', 'conversation'), ('search_segment', 'segment'),
            ('search_row', 'segment'), ('kept_request', 'conversation'),
            ('running_response', 'conversation'), ('running_event', 'conversation')
        ) AS divided (name, part_key)
    LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', each.name);
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', each.name) INTO held;
        IF held THEN
            RAISE EXCEPTION '% is not empty: only an empty store can be divided', each.name;
        END IF;
        EXECUTE format('ALTER TABLE %I RENAME TO %I', each.name, each.name || '_whole');
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY HASH (%I)',
            each.name, each.name || '_whole', each.part_key);
        EXECUTE format('DROP TABLE %I', each.name || '_whole');
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                each.name || '_' || part, each.name, parts, part);
        END LOOP;
    END LOOP;
END
$$;
