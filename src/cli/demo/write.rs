//! `demo write`: the application of the example shop. It writes as fast as a busy shop does, knows
//! nothing of Towpath, and ends when its tables are closed, when it is told to, or after a time.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::args::DemoWriteArgs;
use super::super::escape::line;
use super::super::failure::Failure;
use super::super::number::exact;
use super::super::{Face, exit};
use super::SOURCE;
use crate::engine::{Application, Wrote};

const WRITES: &str = include_str!("../demo_writes.sql");
/// Between two transactions of [`WRITES`].
const BORDER: &str = "\n--------\n";
/// Between two transactions: about 300 a second.
const PAUSE: Duration = Duration::from_millis(3);
/// How long the file is waited for before the clock is looked at again.
const WAIT: Duration = Duration::from_millis(50);
/// How often it tells whoever started it how far it is.
const TELL: Duration = Duration::from_millis(100);

/// How far it is; the last one says why it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub committed: u64,
    /// When the last commit was done, microseconds since 1970.
    pub last: i64,
    /// Longest time between two commits.
    pub gap_micros: u64,
    pub ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The tables refuse writes, with these words.
    Closed(String),
    /// It was told to end, or its time was over.
    Told,
}

pub fn run(args: &DemoWriteArgs, face: &Face) -> Result<u8, Failure> {
    let application = Application::open(Path::new(SOURCE), WAIT)?;
    let told = Arc::new(AtomicBool::new(false));
    if args.attached {
        listen(&told);
    }
    let until = Instant::now() + args.time;
    let over = || told.load(Ordering::SeqCst) || Instant::now() >= until;
    let tell = |account: &Account| {
        if args.attached {
            face.screen.out(&format!("{}\n", json(account)));
        }
    };
    let account = write(&application, over, tell)?;
    match args.attached {
        true => tell(&account),
        false => face.screen.out(&closing(&account)),
    }
    Ok(exit::DONE)
}

fn json(account: &Account) -> String {
    serde_json::to_string(account).expect("broken invariant: a plain struct is JSON")
}

/// Ends with whoever holds the other end of standard input, however that one ends.
fn listen(told: &Arc<AtomicBool>) {
    let told = Arc::clone(told);
    std::thread::spawn(move || {
        // Nothing is ever sent: any answer is the end.
        let _ = std::io::stdin().lock().read(&mut [0]);
        told.store(true, Ordering::SeqCst);
    });
}

/// Writes until it is over, or until it is refused.
fn write(
    application: &Application,
    over: impl Fn() -> bool,
    tell: impl Fn(&Account),
) -> Result<Account, Failure> {
    let parts: Vec<&str> = WRITES.split(BORDER).collect();
    let mut account = Account::default();
    let (mut before, mut since_told) = (Instant::now(), Instant::now());
    while !over() {
        let number = account.committed;
        let part = parts[(number % parts.len() as u64) as usize];
        match application.transact(part, i64::try_from(number).unwrap_or(i64::MAX))? {
            Wrote::Busy => continue,
            Wrote::Refused(why) => {
                account.ended = Some(Ended::Closed(why));
                return Ok(account);
            }
            Wrote::Committed => {}
        }
        account.committed += 1;
        account.last = jiff::Timestamp::now().as_microsecond();
        account.gap_micros = account.gap_micros.max(before.elapsed().as_micros() as u64);
        before = Instant::now();
        if since_told.elapsed() >= TELL {
            since_told = Instant::now();
            tell(&account);
        }
        std::thread::sleep(PAUSE);
    }
    account.ended = Some(Ended::Told);
    Ok(account)
}

/// What a person reads of it.
pub fn closing(account: &Account) -> String {
    let committed = exact(account.committed);
    let last = jiff::Timestamp::from_microsecond(account.last).unwrap_or_default();
    let last = last.strftime("%H:%M:%S%.3f UTC");
    match &account.ended {
        Some(Ended::Closed(why)) => {
            format!(
                "application: {committed} transactions, the last at {last}; then it was refused: {}\n",
                line(why)
            )
        }
        _ => format!("application: {committed} transactions, the last at {last}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SQL, check};
    use super::*;
    use crate::engine::create_from_sql;

    #[test]
    fn every_transaction_keeps_what_is_counted() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join(SOURCE);
        create_from_sql(&path, SQL).expect("made");
        let application = Application::open(&path, WAIT).expect("opened");
        let parts = WRITES.split(BORDER).count() as u64;
        assert!(parts >= 8);
        let done = std::cell::Cell::new(0);
        let account =
            write(&application, || done.replace(done.get() + 1) >= 3 * parts, |_| {}).expect("written");
        assert_eq!((account.committed, account.ended), (3 * parts, Some(Ended::Told)));
        let sums = check::Sums::of_source(&application).expect("read");
        assert_eq!(sums.orders, sums.payments);
        assert_eq!((sums.pieces, sums.writes), (check::PIECES, 3 * parts as i64));
    }
}
