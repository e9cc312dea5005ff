//! What is known of a run while it goes: plain data that becomes JSON and is read back from it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::Outcome;
use crate::live::{BOUNDS_US, MAX_CHANGES};

/// How requests can end, in the order in which they are counted.
pub const OUTCOMES: [Outcome; Outcome::ALL.len()] = Outcome::ALL;

/// How no request of a second ends: what a run has not reached is known when it is over.
pub const OF_NO_SECOND: Outcome = Outcome::NotReached;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LivePhase)]
pub enum Phase {
    /// It connects, reads records ahead, and so on: time zero is still to come.
    #[default]
    Starting,
    /// It sends.
    Running,
    /// It has been told to send nothing for now.
    Paused,
    /// It sends nothing more, and waits for what is in flight or writes its files.
    Stopping,
    /// It is over.
    Ended,
}

/// What changes only where the plan of a run is changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveFacts)]
pub struct Facts {
    /// Its name, which is that of its folder too.
    pub run_id: String,
    /// The name of the scenario.
    pub scenario: String,
    /// The fingerprint of its plan, another one once the run was changed.
    pub plan: String,
    /// The same as the run began, which stays.
    #[serde(default)]
    pub plan_at_start: String,
    /// Every random choice follows from it. As text, since not every reader of JSON knows whole numbers above 2^53.
    pub seed: String,
    /// The part of the plan that this process sends, from 0, and of how many.
    pub segment: String,
    /// Whether users send (closed model), and not a schedule.
    pub closed: bool,
    /// When it began, in UTC; empty before time zero.
    pub started_at: String,
    /// The same in nanoseconds since 1970; 0 before time zero.
    pub started_ns: u64,
    /// Requests that the plan has; null where only time ends it.
    pub planned: Option<u64>,
    /// How long it sends; null where only the number of requests ends it.
    pub planned_s: Option<f64>,
    /// The stages in their order.
    pub stages: Vec<Stage>,
    /// Where it leaves its files.
    pub folder: String,
    /// Whether there will be a `report.html`.
    pub has_report: bool,
    /// Which run of a series it is, from 1; 1 where there is one.
    pub turn: u64,
    /// How many runs the series has.
    pub turns: u64,
    /// Whether it can be paused and given another rate. Any run can be stopped.
    pub can_change: bool,
}

/// A stage of the load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveStage)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// When it begins, in seconds from time zero.
    pub start_s: f64,
    /// When it ends; null where that is not known.
    pub end_s: Option<f64>,
    /// Sent, but outside of the statistics.
    pub warmup: bool,
}

/// The numbers of the moment, from the gauges of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveNow)]
pub struct Now {
    /// Since time zero.
    pub elapsed_s: f64,
    /// The stage, from 0.
    pub stage: usize,
    /// Requests that have come due.
    pub due: u64,
    /// Requests sent.
    pub sent: u64,
    /// Responses matched.
    pub matched: u64,
    /// Requests that failed or timed out.
    pub failed: u64,
    /// Requests dropped.
    pub dropped: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests per second that are planned now; 0 in the closed model.
    pub rate_planned: f64,
    /// Requests per second that are sent now.
    pub rate_actual: f64,
    /// Processor time that the workers have used, in seconds.
    pub worker_cpu_s: f64,
}

/// How latencies lie. Times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveSpread)]
pub struct Spread {
    /// Samples.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Spread {
    /// Of two times together, what is known without their samples: the worse of each figure.
    pub(super) fn worse(self, other: Spread) -> Spread {
        Spread {
            count: self.count + other.count,
            p50_us: self.p50_us.max(other.p50_us),
            p90_us: self.p90_us.max(other.p90_us),
            p99_us: self.p99_us.max(other.p99_us),
            max_us: self.max_us.max(other.max_us),
        }
    }
}

/// What happened to the requests that were due in one second, or in the seconds that are joined to one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LivePoint)]
pub struct Point {
    /// When it begins, in seconds of the schedule.
    pub second: u64,
    /// Of how many seconds it is made: the last point may have fewer than `step_s`.
    pub seconds: u64,
    /// The stage it begins in, from 0.
    pub stage: usize,
    /// Requests that the plan has here; 0 in the closed model.
    pub planned: u64,
    /// Requests that came due.
    pub scheduled: u64,
    /// Requests sent.
    pub sent: u64,
    /// Responses matched.
    pub matched: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that timed out.
    pub timed_out: u64,
    /// Requests dropped.
    pub dropped: u64,
    /// Responses that were errors.
    pub error_replies: u64,
    /// Requests in flight at its end.
    pub in_flight: u64,
    /// Connections open at its end.
    pub connections: u64,
    /// Connections opened since the point before.
    pub opened: u64,
    /// Received minus intended. Of joined seconds, each figure is that of the worst second.
    pub response_time: Spread,
    /// Received minus sent.
    pub service_time: Spread,
    /// Sent minus intended.
    pub lag: Spread,
}

