//! Thresholds: whether what was measured keeps to what the scenario demands.
//!
//! [`Watch`] is shown each second of the schedule once all its requests have ended, and judges at the end:
//!
//! 1. Warm-up stages are left out, unless a threshold names one.
//! 2. With `for`, each second is looked at by itself, and a threshold is broken when so many in a row are.
//!    A second in which nothing was measured ends the row.
//! 3. With `after`, or where it may end the run, the seconds that count are taken together. A second belongs
//!    to the stage in which it begins.
//! 4. Else what counts is the stage, or all of them: the numbers of the reports.
//! 5. What is known for the whole run only is looked at when that is over.
//! 6. What was broken while the run went stays broken.
//! 7. A request that was dropped because the run was ended before its time was not measured.
//! 8. Of a part of a plan, numbers and numbers per second are too small to be held against what is said of the whole:
//!    only one that exceeds an upper bound by itself breaks it.

use hdrhistogram::Histogram;

use crate::ledger::{Outcome, Outcomes};
use crate::plan::Plan;
use crate::plan::thresholds::Threshold;
use crate::recorder::histogram::{Latencies, histogram, percentile_ns};
use crate::recorder::shard::Window;
use crate::recorder::summary::{SecondRow, StageRow, Summary, ThresholdRow};
use crate::scenario::schema::{Aggregate, Comparison, Condition, Metric};
use crate::units::{NANOS_PER_SEC, Nanos, Unit};

/// The thresholds of a run while it goes.
#[derive(Debug)]
pub struct Watch {
    watched: Vec<Watched>,
    stages: Vec<Stage>,
    /// When the schedule ends, where that is known.
    end_ns: u64,
    /// The threshold that has ended the run, by its place.
    ended_by: Option<usize>,
    /// Whether somebody asks how they stand while the run goes.
    is_followed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    start_ns: u64,
    warmup: bool,
}

#[derive(Debug)]
struct Watched {
    threshold: Threshold,
    sum: Sum,
    /// Only a part of the plan is sent.
    of_part: bool,
    /// How long it has been broken now, second by second, from which to which.
    row_ns: u64,
    row_from: u64,
    row_to: u64,
    /// Of the seconds, the value that is nearest to breaking it, or furthest beyond.
    worst: Option<f64>,
    broken: Option<Broken>,
}

/// What broke a threshold while the run went.
#[derive(Debug)]
struct Broken {
    value: f64,
    from: u64,
    second: u64,
}

/// What was counted in some time.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    scheduled: u64,
    sent: u64,
    outcomes: Outcomes,
    error_replies: u64,
    span_ns: u64,
}

impl Counts {
    /// `ended`: the run was ended before its time.
    fn of(window: &Window, span_ns: u64, ended: bool) -> Counts {
        let Window { mut scheduled, sent, mut outcomes, error_replies, .. } = *window;
        if ended {
            scheduled -= outcomes.take(Outcome::Stopped).min(scheduled);
        }
        Counts { scheduled, sent, outcomes, error_replies, span_ns }
    }

    fn add(&mut self, other: &Counts) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.outcomes.merge(&other.outcomes);
        self.error_replies += other.error_replies;
        self.span_ns = self.span_ns.saturating_add(other.span_ns);
    }
}

/// Counts and times of several seconds.
#[derive(Debug, Default)]
struct Sum {
    counts: Counts,
    times: Option<Histogram<u64>>,
}

impl Sum {
    fn add(&mut self, counts: &Counts, times: Option<&Histogram<u64>>) {
        self.counts.add(counts);
        if let Some(times) = times {
            // Cannot fail: all histograms have the same bounds.
            let added = self.times.get_or_insert_with(histogram).add(times);
            debug_assert!(added.is_ok());
        }
    }

    fn value(&self, condition: &Condition) -> Option<f64> {
        in_windows(condition, &self.counts, self.times.as_ref())
    }
}

impl Watch {
    /// For the thresholds of a plan.
    pub fn new(plan: &Plan) -> Watch {
        let watched = plan.thresholds.iter().map(|threshold| Watched {
            threshold: threshold.clone(),
            sum: Sum::default(),
            of_part: plan.segment.of() > 1,
            row_ns: 0,
            row_from: 0,
            row_to: 0,
            worst: None,
            broken: None,
        });
        let (stages, end_ns) = (stages(plan), end_of(plan));
        Watch { watched: watched.collect(), stages, end_ns, ended_by: None, is_followed: false }
    }

