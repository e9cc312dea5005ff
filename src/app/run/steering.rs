//! Steering: carries out what a run is asked while it goes.
//!
//! 1. A change holds from a whole millisecond on that lies ahead: what is due before is as it was, and all threads know
//!    of it by then ([`Course`]). Where that cannot be had, it is tried again with more time.
//! 2. A pause is a change to a plan in which the rest is due when nobody waits any more; going on makes of it a pause
//!    of the length that it had.
//! 3. What changes due times is refused where somebody else would not know of it: the other machines of a segment, or
//!    the run that a replay repeats, or the others that a run is held against. Stopping is always possible.
//! 4. Each event is in the plan, and the plan of the reports is the one that it was in the end.

use std::sync::Arc;

use crate::app::run::Run;
use crate::app::run::collect::Collected;
use crate::clock::Clock;
use crate::engine::Cause;
use crate::plan::Plan;
use crate::plan::course::{Course, LEAD, Missed};
use crate::plan::events::{Deed, Event, MAX_EVENTS};
use crate::plan::keys::Order;
use crate::plan::schedule::Change;
use crate::recorder::summary::EventRow;
use crate::report;
use crate::report::events;
use crate::scenario::schema::{OnExhausted, Scenario};
use crate::steer::{Answer, Ask, Asked, Done, Helm, Refused, Steering, helm};
use crate::units::{Nanos, Tps};

/// How many times longer the lead is with each attempt.
const LEADS: [u64; 4] = [1, 4, 16, 64];

/// What must be left of the lead when a change is known.
const MARGIN: Nanos = Nanos(LEAD.0 / 2);

/// Questions that are answered at once. More wait for the next turn: a run has other things to do.
const AT_ONCE: usize = 16;

const MILLISECOND: u64 = 1_000_000;

/// What is said to who asks for a change before time zero.
pub(super) const NOT_BEGUN: &str =
    "the run has not begun to send: ask again when it does; it can be stopped by now";

/// How a run is steered.
#[derive(Debug)]
pub(super) struct Wheel {
    /// `None` when nothing is answered any more.
    helm: Option<Helm>,
    /// The schedule as all threads see it; `None` in the closed model.
    pub course: Option<Arc<Course>>,
    /// Why nothing but to stop can be asked.
    fixed: Option<&'static str>,
    /// The most requests that there are records for, where that is a bound.
    records: Option<u64>,
    /// Since when it is paused, and the plan as it looks until it goes on.
    paused: Option<(Nanos, Plan)>,
}

impl Wheel {
    /// For a run of a plan. `fixed`: why it must go as it was planned, where that does not follow from the plan.
    pub(super) fn new(plan: &Plan, scenario: &Scenario, fixed: Option<&'static str>) -> (Steering, Wheel) {
        let (steering, helm) = helm();
        let fixed = fixed_by(plan).or(fixed);
        let course = plan.closed.is_none().then(|| Course::new(plan.schedule.clone(), fixed.is_none()));
        let exhausts = matches!(plan.keys.order(), Order::Sequential | Order::Shuffle);
        let bound = exhausts && scenario.records.on_exhausted == OnExhausted::Fail;
        let wheel = Wheel {
            helm: Some(helm),
            course: course.map(Arc::new),
            fixed,
            records: bound.then(|| plan.keys.count()),
            paused: None,
        };
        (steering, wheel)
    }

    /// For a run that is over before anybody could ask for another.
    pub(super) fn of_simulation() -> (Steering, Wheel) {
        let (steering, helm) = helm();
        let fixed = Some("this is a simulation, which goes as it was planned; it can only be stopped");
        (steering, Wheel { helm: Some(helm), course: None, fixed, records: None, paused: None })
    }

    /// Whether anything but to stop can be asked.
    pub(super) fn can_change(&self) -> bool {
        self.fixed.is_none()
    }

    fn asked(&self) -> Option<Asked> {
        self.helm.as_ref().and_then(Helm::asked)
    }

    /// From now on whoever asks is told that the run has ended.
    pub(super) fn let_go(&mut self) {
        self.helm = None;
    }
}

