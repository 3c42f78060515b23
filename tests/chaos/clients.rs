//! Clients that write to the source until they are stopped, in transactions that commit, roll back,
//! end late, or are prepared first. One that loses its server tries again. One seed decides
//! everything but the timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::end::{End, Session};
use super::random::Random;
use super::shop::Shop;

/// Running clients. Dropped, they are stopped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    two_phases: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `calm`: waits between transactions, so that a slow machine can keep up.
    pub fn start(source: &dyn End, shop: &Shop, seed: u64, count: u32, calm: Duration) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let two_phases = Arc::new(AtomicBool::new(!shop.two_phases_apart()));
        let threads = (0..count).map(|number| {
            let stop = stop.clone();
            let mut client = Client {
                number,
                random: Random(seed.wrapping_mul(1000).wrapping_add(u64::from(number))),
                session: None,
                source: source.shared(),
                shop: *shop,
                two_phases: two_phases.clone(),
                batch: 0,
                prepared: None,
            };
            std::thread::spawn(move || {
                // What is prepared is committed before the end: it would hold up everything for ever.
                while !stop.load(Ordering::Relaxed) || client.prepared.is_some() {
                    client.step();
                    std::thread::sleep(calm);
                }
            })
        });
        Self { threads: threads.collect(), stop, two_phases }
    }

    /// From now on some transactions have two phases, wherever that must not be before.
    pub fn prepare(&self) {
        self.two_phases.store(true, Ordering::Relaxed);
    }

    /// Waits until the clients have ended what they were at.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    number: u32,
    random: Random,
    session: Option<Box<dyn Session>>,
    source: Arc<dyn End>,
    shop: Shop,
    two_phases: Arc<AtomicBool>,
    batch: u64,
    /// A transaction that was prepared, perhaps, and is to be committed.
    prepared: Option<String>,
}

impl Client {
    /// One transaction, unless the server is away.
    fn step(&mut self) {
        let Some(mut session) = self.session.take().or_else(|| self.source.session()) else {
            std::thread::sleep(Duration::from_millis(50));
            return;
        };
        let prepared = self.prepared.take();
        let sql = match &prepared {
            Some(name) => self.shop.commit_prepared(name),
            None => self.transaction(),
        };
        let done = session.run(&sql);
        if let (Some(name), Err(_)) = (prepared, &done)
            && self.source.is_prepared(&name) != Some(false)
        {
            self.prepared = Some(name);
        }
        // An error may have left a transaction open; one that cannot be ended is of no use.
        if done.is_ok() || session.run("ROLLBACK").is_ok() {
            self.session = Some(session);
        }
    }

    fn transaction(&mut self) -> String {
        let operations = match self.random.below(40) {
            0 => 200,
            1..6 => 1 + self.random.below(20),
            _ => 1 + self.random.below(4),
        };
        let body: Vec<String> = (0..operations).map(|_| self.shop.operation(&mut self.random)).collect();
        let body = body.join(";\n");
        self.batch += 1;
        let list = format!(
            "INSERT INTO lists SELECT {0}, coalesce(max(n), 0) + 1 FROM lists WHERE client = {0}",
            self.number
        );
        match self.random.below(12) {
            0 => format!("BEGIN;\n{body};\nROLLBACK"),
            1 => format!("BEGIN;\n{body};\n{};\n{list};\nCOMMIT", self.shop.sleep()),
            2 if self.two_phases.load(Ordering::Relaxed) => {
                let name = format!("c{}_{}", self.number, self.batch);
                self.prepared = Some(name.clone());
                self.shop.prepare(&name, &format!("{list};\n{body}"))
            }
            3 => format!(
                "BEGIN;\n{list};\nSAVEPOINT a;\n{body};\nROLLBACK TO a;\n{};\nCOMMIT",
                self.shop.operation(&mut self.random)
            ),
            _ => format!("BEGIN;\n{body};\n{list};\nCOMMIT"),
        }
    }
}