    /// The plan is another for the seconds that are still to come.
    pub fn follow(&mut self, plan: &Plan) {
        (self.stages, self.end_ns) = (stages(plan), end_of(plan));
    }

    /// Adds up seconds also where only the whole run decides, so that [`Watch::so_far`] has something to tell.
    pub fn keep_standing(&mut self) {
        self.is_followed = true;
    }

    /// How they stand now. What is known at the end only, or was not measured yet, has nothing measured; what is
    /// added up here are whole seconds, so that the last figures may differ a little from those at the end.
    pub fn so_far(&self) -> Vec<ThresholdRow> {
        self.watched.iter().map(Watched::so_far).collect()
    }

    /// Takes in a second whose requests have all ended. True where it breaks a threshold that ends the run.
    pub fn second(&mut self, row: &SecondRow) -> bool {
        let start_ns = row.second.saturating_mul(NANOS_PER_SEC);
        let span_ns = self.end_ns.saturating_sub(start_ns).min(NANOS_PER_SEC);
        let begun = self.stages.partition_point(|stage| stage.start_ns <= start_ns);
        let Some((index, stage)) = begun.checked_sub(1).and_then(|at| Some((at, *self.stages.get(at)?)))
        else {
            return false;
        };
        let has_ended = self.ended_by.is_some();
        let mut ended_by = None;
        for (place, watched) in self.watched.iter_mut().enumerate() {
            let threshold = &watched.threshold;
            let (counts, from_ns) = match threshold.stage {
                Some(wanted) => (wanted == index, stage.start_ns),
                None => (!stage.warmup, 0),
            };
            if counts
                && threshold.condition.metric.is_windowed()
                && start_ns - from_ns >= threshold.after.0
                && watched.second(row, span_ns, has_ended, self.is_followed)
            {
                ended_by = ended_by.or(Some(place));
            }
        }
        self.ended_by = self.ended_by.or(ended_by);
        ended_by.is_some()
    }

    /// What it demands, the first threshold that has ended the run.
    pub fn ended_by(&self) -> Option<&Condition> {
        let watched = self.ended_by.and_then(|place| self.watched.get(place));
        watched.map(|watched| &watched.threshold.condition)
    }

    /// Judges all thresholds, when everything else of the summary is known.
    pub fn judge(&self, summary: &Summary) -> Vec<ThresholdRow> {
        self.watched.iter().map(|watched| watched.judge(&self.stages, summary)).collect()
    }
}

fn stages(plan: &Plan) -> Vec<Stage> {
    plan.stages.iter().map(|stage| Stage { start_ns: stage.totals.start.0, warmup: stage.warmup }).collect()
}

fn end_of(plan: &Plan) -> u64 {
    plan.end().map_or(u64::MAX, |end| end.0)
}

impl Watched {
    fn second(&mut self, row: &SecondRow, span_ns: u64, ended: bool, is_followed: bool) -> bool {
        let condition = &self.threshold.condition;
        let counts = Counts::of(&row.window, span_ns, ended);
        let times = row.window.latencies.as_deref().and_then(|latencies| times(&condition.metric, latencies));
        let alone = in_windows(condition, &counts, times);
        let broken = if self.threshold.hold_for > Nanos::ZERO {
            self.row(alone, row.second, span_ns);
            self.worst.filter(|_| self.row_ns >= self.threshold.hold_for.0)
        } else {
            self.worst = worse(condition, self.worst, alone);
            if self.sums_up() || is_followed {
                self.sum.add(&counts, times);
            }
            if !self.sums_up() {
                return false;
            }
            self.row_from = row.second;
            self.seconds_together().filter(|value| self.threshold.abort && !self.holds(*value))
        };
        let Some(value) = broken.filter(|_| self.broken.is_none()) else { return false };
        self.broken = Some(Broken { value, from: self.row_from, second: row.second });
        self.threshold.abort
    }

    /// One second more, or the end of the row of seconds in which it was broken.
    fn row(&mut self, alone: Option<f64>, second: u64, span_ns: u64) {
        let condition = &self.threshold.condition;
        if alone.is_some_and(|value| !self.holds(value)) {
            // Seconds between that do not count, such as those of a warm-up, end a row too.
            if self.row_ns == 0 || second != self.row_to + 1 {
                (self.row_from, self.row_ns) = (second, 0);
            }
            self.row_to = second;
            self.row_ns += span_ns;
        } else {
            self.row_ns = 0;
        }
        if self.broken.is_none() {
            self.worst = worse(condition, self.worst, alone);
        }
    }

