//! Values on every road of the applying half are the values that a copy brings: all types, casts,
//! neutral cells of another engine, and names and texts that try to be something else.

use towpath::catalog::{Cell, Column};

use super::*;

/// A table of the fixture, with its rows in the server's own text, as the log tells them.
struct Sample {
    projection: Projection,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Sample {
    fn datum(&self, row: usize, column: usize) -> Datum<'_> {
        self.rows[row][column].as_deref().map_or(NULL, Datum::Text)
    }

    fn row(&self, row: usize) -> Vec<Datum<'_>> {
        (0..self.width()).map(|column| self.datum(row, column)).collect()
    }

    /// The values of the row behind, at the key of this one.
    fn moved(&self, row: usize) -> Vec<Datum<'_>> {
        let key = &self.projection.key;
        let from = |column| if key.contains(&column) { row } else { (row + 1) % self.rows.len() };
        (0..self.width()).map(|column| self.datum(from(column), column)).collect()
    }

    fn key(&self, row: usize) -> Vec<Datum<'_>> {
        self.projection.key.iter().map(|column| self.datum(row, *column)).collect()
    }

    /// The old row as the log tells it: the key and nothing else.
    fn old(&self, row: usize) -> Vec<Datum<'_>> {
        let told = |column| self.projection.key.contains(&column);
        (0..self.width()).map(|column| if told(column) { self.datum(row, column) } else { ABSENT }).collect()
    }

    fn width(&self) -> usize {
        self.projection.columns.len()
    }

    fn all(&self) -> Rows<'_> {
        let mut rows = Rows::new(self.width());
        (0..self.rows.len()).for_each(|row| rows.push(self.row(row)));
        rows
    }
}

/// Undoes the escapes of COPY.
fn fields(line: &[u8]) -> Vec<Option<Vec<u8>>> {
    let field = |field: &[u8]| {
        if field == b"\\N" {
            return None;
        }
        let (mut text, mut bytes) = (Vec::new(), field.iter());
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'\\' => match bytes.next().unwrap() {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    b'v' => 11,
                    other => *other,
                },
                byte => *byte,
            });
        }
        Some(text)
    };
    line.split(|byte| *byte == b'\t').map(field).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn lines(database: &Database, projection: &Projection) -> Vec<Vec<u8>> {
    let columns: Vec<String> = projection.columns.iter().map(|column| quoted(&column.target)).collect();
    let sql = format!("COPY public.{} ({}) TO STDOUT", quoted(&projection.target.name), columns.join(", "));
    let mut session = database.session();
    session.execute("SET search_path = ''; SET lc_monetary = 'C'");
    let mut lines = session.copy_lines(&sql);
    lines.sort();
    lines
}

async fn samples(from: &Database) -> Vec<Sample> {
    let catalog = source(&from.url()).await.unwrap().inspect().await.unwrap();
    let column = |column: &Column| {
        let mut map = map(&column.name, &column.ty, &column.native);
        map.not_null = column.not_null;
        map
    };
    let mut samples = Vec::new();
    for found in &catalog.tables {
        let mut projection =
            table(&found.name.name, Form::NativeText, found.columns.iter().map(column).collect());
        projection.key = if found.keys.is_empty() { vec![] } else { vec![0] };
        let rows = outside(|| lines(from, &projection)).iter().map(|line| fields(line)).collect();
        samples.push(Sample { projection, rows });
    }
    assert!(samples.len() > 35, "{} tables", samples.len());
    samples
}

