//! Thresholds of whole runs: what is measured is what is shown, and decides how the run ends.

#[path = "support/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use program::{Bench, Ended};

/// Two seconds of load and the request of the instant in which they end, then none: answered after 20 ms, looked at
/// by a script.
fn scenario(thresholds: &[&str]) -> String {
    let list: String = thresholds.iter().map(|threshold| format!("  - {threshold}\n")).collect();
    format!(
        "name: judged\nrecords: {{ range: 1..10000 }}\n\
         load:\n  stages:\n    - {{ name: up, hold: 100, duration: 2s }}\n    - {{ name: rest, pause: {{}}, duration: 500ms }}\n    - {{ name: still, pause: {{}}, duration: 200ms }}\n\
         responder: {{ delay: 20ms }}\nscript: {{ file: hooks.lua }}\nthresholds:\n{list}"
    )
}

const HOOKS: &str = "local answers = metrics.counter('answers')\n\
                     function response(ctx, record, reply)\n  answers:inc()\n  check('has an id', #reply.id > 0)\nend\n";

fn judged(bench: &Bench, thresholds: &[&str]) -> (Ended, Vec<serde_json::Value>) {
    bench.file("hooks.lua", HOOKS);
    let ended = bench.run(&scenario(thresholds), &["--json"]);
    let summary: serde_json::Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}\n{}", ended.stderr));
    let rows = summary["thresholds"].as_array().expect("a list").clone();
    assert_eq!(rows.len(), thresholds.len());
    (ended, rows)
}

fn last_line(ended: &Ended) -> &str {
    ended.stderr.trim_end().lines().last().unwrap_or_default()
}

#[test]
fn a_run_passes_when_every_kind_of_threshold_holds() {
    let bench = Bench::new();
    let thresholds = [
        "response_time p(50) >= 20ms",
        "service_time min >= 19ms",
        "lag p(50) < 20ms",
        "response_time{stage:up} count == 200",
        "{ check: response_time rate > 50, stage: up }",
        "connect_time max < 10s",
        "script_time count >= 200",
        "failed rate < 1%",
        "timed_out count == 0",
        "dropped count == 0",
        "{ check: error rate < 1%, after: 1s, for: 1s, abort: true }",
        "lost count == 0",
        "duplicate count == 0",
        "rate_error max <= 0%",
        "generator.cpu <= 100%",
        "counter.answers == 201",
        "check.has an id rate == 100%",
        "checks count == 201",
        "{ check: response_time p(99) < 1ms, stage: still, no_data: pass }",
    ];
    let (ended, rows) = judged(&bench, &thresholds);
    ended.assert_code(0);
    assert!(rows.iter().all(|row| row["passed"] == true), "{rows:?}");
    let median = rows[0]["measured"].as_f64().expect("measured");
    assert_eq!((rows[0]["unit"].as_str(), (20_000.0..2_000_000.0).contains(&median)), (Some("us"), true));
    // What decides is what the reports say.
    assert!((median - ended.summary(&["response_p50_us"])[0] as f64).abs() <= 1.0);
    assert_eq!((&rows[3]["measured"], &rows[15]["measured"]), (&200.0.into(), &201.0.into()));
    assert!(rows[18]["measured"].is_null() && rows[18]["note"] == "nothing was measured");
    let place = |word: &str| ended.stderr.find(word).unwrap_or_else(|| panic!("{word}\n{}", ended.stderr));
    assert!(place("PASSED") < place("THRESHOLDS") && place("THRESHOLDS") < place("LATENCY"));
}

#[test]
fn a_run_fails_with_99_and_says_what_was_measured() {
    let bench = Bench::new();
    let thresholds = [
        "response_time p(50) < 10ms",
        "failed rate < 1%",
        "counter.answers < 100",
        "checks rate < 50%",
        "{ check: service_time max < 10ms, for: 2s }",
        "{ check: response_time p(99) < 1s, stage: still }",
        "counter.nobody == 0",
    ];
    let (ended, rows) = judged(&bench, &thresholds);
    ended.assert_code(99);
    let passed: Vec<bool> = rows.iter().map(|row| row["passed"] == true).collect();
    assert_eq!(passed, [false, true, false, false, false, false, false]);
    assert_eq!(rows[4]["note"], "the worst second; broken from second 0 to 1");
    let last = last_line(&ended);
    assert!(last.starts_with("FAILED") && last.contains("(exit 99)"), "{last}");
    assert!(last.contains("6 of 7 thresholds failed: response_time p(50) < 10ms: measured 2"), "{last}");
    let row = ended.rows("summary.csv").remove(0);
    assert_eq!((row["outcome"].as_str(), row["exit_code"].as_str()), ("threshold", "99"));
    assert_eq!(ended.summary(&["matched"]), [201]);
}

