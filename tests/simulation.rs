//! Runs on a clock of their own: the same plan, files and verdicts as a real run, in no time.

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;

use program::{Bench, Ended};

fn last_line(ended: &Ended) -> &str {
    ended.stderr.trim_end().lines().last().unwrap_or_default()
}

/// A column of a CSV file as numbers.
fn column(ended: &Ended, file: &str, name: &str) -> Vec<u64> {
    ended.rows(file).iter().map(|row| row[name].parse().expect("a number")).collect()
}

/// What `summary.json` says of how far the plan was carried out.
fn how_it_ended(ended: &Ended) -> serde_json::Value {
    let json: serde_json::Value = serde_json::from_str(&ended.file("summary.json")).expect("JSON");
    json["ended"].clone()
}

#[test]
fn the_ramp_of_an_hour_is_simulated_to_its_last_request() {
    let bench = Bench::new();
    let ramp = "name: hour\nload: { stages: [ { ramp: { from: 0, to: 1200 }, duration: 1h } ] }\n\
                connections: { count: 10, limit: 100 }\nresponder: { delay: 5ms }\n\
                thresholds: [ response_time p(99) < 50ms, lost count == 0, rate_error <= 0% ]\n";
    let ended = bench.run(ramp, &["--simulate"]);
    ended.assert_code(0);
    let counts =
        ended.summary(&["scheduled", "sent", "matched", "dropped", "failed", "timed_out", "not_reached"]);
    assert_eq!(counts, [2_160_000, 2_160_000, 2_160_000, 0, 0, 0, 0]);
    let (planned, scheduled) =
        (column(&ended, "seconds.csv", "planned"), column(&ended, "seconds.csv", "scheduled"));
    assert_eq!((planned.len(), planned.iter().sum::<u64>()), (3600, 2_160_000));
    assert_eq!(planned, scheduled);
    // 5 ms and nothing else, but for the precision of a histogram.
    assert!(column(&ended, "summary.csv", "response_p99_us")[0].abs_diff(5000) <= 5);
    let row = ended.rows("summary.csv").remove(0);
    // The last is due just before the end, and takes its 5 ms.
    assert!(row["simulated"] == "true" && row["duration_s"].starts_with("3600.004"), "{row:?}");
    bench.call(&["verify", "out"]).assert_code(0);
    assert!(last_line(&ended).starts_with("PASSED (SIMULATED)"), "{}", last_line(&ended));
    assert!(
        ended.stderr.contains("SIMULATED: nothing was sent")
            && ended.file("report.html").contains("SIMULATED")
    );
    let json: serde_json::Value = serde_json::from_str(&ended.file("summary.json")).expect("JSON");
    assert_eq!((&json["simulated"], &json["ledger"]["mapped"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(how_it_ended(&ended), serde_json::json!({ "how": "complete" }));
}

const SMALL: &str = "name: small\nseed: 7\nrecords: { range: 1..1000, order: shuffle }\n\
                     load:\n  stages:\n    - { hold: 100, duration: 1s, warmup: true }\n    - { ramp: { from: 100, to: 300 }, duration: 1s }\n\
                     connections: { count: 4, limit: 25, window: 8 }\nresponder: { delay: 2ms }\n\
                     report: { requests: true }\n";

/// Every request by its number: its key and when it was due.
fn requests(ended: &Ended) -> BTreeMap<u64, (String, String)> {
    let rows = ended.rows("requests.csv").into_iter();
    rows.map(|row| (row["n"].parse().expect("a number"), (row["key"].clone(), row["intended_us"].clone())))
        .collect()
}

#[test]
fn a_simulation_and_a_real_run_agree_in_what_the_plan_decides() {
    let (one, two) = (Bench::new(), Bench::new());
    let simulated = one.run(SMALL, &["--simulate"]);
    let real = two.run(SMALL, &[]);
    simulated.assert_code(0);
    real.assert_code(0);
    let columns = ["scheduled", "sent", "matched", "received", "connections_opened", "reconnects"];
    assert_eq!(simulated.summary(&columns), real.summary(&columns));
    assert_eq!(requests(&simulated), requests(&real));
    for bench in [&one, &two] {
        bench.call(&["verify", "out"]).assert_code(0);
    }
    for (file, name) in [("seconds.csv", "scheduled"), ("seconds.csv", "planned"), ("stages.csv", "sent")] {
        assert_eq!(column(&simulated, file, name), column(&real, file, name), "{file} {name}");
    }
    let plan = |ended: &Ended| ended.rows("summary.csv")[0]["plan"].clone();
    assert_eq!(plan(&simulated), plan(&real));
    // What each connection has carried.
    let carried = |ended: &Ended| -> BTreeMap<(String, String), String> {
        let rows = ended.rows("connections.csv").into_iter();
        rows.map(|row| ((row["slot"].clone(), row["generation"].clone()), row["sent"].clone())).collect()
    };
    assert_eq!(carried(&simulated), carried(&real));
    assert_eq!(real.rows("summary.csv")[0]["simulated"], "false");
}

#[test]
fn the_same_seed_has_the_same_files_to_the_byte() {
    let (one, two) = (Bench::new(), Bench::new());
    let first = one.run(SMALL, &["--simulate", "--quiet"]);
    let second = two.run(SMALL, &["--simulate", "--quiet"]);
    first.assert_code(0);
    for file in ["seconds.csv", "stages.csv", "connections.csv", "errors.csv", "counts.csv", "requests.csv"] {
        assert_eq!(first.file(file), second.file(file), "{file}");
    }
    let without_times = |ended: &Ended| {
        let mut row = ended.rows("summary.csv").remove(0);
        row.retain(|name, _| name != "run_id" && name != "started_at");
        row
    };
    assert_eq!(without_times(&first), without_times(&second));
    let other = one.run(SMALL, &["--simulate", "--quiet", "--seed", "8"]);
    assert_ne!(other.file("requests.csv"), second.file("requests.csv"));
}

/// One connection that carries one request at a time, each answered after 10 ms, and one every 5 ms.
fn crowded(more: &str) -> String {
    format!(
        "name: crowded\nload: {{ {more} stages: [ {{ hold: 200, duration: 1s }} ] }}\n\
         connections: {{ count: 1, limit: 0, window: 1 }}\nresponder: {{ delay: 10ms }}\n"
    )
}

#[test]
fn what_finds_no_room_waits_for_as_long_as_arithmetic_says() {
    let bench = Bench::new();
    let queued = bench.run(&crowded(""), &["--simulate"]);
    queued.assert_code(0);
    // Request k is due at 5k ms and answered at 10(k + 1) ms; the last is number 199.
    let [response_max, lag_max, matched] = queued.summary(&["response_max_us", "lag_max_us", "matched"])[..]
    else {
        panic!("three columns")
    };
    assert!(
        response_max.abs_diff(1_005_000) <= 1005 && lag_max.abs_diff(995_000) <= 995,
        "{response_max} {lag_max}"
    );
    assert_eq!((matched, queued.rows("summary.csv")[0]["duration_s"].as_str()), (200, "2"));

    let late = bench.run(&crowded("max_lateness: 500ms,"), &["--simulate"]);
    let counts = late.summary(&["scheduled", "sent", "matched", "dropped_late"]);
    assert_eq!((counts[0], counts[1]), (200, counts[2]));
    assert!(counts[3] > 0 && counts[1] + counts[3] == 200, "{counts:?}");

    // The first is sent at once, the next finds no room, and so on in turns.
    let dropped = bench.run(&crowded("on_overload: drop,"), &["--simulate"]);
    assert_eq!(dropped.summary(&["sent", "matched", "dropped_overload"]), [100, 100, 100]);
    let failed = bench.run(&crowded("on_overload: fail,"), &["--simulate"]);
    failed.assert_code(1);
    // The second is due after 5 ms and finds no room; that is seen when the model looks around.
    let how = how_it_ended(&failed);
    assert!(how["how"] == "error" && how["at_us"].as_u64().is_some_and(|at| at >= 5000), "{how}");
}

#[test]
fn a_threshold_that_ends_the_run_ends_it_at_the_same_request_every_time() {
    let rising = "name: rising\nload: { stages: [ { ramp: { from: 10, to: 400 }, duration: 60s } ] }\n\
                  connections: { count: 2, limit: 0, window: 1 }\nresponder: { delay: 10ms }\n\
                  thresholds: [ { check: response_time p(99) < 100ms, for: 2s, abort: true } ]\n";
    let bench = Bench::new();
    let counts = || {
        let ended = bench.run(rising, &["--simulate"]);
        ended.assert_code(99);
        (ended.summary(&["scheduled", "sent", "not_reached", "matched"]), how_it_ended(&ended))
    };
    let ((first, how), (second, how_again)) = (counts(), counts());
    assert_eq!((&first, &how), (&second, &how_again));
    assert_eq!(
        (&how["how"], &how["threshold"]),
        (&"threshold".into(), &"response_time p(99) < 100ms".into())
    );
    assert!(first[2] > 0 && first[1] + first[2] <= first[0], "{first:?}");
}

#[test]
fn users_wait_for_their_responses_and_think() {
    let bench = Bench::new();
    let load = |load: &str, delay: &str| {
        format!(
            "name: users\nload: {{ {load} }}\nresponder: {{ delay: {delay} }}\nconnections: {{ limit: 100 }}\n"
        )
    };
    let counted = bench.run(&load("users: 10, requests: 1000, think: 5ms", "5ms"), &["--simulate"]);
    counted.assert_code(0);
    assert_eq!(counted.summary(&["scheduled", "sent", "matched"]), [1000, 1000, 1000]);
    // A hundred turns of 10 ms, but for the last thought.
    assert_eq!(counted.rows("summary.csv")[0]["duration_s"], "0.995");
    let timed = bench.run(&load("users: 10, duration: 1s", "10ms"), &["--simulate"]);
    assert_eq!(timed.summary(&["sent", "matched"]), [1000, 1000]);
    for endless in ["users: 10, duration: 1s", "users: 10, duration: 1s, think: 0s"] {
        let endless = bench.run(&load(endless, "0"), &["--simulate"]);
        endless.assert_code(104);
        assert!(endless.stderr.contains("responder.delay"), "{}", endless.stderr);
    }
    // Who thinks now and then, or stops after so many, comes to an end.
    bench
        .run(&load("users: 10, duration: 1s, think: { from: 0s, to: 5ms }", "0"), &["--simulate"])
        .assert_code(0);
    let few = load("users: 10, duration: 1s", "0") + "records: { range: 1..50, on_exhausted: stop }\n";
    let counted = bench.run(&few, &["--simulate"]);
    assert_eq!(counted.summary(&["sent", "matched"]), [50, 50]);
}

#[test]
fn a_target_that_is_slower_than_the_time_out_times_out() {
    let bench = Bench::new();
    let slow = "name: slow\nload: { stages: [ { hold: 50, duration: 2s } ] }\n\
                connections: { count: 2, limit: 10, request_timeout: 100ms }\nresponder: { delay: 150ms }\n";
    let ended = bench.run(slow, &["--simulate"]);
    ended.assert_code(100);
    let counts = ended.summary(&["scheduled", "sent", "timed_out", "matched"]);
    assert_eq!(counts, [100, 100, 100, 0]);
    assert!(ended.summary(&["late"])[0] > 0, "they come all the same");
    let by_order =
        slow.replace("delay: 150ms }", "delay: 150ms }\ntarget: { correlate: order, length: { id: false } }");
    let ended = bench.run(&by_order, &["--simulate"]);
    let counts = ended.summary(&["scheduled", "sent", "timed_out", "failed", "dropped"]);
    assert_eq!(counts[0], counts[1] + counts[4]);
    assert_eq!(counts[1], counts[2] + counts[3]);
    assert!(counts[2] > 0 && ended.summary(&["reconnects"])[0] > 0, "each time-out costs its connection");
}

#[test]
fn of_a_target_that_answers_far_too_late_only_so_many_responses_are_on_their_way() {
    // 1.2 million in six seconds, all of them timed out long before the first response comes in the fifteenth.
    let bench = Bench::new();
    let silent = "name: silent\nload:\n  stages:\n    - { hold: 200000, duration: 6s }\n    - { hold: 1, duration: 17s }\n\
                  connections: { count: 10, limit: 0, window: 1000, request_timeout: 10ms }\n\
                  responder: { delay: 15s }\n";
    let ended = bench.run(silent, &["--simulate"]);
    ended.assert_code(100);
    let counts = ended.summary(&["scheduled", "sent", "timed_out", "dropped", "matched"]);
    assert_eq!(counts, [1_200_017, 1_200_017, 1_200_017, 0, 0]);
    assert_eq!(ended.summary(&["late"]), [1 << 20], "what there was no room for never comes");
    // As good as no answer at all: they would come when nobody sends any more.
    let ended = bench.run(&silent.replace("delay: 15s", "delay: 10h"), &["--simulate"]);
    assert_eq!(ended.summary(&["sent", "timed_out", "late"]), [1_200_017, 1_200_017, 0]);
}

#[test]
fn all_that_is_overdue_on_a_connection_without_ids_times_out_together_as_in_a_real_run() {
    // A full window at time zero, and no answer to any of it.
    let silent = "name: silent\nrecords: { range: 1..100, source: template }\nmapping: { into: none }\n\
                  load: { users: 16, requests: 16 }\n\
                  connections: { count: 1, limit: 0, window: 16, request_timeout: 100ms }\n\
                  responder: { delay: 10s }\ntarget: { correlate: order, length: { id: false } }\n";
    let (one, two) = (Bench::new(), Bench::new());
    let (simulated, real) = (one.run(silent, &["--simulate"]), two.run(silent, &[]));
    let columns = ["sent", "matched", "timed_out", "failed", "failed_reset", "late", "dropped"];
    assert_eq!(simulated.summary(&columns), [16, 0, 16, 0, 0, 0, 0]);
    assert_eq!(simulated.summary(&columns), real.summary(&columns));
    let ends = |ended: &Ended| {
        let rows = ended.rows("connections.csv").into_iter();
        rows.map(|row| (row["end"].clone(), row["sent"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(ends(&simulated), ends(&real));
}

#[test]
fn a_foreign_target_and_its_store_are_left_alone() {
    let bench = Bench::new();
    // Nobody listens there, and no name is looked up.
    let foreign = "name: foreign\nredis: { url: \"redis://127.0.0.1:1\" }\n\
                   target: { addresses: [\"nowhere.invalid:9000-9001\"] }\n\
                   load: { stages: [ { hold: 100, duration: 1s } ] }\n";
    let ended = bench.run(foreign, &["--simulate", "--set", "responder.delay=3ms"]);
    ended.assert_code(0);
    assert_eq!(ended.summary(&["sent", "matched", "mapped"]), [100, 100, 0]);
    assert!(ended.stderr.contains("after 3ms (responder.delay)"), "{}", ended.stderr);
    let ports: std::collections::BTreeSet<String> =
        ended.rows("connections.csv").into_iter().map(|row| row["address"].clone()).collect();
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), ["0.0.0.0:9000", "0.0.0.0:9001"]);
}

#[test]
fn segments_are_simulated_apart_and_merged() {
    let bench = Bench::new();
    bench.run(SMALL, &["--simulate"]).assert_code(0);
    let file = bench.path().join("scenario.yaml");
    let file = file.to_str().expect("text");
    for part in ["0/2", "1/2"] {
        let out = format!("part-{}", &part[..1]);
        bench.call(&[file, "--simulate", "--segment", part, "--out", &out]).assert_code(0);
    }
    bench.call(&["merge", "part-0", "part-1", "--out", "whole"]).assert_code(0);
    let read = |folder: &str, name: &str| {
        let text = std::fs::read_to_string(bench.path().join(folder).join(name)).expect("written");
        text.lines().nth(1).expect("a row").split(',').map(str::to_string).collect::<Vec<_>>()
    };
    // scheduled, sent, …, and at the end that it was simulated.
    let (whole, alone) = (read("whole", "summary.csv"), read("out", "summary.csv"));
    assert_eq!((&whole[8..13], whole.last()), (&alone[8..13], alone.last()));
    assert_eq!(whole.last().map(String::as_str), Some("true"));
}
