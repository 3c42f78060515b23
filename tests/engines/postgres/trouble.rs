//! What goes wrong between the ends, and what the user reads then: no value, no password.

use super::*;

#[test]
fn f_26_a_cut_in_mid_copy_keeps_nothing() {
    let server = need_server!();
    for after in [30_000, 60_000, 90_001] {
        let (from, to) = (server.database("cut"), server.database("cut"));
        from.execute(FILLED);
        to.execute(NUMBERS);
        let proxy = Proxy::before(from.port);
        run(async {
            let projection = numbers(Form::NativeFast);
            let snapshot = source(&from.url_at(proxy.port)).await.unwrap().snapshot().await.unwrap();
            let lock = locked(&to).await;
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            proxy.fault(Fault::Cut { way: Way::ToClient, after });
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            let error = load(session.as_mut(), &projection, stream.as_mut()).await.expect_err("cut");
            assert_eq!(error.cause, Cause::Connection, "{error}");
            assert_eq!(proxy.struck(), 1);
            session.rollback().await.unwrap();
            // Both ends go on.
            assert!(snapshot.alive().await);
            session.begin().await.unwrap();
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            assert_eq!(load(session.as_mut(), &projection, stream.as_mut()).await.unwrap().rows, 5000);
            session.commit().await.unwrap();
        });
        assert_eq!(to.value("SELECT count(*) FROM numbers"), "5000");
    }
}

#[test]
fn f_28_rows_that_vanish_on_the_way_are_missed() {
    let server = need_server!();
    for form in [Form::NativeFast, Form::NativeText, Form::Rows] {
        let (from, to) = (server.database("vanish"), server.database("vanish"));
        from.execute(FILLED);
        to.execute(NUMBERS);
        let proxy = Proxy::before(from.port);
        run(async {
            let projection = numbers(form);
            let snapshot = source(&from.url_at(proxy.port)).await.unwrap().snapshot().await.unwrap();
            let lock = locked(&to).await;
            let mut session = lock.session().await.unwrap();
            session.begin().await.unwrap();
            proxy.fault(Fault::SwallowRows { after: 1000, count: 1 });
            let mut stream = whole(snapshot.as_ref(), &projection).await;
            let result = load(session.as_mut(), &projection, stream.as_mut()).await;
            assert_eq!(proxy.struck(), 1);
            assert!(result.expect_err("one is missing").message.contains("5000"));
        });
    }
}

#[test]
fn a_trigger_that_drops_rows_is_found_out() {
    let server = need_server!();
    let (from, to) = (server.database("trigger"), server.database("trigger"));
    from.execute(FILLED);
    to.execute(NUMBERS);
    to.execute(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE WARNING 'a chatty trigger'; IF new.id = 7 THEN RETURN NULL; END IF; RETURN new; END $$; \
         CREATE TRIGGER odd BEFORE INSERT ON numbers FOR EACH ROW EXECUTE FUNCTION odd()",
    );
    let error = run(copy(&from, &to, &numbers(Form::NativeFast))).expect_err("a row is missing");
    assert!(error.message.contains("5000 rows were sent and 4999 arrived"), "{error}");
    assert_eq!(to.value("SELECT count(*) FROM numbers"), "0");
}