#[test]
fn a_threshold_that_aborts_drains_the_run_in_the_second_in_which_it_is_broken() {
    let bench = Bench::new();
    let yaml = "name: long\nrecords: { range: 1..10000 }\nload: { stages: [ { hold: 100, duration: 10m } ] }\n\
                responder: { delay: 20ms }\n\
                thresholds: [ { check: response_time p(50) < 10ms, after: 1s, abort: true } ]\n";
    let ended = bench.run(yaml, &[]);
    ended.assert_code(99);
    assert!(last_line(&ended).contains("broken in second 1, which ended the run"), "{}", ended.stderr);
    let counts = ended.summary(&["scheduled", "sent", "dropped", "not_reached", "matched", "mapped"]);
    let [scheduled, sent, dropped, not_reached, matched, mapped] = counts[..] else { panic!("{counts:?}") };
    assert_eq!((scheduled, sent + dropped + not_reached, sent), (60_000, 60_000, matched));
    assert!(sent >= 200 && not_reached > 0 && matched == mapped, "{counts:?}");
}

/// Answers a line each, but closes the connection instead for every tenth.
fn answer_lines(stream: TcpStream) {
    let mut answers = stream.try_clone().expect("a second handle");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let id = line.split(' ').next().unwrap_or_default().to_string();
        if id.ends_with('9') || writeln!(answers, "{id} answer-{id}").is_err() {
            return;
        }
    }
}

#[test]
fn requests_that_really_fail_break_a_threshold() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    // It ends with the test's process: nobody else connects to it.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_lines(stream));
        }
    });
    let bench = Bench::new();
    let yaml = format!(
        "name: flaky\nload: {{ stages: [ {{ hold: 100, duration: 2s }} ] }}\nmapping: {{ into: none }}\n\
         connections: {{ count: 4, window: 1 }}\ntarget: {{ addresses: [\"127.0.0.1:{port}\"], framing: line }}\n\
         thresholds: [ failed count == 0, error rate < 1%, timed_out count == 0, lost count == 0 ]\n"
    );
    let ended = bench.run(&yaml, &["--json"]);
    ended.assert_code(99);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let rows = &summary["thresholds"];
    let failed = ended.summary(&["failed"])[0];
    assert!(failed >= 20, "{failed}");
    assert_eq!(rows[0]["measured"], failed as f64);
    let passed: Vec<bool> = (0..4).map(|index| rows[index]["passed"] == true).collect();
    // Nobody but the client knows of responses here, so nobody can say that none was lost.
    assert_eq!(passed, [false, false, true, false]);
    assert_eq!(rows[3]["note"], "nothing was measured");
}

#[test]
fn a_stage_that_is_not_there_is_refused_and_a_dry_run_shows_the_terms() {
    let bench = Bench::new();
    bench.file("hooks.lua", HOOKS);
    let refused = bench.run(&scenario(&["{ check: lag max < 1s, stage: down }"]), &["--dry-run"]);
    refused.assert_code(104);
    assert!(refused.stderr.contains("there is no stage `down`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("the stages are up, rest, still"), "{}", refused.stderr);
    let shown = bench.run(&scenario(&["{ check: lag max < 1s, stage: up, for: 1s }"]), &["--dry-run"]);
    shown.assert_code(0);
    assert!(shown.stdout.contains("lag max < 1s (stage up, for 1s)"), "{}", shown.stdout);
}

/// A script that needs more time than there is: each request keeps it busy for milliseconds.
fn busy(thresholds: &str) -> (Ended, serde_json::Value) {
    let bench = Bench::new();
    bench.file(
        "busy.lua",
        "function request(ctx, record)\n  local sum = 0\n  for i = 1, 200000 do sum = sum + i end\n\
         \x20 return record.value .. sum\nend\n",
    );
    let yaml = format!(
        "name: busy\nrecords: {{ source: template, range: 1..10000 }}\nmapping: {{ into: none }}\n\
         load: {{ max_lateness: 100ms, stages: [ {{ hold: 1000, duration: 300ms }} ] }}\n\
         script: {{ file: busy.lua, timeout: 10s }}\nthresholds: [ {thresholds} ]\n"
    );
    let ended = bench.run(&yaml, &["--json", "--workers", "1"]);
    let summary = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}\n{}", ended.stderr));
    (ended, summary)
}

#[test]
fn a_generator_that_cannot_keep_up_makes_the_run_invalid() {
    let (ended, summary) = busy("");
    ended.assert_code(112);
    assert_eq!(
        (&summary["outcome"], &summary["bottleneck"]["party"]),
        (&"saturated".into(), &"script".into())
    );
    let last = last_line(&ended);
    assert!(last.contains("the generator was saturated, so the result is not valid"), "{last}");
    busy("lag p(99) < 1ms, dropped rate < 1%").0.assert_code(112);
    // What the target does wrong is not the fault of the generator.
    busy("dropped rate < 1%, service_time max < 1ns").0.assert_code(99);
}
