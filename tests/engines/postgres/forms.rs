//! Neutral cells in COPY's two forms: the server must make the same values of both.

use towpath::catalog::Cell;

use super::*;

/// Texts for a type, at the edges of what it holds.
fn edges(native: &str) -> Vec<String> {
    let texts: &[&str] = match native {
        "boolean" => &["t", "false", "1", "0"],
        "smallint" => &["-32768", "0", "32767"],
        "integer" => &["-2147483648", "2147483647"],
        "bigint" => &["-9223372036854775808", "9223372036854775807"],
        "numeric" => &[
            "0",
            "-0.00",
            "12345.6789",
            "1e10",
            "1.5e-20",
            "99999999999999999999.00010",
            "NaN",
            "Infinity",
            "-Infinity",
            ".5",
            "5.",
            "+7",
            "10000",
            "100000000",
            "0.0001",
            "0.00001",
            "1e131071",
            "1e-16383",
            "000012",
        ],
        "numeric(10,2)" => &["1.50", "-99999999.99", "0.1", "7.000", "1e3"],
        "real" => &["0.1", "1e-38", "-0", "3.4028235e38", "16777217", "1e-45", "NaN", "-Infinity"],
        "double precision" => {
            &["0.1", "5e-324", "-0", "1.7976931348623157e308", "1e22", "Infinity", "NaN", ".5e1"]
        }
        "text" => &["", "\\N", "a\tb\nc\rd\\e", "ä\u{2028}😀", "\\."],
        "character varying(3)" => &["abc", "äöü", ""],
        "character(5)" => &["ab", "", "abcde"],
        "date" => &[
            "2024-02-29",
            "2000-01-01",
            "1999-12-31",
            "1900-02-28",
            "0001-01-01",
            "0001-12-31 BC",
            "0044-03-15 BC",
            "4714-11-24 BC",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
        "time without time zone" => &["24:00:00", "23:59:60", "00:00", "01:02:03.5", "23:59:59.999999"],
        "timestamp(3) without time zone" => &["2024-02-29 23:59:59.123", "1999-12-31T23:59:60"],
        "timestamp without time zone" => &[
            "2024-02-29 23:59:59.123456",
            "2000-01-01",
            "1969-12-31 24:00:00",
            "0044-03-15 00:00:00 BC",
            "infinity",
            "4714-11-24 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "-infinity",
        ],
        "timestamp with time zone" => &[
            "2024-02-29 23:59:59.5+02",
            "2024-02-29 23:59:59-0330",
            "1883-11-18 12:00:00+05:53:28",
            "2000-01-01T00:00Z",
            "0044-03-15 00:00:00+00 BC",
            "infinity",
            "294276-12-31 23:59:59.999999+00",
        ],
        "uuid" => &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "00000000000000000000000000000000"],
        "json" => &["{\"a\": [1, null],  \"a\": 2}", "7", "\"ä\""],
        "jsonb" => &["{\"a\": [1, null],  \"b\": 2}", "7", "\"ä\""],
        _ => panic!("no texts for {native}"),
    };
    texts.iter().map(|text| text.to_string()).collect()
}

/// Many more for the types whose texts are taken apart here.
fn scattered(native: &str) -> Vec<String> {
    let mut state = 7_u64;
    let mut below = move |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut one = || match native {
        "numeric" => {
            let digits = |count: u64, below: &mut dyn FnMut(u64) -> u64| -> String {
                (0..count)
                    .map(|_| char::from(b'0' + [0, below(10) as u8][below(3).min(1) as usize]))
                    .collect()
            };
            let sign = ["", "-"][below(2) as usize];
            let (whole, fraction) = (below(14) + 1, below(14));
            let whole = digits(whole, &mut below);
            format!("{sign}{whole}.{}", digits(fraction, &mut below))
        }
        "date" => format!("{:04}-{:02}-{:02}", below(3000) + 1, below(12) + 1, below(28) + 1),
        _ => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
            below(3000) + 1,
            below(12) + 1,
            below(28) + 1,
            below(24),
            below(60),
            below(60),
            below(1_000_000)
        ),
    };
    match native {
        "numeric" | "date" | "timestamp without time zone" => (0..300).map(|_| one()).collect(),
        _ => Vec::new(),
    }
}

fn type_of(native: &str) -> Type {
    let decimal = |precision, scale| Type::Decimal { precision, scale };
    match native {
        "boolean" => Type::Bool,
        "smallint" => Type::Int { bits: 16 },
        "integer" => Type::Int { bits: 32 },
        "bigint" => Type::Int { bits: 64 },
        "numeric" => decimal(None, None),
        "numeric(10,2)" => decimal(Some(10), Some(2)),
        "real" => Type::Float { bits: 32 },
        "double precision" => Type::Float { bits: 64 },
        "character varying(3)" => Type::VarChar { length: 3 },
        "character(5)" => Type::Char { length: 5 },
        "date" => Type::Date,
        "time without time zone" => Type::Time { precision: 6, zone: false },
        "timestamp(3) without time zone" => Type::Timestamp { precision: 3 },
        "timestamp without time zone" => Type::Timestamp { precision: 6 },
        "timestamp with time zone" => Type::TimestampTz { precision: 6 },
        "uuid" => Type::Uuid,
        "json" => Type::Json { binary: false },
        "jsonb" => Type::Json { binary: true },
        _ => Type::Text,
    }
}

/// A column that only the text form knows makes the whole table go as text.
#[test]
fn g_03_both_forms_of_copy_bring_the_same_values() {
    let server = need_server!();
    let natives = [
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "numeric(10,2)",
        "real",
        "double precision",
        "text",
        "character varying(3)",
        "character(5)",
        "date",
        "time without time zone",
        "timestamp(3) without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "uuid",
        "json",
        "jsonb",
    ];
    let to = server.database("both_forms");
    let inet = Type::Network { native: "inet".into() };
    for (number, native) in natives.iter().enumerate() {
        let (b, t) = (format!("b{number}"), format!("t{number}"));
        let value = map("v", &type_of(native), native);
        let narrow = table(&b, Form::Rows, vec![map("n", &bigint(), "bigint"), value.clone()]);
        let wide = table(&t, Form::Rows, vec![map("n", &bigint(), "bigint"), value, map("w", &inet, "inet")]);
        to.execute(&format!(
            "CREATE TABLE public.{b} (n bigint, v {native}); CREATE TABLE public.{t} (n bigint, v {native}, w inet)"
        ));
        let texts = [edges(native), scattered(native)].concat();
        for projection in [&narrow, &wide] {
            let width = projection.columns.len();
            let mut rows = RowBatch::new(width);
            for (number, text) in texts.iter().map(Some).chain([None]).enumerate() {
                rows.push(Cell::Int(number as i64));
                match text {
                    Some(text) => rows.push_text(text.as_bytes()),
                    None => rows.push(Cell::Null),
                }
                (2..width).for_each(|_| rows.push(Cell::Null));
                rows.end_row();
            }
            let count = rows.rows() as u64;
            run(async {
                let lock = locked(&to).await;
                let mut session = lock.session().await.unwrap();
                session.begin().await.unwrap();
                let mut script = Script(vec![Ok(Batch::Rows(rows)), Ok(Batch::End { rows: count })]);
                load(session.as_mut(), projection, &mut script)
                    .await
                    .unwrap_or_else(|error| panic!("{native}: {error}"));
                session.commit().await.unwrap();
                lock.close("done").await.unwrap();
            });
        }
        let all = |table: &str| to.rows(&format!("SELECT n::text, v::text FROM public.{table} ORDER BY n"));
        assert_eq!(all(&b), all(&t), "{native}");
    }
}
