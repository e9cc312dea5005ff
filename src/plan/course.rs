//! Course: which schedule holds now, for the threads of a run that may be changed while it goes.
//!
//! One thread changes it, the others look whether it is still the one that they know: one load of a number. What
//! makes it exact however slow a thread is:
//!
//! 1. A change holds from an instant on that lies ahead when it is made known, and it leaves what is due before as it
//!    is. Whoever reads the clock first, then looks at the course, and then sends what is due, sends nothing
//!    that a change has moved.
//! 2. A request that is no longer in the plan, even if it is again after another change, was taken out of what
//!    had been made ready by then, and is made ready anew: [`Heading::limit_since`] says from which number on.
//! 3. When nothing more can be changed is agreed upon: a change is either known to all or refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plan::schedule::Schedule;
use crate::units::{Nanos, Tps};

/// A change is made known this long before it holds, so that requests which it adds are ready in time.
pub const LEAD: Nanos = Nanos::from_millis(100);

/// What holds.
#[derive(Debug, Clone)]
pub struct Heading {
    /// How many changes there were.
    pub version: u64,
    /// When requests are due.
    pub schedule: Arc<Schedule>,
    /// When stages end.
    pub ends: Arc<[Nanos]>,
    /// The highest rate.
    pub peak: Tps,
    /// From when on nothing can be changed any more.
    closes: Nanos,
    /// How many requests each version has.
    totals: Arc<[u64]>,
}

impl Heading {
    fn new(version: u64, schedule: Arc<Schedule>, closes: Nanos, mut totals: Vec<u64>) -> Heading {
        let stages = schedule.stages();
        totals.push(schedule.total());
        Heading {
            version,
            ends: stages.iter().map(|stage| stage.end).collect(),
            peak: stages.iter().map(|stage| stage.peak).max().unwrap_or(Tps::ZERO),
            schedule,
            closes,
            totals: totals.into(),
        }
    }

    /// Requests from this number on that were made ready by an earlier version are not sent: they are not in the
    /// plan, or are made ready anew.
    pub fn limit_since(&self, version: u64) -> u64 {
        let later = self.totals.get(version as usize + 1..).unwrap_or_default();
        later.iter().copied().min().unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
struct State {
    heading: Heading,
    is_open: bool,
}

/// The schedule that holds.
#[derive(Debug)]
pub struct Course {
    version: AtomicU64,
    state: Mutex<State>,
}

/// What somebody does who has nothing more to do for the requests of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The schedule is another by now.
    Changed,
    /// It stays as it is.
    Over,
    /// It may be changed until then.
    Until(Nanos),
}

/// Why a schedule was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing can be changed any more.
    Closed,
    /// The instant from which it was to hold had come.
    Late,
}

impl Course {
    /// The schedule as planned. `may_change`: somebody may change it; else nobody waits for that.
    pub fn new(schedule: Arc<Schedule>, may_change: bool) -> Course {
        // As planned, a run ends with its last request, and there is no waiting for a change after it.
        let last = schedule.total().checked_sub(1).map_or(Nanos::ZERO, |last| schedule.due_at(last));
        let heading = Heading::new(0, schedule, before(last), Vec::new());
        Course { version: AtomicU64::new(0), state: Mutex::new(State { heading, is_open: may_change }) }
    }

    /// How many changes there were.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// What holds.
    pub fn heading(&self) -> Heading {
        self.state().heading.clone()
    }

    /// Changes the schedule, if that is still `in_time` when everybody would see it.
    ///
    /// # Errors
    /// [`Missed`].
    pub fn change(&self, schedule: Arc<Schedule>, in_time: impl FnOnce() -> bool) -> Result<(), Missed> {
        let known = self.heading();
        // A run that was changed goes on to its end, so that a rate of nothing is not the end of it.
        let closes = before(schedule.end());
        let next = Heading::new(known.version + 1, schedule, closes, known.totals.to_vec());
        let mut state = self.state();
        if !state.is_open {
            return Err(Missed::Closed);
        }
        // First it is made known that there is something new, and then the clock is read: who still saw the old number
        // has read an earlier clock. Who sees the new one waits here for what it is.
        self.version.store(next.version, Ordering::SeqCst);
        if !in_time() {
            self.version.store(known.version, Ordering::SeqCst);
            return Err(Missed::Late);
        }
        state.heading = next;
        Ok(())
    }

    /// What to do for who knows a version and has done everything that it asks for.
    pub fn rest(&self, version: u64, now: Nanos) -> Rest {
        let mut state = self.state();
        let closes = state.heading.closes;
        if state.heading.version != version {
            return Rest::Changed;
        }
        if state.is_open && now < closes {
            return Rest::Until(closes);
        }
        state.is_open = false;
        Rest::Over
    }

    /// From now on nothing is changed any more. Returns what holds in the end.
    pub fn close(&self) -> Heading {
        let mut state = self.state();
        state.is_open = false;
        state.heading.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn before(at: Nanos) -> Nanos {
    Nanos(at.0.saturating_sub(LEAD.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::schedule::Change;
    use crate::plan::schedule::tests::{hold, uniform};

    fn course() -> (Course, Arc<Schedule>) {
        let schedule = Arc::new(uniform(vec![hold(100, 10)]));
        (Course::new(schedule.clone(), true), schedule)
    }

    fn rate(schedule: &Schedule, second: u64, tps: u64) -> Arc<Schedule> {
        Arc::new(schedule.changed(Nanos::from_secs(second), Change::Rate(Tps::per_second(tps))))
    }

    #[test]
    fn a_change_is_known_to_all_or_refused() {
        let (course, schedule) = course();
        let faster = rate(&schedule, 3, 250);
        assert_eq!(course.change(faster.clone(), || false), Err(Missed::Late));
        assert_eq!((course.version(), course.heading().schedule.total()), (0, 1000));
        assert_eq!(course.change(faster.clone(), || true), Ok(()));
        assert_eq!((course.version(), course.heading().schedule.total()), (1, 2050));
        assert_eq!(course.rest(0, Nanos::ZERO), Rest::Changed);
        assert_eq!(course.close().version, 1);
        assert_eq!(course.change(faster, || true), Err(Missed::Closed));
    }

    #[test]
    fn one_waits_for_changes_until_the_last_request_or_until_the_end_of_a_run_that_was_changed() {
        let (course, schedule) = course();
        assert_eq!(course.rest(0, Nanos::ZERO), Rest::Until(Nanos(9_890_000_000)));
        assert_eq!(course.change(rate(&schedule, 3, 0), || true), Ok(()));
        assert_eq!(course.rest(1, Nanos::from_secs(5)), Rest::Until(Nanos(9_900_000_000)));
        assert_eq!(course.rest(1, Nanos(9_900_000_000)), Rest::Over);
        assert_eq!(course.change(rate(&schedule, 9, 5), || true), Err(Missed::Closed));
        let fixed = Course::new(schedule, false);
        assert_eq!(fixed.rest(0, Nanos::ZERO), Rest::Over);
    }

    #[test]
    fn what_was_ever_out_of_the_plan_is_made_ready_anew() {
        let (course, schedule) = course();
        let nothing = rate(&schedule, 3, 0);
        assert_eq!(course.change(nothing.clone(), || true), Ok(()));
        assert_eq!(course.change(rate(&nothing, 5, 40), || true), Ok(()));
        let heading = course.heading();
        assert_eq!(heading.schedule.total(), 500);
        // Request 300 is due at the very instant of the first change, and stays.
        assert_eq!([0, 1, 2].map(|version| heading.limit_since(version)), [301, 500, u64::MAX]);
    }
}
