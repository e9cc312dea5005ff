//! Hot path
//!
//! Decides how to wait for the next due time. Pure: time comes in, a decision goes out.
//!
//! 1. What is due goes out at once, in order, at most [`BURST`] in a turn so that replies are read.
//! 2. `exact`: the kernel's timer wakes the worker a guard early, and it polls its sockets until the
//!    very instant. A send is then late by the cost of one poll. The guard follows what the machine
//!    does: a wake-up later than the guard widens it at once, punctual ones narrow it slowly, down to what
//!    is cheap: a small part of the time between requests.
//! 3. `relaxed`: the timer wakes it at the due time, and what comes due within [`QUANTUM_NS`] of the
//!    last send waits for it, to leave in one write.
//! 4. `auto`: exact while requests are further apart than [`SPARSE_NS`] and another processor is left
//!    for everybody else, else relaxed.

use crate::units::{NANOS_PER_SEC, Tps};

/// How exactly to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// Exact where there is room for it.
    Auto,
    /// Poll before each send.
    Exact,
    /// Let the kernel's timer do it.
    Relaxed,
}

/// How long before the due time the timer wakes an exact worker, at least and at most.
const GUARD_NS: (u64, u64) = (60_000, 300_000);

/// The guard stays this much above the latest wake-up that was late.
const GUARD_MARGIN_NS: u64 = 20_000;

/// Each punctual wake-up takes this part of the distance to the least guard away.
const GUARD_DECAY: u64 = 512;

/// Polling for this part of the time is cheap, and the guard is never less than that.
const CHEAP: u64 = 16;

/// How long a relaxed worker gathers what comes due.
pub(crate) const QUANTUM_NS: u64 = 100_000;

/// The mean distance of requests above which `auto` is exact.
pub const SPARSE_NS: u64 = 40_000;

/// Whether workers who share a rate have at least [`SPARSE_NS`] between requests of their own.
pub fn is_sparse(rate: Tps, workers: u64) -> bool {
    let in_gap = u128::from(rate.units()) * u128::from(SPARSE_NS);
    in_gap <= u128::from(Tps::UNITS_PER_TPS) * u128::from(NANOS_PER_SEC) * u128::from(workers)
}

/// The most requests in one turn.
pub(crate) const BURST: usize = 512;

/// What to do until the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Poll the sockets once and come back.
    Poll,
    /// Sleep until this instant.
    Until(u64),
}

/// Chooses between exact and relaxed, and remembers how dense the schedule is.
#[derive(Debug)]
pub(crate) struct Pacer {
    pacing: Pacing,
    may_spin: bool,
    last_due_ns: u64,
    /// Moving mean of the distance of due times, over about 16 of them.
    gap_ns: u64,
    last_send_ns: u64,
    guard_ns: u64,
}

impl Pacer {
    /// `spare_processors`: processors that are left when each worker has one.
    pub(crate) fn new(pacing: Pacing, spare_processors: usize) -> Pacer {
        let may_spin = spare_processors > 0;
        Pacer { pacing, may_spin, last_due_ns: 0, gap_ns: SPARSE_NS, last_send_ns: 0, guard_ns: GUARD_NS.1 }
    }

    /// The timer woke the worker this late.
    pub(crate) fn woke(&mut self, late_ns: u64) {
        let needed_ns = (late_ns + GUARD_MARGIN_NS).min(GUARD_NS.1);
        self.guard_ns = if needed_ns > self.guard_ns {
            needed_ns
        } else {
            self.guard_ns - self.guard_ns.saturating_sub(GUARD_NS.0) / GUARD_DECAY
        };
    }

    /// A request that was due at `due_ns` left at `now_ns`.
    #[inline]
    pub(crate) fn sent(&mut self, due_ns: u64, now_ns: u64) {
        let gap = due_ns.saturating_sub(self.last_due_ns);
        self.last_due_ns = due_ns;
        self.gap_ns = self.gap_ns - self.gap_ns / 16 + gap / 16;
        self.last_send_ns = now_ns;
    }

    /// How to wait for a request due at `due_ns`, or for `deadline_ns` if that comes first.
    #[inline]
    pub(crate) fn wait(&self, now_ns: u64, due_ns: Option<u64>, deadline_ns: u64) -> Wait {
        let Some(due_ns) = due_ns else { return Wait::Until(deadline_ns) };
        let wake_ns = if self.is_exact() {
            due_ns.saturating_sub(self.guard())
        } else {
            due_ns.max(self.last_send_ns + QUANTUM_NS)
        };
        if wake_ns <= now_ns { Wait::Poll } else { Wait::Until(wake_ns.min(deadline_ns)) }
    }

