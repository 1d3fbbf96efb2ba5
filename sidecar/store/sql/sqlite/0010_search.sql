-- The index of what was said, if `search.index` is on; see `sidecar/store/postings.py`. Segment N is of the messages
-- numbered N * 1024 to N * 1024 + 1023. Only those listed in `search_segment` are whole; `stamp` tells by which rules
-- and under which secret it was made. Row N * 128 + B of `search_row` holds the keys of its bucket B. Without WITHOUT
-- ROWID: rows that are not moved leave no copies that a deletion would miss.
CREATE TABLE search_segment (
    segment   INTEGER PRIMARY KEY,
    stamp  BLOB    NOT NULL
) STRICT;
CREATE TABLE search_row (
    number  INTEGER PRIMARY KEY,
    keys    BLOB    NOT NULL
) STRICT;
