//! The decoder on messages made by hand: what is told, what is kept back, and what is refused.

use super::super::relation::Modifier;
use super::*;
use crate::catalog::{ColumnMap, Form, Projection, Type};
use crate::change::{Identity, Record};

const INT: u32 = 23;
const TEXT: u32 = 25;

fn column(name: &str, ty: Type, native: &str) -> ColumnMap {
    ColumnMap {
        source: name.into(),
        target: name.into(),
        source_type: ty.clone(),
        source_native: native.into(),
        target_type: ty,
        target_native: native.into(),
        not_null: false,
        zero_date: Default::default(),
        error_value_null: false,
        cast: None,
    }
}

fn followed(name: &str, form: Form) -> Followed {
    let columns = vec![
        column("id", Type::Int { bits: 32 }, "integer"),
        column("word", Type::Text, "text"),
        column("bytes", Type::Blob, "bytea"),
    ];
    let name = Name::new("public", name);
    let projection =
        Projection { source: name.clone(), target: name, columns, filter: None, key: vec![0], form };
    Followed { projection, identity: Identity::Columns(vec![0]), skipped: Vec::new() }
}

fn known(starts: &[u64]) -> Known {
    let is = |ty| Expected { ty: Some(ty), modifier: Modifier::Is(-1) };
    Known {
        tables: vec![followed("a", Form::NativeText), followed("b", Form::Rows)],
        expected: vec![vec![is(INT), is(TEXT), is(17)]; 2],
        starts: starts.iter().map(|start| Lsn(*start)).collect(),
        leaves: HashSet::from([77]),
    }
}

/// A message, put together from its parts.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn new(tag: u8) -> Self {
        Self(vec![tag])
    }

    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn text(mut self, value: &str) -> Self {
        self.0.extend(value.as_bytes());
        self.u8(0)
    }

    /// A row; `None` is null, `?` is unchanged.
    fn row(mut self, tag: u8, cells: &[Option<&str>]) -> Self {
        self = self.u8(tag).u16(cells.len() as u16);
        for cell in cells {
            self = match cell {
                None => self.u8(b'n'),
                Some("?") => self.u8(b'u'),
                Some(text) => {
                    let mut value = self.u8(b't').u32(text.len() as u32);
                    value.0.extend(text.as_bytes());
                    value
                }
            };
        }
        self
    }
}

fn begin(at: u64) -> Message {
    Message::new(b'B').u64(at).u64(5).u32(99)
}

fn commit(at: u64, end: u64) -> Message {
    Message::new(b'C').u8(0).u64(at).u64(end).u64(7)
}

fn described(oid: u32, name: &str, columns: &[(&str, u8, u32)]) -> Message {
    let head = Message::new(b'R').u32(oid).text("public").text(name).u8(b'd').u16(columns.len() as u16);
    columns.iter().fold(head, |message, (name, key, ty)| message.u8(*key).text(name).u32(*ty).u32(u32::MAX))
}

const PLAIN: &[(&str, u8, u32)] = &[("word", 0, TEXT), ("bytes", 0, 17), ("id", 1, INT)];

fn insert(oid: u32, cells: &[Option<&str>]) -> Message {
    Message::new(b'I').u32(oid).row(b'N', cells)
}

/// Decodes all messages; the words of what was told, and the first error.
fn told(decoder: &mut Decoder, messages: &[Message]) -> (Vec<String>, Option<EngineError>) {
    let mut changes = Changes::default();
    let mut error = None;
    for message in messages {
        if let Err(found) = decoder.decode(&message.0, &mut changes) {
            error = Some(found);
            break;
        }
    }
    decoder.settle(&mut changes);
    (words(&changes), error)
}

fn words(changes: &Changes) -> Vec<String> {
    let cells = |cells: crate::change::Cells<'_>| {
        let cell = |datum: Datum<'_>| match datum {
            Datum::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        cells.map(cell).collect::<Vec<_>>().join(",")
    };
    let word = |record: Record<'_>| match record {
        Record::Begin { position } => format!("begin {position}"),
        Record::Row(row) => format!("{:?} {} ({}) ({})", row.kind, row.table, cells(row.old), cells(row.new)),
        Record::Truncate { tables, restart_identity } => {
            format!("truncate {:?} {restart_identity}", tables.iter().collect::<Vec<_>>())
        }
        Record::Cascade(cascade) => format!("{cascade:?}"),
        Record::Commit { position, at } => format!("commit {position} {at}"),
        Record::Reached { position } => format!("reached {position}"),
    };
    changes.records().map(word).collect()
}

