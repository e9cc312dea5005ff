//! The summary of a run as JSON, for `--json` and `summary.json`. Names are those of the CSV columns;
//! times are whole microseconds with `_us` in the name.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::{Ledger, Outcome};
use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::recorder::summary::{ErrorRow, KindRow, StageRow, Summary, ThresholdRow};
use crate::report::csv::{DROPPED, FAILED};
use crate::report::figures::to_micros;
use crate::report::health::{bottleneck, warnings};
use crate::report::timestamp;
use crate::units::{Nanos, Unit};

#[derive(Serialize)]
struct Whole<'a> {
    run_id: &'a str,
    scenario: &'a str,
    plan: &'a str,
    seed: u64,
    started_at: String,
    duration_s: f64,
    scheduled_duration_s: f64,
    outcome: &'a str,
    passed: bool,
    exit_code: u8,
    reason: &'a str,
    /// What must hold, and what was measured.
    thresholds: Vec<Demand<'a>>,
    rate_planned: f64,
    rate_actual: f64,
    ledger: Account,
    balanced: bool,
    imbalances: Vec<Side<'a>>,
    response_time: Times,
    service_time: Times,
    lag: Times,
    stages: Vec<Stage<'a>>,
    /// Empty where kinds are not told apart.
    mix: Vec<Kind<'a>>,
    operations: u64,
    errors_total: u64,
    error_rate: f64,
    connections: Connections<'a>,
    responder: Option<Responder>,
    read_back: Option<ReadBack>,
    journaled: u64,
    generator: Generator,
    bottleneck: Blame,
    script: Script<'a>,
    warnings: Vec<String>,
    errors: Vec<Trouble<'a>>,
}

#[derive(Serialize)]
struct Demand<'a> {
    check: &'a str,
    terms: &'a str,
    passed: bool,
    /// Null where nothing was measured.
    measured: Option<f64>,
    /// `us`, `share` (0 to 1), `count` or `per_second`.
    unit: &'static str,
    note: &'a str,
}

