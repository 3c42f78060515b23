//! Random numbers that a seed repeats, and the loop over seeds.

/// SplitMix64: small, and good enough to choose faults.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `0..limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True once in `of` times.
    pub fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len() as u64) as usize])
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds of one test: `TOWPATH_SIM_SEED` alone, else `TOWPATH_SIM_RUNS` or `usual` of them.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number_of("TOWPATH_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("TOWPATH_SIM_RUNS").unwrap_or(usual),
    }
}

/// How many histories a model looks at: all in a fast build, a part in a slow one.
pub fn histories() -> u64 {
    number_of("TOWPATH_SIM_RUNS").unwrap_or(if cfg!(debug_assertions) { 5_000 } else { 20_000 })
}
