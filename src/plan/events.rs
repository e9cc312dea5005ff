//! Events: what was done to a run while it went, and the plan that comes of it.
//!
//! An event is exact: from its instant on the schedule is another ([`Schedule::changed`]), so that the same events
//! make the same plan again.
//!
//! [`Schedule::changed`]: crate::plan::schedule::Schedule::changed

use std::sync::Arc;

use crate::plan::schedule::{Change, FOREVER};
use crate::plan::{Plan, fingerprint};
use crate::units::{Nanos, Tps};

/// The most events of one run that change its plan. A stop is none of them.
pub const MAX_EVENTS: usize = 1000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Nothing is due any more.
    Pause,
    /// It goes on where it was paused.
    Resume,
    /// This rate until the stage ends.
    Rate(Tps),
    /// Nothing more is sent. That changes no due time.
    Stop,
}

impl Deed {
    /// The word used in files.
    pub const fn word(self) -> &'static str {
        match self {
            Deed::Pause => "pause",
            Deed::Resume => "resume",
            Deed::Rate(_) => "rate",
            Deed::Stop => "stop",
        }
    }
}

/// Something that was done to a run while it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The first request that is not due before.
    pub n: u64,
    /// From when on it holds.
    pub at: Nanos,
    /// What was done.
    pub deed: Deed,
    /// In which stage, from 0.
    pub stage: usize,
}

/// Why events make no plan. Fits after "failed to replay the run: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No run has so many.
    #[error("it has {0} events, and no run has more than {MAX_EVENTS}")]
    TooMany(usize),
    /// One is not where it can be.
    #[error("event {0} of its plan.json ({1}) makes no sense there")]
    Misplaced(usize, &'static str),
}

impl Plan {
    /// The same plan, changed from an instant on. Only the open model has due times to be changed.
    pub fn changed(&self, at: Nanos, change: Change) -> Plan {
        let mut plan = self.clone();
        let schedule = self.schedule.changed(at, change);
        for (stage, totals) in plan.stages.iter_mut().zip(schedule.stages()) {
            stage.totals = totals;
        }
        plan.schedule = Arc::new(schedule);
        plan.fingerprint = fingerprint::changed(&self.fingerprint, at, change);
        plan
    }

    /// The plan while it is paused: nothing is due from `at` on for longer than anybody waits.
    pub fn held(&self, at: Nanos) -> Plan {
        self.changed(at, Change::Pause(FOREVER))
    }

    /// The stage of an instant; the last one from the end on.
    pub fn stage_at(&self, at: Nanos) -> usize {
        let past = self.stages.partition_point(|stage| stage.totals.end <= at);
        past.min(self.stages.len().saturating_sub(1))
    }

    /// An event of this plan, which does not know it yet.
    pub fn event(&self, at: Nanos, deed: Deed) -> Event {
        let n = if self.closed.is_some() { 0 } else { self.schedule.due_before(at) };
        Event { n, at, deed, stage: self.stage_at(at) }
    }

