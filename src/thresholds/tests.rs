use super::*;
use crate::ledger::Mapped;
use crate::plan::compile::compile;
use crate::plan::segment::Segment;
use crate::recorder::summary::blank;
use crate::scenario::{Overrides, Scenario};
use std::path::Path;
use std::time::Duration;

/// Warm-up for two seconds, four that count, and two in which nothing is due.
const STAGES: &str = "{ name: warm, hold: 100, duration: 2s, warmup: true }, \
                      { name: up, hold: 100, duration: 4s }, { name: rest, pause: {}, duration: 2s }";

const MS: u64 = 1_000_000;

fn watch(thresholds: &[String], segment: Segment) -> (Plan, Watch) {
    let list = thresholds.join(", ");
    let text = format!("name: t\nload: {{ stages: [ {STAGES} ] }}\nthresholds: [ {list} ]\n");
    let loaded = Scenario::from_text("t.yaml", Path::new("."), &text, &Overrides::default());
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let plan = compile(&loaded.scenario, segment, &mut |_, _| Ok(0.0)).expect("a plan");
    let watch = Watch::new(&plan);
    (plan, watch)
}

/// A second of 100 requests: 90 answered after so long, 5 reset, 3 timed out, 2 dropped, 4 refused.
fn second(response_ms: u64) -> Window {
    let mut window = Window::default();
    (window.scheduled, window.sent, window.error_replies) = (100, 98, 4);
    let ends = [(Outcome::Matched, 90), (Outcome::Reset, 5), (Outcome::TimedOut, 3), (Outcome::Late, 2)];
    for (outcome, number) in ends {
        window.outcomes.add(outcome, number);
    }
    let mut latencies = Latencies::default();
    latencies.response.saturating_record_n(response_ms * MS, 90);
    latencies.service.saturating_record_n(5 * MS, 90);
    latencies.lag.saturating_record_n(MS, 98);
    window.latencies = Some(Box::new(latencies));
    window
}

/// A second in which nothing was due.
fn nothing() -> Window {
    Window::default()
}

/// Shows the seconds to a watch, as far as it lets them come, and judges. The second that ended the run, too.
fn judged(thresholds: &[&str], seconds: Vec<Window>, summary: Summary) -> (Vec<ThresholdRow>, Option<u64>) {
    judged_of(Segment::WHOLE, thresholds, seconds, summary)
}

fn judged_of(
    segment: Segment,
    thresholds: &[&str],
    seconds: Vec<Window>,
    mut summary: Summary,
) -> (Vec<ThresholdRow>, Option<u64>) {
    let thresholds: Vec<String> = thresholds
        .iter()
        .map(|text| if text.starts_with('{') { (*text).to_string() } else { format!("\"{text}\"") })
        .collect();
    let (plan, mut watch) = watch(&thresholds, segment);
    let mut ended = None;
    let mut stages = vec![Window::default(); plan.stages.len()];
    for (number, window) in (0..).zip(seconds) {
        let stage = match number {
            0..2 => 0,
            2..6 => 1,
            _ => 2,
        };
        stages[stage].merge(&window);
        if watch.second(&SecondRow { second: number, window }) {
            ended.get_or_insert(number);
        }
    }
    let rows = plan.stages.iter().zip(stages).map(|(stage, window)| StageRow {
        name: stage.name.clone(),
        kind: stage.kind.into(),
        duration: stage.duration(),
        warmup: stage.warmup,
        planned: stage.totals.scheduled,
        window,
    });
    summary.stages = rows.collect();
    (watch.judge(&summary), ended)
}

/// Eight seconds: a slow warm-up, four that count, and a rest.
fn steady() -> Vec<Window> {
    let counted = (0..4).map(|_| second(10));
    [second(900), second(900)].into_iter().chain(counted).chain([nothing(), nothing()]).collect()
}

