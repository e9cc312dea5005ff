//! `runner run --ui`: a run is followed and changed while it goes, and nobody who looks is felt by it.

#[path = "support/http.rs"]
mod http;
#[path = "support/live.rs"]
mod live;
#[path = "support/program.rs"]
mod program;
#[path = "support/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use http::Client;
use live::LiveRun;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use program::{Bench, signal, signal_to, wait_for};
use prost::Message;
use python::python;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const JSON: &str = "Content-Type: application/json";

/// Three seconds in two stages, 500 requests.
const SHORT: &str = "name: short\nrecords: { range: 1..1000 }\nload:\n  stages:\n\
                     \x20   - { name: warm, hold: 100, duration: 1s, warmup: true }\n\
                     \x20   - { name: up, hold: 200, duration: 2s }\n\
                     thresholds: [ 'response_time p(50) < 1m', 'lost count == 0' ]\n";

/// Goes on until it is stopped.
const LONG: &str = "name: long\nrecords: { range: 1..1000 }\n\
                    load: { stages: [ { name: all, hold: 100, duration: 1m } ] }\n";

/// What a listener knows who has heard all of it: the newest state with all its points.
fn put_together(events: &[(String, Value)]) -> Value {
    let mut points: Vec<Value> = Vec::new();
    let mut last = Value::Null;
    for (_, state) in events {
        let from = state["from"].as_u64().expect("a number") as usize;
        assert!(from <= points.len(), "no point is left out");
        points.truncate(from);
        points.extend(state["points"].as_array().expect("points").iter().cloned());
        last = state.clone();
    }
    last["points"] = json!(points);
    last
}

fn sum(state: &Value, field: &str) -> u64 {
    let points = state["points"].as_array().expect("points");
    points.iter().map(|point| point[field].as_u64().expect("a count")).sum()
}

#[test]
fn a_listener_hears_every_second_and_how_it_ended() {
    let run = LiveRun::start(SHORT, &[], &[]);
    let events = run.events("/live/events").rest();
    let ended = run.wait();
    ended.assert_code(0);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "end").count(), 1);
    assert_eq!(names.last(), Some(&"end"));
    let state = put_together(&events);
    assert_eq!((sum(&state, "planned"), sum(&state, "sent"), sum(&state, "matched")), (500, 500, 500));
    let seconds: Vec<_> =
        state["points"].as_array().expect("points").iter().map(|p| p["second"].clone()).collect();
    assert_eq!(seconds, [json!(0), json!(1), json!(2)]);
    assert_eq!((state["phase"].as_str(), state["end"]["passed"].as_bool()), (Some("ended"), Some(true)));
    assert_eq!((&state["now"]["sent"], &state["facts"]["planned"]), (&json!(500), &json!(500)));
    assert_eq!(state["facts"]["stages"][1]["name"], "up");
    let states: Vec<_> =
        state["thresholds"].as_array().expect("two").iter().map(|t| t["state"].clone()).collect();
    assert_eq!(states, ["holds", "holds"]);
    // The latencies of a listener are those of the report.
    let [p50, p99] = ended.summary(&["response_p50_us", "response_p99_us"])[..] else { panic!("two") };
    assert_eq!(
        (&state["response_time"]["p50_us"], &state["response_time"]["p99_us"]),
        (&json!(p50), &json!(p99))
    );
    assert_eq!(state["response_time"]["count"], 400, "warm-up is left out");
    assert!(ended.has_file("report.html"));
}

