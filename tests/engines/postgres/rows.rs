//! Rows on their way out: forms, chunks, one moment for all readers, tables that changed since, and
//! sums that tell tables apart.

use super::*;

#[test]
fn every_form_brings_the_same_rows() {
    let server = need_server!();
    let values = "CREATE TABLE odd (id bigint PRIMARY KEY, \"a\"\"b\" text, flag boolean, part real, whole double precision, \
         amount numeric, raw bytea, born date, at time, stamp timestamp, moment timestamptz, span interval, \
         code char(5), tags text[], nothing text); \
         INSERT INTO odd VALUES \
         (1, E'tab\\tnew\\nline\\\\N', true, 0.1, 0.1, 12.3400, '\\x00ff5c', '2024-02-29', '23:59:59.5', \
          '2024-02-29 23:59:59.123456', '2024-02-29 23:59:59+02', '1 year 2 months 3 days 04:05:06.5', 'ab', '{\"a,b\",NULL,\"\"}', NULL), \
         (2, '', false, 'NaN', '-Infinity', 'NaN', '', '-infinity', '24:00:00', '0044-03-15 00:00:00 BC', 'infinity', \
          '-178000000 years', '', '{}', NULL), \
         (3, E'\\\\.', NULL, 1e-38, 1e-320, 99999999999999999999.5, NULL, '5874897-01-01', NULL, NULL, NULL, '-1 mon +1 day', NULL, NULL, NULL)";
    let time = Type::Time { precision: 6, zone: false };
    let array = Type::Array { of: Box::new(Type::Text) };
    let columns = |form| {
        table(
            "odd",
            form,
            vec![
                map("id", &bigint(), "bigint"),
                map("a\"b", &Type::Text, "text"),
                map("flag", &Type::Bool, "boolean"),
                map("part", &Type::Float { bits: 32 }, "real"),
                map("whole", &Type::Float { bits: 64 }, "double precision"),
                map("amount", &Type::Decimal { precision: None, scale: None }, "numeric"),
                map("raw", &Type::Blob, "bytea"),
                map("born", &Type::Date, "date"),
                map("at", &time, "time"),
                map("stamp", &Type::Timestamp { precision: 6 }, "timestamp"),
                map("moment", &Type::TimestampTz { precision: 6 }, "timestamptz"),
                map("span", &Type::Interval, "interval"),
                map("code", &Type::Char { length: 5 }, "character(5)"),
                map("tags", &array, "text[]"),
                map("nothing", &Type::Text, "text"),
            ],
        )
    };
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("forms"), server.database("forms"));
        from.execute(values);
        to.execute(values.split("; INSERT").next().unwrap());
        let loaded = run(copy(&from, &to, &columns(form))).unwrap();
        assert_eq!(loaded.rows, 3);
        let all = "SELECT o.*::text FROM odd o ORDER BY id".replace("o.*::text", "o::text");
        assert_eq!(from.rows(&all), to.rows(&all), "{form:?}");
    }
}

#[test]
fn p_06_chunks_cover_the_table_and_casts_and_filters_work_in_each() {
    let server = need_server!();
    let (from, to) = (server.database("chunks"), server.database("chunks"));
    from.execute(FILLED);
    to.execute("CREATE TABLE numbers (id text, word text)");
    let mut projection = numbers(Form::NativeFast);
    projection.columns[0].target_type = Type::Text;
    projection.columns[0].cast = Some(Cast { native: "text".into(), zone: None });
    projection.filter = Some("id % 2 = 0 OR id = 1".into());
    run(async {
        let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        let chunks = snapshot.chunks(&projection, 50_000).await.unwrap();
        assert!(chunks.len() > 3, "{chunks:?}");
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        let mut rows = 0;
        for chunk in &chunks {
            session.begin().await.unwrap();
            let read = Read { projection: &projection, chunk, batch_bytes: 1 << 16, paced: false };
            let mut stream = snapshot.read(&read).await.unwrap();
            rows += load(session.as_mut(), &projection, stream.as_mut()).await.unwrap().rows;
            session.commit().await.unwrap();
        }
        assert_eq!(rows, 2501);
        assert_eq!(snapshot.count(&projection).await.unwrap(), 2501);
    });
    assert_eq!(to.value("SELECT count(DISTINCT id) FROM numbers"), "2501");
}

