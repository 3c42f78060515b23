//! Everything at once: clients write to the source, the tool loads and follows, and things break.
//! One seed decides what the clients do and what breaks; it is printed when a run fails.
//!
//! ```text
//!   TOWPATH_CHAOS_SEED=7      runs that seed alone
//!   TOWPATH_CHAOS_SECONDS=3600    runs fresh seeds until the time is over
//! ```
//!
//! Checked by recorders that share no code with the tool (contract, 6.3): C-01 both ends are equal,
//! C-02 the target was at a commit point of the source after each of its commits, C-03 the bank's
//! sum, C-04 the lists, C-08 nothing is left on the source, C-10 the tool's own verdict agrees.

pub mod judge;
mod recorder;
pub mod workload;

use std::time::{Duration, Instant};

use judge::Judge;
use workload::{Clients, Random, SCHEMA, fill};

use crate::need_server;
use crate::support::command::Running;
use crate::support::postgres::{Database, Server};
use crate::support::proxy::{Fault, Proxy, Way};
use crate::support::scenario::Job;

/// Seeds of an ordinary run.
const SEEDS: u64 = 6;
/// Faults while loading, and while following.
const FAULTS: [u64; 2] = [3, 6];
/// Attempts at a load that is broken again and again.
const ATTEMPTS: u32 = 40;

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TOWPATH_CHAOS_SEED") {
        return Box::new(std::iter::once(seed));
    }
    match number("TOWPATH_CHAOS_SECONDS") {
        Some(seconds) => {
            let until = Instant::now() + Duration::from_secs(seconds);
            let first = std::process::id().into();
            Box::new((first..).take_while(move |_| Instant::now() < until))
        }
        None => Box::new(1..=SEEDS),
    }
}

#[test]
fn c_01_to_c_10_whatever_breaks_the_target_is_at_a_commit_of_the_source() {
    let server = need_server!();
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| run(server, seed));
        if let Err(panic) = outcome {
            let what = panic.downcast_ref::<String>().map_or("", String::as_str);
            panic!("seed {seed} (replay: TOWPATH_CHAOS_SEED={seed}): {what}");
        }
    }
}

/// One world.
struct World {
    source: Database,
    target: Database,
    proxies: [Proxy; 2],
    job: Job,
    random: Random,
}

fn run(server: &'static Server, seed: u64) {
    let (source, target) = (server.database("chaos_source"), server.database("chaos_target"));
    let judge = Judge::of(&source, &target);
    source.execute(SCHEMA);
    source.execute(&fill());
    let proxies = [Proxy::before(server.port), Proxy::before(server.port)];
    let mut random = Random(seed);
    let mode = ["batch", "transactional"][random.below(2) as usize];
    let plan = format!(
        "defaults: {{ cdc: true }}\ntables: {{ \"*\": {{}} }}\ncdc: {{ mode: {mode} }}\n\
         cutover: {{ fence: tables, sequences: {{ margin: 10 }} }}\n\
         accept:\n  - {{ hazard: K302, at: events, reason: test }}\n"
    );
    let job = Job::new(&source.url_at(proxies[0].port), &target.url_at(proxies[1].port), &plan);
    let mut world = World { source, target, proxies, job, random };
    let clients = Clients::start(&world.source, seed, 3, Duration::from_millis(8));
    world.load();
    world.follow();
    clients.stop();
    world.cut_over();
    judge.judge();
    Judge::handed_over(&world.source, &world.target);
}

impl World {
    /// Loads, with faults, until it is done.
    fn load(&mut self) {
        let mut faults = FAULTS[0];
        for _ in 0..ATTEMPTS {
            let mut running = self.job.start_apply();
            if faults > 0 && self.wait(&mut running, 1_500) {
                faults -= 1;
                self.break_something(&running);
            }
            let outcome = running.wait();
            match outcome.code {
                Some(0) => return,
                // Killed, partial, or an end could not be reached.
                None | Some(1 | 6 | 69) => {}
                _ => panic!("the load failed for good\n{outcome}"),
            }
        }
        panic!("the load does not end");
    }

    /// Follows, with faults, and runs again whenever it is dead.
    fn follow(&mut self) {
        let mut running = self.job.towpath.start(&["follow"]);
        for _ in 0..FAULTS[1] {
            if self.wait(&mut running, 1_200) {
                self.break_something(&running);
            }
            if running.ended() {
                running = self.again(running);
            }
        }
        self.wait(&mut running, 1_000);
        if running.ended() {
            running = self.again(running);
        }
        running.signal("TERM");
        self.judge(running.wait());
    }

    fn again(&self, running: Running) -> Running {
        self.judge(running.wait());
        self.job.towpath.start(&["follow"])
    }

    #[track_caller]
    fn judge(&self, outcome: crate::support::command::Outcome) {
        assert!(matches!(outcome.code, None | Some(0 | 1 | 6 | 69)), "following failed for good\n{outcome}");
    }

    /// Waits a while; false where the command has ended by then.
    fn wait(&mut self, running: &mut Running, most: u64) -> bool {
        let until = Instant::now() + Duration::from_millis(50 + self.random.below(most));
        while Instant::now() < until && !running.ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
        !running.ended()
    }

    fn break_something(&mut self, running: &Running) {
        let end = self.random.below(2) as usize;
        let bytes = self.random.below(60_000);
        let way = [Way::ToServer, Way::ToClient][self.random.below(2) as usize];
        match self.random.below(8) {
            0..3 => running.signal("KILL"),
            3 => running.signal("INT"),
            4 => {
                running.signal("STOP");
                std::thread::sleep(Duration::from_millis(400));
                running.signal("CONT");
            }
            5 => self.proxies[end].fault(Fault::Cut { way, after: bytes }),
            6 => self.proxies[1].fault(Fault::LoseMessage { kind: b'C', body: b"COMMIT\0" }),
            _ => {
                let database = if end == 0 { &self.source } else { &self.target };
                database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'towpath'",
                );
            }
        }
    }

    /// Nothing is broken any more: it has to end well.
    fn cut_over(&mut self) {
        let (source, target) = (self.source.url(), self.target.url());
        let calm = self.job.towpath.clone().env("SOURCE_URL", source).env("TARGET_URL", target);
        calm.run(&["follow", "--until-lag", "0s"]).expect(0);
        calm.run(&["verify", "--level", "rows"]).expect(0);
        calm.run(&["cutover", "--yes"]).expect(0);
        calm.run(&["cutover", "--yes"]).expect(0).says("already");
        self.job.towpath = calm;
    }
}