impl Point {
    /// This point and the one behind it as one.
    pub(super) fn and(self, next: Point) -> Point {
        Point {
            second: self.second,
            seconds: self.seconds + next.seconds,
            stage: self.stage,
            planned: self.planned + next.planned,
            scheduled: self.scheduled + next.scheduled,
            sent: self.sent + next.sent,
            matched: self.matched + next.matched,
            failed: self.failed + next.failed,
            timed_out: self.timed_out + next.timed_out,
            dropped: self.dropped + next.dropped,
            error_replies: self.error_replies + next.error_replies,
            in_flight: next.in_flight,
            connections: next.connections,
            opened: self.opened + next.opened,
            response_time: self.response_time.worse(next.response_time),
            service_time: self.service_time.worse(next.service_time),
            lag: self.lag.worse(next.lag),
        }
    }
}

/// Samples by how long they took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveLatencyCounts)]
pub struct LatencyCounts {
    /// How many lie at or below each of the bounds and above the one before; the last is for all that are longer.
    pub buckets: Vec<u64>,
    /// All samples added up, in seconds.
    pub sum_s: f64,
}

impl LatencyCounts {
    /// Samples.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what was counted elsewhere.
    pub(super) fn add(&mut self, buckets: &[u64; BOUNDS_US.len() + 1], sum_s: f64) {
        self.buckets.resize(BOUNDS_US.len() + 1, 0);
        for (mine, theirs) in self.buckets.iter_mut().zip(buckets) {
            *mine += theirs;
        }
        self.sum_s += sum_s;
    }
}

/// What has been counted in a stage so far: that of all its seconds whose requests have ended. A second belongs to the
/// stage in which it begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveCounts)]
pub struct Counts {
    /// Requests that came due.
    pub scheduled: u64,
    /// Requests sent.
    pub sent: u64,
    /// How requests ended: matched, reset, eof, protocol, refused, timed_out, late, overload, no_record, script,
    /// stopped, not_reached.
    pub outcomes: Vec<u64>,
    /// Responses that were errors.
    pub error_replies: u64,
    /// Received minus intended.
    pub response_time: LatencyCounts,
    /// Received minus sent.
    pub service_time: LatencyCounts,
    /// Sent minus intended.
    pub lag: LatencyCounts,
}

/// How many requests took so long so far, warm-up left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveBar)]
pub struct Bar {
    /// The shortest, in microseconds.
    pub from_us: f64,
    /// Shorter than this.
    pub to_us: f64,
    /// By their response time.
    pub response_time: u64,
    /// By their service time.
    pub service_time: u64,
    /// By their lag.
    pub lag: u64,
}

/// A point of the three spectra so far, warm-up left out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LivePercentile)]
pub struct Percentile {
    /// From 0 to 100.
    pub percentile: f64,
    /// The response time at it, in microseconds.
    pub response_time_us: u64,
    /// The service time at it.
    pub service_time_us: u64,
    /// The lag at it.
    pub lag_us: u64,
}

/// Whether a threshold holds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LiveThresholdState)]
pub enum ThresholdState {
    /// Nothing is known yet: nothing was measured, or it is looked at when the run is over.
    #[default]
    Open,
    /// It holds so far.
    Holds,
    /// It does not.
    Broken,
}

/// What has to hold, and how it stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveThreshold)]
pub struct Threshold {
    /// Its condition as it was written.
    pub check: String,
    /// Its other terms in words; empty where it has none.
    pub terms: String,
    /// How it stands.
    pub state: ThresholdState,
    /// What was measured so far, in words.
    pub found: String,
}

/// What somebody has changed while the run went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveChange)]
pub struct Change {
    /// From when on it holds, in seconds from time zero.
    pub at_s: f64,
    /// `pause`, `resume`, `rate` or `stop`.
    pub action: String,
    /// The rate, where it was that.
    pub rate: Option<f64>,
}

/// Connections that have ended for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveClosed)]
pub struct Closed {
    /// Why.
    pub end: String,
    /// How many.
    pub count: u64,
}

/// How a run has ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = LiveEnd)]
pub struct End {
    /// Whether it passed.
    pub passed: bool,
    /// One word for it.
    pub outcome: String,
    /// The exit code.
    pub exit_code: u8,
    /// Why, in a sentence; empty when it passed.
    pub reason: String,
    /// What is to be doubted.
    pub warnings: Vec<String>,
}