#[test]
fn s_20_a_table_without_columns_keeps_its_rows() {
    let server = need_server!();
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("bare"), server.database("bare"));
        from.execute(
            "CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES",
        );
        to.execute("CREATE TABLE bare ()");
        assert_eq!(run(copy(&from, &to, &table("bare", form, vec![]))).unwrap().rows, 2);
        assert_eq!(to.value("SELECT count(*) FROM bare"), "2");
    }
}

#[test]
fn g_04_all_readers_see_one_moment() {
    let server = need_server!();
    let from = server.database("moment");
    from.execute(FILLED);
    run(async {
        let projection = numbers(Form::Rows);
        let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        outside(|| {
            from.execute("UPDATE numbers SET word = 'new'; INSERT INTO numbers VALUES (9999, 'late')")
        });
        let mut stream = whole(snapshot.as_ref(), &projection).await;
        let mut seen = 0;
        loop {
            match stream.next().await.unwrap() {
                Batch::Rows(rows) => {
                    for index in 0..rows.rows() {
                        assert!(rows.data(rows.row(index)[1]).starts_with(b"word "));
                    }
                    seen += rows.rows() as u64;
                }
                Batch::End { rows } => break assert_eq!((rows, seen), (5000, 5000)),
                Batch::Native { .. } => panic!("rows were asked for"),
            }
        }
        // The holder touches no table and readers leave theirs: an ALTER waits for nobody.
        drop(stream);
        outside(|| from.execute("SET lock_timeout = '2s'; ALTER TABLE numbers ADD COLUMN more int"));
    });
}

#[test]
fn f_24_and_f_25_a_table_that_changed_since_the_snapshot_is_never_read_as_empty() {
    let server = need_server!();
    let changes = [
        "TRUNCATE numbers",
        "VACUUM FULL numbers",
        "ALTER TABLE numbers ALTER id TYPE numeric",
        "ALTER TABLE numbers ADD COLUMN more int",
        "ALTER TABLE numbers DROP COLUMN word; ALTER TABLE numbers ADD COLUMN word text",
        "ALTER TABLE numbers RENAME COLUMN word TO werd",
        "DROP TABLE numbers",
        "ALTER TABLE numbers RENAME TO old; CREATE TABLE numbers AS SELECT * FROM old",
    ];
    for change in changes {
        for form in [Form::NativeFast, Form::Rows] {
            let from = server.database("stale");
            from.execute(FILLED);
            run(async {
                let projection = numbers(form);
                let snapshot = source(&from.url()).await.unwrap().snapshot().await.unwrap();
                let chunks = snapshot.chunks(&projection, u64::MAX).await.unwrap();
                outside(|| change.split("; ").for_each(|sql| from.execute(sql)));
                let read =
                    Read { projection: &projection, chunk: &chunks[0], batch_bytes: 1 << 16, paced: false };
                let error = match snapshot.read(&read).await {
                    Err(error) => error,
                    Ok(mut stream) => loop {
                        match stream.next().await {
                            Ok(Batch::End { rows }) => {
                                panic!("{change}: {rows} rows were taken for the truth")
                            }
                            Ok(_) => {}
                            Err(error) => break error,
                        }
                    },
                };
                assert_eq!(error.cause, Cause::Stale, "{change}: {error}");
                assert!(error.to_string().contains("public.numbers"), "{error}");
                let count = snapshot.count(&projection).await;
                assert_eq!(count.expect_err("no count either").cause, Cause::Stale, "{change}");
            });
        }
    }
}

