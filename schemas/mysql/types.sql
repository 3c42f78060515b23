-- One column of each type, with the values at its edges that a target can hold.
SET NAMES utf8mb4;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES';
SET time_zone = '+00:00';

CREATE TABLE numbers (
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  t tinyint, tu tinyint unsigned, s smallint, su smallint unsigned, m mediumint, mu mediumint unsigned,
  i int, iu int unsigned, b bigint, bu bigint unsigned, z int(8) unsigned zerofill, flag tinyint(1),
  d decimal(65,30), du decimal(10,2) unsigned, f float, fm float(7,3), db double, y year, bits bit(10), one bit(1)
);
INSERT INTO numbers VALUES
  (1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, 7, 0,
   -99999999999999999999999999999999999.999999999999999999999999999999, 0, -3.4028234e38, -1234.5, -1.7976931348623157e308, 0, b'0', b'0'),
  (2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 9223372036854775807, 4294967295, 2,
   0.000000000000000000000000000001, 99999999.99, 16777216, 0.125, 2.2250738585072014e-308, 2155, b'1111111111', b'1'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (9000000000, -1, 1, -1, 1, -1, 1, -1, 1, -1, 18446744073709551615, 0, 1, 1.5, 0.01, 1e-45, 1, 0.1, 1901, b'101', b'1');

CREATE TABLE texts (
  id int NOT NULL PRIMARY KEY,
  c char(5) NOT NULL, v varchar(20) CHARACTER SET latin1, u3 varchar(20) CHARACTER SET utf8mb3, t1 tinytext, t2 text, t3 mediumtext,
  t4 longtext, e enum('a','b c','it''s','Ü','7'), s set('x','y','z'), j json, u16 varchar(10) CHARACTER SET utf16,
  uu uuid, i4 inet4, i6 inet6
) DEFAULT CHARSET=utf8mb4;
INSERT INTO texts VALUES
  (1, 'ab', 'é€ÿ', '日本', '', 'tab\tnewline\nquote''back\\slash', '😀', '\\N', 'it''s', 'x,z', '{"a": 1.50, "a": 2}', '😀x',
   '123e4567-e89b-12d3-a456-426614174000', '192.0.2.1', '2001:db8::1'),
  (2, '', '', NULL, NULL, ' trailing  ', NULL, NULL, '7', '', '[]', NULL, NULL, NULL, NULL),
  (3, 'ÄÖ', 'NULL', 'x', 'x', 'x', 'x', 'x', NULL, NULL, NULL, 'x', '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::ffff:1.2.3.4');

CREATE TABLE bytes (
  id int NOT NULL PRIMARY KEY, fixed binary(4), vb varbinary(10), b1 tinyblob, b2 blob, b3 mediumblob, b4 longblob
);
INSERT INTO bytes VALUES (1, x'01000000', x'00', x'', x'00ff80', x'0a0d1a', x'27225c'), (2, x'00000000', NULL, NULL, NULL, NULL, NULL);

CREATE TABLE moments (
  id int NOT NULL PRIMARY KEY, d date, dt datetime, dt6 datetime(6), ts timestamp NULL, ts3 timestamp(3) NULL, t time, t6 time(6)
);
INSERT INTO moments VALUES
  (1, '0001-01-01', '0001-01-01 00:00:00', '9999-12-31 23:59:59.999999', '1970-01-01 00:00:01', '2038-01-19 03:14:07.999', '00:00:00', '23:59:59.999999'),
  (2, '2024-02-29', '2023-03-26 02:30:00', '2000-01-01 00:00:00.1', '2023-03-26 02:30:00', '2000-01-01 00:00:00.5', '12:34:56', '00:00:00.000001'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