fn fixed_by(plan: &Plan) -> Option<&'static str> {
    if plan.closed.is_some() {
        return Some("in the closed model users decide when requests are sent; it can only be stopped");
    }
    if plan.segment.of() > 1 {
        return Some("this is a segment, and the other machines would not know; it can only be stopped");
    }
    if plan.only.is_some() || !plan.events.is_empty() || plan.schedule.is_at_another_speed() {
        return Some("this is a replay, which does what the first run did; it can only be stopped");
    }
    None
}

/// Makes a plan that is changed from an instant on.
type Make<'a> = &'a dyn Fn(Nanos) -> Result<Plan, Refused>;

impl Run {
    /// The plan as it looks now: while the run is paused, one in which nothing more is due.
    pub(super) fn plan_now(&self) -> &Plan {
        self.wheel.paused.as_ref().map_or(&self.prepared.plan, |(_, held)| held)
    }

    /// Whether nothing is sent for now.
    pub(super) fn is_paused(&self) -> bool {
        self.wheel.paused.is_some()
    }

    /// Since when, or from when on, nothing is sent for now.
    pub(super) fn paused_since(&self) -> Option<Nanos> {
        self.wheel.paused.as_ref().map(|(since, _)| *since)
    }

    /// Carries out what was asked since.
    pub(super) fn heed(&mut self, clock: &Clock, collected: &mut Collected) {
        for _ in 0..AT_ONCE {
            let Some(Asked { ask, answer }) = self.wheel.asked() else { return };
            // Who was told that the run is busy is told the truth: it is not done later all the same.
            if answer.is_closed() {
                continue;
            }
            let done = self.carry(ask, clock, collected);
            if let Ok(done) = done {
                self.ui.changed(done, self.plan_now(), self.is_paused());
            }
            // Who does not wait for the answer does not want it.
            let _ = answer.send(done);
        }
    }

    /// Before time zero there is no instant from which a change could hold. Whether the run was asked to stop.
    pub(super) fn heed_before_start(&self) -> bool {
        for _ in 0..AT_ONCE {
            let Some(Asked { ask, answer }) = self.wheel.asked() else { return false };
            let is_stop = ask == Ask::Stop && !answer.is_closed();
            let done = match is_stop {
                true => Ok(Done { ask, at: Nanos::ZERO }),
                false => Err(senseless(NOT_BEGUN)),
            };
            // Who does not wait for the answer does not want it.
            let _ = answer.send(done);
            if is_stop {
                self.interrupts.stop();
                return true;
            }
        }
        false
    }

    fn carry(&mut self, ask: Ask, clock: &Clock, collected: &mut Collected) -> Answer {
        if self.control.is_draining() {
            return Err(Refused::Ended);
        }
        let is_paused = self.wheel.paused.is_some();
        let room = MAX_EVENTS.saturating_sub(self.prepared.plan.events.len());
        let needed = match ask {
            // Whoever pauses it may let it go on.
            Ask::Pause => 2,
            Ask::Rate(_) => 1,
            Ask::Resume | Ask::Stop => 0,
        };
        let (at, deed) = match ask {
            Ask::Stop => (self.stop(clock, collected), Deed::Stop),
            _ if !is_paused && room < needed => {
                return Err(senseless(format!("a run can be changed at most {MAX_EVENTS} times")));
            }
            Ask::Pause if is_paused => return Err(senseless("the run is paused already")),
            Ask::Pause => (self.pause(clock)?, Deed::Pause),
            Ask::Resume => (self.resume(clock)?, Deed::Resume),
            Ask::Rate(_) if is_paused => {
                return Err(senseless("the run is paused: let it go on first, and then change the rate"));
            }
            Ask::Rate(rate) => (self.set_rate(clock, rate)?, Deed::Rate(rate)),
        };
        let event = self.plan_now().event(at, deed);
        self.note(event, collected);
        Ok(Done { ask, at })
    }

    fn stop(&self, clock: &Clock, collected: &mut Collected) -> Nanos {
        collected.stopped = true;
        self.interrupts.stop();
        self.control.drain(Cause::Stopped);
        self.now(clock)
    }

    fn pause(&mut self, clock: &Clock) -> Result<Nanos, Refused> {
        let plan = &self.prepared.plan;
        let (at, held) = self.change(clock, &|at| match at < plan.schedule.end() {
            true => Ok(plan.held(at)),
            false => Err(Refused::Ended),
        })?;
        self.wheel.paused = Some((at, held));
        Ok(at)
    }

