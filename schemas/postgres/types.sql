-- One table for each family of types, one row for each value at the edge of what it can hold.
-- The numbers are those of the contract, section 3.1. Every value survives, or is refused.

CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE EXTENSION ltree;

-- PG-01
CREATE TABLE pg_01_integers (id integer PRIMARY KEY, s smallint, i integer, b bigint);
INSERT INTO pg_01_integers VALUES
    (1, -32768, -2147483648, -9223372036854775808), (2, 32767, 2147483647, 9223372036854775807), (3, 0, 0, 0), (4, NULL, NULL, NULL);

-- PG-02, PG-03
CREATE TABLE pg_02_numeric (id integer PRIMARY KEY, p numeric(65,30), money numeric(10,2), whole numeric(38,0));
INSERT INTO pg_02_numeric VALUES
    (1, 12345678901234567890123456789012345.123456789012345678901234567890, 99999999.99, 99999999999999999999999999999999999999),
    (2, -0.000000000000000000000000000001, -0.10, -1), (3, 1.50, 1.50, 0), (4, NULL, NULL, NULL);
CREATE TABLE pg_04_numeric_free (id integer PRIMARY KEY, n numeric);
INSERT INTO pg_04_numeric_free VALUES
    (1, repeat('9', 2000)::numeric), (2, ('0.' || repeat('0', 999) || '1')::numeric), (3, 1.500000), (4, 10), (5, -0.0), (6, 1e-7), (7, 123456789.987654321),
    (8, (repeat('8', 131072))::numeric), (9, ('0.' || repeat('7', 16383))::numeric), (10, 10000), (11, 100000000), (12, 0.00010000);
CREATE TABLE pg_05_numeric_special (id integer PRIMARY KEY, n numeric);
INSERT INTO pg_05_numeric_special VALUES (1, 'NaN');

-- PG-06, PG-07
CREATE TABLE pg_06_floats (id integer PRIMARY KEY, r real, d double precision);
INSERT INTO pg_06_floats VALUES
    (1, 1e-45, 5e-324), (2, 3.4028235e38, 1.7976931348623157e308), (3, -0.0, -0.0), (4, 0.1, 0.1), (5, 16777216, 9007199254740993), (6, 1.17549435e-38, 2.2250738585072014e-308),
    (7, 0.3333333333, 0.3333333333333333), (8, NULL, NULL);
CREATE TABLE pg_07_floats_special (id integer PRIMARY KEY, r real, d double precision);
INSERT INTO pg_07_floats_special VALUES (1, 'NaN', 'NaN'), (2, 'Infinity', 'Infinity'), (3, '-Infinity', '-Infinity');

-- PG-08 to PG-12
CREATE TABLE pg_08_money (id integer PRIMARY KEY, m money);
INSERT INTO pg_08_money VALUES (1, '-92233720368547758.08'), (2, '92233720368547758.07'), (3, 0);
CREATE TABLE pg_09_boolean (id integer PRIMARY KEY, b boolean);
INSERT INTO pg_09_boolean VALUES (1, true), (2, false), (3, NULL);
CREATE TABLE pg_10_char (id char(5) PRIMARY KEY, c char(300), one char, v varchar(5));
INSERT INTO pg_10_char VALUES ('a', 'x', '', '     '), ('b  ', ' lead', ' ', ''), ('c', repeat('y', 300), 'é', 'ééééé');
CREATE TABLE pg_11_varchar (id integer PRIMARY KEY, v varchar(10), free varchar);
INSERT INTO pg_11_varchar VALUES
    (1, '👩‍👩‍👧👩‍👩‍👧', '👩‍👩‍👧'), (2, repeat('𝕏', 10), repeat('𝕏', 10000)), (3, U&'e\0301\FFFD', U&'\00E9'), (4, '', '');