#[test]
fn p_02_every_type_arrives_by_changes_as_by_a_copy() {
    let server = need_server!();
    let (from, to) = (server.fixture("types"), server.fixture("types"));
    run(async {
        let samples = samples(&from).await;
        let names: Vec<String> =
            samples.iter().map(|s| format!("\"{}\"", s.projection.target.name)).collect();
        let empty = format!("TRUNCATE {}", names.join(", "));
        let same = |sample: &Sample, by: &str| {
            let name = &sample.projection.target.name;
            let (a, b) = (lines(&from, &sample.projection), lines(&to, &sample.projection));
            assert!(a == b, "{name} by {by}:\n{}\n{}", show(&a), show(&b));
        };
        let tables: Vec<Followed> = samples
            .iter()
            .map(|sample| match sample.projection.key.is_empty() {
                true => whole_rows(sample.projection.clone()),
                false => keyed(sample.projection.clone()),
            })
            .collect();
        let mut applier = Applier::new(&to.url(), &tables).await;

        outside(|| to.execute(&empty));
        for (at, sample) in samples.iter().enumerate() {
            let mut log = Log::default();
            (0..sample.rows.len()).for_each(|row| {
                log.insert(at, &sample.row(row));
            });
            applier.rows(&log).await.unwrap();
            outside(|| same(sample, "single inserts"));
        }

        outside(|| to.execute(&empty));
        let tables = samples.iter().enumerate().map(|(table, sample)| NetTable {
            table,
            deletes: Rows::new(sample.projection.key.len()),
            updates: vec![],
            inserts: sample.all(),
        });
        let net = Net { tables: tables.collect() };
        assert_eq!(applier.net(&net).await.unwrap(), Applied::Done);
        outside(|| samples.iter().for_each(|sample| same(sample, "sets of inserts")));

        for (at, sample) in samples.iter().enumerate().filter(|(_, sample)| !sample.projection.key.is_empty())
        {
            turn(&mut applier, at, sample).await;
            outside(|| same(sample, "updates"));
            remove(&mut applier, at, sample).await;
            assert_eq!(outside(|| lines(&to, &sample.projection)).len(), 0);
        }
    });
}

/// Moves all values on by one row until they are back: half of the moves one by one, half in sets.
async fn turn(applier: &mut Applier, at: usize, sample: &Sample) {
    let count = sample.rows.len();
    let name = &sample.projection.target.name;
    let values: Vec<usize> =
        (0..sample.width()).filter(|column| !sample.projection.key.contains(column)).collect();
    // Rows hold what they hold at the start: the move goes there and back.
    let mut log = Log::default();
    (0..count).for_each(|row| {
        log.update(at, &[], &sample.moved(row));
    });
    applier.rows(&log).await.unwrap_or_else(|error| panic!("{name}: {}", told(&error)));
    let mut updates = NetUpdates { columns: values.clone(), ..NetUpdates::default() };
    (updates.keys, updates.rows) = (Rows::new(sample.projection.key.len()), Rows::new(values.len()));
    for row in 0..count {
        updates.keys.push(sample.key(row));
        updates.rows.push(values.iter().map(|column| sample.datum(row, *column)));
    }
    let width = sample.projection.key.len();
    let table = NetTable {
        table: at,
        deletes: Rows::new(width),
        updates: vec![updates],
        inserts: Rows::new(sample.width()),
    };
    assert_eq!(applier.net(&Net { tables: vec![table] }).await.unwrap(), Applied::Done, "{name}");
}

/// Deletes the first half one by one and the rest as a set.
async fn remove(applier: &mut Applier, at: usize, sample: &Sample) {
    let half = sample.rows.len() / 2;
    let mut log = Log::default();
    (0..half).for_each(|row| {
        log.delete(at, &sample.old(row));
    });
    applier.rows(&log).await.unwrap();
    let mut deletes = Rows::new(sample.projection.key.len());
    (half..sample.rows.len()).for_each(|row| deletes.push(sample.key(row)));
    let table = NetTable { table: at, deletes, updates: vec![], inserts: Rows::new(sample.width()) };
    assert_eq!(applier.net(&Net { tables: vec![table] }).await.unwrap(), Applied::Done);
}

fn show(lines: &[Vec<u8>]) -> String {
    lines.iter().map(|line| format!("    {:.200}\n", String::from_utf8_lossy(line))).collect()
}