    /// The plan of a run to which this was done. A stop, and a pause that was not ended, change nothing, since nobody
    /// knows how it would have gone on. A stop holds at once, so it may be earlier than a change that was to hold
    /// in a moment.
    ///
    /// # Errors
    /// [`Error`] when no run has these events.
    pub fn with_events(mut self, events: &[Event]) -> Result<Plan, Error> {
        let changes = events.iter().enumerate().filter(|(_, event)| event.deed != Deed::Stop);
        let count = changes.clone().count();
        if count > MAX_EVENTS {
            return Err(Error::TooMany(count));
        }
        let mut done: Vec<Event> = Vec::with_capacity(count);
        // Since when it is paused; the last event then.
        let mut paused: Option<Nanos> = None;
        for (index, event) in changes {
            let misplaced = Error::Misplaced(index + 1, event.deed.word());
            let last = done.last().map_or(Nanos::ZERO, |event| event.at);
            let is_within = paused.is_some() || event.at < self.schedule.end();
            if event.at < last || self.closed.is_some() || !is_within {
                return Err(misplaced);
            }
            self = match (event.deed, paused) {
                (Deed::Pause, None) => {
                    paused = Some(event.at);
                    self
                }
                (Deed::Resume, Some(since)) => {
                    paused = None;
                    self.changed(since, Change::Pause(Nanos(event.at.0 - since.0)))
                }
                (Deed::Rate(rate), None) => self.changed(event.at, Change::Rate(rate)),
                _ => return Err(misplaced),
            };
            done.push(*event);
        }
        // What changed nothing is not done again.
        if paused.is_some() {
            done.pop();
        }
        self.events = done;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::compile::compile;
    use crate::plan::segment::Segment;
    use crate::scenario::{Overrides, Scenario};
    use std::path::Path;

    fn plan() -> Plan {
        let yaml =
            "name: t\nload: { stages: [ { hold: 100, duration: 10s }, { hold: 10, duration: 5s } ] }\n";
        let loaded = Scenario::from_text("test.yaml", Path::new("."), yaml, &Overrides::default());
        let scenario = loaded.expect("a scenario").scenario;
        compile(&scenario, Segment::WHOLE, &mut |_, _| Ok(0.0)).expect("a plan")
    }

    fn at(tenths: u64, deed: Deed) -> Event {
        Event { n: 0, at: Nanos(tenths * 100_000_000), deed, stage: 0 }
    }

    #[test]
    fn the_same_events_make_the_same_plan_and_another_makes_another() {
        let rate = Deed::Rate(Tps::per_second(250));
        let events = [at(20, Deed::Pause), at(50, Deed::Resume), at(60, rate), at(90, Deed::Stop)];
        let changed = plan().with_events(&events).expect("a plan");
        // 200 before the pause, 100 until the sixth second, 250 TPS for the 7 s that are left of the stage, and 50.
        assert_eq!(changed.total(), Some(200 + 100 + 1750 + 50));
        assert_eq!(changed.end(), Some(Nanos::from_secs(18)));
        assert_eq!(changed.stages[0].totals.scheduled, 2050);
        let step_by_step = plan()
            .changed(events[0].at, Change::Pause(Nanos::from_secs(3)))
            .changed(events[2].at, Change::Rate(Tps::per_second(250)));
        assert_eq!(changed.fingerprint, step_by_step.fingerprint);
        assert_ne!(changed.fingerprint, plan().fingerprint);
        let earlier = [at(20, Deed::Pause), at(50, Deed::Resume), at(59, rate)];
        assert_ne!(plan().with_events(&earlier).expect("a plan").fingerprint, changed.fingerprint);
    }

    #[test]
    fn a_pause_that_was_not_ended_and_a_stop_change_nothing() {
        let changed = plan().with_events(&[at(20, Deed::Pause), at(200, Deed::Stop)]).expect("a plan");
        assert_eq!((changed.total(), &changed.fingerprint), (plan().total(), &plan().fingerprint));
        assert_eq!(changed.events, []);
    }

    #[test]
    fn a_stop_may_be_earlier_than_a_change_that_was_to_hold_in_a_moment() {
        let rate = at(31, Deed::Rate(Tps::per_second(250)));
        let changed = plan().with_events(&[rate, at(30, Deed::Stop)]).expect("a plan");
        assert_eq!(changed.fingerprint, plan().with_events(&[rate]).expect("a plan").fingerprint);
        assert_eq!(changed.events, [rate]);
    }

    #[test]
    fn what_was_done_at_the_instant_of_a_pause_that_was_not_ended_is_done_again() {
        let rate = at(20, Deed::Rate(Tps::per_second(250)));
        let changed = plan().with_events(&[rate, at(20, Deed::Pause)]).expect("a plan");
        assert_eq!(changed.events, [rate]);
        let shifted = [at(10, Deed::Pause), at(20, Deed::Resume)];
        let changed = plan().with_events(&[shifted[0], shifted[1], at(20, Deed::Pause)]).expect("a plan");
        assert_eq!(changed.events, shifted);
    }

    #[test]
    fn a_stop_is_no_change_of_which_there_may_be_only_so_many() {
        let mut events = vec![at(1, Deed::Rate(Tps::per_second(1))); MAX_EVENTS];
        events.push(at(1, Deed::Stop));
        assert_eq!(plan().with_events(&events).expect("a plan").events.len(), MAX_EVENTS);
    }

    #[test]
    fn events_that_no_run_has_are_refused() {
        let rate = Deed::Rate(Tps::per_second(1));
        for wrong in [
            &[at(20, Deed::Resume)][..],
            &[at(20, Deed::Pause), at(30, Deed::Pause)],
            &[at(20, Deed::Pause), at(30, rate)],
            &[at(20, rate), at(10, rate)],
            &[at(150, rate)],
        ] {
            assert!(matches!(plan().with_events(wrong), Err(Error::Misplaced(..))), "{wrong:?}");
        }
        let many = vec![at(1, rate); MAX_EVENTS + 1];
        assert_eq!(plan().with_events(&many).expect_err("refused"), Error::TooMany(MAX_EVENTS + 1));
    }
}