/// Everything that is known of a run. Cheap to clone: who looks takes one, and holds nobody up.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What does not change.
    pub facts: Arc<Facts>,
    /// Where it stands.
    pub phase: Phase,
    /// The numbers of the moment.
    pub now: Now,
    /// The three latencies so far, warm-up left out: response time, service time, lag.
    pub latencies: [Spread; 3],
    /// Seconds that are joined to one point.
    pub step_s: u64,
    /// The seconds of the schedule whose requests have all ended.
    pub points: Arc<Vec<Point>>,
    /// What was counted in each stage so far.
    pub counts: Arc<Vec<Counts>>,
    /// How many requests took how long.
    pub histogram: Arc<Vec<Bar>>,
    /// Percentiles that come nearer and nearer to 100.
    pub spectrum: Arc<Vec<Percentile>>,
    /// How many connections have ended, by why.
    pub ends: Arc<Vec<Closed>>,
    /// How the thresholds stand.
    pub thresholds: Arc<Vec<Threshold>>,
    /// What was changed.
    pub changes: Arc<Vec<Change>>,
    /// How it has ended; `None` until then.
    pub end: Option<Arc<End>>,
    /// Whether nothing follows: no other run of a series either.
    pub over: bool,
}

/// What somebody has seen of a run: which one, its step, and how many points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    run_id: String,
    step_s: u64,
    points: usize,
}

/// A run as it is told: everything, but of the points only those that were not told before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Live)]
pub struct View {
    /// What does not change.
    pub facts: Facts,
    /// Where it stands.
    pub phase: Phase,
    /// The numbers of the moment.
    pub now: Now,
    /// The response time so far, warm-up left out.
    pub response_time: Spread,
    /// The service time so far.
    pub service_time: Spread,
    /// The lag so far.
    pub lag: Spread,
    /// Seconds of the schedule that are joined to one point.
    pub step_s: u64,
    /// Where `points` belong: they take the place of all points from this one on.
    pub from: usize,
    /// The seconds of the schedule whose requests have all ended.
    pub points: Vec<Point>,
    /// What was counted in each stage.
    pub counts: Vec<Counts>,
    /// How many requests took how long.
    pub histogram: Vec<Bar>,
    /// Percentiles that come nearer and nearer to 100.
    pub spectrum: Vec<Percentile>,
    /// How many connections have ended, by why.
    pub ends: Vec<Closed>,
    /// How the thresholds stand.
    pub thresholds: Vec<Threshold>,
    /// What was changed while it went; the latest two hundred.
    pub changes: Vec<Change>,
    /// How it has ended; null until then.
    pub end: Option<End>,
    /// Whether nothing follows. A series goes on with the next run when one has ended.
    pub over: bool,
}

impl State {
    /// Whether nothing will change any more.
    pub fn has_ended(&self) -> bool {
        self.over
    }

    /// Nothing will be told any more: it ends here, and so, if it has not ended before.
    pub fn conclude(&mut self, end: Option<End>) {
        (self.phase, self.over) = (Phase::Ended, true);
        if self.end.is_none() {
            self.end = end.map(Arc::new);
        }
    }

    /// What is to be told to somebody who has seen so much.
    pub fn view(&self, seen: &mut Seen) -> View {
        let same = seen.run_id == self.facts.run_id && seen.step_s == self.step_s;
        // The last point that was seen may have grown: more seconds are joined to it.
        let from = if same { seen.points.saturating_sub(1).min(self.points.len()) } else { 0 };
        *seen = Seen { run_id: self.facts.run_id.clone(), step_s: self.step_s, points: self.points.len() };
        let [response_time, service_time, lag] = self.latencies;
        View {
            facts: Facts::clone(&self.facts),
            phase: self.phase,
            now: self.now,
            response_time,
            service_time,
            lag,
            step_s: self.step_s,
            from,
            points: self.points.get(from..).unwrap_or_default().to_vec(),
            counts: self.counts.to_vec(),
            histogram: self.histogram.to_vec(),
            spectrum: self.spectrum.to_vec(),
            ends: self.ends.to_vec(),
            thresholds: self.thresholds.to_vec(),
            changes: self.changes.to_vec(),
            end: self.end.as_deref().cloned(),
            over: self.over,
        }
    }

    /// Takes in what was told by another process. Points that do not fit behind those that are there are left out.
    pub fn take(&mut self, view: View) {
        let points = Arc::make_mut(&mut self.points);
        if view.from <= points.len() {
            points.truncate(view.from);
            points.extend(view.points);
            points.truncate(super::POINTS);
        }
        let mut changes = view.changes;
        changes.truncate(MAX_CHANGES);
        self.facts = Arc::new(view.facts);
        self.phase = view.phase;
        self.now = view.now;
        self.latencies = [view.response_time, view.service_time, view.lag];
        self.step_s = view.step_s;
        self.counts = Arc::new(view.counts);
        self.histogram = Arc::new(view.histogram);
        self.spectrum = Arc::new(view.spectrum);
        self.ends = Arc::new(view.ends);
        self.thresholds = Arc::new(view.thresholds);
        self.changes = Arc::new(changes);
        self.end = view.end.map(Arc::new);
        self.over = view.over;
    }
}
