-- What SQLite lets into a column, whatever the column says. The numbers are those of the
-- contract, section 3.3. Tables named "odd_" hold values that only some targets can take.
BEGIN;
-- L-01: another class than declared
CREATE TABLE l_01_odd_int (id INTEGER PRIMARY KEY, v INT);
INSERT INTO l_01_odd_int VALUES (1, 1), (2, 'abc'), (3, x'00ff'), (4, 1.5), (5, NULL), (6, '12 ');
CREATE TABLE l_01_odd_text (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO l_01_odd_text VALUES (1, 'text'), (2, x'c328'), (3, NULL), (4, '');
CREATE TABLE l_01_untyped (id INTEGER PRIMARY KEY, v);
INSERT INTO l_01_untyped VALUES (1, 1), (2, 'abc'), (3, x'00ff'), (4, 1.5), (5, NULL), (6, '1'), (7, ''), (8, x'');
-- L-02: NULLs in a primary key that is no row id
CREATE TABLE l_02_odd_null_key (id TEXT PRIMARY KEY, v INT);
INSERT INTO l_02_odd_null_key VALUES (NULL, 1), (NULL, 2), ('a', 3);
CREATE TABLE l_02_desc (id INTEGER PRIMARY KEY DESC, v INT);
INSERT INTO l_02_desc VALUES (-9223372036854775808, 1), (0, 2), (9223372036854775807, 3);
-- L-03
CREATE TABLE l_03_counter (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
INSERT INTO l_03_counter VALUES (1, 'a'), (500, 'gone');
DELETE FROM l_03_counter WHERE id = 500;
CREATE TABLE l_03_no_rowid (a TEXT, b INTEGER, v TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;
INSERT INTO l_03_no_rowid VALUES ('x', 1, 'v'), ('', 1, NULL), ('x', 2, '');
-- L-04: beyond 2^63 a number is REAL
CREATE TABLE l_04_integers (id INTEGER PRIMARY KEY, v INTEGER);
INSERT INTO l_04_integers VALUES (-9223372036854775808, -9223372036854775808), (9223372036854775807, 9223372036854775807), (0, 0), (-1, -1), (1, 127), (2, 128), (3, 32767), (4, 32768), (5, 8388607), (6, 8388608), (7, 2147483647), (8, 2147483648), (9, NULL);
CREATE TABLE l_04_odd_beyond (id INTEGER PRIMARY KEY, v INTEGER);
INSERT INTO l_04_odd_beyond VALUES (1, 9223372036854775808), (2, 1e300);
-- L-05
CREATE TABLE l_05_odd_long (id INTEGER PRIMARY KEY, v VARCHAR(3));
INSERT INTO l_05_odd_long VALUES (1, 'abc'), (2, 'toolong'), (3, 'ééé');
-- L-06
CREATE TABLE l_06_numeric (id INTEGER PRIMARY KEY, v NUMERIC(10,3));
INSERT INTO l_06_numeric VALUES (1, '007'), (2, 1.5), (3, -0.001), (4, 1234567.125), (5, NULL), (6, 3);
CREATE TABLE l_06_odd_numeric (id INTEGER PRIMARY KEY, v NUMERIC);
INSERT INTO l_06_odd_numeric VALUES (1, '1e500'), (2, '-1e500'), (3, 'x');
-- L-07
CREATE TABLE l_07_dates (id INTEGER PRIMARY KEY, d DATE, t DATETIME, z TIMESTAMP);
INSERT INTO l_07_dates VALUES (1, '2024-02-29', '2024-02-29 23:59:59', '2024-02-29 23:59:59.999'), (2, '0001-01-01', '9999-12-31 23:59:59', NULL);
CREATE TABLE l_07_odd_dates (id INTEGER PRIMARY KEY, d DATE, t DATETIME);
INSERT INTO l_07_odd_dates VALUES (1, '2020-13-45', 1700000000), (2, 2460000.5, '');
-- L-08
CREATE TABLE l_08_booleans (id INTEGER PRIMARY KEY, b BOOLEAN);
INSERT INTO l_08_booleans VALUES (1, 0), (2, 1), (3, NULL);
CREATE TABLE l_08_odd_booleans (id INTEGER PRIMARY KEY, b BOOLEAN);
INSERT INTO l_08_odd_booleans VALUES (1, 't'), (2, 'true'), (3, 2);
-- L-09
CREATE TABLE l_09_text (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO l_09_text VALUES (1, ''), (2, NULL), (3, '\N'), (4, 'NULL'), (5, '\.'), (6, char(9, 10, 13, 92)), (7, char(0x2028, 0xFEFF, 0x1F600)), (8, ' '), (9, '"'';--'), (10, char(1, 2, 127));
INSERT INTO l_09_text SELECT 100, replace(hex(zeroblob(200000)), '0', 'é');
CREATE TABLE l_09_odd_text (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO l_09_odd_text VALUES (1, 'a' || char(0) || 'b'), (2, CAST(x'c328' AS TEXT));
-- L-10
CREATE TABLE l_10_generated (id INTEGER PRIMARY KEY, a INTEGER, s INTEGER AS (a * 2) STORED, v TEXT AS ('v' || a));
INSERT INTO l_10_generated (id, a) VALUES (1, 1), (2, NULL), (3, -3);
-- L-11
CREATE TABLE l_11_strict (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB) STRICT;
INSERT INTO l_11_strict VALUES (1, 1, 1.0, 'a', x'00'), (2, NULL, -0.0, '', x'');
CREATE TABLE l_11_odd_any (id INTEGER PRIMARY KEY, a ANY) STRICT;
INSERT INTO l_11_odd_any VALUES (1, 1), (2, 'a'), (3, x'00'), (4, 1.5), (5, NULL), (6, '1');
-- L-12
CREATE VIEW l_12_view AS SELECT * FROM l_09_text;
CREATE TRIGGER l_12_trigger AFTER INSERT ON l_09_text BEGIN SELECT 1; END;
-- L-13
CREATE TABLE l_13_parent (id INTEGER PRIMARY KEY);
CREATE TABLE l_13_child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES l_13_parent ON DELETE CASCADE ON UPDATE SET NULL);
INSERT INTO l_13_parent VALUES (1);
INSERT INTO l_13_child VALUES (1, 1), (2, NULL);
CREATE TABLE l_13_odd_orphan (id INTEGER PRIMARY KEY, p INTEGER REFERENCES l_13_parent);
INSERT INTO l_13_odd_orphan VALUES (1, 99);
CREATE TABLE l_13_odd_nowhere (id INTEGER PRIMARY KEY, p INTEGER REFERENCES no_such_table);
INSERT INTO l_13_odd_nowhere VALUES (1, NULL);
-- L-14
CREATE TABLE l_14_collations (a TEXT COLLATE NOCASE PRIMARY KEY, b TEXT COLLATE RTRIM, c TEXT);
CREATE UNIQUE INDEX l_14_partial ON l_14_collations (c) WHERE c <> '';
INSERT INTO l_14_collations VALUES ('a', 'x ', ''), ('B', 'x', ''), ('ä', NULL, 'c');
-- L-15
CREATE TABLE L_15_Case (Id INTEGER PRIMARY KEY, "MiXed" TEXT);
INSERT INTO l_15_case VALUES (1, 'x');
-- Floats and blobs
CREATE TABLE floats (id INTEGER PRIMARY KEY, r REAL);
INSERT INTO floats VALUES (1, 0.1), (2, 5e-324), (3, 1.7976931348623157e308), (4, -0.0), (5, 9007199254740993), (6, 1), (7, NULL);
CREATE TABLE odd_floats (id INTEGER PRIMARY KEY, r REAL);
INSERT INTO odd_floats VALUES (1, 9e999), (2, -9e999);
CREATE TABLE blobs (id INTEGER PRIMARY KEY, b BLOB);
INSERT INTO blobs VALUES (1, x''), (2, x'00'), (3, x'5c2e0a'), (4, NULL), (5, zeroblob(300000));
COMMIT;
