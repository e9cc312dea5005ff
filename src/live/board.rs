//! Board: where the collector writes down how its run stands, for others to read.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::sync::watch;

use crate::clock::Stopwatch;
use crate::ledger::Outcome;
use crate::live::state::{
    Bar, Change, Closed, Counts, End, Facts, LatencyCounts, Now, Percentile, Phase, Point, Spread, Stage,
    State, Threshold, ThresholdState,
};
use crate::live::{BOUNDS_US, MAX_CHANGES, MAX_STAGES, MAX_TEXT, OUTCOMES, POINTS};
use crate::plan::Plan;
use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::recorder::shard::Window;
use crate::recorder::summary::{SecondRow, Summary, ThresholdRow};
use crate::report::figures::{found, plain};
use crate::report::{health, saved, timestamp};
use crate::units::NANOS_PER_SEC;

/// The time between two states, unless something happens that cannot wait.
const EVERY: Duration = Duration::from_secs(1);

/// How often the distribution is made anew: it takes some milliseconds.
const DISTRIBUTION_EVERY: Duration = Duration::from_secs(2);

/// The most seconds that are filled in at once, where nothing was due for long: 30 days.
const MAX_SECONDS: u64 = 30 * 86_400;

/// What the collector knows at a tick.
#[derive(Debug)]
pub struct Moment {
    /// Where the run stands.
    pub phase: Phase,
    /// The numbers of the gauges.
    pub now: Now,
    /// Why connections have ended so far, and how many.
    pub ends: Vec<(&'static str, u64)>,
    /// How the thresholds stand; nothing was measured where that is not yet known.
    pub thresholds: Vec<ThresholdRow>,
}

/// The state of a run in the making. The collector owns it.
#[derive(Debug)]
pub struct Board {
    states: watch::Sender<State>,
    state: State,
    /// All that counts so far.
    latencies: Latencies,
    /// Where stages begin, and which of them are warm-up.
    stages: Vec<(u64, bool)>,
    /// The second that is taken in next.
    next: u64,
    /// Connections that had been opened when the last second was taken in.
    opened: u64,
    told: Stopwatch,
    distributed: Option<Stopwatch>,
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

impl Facts {
    /// What a plan says of its run. The rest is known to who runs it.
    pub fn of(plan: &Plan) -> Facts {
        let seconds = |ns: u64| ns as f64 / NANOS_PER_SEC as f64;
        let stages = plan.stages.iter().map(|stage| Stage {
            name: plain(&stage.name, MAX_TEXT),
            kind: stage.kind.to_string(),
            start_s: seconds(stage.totals.start.0),
            end_s: match plan.closed {
                None => Some(seconds(stage.totals.end.0)),
                Some(_) => plan.end().map(|end| seconds(end.0)),
            },
            warmup: stage.warmup,
        });
        Facts {
            scenario: plan.name.clone(),
            plan: plan.fingerprint.clone(),
            plan_at_start: plan.fingerprint.clone(),
            seed: plan.seed.to_string(),
            segment: plan.segment.to_string(),
            closed: plan.closed.is_some(),
            planned: plan.total().map(|_| plan.scheduled()),
            planned_s: plan.end().map(|end| seconds(end.0)),
            stages: stages.collect(),
            turn: 1,
            turns: 1,
            ..Facts::default()
        }
    }
}

impl Board {
    /// An empty one: nothing has begun.
    pub fn new() -> Board {
        Board {
            states: watch::Sender::new(State::default()),
            state: State::default(),
            latencies: Latencies::default(),
            stages: Vec::new(),
            next: 0,
            opened: 0,
            told: Stopwatch::start(),
            distributed: None,
        }
    }

    /// For somebody who looks.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.states.subscribe()
    }

    /// How the run stands, as far as it was told.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Another run: what was known of the one before is forgotten.
    pub fn begin(&mut self, facts: Facts, plan: &Plan) {
        self.stages = plan.stages.iter().map(|stage| (stage.totals.start.0, stage.warmup)).collect();
        (self.next, self.opened, self.distributed) = (0, 0, None);
        self.latencies.clear();
        let counts = vec![Counts::default(); plan.stages.len().min(MAX_STAGES)];
        self.state =
            State { facts: Arc::new(facts), step_s: 1, counts: Arc::new(counts), ..State::default() };
        self.publish();
    }

