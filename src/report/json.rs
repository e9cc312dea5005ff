//! The summary of a run as JSON, for `--json` and `summary.json`. Names are those of the CSV columns;
//! times are whole microseconds with `_us` in the name.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::ledger::{Imbalance, Ledger, Mapped, Outcome, Outcomes, Receipts};
use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::recorder::summary::{CutBy, Ended, ErrorRow, EventRow, KindRow, StageRow, Summary, ThresholdRow};
use crate::report::compare::Compared;
use crate::report::csv::{DROPPED, FAILED};
use crate::report::figures::{found, instant, to_micros};
use crate::report::health::{bottleneck, warnings};
use crate::report::saved::Drawn;
use crate::report::timestamp;
use crate::units::{Nanos, Tps, Unit};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Whole {
    pub run_id: String,
    /// The part of the plan that was sent, from 0, and of how many.
    #[serde(default = "whole_plan")]
    pub segment: String,
    /// `open` or `closed`.
    pub model: String,
    /// Nothing was sent: a model answered.
    #[serde(default)]
    pub simulated: bool,
    pub scenario: String,
    pub plan: String,
    /// The fingerprint of the plan without what its seed draws; null where the run was changed while it went.
    #[serde(default)]
    pub load: Option<String>,
    pub seed: u64,
    pub started_at: String,
    pub duration_s: f64,
    pub scheduled_duration_s: f64,
    /// How far the plan was carried out; missing in files of versions that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    pub outcome: String,
    pub passed: bool,
    pub exit_code: u8,
    pub reason: String,
    pub rate_planned: f64,
    pub rate_actual: f64,
    pub ledger: Account,
    pub balanced: bool,
    pub imbalances: Vec<Side>,
    pub response_time: Times,
    pub service_time: Times,
    pub lag: Times,
    pub stages: Vec<Stage>,
    /// What was done to the run while it went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// Empty where kinds are not told apart.
    pub mix: Vec<Kind>,
    pub operations: u64,
    pub errors_total: u64,
    pub error_rate: f64,
    pub connections: Connections,
    pub responder: Option<Responder>,
    pub read_back: Option<ReadBack>,
    pub journaled: u64,
    pub generator: Generator,
    pub bottleneck: Blame,
    pub script: Script,
    pub warnings: Vec<String>,
    pub errors: Vec<Trouble>,
    /// Empty where nothing had to hold.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// How long opening a connection took; not known of merged runs.
    #[serde(default)]
    pub connect_time: Times,
    /// What the run came to against an earlier one, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Compared>,
    /// What `report.html` draws; in the file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
}

fn whole_plan() -> String {
    "0/1".to_string()
}

impl Whole {
    /// Whether a part of its plan was not carried out. Of one that does not say, that is known where it had a number of
    /// requests.
    pub(super) fn is_cut_short(&self) -> bool {
        self.ended.as_ref().map_or(self.ledger.not_reached > 0, |ended| ended.how != COMPLETE)
    }
}

/// How a run ends that was carried out.
const COMPLETE: &str = "complete";

/// How far a plan was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    /// `complete`: all of it. Else what ended it before its time: `stopped` (a signal, or somebody who asked for it),
    /// `threshold`, or `error`.
    pub how: String,
    /// From when on nothing more of it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<u64>,
    /// The threshold that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
}

impl Ending {
    fn of(ended: &Ended) -> Ending {
        let Ended::Cut { at, by } = ended else {
            return Ending { how: COMPLETE.to_string(), at_us: None, threshold: None };
        };
        let (how, threshold) = match by {
            CutBy::Stop => ("stopped", None),
            CutBy::Threshold(check) => ("threshold", Some(check.clone())),
            CutBy::Error => ("error", None),
        };
        // Rounded down: what is sent in the microsecond is not all of it.
        Ending { how: how.to_string(), at_us: Some(at.0 / 1000), threshold }
    }

