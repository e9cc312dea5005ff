//! What took long, and how long commands take.
//!
//! Times are counted in ticks of the processor, in buckets that are an eighth of their power of two wide:
//! one addition for each command, and what is told of them is right to an eighth.

use std::collections::{BTreeMap, VecDeque};

/// Samples that are kept of one kind of event.
const SAMPLES: usize = 160;
/// Buckets of one power of two.
const PARTS: u32 = 8;
/// Up to 2^43 ticks, some hours.
const BUCKETS: usize = (PARTS as usize) * 42;

/// How long something took, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Seconds of the wall clock.
    pub at_s: u64,
    /// Milliseconds that it took.
    pub millis: u64,
}

/// What is kept of one kind of event.
#[derive(Debug, Default)]
pub struct Event {
    samples: VecDeque<Sample>,
    /// The longest of all, in milliseconds.
    pub longest_ms: u64,
}

impl Event {
    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        self.samples.iter().copied()
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }
}

/// The events that took long.
#[derive(Debug, Default)]
pub struct Latency(BTreeMap<&'static str, Event>);

impl Latency {
    /// Keeps a sample; of those in one second the longest.
    pub fn add(&mut self, event: &'static str, sample: Sample) {
        let event = self.0.entry(event).or_default();
        event.longest_ms = event.longest_ms.max(sample.millis);
        match event.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.millis = last.millis.max(sample.millis),
            _ => {
                if event.samples.len() == SAMPLES {
                    event.samples.pop_front();
                }
                event.samples.push_back(sample);
            }
        }
    }

    /// What is kept of one kind of event.
    pub fn event(&self, name: &[u8]) -> Option<&Event> {
        self.0.get(std::str::from_utf8(name).ok()?)
    }

    /// All kinds of events.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (&'static str, &Event)> {
        self.0.iter().map(|(name, event)| (*name, event))
    }

    /// Forgets one kind of event; whether there was anything to forget.
    pub fn forget(&mut self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.0.remove(name).is_some())
    }

    /// Forgets all; how many kinds of events there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }
}

/// How often a command took how long.
#[derive(Debug, Clone)]
pub struct Histogram(Box<[u32; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    /// Counts one run.
    #[inline]
    pub fn add(&mut self, ticks: u64) {
        let ticks = ticks | u64::from(PARTS);
        let power = 63 - ticks.leading_zeros();
        let part = (ticks >> (power - PARTS.ilog2())) as u32 % PARTS;
        let bucket = ((power - PARTS.ilog2()) * PARTS + part) as usize;
        let count = &mut self.0[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
    }

    /// The most ticks of each bucket that holds something, with how many are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let filled = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| {
            let (power, part) = (bucket as u32 / PARTS, bucket as u64 % u64::from(PARTS));
            (((u64::from(PARTS) + part + 1) << power) - 1, u64::from(*count))
        })
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The ticks that so many per cent did not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.count() as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |(_, count): &(u64, u64)| {
            seen += count;
            seen >= wanted
        };
        self.buckets().find(reached).map_or(0, |(ticks, _)| ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_one_second_the_longest_sample_is_kept_and_old_ones_go() {
        let mut latency = Latency::default();
        for (at_s, millis) in [(1, 5), (1, 9), (1, 3)].into_iter().chain((2..400).map(|at_s| (at_s, 1))) {
            latency.add("command", Sample { at_s, millis });
        }
        let event = latency.event(b"command").expect("the event");
        assert_eq!((event.samples().len(), event.longest_ms), (SAMPLES, 9));
        assert_eq!(event.latest(), Some(Sample { at_s: 399, millis: 1 }));
        assert!(latency.forget(b"command") && !latency.forget(b"command"));
        assert_eq!(latency.clear(), 0);
    }

    proptest! {
        #[test]
        fn a_percentile_is_right_to_an_eighth(mut ticks in prop::collection::vec(8u64..1 << 40, 1..200)) {
            let mut histogram = Histogram::default();
            ticks.iter().for_each(|ticks| histogram.add(*ticks));
            ticks.sort_unstable();
            let (told, right) = (histogram.percentile(50.0), ticks[(ticks.len() - 1) / 2]);
            prop_assert!(told >= right && told as f64 <= right as f64 * 1.13 + 1.0, "{told} {right}");
            prop_assert_eq!(histogram.count(), ticks.len() as u64);
        }
    }
}