/// What `unchanged` says of finished chunks of `numbers` after something happened.
fn unchanged_after(change: &str, chunk_bytes: u64) -> bool {
    let server = crate::support::postgres::server().unwrap();
    let from = server.database("unchanged");
    from.execute(FILLED);
    run(async {
        let projection = numbers(Form::NativeFast);
        let source = source(&from.url()).await.unwrap();
        let before = source.snapshot().await.unwrap();
        let mut done: Vec<(Chunk, u64)> = Vec::new();
        for chunk in before.chunks(&projection, chunk_bytes).await.unwrap().into_iter().take(2) {
            let read = Read { projection: &projection, chunk: &chunk, batch_bytes: 1 << 16, paced: false };
            let mut stream = before.read(&read).await.unwrap();
            loop {
                if let Batch::End { rows } = stream.next().await.unwrap() {
                    break done.push((chunk, rows));
                }
            }
        }
        let position = before.position().clone();
        before.close().await.unwrap();
        outside(|| change.split("; ").for_each(|sql| from.execute(sql)));
        let after = source.snapshot().await.unwrap();
        after.unchanged(&projection, &position, &done).await.unwrap()
    })
}

#[test]
fn finished_chunks_stay_while_their_rows_are_the_same() {
    need_server!();
    // Nothing, other tables, and rows beyond the finished chunks.
    for change in [
        "SELECT 1",
        "CREATE TABLE other (a int); INSERT INTO other VALUES (1)",
        "UPDATE numbers SET word = 'x' WHERE id = 5000",
        "DELETE FROM numbers WHERE id = 4999; VACUUM numbers",
        "VACUUM FREEZE numbers",
    ] {
        assert!(unchanged_after(change, 50_000), "{change}");
    }
}

#[test]
fn finished_chunks_are_void_when_a_row_in_them_changed() {
    need_server!();
    for change in [
        "UPDATE numbers SET word = 'x' WHERE id = 7",
        "UPDATE numbers SET word = word WHERE id = 7",
        "DELETE FROM numbers WHERE id = 7",
        "DELETE FROM numbers WHERE id = 7; VACUUM numbers; INSERT INTO numbers VALUES (7, 'word 7')",
        "TRUNCATE numbers",
        "VACUUM FULL numbers",
        "CREATE INDEX ON numbers (word); CLUSTER numbers USING numbers_word_idx",
        "ALTER TABLE numbers DROP COLUMN word; ALTER TABLE numbers ADD COLUMN word text",
        "DROP TABLE numbers",
    ] {
        assert!(!unchanged_after(change, 50_000), "{change}");
    }
    // As one chunk the table may be moved as a whole, and may not change.
    assert!(unchanged_after("VACUUM FULL numbers", u64::MAX));
    assert!(!unchanged_after("INSERT INTO numbers VALUES (6000, 'x')", u64::MAX));
}

#[test]
fn a_transaction_that_was_open_at_the_snapshot_is_in_doubt() {
    let server = need_server!();
    let from = server.database("doubt");
    from.execute(FILLED);
    // Written by a subtransaction that began before the snapshot and ends after it.
    let mut writer = from.session();
    writer.execute("BEGIN; SAVEPOINT s; UPDATE numbers SET word = 'x' WHERE id = 7; RELEASE s; SELECT pg_current_xact_id()");
    from.execute("CREATE TABLE other (a int)");
    run(async {
        let projection = numbers(Form::NativeFast);
        let source = source(&from.url()).await.unwrap();
        let before = source.snapshot().await.unwrap();
        let chunk = before.chunks(&projection, u64::MAX).await.unwrap().remove(0);
        let position = before.position().clone();
        outside(|| writer.execute("COMMIT"));
        let after = source.snapshot().await.unwrap();
        assert!(!after.unchanged(&projection, &position, &[(chunk, 5000)]).await.unwrap());
    });
}