    /// As it was written. What ended a run in a way that is not known here has ended it all the same.
    pub(super) fn ended(&self) -> Ended {
        if self.how == COMPLETE {
            return Ended::Complete;
        }
        let by = match (self.how.as_str(), &self.threshold) {
            ("stopped", _) => CutBy::Stop,
            ("threshold", Some(check)) => CutBy::Threshold(check.clone()),
            _ => CutBy::Error,
        };
        Ended::Cut { at: Nanos(self.at_us.unwrap_or(0).saturating_mul(1000)), by }
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        match self.ended() {
            Ended::Complete => "complete".to_string(),
            Ended::Cut { at, by } => {
                let at = instant(at);
                match by {
                    CutBy::Stop => format!("stopped at {at}"),
                    CutBy::Threshold(check) => format!("ended at {at} by the threshold {check}"),
                    CutBy::Error => format!("ended at {at} by an error"),
                }
            }
        }
    }
}

/// What had to hold, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Threshold {
    pub check: String,
    /// Its other terms in words; empty where it has none.
    pub terms: String,
    pub passed: bool,
    /// Null where nothing was measured.
    pub measured: Option<f64>,
    /// `us`, `share` (0 to 1), `count` or `per_second`.
    pub unit: String,
    /// What else is to be said of what was measured.
    pub note: String,
    /// What was measured, in words.
    pub found: String,
}