impl<'a> Demand<'a> {
    fn of(row: &'a ThresholdRow) -> Demand<'a> {
        let (unit, scale) = match row.unit {
            Unit::Time => ("us", 1e-3),
            Unit::Share => ("share", 1.0),
            Unit::Count => ("count", 1.0),
            Unit::PerSecond => ("per_second", 1.0),
        };
        Demand {
            check: &row.check,
            terms: &row.terms,
            passed: row.passed,
            measured: row.measured.map(|value| value * scale),
            unit,
            note: &row.note,
        }
    }
}

#[derive(Serialize)]
struct Account {
    scheduled: u64,
    sent: u64,
    dropped: u64,
    dropped_by: BTreeMap<&'static str, u64>,
    not_reached: u64,
    matched: u64,
    failed: u64,
    failed_by: BTreeMap<&'static str, u64>,
    timed_out: u64,
    received: u64,
    duplicate: u64,
    late: u64,
    unknown: u64,
    malformed: u64,
    error_replies: u64,
    /// Null when nothing is mapped.
    mapped: Option<u64>,
    map_failed: Option<u64>,
}

impl Account {
    fn of(ledger: &Ledger) -> Account {
        let outcomes = &ledger.outcomes;
        let by = |kinds: &[Outcome]| kinds.iter().map(|&kind| (kind.word(), outcomes.of(kind))).collect();
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

#[derive(Serialize)]
struct Side<'a> {
    equation: &'a str,
    left: u64,
    right: u64,
}

#[derive(Default, Serialize)]
struct Times {
    count: u64,
    min_us: u64,
    mean_us: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    max_us: u64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Times {
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

#[derive(Serialize)]
struct Stage<'a> {
    stage: &'a str,
    kind: &'a str,
    duration_s: f64,
    warmup: bool,
    scheduled: u64,
    sent: u64,
    matched: u64,
    failed: u64,
    timed_out: u64,
    dropped: u64,
    rate_planned: f64,
    rate_actual: f64,
    response_time: Times,
    service_time: Times,
    lag: Times,
}

impl<'a> Stage<'a> {
    fn of(row: &'a StageRow) -> Stage<'a> {
        let window = &row.window;
        let times = |of: fn(&Latencies) -> &Histogram<u64>| {
            window.latencies.as_deref().map_or_else(Times::default, |latencies| Times::of(of(latencies)))
        };
        Stage {
            stage: &row.name,
            kind: row.kind,
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
            response_time: times(|latencies| &latencies.response),
            service_time: times(|latencies| &latencies.service),
            lag: times(|latencies| &latencies.lag),
        }
    }
}

#[derive(Serialize)]
struct Kind<'a> {
    kind: &'a str,
    weight: u64,
    sent: u64,
    matched: u64,
    failed: u64,
    timed_out: u64,
    dropped: u64,
    error_replies: u64,
    rate_actual: f64,
    response_time: Times,
    service_time: Times,
    lag: Times,
}

impl<'a> Kind<'a> {
    fn of(summary: &Summary, row: &'a KindRow) -> Kind<'a> {
        let tally = &row.tally;
        Kind {
            kind: &row.name,
            weight: row.weight,
            sent: tally.sent,
            matched: tally.outcomes.of(Outcome::Matched),
            failed: tally.outcomes.failed(),
            timed_out: tally.outcomes.of(Outcome::TimedOut),
            dropped: tally.outcomes.dropped(),
            error_replies: tally.error_replies,
            rate_actual: summary.rate_of(row),
            response_time: Times::of(&tally.latencies.response),
            service_time: Times::of(&tally.latencies.service),
            lag: Times::of(&tally.latencies.lag),
        }
    }
}

#[derive(Serialize)]
struct Connections<'a> {
    opened: u64,
    reconnects: u64,
    ends: &'a BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Responder {
    issued: u64,
    received: u64,
    unanswered: u64,
    agrees: bool,
}

#[derive(Serialize)]
struct ReadBack {
    expected: u64,
    found: u64,
    missing: u64,
    different: u64,
    sample: bool,
}

#[derive(Serialize)]
struct Generator {
    worker_cpu_s: Vec<f64>,
    process_cpu_s: f64,
    starved: u64,
    waited_for_room: u64,
    script_calls: u64,
    script_us: u64,
    script_max_us: u64,
    slowest_fetch_us: u64,
    slowest_write_us: u64,
    outages: u64,
    generated: u64,
}

#[derive(Serialize)]
struct Blame {
    party: &'static str,
    because: String,
}

#[derive(Serialize)]
struct Script<'a> {
    /// A counter that is no number any more is null.
    counters: &'a BTreeMap<String, f64>,
    checks: BTreeMap<&'a str, Check>,
}

#[derive(Serialize)]
struct Check {
    passed: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Trouble<'a> {
    kind: &'a str,
    address: Option<String>,
    count: u64,
    first_us: u64,
    last_us: u64,
    detail: &'a str,
}

impl<'a> Trouble<'a> {
    fn of(error: &'a ErrorRow) -> Trouble<'a> {
        Trouble {
            kind: &error.kind,
            address: error.address.map(|address| address.to_string()),
            count: error.count,
            first_us: to_micros(error.first.0),
            last_us: to_micros(error.last.0),
            detail: &error.detail,
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

fn script(summary: &Summary) -> Script<'_> {
    let checks = &summary.script.checks;
    Script {
        counters: &summary.script.counters,
        checks: checks
            .iter()
            .map(|(name, &(passed, failed))| (name.as_str(), Check { passed, failed }))
            .collect(),
    }
}

fn whole(summary: &Summary) -> Whole<'_> {
    let blame = bottleneck(summary);
    Whole {
        run_id: &summary.run_id,
        scenario: &summary.scenario,
        plan: &summary.plan,
        seed: summary.seed,
        started_at: timestamp(summary.started_at),
        duration_s: summary.duration.as_secs_f64(),
        scheduled_duration_s: summary.scheduled_duration.as_secs_f64(),
        outcome: summary.verdict.word,
        passed: summary.verdict.passed,
        exit_code: summary.verdict.exit_code,
        reason: &summary.verdict.reason,
        thresholds: summary.thresholds.iter().map(Demand::of).collect(),
        rate_planned: summary.rate_planned(),
        rate_actual: summary.rate_actual(),
        ledger: Account::of(&summary.ledger),
        balanced: summary.imbalances.is_empty(),
        imbalances: summary
            .imbalances
            .iter()
            .map(|i| Side { equation: i.equation, left: i.left, right: i.right })
            .collect(),
        response_time: Times::of(&summary.latencies.response),
        service_time: Times::of(&summary.latencies.service),
        lag: Times::of(&summary.latencies.lag),
        stages: summary.stages.iter().map(Stage::of).collect(),
        mix: summary.kinds.iter().map(|kind| Kind::of(summary, kind)).collect(),
        operations: summary.operations(),
        errors_total: summary.errors(),
        error_rate: summary.error_rate(),
        connections: Connections {
            opened: summary.connections_opened,
            reconnects: summary.reconnects,
            ends: &summary.connection_ends,
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
        bottleneck: Blame { party: blame.party.word(), because: blame.because },
        script: script(summary),
        warnings: warnings(summary),
        errors: summary.errors.iter().map(Trouble::of).collect(),
    }
}

/// Everything about a run, with stable names, ending in a newline.
pub fn summary_json(summary: &Summary) -> String {
    written(&whole(summary))
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