    /// Whether a value keeps to the condition, as far as a part of a plan can tell.
    fn holds(&self, value: f64) -> bool {
        let condition = &self.threshold.condition;
        condition.holds(value) || self.is_said_of_the_whole() && !exceeds(condition, value)
    }

    /// Whether what is measured grows with the part of the plan that is sent.
    fn is_said_of_the_whole(&self) -> bool {
        self.of_part && matches!(self.threshold.condition.unit(), Unit::Count | Unit::PerSecond)
    }

    /// Whether the seconds are taken together, and not the stages.
    fn sums_up(&self) -> bool {
        self.threshold.abort || self.threshold.after > Nanos::ZERO || self.takes_the_worst_second()
    }

    /// A rate is held against its plan in each second: a second that is ahead does not make up for one behind.
    fn takes_the_worst_second(&self) -> bool {
        let condition = &self.threshold.condition;
        condition.metric == Metric::RateError && condition.aggregate == Aggregate::Max
    }

    fn seconds_together(&self) -> Option<f64> {
        if self.takes_the_worst_second() { self.worst } else { self.sum.value(&self.threshold.condition) }
    }

    fn so_far(&self) -> ThresholdRow {
        let Threshold { condition, hold_for, .. } = &self.threshold;
        let is_windowed = condition.metric.is_windowed();
        let measured = match &self.broken {
            Some(broken) => Some(broken.value),
            None if !is_windowed => None,
            None if *hold_for > Nanos::ZERO => self.worst,
            None => self.seconds_together(),
        };
        let holds = *hold_for > Nanos::ZERO || measured.is_none_or(|value| condition.holds(value));
        ThresholdRow {
            check: condition.to_string(),
            terms: self.threshold.terms.clone(),
            passed: self.broken.is_none() && holds,
            measured,
            unit: condition.unit(),
            note: if is_windowed { self.note(measured) } else { "known at the end".to_string() },
            suffers_from_generator: false,
        }
    }

    fn judge(&self, stages: &[Stage], summary: &Summary) -> ThresholdRow {
        let Threshold { condition, hold_for, after, .. } = &self.threshold;
        let measured = match &self.broken {
            Some(broken) => Some(broken.value),
            None if !condition.metric.is_windowed() => at_the_end(condition, summary),
            None if *hold_for > Nanos::ZERO => self.worst,
            None if *after > Nanos::ZERO || self.takes_the_worst_second() => self.seconds_together(),
            None => self.of_stages(stages, summary),
        };
        let passed = match measured {
            _ if self.broken.is_some() => false,
            None => self.threshold.passes_without_data,
            Some(_) if *hold_for > Nanos::ZERO => true,
            Some(value) => self.holds(value),
        };
        ThresholdRow {
            check: condition.to_string(),
            terms: self.threshold.terms.clone(),
            passed,
            measured,
            unit: condition.unit(),
            note: self.note(measured),
            suffers_from_generator: suffers_from_generator(condition, measured, summary),
        }
    }

    fn note(&self, measured: Option<f64>) -> String {
        let ended = if self.threshold.abort { ", which ended the run" } else { "" };
        match &self.broken {
            None if measured.is_none() => "nothing was measured".to_string(),
            None if self.is_said_of_the_whole() => {
                "of one part of the plan; `merge` judges the whole".to_string()
            }
            None if self.threshold.hold_for > Nanos::ZERO => "the worst second".to_string(),
            None => String::new(),
            Some(broken) if self.threshold.hold_for > Nanos::ZERO => {
                format!("the worst second; broken from second {} to {}{ended}", broken.from, broken.second)
            }
            Some(broken) => format!("broken in second {}{ended}", broken.second),
        }
    }

