//! Three latencies of a request, as HDR histograms in nanoseconds.
//!
//! `response_time = received − intended`, `service_time = received − sent`, `lag = sent − intended`.

use hdrhistogram::Histogram;

/// The longest time that is told apart: one hour. Longer ones count as one hour.
pub const MAX_NS: u64 = 3_600 * 1_000_000_000;

/// Significant decimal digits of every recorded value.
pub const DIGITS: u8 = 3;

/// An empty histogram of times in nanoseconds. All are alike, so that they can be added.
pub fn histogram() -> Histogram<u64> {
    // Cannot fail: the bounds are constants that satisfy 1 ≤ low, 2 × low ≤ high and digits ≤ 5.
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// The three latencies side by side.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Received minus intended, of matched requests.
    pub response: Histogram<u64>,
    /// Received minus sent, of matched requests.
    pub service: Histogram<u64>,
    /// Sent minus intended, of sent requests.
    pub lag: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { response: histogram(), service: histogram(), lag: histogram() }
    }
}

impl Latencies {
    /// Adds another part of the run. Exact: counts of equal buckets are added.
    pub fn merge(&mut self, other: &Latencies) {
        // Cannot fail: all histograms here have the same bounds.
        let added = self.response.add(&other.response).is_ok()
            && self.service.add(&other.service).is_ok()
            && self.lag.add(&other.lag).is_ok();
        debug_assert!(added);
    }

    /// Empties all three.
    pub fn clear(&mut self) {
        self.response.reset();
        self.service.reset();
        self.lag.reset();
    }
}

/// A percentile (0 to 100) in nanoseconds: the smallest value that so many of all samples do not exceed; 0 without any.
pub fn percentile_ns(histogram: &Histogram<u64>, percentile: f64) -> u64 {
    // A hair below, since 99.9 / 100 is a hair above 0.999: of 1,000 samples that would ask for the last.
    let share = (percentile / 100.0).next_down().max(0.0);
    if histogram.is_empty() { 0 } else { histogram.value_at_quantile(share) }
}

/// A percentile (0 to 100) in whole microseconds, rounded to the nearest; 0 without samples.
pub fn percentile_us(histogram: &Histogram<u64>, percentile: f64) -> u64 {
    to_us(percentile_ns(histogram, percentile))
}

/// The highest value in whole microseconds; 0 without samples.
pub fn max_us(histogram: &Histogram<u64>) -> u64 {
    if histogram.is_empty() { 0 } else { to_us(histogram.max()) }
}

fn to_us(ns: u64) -> u64 {
    ns.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_takes_no_rank_more_than_it_asks_for() {
        let mut histogram = histogram();
        (1..=1000).for_each(|value| histogram.saturating_record(value));
        let at = |percentile| percentile_ns(&histogram, percentile);
        assert_eq!([0.0, 0.1, 50.0, 90.0, 99.0, 99.9, 100.0].map(at), [1, 1, 500, 900, 990, 999, 1000]);
    }

    #[test]
    fn merging_parts_gives_the_percentiles_of_the_whole() {
        let (mut whole, mut parts) = (Latencies::default(), [Latencies::default(), Latencies::default()]);
        for value in 1..10_000u64 {
            whole.response.saturating_record(value * 997);
            parts[(value % 2) as usize].response.saturating_record(value * 997);
        }
        let [mut merged, other] = parts;
        merged.merge(&other);
        for p in [0.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            assert_eq!(percentile_us(&merged.response, p), percentile_us(&whole.response, p));
        }
        merged.clear();
        assert_eq!((percentile_us(&merged.response, 99.0), max_us(&merged.response)), (0, 0));
    }
}