    /// Time zero is at this time of the wall clock.
    pub fn started(&mut self, at: SystemTime) {
        let facts = Arc::make_mut(&mut self.state.facts);
        facts.started_at = timestamp(at);
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        facts.started_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.state.phase = Phase::Running;
        self.publish();
    }

    /// The plan has changed while the run goes, in its stages, its total and its end. While it is paused nobody knows
    /// when it will end: what was known before is shown.
    pub fn replanned(&mut self, plan: &Plan, is_paused: bool) {
        self.stages = plan.stages.iter().map(|stage| (stage.totals.start.0, stage.warmup)).collect();
        if is_paused {
            return;
        }
        let now = Facts::of(plan);
        let facts = Arc::make_mut(&mut self.state.facts);
        (facts.stages, facts.planned, facts.planned_s) = (now.stages, now.planned, now.planned_s);
        facts.plan = now.plan;
    }

    /// Somebody has changed something. It is told at once.
    pub fn changed(&mut self, change: Change) {
        let changes = Arc::make_mut(&mut self.state.changes);
        if changes.len() >= MAX_CHANGES {
            changes.remove(0);
        }
        changes.push(change);
        self.publish();
    }

    /// Takes in a second whose requests have all ended, after empty ones for those that were left out.
    pub fn second(&mut self, row: &SecondRow, plan: &Plan) {
        let nothing = Window::default();
        while self.next < row.second.min(MAX_SECONDS) {
            self.point(self.next, &nothing, plan);
        }
        self.point(row.second, &row.window, plan);
    }

    fn point(&mut self, second: u64, window: &Window, plan: &Plan) {
        self.next = second.saturating_add(1);
        let begin = second.saturating_mul(NANOS_PER_SEC);
        let stage = self.stages.partition_point(|(start, _)| *start <= begin).saturating_sub(1);
        let planned = if plan.closed.is_some() { 0 } else { plan.due_in_second(second) };
        // Those that were open at its end had been opened, whenever the gauges were last looked at.
        let opened = self.state.now.opened.max(window.connections).max(self.opened);
        let point = Point {
            second,
            seconds: 1,
            stage,
            planned,
            scheduled: window.scheduled,
            sent: window.sent,
            matched: window.outcomes.of(Outcome::Matched),
            failed: window.outcomes.failed(),
            timed_out: window.outcomes.of(Outcome::TimedOut),
            dropped: window.outcomes.dropped(),
            error_replies: window.error_replies,
            in_flight: window.in_flight,
            connections: window.connections,
            opened: opened.saturating_sub(std::mem::replace(&mut self.opened, opened)),
            response_time: window.latencies.as_deref().map_or(Spread::default(), |l| spread(&l.response)),
            service_time: window.latencies.as_deref().map_or(Spread::default(), |l| spread(&l.service)),
            lag: window.latencies.as_deref().map_or(Spread::default(), |l| spread(&l.lag)),
        };
        add_point(Arc::make_mut(&mut self.state.points), &mut self.state.step_s, point);
        self.count(stage, window);
        let is_warmup = self.stages.get(stage).is_some_and(|(_, warmup)| *warmup);
        if let Some(latencies) = window.latencies.as_deref().filter(|_| !is_warmup) {
            self.latencies.merge(latencies);
        }
    }

    fn count(&mut self, stage: usize, window: &Window) {
        let counts = Arc::make_mut(&mut self.state.counts);
        let last = counts.len().saturating_sub(1);
        let Some(counts) = counts.get_mut(stage.min(last)) else { return };
        counts.scheduled += window.scheduled;
        counts.sent += window.sent;
        counts.outcomes.resize(OUTCOMES.len(), 0);
        for (mine, outcome) in counts.outcomes.iter_mut().zip(OUTCOMES) {
            *mine += window.outcomes.of(outcome);
        }
        counts.error_replies += window.error_replies;
        if let Some(latencies) = window.latencies.as_deref() {
            bucketed(&mut counts.response_time, &latencies.response);
            bucketed(&mut counts.service_time, &latencies.service);
            bucketed(&mut counts.lag, &latencies.lag);
        }
    }

