//! Chance that can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcp_registry::Random;

/// A random generator (SplitMix64) that gives the same numbers for the same seed. Clones share the
/// sequence; [`fork`](Self::fork) begins one of its own.
///
/// # Examples
/// ```
/// use mcp_testkit::Dice;
///
/// let (one, other) = (Dice::new(7), Dice::new(7));
/// assert_eq!(one.below(100), other.below(100));
/// ```
#[derive(Debug, Clone)]
pub struct Dice(Arc<AtomicU64>);

impl Dice {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// A sequence of its own, decided by this one's next number: what is drawn from one of the two
    /// does not change what the other gives.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::new(self.u64())
    }

    /// A number from 0 (included) to `end` (excluded); 0 if `end` is 0.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        // The bias of the high half of the product is below 2^-32 for the small ranges of tests.
        u64::try_from((u128::from(self.u64()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// True in `percent` of 100 cases.
    #[must_use]
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        &items[at]
    }
}

impl Random for Dice {
    fn u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        let dice = Dice::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| dice.u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ranges_are_kept_and_filled() {
        let dice = Dice::new(1);
        let mut seen = [0; 5];
        for _ in 0..500 {
            seen[usize::try_from(dice.below(5)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!(dice.below(0), 0);
        assert!((0..100).all(|_| dice.chance(100) && !dice.chance(0)));
        assert!(["a", "b"].contains(dice.pick(&["a", "b"])));
        assert_ne!(dice.fork().u64(), dice.u64());
    }
}