/// What a run leaves behind that is known at its end only.
fn finished() -> Summary {
    let mut summary = blank();
    summary.duration = Nanos::from_secs(8);
    summary.connect_time.saturating_record_n(2 * MS, 10);
    (summary.health.script_calls, summary.health.script_time) = (100, Duration::from_millis(10));
    summary.health.script_slowest = Duration::from_millis(5);
    summary.health.worker_cpu = vec![Duration::from_secs(2), Duration::from_secs(1)];
    summary.ledger.outcomes.add(Outcome::Matched, 400);
    summary.ledger.mapping = Some(Mapped { mapped: 398, map_failed: 2 });
    (summary.ledger.receipts.received, summary.ledger.receipts.duplicate) = (403, 3);
    summary.script.counters.insert("retries".to_string(), 7.0);
    summary.script.checks.insert("has an id".to_string(), (9, 1));
    summary.script.checks.insert("is short".to_string(), (10, 0));
    summary
}

/// For each figure: what is measured, a bound that it keeps, and one that it breaks.
const FIGURES: &[(&str, f64, &str, &str)] = &[
    ("response_time p(99)", 10e6, "< 11ms", "< 9ms"),
    ("response_time min", 10e6, "> 9ms", "> 11ms"),
    ("response_time max", 10e6, "<= 11ms", "<= 9ms"),
    ("response_time mean", 10e6, "< 11ms", "< 9ms"),
    ("response_time count", 360.0, "== 360", "!= 360"),
    ("response_time rate", 60.0, ">= 60", "> 60"),
    ("service_time p(50)", 5e6, "< 6ms", "< 4ms"),
    ("lag p(99.9)", 1e6, "< 2ms", "< 500us"),
    ("failed rate", 8.0 / 98.0, "< 9%", "< 8%"),
    ("failed count", 32.0, "== 32", "== 0"),
    ("timed_out rate", 3.0 / 98.0, "< 4%", "< 3%"),
    ("timed_out count", 12.0, "<= 12", "< 12"),
    ("dropped rate", 0.02, "<= 2%", "< 2%"),
    ("dropped count", 8.0, "== 8", "== 0"),
    ("error rate", 0.14, "< 15%", "< 14%"),
    ("error count", 56.0, "< 57", "< 56"),
    ("rate_error max", 0.02, "<= 2%", "< 1%"),
    ("rate_error mean", 0.02, "<= 2%", "< 1%"),
];

/// The same for what is known for the whole run only.
const AT_THE_END: &[(&str, f64, &str, &str)] = &[
    ("connect_time p(99)", 2e6, "< 3ms", "< 1ms"),
    ("connect_time count", 10.0, "== 10", "== 0"),
    ("connect_time rate", 1.25, "> 1", "> 2"),
    ("script_time mean", 1e5, "< 200us", "< 50us"),
    ("script_time max", 5e6, "< 6ms", "< 4ms"),
    ("script_time count", 100.0, ">= 100", "> 100"),
    ("script_time rate", 12.5, "> 12", "> 13"),
    ("lost count", 2.0, "< 3", "== 0"),
    ("lost rate", 0.005, "< 1%", "< 0.1%"),
    ("duplicate count", 3.0, "<= 3", "== 0"),
    ("duplicate rate", 3.0 / 403.0, "< 1%", "< 0.1%"),
    ("generator.cpu", 0.25, "< 85%", "< 20%"),
    ("generator.cpu mean", 0.1875, "< 0.2", "< 0.1"),
    ("generator.cpu min", 0.125, "> 0.1", "> 0.2"),
    ("counter.retries", 7.0, "< 8", "== 0"),
    ("counter.retries rate", 0.875, "< 1", "< 0.5"),
    ("check.has an id rate", 0.9, "> 85%", "> 99%"),
    ("check.has an id count", 10.0, "== 10", "> 10"),
    ("checks rate", 0.95, ">= 95%", "== 100%"),
    ("checks count", 20.0, ">= 20", "< 20"),
];

fn close(measured: Option<f64>, expected: f64) -> bool {
    // A histogram tells three digits apart.
    measured.is_some_and(|value| (value - expected).abs() <= expected * 0.001)
}

#[test]
fn every_figure_is_measured_and_passes_or_fails_by_its_bound() {
    for (figure, expected, kept, broken) in FIGURES.iter().chain(AT_THE_END) {
        let texts = [format!("{figure} {kept}"), format!("{figure} {broken}")];
        let texts = [texts[0].as_str(), texts[1].as_str()];
        let (rows, ended) = judged(&texts, steady(), finished());
        assert!(close(rows[0].measured, *expected), "{figure}: {:?}", rows[0].measured);
        assert_eq!((rows[0].passed, rows[1].passed, ended), (true, false, None), "{figure}");
        assert_eq!(rows[0].note, "", "{figure}");
    }
}

