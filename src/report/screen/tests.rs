use super::*;
use crate::recorder::summary::{ErrorRow, EventRow, ThresholdRow};
use crate::report::tests::{blank, typical};
use crate::units::{Nanos, Tps, Unit};
use std::time::Duration;

fn shown(summary: &Summary) -> String {
    let files = ["summary.csv", "seconds.csv"].map(str::to_string);
    final_screen(summary, Path::new("runs/ramp"), &files, false)
}

/// A run in which much went wrong.
fn troubled() -> Summary {
    let mut summary = typical();
    summary.ledger.sent = 13_000;
    summary.ledger.outcomes = Outcomes::default();
    for (outcome, number) in [
        (Outcome::Matched, 12_900),
        (Outcome::Reset, 60),
        (Outcome::TimedOut, 40),
        (Outcome::Late, 300),
        (Outcome::NoRecord, 200),
    ] {
        summary.ledger.outcomes.add(outcome, number);
    }
    summary.ledger.receipts.received = 12_905;
    summary.ledger.receipts.duplicate = 4;
    summary.imbalances = summary.ledger.balance().expect_err("it does not balance");
    summary.responder = summary.responder.map(|mut responder| {
        responder.received = 12_905;
        responder
    });
    summary.read_back = summary.read_back.map(|mut back| {
        (back.found, back.missing) = (13_498, 2);
        back
    });
    summary.journaled = 7;
    summary.health.starved = 12;
    summary.health.waited = 34;
    summary.health.outages = 1;
    summary.health.slowest_fetch = Duration::from_millis(1700);
    summary.latencies.lag.saturating_record_n(30_000_000, 500);
    summary.script.checks.insert("has id".to_string(), (12_000, 900));
    summary.script.counters.insert("retries".to_string(), 3.5);
    summary.stages.push(summary.stages[0].clone());
    summary.stages[0].warmup = true;
    for number in 1..=7 {
        summary.errors.push(ErrorRow {
            kind: "connect".to_string(),
            address: "127.0.0.1:9000".parse().ok(),
            count: number * 1000,
            first: Nanos::ZERO,
            last: Nanos::ZERO,
            detail: format!("reason {number}\u{1b}[31m\nsecond line"),
        });
    }
    summary.verdict.passed = false;
    summary.verdict.exit_code = 111;
    summary.verdict.word = "unbalanced".into();
    summary.verdict.reason = "the ledger does not balance".to_string();
    summary
}

#[test]
fn a_run_that_passed_is_shown_as_in_the_golden_file() {
    insta::assert_snapshot!("passed", shown(&typical()));
}

#[test]
fn a_run_that_failed_is_shown_as_in_the_golden_file() {
    insta::assert_snapshot!("failed", shown(&troubled()));
}

#[test]
fn a_summary_with_nothing_in_it_is_shown_without_nan() {
    let text = shown(&blank());
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(text.starts_with("PASSED") && text.contains("balanced"), "{text}");
}

#[test]
fn colour_adds_nothing_but_colour() {
    let files = ["summary.csv", "seconds.csv"].map(str::to_string);
    let mut coloured = final_screen(&troubled(), Path::new("runs/ramp"), &files, true);
    assert!(coloured.contains("\u{1b}["));
    while let Some(start) = coloured.find("\u{1b}[") {
        let end = coloured[start..].find('m').expect("a whole sequence");
        coloured.replace_range(start..=start + end, "");
    }
    assert_eq!(coloured, shown(&troubled()));
}

#[test]
fn the_last_line_says_how_it_ended() {
    assert_eq!(last_line(&typical()), "PASSED ramp: 13 500 of 13 500 requests answered, 112.5/s");
    assert_eq!(last_line(&troubled()), "FAILED ramp: the ledger does not balance (exit 111)");
}

#[test]
fn thresholds_stand_behind_the_verdict_with_what_was_measured() {
    let row = |passed, measured, note: &str| ThresholdRow {
        check: "lag max < 50ms".to_string(),
        terms: "stage up".to_string(),
        passed,
        measured,
        unit: Unit::Time,
        note: note.to_string(),
        suffers_from_generator: true,
    };
    let mut summary = troubled();
    summary.thresholds = vec![row(true, Some(42e6), ""), row(false, None, "nothing was measured")];
    let text = shown(&summary);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> =
        text.lines().skip_while(|line| *line != "THRESHOLDS").take(3).map(words).collect();
    let expected =
        ["pass lag max < 50ms (stage up) 42 ms", "FAIL lag max < 50ms (stage up) - nothing was measured"];
    assert_eq!(lines[1..], expected);
    assert!(text.find("FAILED") < text.find("THRESHOLDS") && text.find("THRESHOLDS") < text.find("LATENCY"));
    let files = ["summary.csv", "seconds.csv"].map(str::to_string);
    let coloured = final_screen(&summary, Path::new("runs/ramp"), &files, true);
    assert!(coloured.contains("mpass\u{1b}[") && coloured.contains("mFAIL\u{1b}["), "{coloured}");
}

#[test]
fn what_was_done_to_the_run_is_shown_as_far_as_there_is_room() {
    assert!(!shown(&typical()).contains("CHANGES"));
    let mut summary = typical();
    let event = |event: &'static str, rate| EventRow {
        n: 12_345,
        at: Nanos(30_010_000_000),
        event: event.into(),
        rate,
        stage: "up".to_string(),
    };
    summary.events = vec![event("rate", Some(Tps::per_second(250)))];
    summary.events.extend(vec![event("pause", None); SHOWN_CHANGES + 2]);
    let text = shown(&summary);
    let line = text.lines().find(|line| line.contains("250/s")).expect("the new rate");
    for part in ["rate", "at 30.010 s", "from request 12 345", "in up"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("pause")).count(), SHOWN_CHANGES - 1);
    assert!(text.contains("3 more changes in events.csv"), "{text}");
}