impl Threshold {
    fn of(row: &ThresholdRow) -> Threshold {
        let (unit, scale) = match row.unit {
            Unit::Time => ("us", 1e-3),
            Unit::Share => ("share", 1.0),
            Unit::Count => ("count", 1.0),
            Unit::PerSecond => ("per_second", 1.0),
        };
        Threshold {
            check: row.check.clone(),
            terms: row.terms.clone(),
            passed: row.passed,
            measured: row.measured.map(|value| value * scale),
            unit: unit.to_string(),
            note: row.note.clone(),
            found: found(row),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    pub scheduled: u64,
    pub sent: u64,
    pub dropped: u64,
    pub dropped_by: BTreeMap<String, u64>,
    pub not_reached: u64,
    pub matched: u64,
    pub failed: u64,
    pub failed_by: BTreeMap<String, u64>,
    pub timed_out: u64,
    pub received: u64,
    pub duplicate: u64,
    pub late: u64,
    pub unknown: u64,
    pub malformed: u64,
    pub error_replies: u64,
    /// Null when nothing is mapped.
    pub mapped: Option<u64>,
    pub map_failed: Option<u64>,
}

impl Account {
    fn of(ledger: &Ledger) -> Account {
        let outcomes = &ledger.outcomes;
        let by = |kinds: &[Outcome]| {
            kinds.iter().map(|&kind| (kind.word().to_string(), outcomes.of(kind))).collect()
        };
        Account {
            scheduled: ledger.scheduled,
            sent: ledger.sent,
            dropped: outcomes.dropped(),
            dropped_by: by(&DROPPED),
            not_reached: outcomes.of(Outcome::NotReached),
            matched: outcomes.of(Outcome::Matched),
            failed: outcomes.failed(),
            failed_by: by(&FAILED),
            timed_out: outcomes.of(Outcome::TimedOut),
            received: ledger.receipts.received,
            duplicate: ledger.receipts.duplicate,
            late: ledger.receipts.late,
            unknown: ledger.receipts.unknown,
            malformed: ledger.receipts.malformed,
            error_replies: ledger.receipts.error_replies,
            mapped: ledger.mapping.map(|mapping| mapping.mapped),
            map_failed: ledger.mapping.map(|mapping| mapping.map_failed),
        }
    }
}

/// How requests ended, without what did not happen.
fn by_word(outcomes: &Outcomes) -> BTreeMap<String, u64> {
    let all = Outcome::ALL.into_iter().map(|outcome| (outcome.word().to_string(), outcomes.of(outcome)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// The same back; words that are none are left out, and then the sums do not fit.
pub(super) fn outcomes_of(by_word: &BTreeMap<String, u64>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for outcome in Outcome::ALL {
        outcomes.add(outcome, by_word.get(outcome.word()).copied().unwrap_or(0));
    }
    outcomes
}

impl Account {
    /// The ledger that it was written from.
    pub(super) fn ledger(&self) -> Ledger {
        let mut outcomes = outcomes_of(&self.dropped_by);
        outcomes.merge(&outcomes_of(&self.failed_by));
        outcomes.add(Outcome::NotReached, self.not_reached);
        outcomes.add(Outcome::Matched, self.matched);
        outcomes.add(Outcome::TimedOut, self.timed_out);
        Ledger {
            scheduled: self.scheduled,
            sent: self.sent,
            outcomes,
            receipts: Receipts {
                received: self.received,
                duplicate: self.duplicate,
                late: self.late,
                unknown: self.unknown,
                malformed: self.malformed,
                error_replies: self.error_replies,
            },
            mapping: match (self.mapped, self.map_failed) {
                (Some(mapped), Some(map_failed)) => Some(Mapped { mapped, map_failed }),
                _ => None,
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Side {
    pub equation: String,
    pub left: u64,
    pub right: u64,
}

impl Side {
    fn of(imbalance: &Imbalance) -> Side {
        let Imbalance { equation, left, right } = imbalance;
        Side { equation: equation.to_string(), left: *left, right: *right }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    pub count: u64,
    pub min_us: u64,
    pub mean_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p99_9_us: u64,
    pub max_us: u64,
}

impl Times {
    pub(super) fn of(histogram: &Histogram<u64>) -> Times {
        let empty = histogram.is_empty();
        Times {
            count: histogram.len(),
            min_us: if empty { 0 } else { to_micros(histogram.min()) },
            mean_us: if empty { 0 } else { to_micros(histogram.mean() as u64) },
            p50_us: percentile_us(histogram, 50.0),
            p90_us: percentile_us(histogram, 90.0),
            p99_us: percentile_us(histogram, 99.0),
            p99_9_us: percentile_us(histogram, 99.9),
            max_us: max_us(histogram),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stage {
    pub stage: String,
    pub kind: String,
    pub duration_s: f64,
    pub warmup: bool,
    pub scheduled: u64,
    pub sent: u64,
    pub matched: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub dropped: u64,
    pub rate_planned: f64,
    pub rate_actual: f64,
    pub error_replies: u64,
    /// How its requests ended, by the word for it; what did not happen is left out.
    pub outcomes: BTreeMap<String, u64>,
    pub response_time: Times,
    pub service_time: Times,
    pub lag: Times,
}

impl Stage {
    fn of(row: &StageRow) -> Stage {
        let window = &row.window;
        let times = |of: fn(&Latencies) -> &Histogram<u64>| {
            window.latencies.as_deref().map_or_else(Times::default, |latencies| Times::of(of(latencies)))
        };
        Stage {
            stage: row.name.clone(),
            kind: row.kind.to_string(),
            duration_s: row.duration.as_secs_f64(),
            warmup: row.warmup,
            scheduled: row.planned,
            sent: window.sent,
            matched: window.outcomes.of(Outcome::Matched),
            failed: window.outcomes.failed(),
            timed_out: window.outcomes.of(Outcome::TimedOut),
            dropped: window.outcomes.dropped(),
            rate_planned: row.rate_planned(),
            rate_actual: row.rate_actual(),
            error_replies: window.error_replies,
            outcomes: by_word(&window.outcomes),
            response_time: times(|latencies| &latencies.response),
            service_time: times(|latencies| &latencies.service),
            lag: times(|latencies| &latencies.lag),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kind {
    pub kind: String,
    pub weight: u64,
    pub sent: u64,
    pub matched: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub dropped: u64,
    pub error_replies: u64,
    /// How its requests ended, by the word for it; what did not happen is left out.
    pub outcomes: BTreeMap<String, u64>,
    pub rate_actual: f64,
    pub response_time: Times,
    pub service_time: Times,
    pub lag: Times,
}

impl Kind {
    fn of(summary: &Summary, row: &KindRow) -> Kind {
        let tally = &row.tally;
        Kind {
            kind: row.name.clone(),
            weight: row.weight,
            sent: tally.sent,
            matched: tally.outcomes.of(Outcome::Matched),
            failed: tally.outcomes.failed(),
            timed_out: tally.outcomes.of(Outcome::TimedOut),
            dropped: tally.outcomes.dropped(),
            error_replies: tally.error_replies,
            outcomes: by_word(&tally.outcomes),
            rate_actual: summary.rate_of(row),
            response_time: Times::of(&tally.latencies.response),
            service_time: Times::of(&tally.latencies.service),
            lag: Times::of(&tally.latencies.lag),
        }
    }
}

/// A row of `events.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    pub n: u64,
    pub at_us: u64,
    pub event: String,
    /// Per second; null where the event is no rate.
    pub rate: Option<f64>,
    pub stage: String,
}

impl Event {
    fn of(row: &EventRow) -> Event {
        Event {
            n: row.n,
            at_us: to_micros(row.at.0),
            event: row.event.to_string(),
            rate: row.rate.map(Tps::as_f64),
            stage: row.stage.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Connections {
    pub opened: u64,
    pub reconnects: u64,
    pub ends: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Responder {
    pub issued: u64,
    pub received: u64,
    pub unanswered: u64,
    pub agrees: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadBack {
    pub expected: u64,
    pub found: u64,
    pub missing: u64,
    pub different: u64,
    pub sample: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Generator {
    pub worker_cpu_s: Vec<f64>,
    pub process_cpu_s: f64,
    pub starved: u64,
    pub waited_for_room: u64,
    pub script_calls: u64,
    pub script_us: u64,
    pub script_max_us: u64,
    pub slowest_fetch_us: u64,
    pub slowest_write_us: u64,
    pub outages: u64,
    pub generated: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Blame {
    pub party: String,
    pub because: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Script {
    /// A counter that is no number any more is null.
    pub counters: BTreeMap<String, Option<f64>>,
    pub checks: BTreeMap<String, Check>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Check {
    pub passed: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub kind: String,
    pub address: Option<String>,
    pub count: u64,
    pub first_us: u64,
    pub last_us: u64,
    pub detail: String,
}

impl Trouble {
    fn of(error: &ErrorRow) -> Trouble {
        Trouble {
            kind: error.kind.clone(),
            address: error.address.map(|address| address.to_string()),
            count: error.count,
            first_us: to_micros(error.first.0),
            last_us: to_micros(error.last.0),
            detail: error.detail.clone(),
        }
    }
}

fn generator(summary: &Summary) -> Generator {
    let health = &summary.health;
    let us = |time: std::time::Duration| to_micros(Nanos::from(time).0);
    Generator {
        worker_cpu_s: health.worker_cpu.iter().map(std::time::Duration::as_secs_f64).collect(),
        process_cpu_s: health.process_cpu.as_secs_f64(),
        starved: health.starved,
        waited_for_room: health.waited,
        script_calls: health.script_calls,
        script_us: us(health.script_time),
        script_max_us: us(health.script_slowest),
        slowest_fetch_us: us(health.slowest_fetch),
        slowest_write_us: us(health.slowest_write),
        outages: health.outages,
        generated: health.generated,
    }
}

fn script(summary: &Summary) -> Script {
    let checks = &summary.script.checks;
    Script {
        counters: summary
            .script
            .counters
            .iter()
            .map(|(name, &value)| (name.clone(), value.is_finite().then_some(value)))
            .collect(),
        checks: checks
            .iter()
            .map(|(name, &(passed, failed))| (name.clone(), Check { passed, failed }))
            .collect(),
    }
}

/// Everything but what is drawn.
pub(super) fn whole(summary: &Summary) -> Whole {
    let blame = bottleneck(summary);
    Whole {
        run_id: summary.run_id.clone(),
        segment: summary.segment.clone(),
        model: if summary.closed { "closed" } else { "open" }.to_string(),
        simulated: summary.simulated,
        scenario: summary.scenario.clone(),
        plan: summary.plan.clone(),
        load: summary.load.clone(),
        seed: summary.seed,
        started_at: timestamp(summary.started_at),
        duration_s: summary.duration.as_secs_f64(),
        scheduled_duration_s: summary.scheduled_duration.as_secs_f64(),
        ended: summary.ended.as_ref().map(Ending::of),
        outcome: summary.verdict.word.to_string(),
        passed: summary.verdict.passed,
        exit_code: summary.verdict.exit_code,
        reason: summary.verdict.reason.clone(),
        rate_planned: summary.rate_planned(),
        rate_actual: summary.rate_actual(),
        ledger: Account::of(&summary.ledger),
        balanced: summary.imbalances.is_empty(),
        imbalances: summary.imbalances.iter().map(Side::of).collect(),
        response_time: Times::of(&summary.latencies.response),
        service_time: Times::of(&summary.latencies.service),
        lag: Times::of(&summary.latencies.lag),
        stages: summary.stages.iter().map(Stage::of).collect(),
        events: summary.events.iter().map(Event::of).collect(),
        mix: summary.kinds.iter().map(|kind| Kind::of(summary, kind)).collect(),
        operations: summary.operations(),
        errors_total: summary.errors(),
        error_rate: summary.error_rate(),
        connections: Connections {
            opened: summary.connections_opened,
            reconnects: summary.reconnects,
            ends: summary.connection_ends.iter().map(|(end, &count)| (end.to_string(), count)).collect(),
        },
        responder: summary.responder.map(|r| Responder {
            issued: r.issued,
            received: r.received,
            unanswered: r.unanswered,
            agrees: r.agrees(),
        }),
        read_back: summary.read_back.map(|r| ReadBack {
            expected: r.expected,
            found: r.found,
            missing: r.missing,
            different: r.different,
            sample: r.sample,
        }),
        journaled: summary.journaled,
        generator: generator(summary),
        bottleneck: Blame { party: blame.party.word().to_string(), because: blame.because },
        script: script(summary),
        warnings: warnings(summary),
        errors: summary.errors.iter().map(Trouble::of).collect(),
        thresholds: summary.thresholds.iter().map(Threshold::of).collect(),
        connect_time: Times::of(&summary.connect_time),
        baseline: None,
        drawn: None,
    }
}

/// Everything about a run, with stable names, ending in a newline.
pub fn summary_json(summary: &Summary) -> String {
    written(&whole(summary))
}

/// The same with what the run came to against an earlier one.
pub fn summary_json_against(summary: &Summary, compared: Option<&Compared>) -> String {
    written(&Whole { baseline: compared.cloned(), ..whole(summary) })
}

/// JSON with a newline at its end.
pub(super) fn written(value: &impl Serialize) -> String {
    // Cannot fail: all keys are strings, and numbers that are none become null.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{blank, typical};

    #[test]
    fn a_summary_reads_back_with_the_names_of_the_csv_columns() {
        let json: serde_json::Value = serde_json::from_str(&summary_json(&typical())).expect("JSON");
        assert_eq!(json["ledger"]["scheduled"], 13_500);
        assert_eq!(json["ledger"]["dropped_by"]["no_record"], 0);
        assert_eq!(json["outcome"], "passed");
        assert_eq!(json["started_at"], "2026-11-21T14:05:01.123Z");
        assert_eq!(json["lag"]["count"], 13_500);
        assert_eq!(json["bottleneck"]["party"], "none");
        assert_eq!(json["stages"][0]["stage"], "up");
    }

    #[test]
    fn a_summary_with_nothing_in_it_has_zeros_and_no_mapping() {
        let mut summary = blank();
        summary.script.counters.insert("odd".to_string(), f64::NAN);
        let json: serde_json::Value = serde_json::from_str(&summary_json(&summary)).expect("JSON");
        assert_eq!(json["response_time"]["p99_us"], 0);
        assert_eq!(json["rate_actual"], 0.0);
        assert!(json["ledger"]["mapped"].is_null() && json["script"]["counters"]["odd"].is_null());
    }
}