#[test]
fn p_02_every_type_arrives_by_a_copy_of_changes() {
    let server = need_server!();
    let (from, to) = (server.fixture("types"), server.fixture("types"));
    run(async {
        let samples = samples(&from).await;
        let tables: Vec<Followed> =
            samples.iter().map(|sample| whole_rows(sample.projection.clone())).collect();
        // As often as it takes for a COPY, into tables without keys.
        const TIMES: usize = 100;
        for sample in &samples {
            let name = &sample.projection.target.name;
            let drop = format!(
                "TRUNCATE \"{name}\"; ALTER TABLE \"{name}\" DROP CONSTRAINT IF EXISTS \"{name}_pkey\""
            );
            outside(|| to.execute(&drop));
        }
        let mut applier = Applier::new(&to.url(), &tables).await;
        for (table, sample) in samples.iter().enumerate() {
            let mut inserts = Rows::new(sample.width());
            (0..TIMES).for_each(|_| (0..sample.rows.len()).for_each(|row| inserts.push(sample.row(row))));
            let table = NetTable { table, deletes: Rows::new(0), updates: vec![], inserts };
            assert_eq!(applier.net(&Net { tables: vec![table] }).await.unwrap(), Applied::Done);
        }
        for sample in &samples {
            let once = outside(|| lines(&from, &sample.projection));
            let mut many = outside(|| lines(&to, &sample.projection));
            assert_eq!(many.len(), TIMES * once.len());
            many.dedup();
            assert!(once == many, "{}:\n{}\n{}", sample.projection.target, show(&once), show(&many));
        }
    });
}

#[test]
fn s_02_every_type_is_found_by_its_whole_row() {
    let server = need_server!();
    let (from, to) = (server.fixture("types"), server.fixture("types"));
    run(async {
        let samples = samples(&from).await;
        let tables: Vec<Followed> =
            samples.iter().map(|sample| whole_rows(sample.projection.clone())).collect();
        let mut applier = Applier::new(&to.url(), &tables).await;
        for (at, sample) in samples.iter().enumerate() {
            let mut log = Log::default();
            for row in 0..sample.rows.len() {
                let before = sample.row(row);
                log.update(at, &before, &before).delete(at, &before).insert(at, &before).delete(at, &before);
            }
            let name = &sample.projection.target;
            applier.rows(&log).await.unwrap_or_else(|error| panic!("{name}: {}", told(&error)));
            assert_eq!(outside(|| lines(&to, &sample.projection)).len(), 0, "{name}");
        }
    });
}