    /// The numbers of the reports: of the stage, or of all but warm-up.
    fn of_stages(&self, stages: &[Stage], summary: &Summary) -> Option<f64> {
        let condition = &self.threshold.condition;
        let counts_here = |index: usize, row: &StageRow| match self.threshold.stage {
            Some(wanted) => wanted == index,
            None => !row.warmup,
        };
        let cut_short = summary.is_cut_short();
        let mut sum = Sum::default();
        for (index, row) in summary.stages.iter().enumerate().filter(|(index, row)| counts_here(*index, row))
        {
            let start_ns = stages.get(index).map_or(0, |stage| stage.start_ns);
            let run_ns = summary.duration.0.saturating_sub(start_ns);
            let span_ns = if cut_short { row.duration.0.min(run_ns) } else { row.duration.0 };
            let latencies = row.window.latencies.as_deref();
            let times = latencies.and_then(|latencies| times(&condition.metric, latencies));
            sum.add(&Counts::of(&row.window, span_ns, cut_short), times);
        }
        sum.value(condition)
    }
}

/// Whether a value is above a bound that it must not exceed.
fn exceeds(condition: &Condition, value: f64) -> bool {
    match condition.comparison {
        Comparison::Below => value >= condition.bound,
        Comparison::AtMost | Comparison::Equal => value > condition.bound,
        Comparison::Above | Comparison::AtLeast | Comparison::Unequal => false,
    }
}

/// The value that comes nearer to breaking a condition, or lies further beyond.
fn worse(condition: &Condition, known: Option<f64>, new: Option<f64>) -> Option<f64> {
    let (Some(known), Some(new)) = (known, new) else { return known.or(new) };
    let new_is_worse = match condition.comparison {
        Comparison::Below | Comparison::AtMost => new > known,
        Comparison::Above | Comparison::AtLeast => new < known,
        Comparison::Equal => (new - condition.bound).abs() > (known - condition.bound).abs(),
        Comparison::Unequal => (new - condition.bound).abs() < (known - condition.bound).abs(),
    };
    Some(if new_is_worse { new } else { known })
}

/// Whether what the generator alone has done is enough to break it: a response time that would keep its bound without
/// the lag (the same figure of it), or errors of which most are requests that it dropped.
fn suffers_from_generator(condition: &Condition, measured: Option<f64>, summary: &Summary) -> bool {
    let outcomes = &summary.ledger.outcomes;
    let own = outcomes.of(Outcome::Late) + outcomes.of(Outcome::Overload);
    let mostly_own = |all: u64| own > all / 2;
    let Some(measured) = measured else {
        // Nothing was measured, as nothing was sent in time.
        return condition.metric.is_windowed() && summary.ledger.sent == 0 && mostly_own(outcomes.dropped());
    };
    let is_upper = matches!(condition.comparison, Comparison::Below | Comparison::AtMost);
    match condition.metric {
        Metric::Lag | Metric::GeneratorCpu => true,
        Metric::Dropped | Metric::RateError => mostly_own(outcomes.dropped()),
        Metric::ResponseTime if condition.unit() == Unit::Time => {
            let lag = of_times(condition.aggregate, &summary.latencies.lag, summary.duration);
            is_upper && lag.is_some_and(|lag| condition.holds(measured - lag))
        }
        Metric::Error => mostly_own(summary.errors()),
        // Less was answered in a second, since less was sent.
        Metric::ResponseTime => !is_upper && mostly_own(outcomes.dropped()),
        Metric::ServiceTime
        | Metric::ConnectTime
        | Metric::ScriptTime
        | Metric::Failed
        | Metric::TimedOut
        | Metric::Lost
        | Metric::Duplicate
        | Metric::Counter(_)
        | Metric::Check(_)
        | Metric::Checks => false,
    }
}

/// The times of a metric, where it has any.
fn times<'a>(metric: &Metric, latencies: &'a Latencies) -> Option<&'a Histogram<u64>> {
    match metric {
        Metric::ResponseTime => Some(&latencies.response),
        Metric::ServiceTime => Some(&latencies.service),
        Metric::Lag => Some(&latencies.lag),
        _ => None,
    }
}

/// What a metric comes to that is known for each second. `None` where nothing was measured.
fn in_windows(condition: &Condition, counts: &Counts, times: Option<&Histogram<u64>>) -> Option<f64> {
    let outcomes = &counts.outcomes;
    let timed_out = outcomes.of(Outcome::TimedOut);
    let failed = outcomes.failed() + timed_out;
    let events = |number, of| events(condition.aggregate, number, of);
    match condition.metric {
        Metric::ResponseTime | Metric::ServiceTime | Metric::Lag => {
            of_times(condition.aggregate, times?, Nanos(counts.span_ns))
        }
        Metric::Failed => events(failed, counts.sent),
        Metric::TimedOut => events(timed_out, counts.sent),
        Metric::Dropped => events(outcomes.dropped(), counts.scheduled),
        Metric::Error => events(failed + outcomes.dropped() + counts.error_replies, counts.scheduled),
        Metric::RateError => share(counts.scheduled.saturating_sub(counts.sent), counts.scheduled),
        _ => None,
    }
}