/// A run of everything that there is.
fn sample() -> Vec<Message> {
    vec![
        begin(100),
        described(1, "a", PLAIN),
        described(2, "b", PLAIN),
        insert(1, &[Some("x"), None, Some("7")]),
        insert(2, &[Some("y"), Some("\\x00ff"), Some("-8")]),
        Message::new(b'U').u32(1).row(b'N', &[Some("?"), None, Some("7")]),
        Message::new(b'U')
            .u32(1)
            .row(b'K', &[None, None, Some("7")])
            .row(b'N', &[Some("?"), None, Some("9")]),
        Message::new(b'D').u32(2).row(b'O', &[Some("y"), None, Some("8")]),
        Message::new(b'Y').u32(5).text("public").text("mood"),
        Message::new(b'O').u64(1).text("elsewhere"),
        Message::new(b'M').u8(1).u64(1).text("prefix").u32(0),
        Message::new(b'T').u32(2).u8(3).u32(2).u32(1),
        commit(100, 120),
    ]
}

#[test]
fn s_06_s_12_s_21_s_26_what_a_transaction_tells() {
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    let (words, error) = told(&mut decoder, &sample());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(
        words,
        [
            "begin 0/64",
            "Insert 0 () (7,x,Null)",
            "Insert 1 () (Int(-8),y,Bytes([0, 255]))",
            "Update 0 () (7,Absent,Null)",
            "Update 0 (7,Absent,Absent) (9,Absent,Null)",
            "Delete 1 (Int(8),y,Null) ()",
            "truncate [1, 0] true",
            "commit 0/78 946684800000007",
        ]
    );
}

#[test]
fn s_26_transactions_without_anything_for_us_move_the_position() {
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    let empty = [begin(60), commit(60, 70), begin(80), commit(80, 90)];
    assert_eq!(told(&mut decoder, &empty).0, ["reached 0/5A"]);
    assert_eq!(told(&mut decoder, &[]).0, [""; 0]);
    // One that tells something makes a position before it needless.
    let some = [
        begin(91),
        commit(91, 95),
        begin(100),
        described(1, "a", PLAIN),
        insert(1, &[None, None, Some("1")]),
    ];
    assert_eq!(told(&mut decoder, &some).0, ["begin 0/64", "Insert 0 () (1,Null,Null)"]);
    assert_eq!(told(&mut decoder, &[commit(100, 120)]).0, ["commit 0/78 946684800000007"]);
}

#[test]
fn h_02_a_keepalive_counts_between_transactions_only() {
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    told(&mut decoder, &[begin(100), described(1, "a", PLAIN)]);
    decoder.keepalive(Lsn(500));
    assert_eq!(told(&mut decoder, &[]).0, [""; 0]);
    told(&mut decoder, &[insert(1, &[None, None, Some("1")])]);
    decoder.keepalive(Lsn(500));
    assert_eq!(told(&mut decoder, &[]).0, [""; 0]);
    assert_eq!(told(&mut decoder, &[commit(100, 120)]).0, ["commit 0/78 946684800000007"]);
    decoder.keepalive(Lsn(110));
    assert_eq!(told(&mut decoder, &[]).0, [""; 0]);
    decoder.keepalive(Lsn(500));
    assert_eq!(told(&mut decoder, &[]).0, ["reached 0/1F4"]);
}

#[test]
fn h_01_g_05_what_is_in_a_copy_is_not_told_again() {
    let mut decoder = Decoder::new(known(&[0, 150]), Lsn(50));
    let both = |at: u64| {
        vec![
            begin(at),
            insert(1, &[None, None, Some("1")]),
            insert(2, &[None, None, Some("2")]),
            Message::new(b'T').u32(2).u8(0).u32(1).u32(2),
            commit(at, at + 1),
        ]
    };
    let described = vec![begin(60), described(1, "a", PLAIN), described(2, "b", PLAIN), commit(60, 61)];
    assert_eq!(told(&mut decoder, &described).0, ["reached 0/3D"]);
    // Before the second table's start, and then exactly at it.
    let rows = |words: &[String]| words.iter().filter(|word| word.starts_with("Insert")).count();
    let (before, _) = told(&mut decoder, &both(149));
    assert_eq!((rows(&before), before[2].as_str()), (1, "truncate [0] false"));
    let (after, _) = told(&mut decoder, &both(150));
    assert_eq!((rows(&after), after[3].as_str()), (2, "truncate [0, 1] false"));
    // One that committed before the position to go on from was told by another connection.
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(200));
    let mut again = both(199);
    again[4] = commit(199, 200);
    assert_eq!(told(&mut decoder, &again).0, [""; 0]);
}

