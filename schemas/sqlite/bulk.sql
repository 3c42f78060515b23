-- Enough rows for several chunks, and small tables around them: what the crash tests move.
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT i FROM n;
CREATE TABLE big (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER REFERENCES big,
    word TEXT NOT NULL,
    filler TEXT NOT NULL
);
INSERT INTO big SELECT i, nullif(i / 2, 0), 'word' || (i * 7919 % 60013), replace(hex(zeroblob(40)), '0', 'x') FROM n;
CREATE INDEX big_word ON big (word);
CREATE TABLE small (id INTEGER PRIMARY KEY, big INTEGER NOT NULL REFERENCES big, note TEXT UNIQUE);
INSERT INTO small SELECT i, i, 'note ' || i FROM n WHERE i <= 3000;
CREATE TABLE keyless (a INTEGER, b TEXT);
INSERT INTO keyless SELECT i % 100, 'b' || (i % 7) FROM n WHERE i <= 5000;
CREATE TABLE empty (id INTEGER PRIMARY KEY, v TEXT);
DROP TABLE n;
COMMIT;
