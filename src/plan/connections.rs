//! Which connections a plan opens: their limits, and how many there will be.

use std::net::IpAddr;

use crate::plan::closed::Closed;
use crate::plan::segment::Segment;
use crate::units::Nanos;

/// The connections of a plan. `count`, `window` are at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Connection slots; each holds one connection after another.
    pub count: u64,
    /// Requests on one connection, then it is replaced; 0 for no limit.
    pub limit: u64,
    /// Requests in flight on one connection.
    pub window: usize,
    /// The first connections get different limits, so that not all are replaced at once.
    pub stagger: bool,
    /// How long a connection may take to open.
    pub connect_timeout: Nanos,
    /// How long a response may take.
    pub request_timeout: Nanos,
    /// Local addresses to connect from, in turn.
    pub source_addresses: Vec<IpAddr>,
}

impl Connections {
    /// Requests that connection `generation` (from 0) of `slot` carries; `u64::MAX` without limit.
    ///
    /// With `stagger`, the first connection of slot `s` carries `limit − ⌊s × limit / count⌋`, so the
    /// slots come to their limits evenly spread.
    pub fn limit_of(&self, slot: u64, generation: u64) -> u64 {
        match (self.limit, generation) {
            (0, _) => u64::MAX,
            (limit, 0) if self.stagger => {
                limit - (u128::from(slot) * u128::from(limit) / u128::from(self.count)) as u64
            }
            (limit, _) => limit,
        }
    }

    /// Connections that a slot opens for `requests`, if none fails.
    pub fn opened_on_slot(&self, slot: u64, requests: u64) -> u64 {
        let first = self.limit_of(slot, 0);
        match requests {
            0 => 0,
            requests if requests <= first => 1,
            requests => 1 + (requests - first).div_ceil(self.limit_of(slot, 1)),
        }
    }

    /// Connections that a segment opens for the requests `0..total`, and how many of them replace
    /// another, if none fails.
    pub fn expected(&self, total: u64, segment: Segment) -> Expected {
        let mut expected = Expected::default();
        for slot in 0..self.count {
            let opened = self.opened_on_slot(slot, segment.count_on_slot(total, slot, self.count));
            expected.slots += u64::from(opened > 0);
            expected.opened += opened;
        }
        expected
    }

    /// Connections that a segment opens in the closed model when its users send equally often. Without
    /// a number of requests, those that are open at a time.
    pub fn expected_of_users(&self, closed: &Closed, segment: Segment) -> Expected {
        let users = segment.count(closed.users).max(1);
        let requests = segment.count(closed.total().unwrap_or(0));
        let mut expected = Expected::default();
        for slot in 0..self.count {
            let on_slot = closed.users_on_slot(segment, slot, self.count);
            if on_slot == 0 {
                continue;
            }
            let share = u128::from(requests) * u128::from(on_slot) / u128::from(users);
            expected.slots += 1;
            expected.opened += self.opened_on_slot(slot, share as u64).max(1);
        }
        expected
    }
}

/// What [`Connections::expected`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// Slots with anything to send.
    pub slots: u64,
    /// Connections opened.
    pub opened: u64,
}

impl Expected {
    /// Connections that replace another.
    pub fn reconnects(self) -> u64 {
        self.opened - self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(count: u64, limit: u64, stagger: bool) -> Connections {
        Connections {
            count,
            limit,
            window: 1,
            stagger,
            connect_timeout: Nanos::from_secs(1),
            request_timeout: Nanos::from_secs(1),
            source_addresses: vec![],
        }
    }

    fn expected(count: u64, limit: u64, stagger: bool, total: u64) -> (u64, u64) {
        let expected = connections(count, limit, stagger).expected(total, Segment::WHOLE);
        (expected.opened, expected.reconnects())
    }

    #[test]
    fn a_limit_that_divides_the_total_needs_no_empty_reconnect() {
        assert_eq!(expected(10, 100, false, 1000), (10, 0));
        assert_eq!(expected(10, 100, false, 1001), (11, 1));
        assert_eq!(expected(10, 100, false, 13_500), (140, 130));
        assert_eq!(expected(10, 1, true, 25), (25, 15));
        assert_eq!(expected(10, 0, true, 1_000_000), (10, 0));
        assert_eq!(expected(10, 100, true, 3), (3, 0));
    }

    #[test]
    fn staggered_slots_reach_their_first_limit_at_different_times() {
        let staggered = connections(10, 100, true);
        let first: Vec<u64> = (0..10).map(|slot| staggered.limit_of(slot, 0)).collect();
        assert_eq!(first, [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]);
        assert_eq!(staggered.limit_of(9, 1), 100);
        assert_eq!(expected(10, 100, true, 1000), (19, 9));
        assert!((0..10).all(|slot| connections(10, 2, true).limit_of(slot, 0) >= 1));
    }
}