CREATE TABLE pg_12_text (id integer PRIMARY KEY, t text);
INSERT INTO pg_12_text VALUES
    (1, ''), (2, NULL), (3, '\N'), (4, 'NULL'), (5, '\.'), (6, E'a\tb'), (7, E'\r'), (8, E'\n'), (9, E'\r\n'), (10, '\'), (11, ''''), (12, '"'),
    (13, U&'\2028\2029'), (14, U&'\FEFFbom'), (15, E'\x01\x02\x7f'), (16, ' lead and trail '), (17, repeat('x', 100000)), (18, E'\\\\n'), (19, E'\b\f\v'),
    (20, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 20000) i)), (21, '=cmd()'), (22, E'\x1b[2J'), (23, U&'\202Ertl'), (24, E'\\x41');

-- PG-14
CREATE TABLE pg_14_bytea (id integer PRIMARY KEY, b bytea);
INSERT INTO pg_14_bytea VALUES
    (1, ''), (2, NULL), (3, '\x00'), (4, decode((SELECT string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i) FROM generate_series(0, 255) i), 'hex')),
    (5, decode(repeat('00ff', 100000), 'hex')), (6, '\x5c2e0a'), (7, '\xc328');

-- PG-15 to PG-20
CREATE TABLE pg_15_date (id integer PRIMARY KEY, d date);
INSERT INTO pg_15_date VALUES (1, '2024-02-29'), (2, '0001-01-01'), (3, '9999-12-31'), (4, '1582-10-10'), (5, '1969-12-31'), (6, NULL);
CREATE TABLE pg_15_date_beyond (id integer PRIMARY KEY, d date);
INSERT INTO pg_15_date_beyond VALUES (1, 'infinity'), (2, '-infinity'), (3, '4713-01-01 BC'), (4, '5874897-12-31'), (5, '0001-12-31 BC');
CREATE TABLE pg_16_time (id integer PRIMARY KEY, t time, t0 time(0), t3 time(3));
INSERT INTO pg_16_time VALUES (1, '00:00', '00:00', '00:00'), (2, '24:00:00', '24:00:00', '24:00:00'), (3, '23:59:59.999999', '23:59:59', '23:59:59.999'), (4, '12:34:56.5', NULL, '00:00:00.001');
CREATE TABLE pg_17_timetz (id integer PRIMARY KEY, t timetz);
INSERT INTO pg_17_timetz VALUES (1, '24:00:00+15:59:59'), (2, '00:00:00-15:59:59'), (3, '12:00:00.000001+05:30');
CREATE TABLE pg_18_timestamp (id integer PRIMARY KEY, t timestamp, t0 timestamp(0), t3 timestamp(3));
INSERT INTO pg_18_timestamp VALUES
    (1, '2024-02-29 23:59:59.999999', '2024-02-29 23:59:59', '2024-02-29 23:59:59.999'), (2, '0001-01-01', '0001-01-01', '0001-01-01'), (3, '9999-12-31 23:59:59.999999', NULL, NULL), (4, '1969-12-31 23:59:59.5', '1970-01-01', '2000-01-01 00:00:00.1');
CREATE TABLE pg_18_timestamp_beyond (id integer PRIMARY KEY, t timestamp, z timestamptz);
INSERT INTO pg_18_timestamp_beyond VALUES
    (1, 'infinity', 'infinity'), (2, '-infinity', '-infinity'), (3, '4713-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC'), (4, '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00');
CREATE TABLE pg_19_timestamptz (id integer PRIMARY KEY, z timestamptz, z0 timestamptz(0));
INSERT INTO pg_19_timestamptz VALUES
    (1, '2024-03-31 01:30:00+00', '2024-03-31 01:30:00+00'), (2, '2024-10-27 00:30:00.000001+00', '2024-10-27 01:30:00+00'), (3, '1883-11-18 12:03:58+00', '1883-11-18 12:03:58+00'), (4, '0001-01-01 00:00:00+00', NULL), (5, '1999-12-31 23:59:60+00', NULL);
CREATE TABLE pg_20_interval (id integer PRIMARY KEY, i interval, m interval year to month, s interval second(0));
INSERT INTO pg_20_interval VALUES
    (1, '1 year 2 mons 3 days 04:05:06.789', '1 year 2 mons', '6'), (2, '-178000000 years', '-1 mon', '-1'), (3, '1 mon -1 day +00:00:00.000001', '0', '0'), (4, '-1 mon +1 day -02:03:04', NULL, NULL), (5, '0', NULL, NULL), (6, '2147483647 days', NULL, NULL), (7, '-00:00:00.5', NULL, NULL);

-- PG-21 to PG-24
CREATE TABLE pg_21_uuid (id uuid PRIMARY KEY, u uuid);
INSERT INTO pg_21_uuid VALUES ('00000000-0000-0000-0000-000000000000', NULL), ('ffffffff-ffff-ffff-ffff-ffffffffffff', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
CREATE TABLE pg_22_json (id integer PRIMARY KEY, j json);
INSERT INTO pg_22_json VALUES (1, '{"b": 1,  "a":2, "a": 3}'), (2, '"\u0000"'), (3, '1e400'), (4, 'null'), (5, E'[\n1 ]'), (6, NULL), (7, '"\ud83d\ude00 \\ \" é"'), (8, '{}');
CREATE TABLE pg_23_jsonb (id integer PRIMARY KEY, j jsonb);
INSERT INTO pg_23_jsonb VALUES
    (1, '{"n": 123456789012345678901234567890.123456789, "z": -0, "e": 1e30, "s": "\\ \" \n é 😀"}'), (2, 'null'), (3, (repeat('[', 1000) || repeat(']', 1000))::jsonb), (4, NULL), (5, '{"": {"a": [null, true, 1.10]}}');
CREATE TABLE pg_24_xml (id integer PRIMARY KEY, x xml);
INSERT INTO pg_24_xml VALUES (1, '<a b="c">é &amp; <![CDATA[<]]></a>'), (2, 'only content'), (3, '');

-- PG-25 to PG-30: made of other types
CREATE TYPE pg_26_mood AS ENUM ('sad', 'ok''ay', 'a,b', 'sp ace', 'quo"te', 'back\slash', '');
CREATE TYPE pg_29_inner AS (a integer, b text);
CREATE TYPE pg_29_outer AS (i pg_29_inner, list pg_29_inner[], mood pg_26_mood);
CREATE DOMAIN pg_28_small AS smallint CHECK (VALUE > 0);
CREATE DOMAIN pg_28_smaller AS pg_28_small DEFAULT 3 NOT NULL CONSTRAINT less CHECK (VALUE < 10);
CREATE TYPE pg_30_floats AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = pg_30_multi);
CREATE TABLE pg_25_arrays (id integer PRIMARY KEY, i integer[], t text[], b bytea[], f float8[], m pg_26_mood[], c pg_29_inner[], d numeric(5,2)[][]);
INSERT INTO pg_25_arrays VALUES
    (1, '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
    (2, '{NULL,1,-2147483648}', ARRAY['NULL', NULL, '', ' ', 'a,b', '{}', '"q"', '\', E'\n'], ARRAY['\x00ff'::bytea, ''], '{NaN,-Infinity,1e-300}', ARRAY['', 'a,b']::pg_26_mood[], ARRAY[ROW(1, 'x,"y'), ROW(NULL, NULL), NULL]::pg_29_inner[], '{{1.10,2},{3,4}}'),
    (3, '[5:6]={1,2}', '[0:1][-1:0]={{a,b},{c,d}}', NULL, NULL, NULL, NULL, NULL);
CREATE TABLE pg_26_enum (m pg_26_mood PRIMARY KEY, n pg_26_mood DEFAULT 'ok''ay');
INSERT INTO pg_26_enum SELECT m, NULL FROM unnest(enum_range(NULL::pg_26_mood)) m;
CREATE TABLE pg_28_domain (id integer PRIMARY KEY, s pg_28_smaller, l pg_28_small[]);
INSERT INTO pg_28_domain VALUES (1, 1, '{1,2}'), (2, 9, NULL);
INSERT INTO pg_28_domain (id) VALUES (3);
CREATE TABLE pg_29_composite (id integer PRIMARY KEY, o pg_29_outer);
INSERT INTO pg_29_composite VALUES
    (1, NULL), (2, ROW(NULL, NULL, NULL)), (3, ROW(ROW(NULL, NULL), '{}', 'sad')), (4, ROW(ROW(1, 'a"b\c,(d)'), ARRAY[ROW(2, ''), ROW(3, NULL)]::pg_29_inner[], 'quo"te'));
CREATE TABLE pg_30_ranges (id integer PRIMARY KEY, i int4range, n numrange, t tstzrange, d daterange, f pg_30_floats, mi int8multirange, mf pg_30_multi);
INSERT INTO pg_30_ranges VALUES
    (1, 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}'),
    (2, '[1,5)', '(1.50,)', '(,2024-01-01 00:00:00+00]', '[2024-01-01,infinity]', '[-Infinity,0.1)', '{[1,3),[7,9)}', '{(,1.5],[2,)}'),
    (3, '(,)', '[0.1,0.1]', '[-infinity,infinity)', '(,)', '(,)', '{(,)}', NULL);

-- PG-31 to PG-34
CREATE TABLE pg_31_network (id integer PRIMARY KEY, i inet, c cidr, m macaddr, m8 macaddr8);
INSERT INTO pg_31_network VALUES
    (1, '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'), (2, '::1', '2001:db8::/32', NULL, NULL), (3, '255.255.255.255', '0.0.0.0/0', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00:00:00'), (4, '2001:db8::ff/64', NULL, NULL, NULL);
CREATE TABLE pg_32_bits (id integer PRIMARY KEY, b bit(10), one bit, v bit varying, v5 bit varying(5));
INSERT INTO pg_32_bits VALUES (1, B'0000000001', B'0', B'', B'00000'), (2, B'1111111111', B'1', repeat('01', 500)::bit varying, B'1'), (3, NULL, NULL, NULL, NULL);
CREATE TABLE pg_33_search (id integer PRIMARY KEY, v tsvector, q tsquery);
INSERT INTO pg_33_search VALUES (1, '''a b'':1A,2B c''d:3', '''fat'' & (!rat | cat:*AB) <-> x'), (2, '', '');
CREATE TABLE pg_34_geometric (id integer PRIMARY KEY, p point, l line, s lseg, b box, open path, closed path, g polygon, c circle);
INSERT INTO pg_34_geometric VALUES
    (1, '(0.1,-1e300)', '{1,2,3}', '[(1,2),(3,4)]', '((1,2),(3,4))', '[(1,2),(3,4)]', '((1,2),(3,4))', '((0,0),(1,1),(2,0))', '<(1,2),3.5>'), (2, '(NaN,Infinity)', NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- PG-35, PG-39
CREATE TABLE pg_35_extensions (id citext PRIMARY KEY, h hstore, l ltree, lq lquery);
INSERT INTO pg_35_extensions VALUES ('AbC', '"a"=>"1", "b c"=>NULL, ""=>"\"q\\"', 'Top.Science.x_1', '*.Sci@*.!x|y'), ('ä', '', '', NULL);
CREATE TABLE pg_39_odd (id name PRIMARY KEY, c "char", z "char");
INSERT INTO pg_39_odd VALUES ('sixty', 'x', ''), ('', '\', E'\x7f');
CREATE TABLE pg_40_named (pg_40_named pg_26_mood, "integer" integer, "numeric(3)" numeric(3));
INSERT INTO pg_40_named VALUES ('sad', 1, 999);

-- NULL bitmaps at the edges of their bytes, and as many columns as fit.
CREATE TABLE many_columns (id integer PRIMARY KEY);
DO $$ BEGIN
  EXECUTE (SELECT 'ALTER TABLE many_columns ' || string_agg('ADD COLUMN c' || i || ' smallint', ', ') FROM generate_series(2, 400) i);
  INSERT INTO many_columns (id, c2, c8, c9, c10, c16, c17, c18, c400) SELECT i, i, nullif(i, 2), nullif(i, 3), nullif(i, 4), i, nullif(i, 2), i, nullif(i, 3) FROM generate_series(1, 5) i;
END $$;
ANALYZE;
