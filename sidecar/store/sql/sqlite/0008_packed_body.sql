-- The body of a large message may be kept smaller (`sidecar/store/sqlite/bodies.py`), in the place of the JSON that
-- it is read as. The rows that are there stay as they are. Nothing is done but to count up the version, so that a
-- sidecar that cannot read such a body refuses the file.
SELECT 1;