    fn resume(&mut self, clock: &Clock) -> Result<Nanos, Refused> {
        let Some(since) = self.paused_since() else { return Err(senseless("the run is not paused")) };
        let plan = &self.prepared.plan;
        let (at, next) =
            self.change(clock, &|at| Ok(plan.changed(since, Change::Pause(Nanos(at.0 - since.0)))))?;
        (self.prepared.plan, self.wheel.paused) = (next, None);
        Ok(at)
    }

    fn set_rate(&mut self, clock: &Clock, rate: Tps) -> Result<Nanos, Refused> {
        if rate > Tps::MAX {
            return Err(senseless(format!(
                "{rate} per second is above the limit of {} per second",
                Tps::MAX
            )));
        }
        let (plan, records) = (&self.prepared.plan, self.wheel.records);
        let (at, next) = self.change(clock, &|at| {
            if at >= plan.schedule.end() {
                return Err(Refused::Ended);
            }
            let next = plan.changed(at, Change::Rate(rate));
            let needed = next.schedule.total();
            match records {
                Some(records) if needed > records => Err(senseless(format!(
                    "{needed} requests would be sent, there are {records} records, and records.on_exhausted is `fail`"
                ))),
                _ => Ok(next),
            }
        })?;
        self.prepared.plan = next;
        Ok(at)
    }

    /// Makes a change known to all threads before it holds.
    fn change(&self, clock: &Clock, make: Make<'_>) -> Result<(Nanos, Plan), Refused> {
        let course = match (&self.wheel.course, self.wheel.fixed) {
            (Some(course), None) => course,
            (_, fixed) => return Err(senseless(fixed.unwrap_or("the load has no schedule"))),
        };
        // No change is earlier than the one before, whose lead may have been longer.
        let since = self.paused_since().map_or(Nanos::ZERO, |at| Nanos(at.0 + MILLISECOND));
        let settled = self.prepared.plan.schedule.settled().max(since);
        for times in LEADS {
            let ahead = clock.now().0 + LEAD.0 * times;
            let at = Nanos(ahead.next_multiple_of(MILLISECOND)).max(settled);
            let next = make(at)?;
            match course.change(next.schedule.clone(), || clock.now().0 + MARGIN.0 <= at.0) {
                Ok(()) => return Ok((at, next)),
                Err(Missed::Closed) => return Err(Refused::Ended),
                Err(Missed::Late) => {}
            }
        }
        Err(senseless("the machine is too busy to change the run at an instant that lies ahead: try again"))
    }

    /// Writes an event down, and lets everything know that follows the plan. What is written is whole, so that a run
    /// that is killed can be replayed with all that was done to it.
    fn note(&mut self, event: Event, collected: &mut Collected) {
        self.prepared.plan.events.push(event);
        for written in self.keep_events() {
            self.or_drain(written, collected);
        }
        collected.follow(self.plan_now());
        let (plan, is_paused) = (self.plan_now().clone(), self.wheel.paused.is_some());
        if let Some(progress) = &mut self.progress {
            progress.follow(&plan, is_paused);
        }
    }

    /// Writes what follows from events: what was done so far, and the plan that comes of it.
    pub(super) fn keep_events(&self) -> Vec<Result<(), report::Error>> {
        let plan = &self.prepared.plan;
        if plan.events.is_empty() {
            return Vec::new();
        }
        vec![
            self.folder.write(events::NAME, &events::csv(&event_rows(plan))),
            self.folder.write(report::PLAN, self.plan_json().as_bytes()),
        ]
    }
}

/// What was done to a run, for its reports.
pub(super) fn event_rows(plan: &Plan) -> Vec<EventRow> {
    let rows = plan.events.iter().map(|event| EventRow {
        n: event.n,
        at: event.at,
        event: event.deed.word().into(),
        rate: match event.deed {
            Deed::Rate(rate) => Some(rate),
            _ => None,
        },
        stage: plan.stages.get(event.stage).map(|stage| stage.name.clone()).unwrap_or_default(),
    });
    rows.collect()
}

fn senseless(why: impl Into<String>) -> Refused {
    Refused::Senseless(why.into())
}