#[test]
fn s_22_a_table_that_changed_stops_at_its_first_row() {
    let start = |columns: &[(&str, u8, u32)], name: &str| {
        vec![begin(100), described(1, name, columns), insert(1, &vec![None; columns.len()])]
    };
    let stop = |first: &[Message], then: &[Message]| {
        let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
        assert!(told(&mut decoder, first).1.is_none());
        told(&mut decoder, then)
    };
    let good = vec![begin(90), described(1, "a", PLAIN), insert(1, &[None, None, Some("1")]), commit(90, 91)];
    let added = [PLAIN, &[("extra", 0, INT)]].concat();
    for (columns, name, says) in [
        (&PLAIN[1..], "a", "the column word that the plan carries is gone"),
        (&[("word", 0, INT), PLAIN[1], PLAIN[2]][..], "a", "no longer of the type text"),
        (&added, "a", "a column extra that the plan does not know"),
        (&[PLAIN[0], PLAIN[1], ("id", 0, INT)][..], "a", "replica identity is gone"),
        (PLAIN, "elsewhere", "it is called public.elsewhere now"),
    ] {
        let (words, error) = stop(&good, &start(columns, name));
        let error = error.unwrap_or_else(|| panic!("{says}"));
        assert_eq!((error.cause, error.object.as_deref()), (Cause::Stale, Some("public.a")));
        assert!(error.to_string().contains(says) && error.to_string().contains("0/64"), "{error}");
        assert_eq!(words, [""; 0]);
        // The description alone hurts nobody.
        let (_, error) = stop(&good, &[begin(100), described(1, name, columns), commit(100, 101)]);
        assert!(error.is_none(), "{error:?}");
    }
}

#[test]
fn s_16_f_45_tables_that_the_plan_does_not_follow() {
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    assert!(told(&mut decoder, &[begin(100), described(77, "leaf", PLAIN)]).1.is_none());
    let error = told(&mut decoder, &[described(78, "attached", PLAIN)]).1.expect("refused");
    assert_eq!((error.cause, error.object.as_deref()), (Cause::Stale, Some("public.attached")));
    // Another table under a followed name: the old one was renamed, or dropped and made again.
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    told(&mut decoder, &[begin(100), described(1, "a", PLAIN)]);
    let swapped = [described(5, "a", PLAIN), insert(5, &[None, None, Some("1")])];
    assert!(told(&mut decoder, &swapped).1.expect("refused").to_string().contains("another table"));
}

#[test]
fn a_row_that_comes_into_a_filter_without_its_large_values_is_refused() {
    let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
    let error =
        told(&mut decoder, &[begin(100), described(1, "a", PLAIN), insert(1, &[Some("?"), None, Some("1")])]);
    assert_eq!(error.1.expect("refused").cause, Cause::Stale);
}

#[test]
fn pg_19_times_are_shifted_to_and_from_utc() {
    let mut spare = Vec::new();
    let mut shifted = |text: &'static [u8], how| match datum(text, how, &mut spare) {
        Ok(Datum::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shifted(b"2024-02-29 10:00:00.5", How::AddUtc), "2024-02-29 10:00:00.5+00");
    assert_eq!(shifted(b"0044-03-15 00:00:00 BC", How::AddUtc), "0044-03-15 00:00:00+00 BC");
    assert_eq!(shifted(b"-infinity", How::AddUtc), "-infinity");
    assert_eq!(shifted(b"2024-02-29 10:00:00+00", How::CutUtc), "2024-02-29 10:00:00");
    assert_eq!(shifted(b"0044-03-15 00:00:00+00 BC", How::CutUtc), "0044-03-15 00:00:00 BC");
    assert!(datum(b"2024-02-29 10:00:00+01", How::CutUtc, &mut Vec::new()).is_err());
}

/// Every cut and every flipped bit of every message: an error, or whole records. A row is never
/// told with another number of cells, and what the run held before stays as it was.
#[test]
fn p_14_mutated_messages_are_an_error_or_whole_records() {
    let sample = sample();
    for (at, message) in sample.iter().enumerate() {
        let mut variants: Vec<Vec<u8>> = (0..message.0.len()).map(|cut| message.0[..cut].to_vec()).collect();
        for byte in 0..message.0.len() {
            for bit in 0..8 {
                let mut flipped = message.0.clone();
                flipped[byte] ^= 1 << bit;
                variants.push(flipped);
            }
        }
        variants.push([message.0.as_slice(), &[0]].concat());
        for variant in variants {
            let mut decoder = Decoder::new(known(&[0, 0]), Lsn(50));
            let mut changes = Changes::default();
            let all = sample[..at].iter().map(|message| &message.0).chain([&variant]);
            let failed = all.map(|bytes| decoder.decode(bytes, &mut changes)).find_map(Result::err);
            decoder.settle(&mut changes);
            let shorter = variant.len() < message.0.len();
            let passed_over = matches!(message.0[0], b'Y' | b'O' | b'M');
            assert!(
                !shorter || failed.is_some() || passed_over && !variant.is_empty(),
                "message {at} cut short"
            );
            let again = Changes::from_bytes(changes.as_bytes().to_vec(), false).expect("whole records");
            for record in again.records() {
                if let Record::Row(row) = record {
                    assert!(matches!(row.old.len(), 0 | 3) && matches!(row.new.len(), 0 | 3), "{row:?}");
                }
            }
        }
    }
}
