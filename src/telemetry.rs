//! Telemetry: the numbers of a run for other systems. One list of metrics ([`of_run`]), in two forms: text that is
//! fetched ([`prometheus`]), and messages that are sent ([`otlp`]).
//!
//! Counts and times are those of whole seconds of the schedule whose requests have all ended, so that they fit each
//! other; gauges are those of the moment.

pub mod otlp;
pub mod prometheus;

use crate::live::{BOUNDS_US, Counts, LatencyCounts, Phase, State, ThresholdState};
use crate::live::{MAX_STAGES, OF_NO_SECOND, OUTCOMES};

/// The most thresholds that are told apart.
const MAX_THRESHOLDS: usize = 100;

/// A metric and its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name without unit and without `_total`.
    pub name: &'static str,
    /// What it is, in a sentence without a full stop.
    pub help: &'static str,
    /// Its unit: `seconds`, or none.
    pub unit: Option<&'static str>,
    /// Its samples, all of one sort.
    pub samples: Samples,
}

/// Pairs of names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The samples of a metric, each with its labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Numbers that only grow.
    Counter(Vec<(Labels, f64)>),
    /// Numbers that go up and down.
    Gauge(Vec<(Labels, f64)>),
    /// Times by buckets whose bounds are [`BOUNDS_US`].
    Histogram(Vec<(Labels, LatencyCounts)>),
    /// Facts: always 1.
    Info(Labels),
}

impl Metric {
    /// One that only grows.
    pub fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Metric {
        Metric { name, help, unit: None, samples: Samples::Counter(samples) }
    }

    /// One that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Metric {
        Metric { name, help, unit: None, samples: Samples::Gauge(samples) }
    }

    fn in_seconds(mut self) -> Metric {
        self.unit = Some("seconds");
        self
    }
}

/// The one sample of a metric without labels.
fn alone(value: f64) -> Vec<(Labels, f64)> {
    vec![(Vec::new(), value)]
}

/// Everything that is told of a run. Nothing, where none has begun.
pub fn of_run(state: &State) -> Vec<Metric> {
    if state.facts.run_id.is_empty() {
        return Vec::new();
    }
    let (facts, now) = (&state.facts, &state.now);
    let text = |name, value: &str| (name, value.to_string());
    let mut metrics = vec![
        Metric {
            name: "runner_run",
            help: "The run",
            unit: None,
            samples: Samples::Info(vec![
                text("run_id", &facts.run_id),
                text("scenario", &facts.scenario),
                // What is said of a run does not change while it goes.
                text("plan", &facts.plan_at_start),
                text("segment", &facts.segment),
                text("seed", &facts.seed),
            ]),
        },
        Metric::gauge(
            "runner_run_active",
            "Whether the run sends: 1 while it does, 0 before, while it is paused, and afterwards",
            alone(f64::from(u8::from(state.phase == Phase::Running))),
        ),
        Metric::gauge("runner_run_elapsed", "Time since time zero of the schedule", alone(now.elapsed_s))
            .in_seconds(),
        Metric::gauge(
            "runner_planned_requests_per_second",
            "Requests per second that are planned now",
            alone(now.rate_planned),
        ),
        Metric::gauge(
            "runner_sent_requests_per_second",
            "Requests per second that are sent now",
            alone(now.rate_actual),
        ),
        Metric::gauge(
            "runner_requests_in_flight",
            "Requests sent and not yet answered",
            alone(now.in_flight as f64),
        ),
        Metric::gauge("runner_connections_open", "Connections that are open", alone(now.connections as f64)),
        Metric::counter("runner_connections_opened", "Connections opened", alone(now.opened as f64)),
    ];
    if !state.ends.is_empty() {
        let ends = state.ends.iter().map(|closed| (vec![text("end", &closed.end)], closed.count as f64));
        let help = "Connections that have ended, by why";
        metrics.push(Metric::counter("runner_connections_ended", help, ends.collect()));
    }
    let cpu = "Processor time that the sending threads have used";
    metrics.push(Metric::counter("runner_worker_cpu", cpu, alone(now.worker_cpu_s)).in_seconds());
    if let Some(end) = &state.end {
        let help = "The exit code of the run, which has ended";
        metrics.push(Metric::gauge("runner_run_exit_code", help, alone(f64::from(end.exit_code))));
    }
    metrics.extend(by_stage(state));
    let known = state.thresholds.iter().take(MAX_THRESHOLDS);
    let known = known.enumerate().filter(|(_, threshold)| threshold.state != ThresholdState::Open);
    let holds: Vec<(Labels, f64)> = known
        .map(|(index, threshold)| {
            let labels = vec![("threshold", index.to_string()), text("check", &threshold.check)];
            (labels, f64::from(u8::from(threshold.state == ThresholdState::Holds)))
        })
        .collect();
    if !holds.is_empty() {
        metrics.push(Metric::gauge("runner_threshold_holds", "Whether a threshold holds so far", holds));
    }
    metrics
}

