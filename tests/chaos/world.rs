//! One world: two ends, a proxy before each, clients at the source, the tool in between.

use std::time::{Duration, Instant};

use super::clients::Clients;
use super::end::End;
use super::judge::Judge;
use super::random::Random;
use super::shop::Shop;
use crate::support::command::{Outcome, Running};
use crate::support::proxy::{Fault, Proxy, Way};
use crate::support::scenario::Job;

/// Faults while loading, and while following.
const FAULTS: [u64; 2] = [3, 6];
/// Attempts at a load that is broken again and again.
const ATTEMPTS: u32 = 40;
/// The sessions of a run that was killed may live on for a moment.
const FOLLOW: [&str; 3] = ["follow", "--lock-timeout", "1m"];
/// Faults that every end has.
const COMMON: u64 = 8;
/// The one that asks for an end.
const INTERRUPT: u64 = 3;

pub struct World<'a> {
    source: &'a dyn End,
    target: &'a dyn End,
    proxies: [Proxy; 2],
    job: Job,
    random: Random,
    /// Where the load may say that tables stand at different moments, and has to begin anew.
    cascades: bool,
    /// The source's server does not fall: what that makes of transactions of two phases it alone knows.
    stands: bool,
}

impl<'a> World<'a> {
    /// Begins, breaks and ends well, or panics. Both ends are empty.
    pub fn run(source: &'a dyn End, target: &'a dyn End, seed: u64) {
        let mut random = Random(seed);
        let mode = ["batch", "transactional"][random.below(2) as usize];
        let cascades = !source.is_postgres() && random.below(2) == 0;
        let shop = Shop::of(source, target, cascades);
        let stands = shop.two_phases_apart() && random.below(2) == 0;
        eprintln!("mode {mode}, cascades {cascades}, two phases {stands}");
        let judge = Judge::of(source, target, &shop);
        shop.open(source);
        let proxies = [source.proxy(), target.proxy()];
        let urls = (source.url_at(proxies[0].port), target.url_at(proxies[1].port));
        let job = Job::new(&urls.0, &urls.1, &shop.plan(mode));
        let mut world = Self { source, target, proxies, job, random, cascades, stands };
        let clients = Clients::start(source, &shop, seed, 3, Duration::from_millis(8));
        world.load();
        if stands {
            clients.prepare();
        }
        world.follow();
        clients.stop();
        world.cut_over();
        judge.judge();
        Judge::handed_over(source, target);
    }

    /// Loads, with faults, until it is done.
    fn load(&mut self) {
        let (mut faults, mut anew) = (FAULTS[0], false);
        for attempt in 1.. {
            let arguments = ["apply", "--yes", "--lock-timeout", "1m", "--recopy"];
            let mut running = self.job.towpath.start(&arguments[..if anew { 5 } else { 4 }]);
            if faults > 0 && self.wait(&mut running, 1_500) {
                faults -= 1;
                self.break_something(&running);
            }
            let outcome = running.wait();
            assert!(attempt < ATTEMPTS || outcome.code == Some(0), "the load does not end\n{outcome}");
            match outcome.code {
                Some(0) => return,
                // Killed, partial, or an end could not be reached.
                None | Some(1 | 6 | 69) => {}
                // Nobody else has it, which the next run will see.
                Some(5) if outcome.both().contains("the plan's lock has ended") => {}
                // C508: what keys do is not derived between tables of different moments.
                Some(4) if self.cascades && outcome.both().contains("copied at another moment") => {
                    anew = true
                }
                _ => panic!("the load failed for good\n{outcome}"),
            }
        }
    }

    /// Follows, with faults, and runs again whenever it is dead.
    fn follow(&mut self) {
        let mut running = self.job.towpath.start(&FOLLOW);
        for _ in 0..FAULTS[1] {
            let told_to_end = self.wait(&mut running, 1_200) && self.break_something(&running);
            if told_to_end || running.ended() {
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
        self.job.towpath.start(&FOLLOW)
    }

    #[track_caller]
    fn judge(&self, outcome: Outcome) {
        let fine = matches!(outcome.code, None | Some(0 | 1 | 6 | 69));
        assert!(fine, "following failed for good\n{outcome}");
    }

    /// Waits a while; false where the command has ended by then.
    fn wait(&mut self, running: &mut Running, most: u64) -> bool {
        let until = Instant::now() + Duration::from_millis(50 + self.random.below(most));
        while Instant::now() < until && !running.ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
        !running.ended()
    }

    /// The faults that every end has; where one has some of its own, those too, and connections that
    /// fall silent. True where the run was told to end.
    fn break_something(&mut self, running: &Running) -> bool {
        let end = self.random.below(2) as usize;
        let bytes = self.random.below(60_000);
        let way = [Way::ToServer, Way::ToClient][self.random.below(2) as usize];
        let harms = [self.source, self.target].map(End::harms);
        let own = harms[0] + harms[1];
        let silence = COMMON + own;
        let fault = self.random.below(silence + u64::from(own > 0));
        eprintln!("fault {fault} at end {end}, {way:?} after {bytes}");
        match fault {
            0..3 => running.signal("KILL"),
            INTERRUPT => running.signal("INT"),
            4 => {
                running.signal("STOP");
                std::thread::sleep(Duration::from_millis(400));
                running.signal("CONT");
            }
            5 => self.proxies[end].fault(Fault::Cut { way, after: bytes }),
            6 => self.proxies[1].fault(self.target.lost_commit()),
            7 => [self.source, self.target][end].end_sessions(),
            fault if fault == silence => {
                self.proxies[end].swallow();
                std::thread::sleep(Duration::from_millis(300));
                self.proxies[end].close_silent();
            }
            own => {
                let own = own - COMMON;
                match own < harms[0] {
                    true if self.stands => self.source.harm(own.min(harms[0] - 2)),
                    true => self.source.harm(own),
                    false => self.target.harm(own - harms[0]),
                }
            }
        }
        fault == INTERRUPT
    }

    /// Nothing is broken any more: it has to end well.
    fn cut_over(&mut self) {
        let (source, target) =
            (self.source.url_at(self.source.port()), self.target.url_at(self.target.port()));
        let calm = self.job.towpath.clone().env("SOURCE_URL", source).env("TARGET_URL", target);
        calm.run(&["follow", "--until-lag", "0s"]).expect(0);
        calm.run(&["verify", "--level", "rows"]).expect(0);
        calm.run(&["cutover", "--yes"]).expect(0);
        calm.run(&["cutover", "--yes"]).expect(0).says("already");
        self.job.towpath = calm;
    }
}