#[test]
fn nothing_measured_fails_unless_it_may_pass() {
    let of_stage = FIGURES.iter().map(|(figure, _, kept, _)| (figure, kept, "stage: rest, "));
    let of_run = AT_THE_END.iter().map(|(figure, _, kept, _)| (figure, kept, ""));
    for (figure, kept, stage) in of_stage.chain(of_run) {
        let texts = ["fail", "pass"]
            .map(|verdict| format!("{{ check: \"{figure} {kept}\", {stage}no_data: {verdict} }}"));
        let (rows, _) = judged(&[&texts[0], &texts[1]], steady(), blank());
        assert_eq!((rows[0].passed, rows[1].passed), (false, true), "{figure}");
        assert_eq!((rows[0].measured, rows[0].note.as_str()), (None, "nothing was measured"), "{figure}");
    }
}

#[test]
fn warm_up_counts_only_where_it_is_named() {
    let (rows, _) = judged(
        &[
            "response_time max < 100ms",
            "response_time{stage:warm} max < 100ms",
            "response_time{stage:up} count == 360",
        ],
        steady(),
        blank(),
    );
    assert_eq!(rows.iter().map(|row| row.passed).collect::<Vec<_>>(), [true, false, true]);
    assert!(close(rows[1].measured, 900e6));
}

#[test]
fn for_wants_so_many_broken_seconds_in_a_row_and_shows_the_worst() {
    let seconds = |times: [Option<u64>; 4]| {
        let counted = times.map(|ms| ms.map_or_else(nothing, second));
        [second(900), second(900)].into_iter().chain(counted).collect::<Vec<_>>()
    };
    let threshold = ["{ check: response_time max < 50ms, for: 2s }"];
    let apart = judged(&threshold, seconds([Some(80), Some(10), Some(90), Some(10)]), blank()).0;
    assert!(apart[0].passed && close(apart[0].measured, 90e6), "{apart:?}");
    assert_eq!(apart[0].note, "the worst second");
    let empty_between = judged(&threshold, seconds([Some(80), None, Some(90), Some(10)]), blank()).0;
    assert!(empty_between[0].passed);
    let in_a_row = judged(&threshold, seconds([Some(10), Some(80), Some(70), Some(10)]), blank()).0;
    assert!(!in_a_row[0].passed && close(in_a_row[0].measured, 80e6), "{in_a_row:?}");
    assert_eq!(in_a_row[0].note, "the worst second; broken from second 3 to 4");
}

#[test]
fn abort_ends_the_run_in_the_second_in_which_it_is_broken_and_stays_broken() {
    let slow_then_fast: Vec<Window> = [900, 900, 10, 80, 10, 10].map(second).into();
    let thresholds = ["{ check: response_time max < 50ms, abort: true }"];
    let (rows, ended) = judged(&thresholds, slow_then_fast.clone(), blank());
    assert_eq!((ended, rows[0].passed), (Some(3), false));
    assert_eq!(rows[0].note, "broken in second 3, which ended the run");
    // Taken together, half of the requests are fast, and stay so.
    let (rows, ended) =
        judged(&["{ check: response_time p(50) < 50ms, abort: true }"], slow_then_fast.clone(), blank());
    assert_eq!((ended, rows[0].passed), (None, true));
    let late = ["{ check: response_time max < 50ms, after: 4s, abort: true }"];
    let (rows, ended) = judged(&late, slow_then_fast.clone(), blank());
    assert_eq!((ended, rows[0].passed), (None, true));
    let a_row = ["{ check: failed rate < 1%, for: 2s, abort: true }"];
    assert_eq!(judged(&a_row, slow_then_fast.clone(), blank()).1, Some(3));
    let behind = ["{ check: rate_error max < 1%, abort: true }"];
    assert_eq!(judged(&behind, slow_then_fast, blank()).1, Some(2));
}

