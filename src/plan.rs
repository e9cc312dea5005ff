//! Plan: what will happen, before anything happens.
//!
//! [`compile::compile`] turns a scenario into a [`Plan`]: due times, records, stages, connections and
//! limits. A plan is pure and immutable: it does no I/O and reads no clock, and `--dry-run` prints it.

pub mod closed;
pub mod compile;
pub mod connections;
pub mod course;
pub mod events;
pub mod fingerprint;
pub mod keys;
pub mod mix;
mod poisson;
pub mod preflight;
pub mod replay;
pub mod schedule;
pub mod search;
pub mod segment;
pub mod thresholds;

use std::sync::Arc;

use crate::plan::closed::Closed;
use crate::plan::connections::{Connections, Expected};
use crate::plan::events::Event;
use crate::plan::keys::Keys;
use crate::plan::mix::Mix;
use crate::plan::schedule::{Schedule, StageTotals};
use crate::plan::segment::{Segment, Share};
use crate::plan::thresholds::Threshold;
use crate::units::{NANOS_PER_SEC, Nanos, Tps};

/// One stage as it will happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name: from the scenario, or its kind and number.
    pub name: String,
    /// `hold`, `ramp`, `step`, `sine`, `pause` or `lua`; `closed` for the one stage of the closed model.
    pub kind: &'static str,
    /// The rate at its start.
    pub from: Tps,
    /// The rate at its end.
    pub to: Tps,
    /// Sent, but outside of the statistics.
    pub warmup: bool,
    /// Start, end and counts over all segments.
    pub totals: StageTotals,
}

impl Stage {
    /// How long it lasts.
    pub fn duration(&self) -> Nanos {
        Nanos(self.totals.end.0 - self.totals.start.0)
    }
}

/// What will happen.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The scenario's name.
    pub name: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// When each request is due; empty in the closed model.
    pub schedule: Arc<Schedule>,
    /// Who sends in the closed model; `None` in the open one.
    pub closed: Option<Closed>,
    /// Which record each request sends.
    pub keys: Arc<Keys>,
    /// Of which kind each request is.
    pub mix: Arc<Mix>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// What must hold for the run to pass.
    pub thresholds: Vec<Threshold>,
    /// The part of the plan that this process sends.
    pub segment: Segment,
    /// The connections, over all segments.
    pub connections: Connections,
    /// The only requests that are sent, in rising order; all of the segment where it is `None`.
    pub only: Option<Arc<[u64]>>,
    /// What was done to the run while it went; all of it is in the schedule already.
    pub events: Vec<Event>,
    /// A hash from which it shows whether two plans have the same due times and keys.
    pub fingerprint: String,
    /// The same without what the seed draws, before anything was done to the run: [`Plan::load`].
    pub(in crate::plan) undrawn: String,
}

/// What a segment sends in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageShare {
    /// Requests.
    pub scheduled: u64,
    /// When the first and the last are due, if there are any.
    pub due: Option<(Nanos, Nanos)>,
}

impl Plan {
    /// A hash that is the same for plans that differ in nothing but what their seeds draw; `None` of a run that was
    /// changed while it went, which is no load that was asked for.
    pub fn load(&self) -> Option<&str> {
        self.events.is_empty().then_some(self.undrawn.as_str())
    }

    /// Requests that this segment sends; 0 where only time ends a closed load.
    pub fn scheduled(&self) -> u64 {
        match &self.only {
            Some(only) => only.len() as u64,
            None => self.segment.count(self.total().unwrap_or(0)),
        }
    }

    /// Requests over all segments; `None` where only time ends a closed load.
    pub fn total(&self) -> Option<u64> {
        match &self.closed {
            None => Some(self.schedule.total()),
            Some(closed) => closed.total(),
        }
    }

    /// When nothing new begins any more; `None` where a number of requests ends a closed load.
    pub fn end(&self) -> Option<Nanos> {
        match &self.closed {
            None => Some(self.schedule.end()),
            Some(closed) => closed.end(),
        }
    }

    /// The requests of one worker of this segment.
    pub fn share(&self, worker: u64, workers: u64) -> Share {
        let (segment, slots) = (self.segment, self.connections.count);
        match &self.closed {
            None => {
                let share = Share::new(self.schedule.total(), segment, slots, worker, workers);
                share.only(self.only.clone())
            }
            Some(closed) => Share::of_users(closed.below(), segment, closed.users, slots, worker, workers),
        }
    }

    /// Connections that this segment opens, if none fails. In the closed model those of a run in which
    /// all users send equally often: a fast one may need more, another less.
    pub fn expected_connections(&self) -> Expected {
        match &self.closed {
            None => self.connections.expected(self.schedule.total(), self.segment),
            Some(closed) => self.connections.expected_of_users(closed, self.segment),
        }
    }

    /// What this segment sends in a stage.
    pub fn share_of(&self, stage: &Stage) -> StageShare {
        if self.closed.is_some() {
            return StageShare { scheduled: self.scheduled(), due: None };
        }
        let (first, end) = (stage.totals.first, stage.totals.first + stage.totals.scheduled);
        let before = self.count_below(first);
        let scheduled = self.count_below(end) - before;
        let number = |nth: u64| match &self.only {
            Some(only) => only[nth as usize],
            None => self.segment.index() + nth * self.segment.of(),
        };
        let due = scheduled
            .checked_sub(1)
            .map(|last| (self.schedule.due_at(number(before)), self.schedule.due_at(number(before + last))));
        StageShare { scheduled, due }
    }

    /// How many of the requests `0..end` this segment sends.
    fn count_below(&self, end: u64) -> u64 {
        match &self.only {
            Some(only) => only.partition_point(|&n| n < end) as u64,
            None => self.segment.count(end),
        }
    }

    /// What this segment is to send in one second of the schedule; 0 in the closed model, which plans none.
    pub fn due_in_second(&self, second: u64) -> u64 {
        self.due_in_seconds(second, second.saturating_add(1))
    }

    /// The same for the seconds from one to before another.
    pub fn due_in_seconds(&self, from: u64, to: u64) -> u64 {
        let before = |second: u64| {
            let at = Nanos(second.saturating_mul(NANOS_PER_SEC));
            self.count_below(self.schedule.due_before(at))
        };
        before(to).saturating_sub(before(from))
    }

    /// The highest rate of any stage.
    pub fn peak(&self) -> Tps {
        self.stages.iter().map(|stage| stage.totals.peak).max().unwrap_or(Tps::ZERO)
    }

    /// The mean rate over the whole plan, for display.
    pub fn mean_tps(&self) -> f64 {
        let seconds = self.schedule.end().as_secs_f64();
        if seconds > 0.0 { self.scheduled() as f64 / seconds } else { 0.0 }
    }

    /// The rate in `parts` equal parts of the plan, for a picture of it.
    pub fn rate_curve(&self, parts: u64) -> Vec<Tps> {
        let end = u128::from(self.schedule.end().0);
        let middle = |part: u64| (end * u128::from(2 * part + 1) / u128::from(2 * parts)) as u64;
        (0..parts).map(|part| self.schedule.rate_at(Nanos(middle(part)))).collect()
    }
}
