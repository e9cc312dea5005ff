//! The closed model: users who send, wait for the response, think, and send again.
//!
//! Nothing is due at a time that could be known beforehand: when a user sends follows from the target.
//! What is known is who there is, how many requests there will be (or how long it lasts), and the
//! instant at which each user begins. Request numbers are handed out from 0 in the order in which users
//! become ready, so the record of a request is still a pure function of its number.

use crate::plan::segment::Segment;
use crate::seeded;
use crate::units::Nanos;

const PURPOSE_THINK: u64 = 0x636c_6f73_0001;

/// Requests of a load that only time ends: more than any run can send.
pub const UNBOUNDED: u64 = 1 << 60;

/// How long a user thinks between a response and the next request. `from` is not above `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Think {
    /// At least.
    pub from: Nanos,
    /// At most.
    pub to: Nanos,
}

impl Think {
    /// How long the user thinks who has just been through with request `n`.
    #[inline]
    pub fn after(self, seed: u64, n: u64) -> u64 {
        if self.from == self.to {
            return self.from.0;
        }
        self.from.0 + seeded::below(seeded::choice(seed, PURPOSE_THINK, n), self.to.0 - self.from.0 + 1)
    }
}

/// What ends a closed load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Until {
    /// So many requests, over all users and segments, have been sent.
    Requests(u64),
    /// This instant has come: no user begins a request at or after it.
    Time(Nanos),
}

/// A closed load, over all segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Closed {
    /// Users; at least 1. User `u` lives on connection slot `u mod count` and in segment `u mod N`.
    pub users: u64,
    /// What ends it.
    pub until: Until,
    /// The most requests that there may be, where records are not to be sent twice.
    pub at_most: Option<u64>,
    /// The pause of a user between a response and the next request.
    pub think: Think,
    /// The time over which the users begin, evenly.
    pub ramp_up: Nanos,
}

impl Closed {
    /// When user `u` (over all segments) begins: `⌊u × ramp_up / users⌋`.
    pub fn begins(&self, user: u64) -> Nanos {
        Nanos((u128::from(user) * u128::from(self.ramp_up.0) / u128::from(self.users)) as u64)
    }

    /// The requests over all segments, where that is known.
    pub fn total(&self) -> Option<u64> {
        match (self.until, self.at_most) {
            (Until::Requests(requests), Some(most)) => Some(requests.min(most)),
            (Until::Requests(requests), None) => Some(requests),
            (Until::Time(_), _) => None,
        }
    }

    /// The number that no request reaches.
    pub fn below(&self) -> u64 {
        self.total().or(self.at_most).unwrap_or(UNBOUNDED)
    }

    /// When no user begins any more, where that is known.
    pub fn end(&self) -> Option<Nanos> {
        match self.until {
            Until::Requests(_) => None,
            Until::Time(end) => Some(end),
        }
    }

    /// The users of a segment in rising order.
    pub fn users_of(&self, segment: Segment) -> impl Iterator<Item = u64> {
        (segment.index()..self.users).step_by(segment.of() as usize)
    }

    /// Users of a segment on a connection slot.
    pub fn users_on_slot(&self, segment: Segment, slot: u64, slots: u64) -> u64 {
        segment.count_on_slot(self.users, slot, slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn closed(users: u64, ramp_up: Nanos) -> Closed {
        Closed { users, until: Until::Requests(1000), at_most: None, think: Think::default(), ramp_up }
    }

    #[test]
    fn users_begin_evenly_over_the_ramp_up_and_at_once_without_one() {
        let spread: Vec<u64> = (0..4).map(|user| closed(4, Nanos::from_secs(2)).begins(user).0).collect();
        assert_eq!(spread, [0, 500_000_000, 1_000_000_000, 1_500_000_000]);
        assert!((0..9).all(|user| closed(9, Nanos::ZERO).begins(user) == Nanos::ZERO));
    }

    #[test]
    fn a_load_ends_with_its_requests_or_with_its_time() {
        let mut load = closed(1, Nanos::ZERO);
        assert_eq!((load.total(), load.end(), load.below()), (Some(1000), None, 1000));
        load.at_most = Some(300);
        assert_eq!((load.total(), load.below()), (Some(300), 300));
        load.until = Until::Time(Nanos::from_secs(3));
        assert_eq!((load.total(), load.end(), load.below()), (None, Some(Nanos::from_secs(3)), 300));
        load.at_most = None;
        assert_eq!(load.below(), UNBOUNDED);
    }

    proptest! {
        /// Every user belongs to one segment and one slot.
        #[test]
        fn users_are_shared_out_exactly(users in 1u64..500, of in 1u64..7, slots in 1u64..40) {
            let load = closed(users, Nanos::ZERO);
            let mut all = Vec::new();
            for index in 0..of {
                let segment = Segment::new(index, of).expect("inside");
                let of_segment: Vec<u64> = load.users_of(segment).collect();
                let on_slots: u64 = (0..slots).map(|s| load.users_on_slot(segment, s, slots)).sum();
                prop_assert_eq!(on_slots, of_segment.len() as u64);
                all.extend(of_segment);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..users).collect::<Vec<_>>());
        }

        /// Thinking stays within its bounds and depends on the seed and the request alone.
        #[test]
        fn thinking_is_bounded_and_repeatable(from in 0u64..1000, more in 0u64..1000, seed: u64, n: u64) {
            let think = Think { from: Nanos(from), to: Nanos(from + more) };
            let pause = think.after(seed, n);
            prop_assert!((from..=from + more).contains(&pause));
            prop_assert_eq!(pause, think.after(seed, n));
        }
    }
}
