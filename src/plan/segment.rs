//! Who sends request `n`: which machine, which worker, which connection slot. Pure functions.
//!
//! Request `n` belongs to segment `n mod N` and to connection slot `n mod count`; slot `s` belongs
//! to worker `s mod workers`. Nobody hands out numbers while running, so the union of all segments
//! and workers is the plan, whatever their number.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One of `of` equal parts of a plan, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    index: u64,
    of: u64,
}

/// Why a segment could not be read. Fits after "failed to read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid segment `{0}`: write I/N with I from 0 to N-1, such as 0/3, 1/3 and 2/3 for three machines")]
pub struct SegmentError(String);

impl Segment {
    /// The whole plan.
    pub const WHOLE: Segment = Segment { index: 0, of: 1 };

    /// Part `index` of `of`; `None` unless `index < of`.
    pub fn new(index: u64, of: u64) -> Option<Segment> {
        (index < of).then_some(Segment { index, of })
    }

    /// Which part, from 0.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Of how many.
    pub fn of(self) -> u64 {
        self.of
    }

    /// How many of the requests `0..total` belong to this segment.
    pub fn count(self, total: u64) -> u64 {
        if total <= self.index { 0 } else { (total - 1 - self.index) / self.of + 1 }
    }

    /// How many of the requests `0..total` of this segment go over connection slot `slot` of `slots`.
    pub fn count_on_slot(self, total: u64, slot: u64, slots: u64) -> u64 {
        // The first request of both is `index + j × of`, with the least j for which that is `slot`
        // modulo `slots`; there is one if their distance is a multiple of the common divisor.
        let common = gcd(self.of, slots);
        let distance = (slots + slot - self.index % slots) % slots;
        if !distance.is_multiple_of(common) {
            return 0;
        }
        let period = slots / common;
        let j = u128::from(distance / common) * u128::from(inverse(self.of / common, period))
            % u128::from(period);
        let first = u128::from(self.index) + j * u128::from(self.of);
        if first >= u128::from(total) { 0 } else { (total - 1 - first as u64) / lcm(self.of, slots) + 1 }
    }
}

/// Why parts do not make up a plan. Fits behind a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoverError {
    /// Some requests are in two of them.
    #[error("{0} and {1} overlap: both have requests that the other has too")]
    Overlap(Segment, Segment),
    /// Some requests are in none of them.
    #[error("they are {have} of {of} parts of the plan{missing}")]
    Gap {
        /// Parts that are there.
        have: u128,
        /// Of how many.
        of: u128,
        /// Which are not, where that can be told; begins with a colon.
        missing: String,
    },
    /// Their numbers have no common multiple that can be counted with.
    #[error("they are cut in too many different ways to be compared")]
    Unlike,
}

