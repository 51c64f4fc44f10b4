//! Runs a claim over many seeds, and says how to run the one that failed again.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator of a seed.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Checks a claim over `count` seeds, or over `OVERDUE_SEEDS` of them, or over `OVERDUE_SEED` alone.
///
/// `test` names the test in the command that repeats a failure.
pub fn check(test: &str, count: u64, claim: impl Fn(u64) -> Result<(), String>) {
    for seed in chosen(count) {
        let blame = Blame { test, seed };
        let failure = claim(seed).err();
        assert!(failure.is_none(), "seed {seed}: {}", failure.unwrap_or_default());
        std::mem::forget(blame);
    }
}

/// The first of `count` seeds that breaks a claim: what a mutation check asks for.
pub fn breaking(count: u64, claim: impl Fn(u64) -> Result<(), String>) -> Option<(u64, String)> {
    (0..count).find_map(|seed| claim(seed).err().map(|reason| (seed, reason)))
}

/// Whether one seed was asked for, whose trace is then worth printing.
pub fn is_one() -> bool {
    std::env::var_os("OVERDUE_SEED").is_some()
}

fn chosen(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("OVERDUE_SEED"), number("OVERDUE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    }
}

/// Names the seed also where the code under test panics.
struct Blame<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        eprintln!("again: OVERDUE_SEED={} cargo test --release {}", self.seed, self.test);
    }
}
