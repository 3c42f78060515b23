-- What only MySQL and MariaDB have, and what no target takes without a word: each table is refused,
-- asked about or listed. Named after what is odd about it.
SET NAMES utf8mb4;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';

CREATE TABLE m_01_beyond (id int NOT NULL PRIMARY KEY, v bigint unsigned);
INSERT INTO m_01_beyond VALUES (1, 1), (2, 18446744073709551615);

CREATE TABLE m_02_flags (id int NOT NULL PRIMARY KEY, v tinyint(1));
INSERT INTO m_02_flags VALUES (1, 0), (2, 1), (3, 2), (4, -1), (5, NULL);

CREATE TABLE m_07_nul (id int NOT NULL PRIMARY KEY, v varchar(20));
INSERT INTO m_07_nul VALUES (1, 'a'), (2, 'a\0b');

CREATE TABLE m_08_charset (id int NOT NULL PRIMARY KEY, v varchar(20) CHARACTER SET gbk);
INSERT INTO m_08_charset VALUES (1, '中文');

CREATE TABLE m_11_error (id int NOT NULL PRIMARY KEY, v enum('a', 'b'));
INSERT IGNORE INTO m_11_error VALUES (1, 'a'), (2, 'no label');

CREATE TABLE m_13_dates (id int NOT NULL PRIMARY KEY, d date, dt datetime NOT NULL DEFAULT '0000-00-00 00:00:00');
INSERT INTO m_13_dates VALUES (1, '2023-02-28', '2023-02-28 00:00:00'), (2, '0000-00-00', '2023-01-01'),
  (3, '2023-00-10', '2023-01-01'), (4, '2023-02-31', '2023-01-01'), (5, NULL, '0000-00-00');

CREATE TABLE m_15_zero (id int NOT NULL PRIMARY KEY, ts timestamp NOT NULL DEFAULT '0000-00-00 00:00:00');
INSERT INTO m_15_zero VALUES (1, '2023-01-01 00:00:00'), (2, '0000-00-00 00:00:00');

CREATE TABLE m_16_spans (id int NOT NULL PRIMARY KEY, t time(6));
INSERT INTO m_16_spans VALUES (1, '838:59:59.999999'), (2, '-00:00:01'), (3, '23:59:59');

CREATE TABLE m_21_place (id int NOT NULL PRIMARY KEY, p point);
INSERT INTO m_21_place VALUES (1, ST_GeomFromText('POINT(1 2)'));

CREATE TABLE m_25_hidden (id int NOT NULL PRIMARY KEY, a int, b int INVISIBLE DEFAULT 7);
INSERT INTO m_25_hidden (id, a, b) VALUES (1, 1, 42), (2, 2, 7);

CREATE TABLE m_24_generated (
  id int NOT NULL PRIMARY KEY, a int, twice int AS (a * 2) VIRTUAL, words varchar(40) AS (concat('n', a)) STORED
);
INSERT INTO m_24_generated (id, a) VALUES (1, 21);

CREATE TABLE k_301_mail (id int NOT NULL PRIMARY KEY, mail varchar(50) NOT NULL, UNIQUE KEY mail (mail));
INSERT INTO k_301_mail VALUES (1, 'a@x'), (2, 'B@x');

CREATE TABLE s_29_parent (name varchar(10) NOT NULL PRIMARY KEY);
CREATE TABLE s_29_child (
  id int NOT NULL PRIMARY KEY, name varchar(10),
  CONSTRAINT fk_name FOREIGN KEY (name) REFERENCES s_29_parent (name) ON DELETE SET NULL
);
INSERT INTO s_29_parent VALUES ('Ann');
-- Equal to the server, not by bytes.
INSERT INTO s_29_child VALUES (1, 'Ann'), (2, 'ann');

CREATE TABLE s_34_indexes (
  id int NOT NULL PRIMARY KEY, a int NOT NULL, b varchar(300), g point NOT NULL,
  KEY down (a DESC), KEY beginning (b(10)), UNIQUE KEY unique_beginning (b(5)), FULLTEXT KEY words (b), SPATIAL KEY place (g)
);

CREATE TABLE s_35_defaults (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY, text varchar(20) NOT NULL DEFAULT 'it''s \\ ok', nul varchar(9) DEFAULT 'NULL',
  n decimal(5,2) DEFAULT -1.50, bits bit(4) DEFAULT b'101', at datetime(3) DEFAULT current_timestamp(3), u varchar(36) DEFAULT uuid(),
  e enum('x','y') NOT NULL DEFAULT 'y', CONSTRAINT low CHECK (n > -100), CONSTRAINT odd CHECK (length(text) > 1)
);
INSERT INTO s_35_defaults (id) VALUES (5);

CREATE TABLE s_37_myisam (id int NOT NULL PRIMARY KEY, v int) ENGINE=MyISAM;
INSERT INTO s_37_myisam VALUES (1, 1);

CREATE TABLE s_38_versioned (id int NOT NULL PRIMARY KEY, v int) WITH SYSTEM VERSIONING;
INSERT INTO s_38_versioned VALUES (1, 1);
UPDATE s_38_versioned SET v = 2;

CREATE TABLE s_16_parts (id int NOT NULL, y int NOT NULL, PRIMARY KEY (id, y))
  PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO s_16_parts VALUES (1, 1990), (2, 2020);

CREATE SEQUENCE s_15_numbers START WITH 100 INCREMENT BY 5;
CREATE TABLE s_15_drawn (id int NOT NULL DEFAULT nextval(s_15_numbers) PRIMARY KEY, v int);
INSERT INTO s_15_drawn (v) VALUES (1), (2);

CREATE TABLE s_01_keyless (a int, b text);
INSERT INTO s_01_keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL);

CREATE TABLE `i_01 odd ``"' name` (`a``b "c"'` int NOT NULL PRIMARY KEY, `select` varchar(9) DEFAULT 'x');
INSERT INTO `i_01 odd ``"' name` VALUES (1, '''; --');
