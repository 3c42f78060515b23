-- The film rental, and beside it what a SQLite schema can hold that others cannot: tables without
-- rowid, strict tables, columns without a type, generated columns, partial and expression
-- indexes, foreign keys to nowhere, hostile names. All rows are made by SQL.
BEGIN;
CREATE TABLE country (country_id INTEGER PRIMARY KEY AUTOINCREMENT, country TEXT NOT NULL, last_update TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE city (city_id INTEGER PRIMARY KEY AUTOINCREMENT, city TEXT NOT NULL, country_id INT NOT NULL REFERENCES country ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE INDEX idx_fk_country_id ON city (country_id);
CREATE TABLE language (language_id SMALLINT NOT NULL, name CHAR(20) NOT NULL COLLATE NOCASE, PRIMARY KEY (language_id));
CREATE TABLE category (category_id TINYINT NOT NULL PRIMARY KEY, name VARCHAR(25) NOT NULL UNIQUE, parent_id TINYINT REFERENCES category DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE film (
    film_id INTEGER PRIMARY KEY,
    title VARCHAR(255) NOT NULL COLLATE NOCASE,
    description TEXT DEFAULT NULL,
    release_year INT CHECK (release_year BETWEEN 1901 AND 2155),
    language_id SMALLINT NOT NULL REFERENCES language,
    rental_rate DECIMAL(4,2) NOT NULL DEFAULT 4.99,
    length SMALLINT,
    rating VARCHAR(10) DEFAULT 'G' CONSTRAINT known_rating CHECK (rating IN ('G', 'PG', 'PG-13', 'R', 'NC-17')),
    poster BLOB,
    score REAL,
    slug TEXT GENERATED ALWAYS AS (lower(replace(title, ' ', '-'))) STORED,
    hours AS (length / 60) VIRTUAL
);
CREATE INDEX film_title ON film (title COLLATE NOCASE DESC);
CREATE UNIQUE INDEX film_long ON film (title, release_year) WHERE length > 180;
CREATE INDEX film_expression ON film (lower(title), length / 60);
CREATE TABLE actor (actor_id NUMERIC NOT NULL PRIMARY KEY, first_name VARCHAR(45) NOT NULL, last_name VARCHAR(45) NOT NULL);
CREATE INDEX idx_actor_last_name ON actor (last_name);
CREATE TABLE film_actor (
    actor_id NUMERIC NOT NULL REFERENCES actor, film_id INTEGER NOT NULL REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
    PRIMARY KEY (actor_id, film_id)
) WITHOUT ROWID;
CREATE TABLE store (store_id INTEGER PRIMARY KEY, manager_staff_id INTEGER NOT NULL UNIQUE REFERENCES staff (staff_id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE staff (staff_id INTEGER PRIMARY KEY, name TEXT NOT NULL, store_id INTEGER NOT NULL REFERENCES store, active BOOLEAN NOT NULL DEFAULT TRUE, picture BLOB);
CREATE TABLE customer (
    customer_id INTEGER PRIMARY KEY, store_id INTEGER NOT NULL REFERENCES store, email TEXT, active TEXT DEFAULT 'Y' NOT NULL, balance REAL, anything ANY, UNIQUE (store_id, email)
) STRICT;
CREATE TABLE rental (
    rental_id INTEGER PRIMARY KEY AUTOINCREMENT, rental_date DATETIME NOT NULL, film_id INT NOT NULL REFERENCES film, customer_id INT NOT NULL REFERENCES customer,
    return_date DATETIME, UNIQUE (rental_date, film_id, customer_id)
);

CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) SELECT i FROM n;
INSERT INTO country (country, last_update) SELECT 'Country ' || i, '2022-02-15 04:45:30' FROM n WHERE i <= 109;
DELETE FROM country WHERE country_id > 105;
INSERT INTO city (city, country_id) SELECT 'Città ' || i, 1 + i % 105 FROM n WHERE i <= 600;
INSERT INTO language SELECT i, 'Language ' || i FROM n WHERE i <= 6;
INSERT INTO category SELECT i, 'Category ' || i, nullif(i / 3, 0) FROM n WHERE i <= 16;
INSERT INTO film (film_id, title, description, release_year, language_id, rental_rate, length, rating, poster, score)
    SELECT i, 'FILM ' || i, CASE WHEN i % 5 = 0 THEN replace(hex(zeroblob(3000)), '0', 'x') WHEN i % 7 = 0 THEN '' END, 1950 + i % 70, 1 + i % 6, i % 500 / 100.0, 40 + i % 160,
        CASE i % 5 WHEN 0 THEN 'G' WHEN 1 THEN 'PG' WHEN 2 THEN 'PG-13' WHEN 3 THEN 'R' ELSE 'NC-17' END,
        CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN x'' ELSE CAST(char(i % 128) || 'png' AS BLOB) END, i / 3.0
    FROM n WHERE i <= 1000;
INSERT INTO actor SELECT i, 'ACTOR' || (i % 50), 'Last' || i FROM n WHERE i <= 200;
INSERT OR IGNORE INTO film_actor SELECT 1 + i % 200, 1 + i * 17 % 1000 FROM n WHERE i <= 2000;
INSERT INTO store VALUES (1, 1), (2, 2);
INSERT INTO staff VALUES (1, 'Mike', 1, 1, x'00ff'), (2, 'Jon', 2, 0, NULL);
INSERT INTO customer SELECT i, 1 + i % 2, CASE WHEN i % 10 = 0 THEN NULL ELSE 'C' || i || '@mail' END, 'Y', i / 8.0, CASE i % 4 WHEN 0 THEN i WHEN 1 THEN 't' || i WHEN 2 THEN x'00' END FROM n WHERE i <= 599;
INSERT INTO rental (rental_date, film_id, customer_id, return_date)
    SELECT datetime('2022-05-24 22:53:30', i || ' minutes'), 1 + i % 1000, 1 + i % 599, CASE WHEN i % 11 = 0 THEN NULL ELSE datetime('2022-05-27', i || ' minutes') END FROM n WHERE i <= 8000;

-- Left behind: views and triggers.
CREATE VIEW film_list AS SELECT f.film_id, f.title, l.name AS language FROM film f JOIN language l USING (language_id);
CREATE TRIGGER film_touched AFTER UPDATE ON film BEGIN SELECT 1; END;

-- No key, duplicates, NULLs in keys, a key that is no rowid, no declared type.
CREATE TABLE no_key (a, b TEXT);
INSERT INTO no_key SELECT i % 10, CASE WHEN i % 3 = 0 THEN NULL ELSE 'b' || (i % 4) END FROM n WHERE i <= 100;
CREATE TABLE empty_table (id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE desc_key (id INTEGER PRIMARY KEY DESC, v TEXT);
INSERT INTO desc_key SELECT i, 'v' || i FROM n WHERE i <= 20;
CREATE TABLE text_key (id TEXT PRIMARY KEY, v INT) WITHOUT ROWID;
INSERT INTO text_key SELECT 'k' || i, i FROM n WHERE i <= 300;
CREATE TABLE three_keys (a INT, b TEXT COLLATE NOCASE, c BLOB, v REAL, PRIMARY KEY (c, a DESC, b));
INSERT INTO three_keys SELECT i % 7, 'b' || i, CAST(i AS BLOB), i / 7.0 FROM n WHERE i <= 300;
CREATE TABLE cycle_a (id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES cycle_b);
CREATE TABLE cycle_b (id INTEGER PRIMARY KEY, c INTEGER NOT NULL REFERENCES cycle_c ON DELETE CASCADE ON UPDATE SET DEFAULT);
CREATE TABLE cycle_c (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES cycle_a);
INSERT INTO cycle_a SELECT i, i FROM n WHERE i <= 30;
INSERT INTO cycle_b SELECT i, i FROM n WHERE i <= 30;
INSERT INTO cycle_c SELECT i, i FROM n WHERE i <= 30;
CREATE TABLE "defaults" (
    id INTEGER PRIMARY KEY, n INTEGER DEFAULT -5, f REAL DEFAULT (1.5 + 1), t TEXT DEFAULT 'it''s', b BLOB DEFAULT x'00ff', d TEXT DEFAULT CURRENT_DATE, e TEXT DEFAULT (hex(zeroblob(2))),
    CONSTRAINT odd_check CHECK (n < 10 OR t LIKE 'it%' ESCAPE '!')
);
INSERT INTO "defaults" (id, d) SELECT i, '2024-01-01' FROM n WHERE i <= 10;

-- Names (contract, 4.3).
CREATE TABLE "select" ("from" INTEGER PRIMARY KEY, "order" TEXT, "user" TEXT, "null" INTEGER, "rowid" TEXT);
INSERT INTO "select" VALUES (1, 'by', 'me', NULL, 'not the row id');
CREATE TABLE "a""b" ("c""d" INTEGER PRIMARY KEY, "e'f" TEXT DEFAULT 'it''s "quoted" \', "g]h" TEXT, `i``j` TEXT, "k\l" TEXT);
INSERT INTO "a""b" ("c""d", "g]h") VALUES (1, '\.'), (2, '\N');
CREATE TABLE "x""; DROP TABLE y; --" ("' OR '1'='1" INTEGER, "/*" TEXT, "--" TEXT, "${jndi:x}" TEXT, "%s" TEXT, "?" TEXT, "$1" TEXT, ":name" TEXT, "@v" TEXT);
INSERT INTO "x""; DROP TABLE y; --" VALUES (1, '2', '3', '4', '5', '6', '7', '8', '9');
CREATE TABLE " " ("  " INTEGER PRIMARY KEY, " lead" TEXT, "trail " TEXT, "dot.ted" TEXT, "tab	bed" TEXT, "line
feed" TEXT);
INSERT INTO " " VALUES (1, ' ', '', '.', char(9), char(10));
CREATE TABLE "Ünïcode" ("ä" INTEGER, "Ä" INTEGER, "ı" INTEGER, "I" INTEGER, "ß" INTEGER, "👩‍👩‍👧" INTEGER);
INSERT INTO "Ünïcode" VALUES (1, 2, 3, 4, 5, 6);
CREATE TABLE "../../etc/passwd" ("C:\x" INTEGER PRIMARY KEY);
INSERT INTO "../../etc/passwd" VALUES (1);
CREATE INDEX "index ""of"" ; --" ON "x""; DROP TABLE y; --" ("/*");
DROP TABLE n;
COMMIT;
ANALYZE;