/// What a metric comes to that is known for the whole run only. `None` where nothing was measured.
fn at_the_end(condition: &Condition, summary: &Summary) -> Option<f64> {
    let aggregate = condition.aggregate;
    match &condition.metric {
        Metric::ConnectTime => of_times(aggregate, &summary.connect_time, summary.duration),
        Metric::ScriptTime => script_time(aggregate, summary),
        Metric::Lost => events(aggregate, summary.lost()?, summary.ledger.outcomes.of(Outcome::Matched)),
        Metric::Duplicate => {
            let receipts = &summary.ledger.receipts;
            events(aggregate, receipts.duplicate, receipts.received)
        }
        Metric::GeneratorCpu => generator_cpu(aggregate, summary),
        Metric::Counter(name) => {
            let counted = *summary.script.counters.get(name)?;
            match aggregate {
                Aggregate::Rate => per_second(counted, summary.duration),
                _ => Some(counted),
            }
        }
        Metric::Check(name) => {
            let &(passed, failed) = summary.script.checks.get(name)?;
            checks(aggregate, passed, failed)
        }
        Metric::Checks => {
            let all = summary.script.checks.values();
            let (passed, failed) = all.fold((0, 0), |sum, check| (sum.0 + check.0, sum.1 + check.1));
            checks(aggregate, passed, failed)
        }
        _ => None,
    }
}

fn of_times(aggregate: Aggregate, times: &Histogram<u64>, span: Nanos) -> Option<f64> {
    if times.is_empty() {
        return None;
    }
    match aggregate {
        Aggregate::Percentile(p) => Some(percentile_ns(times, p) as f64),
        Aggregate::Min => Some(times.min() as f64),
        Aggregate::Max => Some(times.max() as f64),
        Aggregate::Mean => Some(times.mean()),
        Aggregate::Count => Some(times.len() as f64),
        Aggregate::Rate => per_second(times.len() as f64, span),
    }
}

/// So many of so many; the rate is a share.
fn events(aggregate: Aggregate, number: u64, of: u64) -> Option<f64> {
    match aggregate {
        Aggregate::Count if of > 0 => Some(number as f64),
        _ => share(number, of),
    }
}

/// The count is that of all checks, the rate the share that passed.
fn checks(aggregate: Aggregate, passed: u64, failed: u64) -> Option<f64> {
    let made = passed.saturating_add(failed);
    match aggregate {
        Aggregate::Count if made > 0 => Some(made as f64),
        _ => share(passed, made),
    }
}

fn script_time(aggregate: Aggregate, summary: &Summary) -> Option<f64> {
    let health = &summary.health;
    let calls = health.script_calls as f64;
    if health.script_calls == 0 {
        return None;
    }
    match aggregate {
        Aggregate::Count => Some(calls),
        Aggregate::Rate => per_second(calls, summary.duration),
        Aggregate::Mean => Some(health.script_time.as_nanos() as f64 / calls),
        _ => Some(health.script_slowest.as_nanos() as f64),
    }
}

/// The share of a processor that a worker used, over the run.
fn generator_cpu(aggregate: Aggregate, summary: &Summary) -> Option<f64> {
    let run_s = summary.duration.as_secs_f64();
    let workers = &summary.health.worker_cpu;
    if workers.is_empty() || run_s <= 0.0 {
        return None;
    }
    let shares = workers.iter().map(|time| time.as_secs_f64() / run_s);
    Some(match aggregate {
        Aggregate::Min => shares.fold(f64::INFINITY, f64::min),
        Aggregate::Mean => shares.sum::<f64>() / workers.len() as f64,
        _ => shares.fold(0.0, f64::max),
    })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn per_second(number: f64, span: Nanos) -> Option<f64> {
    (span > Nanos::ZERO).then(|| number / span.as_secs_f64())
}

#[cfg(test)]
mod tests;