    /// Whether it is time to tell how the run stands.
    pub fn is_due(&self, phase: Phase) -> bool {
        phase != self.state.phase || self.told.elapsed() >= EVERY
    }

    /// Tells how the run stands.
    pub fn tell(&mut self, moment: Moment) {
        self.state.phase = moment.phase;
        self.state.now = moment.now;
        let closed = moment.ends.into_iter().map(|(end, count)| Closed { end: end.to_string(), count });
        self.state.ends = Arc::new(closed.collect());
        self.state.thresholds = Arc::new(moment.thresholds.iter().map(so_far).collect());
        if self.distributed.is_none_or(|since| since.elapsed() >= DISTRIBUTION_EVERY) {
            self.distribute();
        }
        self.publish();
    }

    /// Tells how the run has ended. Its figures are those of the summary.
    pub fn end(&mut self, summary: &Summary) {
        let latencies = &summary.latencies;
        self.latencies.clear();
        self.latencies.merge(latencies);
        self.distribute();
        Arc::make_mut(&mut self.state.facts).plan = summary.plan.clone();
        let verdict = &summary.verdict;
        self.state.thresholds = Arc::new(summary.thresholds.iter().map(at_the_end).collect());
        let ends = summary.connection_ends.iter();
        self.state.ends =
            Arc::new(ends.map(|(end, &count)| Closed { end: end.to_string(), count }).collect());
        let outcomes = &summary.ledger.outcomes;
        let now = &mut self.state.now;
        now.elapsed_s = summary.duration.as_secs_f64();
        now.due = summary.operations();
        now.sent = summary.ledger.sent;
        now.matched = outcomes.of(Outcome::Matched);
        now.failed = outcomes.failed() + outcomes.of(Outcome::TimedOut);
        now.dropped = outcomes.dropped();
        now.opened = summary.connections_opened;
        (now.in_flight, now.connections) = (0, 0);
        (now.rate_planned, now.rate_actual) = (summary.rate_planned(), summary.rate_actual());
        self.ended(End {
            passed: verdict.passed,
            outcome: verdict.word.to_string(),
            exit_code: verdict.exit_code,
            reason: plain(&verdict.reason, MAX_TEXT),
            warnings: health::warnings(summary).iter().map(|text| plain(text, MAX_TEXT)).collect(),
        });
    }

    /// Tells that the run has ended without a summary. One that fails before it has begun takes nothing from the one
    /// before it.
    pub fn failed(&mut self, exit_code: u8, reason: &str) {
        if self.state.end.is_some() {
            return;
        }
        self.ended(End {
            passed: false,
            outcome: "failed".to_string(),
            exit_code,
            reason: plain(reason, MAX_TEXT),
            warnings: Vec::new(),
        });
    }

    fn ended(&mut self, end: End) {
        self.state.phase = Phase::Ended;
        self.state.end = Some(Arc::new(end));
        self.publish();
    }

    /// Nothing follows.
    pub fn close(&mut self) {
        self.state.conclude(None);
        self.publish();
    }

    fn distribute(&mut self) {
        self.distributed = Some(Stopwatch::start());
        let latencies = &self.latencies;
        self.state.latencies = [&latencies.response, &latencies.service, &latencies.lag].map(spread);
        let bars = saved::histogram(latencies).into_iter().map(|bar| Bar {
            from_us: bar.from_us,
            to_us: bar.to_us,
            response_time: bar.response_time,
            service_time: bar.service_time,
            lag: bar.lag,
        });
        self.state.histogram = Arc::new(bars.collect());
        let points = saved::spectrum(latencies).into_iter().map(|point| Percentile {
            percentile: point.percentile,
            response_time_us: point.response_time_us,
            service_time_us: point.service_time_us,
            lag_us: point.lag_us,
        });
        self.state.spectrum = Arc::new(points.collect());
    }