#[test]
fn after_leaves_out_what_comes_before_from_the_start_of_the_stage() {
    let slow_start: Vec<Window> = [10, 10, 900, 10, 10, 10].map(second).into();
    let (rows, _) = judged(
        &[
            "{ check: response_time max < 50ms, stage: up, after: 1s }",
            "{ check: response_time max < 50ms, after: 3s }",
            "{ check: response_time max < 50ms, after: 2s }",
            "{ check: response_time count == 270, stage: up, after: 1s }",
        ],
        slow_start,
        blank(),
    );
    assert_eq!(rows.iter().map(|row| row.passed).collect::<Vec<_>>(), [true, true, false, true]);
}

#[test]
fn what_the_generator_alone_has_broken_is_known() {
    let mut summary = blank();
    summary.latencies.lag.saturating_record_n(MS, 400);
    summary.ledger.outcomes.add(Outcome::Reset, 20);
    let broken = [
        ("lag max < 1ns", true),
        // 1 ms of the 10 ms is lag.
        ("response_time p(99) < 9500us", true),
        ("response_time p(99) < 5ms", false),
        ("service_time p(99) < 1ms", false),
        ("failed count == 0", false),
        ("error count == 0", false),
        ("counter.nobody > 0", false),
    ];
    let texts = broken.map(|(text, _)| text);
    let rows = judged(&texts, steady(), summary.clone()).0;
    for (row, (text, expected)) in rows.iter().zip(broken) {
        assert_eq!((row.passed, row.suffers_from_generator), (false, expected), "{text}");
    }
    // The script dropped them.
    summary.ledger.outcomes.add(Outcome::Script, 40);
    assert!(!judged(&["dropped count == 0"], steady(), summary.clone()).0[0].suffers_from_generator);
    summary.ledger.outcomes.add(Outcome::Late, 70);
    assert!(judged(&["error count == 0"], steady(), summary).0[0].suffers_from_generator);
}

#[test]
fn a_run_that_dropped_everything_late_has_nothing_to_measure_because_of_itself() {
    let mut summary = blank();
    summary.ledger.outcomes.add(Outcome::Late, 400);
    let rows = judged(&["response_time p(99) < 1s", "counter.answers > 0"], Vec::new(), summary).0;
    assert_eq!(rows.iter().map(|row| row.suffers_from_generator).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_row_of_broken_seconds_ends_where_seconds_do_not_count() {
    let mut watch = watch(&["{ check: lag max < 1us, for: 2s }".to_string()], Segment::WHOLE).1;
    for number in [3, 5, 7] {
        watch.second(&SecondRow { second: number, window: second(10) });
    }
    assert!(watch.judge(&blank())[0].passed);
    watch.second(&SecondRow { second: 8, window: nothing() });
    assert!(watch.judge(&blank())[0].passed);
}

#[test]
fn what_a_part_of_a_plan_has_sent_is_held_against_upper_bounds_alone() {
    let half = Segment::new(1, 2).expect("a half");
    let texts = [
        "response_time count > 1000",
        "response_time rate >= 1000",
        "failed count == 33",
        "failed count == 31",
        "failed count < 32",
        "failed rate < 1%",
    ];
    let rows = judged_of(half, &texts, steady(), finished()).0;
    let passed: Vec<bool> = rows.iter().map(|row| row.passed).collect();
    assert_eq!(passed, [true, true, true, false, false, false]);
    assert!(rows[0].note.contains("one part of the plan"), "{}", rows[0].note);
}

#[test]
fn what_was_dropped_because_the_run_was_ended_breaks_nothing_more() {
    let mut last = second(80);
    last.scheduled += 50;
    last.outcomes.add(Outcome::Stopped, 50);
    let seconds = vec![second(10), second(10), second(80), last];
    let mut summary = blank();
    summary.ledger.outcomes.add(Outcome::NotReached, 100);
    let texts =
        ["{ check: response_time max < 50ms, abort: true }", "dropped count == 4", "dropped rate <= 2%"];
    let (rows, ended) = judged(&texts, seconds, summary);
    assert_eq!(
        (ended, rows.iter().map(|row| row.passed).collect::<Vec<_>>()),
        (Some(2), vec![false, true, true])
    );
}