/// Sums of `numbers` on both ends, and the keys of rows in buckets that differ.
fn compared(from: &Database, to: &Database, projection: &Projection) -> Vec<String> {
    run(async {
        let here = source(&from.url()).await.unwrap().snapshot().await.unwrap();
        let there = target(&to.url()).await.unwrap().snapshot().await.unwrap();
        let a = here.summary(projection, 64).await.unwrap();
        let b = there.summary(projection, 64).await.unwrap();
        assert_eq!(a.rows(), here.count(projection).await.unwrap());
        let differ: Vec<u32> =
            (0..64).filter(|at| a.buckets[*at as usize] != b.buckets[*at as usize]).collect();
        if differ.is_empty() {
            return Vec::new();
        }
        let mut left = here.bucket_rows(projection, &differ, 64, 100_000).await.unwrap();
        let mut right = there.bucket_rows(projection, &differ, 64, 100_000).await.unwrap();
        left.retain(|row| match right.iter().position(|other| other == row) {
            Some(at) => {
                right.remove(at);
                false
            }
            None => true,
        });
        let mut keys: Vec<String> = left.into_iter().chain(right).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys
    })
}

#[test]
fn c_10_sums_find_every_planted_difference() {
    let server = need_server!();
    let from = server.database("sums");
    from.execute(FILLED);
    from.execute("INSERT INTO numbers VALUES (6000, ''), (6001, NULL)");
    let projection = numbers(Form::NativeFast);
    for (change, keys) in [
        ("SELECT 1", vec![]),
        ("UPDATE numbers SET word = 'word 0' WHERE id = 7", vec!["(7)"]),
        ("DELETE FROM numbers WHERE id = 7", vec!["(7)"]),
        ("INSERT INTO numbers VALUES (7000, 'x')", vec!["(7000)"]),
        (
            "UPDATE numbers SET word = CASE id WHEN 1 THEN 'word 2' ELSE 'word 1' END WHERE id IN (1, 2)",
            vec!["(1)", "(2)"],
        ),
        ("UPDATE numbers SET word = NULL WHERE id = 6000", vec!["(6000)"]),
    ] {
        let to = server.database("sums");
        to.execute(NUMBERS);
        run(copy(&from, &to, &projection)).unwrap();
        to.execute(change);
        assert_eq!(compared(&from, &to, &projection), keys, "{change}");
    }
    // Without a key: a duplicate exchanged for another.
    let keyless = Projection { key: vec![], ..projection };
    let to = server.database("sums");
    to.execute(NUMBERS);
    run(copy(&from, &to, &keyless)).unwrap();
    assert!(compared(&from, &to, &keyless).is_empty());
    from.execute(
        "ALTER TABLE numbers DROP CONSTRAINT numbers_pkey; INSERT INTO numbers VALUES (1, 'word 1')",
    );
    to.execute("INSERT INTO numbers VALUES (2, 'word 2')");
    assert_eq!(compared(&from, &to, &keyless).len(), 2);
}

#[test]
fn sums_agree_across_casts_filters_and_long_values() {
    let server = need_server!();
    let (from, to) = (server.database("sums"), server.database("sums"));
    from.execute(
        "CREATE TABLE numbers (id bigint PRIMARY KEY, word text, raw bytea); INSERT INTO numbers \
         SELECT i, CASE WHEN i = 3 THEN repeat('x\"', 3000000) ELSE i::text END, \
         CASE WHEN i = 4 THEN decode(repeat('00ff', 2000000), 'hex') END FROM generate_series(1, 50) i",
    );
    to.execute("CREATE TABLE numbers (id text, word text, raw bytea)");
    let mut projection = numbers(Form::NativeFast);
    projection.columns.push(map("raw", &Type::Blob, "bytea"));
    projection.columns[0].target_type = Type::Text;
    projection.columns[0].cast = Some(Cast { native: "text".into(), zone: None });
    projection.filter = Some("id <> 9".into());
    run(copy(&from, &to, &projection)).unwrap();
    assert!(compared(&from, &to, &projection).is_empty());
    to.execute("UPDATE numbers SET raw = set_byte(raw, 3000000, 1) WHERE id = '4'");
    assert_eq!(compared(&from, &to, &projection), ["(4)"]);
}