#[test]
fn p_02_casts_are_those_of_the_copy() {
    let server = need_server!();
    let (from, to) = (server.database("casts"), server.database("casts"));
    from.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN small AS int CHECK (VALUE > 0); \
         CREATE TABLE casts (id bigint PRIMARY KEY, big bigint, part numeric(10,2), at timestamp, moment timestamptz, \
         code char(5), flag boolean, mood mood, small small, doc json, born date, raw bytea, bits bit(4)); \
         INSERT INTO casts VALUES \
         (1, 5, 12.30, '2024-03-31 02:30:00', '2024-03-31 01:30:00+00', 'ab', true, 'ok', 7, '{\"b\": 1, \"a\": 2}', '2024-02-29', '\\x00ff', '0101'), \
         (2, NULL, NULL, 'infinity', '-infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
         (3, -9, -0.50, '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59.999999+00', '', false, 'sad', 1, '[]', '0044-03-15 BC', '', '1111')",
    );
    let tables = ["copied", "rows", "sets", "bulk"];
    for table in tables {
        to.execute(&format!(
            "CREATE TABLE {table} (id text PRIMARY KEY, big text, part numeric(12,4), at timestamptz, moment timestamp, \
             code text, flag text, mood text, small bigint, doc jsonb, born timestamp, raw text, bits varchar(9))"
        ));
    }
    let columns = [
        ("id", bigint(), "bigint", "text", None),
        ("big", bigint(), "bigint", "text", None),
        (
            "part",
            Type::Decimal { precision: Some(10), scale: Some(2) },
            "numeric(10,2)",
            "numeric(12,4)",
            None,
        ),
        (
            "at",
            Type::Timestamp { precision: 6 },
            "timestamp without time zone",
            "timestamp with time zone",
            Some("Europe/Berlin"),
        ),
        (
            "moment",
            Type::TimestampTz { precision: 6 },
            "timestamp with time zone",
            "timestamp without time zone",
            Some("Asia/Tokyo"),
        ),
        ("code", Type::Char { length: 5 }, "character(5)", "text", None),
        ("flag", Type::Bool, "boolean", "text", None),
        (
            "mood",
            Type::Enum { name: Some(Name::new("public", "mood")), labels: vec![] },
            "public.mood",
            "text",
            None,
        ),
        ("small", Type::Native { text: "public.small".into() }, "public.small", "bigint", None),
        ("doc", Type::Json { binary: false }, "json", "jsonb", None),
        ("born", Type::Date, "date", "timestamp without time zone", None),
        ("raw", Type::Blob, "bytea", "text", None),
        ("bits", Type::Bit { length: Some(4), varying: false }, "bit(4)", "character varying(9)", None),
    ];
    let column = |(name, ty, from, to, zone): &(&str, Type, &str, &str, Option<&str>)| {
        let mut map = map(name, ty, from);
        map.target_native = (*to).to_string();
        map.target_type = match *to {
            "timestamp with time zone" => Type::TimestampTz { precision: 6 },
            "timestamp without time zone" => Type::Timestamp { precision: 6 },
            _ => Type::Text,
        };
        map.cast = Some(Cast { native: (*to).into(), zone: zone.map(Into::into) });
        map
    };
    let projection = |target: &str| {
        let mut made = table("casts", Form::NativeText, columns.iter().map(column).collect());
        made.target = Name::new("public", target);
        made
    };
    run(copy(&from, &to, &projection("copied"))).unwrap();
    run(async {
        let as_is = table("casts", Form::NativeText, columns.iter().map(|c| map(c.0, &c.1, c.2)).collect());
        let rows: Vec<_> = outside(|| lines(&from, &as_is)).iter().map(|line| fields(line)).collect();
        let sample = Sample { projection: as_is, rows };
        let followed: Vec<Followed> = tables[1..].iter().map(|table| keyed(projection(table))).collect();
        let mut applier = Applier::new(&to.url(), &followed).await;
        let mut log = Log::default();
        // First with other values: the update brings them all, by a key that is cast as well.
        (0..3).for_each(|row| {
            log.insert(0, &sample.moved(row));
        });
        (0..3).for_each(|row| {
            log.update(0, &[], &sample.row(row));
        });
        log.delete(0, &sample.old(1)).insert(0, &sample.row(1));
        applier.rows(&log).await.unwrap();
        let columns: Vec<usize> = (1..sample.width()).collect();
        let mut updates = NetUpdates { columns, keys: Rows::new(1), rows: Rows::new(sample.width() - 1) };
        let mut wrong = Rows::new(sample.width());
        for row in 0..3 {
            wrong.push(sample.moved(row));
            updates.keys.push(sample.key(row));
            updates.rows.push(sample.row(row).into_iter().skip(1));
        }
        let table = |updates, inserts| NetTable { table: 1, deletes: Rows::new(1), updates, inserts };
        let first = Net { tables: vec![table(vec![], wrong)] };
        assert_eq!(applier.net(&first).await.unwrap(), Applied::Done);
        let none = Rows::new(sample.width());
        let second = Net { tables: vec![table(vec![updates], none)] };
        assert_eq!(applier.net(&second).await.unwrap(), Applied::Done);
        // Many inserts, which without casts would be a COPY.
        let numbers: Vec<String> = (10..110).map(|number: i32| number.to_string()).collect();
        let mut many = sample.all();
        for number in &numbers {
            let mut row = sample.row(0);
            row[0] = t(number);
            many.push(row);
        }
        let bulk = Net {
            tables: vec![NetTable { table: 2, deletes: Rows::new(1), updates: vec![], inserts: many }],
        };
        assert_eq!(applier.net(&bulk).await.unwrap(), Applied::Done);
    });
    let all =
        |table: &str| to.rows(&format!("SELECT t::text FROM {table} t WHERE length(id) < 2 ORDER BY id"));
    let copied = all("copied");
    assert_eq!(copied.len(), 3);
    for table in &tables[1..] {
        assert_eq!(all(table), copied, "{table}");
    }
}