/// What is counted for each stage.
fn by_stage(state: &State) -> Vec<Metric> {
    let stages = || {
        let names = stage_labels(state);
        names.into_iter().zip(state.counts.iter()).filter(|(_, counts)| counts.scheduled > 0)
    };
    let numbers = |of: fn(&Counts) -> u64| -> Vec<(Labels, f64)> {
        stages().map(|(name, counts)| (vec![("stage", name)], of(counts) as f64)).collect()
    };
    let times = |of: fn(&Counts) -> &LatencyCounts| -> Vec<(Labels, LatencyCounts)> {
        let mut samples = Vec::new();
        for (name, counts) in stages().filter(|(_, counts)| !of(counts).buckets.is_empty()) {
            samples.push((vec![("stage", name)], of(counts).clone()));
        }
        samples
    };
    let mut ended = Vec::new();
    for (name, counts) in stages() {
        let known = OUTCOMES.iter().zip(&counts.outcomes);
        for (outcome, &number) in known.filter(|(outcome, _)| **outcome != OF_NO_SECOND) {
            ended.push((
                vec![("stage", name.clone()), ("outcome", outcome.word().to_string())],
                number as f64,
            ));
        }
    }
    let metrics = [
        Metric::counter("runner_requests_scheduled", "Requests that came due", numbers(|c| c.scheduled)),
        Metric::counter("runner_requests_sent", "Requests sent", numbers(|c| c.sent)),
        Metric::counter("runner_requests_ended", "Requests by how they ended", ended),
        Metric::counter("runner_error_replies", "Responses that were errors", numbers(|c| c.error_replies)),
    ];
    let histogram = |name, help, samples| Metric {
        name,
        help,
        unit: Some("seconds"),
        samples: Samples::Histogram(samples),
    };
    let times = [
        histogram(
            "runner_response_time",
            "From when a request was due to its response: what a user waits",
            times(|c| &c.response_time),
        ),
        histogram(
            "runner_service_time",
            "From when a request was sent to its response: what the target takes",
            times(|c| &c.service_time),
        ),
        histogram(
            "runner_lag",
            "From when a request was due to when it was sent: what the generator takes",
            times(|c| &c.lag),
        ),
    ];
    metrics.into_iter().chain(times).filter(|metric| !metric.is_empty()).collect()
}

impl Metric {
    fn is_empty(&self) -> bool {
        match &self.samples {
            Samples::Counter(samples) | Samples::Gauge(samples) => samples.is_empty(),
            Samples::Histogram(samples) => samples.is_empty(),
            Samples::Info(_) => false,
        }
    }
}

/// What stages are called: their names, with their numbers where two have the same.
fn stage_labels(state: &State) -> Vec<String> {
    let stages = &state.facts.stages;
    let label = |(index, stage): (usize, &crate::live::Stage)| {
        let is_shared = stages.iter().filter(|other| other.name == stage.name).count() > 1;
        if is_shared { format!("{} #{}", stage.name, index + 1) } else { stage.name.clone() }
    };
    stages.iter().take(MAX_STAGES).enumerate().map(label).collect()
}

/// The upper bounds of the buckets, in seconds.
fn bounds_s() -> impl Iterator<Item = f64> {
    BOUNDS_US.iter().map(|&bound| bound as f64 / 1e6)
}

/// A run of two seconds in two stages of one name.
#[cfg(test)]
pub(crate) fn typical() -> State {
    use crate::live::{Closed, Facts, Now, Stage, Threshold};
    use std::sync::Arc;
    let stage = |start_s: f64| Stage {
        name: "a \"name\"\nof two lines".to_string(),
        kind: "hold".to_string(),
        start_s,
        end_s: Some(start_s + 1.0),
        warmup: false,
    };
    let mut outcomes = vec![0; OUTCOMES.len()];
    (outcomes[0], outcomes[5]) = (9, 1);
    let mut buckets = vec![0; BOUNDS_US.len() + 1];
    (buckets[0], buckets[4], buckets[BOUNDS_US.len()]) = (2, 6, 1);
    let times = LatencyCounts { buckets, sum_s: 12.5 };
    let counts = Counts {
        scheduled: 10,
        sent: 10,
        outcomes,
        error_replies: 0,
        response_time: times.clone(),
        service_time: times.clone(),
        lag: times,
    };
    State {
        facts: Arc::new(Facts {
            run_id: "a-1".to_string(),
            scenario: "a".to_string(),
            plan: "4567".to_string(),
            plan_at_start: "0123".to_string(),
            segment: "0/1".to_string(),
            started_ns: 1_000_000_000,
            stages: vec![stage(0.0), stage(1.0)],
            ..Facts::default()
        }),
        phase: Phase::Running,
        now: Now { elapsed_s: 2.25, in_flight: 3, connections: 10, opened: 19, ..Now::default() },
        counts: Arc::new(vec![counts.clone(), counts]),
        ends: Arc::new(vec![Closed { end: "limit".to_string(), count: 9 }]),
        thresholds: Arc::new(vec![
            Threshold {
                check: "response_time p(99) < 50ms".to_string(),
                state: ThresholdState::Holds,
                ..Threshold::default()
            },
            Threshold::default(),
        ]),
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_label_of_its_own_and_every_request_one_outcome() {
        let metrics = of_run(&typical());
        let of = |name: &str| metrics.iter().find(|metric| metric.name == name).expect("the metric");
        let Samples::Counter(ended) = &of("runner_requests_ended").samples else { panic!("a counter") };
        // What was not reached has no second that could count it.
        assert_eq!(ended.len(), 2 * (OUTCOMES.len() - 1));
        assert_eq!(ended.iter().map(|(_, number)| number).sum::<f64>(), 20.0);
        assert_ne!(ended[0].0[0].1, ended[OUTCOMES.len()].0[0].1);
        let Samples::Gauge(holds) = &of("runner_threshold_holds").samples else { panic!("a gauge") };
        assert_eq!(holds.len(), 1, "what is not known is not told");
        assert_eq!(of_run(&State::default()), []);
    }
}
