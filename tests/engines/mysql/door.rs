//! The door: what a server may not do to who connects, and how many questions a catalog takes.

use std::io::{Read, Write};
use std::net::TcpListener;

use towpath::engine::{self, Limits, Url};

use super::{outside, run};
use crate::need_mariadb;

/// The greeting of a server that says it is MariaDB, and asks for the native password.
fn greeting() -> Vec<u8> {
    let mut body = vec![10];
    body.extend(b"5.5.5-10.11.6-MariaDB\0");
    body.extend(1_u32.to_le_bytes());
    body.extend(b"12345678\0");
    // Protocol 4.1, secure connection, plug-in authentication, a database in the answer.
    let capabilities: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0000_0008 | 0x0000_0080;
    body.extend(&capabilities.to_le_bytes()[..2]);
    body.push(45);
    body.extend(2_u16.to_le_bytes());
    body.extend(&capabilities.to_le_bytes()[2..]);
    body.push(21);
    body.extend([0; 10]);
    body.extend(b"123456789012\0mysql_native_password\0");
    body
}

fn send(stream: &mut impl Write, number: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    stream.write_all(&[length[0], length[1], length[2], number]).unwrap();
    stream.write_all(body).unwrap();
}

fn receive(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// A rogue server answers the first statement with a request for a file of this machine.
#[test]
fn s_sec_7_a_file_that_a_server_asks_for_is_not_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "canary in a file").unwrap();
    let path = secret.path().display().to_string();
    let rogue = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        send(&mut stream, 0, &greeting());
        receive(&mut stream).expect("a log-in");
        send(&mut stream, 2, &[0, 0, 0, 2, 0, 0, 0]);
        let asked = receive(&mut stream).expect("a statement");
        send(&mut stream, 1, &[&[0xfb], path.as_bytes()].concat());
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        (asked, got)
    });
    let url = Url::parse(&format!("mysql://u:p@127.0.0.1:{port}/d?sslmode=disable")).unwrap();
    let error = run(async {
        let opened = engine::engine(&url).unwrap().source(&url, &Limits::default()).await;
        opened.err().expect("refused")
    });
    assert!(error.to_string().contains("LOCAL INFILE") && error.contract == Some("E314"), "{error}");
    let (asked, got) = rogue.join().unwrap();
    assert!(asked.starts_with(&[3]), "{asked:?}");
    assert!(!String::from_utf8_lossy(&got).contains("canary"), "{got:?}");
}

/// Nothing is silent: a period is more than the check that it makes, and its key more than a unique one.
#[test]
fn u_901_periods_and_unsigned_sequences_are_not_lost() {
    let maria = need_mariadb!();
    let database = maria.database("periods");
    database.execute(
        "CREATE TABLE `b``ooked` (room int, f date, t date, o int AS (room) STORED, PERIOD FOR `s``tay` (f, t),
           PRIMARY KEY (room, `s``tay` WITHOUT OVERLAPS), UNIQUE `u``k` (o, `s``tay` WITHOUT OVERLAPS));
         CREATE TABLE plain (f datetime NOT NULL, t datetime NOT NULL, CHECK (f < t));
         CREATE SEQUENCE numbers MAXVALUE 300;",
    );
    // Sequences of other types came with 11.5.
    let unsigned = database.try_execute("CREATE SEQUENCE large AS bigint unsigned").is_ok();
    let url = Url::parse(&database.url()).unwrap();
    let catalog = run(async {
        let source = engine::engine(&url).unwrap().source(&url, &Limits::default()).await.unwrap();
        source.inspect().await.unwrap()
    });
    let others = catalog.others.iter().map(|other| (other.kind.as_str(), other.name.name.as_str()));
    let listed: Vec<_> = others.filter(|(kind, _)| *kind != "collation").collect();
    let mut expected = vec![
        ("key without overlaps", "b`ooked.PRIMARY"),
        ("key without overlaps", "b`ooked.u`k"),
        ("period", "b`ooked.s`tay"),
    ];
    if unsigned {
        expected.push(("sequence range that is beyond bigint", "large"));
    }
    assert_eq!(listed, expected);
    let ends: Vec<_> = catalog.sequences.iter().map(|sequence| sequence.max).collect();
    assert_eq!(ends, if unsigned { vec![i64::MAX, 300] } else { vec![300] });
}

/// The number of queries does not depend on the number of tables.
#[test]
fn a_catalog_takes_as_many_queries_for_many_tables_as_for_one() {
    let maria = need_mariadb!();
    let count = |tables: usize| {
        let database = maria.database("many");
        let made: String = (0..tables)
            .map(|at| format!("CREATE TABLE t{at} (id int AUTO_INCREMENT PRIMARY KEY, v varchar(9) UNIQUE);"))
            .collect();
        database.execute(&made);
        let url = Url::parse(&database.url()).unwrap();
        let asked =
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'COM_SELECT'";
        let questions = || -> u64 { database.value(asked).parse().unwrap() };
        run(async {
            let source = engine::engine(&url).unwrap().source(&url, &Limits::default()).await.unwrap();
            let before = outside(questions);
            let catalog = source.inspect().await.unwrap();
            assert_eq!((catalog.tables.len(), catalog.sequences.len()), (tables, tables));
            outside(questions) - before
        })
    };
    // Other tests ask the same server meanwhile.
    let (few, many) = (count(1), count(300));
    assert!(many < few + 250, "{few} for one, {many} for 300");
}