#[test]
fn p_02_cells_of_another_engine_arrive_as_in_a_copy() {
    let server = need_server!();
    let to = server.database("cells");
    let columns = [
        ("id", bigint(), "bigint"),
        ("flag", Type::Bool, "boolean"),
        ("amount", Type::Decimal { precision: Some(22), scale: Some(2) }, "numeric(22,2)"),
        ("part", Type::Float { bits: 64 }, "double precision"),
        ("word", Type::VarChar { length: 5 }, "character varying(5)"),
        ("raw", Type::Blob, "bytea"),
        ("at", Type::TimestampTz { precision: 6 }, "timestamp with time zone"),
        ("doc", Type::Json { binary: true }, "jsonb"),
        ("code", Type::Uuid, "uuid"),
    ];
    let native: Vec<String> = columns.iter().map(|(name, _, native)| format!("{name} {native}")).collect();
    let tables = ["copied", "rows", "sets", "bulk"];
    for table in tables {
        to.execute(&format!("CREATE TABLE {table} ({}, PRIMARY KEY (id))", native.join(", ")));
    }
    let projection = |name: &str| {
        let mut made =
            table(name, Form::Rows, columns.iter().map(|(name, ty, native)| map(name, ty, native)).collect());
        made.columns[6].cast = Some(Cast { native: columns[6].2.into(), zone: Some("Europe/Berlin".into()) });
        made
    };
    let uuid = t("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    let all_bytes: Vec<u8> = (0..=255).collect();
    let rows: Vec<[Datum<'_>; 9]> = vec![
        [
            Datum::Int(i64::MIN),
            Datum::Bool(true),
            Datum::UInt(u64::MAX),
            Datum::Float(-0.0),
            t("\\N\t\""),
            Datum::Bytes(&all_bytes),
            t("2024-07-01 12:00:00"),
            t("{\"a\": \"\\\\\"}"),
            uuid,
        ],
        [
            Datum::Int(2),
            Datum::Int(0),
            t("1.500"),
            Datum::Float(f64::NAN),
            t(""),
            Datum::Bytes(b""),
            t("2024-07-01 12:00:00+02"),
            t("[1]"),
            uuid,
        ],
        [Datum::Int(3), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL],
    ];
    let cell = |batch: &mut RowBatch, datum: &Datum<'_>| match datum {
        Datum::Null | Datum::Absent => batch.push(Cell::Null),
        Datum::Bool(value) => batch.push(Cell::Bool(*value)),
        Datum::Int(value) => batch.push(Cell::Int(*value)),
        Datum::UInt(value) => batch.push(Cell::UInt(*value)),
        Datum::Float(value) => batch.push(Cell::Float(*value)),
        Datum::Text(text) => batch.push_text(text),
        Datum::Bytes(bytes) => batch.push_bytes(bytes),
    };
    run(async {
        let followed: Vec<Followed> = tables.iter().map(|table| keyed(projection(table))).collect();
        let mut applier = Applier::new(&to.url(), &followed).await;
        let mut batch = RowBatch::new(9);
        for row in &rows {
            row.iter().for_each(|datum| cell(&mut batch, datum));
            batch.end_row();
        }
        applier.session.begin().await.unwrap();
        let mut stream = Script(vec![Ok(Batch::Rows(batch)), Ok(Batch::End { rows: 3 })]);
        load(applier.session.as_mut(), &projection("copied"), &mut stream).await.unwrap();
        applier.session.commit().await.unwrap();

        let mut log = Log::default();
        for row in &rows {
            let blank = [row[0], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL];
            log.insert(1, &blank).update(1, &[], row);
        }
        applier.rows(&log).await.unwrap();
        let rows_in: Vec<&[Datum<'_>]> = rows.iter().map(|row| row.as_slice()).collect();
        let sets =
            NetTable { table: 2, deletes: Rows::new(1), updates: vec![], inserts: rows_of(9, &rows_in) };
        let mut many = rows_of(9, &rows_in);
        (100..200).for_each(|id| {
            let mut row = rows[0];
            row[0] = Datum::Int(id);
            many.push(row);
        });
        let bulk = NetTable { table: 3, deletes: Rows::new(1), updates: vec![], inserts: many };
        assert_eq!(applier.net(&Net { tables: vec![sets, bulk] }).await.unwrap(), Applied::Done);
        let one = |cells: &[Datum<'static>]| rows_of(cells.len(), &[cells]);
        let updates =
            NetUpdates { columns: vec![1], keys: one(&[Datum::Int(2)]), rows: one(&[Datum::Bool(false)]) };
        let again =
            NetTable { table: 2, deletes: Rows::new(1), updates: vec![updates], inserts: Rows::new(9) };
        assert_eq!(applier.net(&Net { tables: vec![again] }).await.unwrap(), Applied::Done);

        // What the column would not keep is refused, with the key and without the value.
        for (at, bad) in [(2, t("1.005")), (4, t("canary")), (4, t("a\0b")), (0, Datum::UInt(u64::MAX))] {
            let mut row = rows[2];
            (row[0], row[at]) = (Datum::Int(44), bad);
            let insert =
                NetTable { table: 1, deletes: Rows::new(1), updates: vec![], inserts: rows_of(9, &[&row]) };
            assert_eq!(applier.net(&Net { tables: vec![insert] }).await.unwrap(), Applied::Clashed);
            let mut log = Log::default();
            log.insert(1, &row);
            let error = applier.rows(&log).await.expect_err("refused");
            let text = told(&error);
            assert_eq!(error.cause, Cause::Data, "{text}");
            assert!(text.contains(columns[at].0) && text.contains("public.rows"), "{text}");
            assert!(at == 0 || text.contains("(44)"), "{text}");
            assert!(!text.contains("canary"), "{text}");
        }
    });
    let all = |table: &str| to.rows(&format!("SELECT t::text FROM {table} t WHERE id < 100 ORDER BY id"));
    let copied = all("copied");
    assert_eq!(copied.len(), 3);
    for table in &tables[1..] {
        assert_eq!(all(table), copied, "{table}");
    }
}

#[test]
fn i_01_i_02_i_10_and_i_11_names_and_values_are_only_data() {
    let server = need_server!();
    let to = server.database("hostile");
    let names = [
        "a\"b",
        "a\"\"b",
        "a`b",
        "a]b",
        "a'b",
        "a\\b",
        "a\\'",
        "x\"; DROP TABLE y; --",
        "x' OR '1'='1",
        "/*",
        "--",
        "${jndi:x}",
        "{{x}}",
        "%s",
        "%(a)s",
        "?",
        "$1",
        ":name",
        "@v",
        "select",
        "null",
        "u",
        "t",
        "c1",
        "m",
        "w",
        " ",
        "Ä",
        "line\nfeed",
        "😀",
    ];
    let texts = [
        "",
        "\\.",
        "\\N",
        "NULL",
        "null",
        "'",
        "''",
        "\"",
        "\\",
        "\\\\",
        "{}",
        "{\"a\"}",
        "a,b",
        "\t\r\n",
        "E'\\n'",
        "$1",
        "'; DROP TABLE y; --",
        "=cmd()",
        "\u{1b}[2J",
        "\u{202e}x",
        "\u{feff}",
        "😀",
        " ",
        "\u{1}",
    ];
    let columns: Vec<(&str, &str)> = names.iter().map(|name| (*name, "text")).collect();
    let list: Vec<String> = names.iter().map(|name| format!("{} text", quoted(name))).collect();
    for name in names {
        to.execute(&format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            quoted(name),
            list.join(", "),
            quoted(names[0])
        ));
    }
    run(async {
        let tables: Vec<Followed> = names.iter().map(|name| keyed(table_of(name, &columns))).collect();
        let mut applier = Applier::new(&to.url(), &tables).await;
        let row = |key: usize| -> Vec<Datum<'static>> {
            (0..names.len())
                .map(|at| match (at, (at + key) % (texts.len() + 1)) {
                    (0, _) => t(texts[key]),
                    (_, which) => texts.get(which).map_or(NULL, |text| t(text)),
                })
                .collect()
        };
        for table in 0..names.len() {
            let mut log = Log::default();
            let (first, rest) = (0..texts.len() / 2, texts.len() / 2..texts.len());
            for key in first.clone() {
                // By way of other values and another key.
                let mut other = row((key + 1) % texts.len());
                other[0] = t("other key");
                let mut old = vec![ABSENT; names.len()];
                old[0] = t("other key");
                log.insert(table, &other).update(table, &old, &row(key));
            }
            applier.rows(&log).await.unwrap();
            let mut inserts = Rows::new(names.len());
            rest.clone().for_each(|key| inserts.push(row(key)));
            let made = NetTable { table, deletes: Rows::new(1), updates: vec![], inserts };
            assert_eq!(applier.net(&Net { tables: vec![made] }).await.unwrap(), Applied::Done);
            let told: Vec<Vec<u8>> = outside(|| lines(&to, &tables[table].projection));
            let mut found: Vec<_> = told.iter().map(|line| fields(line)).collect();
            found.sort();
            let bytes = |datum: Datum<'static>| match datum {
                Datum::Text(text) => Some(text.to_vec()),
                _ => None,
            };
            let mut wanted: Vec<Vec<_>> =
                (0..texts.len()).map(|key| row(key).into_iter().map(bytes).collect()).collect();
            wanted.sort();
            assert_eq!(found, wanted, "{}", names[table]);
            let mut log = Log::default();
            first.for_each(|key| {
                log.delete(table, &row(key));
            });
            applier.rows(&log).await.unwrap();
            let mut deletes = Rows::new(1);
            rest.for_each(|key| deletes.push([row(key)[0]]));
            let gone = NetTable { table, deletes, updates: vec![], inserts: Rows::new(names.len()) };
            assert_eq!(applier.net(&Net { tables: vec![gone] }).await.unwrap(), Applied::Done);
        }
    });
    let left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    assert_eq!(to.value(left), names.len().to_string());
}

