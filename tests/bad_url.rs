//! Bad connection URLs, by the ids of the contract's section 4.2. Nothing is connected to.

use proptest::prelude::*;
use towpath::engine::Url;

fn url_code(text: &str) -> &'static str {
    match Url::parse(text) {
        Ok(url) => panic!("{text} is taken as {url}"),
        Err(error) => error.code,
    }
}

#[test]
fn u_01_a_url_without_a_known_scheme_is_e301() {
    for text in [
        "",
        "  ",
        "shop",
        "localhost:5432",
        "mysql2://u@h/d",
        "mssql://u@h/d",
        "postgresql+psycopg://u@h/d",
        "jdbc:postgresql://h/d",
        "://x",
        "http://x/",
        "C:\\data\\x.db",
        "postgres:u@h/d",
        "1a://x",
    ] {
        assert_eq!(url_code(text), "E301", "{text}");
    }
    let help = Url::parse("mysql2://u@h/d").expect_err("refused").help.expect("help");
    assert!(help.contains("postgres://") && help.contains("mariadb://") && help.contains("sqlite:"));
    assert!(Url::parse("POSTGRES://u@h/d").is_ok());
}

#[test]
fn u_02_a_raw_character_in_a_password_is_e302_without_the_url() {
    for raw in ["@", ":", "/", "?", "#", "%", "[", "]", " "] {
        let text = format!("postgres://app:can{raw}ary@db/shop");
        let error = Url::parse(&text).expect_err(&text);
        assert_eq!(error.code, "E302", "{text}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("can") && !shown.contains("ary"), "{shown}");
        assert!(error.help.expect("help").contains("%25"));
    }
    let url = Url::parse("postgres://app:can%40%3A%2F%3F%23%25%5B%5D%20ary@db/shop").expect("encoded");
    assert_eq!(url.password(), Some("can@:/?#%[] ary"));
}

#[test]
fn u_03_a_bad_percent_sequence_is_e302() {
    for text in [
        "postgres://a%zz@h/d",
        "postgres://a%00@h/d",
        "postgres://a%ff@h/d",
        "postgres://a@h/d%",
        "postgres://a@h/d%4",
        "postgres://a@h/%e9",
        "postgres://a:%zz@h/d",
        "postgres://a\n@h/d",
    ] {
        assert_eq!(url_code(text), "E302", "{text}");
    }
    assert_eq!(Url::parse("postgres://%C3%A4@h/d%20b").expect("good").path, "d b");
}

#[test]
fn u_04_a_bad_port_is_e303() {
    for port in ["0", "65536", "-1", "abc", "", "+1", "99999999999"] {
        assert_eq!(url_code(&format!("postgres://u@h:{port}/d")), "E303", "{port}");
    }
    assert_eq!(Url::parse("postgres://u@h:65535/d").expect("good").port, Some(65535));
}

#[test]
fn u_05_hosts_of_every_kind() {
    let host = |text: &str| Url::parse(text).expect(text).host;
    assert_eq!(host("postgres://u@[::1]:5432/d").as_deref(), Some("::1"));
    assert_eq!(host("postgres://u@[2001:db8::1]/d").as_deref(), Some("2001:db8::1"));
    assert_eq!(host("postgres://u@127.0.0.1/d").as_deref(), Some("127.0.0.1"));
    assert_eq!(host("postgres://u@%2Frun%2Fpg:5433/d").as_deref(), Some("/run/pg"));
    assert_eq!(host("postgres://u@/d?host=/run/pg").as_deref(), Some("/run/pg"));
    assert_eq!(host("postgres://u@/d?host=%2Frun%2Fpg").as_deref(), Some("/run/pg"));
    for text in [
        "postgres://u@::1/d",
        "postgres://u@[::1/d",
        "postgres://u@[::1]x/d",
        "postgres://u@[fe80::1%25eth0]/d",
        "postgres://u@[localhost]/d",
        "postgres://u@a,b/d",
        "postgres://u@a:1,b:2/d",
        "postgres://u@/d",
        "postgres://u@h/d?target_session_attrs=primary",
        "postgres://u@/d?host=name",
        "postgres://u@h%0a/d",
        "postgres://u@h\u{f6}st/d",
    ] {
        assert_eq!(url_code(text), "E304", "{text}");
    }
    let shown = Url::parse("postgres://u:pw@[::1]:5432/d").expect("good").to_string();
    assert_eq!(shown, "postgres://u@[::1]:5432/d");
    let shown = Url::parse("postgres://u:pw@/d?host=/run/pg").expect("good").to_string();
    assert_eq!(shown, "postgres://u@/d?host=/run/pg");
}

#[test]
fn u_06_no_database_and_no_user_are_e305() {
    for text in [
        "postgres://u@h",
        "postgres://u@h/",
        "postgres://u@h/?sslmode=require",
        "postgres://h/d",
        "postgres://@h/d",
        "postgres://:pw@h/d",
        "postgres:///d",
        "sqlite:",
        "sqlite://",
    ] {
        assert_eq!(url_code(text), "E305", "{text}");
    }
}

#[test]
fn u_07_an_unknown_wrong_or_repeated_option_is_e306() {
    for (query, near) in [
        ("sslmod=require", Some("sslmode")),
        ("sslmode=prefre", Some("prefer")),
        ("sslmode=", None),
        ("sslmode=disable&sslmode=require", None),
        ("connect_timeout=0", None),
        ("connect_timeout=soon", None),
        ("keepalives_idle=0", None),
        ("keepalives_idel=3", Some("keepalives_idle")),
        ("tcp_user_timeout=3s", None),
        ("colour=blue", None),
        ("password=canary", None),
    ] {
        let error = Url::parse(&format!("postgres://u@h/d?{query}")).expect_err(query);
        assert_eq!(error.code, "E306", "{query}");
        assert!(!error.to_string().contains("canary"));
        if let Some(near) = near {
            assert_eq!(error.help, Some(format!("did you mean {near}?")));
        }
    }
}

#[test]
fn u_08_a_weaker_tls_mode_is_taken_and_said() {
    for mode in ["disable", "allow", "prefer", "require"] {
        let url = Url::parse(&format!("postgres://u@h/d?sslmode={mode}")).expect("taken");
        assert_eq!(url.weak_tls(), Some(mode));
    }
    for text in [
        "postgres://u@h/d",
        "postgres://u@h/d?sslmode=verify-full",
        "postgres://u@/d?host=/s&sslmode=disable",
    ] {
        assert_eq!(Url::parse(text).expect("good").weak_tls(), None, "{text}");
    }
}

#[test]
fn u_09_session_settings_in_a_url_are_e307() {
    for query in [
        "options=-c%20search_path=x",
        "replication=database",
        "init_command=x",
        "allowLoadLocalInfile=true",
        "OPTIONS=x",
        "search_path=x",
    ] {
        assert_eq!(url_code(&format!("postgres://u@h/d?{query}")), "E307", "{query}");
    }
}

#[test]
fn u_17_a_sqlite_path_is_literal() {
    for path in ["../a b.db", "a%20b.db", "~/x.db", "a?b.db", "a#b@c:d.db", "/abs/x.db", "$HOME/x.db", "ä.db"]
    {
        assert_eq!(Url::parse(&format!("sqlite:{path}")).expect(path).path, path);
        assert_eq!(Url::parse(&format!("sqlite://{path}")).expect(path).path, path);
    }
    assert_eq!(url_code("sqlite:a.db?mode=rwc"), "E306");
}

#[test]
fn u_18_a_password_in_an_argument_is_e309() {
    let error = Url::parse_argument("postgres://u:canary@h/d").expect_err("refused");
    assert_eq!(error.code, "E309");
    assert!(!format!("{error} {error:?}").contains("canary"));
    let own = Url::parse_argument("mariadb://u:canary@h/d").expect_err("refused").help.expect("help");
    assert!(own.contains("MYSQL_PWD") && !own.contains("PGPASSWORD"), "{own}");
    assert!(Url::parse_argument("postgres://u@h/d").is_ok());
    assert!(Url::parse_argument("sqlite:x.db").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p_13_any_text_is_a_url_or_a_coded_error(text in "(postgres://|mysql://|sqlite:|)[ -~é\\n]{0,40}") {
        if let Err(error) = Url::parse(&text) {
            prop_assert!(error.code.starts_with("E30"), "{}", error.code);
        }
    }
}