    /// Who reads a state takes a copy and lets go at once, so this waits for nobody.
    fn publish(&mut self) {
        self.told = Stopwatch::start();
        self.states.send_replace(self.state.clone());
    }
}

fn spread(histogram: &Histogram<u64>) -> Spread {
    Spread {
        count: histogram.len(),
        p50_us: percentile_us(histogram, 50.0),
        p90_us: percentile_us(histogram, 90.0),
        p99_us: percentile_us(histogram, 99.0),
        max_us: max_us(histogram),
    }
}

/// Adds a second; where there is no room for another point, two become one everywhere.
fn add_point(points: &mut Vec<Point>, step_s: &mut u64, point: Point) {
    let step = (*step_s).max(1);
    match points.last_mut() {
        Some(last) if point.second / step == last.second / step => *last = last.and(point),
        _ => points.push(point),
    }
    if points.len() > POINTS {
        *step_s = step * 2;
        let mut joined: Vec<Point> = Vec::with_capacity(POINTS);
        for point in points.drain(..) {
            match joined.last_mut() {
                Some(last) if point.second / *step_s == last.second / *step_s => *last = last.and(point),
                _ => joined.push(point),
            }
        }
        *points = joined;
    }
}

/// Sorts samples into buckets by the upper end of what the histogram tells apart, which is 0.1 % wide.
fn bucketed(counts: &mut LatencyCounts, histogram: &Histogram<u64>) {
    let mut buckets = [0u64; BOUNDS_US.len() + 1];
    let mut sum_ns = 0.0;
    for value in histogram.iter_recorded() {
        let (ns, count) = (value.value_iterated_to(), value.count_at_value());
        buckets[BOUNDS_US.partition_point(|bound| bound * 1000 < ns)] += count;
        sum_ns += ns as f64 * count as f64;
    }
    counts.add(&buckets, sum_ns / 1e9);
}

fn so_far(row: &ThresholdRow) -> Threshold {
    let state = match row.measured {
        None => ThresholdState::Open,
        Some(_) if row.passed => ThresholdState::Holds,
        Some(_) => ThresholdState::Broken,
    };
    described(row, state)
}

fn at_the_end(row: &ThresholdRow) -> Threshold {
    described(row, if row.passed { ThresholdState::Holds } else { ThresholdState::Broken })
}

fn described(row: &ThresholdRow, state: ThresholdState) -> Threshold {
    Threshold {
        check: plain(&row.check, MAX_TEXT),
        terms: plain(&row.terms, MAX_TEXT),
        state,
        found: plain(&found(row), MAX_TEXT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::state::Seen;
    use crate::plan::compile::compile;
    use crate::plan::segment::Segment;
    use crate::scenario::{Overrides, Scenario};
    use std::path::Path;

    fn plan() -> Plan {
        let text = "name: t\nload: { stages: [ { name: warm, hold: 10, duration: 2s, warmup: true }, \
                    { name: up, hold: 20, duration: 3h } ] }\n";
        let loaded = Scenario::from_text("t.yaml", Path::new("."), text, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        compile(&loaded.scenario, Segment::WHOLE, &mut |_, _| Ok(0.0)).expect("a plan")
    }

    fn row(second: u64, sent: u64, response_us: u64) -> SecondRow {
        let mut window = Window::default();
        (window.scheduled, window.sent) = (sent, sent);
        window.outcomes.add(Outcome::Matched, sent);
        let mut latencies = Latencies::default();
        latencies.response.saturating_record_n(response_us * 1000, sent);
        latencies.service.saturating_record_n(response_us * 1000, sent);
        latencies.lag.saturating_record_n(1000, sent);
        window.latencies = Some(Box::new(latencies));
        SecondRow { second, window }
    }

    fn moment() -> Moment {
        Moment {
            phase: Phase::Running,
            now: Now::default(),
            ends: vec![("limit", 3)],
            thresholds: Vec::new(),
        }
    }

    #[test]
    fn a_history_of_any_length_is_bounded_and_loses_no_request() {
        let plan = plan();
        let mut board = Board::new();
        board.begin(Facts::of(&plan), &plan);
        let seconds = 2 * POINTS as u64 + 7;
        for second in 0..seconds {
            add_point(
                Arc::make_mut(&mut board.state.points),
                &mut board.state.step_s,
                Point { second, seconds: 1, sent: 1, planned: 2, ..Point::default() },
            );
        }
        let points = &board.state.points;
        assert_eq!((board.state.step_s, points.len()), (4, seconds.div_ceil(4) as usize));
        assert_eq!(points.iter().map(|point| point.sent).sum::<u64>(), seconds);
        // Also of the last one, which is not full, a second has as many as of the others.
        assert_eq!(points.last().map(|point| point.seconds), Some(3));
        assert!(points.iter().all(|point| point.sent == point.seconds));
        assert!(points.iter().all(|point| point.second % 4 == 0));
        assert!(points.windows(2).all(|pair| pair[0].second + 4 == pair[1].second));
    }

    #[test]
    fn seconds_are_points_and_counts_by_stage_and_warm_up_is_no_latency() {
        let plan = plan();
        let mut board = Board::new();
        let watched = board.watch();
        board.begin(Facts::of(&plan), &plan);
        board.second(&row(0, 10, 900_000), &plan);
        // Seconds 1 and 2 have nothing to tell.
        board.second(&row(3, 20, 5_000), &plan);
        board.tell(moment());
        let state = watched.borrow().clone();
        let sent: Vec<_> = state.points.iter().map(|point| (point.second, point.stage, point.sent)).collect();
        assert_eq!(sent, [(0, 0, 10), (1, 0, 0), (2, 1, 0), (3, 1, 20)]);
        assert_eq!(state.points[2].planned, 20);
        let [response, _, lag] = state.latencies;
        assert_eq!((response.count, response.max_us / 10, lag.count), (20, 500, 20));
        assert_eq!(state.histogram.iter().map(|bar| bar.response_time).sum::<u64>(), 20);
        let counts = &state.counts;
        assert_eq!((counts[0].sent, counts[1].sent, counts[1].outcomes[0]), (10, 20, 20));
        // 5 ms lie a hair above the bound of 5 ms in the histogram's steps, or at it; 0.9 s at or below 1 s.
        assert_eq!(counts[0].response_time.buckets[13], 10);
        assert_eq!(counts[1].response_time.count(), 20);
        assert!((counts[1].response_time.sum_s - 0.1).abs() < 0.001);
        assert_eq!(state.ends[0], Closed { end: "limit".to_string(), count: 3 });
    }

    #[test]
    fn who_looks_again_is_told_only_what_is_new_and_has_the_same_in_the_end() {
        let plan = plan();
        let mut board = Board::new();
        let watched = board.watch();
        board.begin(Facts::of(&plan), &plan);
        let (mut seen, mut copy) = (Seen::default(), State::default());
        let mut told = 0;
        for second in 0..50 {
            board.second(&row(second, second + 1, 100), &plan);
            board.tell(moment());
            // This one reads slowly: every seventh state.
            if second % 7 == 0 {
                let view = watched.borrow().view(&mut seen);
                told += view.points.len();
                let json = serde_json::to_string(&view).expect("JSON");
                copy.take(serde_json::from_str(&json).expect("read back"));
                assert_eq!(copy.points, watched.borrow().points);
            }
        }
        assert!(told < 60, "{told}");
        // Another run: all of it, and nothing of the one before.
        let facts = Facts { run_id: "other".to_string(), ..Facts::of(&plan) };
        board.begin(facts, &plan);
        board.second(&row(0, 7, 100), &plan);
        board.tell(moment());
        copy.take(watched.borrow().view(&mut seen));
        assert_eq!((copy.points.len(), copy.points[0].sent, copy.facts.run_id.as_str()), (1, 7, "other"));
    }
}
