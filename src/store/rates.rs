//! How much happened in the last moments, and how much memory was used at most.

use std::collections::VecDeque;

/// What is counted: commands, bytes in, bytes out.
pub type Totals = [u64; 3];

/// How often a sample is taken, in microseconds.
const EVERY_US: u64 = 100_000;
/// Samples that make up a rate.
const SAMPLES: usize = 16;

/// The totals of the last moments.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<(u64, Totals)>,
    peak_bytes: u64,
    startup_bytes: u64,
}

impl Rates {
    /// Begins with what is used at the start.
    pub fn starting_with(used_bytes: u64) -> Rates {
        Rates { samples: VecDeque::new(), peak_bytes: used_bytes, startup_bytes: used_bytes }
    }

    /// Whether it is time for a sample.
    #[inline]
    pub fn is_due(&self, now_us: u64) -> bool {
        self.samples.back().is_none_or(|(at_us, _)| now_us.saturating_sub(*at_us) >= EVERY_US)
    }

    /// Takes a sample. A clock that was set back begins anew.
    pub fn sample(&mut self, totals: Totals, used_bytes: u64, now_us: u64) {
        if self.samples.back().is_some_and(|(at_us, _)| *at_us > now_us) {
            self.samples.clear();
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now_us, totals));
        self.peak_bytes = self.peak_bytes.max(used_bytes);
    }

    /// How much a second, of each total, over the last one and a half seconds or so.
    pub fn now(&self, totals: Totals, now_us: u64) -> [f64; 3] {
        let oldest = now_us.saturating_sub(EVERY_US * SAMPLES as u64);
        let recent = self.samples.iter().find(|(at_us, _)| *at_us >= oldest);
        let Some((at_us, then)) = recent.or(self.samples.back()) else { return [0.0; 3] };
        let seconds = now_us.saturating_sub(*at_us).max(EVERY_US) as f64 / 1e6;
        std::array::from_fn(|index| totals[index].saturating_sub(then[index]) as f64 / seconds)
    }

    /// Forgets what has happened, because totals begin anew.
    pub fn clear(&mut self, used_bytes: u64) {
        self.samples.clear();
        self.peak_bytes = used_bytes;
    }

    /// The most bytes that were used.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The bytes that were used at the start.
    pub fn startup_bytes(&self) -> u64 {
        self.startup_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_moments_and_falls_when_nothing_happens() {
        let mut rates = Rates::default();
        for turn in 0..50u64 {
            assert!(rates.is_due(turn * EVERY_US));
            rates.sample([turn * 10, 0, 0], turn, turn * EVERY_US);
            assert!(!rates.is_due(turn * EVERY_US + 1));
        }
        let now = rates.now([500, 0, 0], 50 * EVERY_US);
        assert!((99.0..101.0).contains(&now[0]), "{now:?}");
        assert!(rates.now([500, 0, 0], 500 * EVERY_US)[0] < 1.0);
        assert_eq!(rates.peak_bytes(), 49);
    }
}
