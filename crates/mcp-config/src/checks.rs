//! Bounds of values, collected rather than stopped at.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::invalid::InvalidField;

/// Longest duration in milliseconds: 30 days. Sums of two stay far from any overflow.
const MAX_MILLIS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Most mistakes reported in one structure; further ones are dropped.
const MAX_FAULTS: usize = 20;

/// The mistakes found so far. Each check gives the value if it was given and is right.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<InvalidField>);

impl Checks {
    pub(crate) fn fail<const N: usize>(&mut self, path: [&str; N], reason: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(InvalidField::new(path, reason));
        }
    }

    pub(crate) fn ensure<const N: usize>(&mut self, holds: bool, path: [&str; N], reason: &str) {
        if !holds {
            self.fail(path, reason);
        }
    }

    /// What was read, or the reason why not.
    pub(crate) fn valid<T, const N: usize>(
        &mut self,
        path: [&str; N],
        value: Result<T, String>,
    ) -> Option<T> {
        value.map_err(|reason| self.fail(path, reason)).ok()
    }

    pub(crate) fn within<T: TryFrom<u64>, const N: usize>(
        &mut self,
        path: [&str; N],
        value: Option<u64>,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let value = value?;
        let fits = range.contains(&value).then(|| T::try_from(value).ok()).flatten();
        if fits.is_none() {
            self.fail(path, format!("must be {} to {}", range.start(), range.end()));
        }
        fits
    }

    /// A duration of at least `least` milliseconds.
    pub(crate) fn millis<const N: usize>(
        &mut self,
        path: [&str; N],
        value: Option<u64>,
        least: u64,
    ) -> Option<Duration> {
        let value = value?;
        if (least..=MAX_MILLIS).contains(&value) {
            return Some(Duration::from_millis(value));
        }
        self.fail(path, format!("must be {least} to {MAX_MILLIS} milliseconds"));
        None
    }

    /// A number from zero to one.
    pub(crate) fn ratio(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        let value = value?;
        let fits = (0.0..=1.0).contains(&value);
        self.ensure(fits, [field], "must be 0 to 1");
        fits.then_some(value)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy, const N: usize>(
        &mut self,
        path: [&str; N],
        value: Option<&str>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let value = value?;
        let meaning = words.iter().find(|(word, _)| *word == value).map(|&(_, meaning)| meaning);
        if meaning.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.fail(path, format!("must be one of {}", words.join(", ")));
        }
        meaning
    }

    pub(crate) fn into_faults(self) -> Vec<InvalidField> {
        self.0
    }
}

/// Overwrites a default with a value that was given.
pub(crate) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