    /// Whether what has come due should wait a little for more.
    #[inline]
    pub(crate) fn gathers(&self, now_ns: u64) -> bool {
        !self.is_exact() && now_ns < self.last_send_ns + QUANTUM_NS
    }

    /// The guard, but never so much that polling fills more than a quarter of the time, unless that
    /// is less than the least guard, and never less than what is cheap.
    fn guard(&self) -> u64 {
        let (least, most) = GUARD_NS;
        self.guard_ns.max((self.gap_ns / CHEAP).min(most)).min((self.gap_ns / 4).max(least))
    }

    fn is_exact(&self) -> bool {
        match self.pacing {
            Pacing::Exact => true,
            Pacing::Relaxed => false,
            Pacing::Auto => self.may_spin && self.gap_ns >= SPARSE_NS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn after_gaps(pacing: Pacing, spare: usize, gap: u64) -> Pacer {
        let mut pacer = Pacer::new(pacing, spare);
        for n in 1..200 {
            pacer.sent(n * gap, n * gap);
        }
        pacer
    }

    #[test]
    fn exact_wakes_a_guard_early_and_then_polls() {
        let pacer = after_gaps(Pacing::Auto, 1, 10 * MS);
        let due = 2_000 * MS;
        assert_eq!(pacer.wait(due - 5 * MS, Some(due), u64::MAX), Wait::Until(due - GUARD_NS.1));
        assert_eq!(pacer.wait(due - GUARD_NS.1, Some(due), u64::MAX), Wait::Poll);
        assert_eq!(pacer.wait(due + 1, Some(due), u64::MAX), Wait::Poll);
    }

    #[test]
    fn the_guard_follows_the_wake_ups_of_the_machine() {
        let mut pacer = Pacer::new(Pacing::Exact, 1);
        (0..10_000).for_each(|_| pacer.woke(5_000));
        assert!(pacer.guard_ns < GUARD_NS.0 + 1000, "{}", pacer.guard_ns);
        pacer.woke(150_000);
        assert_eq!(pacer.guard_ns, 170_000);
        pacer.woke(5 * MS);
        assert_eq!(pacer.guard_ns, GUARD_NS.1);
        // Requests 10 ms apart leave time for all of it, always.
        (0..10_000).for_each(|_| pacer.woke(5_000));
        (1..200).for_each(|n| pacer.sent(n * 10 * MS, n * 10 * MS));
        assert_eq!(pacer.guard(), GUARD_NS.1);
        pacer.woke(5 * MS);
        // Requests 200 µs apart leave no quarter of the time that is longer than the least guard.
        let from = 200 * 10 * MS;
        (1..200).for_each(|n| pacer.sent(from + n * 200_000, from + n * 200_000));
        assert_eq!(pacer.guard(), GUARD_NS.0);
    }

    #[test]
    fn a_dense_schedule_is_gathered() {
        let pacer = after_gaps(Pacing::Auto, 1, 5_000);
        let last = 199 * 5_000;
        assert_eq!(pacer.wait(last + 1, Some(last + 5_000), u64::MAX), Wait::Until(last + QUANTUM_NS));
        assert!(pacer.gathers(last + 1) && !pacer.gathers(last + QUANTUM_NS));
    }

    #[test]
    fn workers_share_a_rate_and_its_bound() {
        let sparse = |tps, workers| is_sparse(Tps::per_second(tps), workers);
        assert_eq!(
            [(25_000, 1), (25_001, 1), (50_000, 2), (50_001, 2)].map(|(t, w)| sparse(t, w)),
            [true, false, true, false]
        );
        assert!(is_sparse(Tps::ZERO, 1));
    }

    #[test]
    fn auto_never_spins_on_the_last_processor() {
        let pacer = after_gaps(Pacing::Auto, 0, 10 * MS);
        assert_eq!(pacer.wait(2_000 * MS - 1, Some(2_000 * MS), u64::MAX), Wait::Until(2_000 * MS));
    }

    #[test]
    fn a_deadline_comes_first() {
        let pacer = Pacer::new(Pacing::Exact, 0);
        assert_eq!(pacer.wait(0, Some(100 * MS), 10 * MS), Wait::Until(10 * MS));
        assert_eq!(pacer.wait(0, None, 10 * MS), Wait::Until(10 * MS));
    }
}
