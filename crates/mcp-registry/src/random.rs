//! The seam for chance: jitter and identifiers come from here, so that a test can repeat a run.

/// A source of random bits. None of what the gateway draws from it is a secret.
pub trait Random: Send + Sync + 'static {
    /// The next 64 bits, uniformly distributed.
    fn u64(&self) -> u64;

    /// The next number from 0 (included) to 1 (excluded), uniformly distributed.
    fn unit(&self) -> f64 {
        // The 53 bits a double can tell apart.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let numerator = (self.u64() >> 11) as f64;
        numerator / (1u64 << 53) as f64
    }
}

/// A fast generator that is seeded differently in every thread of every process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn u64(&self) -> u64 {
        fastrand::u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);

    impl Random for Fixed {
        fn u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn units_lie_between_zero_and_one() {
        assert_eq!(Fixed(0).unit(), 0.0);
        assert_eq!(Fixed(1 << 63).unit(), 0.5);
        assert!(Fixed(u64::MAX).unit() < 1.0);
    }

    #[test]
    fn the_system_does_not_repeat_itself() {
        assert_ne!(SystemRandom.u64(), SystemRandom.u64());
    }
}