/// Whether each request belongs to exactly one of the segments, which may be of different sizes.
///
/// Two segments share a request exactly if their first ones are alike modulo the common divisor of their
/// numbers. Without an overlap they are everything exactly if their sizes add up to it.
///
/// # Errors
/// [`CoverError`].
pub fn cover(segments: &[Segment]) -> Result<(), CoverError> {
    for (index, a) in segments.iter().enumerate() {
        for b in &segments[index + 1..] {
            let common = gcd(a.of, b.of);
            if a.index % common == b.index % common {
                return Err(CoverError::Overlap(*a, *b));
            }
        }
    }
    let mut of = 1u128;
    for segment in segments {
        let common = gcd((of % u128::from(segment.of)) as u64, segment.of);
        of = of.checked_mul(u128::from(segment.of / common)).ok_or(CoverError::Unlike)?;
    }
    let have: u128 = segments.iter().map(|segment| of / u128::from(segment.of)).sum();
    if have == of {
        return Ok(());
    }
    let alike = segments.iter().all(|segment| u128::from(segment.of) == of);
    let missing = match segments.first() {
        Some(first) if alike && of <= 64 => {
            let is_there = |index: u64| segments.iter().any(|segment| segment.index == index);
            let names = (0..first.of).filter(|&index| !is_there(index)).map(|index| format!("{index}/{of}"));
            format!(": {} is missing", names.collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    };
    Err(CoverError::Gap { have, of, missing })
}

impl FromStr for Segment {
    type Err = SegmentError;

    fn from_str(text: &str) -> Result<Segment, SegmentError> {
        let bad = || SegmentError(text.to_string());
        let (index, of) = text.split_once('/').ok_or_else(bad)?;
        let number = |s: &str| s.trim().parse::<u64>().map_err(|_| bad());
        Segment::new(number(index)?, number(of)?).filter(|s| s.of <= 1_000_000).ok_or_else(bad)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The number that `a` must be multiplied by to give 1 modulo `modulus`, which shares no divisor with it.
fn inverse(a: u64, modulus: u64) -> u64 {
    let (mut old, mut new) = ((i128::from(a % modulus), 1), (i128::from(modulus), 0));
    while new.0 != 0 {
        let quotient = old.0 / new.0;
        (old, new) = (new, (old.0 - quotient * new.0, old.1 - quotient * new.1));
    }
    old.1.rem_euclid(i128::from(modulus)) as u64
}

/// Least common multiple.
pub(crate) fn lcm(a: u64, b: u64) -> u64 {
    a / gcd(a, b) * b
}

/// The requests of one worker, in order: those of a segment whose slot belongs to the worker, or, in the
/// closed model, as many as go with the worker's part of the users.
#[derive(Debug, Clone)]
pub struct Share {
    next: u64,
    total: u64,
    segment: Segment,
    slots: u64,
    /// Users of the segment, in the closed model.
    users: Option<u64>,
    /// The only requests that are sent, in rising order.
    only: Option<Arc<[u64]>>,
    worker: u64,
    workers: u64,
}

impl Share {
    /// The share of `worker` (from 0) of `workers` in the requests `0..total` of `segment`.
    pub fn new(total: u64, segment: Segment, slots: u64, worker: u64, workers: u64) -> Share {
        Share { next: segment.index, total, segment, slots, users: None, only: None, worker, workers }
    }

    /// The share of a worker in a closed load of `users` over all segments. The requests of the segment
    /// are dealt out to its users in turn; a worker has those of the users on its slots, and whoever of
    /// them is ready first takes the next. The segment must have a user.
    pub fn of_users(
        total: u64,
        segment: Segment,
        users: u64,
        slots: u64,
        worker: u64,
        workers: u64,
    ) -> Share {
        let users = segment.count(users);
        let share = Share { users: Some(users), ..Share::new(total, segment, slots, worker, workers) };
        let mut first_turn = (0..users).map(|user| segment.index + user * segment.of);
        // A worker without a user has no request, however many there are.
        if first_turn.any(|n| share.owns(n)) { share } else { Share { next: total, ..share } }
    }

    /// The same, but only these requests of the segment, which must be rising; all where it is `None`.
    pub fn only(self, only: Option<Arc<[u64]>>) -> Share {
        Share { only, ..self }
    }

    /// Takes the requests from `n` on again that it has taken already, of a plan which now has `total`.
    pub fn back_to(&mut self, n: u64, total: u64) {
        let (index, of) = (self.segment.index, self.segment.of);
        let again = n.saturating_sub(index).div_ceil(of).saturating_mul(of).saturating_add(index);
        (self.next, self.total) = (self.next.min(again), total);
    }

    /// How many requests are left.
    pub fn remaining(&self) -> u64 {
        if let Some(only) = &self.only {
            let left = &only[only.partition_point(|&n| n < self.next)..];
            return left.iter().filter(|&&n| n < self.total && self.owns(n)).count() as u64;
        }
        // The pattern repeats after `period` requests of the segment.
        let period = self.users.unwrap_or_else(|| lcm(self.segment.of, self.slots) / self.segment.of).max(1);
        let left =
            if self.next >= self.total { 0 } else { (self.total - 1 - self.next) / self.segment.of + 1 };
        let count =
            |steps: u64| (0..steps).filter(|&j| self.owns(self.next + j * self.segment.of)).count() as u64;
        (left / period) * count(period.min(left)) + count(left % period)
    }

    fn owns(&self, n: u64) -> bool {
        if self.workers == 1 {
            return true;
        }
        let whose = match self.users {
            None => n,
            Some(users) => {
                let user = (n - self.segment.index) / self.segment.of % users.max(1);
                self.segment.index + user * self.segment.of
            }
        };
        whose % self.slots % self.workers == self.worker
    }
}

impl Iterator for Share {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(only) = &self.only {
            let from = only.partition_point(|&n| n < self.next);
            let found = only[from..].iter().copied().find(|&n| n < self.total && self.owns(n))?;
            self.next = found + 1;
            return Some(found);
        }
        while self.next < self.total {
            let n = self.next;
            self.next += self.segment.of;
            if self.owns(n) {
                return Some(n);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_segment_is_written_from_zero() {
        assert_eq!("0/1".parse(), Ok(Segment::WHOLE));
        assert_eq!("2/3".parse::<Segment>().map(|s| s.to_string()).as_deref(), Ok("2/3"));
        for text in ["3/3", "1", "-1/2", "a/b", "0/0", ""] {
            assert!(text.parse::<Segment>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Counting by arithmetic gives what counting one by one gives, however many slots there are.
        #[test]
        fn requests_on_a_slot_are_counted_without_looking_at_each(
            total in 0u64..3000, of in 1u64..40, index in 0u64..40, slots in 1u64..40, slot in 0u64..40,
        ) {
            prop_assume!(index < of && slot < slots);
            let segment = Segment { index, of };
            let one_by_one = (0..total).filter(|n| n % of == index && n % slots == slot).count() as u64;
            prop_assert_eq!(segment.count_on_slot(total, slot, slots), one_by_one);
        }
    }

    #[test]
    fn a_worker_without_a_user_has_no_request_even_of_an_endless_load() {
        // Users 0 and 2 of the first half live on slots 0 and 2, which belong to the first worker.
        let half = Segment::new(0, 2).expect("a half");
        let share = |worker| Share::of_users(1 << 60, half, 4, 4, worker, 2);
        assert_eq!((share(1).remaining(), share(1).next()), (0, None));
        assert_eq!(share(0).take(3).collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn parts_are_a_whole_if_none_overlaps_and_none_is_missing() {
        let check = |texts: &[&str]| {
            cover(&texts.iter().map(|text| text.parse().expect("a segment")).collect::<Vec<_>>())
        };
        assert_eq!(check(&["0/1"]), Ok(()));
        assert_eq!(check(&["2/3", "0/3", "1/3"]), Ok(()));
        assert_eq!(check(&["0/2", "1/4", "3/4"]), Ok(()));
        for twice in [&["0/3", "1/3", "2/3", "1/3"][..], &["0/2", "2/4"], &["0/1", "3/7"], &["0/2", "1/3"]] {
            assert!(matches!(check(twice), Err(CoverError::Overlap(..))), "{twice:?}");
        }
        let gap = check(&["0/3", "2/3"]).expect_err("one is missing").to_string();
        assert!(gap.contains("2 of 3") && gap.contains("1/3 is missing"), "{gap}");
        assert!(matches!(check(&["0/2", "1/4"]), Err(CoverError::Gap { have: 3, of: 4, .. })));
        assert!(matches!(check(&[]), Err(CoverError::Gap { .. })));
    }

    proptest! {
        /// In the closed model too, and each worker has as many as its users would send in turn.
        #[test]
        fn shares_of_users_make_up_the_plan(
            total in 0u64..2000, segments in 1u64..6, users in 6u64..40, slots in 1u64..13, workers in 1u64..5,
        ) {
            let workers = workers.min(slots);
            let mut all = Vec::new();
            for index in 0..segments {
                let segment = Segment::new(index, segments).expect("inside");
                let mut of_segment = 0;
                for worker in 0..workers {
                    let share = Share::of_users(total, segment, users, slots, worker, workers);
                    let remaining = share.remaining();
                    let requests: Vec<u64> = share.collect();
                    prop_assert_eq!(remaining, requests.len() as u64);
                    let has_users = (index..users).step_by(segments as usize).any(|u| u % slots % workers == worker);
                    prop_assert!(has_users || remaining == 0, "requests that nobody sends");
                    of_segment += remaining;
                    all.extend(requests);
                }
                prop_assert_eq!(segment.count(total), of_segment);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_share_of_some_requests_is_those_of_them_on_its_slots() {
        let only: Arc<[u64]> = [3, 4, 8, 9, 13, 40].into();
        let share = |worker| Share::new(40, Segment::WHOLE, 5, worker, 2).only(Some(only.clone()));
        // Slots 3, 4, 3, 4, 3: those of slot 3 belong to the second worker, and 40 is not in the plan.
        assert_eq!((share(0).remaining(), share(0).collect::<Vec<_>>()), (2, vec![4, 9]));
        assert_eq!((share(1).remaining(), share(1).collect::<Vec<_>>()), (3, vec![3, 8, 13]));
    }

    proptest! {
        /// A share that goes back takes exactly what lies from there on, whatever the plan has become.
        #[test]
        fn a_share_that_goes_back_takes_the_rest_of_the_plan_that_there_is_now(
            total in 0u64..500, taken in 0usize..500, back in 0u64..500, now in 0u64..500, workers in 1u64..4,
        ) {
            for worker in 0..workers {
                let mut share = Share::new(total, Segment::WHOLE, 5, worker, workers);
                let last = share.by_ref().take(taken).last();
                let from = last.map_or(0, |n| n + 1).min(back);
                share.back_to(back, now);
                let mine = |n: &u64| *n % 5 % workers == worker;
                prop_assert_eq!(share.collect::<Vec<_>>(), (from..now).filter(mine).collect::<Vec<_>>());
            }
        }
    }

    proptest! {
        /// The shares of all segments and workers are the plan: every request once.
        #[test]
        fn shares_make_up_the_plan(
            total in 0u64..2000, segments in 1u64..6, slots in 1u64..13, workers in 1u64..5,
        ) {
            let workers = workers.min(slots);
            let mut all = Vec::new();
            for index in 0..segments {
                let segment = Segment::new(index, segments).expect("inside");
                let mut of_segment = 0;
                for worker in 0..workers {
                    let share = Share::new(total, segment, slots, worker, workers);
                    let remaining = share.remaining();
                    let requests: Vec<u64> = share.collect();
                    prop_assert_eq!(remaining, requests.len() as u64);
                    of_segment += remaining;
                    all.extend(requests);
                }
                prop_assert_eq!(segment.count(total), of_segment);
                let by_slot: u64 = (0..slots).map(|s| segment.count_on_slot(total, s, slots)).sum();
                prop_assert_eq!(by_slot, of_segment);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}