#[test]
fn who_comes_late_gets_the_history_first() {
    let run = LiveRun::start(LONG, &[], &[]);
    wait_for("three seconds", || {
        run.get("/live").json()["points"].as_array().is_some_and(|all| all.len() >= 3)
    });
    let mut late = run.events("/live/events");
    let (name, state) = late.next().expect("an event");
    assert_eq!((name.as_str(), state["from"].as_u64()), ("progress", Some(0)));
    let points = state["points"].as_array().expect("points");
    assert!(points.len() >= 3 && points[0]["second"] == 0 && points[0]["sent"] == 100);
    let (_, next) = late.next().expect("another");
    assert!(next["from"].as_u64() > Some(0), "only what is new");
    assert_eq!(state["phase"], "running");
    run.post("/control", r#"{"action": "stop"}"#);
}

#[test]
fn a_run_is_stopped_from_outside_and_says_when() {
    let run = LiveRun::start(LONG, &[], &[]);
    wait_for("the first requests", || run.get("/live").json()["now"]["sent"].as_u64() > Some(0));
    let events = run.events("/live/events");
    let answer = run.post("/control", r#"{"action": "stop"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["action"], "stop");
    assert!(answer.json()["at_s"].as_f64() > Some(0.0));
    let state = put_together(&events.rest());
    assert_eq!(state["phase"], "ended");
    assert_eq!(state["changes"][0]["action"], "stop");
    let ended = run.wait();
    ended.assert_code(105);
    let [scheduled, sent, dropped, not_reached] =
        ended.summary(&["scheduled", "sent", "dropped", "not_reached"])[..]
    else {
        panic!("four numbers")
    };
    assert_eq!(scheduled, sent + dropped + not_reached);
    assert!(not_reached > 0);
    assert_eq!(state["now"]["sent"], sent);
}

#[test]
fn the_rate_is_changed_from_outside_and_files_events_and_ledger_agree_to_the_request() {
    let yaml = "name: changed\nrecords: { range: 1..1000 }\n\
                load: { stages: [ { name: all, hold: 100, duration: 6s } ], max_lateness: 1m }\n";
    let run = LiveRun::start(yaml, &[], &[]);
    wait_for("a second", || run.get("/live").json()["points"].as_array().is_some_and(|all| !all.is_empty()));
    let events = run.events("/live/events");
    let done = run.post("/control", r#"{"action": "rate", "rate": 250}"#);
    assert_eq!(done.status, 200, "{done:?}");
    let at_s = done.json()["at_s"].as_f64().expect("an instant");
    assert!(0.0 < at_s && at_s < 6.0, "{at_s}");
    let state = put_together(&events.rest());
    let ended = run.wait();
    ended.assert_code(0);
    // Whole milliseconds: what is due before is as planned, and what is left of the stage comes at the new rate.
    let at_ms = (at_s * 1000.0).round() as u64;
    let due = (at_ms * 100 + (6000 - at_ms) * 250).div_ceil(1000);
    let [scheduled, sent, matched] = ended.summary(&["scheduled", "sent", "matched"])[..] else {
        panic!("three")
    };
    assert_eq!([scheduled, sent, matched], [due; 3], "from {at_ms} ms on");
    let column = |name: &str| -> u64 {
        ended.rows("seconds.csv").iter().map(|row| row[name].parse::<u64>().expect("a number")).sum()
    };
    assert_eq!((column("scheduled"), column("planned"), column("sent")), (due, due, due));
    assert_eq!((sum(&state, "planned"), sum(&state, "sent")), (due, due));
    let rows = ended.rows("events.csv");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["event"].as_str(), rows[0]["at_us"].clone()), ("rate", (at_ms * 1000).to_string()));
    assert_eq!(
        (&state["changes"][0]["action"], &state["changes"][0]["rate"]),
        (&json!("rate"), &json!(250.0))
    );
    assert_eq!(state["facts"]["planned"], due);
    assert_eq!(
        state["facts"]["plan"].as_str(),
        ended.rows("summary.csv").first().map(|row| row["plan"].as_str())
    );
}

#[test]
fn a_run_that_was_changed_and_then_killed_is_replayed_with_its_change() {
    let run = LiveRun::start(LONG, &[], &[]);
    wait_for("the first requests", || run.get("/live").json()["now"]["sent"].as_u64() > Some(0));
    let done = run.post("/control", r#"{"action": "rate", "rate": 250}"#);
    assert_eq!(done.status, 200, "{done:?}");
    let at_ms = (done.json()["at_s"].as_f64().expect("an instant") * 1000.0).round() as u64;
    let ended = run.kill();
    assert!(!ended.has_file("summary.csv"));
    let replayed = run.bench.call(&["replay", "out", "--dry-run", "--json"]);
    replayed.assert_code(0);
    let plan: Value = serde_json::from_str(&replayed.stdout).expect("JSON");
    assert_eq!(plan["scheduled"], (at_ms * 100 + (60_000 - at_ms) * 250).div_ceil(1000));
}

#[test]
fn a_simulation_is_stopped_on_its_own_clock() {
    let hours = LONG.replace("duration: 1m", "duration: 700h");
    let run = LiveRun::start(&hours, &["--simulate"], &[]);
    let elapsed = || run.get("/live").json()["now"]["elapsed_s"].as_f64();
    wait_for("an hour", || elapsed() > Some(3600.0));
    let done = run.post("/control", r#"{"action": "stop"}"#);
    assert_eq!(done.status, 200, "{done:?}");
    assert!(done.json()["at_s"].as_f64() > Some(3600.0), "{done:?}");
    run.wait().assert_code(105);
}

#[test]
fn a_change_before_a_stop_at_once_can_be_replayed() {
    let run = LiveRun::start(LONG, &[], &[]);
    wait_for("the first requests", || run.get("/live").json()["now"]["sent"].as_u64() > Some(0));
    for wish in [r#"{"action": "rate", "rate": 250}"#, r#"{"action": "stop"}"#] {
        assert_eq!(run.post("/control", wish).status, 200);
    }
    run.wait().assert_code(105);
    run.bench.call(&["replay", "out", "--dry-run"]).assert_code(0);
}

#[test]
fn a_run_that_has_not_begun_cannot_be_changed_but_stopped() {
    // A store that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("an address"));
    let run = LiveRun::start(&format!("{LONG}redis: {{ timeout: 1m }}\n"), &["--redis", &url], &[]);
    // It waits for its store.
    let client = silent.accept().expect("a client");
    wait_for("its plan", || run.get("/live").json()["facts"]["run_id"] != "");
    for wish in [r#"{"action": "pause"}"#, r#"{"action": "rate", "rate": 5}"#] {
        let refused = run.post("/control", wish);
        assert_eq!(refused.error(), (409, "refused".to_owned()));
        assert!(refused.body.contains("has not begun"), "{refused:?}");
    }
    assert_eq!(run.post("/control", r#"{"action": "stop"}"#).status, 200);
    let ended = run.wait();
    ended.assert_code(105);
    assert!(last_line(&ended.stderr).contains("interrupted before the first request"), "{}", ended.stderr);
    drop(client);
}

#[test]
fn a_paused_run_sends_nothing_and_goes_on_where_it_was() {
    let yaml = "name: paused\nrecords: { range: 1..1000 }\n\
                load: { stages: [ { name: all, hold: 100, duration: 3s } ], max_lateness: 1m }\n";
    let run = LiveRun::start(yaml, &[], &[]);
    let sent = || run.get("/live").json()["now"]["sent"].as_u64();
    wait_for("the first requests", || sent() > Some(0));
    let steer = |action: &str| run.post("/control", &format!("{{\"action\": \"{action}\"}}"));
    assert_eq!(steer("resume").error(), (409, "refused".to_owned()), "it is not paused");
    let paused = steer("pause").json()["at_s"].as_f64().expect("an instant");
    wait_for("the pause", || {
        let state = run.get("/live").json();
        state["phase"] == "paused" && state["now"]["elapsed_s"].as_f64() > Some(paused + 1.0)
    });
    let before = run.get("/live").json()["now"]["due"].clone();
    assert_eq!(steer("pause").error().0, 409, "it is paused already");
    let resumed = steer("resume").json()["at_s"].as_f64().expect("an instant");
    assert!(resumed > paused + 1.0);
    let state = put_together(&run.events("/live/events").rest());
    let ended = run.wait();
    ended.assert_code(0);
    assert_eq!(ended.summary(&["scheduled", "sent", "matched"]), [300; 3]);
    assert_eq!(before.as_f64(), Some((paused * 100.0).ceil()), "nothing was due in the pause");
    let actions: Vec<_> =
        state["changes"].as_array().expect("two").iter().map(|one| one["action"].clone()).collect();
    assert_eq!(actions, ["pause", "resume"]);
    assert_eq!(sum(&state, "sent"), 300);
}

#[test]
fn a_wish_that_makes_no_sense_is_told_what_to_do() {
    let run = LiveRun::start(LONG, &[], &[]);
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("{}", 422, "bad_field"),
        (r#"{"action": "explode"}"#, 422, "bad_field"),
        (r#"{"action": "rate"}"#, 422, "bad_control"),
        (r#"{"action": "rate", "rate": -1}"#, 422, "bad_control"),
        (r#"{"action": "rate", "rate": 1e9}"#, 422, "bad_control"),
        (r#"{"action": "pause", "rate": 5}"#, 422, "bad_control"),
        (r#"{"action": "stop", "now": true}"#, 422, "bad_field"),
    ] {
        assert_eq!(run.post("/control", body).error(), (status, code.to_owned()), "{body}");
    }
    assert_eq!(run.ask("POST", "/control", &[], r#"{"action": "stop"}"#).error().0, 415);
    assert_eq!(run.get("/control").error().0, 405);
    assert_eq!(run.get("/nothing").error(), (404, "no_such_path".to_owned()));
    assert_eq!(run.get("/ping").body, r#"{"message":"pong"}"#);
}

#[test]
fn only_who_may_is_answered() {
    let token = "open-sesame";
    let run = LiveRun::start(LONG, &[], &[("RUNNER_TOKEN", token)]);
    let paths = ["/live", "/live/events", "/metrics", "/openapi.json"];
    for path in paths {
        assert_eq!(run.get(path).error(), (401, "unauthorized".to_owned()), "{path}");
        let foreign = run.ask("GET", path, &["Origin: http://elsewhere.example"], "");
        assert_eq!(foreign.error(), (403, "foreign_origin".to_owned()), "{path}");
        let rebound = format!("GET {path} HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n");
        assert_eq!(run.raw(rebound).error(), (421, "wrong_host".to_owned()), "{path}");
    }
    let stop = r#"{"action": "stop"}"#;
    assert_eq!(run.post("/control", stop).error().0, 401);
    let authorization = format!("Authorization: Bearer {token}");
    for path in ["/live", "/metrics", "/openapi.json"] {
        assert_eq!(run.ask("GET", path, &[&authorization], "").status, 200, "{path}");
    }
    let page = run.get("/");
    assert!(page.status == 200 && !page.body.contains(token));
    assert_eq!(run.ask("POST", "/control", &[JSON, &authorization], stop).status, 200);
    let ended = run.wait();
    assert!(!ended.stderr.contains(token), "{}", ended.stderr);
}

#[test]
fn the_network_is_not_shown_a_run_without_a_token() {
    let bench = Bench::new();
    let ended = bench.run(SHORT, &["--ui", "0.0.0.0:0"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("RUNNER_TOKEN"), "{}", ended.stderr);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    bench.run(SHORT, &["--ui", &addr]).assert_code(106);
}

#[test]
fn browsers_that_do_not_read_are_not_felt() {
    let run = LiveRun::start(SHORT, &[], &[]);
    let dead: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = run.connect();
            let request = format!("GET /live/events HTTP/1.1\r\nHost: {}\r\n\r\n", run.addr());
            stream.write_all(request.as_bytes()).expect("it reads");
            stream
        })
        .collect();
    let state = put_together(&run.events("/live/events").rest());
    let ended = run.wait();
    ended.assert_code(0);
    assert_eq!(ended.summary(&["scheduled", "sent", "matched", "mapped"]), [500; 4]);
    assert_eq!(sum(&state, "sent"), 500);
    drop(dead);
}

#[test]
fn a_run_that_writes_its_files_does_not_look_as_if_it_sent() {
    let run = LiveRun::start(SHORT, &[], &[]);
    let folder = run.bench.path().join("out");
    wait_for("its folder", || folder.is_dir());
    // Writing there takes until somebody reads.
    let slow = folder.join("junit.xml.part");
    assert!(Command::new("mkfifo").arg(&slow).status().expect("mkfifo runs").success());
    wait_for("the last request", || run.get("/live").json()["phase"] == "stopping");
    let now = run.get("/live").json()["now"].clone();
    assert_eq!((&now["sent"], &now["in_flight"]), (&json!(500), &json!(0)));
    assert_eq!((&now["rate_planned"], &now["rate_actual"]), (&json!(0.0), &json!(0.0)));
    assert!(run.get("/metrics").body.contains("runner_run_active 0.0\n"));
    std::fs::read(&slow).expect("it is written");
    run.wait().assert_code(0);
}

#[test]
fn a_series_is_one_story_on_one_page() {
    let matrix =
        format!("{SHORT}matrix: {{ connections.count: [1, 2] }}\n").replace("duration: 2s", "duration: 1s");
    let run = LiveRun::start(&matrix, &[], &[]);
    let events = run.events("/live/events").rest();
    run.wait().assert_code(0);
    let turns: BTreeMap<u64, &Value> =
        events.iter().map(|(_, state)| (state["facts"]["turn"].as_u64().unwrap_or(0), state)).collect();
    assert_eq!(turns[&1]["facts"]["turns"], 2);
    assert_ne!(turns[&1]["facts"]["run_id"], turns[&2]["facts"]["run_id"]);
    let (name, last) = events.last().expect("an end");
    assert_eq!(
        (name.as_str(), last["over"].as_bool(), last["now"]["sent"].as_u64()),
        ("end", Some(true), Some(300))
    );
}

#[test]
fn a_run_of_a_series_that_fails_before_it_begins_takes_nothing_from_the_one_before() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let matrix =
        format!("{SHORT}responder: {{ ports: 1 }}\nmatrix: {{ responder.first_port: [0, {port}] }}\n")
            .replace("duration: 2s", "duration: 1s");
    let run = LiveRun::start(&matrix, &[], &[]);
    let state = put_together(&run.events("/live/events").rest());
    let ended = run.wait();
    ended.assert_code(106);
    let codes: Vec<_> = ended.rows("matrix.csv").into_iter().map(|row| row["exit_code"].clone()).collect();
    assert_eq!(codes, ["0", "106"]);
    assert_eq!((&state["facts"]["turn"], &state["end"]["passed"]), (&json!(1), &json!(true)), "{state}");
    assert_eq!((&state["over"], sum(&state, "sent")), (&json!(true), 300));
}

#[test]
fn a_run_that_fails_before_it_begins_says_why_on_its_page() {
    // Bound, so that nobody else has the port, and not listening.
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let addr = nobody.local_addr().expect("an address").as_socket().expect("of IP");
    let target =
        format!("{SHORT}target: {{ addresses: [\"{addr}\"] }}\nmatrix: {{ connections.count: [1, 2] }}\n");
    let run = LiveRun::start(&target, &[], &[]);
    let state = put_together(&run.events("/live/events").rest());
    run.wait().assert_code(100);
    assert_eq!((&state["end"]["exit_code"], &state["end"]["passed"]), (&json!(100), &json!(false)));
    let reason = state["end"]["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("reach the target {addr}")), "{reason}");
}

#[test]
fn a_seed_above_what_every_reader_of_json_knows_is_kept_to_the_last_digit() {
    let seed = u64::MAX.to_string();
    let yaml = format!("{SHORT}vars: {{ drawn: \"{seed}\" }}\nseed: ${{drawn}}\n");
    let run = LiveRun::start(&yaml, &[], &[]);
    let state = put_together(&run.events("/live/events").rest());
    let ended = run.wait();
    ended.assert_code(0);
    assert_eq!(state["facts"]["seed"], json!(seed));
    for (file, line) in [
        ("effective.yaml", format!("\nseed: {seed}\n")),
        ("plan.json", format!("\"seed\": {seed},")),
        ("summary.json", format!("\"seed\": {seed},")),
        ("summary.csv", format!(",{seed},")),
    ] {
        assert!(ended.file(file).contains(&line), "{file}");
    }
    // The same bytes follow from what was written.
    run.bench.call(&["replay", "out", "--dry-run"]).assert_code(0);
    run.bench.call(&["verify", "out"]).assert_code(0);
}

/// The last line that was said.
fn last_line(stderr: &str) -> &str {
    stderr.trim_end().lines().last().unwrap_or_default()
}

#[test]
fn a_stop_ends_a_series_and_not_only_the_run_that_goes() {
    let matrix = format!("{LONG}matrix: {{ connections.count: [1, 2, 3] }}\n");
    let run = LiveRun::start(&matrix, &[], &[]);
    wait_for("the first requests", || run.get("/live").json()["now"]["sent"].as_u64() > Some(0));
    assert_eq!(run.get("/live").json()["facts"]["can_change"], false);
    let refused = run.post("/control", r#"{"action": "rate", "rate": 5}"#);
    assert_eq!(
        refused.error(),
        (409, "refused".to_owned()),
        "its row counts for the rate that it was planned with"
    );
    assert!(refused.body.contains("several runs"), "{refused:?}");
    assert_eq!(run.post("/control", r#"{"action": "stop"}"#).status, 200);
    let ended = run.wait();
    ended.assert_code(105);
    assert_eq!(ended.rows("matrix.csv").len(), 1, "the others do not begin");
    let last = last_line(&ended.stderr);
    assert!(last.ends_with("(exit 105): interrupted after 1 of 3 runs"), "{last}");
}

const PACKAGES: &str = "live/requirements.txt";

#[test]
fn prometheus_reads_the_metrics() {
    let run = LiveRun::start(LONG, &[], &[]);
    let answer = || run.get("/metrics");
    let is_sent =
        |line: &str| line.starts_with("runner_requests_sent_total{stage=\"all\",") && line.contains("} 2");
    wait_for("two seconds", || answer().body.lines().any(is_sent));
    let answer = answer();
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text; version=1.0.0"));
    let file = run.bench.file("metrics.txt", &answer.body);
    let said = python(PACKAGES, "live/metrics.py", &[&file]);
    assert!(said.contains("histogram runner_response_time_seconds") && said.ends_with("fine\n"), "{said}");
    run.post("/control", r#"{"action": "stop"}"#);
}

#[test]
fn metrics_count_the_connections_that_are_open_and_those_that_were_opened() {
    let metric = |run: &LiveRun, name: &str| -> Option<u64> {
        let text = run.get("/metrics").body;
        let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
    };
    let (open, opened) = ("runner_connections_open", "runner_connections_opened_total");
    // Those of the beginning, which are never replaced.
    let run = LiveRun::start(&format!("{LONG}connections: {{ count: 7, limit: 0 }}\n"), &[], &[]);
    wait_for("all connections", || metric(&run, open) == Some(7));
    assert_eq!(metric(&run, opened), Some(7));
    run.post("/control", r#"{"action": "stop"}"#);
    run.wait().assert_code(105);
    // Each is replaced after ten requests.
    let run = LiveRun::start(&format!("{LONG}connections: {{ count: 2, limit: 10 }}\n"), &[], &[]);
    wait_for("other connections", || metric(&run, opened) >= Some(8));
    let (now, before) = (metric(&run, open), metric(&run, opened));
    assert!((Some(1)..=Some(4)).contains(&now), "one in use and a spare for each of two: {now:?}");
    let events = run.events("/live/events");
    run.post("/control", r#"{"action": "stop"}"#);
    let state = put_together(&events.rest());
    let in_all = run.wait().summary(&["connections_opened"])[0];
    assert_eq!((&state["now"]["opened"], &state["now"]["connections"]), (&json!(in_all), &json!(0)));
    assert!(before <= Some(in_all), "{before:?} of {in_all}");
}

/// The head and the body of a request.
type Taken = (String, Vec<u8>);

/// A collector that takes messages as long as there are any; it answers so.
fn collector(answer: &'static str) -> (SocketAddr, JoinHandle<Vec<Taken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let taking = move || {
        let mut taken = Vec::new();
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).expect("a line") == 0 {
                    break;
                }
            }
            if head.starts_with("END") {
                break;
            }
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.expect("a length")];
            reader.read_exact(&mut body).expect("a body");
            reader.get_mut().write_all(answer.as_bytes()).expect("it reads");
            taken.push((head, body));
        }
        taken
    };
    (addr, std::thread::spawn(taking))
}

fn end(addr: SocketAddr) {
    let mut stream = std::net::TcpStream::connect(addr).expect("it listens");
    stream.write_all(b"END\r\n\r\n").expect("it reads");
}

#[test]
fn a_collector_is_sent_metrics_while_the_run_goes_and_the_last_at_its_end() {
    let (addr, taken) = collector("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let bench = Bench::new();
    let file = bench.file("scenario.yaml", SHORT);
    let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{addr}")).env("OTEL_SERVICE_NAME", "shop");
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "500").env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret");
    let ended = bench.ended(command.output().expect("the binary runs"));
    ended.assert_code(0);
    end(addr);
    let taken = taken.join().expect("it took them");
    assert!(taken.len() >= 2, "{} messages", taken.len());
    for (head, _) in &taken {
        assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains("api-key: a secret\r\n"), "{head}");
    }
    let messages: Vec<_> = taken
        .iter()
        .map(|(_, body)| ExportMetricsServiceRequest::decode(&body[..]).expect("a message"))
        .collect();
    let sent: Vec<u64> = messages.iter().map(|message| number(message, "runner.requests_sent")).collect();
    assert!(sent.windows(2).all(|pair| pair[0] <= pair[1]), "{sent:?}");
    assert_eq!(sent.last(), Some(&500));
    let last = messages.last().expect("one");
    assert_eq!(number(last, "runner.run_exit_code"), 0);
    let resource = last.resource_metrics[0].resource.as_ref().expect("a resource");
    let text = format!("{:?}", resource.attributes);
    assert!(text.contains("shop") && text.contains("runner.run_id"), "{text}");
    let metrics = &last.resource_metrics[0].scope_metrics[0].metrics;
    let times = metrics.iter().find(|metric| metric.name == "runner.response_time").expect("the metric");
    let Some(Data::Histogram(times)) = &times.data else { panic!("a histogram") };
    assert_eq!(times.data_points.iter().map(|point| point.count).sum::<u64>(), 500);
}

/// The sum of a metric over its labels; 0 where it is not there.
fn number(message: &ExportMetricsServiceRequest, name: &str) -> u64 {
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let points =
        match metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.as_ref()) {
            Some(Data::Sum(sum)) => &sum.data_points,
            Some(Data::Gauge(gauge)) => &gauge.data_points,
            _ => return 0,
        };
    let number = |value: &Option<Number>| match value {
        Some(Number::AsDouble(number)) => *number as u64,
        _ => 0,
    };
    points.iter().map(|point| number(&point.value)).sum()
}

#[test]
fn a_collector_that_is_away_refuses_or_is_silent_is_said_once_and_not_felt() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let away = free.local_addr().expect("an address");
    drop(free);
    // Takes connections into its queue and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (refusing, taken) = collector("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    for addr in [away, silent.local_addr().expect("an address"), refusing] {
        let bench = Bench::new();
        let file = bench.file("scenario.yaml", SHORT);
        let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{addr}"));
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "200").env("OTEL_EXPORTER_OTLP_TIMEOUT", "300");
        let ended = bench.ended(command.output().expect("the binary runs"));
        ended.assert_code(0);
        assert_eq!(ended.summary(&["scheduled", "sent", "matched"]), [500; 3]);
        assert_eq!(ended.stderr.matches("metrics could not be sent").count(), 1, "{}", ended.stderr);
        assert!(last_line(&ended.stderr).starts_with("PASSED"), "{}", ended.stderr);
    }
    end(refusing);
    assert!(taken.join().expect("it took them").len() >= 2, "it was tried again");
}

#[test]
fn what_there_is_to_say_of_a_collector_comes_before_the_last_line() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let away = free.local_addr().expect("an address");
    drop(free);
    let matrix =
        format!("{SHORT}matrix: {{ connections.count: [1, 2] }}\n").replace("duration: 2s", "duration: 1s");
    for scenario in [SHORT, &matrix] {
        let bench = Bench::new();
        let file = bench.file("scenario.yaml", scenario);
        let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
        // Nothing is sent before the end.
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{away}"));
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
        let ended = bench.ended(command.output().expect("the binary runs"));
        ended.assert_code(0);
        let said =
            ended.stderr.lines().find(|line| line.contains("metrics could not be sent")).expect("it is said");
        assert!(!said.contains("the run goes on"), "{said}");
        assert!(last_line(&ended.stderr).starts_with("PASSED"), "{}", ended.stderr);
    }
}

#[test]
fn a_collector_has_the_end_of_every_run_of_a_series() {
    let (addr, taken) = collector("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let bench = Bench::new();
    let matrix = format!("{SHORT}matrix: {{ connections.count: [1, 2, 3] }}\n")
        .replace("duration: 2s", "duration: 1s");
    let file = bench.file("scenario.yaml", &matrix);
    let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{addr}"));
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
    bench.ended(command.output().expect("the binary runs")).assert_code(0);
    end(addr);
    let taken = taken.join().expect("it took them");
    let mut runs = BTreeMap::new();
    for (_, body) in &taken {
        let message = ExportMetricsServiceRequest::decode(&body[..]).expect("a message");
        let resource = message.resource_metrics[0].resource.as_ref().expect("a resource");
        let run_id = resource.attributes.iter().find(|attribute| attribute.key == "runner.run_id");
        runs.insert(format!("{:?}", run_id.expect("the run")), number(&message, "runner.requests_sent"));
    }
    assert_eq!(runs.into_values().collect::<Vec<_>>(), [300; 3]);
}

#[test]
fn who_a_collector_hears_of_is_the_same_after_the_run_was_changed() {
    let (addr, taken) = collector("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let endpoint = format!("http://{addr}");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "100")];
    let run = LiveRun::start(LONG, &[], &env);
    wait_for("the first requests", || run.get("/live").json()["now"]["sent"].as_u64() > Some(0));
    let facts = || run.get("/live").json()["facts"].clone();
    let before = facts();
    assert_eq!(run.post("/control", r#"{"action": "rate", "rate": 250}"#).status, 200);
    let after = facts();
    assert_ne!(after["plan"], before["plan"]);
    assert_eq!([&after["plan_at_start"], &before["plan_at_start"]], [&before["plan"]; 2]);
    let info = format!("plan=\"{}\"", before["plan"].as_str().expect("a plan"));
    assert!(run.get("/metrics").body.contains(&info));
    assert_eq!(run.post("/control", r#"{"action": "stop"}"#).status, 200);
    run.wait().assert_code(105);
    end(addr);
    let mut plans = Vec::new();
    let mut resources = Vec::new();
    for (_, body) in taken.join().expect("it took them") {
        let message = ExportMetricsServiceRequest::decode(&body[..]).expect("a message");
        let resource = message.resource_metrics[0].resource.clone().expect("a resource");
        let plan = resource.attributes.iter().find(|attribute| attribute.key == "runner.plan");
        plans.push(format!("{:?}", plan.expect("a plan")));
        resources.push(resource);
    }
    let last = plans.last().expect("the end of the run");
    assert!(last.contains(before["plan"].as_str().expect("a plan")), "{last} {before}");
    assert!(resources.windows(2).all(|pair| pair[0] == pair[1]), "{plans:?}");
}

#[test]
fn a_message_that_hangs_does_not_hold_up_the_end_of_a_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    // The first message is read and not answered; the next is taken when the first has been given up.
    let collecting = std::thread::spawn(move || {
        let mut first = listener.accept().expect("a message").0;
        first.read_to_end(&mut Vec::new()).expect("it is given up");
        let mut next = listener.accept().expect("a message").0;
        // Not before the question: a client that is answered sooner takes the connection for a broken one.
        let mut taken = vec![0; 5];
        next.read_exact(&mut taken).expect("a request");
        next.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        // A client that has its answer may be gone before all is read.
        let _ = next.read_to_end(&mut taken);
        taken
    });
    let bench = Bench::new();
    let file = bench.file("scenario.yaml", SHORT);
    let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{addr}"));
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "100").env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
    let ended = bench.ended(command.output().expect("the binary runs"));
    ended.assert_code(0);
    assert!(!ended.stderr.contains("could not be sent"), "{}", ended.stderr);
    assert!(collecting.join().expect("it took both").starts_with(b"POST /v1/metrics"));
}

#[test]
fn the_signal_that_ends_a_run_before_its_first_request_does_not_cut_what_is_told_of_it() {
    let (addr, taken) = collector("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    // A store that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("an address"));
    let scenario = format!("{LONG}redis: {{ timeout: 1m }}\n");
    let endpoint = format!("http://{addr}");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_METRIC_EXPORT_INTERVAL", "3600000")];
    let run = LiveRun::start(&scenario, &["--redis", &url], &env);
    let client = silent.accept().expect("a client");
    wait_for("its plan", || run.get("/live").json()["facts"]["run_id"] != "");
    signal_to(run.id(), "-INT");
    let ended = run.wait();
    ended.assert_code(105);
    assert!(!ended.stderr.contains("could not be sent"), "{}", ended.stderr);
    end(addr);
    let taken = taken.join().expect("it took it");
    let last =
        ExportMetricsServiceRequest::decode(&taken.last().expect("a message").1[..]).expect("a message");
    assert_eq!(number(&last, "runner.run_exit_code"), 105);
    drop(client);
}

#[test]
fn a_signal_while_the_last_message_is_sent_ends_the_kept_store_too() {
    // Takes connections into its queue and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let matrix = format!("{SHORT}matrix: {{ connections.count: [1, 2] }}\n");
    let served = format!("{SHORT}redis: {{ serve: 127.0.0.1:0 }}\n");
    let asked: &[&str] = &["--keep-store"];
    for (scenario, args) in [(SHORT, asked), (&matrix, asked), (&served, &[])] {
        let bench = Bench::new();
        let file = bench.file("scenario.yaml", scenario);
        let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
        command.args(args);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000").env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut talk = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        // The last of what is said before the message is waited for.
        assert!(talk.any(|line| line.starts_with("FILES")), "it has ended");
        signal(&child, "-INT");
        let mut code = None;
        wait_for("its end", || {
            code = child.try_wait().expect("a child").map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(0)));
        let said = talk.collect::<Vec<_>>().join("\n");
        assert!(said.contains("could not be sent") && !said.contains("the store stays"), "{said}");
    }
}

#[test]
fn what_cannot_be_sent_to_is_told_before_the_run() {
    let bench = Bench::new();
    let file = bench.file("scenario.yaml", SHORT);
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost"),
    ] {
        let mut command = bench.command(&[file.to_str().expect("text"), "--out", "out"]);
        let ended = bench.ended(command.env(name, value).output().expect("the binary runs"));
        ended.assert_code(2);
        assert!(ended.stderr.contains(name) && ended.stderr.contains("http://"), "{}", ended.stderr);
        assert!(!ended.has_file("summary.csv"));
    }
}

#[test]
fn its_description_names_every_path() {
    let run = LiveRun::start(LONG, &[], &[]);
    let client: &Client = &run;
    let document = client.get("/openapi.json").json();
    let mut paths: Vec<_> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    paths.sort();
    assert_eq!(paths, ["/control", "/live", "/live/events", "/ping"]);
    let event =
        &document["components"]["schemas"]["LiveEvent"]["properties"]["data"]["contentSchema"]["$ref"];
    let name = event.as_str().and_then(|place| place.rsplit('/').next()).expect("a reference");
    assert!(document["components"]["schemas"][name].is_object(), "{name}");
}