#[test]
fn pg_35_keys_are_compared_as_their_type_does() {
    let server = need_server!();
    let to = server.database("equality");
    to.execute(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE DOMAIN ci AS ext.citext; CREATE DOMAIN ci2 AS ci; \
         CREATE TABLE words (id ext.citext, d ci2, n int, PRIMARY KEY (id, d)); \
         INSERT INTO words VALUES ('AbC', 'X', 1), ('dEf', 'Y', 2), ('g', 'Z', 3); \
         INSERT INTO words SELECT i, i, -i FROM generate_series(1, 1000) i",
    );
    run(async {
        let columns = [("id", "ext.citext"), ("d", "public.ci2"), ("n", "integer")];
        let mut words = table_of("words", &columns);
        words.key = vec![0, 1];
        let mut applier = Applier::new(&to.url(), &[keyed(words)]).await;
        let mut log = Log::default();
        log.update(0, &[], &[t("abc"), t("x"), t("10")]).delete(0, &[t("DEF"), t("y"), ABSENT]);
        applier.rows(&log).await.unwrap();
        let one = |cells: &[Datum<'static>]| rows_of(cells.len(), &[cells]);
        let updates = NetUpdates { columns: vec![2], keys: one(&[t("G"), t("z")]), rows: one(&[t("30")]) };
        let table =
            NetTable { table: 0, deletes: Rows::new(2), updates: vec![updates], inserts: Rows::new(3) };
        assert_eq!(applier.net(&Net { tables: vec![table] }).await.unwrap(), Applied::Done);
    });
    assert_eq!(
        to.value("SELECT string_agg(w::text, ' ' ORDER BY id) FROM words w WHERE n IN (10, 30)"),
        "(AbC,X,10) (g,Z,30)"
    );
}