#[test]
fn s_sec_3_errors_name_the_place_and_no_value() {
    let server = need_server!();
    let (from, to) = (server.database("values"), server.database("values"));
    from.execute(
        "CREATE TABLE numbers (id bigint, word text); INSERT INTO numbers VALUES (1, '7'), (2, 'canary')",
    );
    for (definition, form) in [
        ("id bigint, word integer", Form::NativeText),
        ("id bigint, word varchar(3)", Form::NativeFast),
        ("id bigint, word text CHECK (word < 'a')", Form::NativeText),
        ("id bigint, word integer", Form::Rows),
    ] {
        to.execute(&format!(
            "DROP TABLE IF EXISTS public.numbers; CREATE TABLE public.numbers ({definition})"
        ));
        let mut projection = numbers(form);
        if form == Form::Rows {
            projection.columns[1].target_type = Type::Int { bits: 32 };
        }
        let error = run(copy(&from, &to, &projection)).expect_err("does not fit");
        let text = format!("{error} {:?}", error.hint);
        assert_eq!(error.cause, Cause::Data, "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("public.numbers") && text.contains("row 2"), "{text}");
    }
}

#[test]
fn pg_42_cells_that_postgresql_cannot_hold_are_refused_before_they_are_sent() {
    let server = need_server!();
    let to = server.database("cells");
    to.execute(NUMBERS);
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let mut rows = RowBatch::new(2);
        for text in ["fine", "canary\0"] {
            rows.push(towpath::catalog::Cell::Int(1));
            rows.push_text(text.as_bytes());
            rows.end_row();
        }
        let mut stream = Script(vec![Ok(Batch::Rows(rows))]);
        let error = load(session.as_mut(), &numbers(Form::Rows), &mut stream).await.expect_err("a NUL");
        let text = error.to_string();
        assert!(text.contains("row 2") && text.contains("column word") && text.contains("NUL"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        session.rollback().await.unwrap();
        session.begin().await.unwrap();
        assert!(!session.any_row(&Name::new("public", "numbers")).await.unwrap());
        session.rollback().await.unwrap();
    });
}

#[test]
fn h_15_a_stream_that_claims_too_much_is_no_success() {
    let server = need_server!();
    let to = server.database("claims");
    to.execute(NUMBERS);
    run(async {
        let lock = locked(&to).await;
        let mut session = lock.session().await.unwrap();
        session.begin().await.unwrap();
        let mut stream = Script(vec![Ok(Batch::End { rows: 1 })]);
        assert!(load(session.as_mut(), &numbers(Form::NativeText), &mut stream).await.is_err());
    });
}

#[test]
fn u_11_to_u_13_what_a_first_time_user_reads() {
    let server = need_server!();
    let database = server.database("first");
    let good = database.url();
    let wrong = |from: &str, to: &str| good.replace(from, to);
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let cases = [
        (wrong(PASSWORD, "canary-wrong"), Cause::Authentication, None, "check user and password"),
        (wrong(&format!(":{PASSWORD}"), ""), Cause::Authentication, None, "the URL has none"),
        (wrong("first_", "nowhere_"), Cause::NotFound, None, "create the database"),
        (wrong("?sslmode=disable", ""), Cause::Tls, None, "sslmode=disable"),
        (wrong("?sslmode=disable", "?sslmode=require"), Cause::Tls, None, "does not offer TLS"),
        (
            wrong(&database.port.to_string(), &closed.to_string()),
            Cause::Connection,
            Some("E311"),
            "nothing listens",
        ),
        (wrong("127.0.0.1", "nowhere.invalid"), Cause::Connection, Some("E310"), "not known to DNS"),
    ];
    for (url, cause, contract, says) in cases {
        let error = run(source(&url)).err().unwrap_or_else(|| panic!("{says} was expected"));
        let text = format!("{error} / {}", error.hint.clone().unwrap_or_default());
        assert_eq!((error.cause, error.contract), (cause, contract), "{text}");
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("postgres://"), "{text}");
    }
    assert!(run(source(&wrong("sslmode=disable", "sslmode=prefer"))).is_ok());
}

#[test]
fn u_12_something_else_answers() {
    use std::io::{Read as _, Write as _};
    for (answer, contract) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "E314"),
        (b"\x4a\x00\x00\x00\x0a8.0.36\x00", "E314"),
        (b"N", "E313"),
    ] {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(answer).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let url = format!("postgres://u:canary@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=1");
        let error = run(source(&url)).err().unwrap();
        assert_eq!(error.contract, Some(contract), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        server.join().unwrap();
    }
}

#[test]
fn f_64_settings_of_role_and_database_do_not_reach_our_sessions() {
    let server = need_server!();
    let database = server.database("settings");
    for setting in [
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'SQL, DMY'",
        "statement_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "search_path = public",
        "extra_float_digits = -5",
        "bytea_output = 'escape'",
        "array_nulls = off",
        "default_transaction_isolation = 'serializable'",
    ] {
        server.admin(&format!("ALTER DATABASE {database} SET {setting}"));
    }
    let to = server.database("settings");
    let mut session = database.session();
    session.execute("SET statement_timeout = 0; SET DateStyle = ISO");
    session.execute(
        "CREATE TABLE numbers (id timestamptz, word double precision); \
         INSERT INTO numbers SELECT '2024-06-01 12:00:00+00', 0.1::float8 + i FROM generate_series(1, 20000) i",
    );
    to.execute("CREATE TABLE numbers (id text, word text)");
    let mut projection = numbers(Form::NativeText);
    for column in &mut projection.columns {
        column.cast = Some(Cast { native: "text".into(), zone: None });
    }
    run(copy(&database, &to, &projection)).unwrap();
    assert_eq!(to.value("SELECT min(id) FROM numbers"), "2024-06-01 12:00:00+00");
    assert_eq!(to.value("SELECT word FROM numbers WHERE word LIKE '1.%' ORDER BY word LIMIT 1"), "1.1");
}

#[test]
fn f_37_another_server_at_the_same_address_is_noticed() {
    let server = need_server!();
    let Some(other) = other_server() else { return };
    let database = server.database("identity");
    other.admin(&format!("CREATE DATABASE {database}"));
    let place = std::sync::Arc::new(std::sync::atomic::AtomicU16::new(server.port));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = place.clone();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let port = to.load(std::sync::atomic::Ordering::SeqCst);
            let mut far = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::thread::spawn(move || std::io::copy(&mut far, &mut near));
        }
    });
    run(async {
        let end = source(&database.url_at(port)).await.unwrap();
        end.snapshot().await.unwrap();
        place.store(other.port, std::sync::atomic::Ordering::SeqCst);
        let error = end.snapshot().await.err().unwrap();
        assert!(error.to_string().contains("another server"), "{error}");
    });
}
