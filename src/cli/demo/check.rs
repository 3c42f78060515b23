//! `demo check`: looks at the target of the demo with the eyes of its application: are the sums what
//! they must be, is every transaction there, does the first insert get a number that was never
//! given? Shares nothing with `verify`.

use std::path::Path;
use std::time::Duration;

use super::super::failure::Failure;
use super::super::look::{Line, Look, Page, Tone};
use super::super::number::exact;
use super::super::{Face, exit};
use super::{SOURCE, TARGET};
use crate::engine::{Application, EngineError, Wrote};

const WAIT: Duration = Duration::from_secs(5);
/// Pieces in all warehouses, from the first to the last day.
pub(super) const PIECES: i64 = 3_367_950;

/// What the application's transactions keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Cents.
    pub orders: i64,
    pub payments: i64,
    pub pieces: i64,
    /// Transactions, as each of them counted itself.
    pub writes: i64,
}

impl Sums {
    pub(super) fn of_source(source: &Application) -> Result<Self, EngineError> {
        Self::read(source, "\"order\"")
    }

    fn of_target(target: &Application) -> Result<Self, EngineError> {
        Self::read(target, "orders")
    }

    fn read(application: &Application, orders: &str) -> Result<Self, EngineError> {
        let one = |query: &str| -> Result<i64, EngineError> {
            Ok(application.numbers(query)?.first().copied().unwrap_or_default())
        };
        Ok(Self {
            orders: one(&format!("select sum(cast(round(total * 100) as integer)) from {orders}"))?,
            payments: one("select sum(cast(round(amount * 100) as integer)) from payments")?,
            pieces: one("select sum(quantity) from stock")?,
            writes: one("select value from settings where key = 'application.writes'")?,
        })
    }
}

/// A first insert through an AUTOINCREMENT key.
struct First {
    /// On the target, and as the source counts it.
    table: &'static str,
    counter: &'static str,
    insert: &'static str,
}

const FIRSTS: [First; 2] = [
    First {
        table: "customers",
        counter: "customers",
        insert: "insert into customers (email, full_name, country, uuid) \
                 values ('first' || (select max(id) from customers) || '@moved.example', 'The First', 'CH', 'none')",
    },
    First {
        table: "orders",
        counter: "order",
        insert: "insert into orders (customer_id, placed_at) values (1, current_timestamp)",
    },
];

/// A line of the verdict.
struct Found {
    good: bool,
    what: &'static str,
    text: String,
}

pub fn run(face: &Face) -> Result<u8, Failure> {
    let [source, target] = [SOURCE, TARGET].map(|file| Application::open(Path::new(file), WAIT));
    let (source, target) = (source?, target?);
    let sums = (Sums::of_source(&source)?, Sums::of_target(&target)?);
    let mut found = compare(sums.0, sums.1);
    for first in &FIRSTS {
        found.push(insert(first, &source, &target)?);
    }
    face.screen.out(&render(&found, face.screen.look()));
    Ok(if found.iter().all(|found| found.good) { exit::DONE } else { exit::MISMATCH })
}

fn compare(source: Sums, target: Sums) -> Vec<Found> {
    let money =
        |cents: i64| format!("{}.{:02}", exact(cents.unsigned_abs() / 100), cents.unsigned_abs() % 100);
    let found = |good, what, text| Found { good, what, text };
    let sides = |sums: Sums| format!("orders {}, payments {}", money(sums.orders), money(sums.payments));
    let same = (target.orders, target.payments) == (source.orders, source.payments);
    let there =
        if same { "on both ends".to_string() } else { format!("and on the source {}", sides(source)) };
    vec![
        found(same && target.orders == target.payments, "money", format!("{}, {there}", sides(target))),
        found(
            target.pieces == PIECES && source.pieces == PIECES,
            "stock",
            format!(
                "{} pieces, {} at the beginning",
                exact(target.pieces.unsigned_abs()),
                exact(PIECES.unsigned_abs())
            ),
        ),
        found(
            target.writes == source.writes,
            "writes",
            format!(
                "{} transactions of the application, {} on the source",
                exact(target.writes.unsigned_abs()),
                exact(source.writes.unsigned_abs())
            ),
        ),
    ]
}

/// Inserts a row on the target without a number: it gets one that the source has never given.
fn insert(first: &First, source: &Application, target: &Application) -> Result<Found, EngineError> {
    let given =
        source.numbers(&format!("select seq from sqlite_sequence where name = '{}'", first.counter))?;
    let given = given.first().copied().unwrap_or_default();
    let wrote = target.transact(first.insert, 0)?;
    let got = target.numbers(&format!("select max(id) from {}", first.table))?;
    let got = got.first().copied().unwrap_or_default();
    let text = format!("{}: the new row is {got}, the last one on the source was {given}", first.table);
    Ok(Found { good: wrote == Wrote::Committed && got > given, what: "insert", text })
}

fn render(found: &[Found], look: Look) -> String {
    let mut page = Page::new(look);
    for Found { good, what, text } in found {
        let (tone, word) = if *good { (Tone::Good, "right") } else { (Tone::Stop, "WRONG") };
        page.line(Line::new().text("  ").cell(tone, word, 7).cell(Tone::Plain, what, 8).text(text.clone()));
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cent_a_piece_or_a_transaction_that_is_missing_is_seen() {
        let source = Sums { orders: 500, payments: 500, pieces: PIECES, writes: 7 };
        let bad = |target: Sums| compare(source, target).iter().filter(|found| !found.good).count();
        assert_eq!(bad(source), 0);
        assert_eq!(bad(Sums { payments: 499, ..source }), 1);
        assert_eq!(bad(Sums { orders: 499, payments: 499, ..source }), 1);
        assert_eq!(bad(Sums { pieces: PIECES - 1, ..source }), 1);
        assert_eq!(bad(Sums { writes: 6, ..source }), 1);
    }
}
