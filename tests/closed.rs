//! The closed model, mixes, a store as target, matrices and second targets, as one who uses them sees them.

#[path = "support/program.rs"]
mod program;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};

use program::{Bench, Ended, signal, wait_for};
use redis_server::RedisServer;

/// A closed load on the embedded store.
fn on_the_store(load: &str, more: &str) -> String {
    format!(
        "name: c\nrecords: {{ source: template, range: 1..100 }}\n\
         target: {{ addresses: store, framing: resp }}\nmapping: {{ into: none }}\n\
         connections: {{ limit: 0 }}\nload:\n  {load}\n  mix:\n\
         \x20   - {{ payload: \"SET {{key}} {{value}}\" }}\n\
         \x20   - {{ weight: 3, payload: \"GET {{key}}\" }}\n{more}"
    )
}

fn numbers(row: &std::collections::BTreeMap<String, String>, columns: &[&str]) -> Vec<u64> {
    columns
        .iter()
        .map(|column| row[*column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}")))
        .collect()
}

#[test]
fn users_on_the_built_in_parts_send_what_is_asked_and_every_response_is_mapped() {
    let bench = Bench::new();
    let yaml = "name: c\nload: { users: 8, requests: 1000 }\nreport: { requests: true }\n";
    let ended = bench.run(yaml, &[]);
    ended.assert_code(0);
    let counts = ended.summary(&["scheduled", "sent", "matched", "mapped", "not_reached", "dropped"]);
    assert_eq!(counts, [1000, 1000, 1000, 1000, 0, 0], "{}", ended.stderr);
    let row = &ended.rows("summary.csv")[0];
    assert_eq!(row["rate_planned"], "0.000");
    assert!(row["rate_actual"].parse::<f64>().expect("a rate") > 100.0);
    let stages = ended.rows("stages.csv");
    assert_eq!(
        (stages[0]["stage"].as_str(), stages[0]["kind"].as_str(), stages.len()),
        ("closed", "closed", 1)
    );
    assert_eq!(stages[0]["scheduled"], "1000");
    let seconds: u64 = ended.rows("seconds.csv").iter().map(|row| numbers(row, &["sent"])[0]).sum();
    assert_eq!(seconds, 1000);
    // Numbers are handed out from 0, each once, and each has the record that the plan gives it.
    let requests = ended.rows("requests.csv");
    let all: BTreeSet<u64> = requests.iter().map(|row| numbers(row, &["n"])[0]).collect();
    assert_eq!((all.len(), all.last()), (1000, Some(&999)));
    assert!(requests.iter().all(|row| row["key"] == format!("record:{}", numbers(row, &["n"])[0] + 1)));
}

#[test]
fn time_ends_a_load_and_its_rows_add_up() {
    let bench = Bench::new();
    let ended =
        bench.run(&on_the_store("{ }", "").replace("{ }", "users: 4\n  duration: 1500ms\n  think: 5ms"), &[]);
    ended.assert_code(0);
    let [scheduled, sent, matched, not_reached] =
        ended.summary(&["scheduled", "sent", "matched", "not_reached"])[..]
    else {
        panic!("four columns")
    };
    assert_eq!((scheduled, sent, not_reached), (sent, matched, 0));
    // Four users with 5 ms of thinking at least begin at most 300 requests each.
    assert!((40..=1204).contains(&sent), "{sent}");
    let seconds = ended.rows("seconds.csv");
    assert_eq!(seconds.len(), 2);
    assert_eq!(seconds.iter().map(|row| numbers(row, &["sent"])[0]).sum::<u64>(), sent);
}

#[test]
fn a_mix_is_exact_counted_by_kind_and_seen_by_the_target() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new();
    let url = format!("redis://{}", server.addr());
    let ended = bench.run(&on_the_store("users: 6\n  requests: 4000", ""), &["--redis", &url]);
    ended.assert_code(0);
    let rows = ended.rows("mix.csv");
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| (row["kind"].as_str(), numbers(row, &["sent", "matched", "failed", "error_replies"])))
        .collect();
    assert_eq!(kinds, [("SET", vec![1000, 1000, 0, 0]), ("GET", vec![3000, 3000, 0, 0])]);
    assert!(rows.iter().all(|row| numbers(row, &["response_p99_us"])[0] > 0));
    let mut connection = redis::Client::open(url).expect("an address").get_connection().expect("it answers");
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).expect("statistics");
    for (command, calls) in [("set", 1000), ("get", 3000)] {
        assert!(stats.contains(&format!("cmdstat_{command}:calls={calls},")), "{stats}");
    }
    assert!(!stats.contains("cmdstat_mget"), "records of a template are not read: {stats}");
    let value: String = redis::cmd("GET").arg("record:7").query(&mut connection).unwrap_or_default();
    assert!(value.is_empty() || value.starts_with("{\"id\":7,"), "{value}");
}

#[test]
fn rates_by_kind_leave_out_the_warm_up_as_their_times_do() {
    let bench = Bench::new();
    let load = "stages:\n    - { hold: 200, duration: 1s, warmup: true }\n    - { hold: 200, duration: 1s }";
    let ended = bench.run(&on_the_store(load, ""), &[]);
    ended.assert_code(0);
    let rates: Vec<(String, String)> = ended
        .rows("mix.csv")
        .into_iter()
        .map(|row| (row["sent"].clone(), row["rate_actual"].clone()))
        .collect();
    let row = |sent: &str, rate: &str| (sent.to_string(), rate.to_string());
    assert_eq!(rates, [row("50", "50.000"), row("150", "150.000")]);
    assert_eq!(ended.rows("summary.csv")[0]["rate_actual"], "200.000");
}

#[test]
fn error_replies_are_errors_and_nothing_but_errors_is_a_failure() {
    let bench = Bench::new();
    let mixed = on_the_store("users: 2\n  requests: 400", "").replace("GET {key}", "INCR {key}");
    let ended = bench.run(&mixed, &[]);
    let row = &ended.rows("summary.csv")[0];
    let [matched, errors] = numbers(row, &["matched", "error_replies"])[..] else { panic!("two") };
    // INCR of a record is no number; before its SET it is one.
    assert!(matched == 400 && errors > 0 && errors <= 300, "{errors}\n{}", ended.stderr);
    ended.assert_code(0);
    let mix = ended.rows("mix.csv");
    assert_eq!(numbers(&mix[1], &["error_replies"]), [errors]);
    assert!(ended.rows("errors.csv").iter().any(|row| row["kind"] == "error_reply"
        && row["detail"].contains("not an integer")
        && row["count"] == errors.to_string()));
    assert!(ended.stderr.contains("error replies"), "{}", ended.stderr);

    let bench = Bench::new();
    let none = on_the_store("users: 2\n  requests: 10", "")
        .replace("SET {key} {value}", "NOSUCH a")
        .replace("GET {key}", "NEITHER b");
    let ended = bench.run(&none, &[]);
    ended.assert_code(100);
    assert!(
        ended.stderr.contains("the target refused all of 10 requests: ERR unknown command"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_stopped_load_drains_and_what_was_not_begun_is_not_reached() {
    let bench = Bench::new();
    let child = bench.start(&on_the_store("users: 3\n  requests: 100000000\n  think: 1ms", ""), &[]);
    let seconds = bench.path().join("out/seconds.csv.part");
    wait_for("a row of the first second", || {
        std::fs::read_to_string(&seconds).is_ok_and(|text| text.lines().count() > 1)
    });
    signal(&child, "-INT");
    let ended = bench.wait(child);
    ended.assert_code(105);
    let [scheduled, sent, matched, not_reached] =
        ended.summary(&["scheduled", "sent", "matched", "not_reached"])[..]
    else {
        panic!("four columns")
    };
    assert_eq!((scheduled, sent), (100_000_000, matched));
    assert_eq!(sent + not_reached, scheduled);
}

#[test]
fn segments_of_a_closed_load_share_users_and_requests() {
    let mut all = BTreeSet::new();
    for segment in ["0/3", "1/3", "2/3"] {
        let bench = Bench::new();
        let yaml = "name: c\nload: { users: 7, requests: 500 }\nreport: { requests: true }\n";
        let ended = bench.run(yaml, &["--segment", segment, "--workers", "2"]);
        ended.assert_code(0);
        for row in ended.rows("requests.csv") {
            assert!(all.insert(numbers(&row, &["n"])[0]), "twice: {row:?}");
        }
    }
    assert_eq!((all.len(), all.last()), (500, Some(&499)));
}

#[test]
fn a_dry_run_of_a_closed_load_says_who_and_how_much() {
    let bench = Bench::new();
    let file = bench
        .file("c.yaml", &on_the_store("users: 50\n  requests: 1000\n  think: { from: 1ms, to: 5ms }", ""));
    let path = file.to_str().expect("text");
    let shown = bench.call(&[path, "--dry-run"]);
    shown.assert_code(0);
    for text in [
        "closed model",
        "50, each waits for its response",
        "exactly 1 000",
        "from 1 ms to 5 ms",
        "SET 25 %",
        "the embedded store",
    ] {
        assert!(shown.stdout.contains(text), "{text}\n{}", shown.stdout);
    }
    let json: serde_json::Value =
        serde_json::from_str(&bench.call(&[path, "--dry-run", "--json"]).stdout).expect("JSON");
    assert_eq!(
        (&json["model"], &json["users"], &json["scheduled"]),
        (&"closed".into(), &50.into(), &1000.into())
    );
    assert!(json["duration_ns"].is_null());
}

// ---------------------------------------------------------------------------------------------
// Series

fn matrix_rows(ended: &Ended) -> Vec<std::collections::BTreeMap<String, String>> {
    ended.rows("matrix.csv")
}

#[test]
fn a_matrix_runs_every_row_in_a_folder_of_its_own_and_ends_with_a_table() {
    let bench = Bench::new();
    let more = "matrix:\n  load.users: [2, 3]\n  load.requests: [40, 80]\n";
    let ended = bench.run(&on_the_store("users: 1\n  requests: 1", more), &[]);
    ended.assert_code(0);
    let rows = matrix_rows(&ended);
    let of = |row: &std::collections::BTreeMap<String, String>| {
        numbers(row, &["load.users", "load.requests", "operations", "connections", "errors", "exit_code"])
    };
    let found: Vec<Vec<u64>> = rows.iter().map(of).collect();
    assert_eq!(
        found,
        [[2, 40, 40, 2, 0, 0], [2, 80, 80, 2, 0, 0], [3, 40, 40, 3, 0, 0], [3, 80, 80, 3, 0, 0]]
    );
    assert!(ended.file("1-load.users=2-load.requests=40/summary.csv").contains("passed"));
    assert!(ended.file("4-load.users=3-load.requests=80/effective.yaml").contains("users: 3"));
    let picture = ended.file("matrix.svg");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    assert!(
        ended.stderr.contains("error rate") && ended.stderr.contains("ops per second"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.trim_end().lines().last().is_some_and(|line| line.starts_with("PASSED")));
}

#[test]
fn every_row_is_checked_before_the_first_runs_and_a_dry_run_shows_all() {
    let bench = Bench::new();
    let more = "matrix: { load.users: [2, 0] }\n";
    let ended = bench.run(&on_the_store("users: 1\n  requests: 10", more), &[]);
    ended.assert_code(104);
    assert!(
        ended.stderr.contains("load.users: must be at least 1") && !ended.has_file("matrix.csv"),
        "{}",
        ended.stderr
    );
    let more = "matrix: { load.users: [2, 5] }\n";
    let file = bench.file("m.yaml", &on_the_store("users: 1\n  requests: 10", more));
    let path = file.to_str().expect("text");
    let shown = bench.call(&[path, "--dry-run"]).stdout;
    assert!(shown.contains("load.users=2") && shown.contains("load.users=5"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&bench.call(&[path, "--dry-run", "--json"]).stdout).expect("JSON");
    assert_eq!(json["rows"][1]["plan"]["users"], 5);
    let one = bench.call(&[path, "--dry-run", "--json", "--set", "load.users=9"]);
    let json: serde_json::Value = serde_json::from_str(&one.stdout).expect("JSON");
    assert_eq!(json["users"], 9, "a path that is set is no row any more");
    let valid = bench.call(&["validate", path]);
    assert_eq!(valid.assert_code(0).stdout.lines().count(), 2, "{}", valid.stdout);
}

#[test]
fn the_exit_code_of_a_matrix_is_the_worst_and_a_failed_row_does_not_stop_the_next() {
    // Nobody else can get the port: it is bound, and nobody listens.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let nowhere = bound.local_addr().expect("bound").as_socket().expect("an address");
    let bench = Bench::new();
    let more = format!("matrix:\n  target.addresses: [ [\"{nowhere}\"], store ]\n");
    let ended = bench.run(&on_the_store("users: 2\n  requests: 20", &more), &[]);
    ended.assert_code(100);
    let codes: Vec<u64> = matrix_rows(&ended).iter().map(|row| numbers(row, &["exit_code"])[0]).collect();
    assert_eq!(codes, [100, 0]);
}

#[test]
fn ctrl_c_ends_the_row_that_runs_and_skips_the_rest() {
    let bench = Bench::new();
    let more = "matrix: { load.users: [2, 3, 4] }\n";
    let child = bench.start(&on_the_store("users: 1\n  requests: 100000000\n  think: 1ms", more), &[]);
    let seconds = bench.path().join("out/1-load.users=2/seconds.csv.part");
    wait_for("a row of the first second", || {
        std::fs::read_to_string(&seconds).is_ok_and(|text| text.lines().count() > 1)
    });
    signal(&child, "-INT");
    let ended = bench.wait(child);
    ended.assert_code(105);
    let rows = matrix_rows(&ended);
    assert_eq!((rows.len(), rows[0]["outcome"].as_str()), (1, "interrupted"));
    assert!(ended.stderr.contains("interrupted after 1 of 3 runs"), "{}", ended.stderr);
}

#[test]
fn a_second_target_gets_the_same_load_in_turns_and_a_table_compares_them() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new();
    let more = format!("compare_with: {{ target: \"redis://{}\", rounds: 2 }}\n", server.addr());
    let ended = bench.run(&on_the_store("users: 4\n  requests: 400", &more), &[]);
    ended.assert_code(0);
    let rows = matrix_rows(&ended);
    let targets: Vec<&str> = rows.iter().map(|row| row["target"].as_str()).collect();
    let second = server.addr().to_string();
    assert_eq!(targets, ["the embedded store", &second, "the embedded store", &second]);
    assert!(rows.iter().all(|row| numbers(row, &["operations", "errors"]) == [400, 0]));
    let compared = ended.rows("compare.csv");
    let metrics: Vec<&str> = compared.iter().map(|row| row["metric"].as_str()).collect();
    assert_eq!(metrics, ["SET requests per second", "SET p99 µs", "GET requests per second", "GET p99 µs"]);
    assert!(compared.iter().all(|row| row["ratio"].parse::<f64>().expect("a ratio") > 0.0));
    assert!(
        compared
            .iter()
            .all(|row| row["first_target"] == "the embedded store" && row["second_target"] == second)
    );
    let mut connection = redis::Client::open(format!("redis://{second}"))
        .expect("an address")
        .get_connection()
        .expect("it answers");
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).expect("statistics");
    assert!(stats.contains("cmdstat_set:calls=200,") && stats.contains("cmdstat_get:calls=600,"), "{stats}");
}

#[test]
fn long_values_and_two_targets_leave_a_folder_for_each_run() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new();
    let long = |letter: &str| letter.repeat(90);
    let more = format!(
        "matrix:\n  vars.note: [ {}, {} ]\ncompare_with: {{ target: \"redis://{}\", rounds: 2 }}\n",
        long("a"),
        long("b"),
        server.addr()
    );
    let ended = bench.run(&on_the_store("users: 2\n  requests: 20", &more), &[]);
    ended.assert_code(0);
    assert_eq!(matrix_rows(&ended).len(), 8);
    let out = std::fs::read_dir(bench.path().join("out")).expect("a folder").filter_map(Result::ok);
    let folders = out.filter(|entry| entry.path().join("summary.csv").is_file()).count();
    assert_eq!(folders, 8);
    // Two rows, each with both targets.
    assert_eq!(ended.rows("compare.csv").len(), 8);
}

#[test]
fn a_matrix_shows_no_password_and_gives_way_to_the_command_line() {
    let bench = Bench::new();
    let more = "matrix: { redis.url: [\"redis://:hidden@127.0.0.1:1\", embedded], load.users: [2, 3] }\n";
    let scenario =
        on_the_store("users: 1\n  requests: 10", more).replace("addresses: store", "addresses: null");
    let ended = bench.run(&scenario.replace("framing: resp", "framing: length"), &["--dry-run"]);
    assert!(!ended.stdout.contains("hidden") && !ended.stderr.contains("hidden"), "{}", ended.stdout);
    let scenario = on_the_store("users: 1\n  requests: 10", "matrix: { connections.count: [2, 3] }\n");
    let ended = bench.run(&scenario, &["--set", "connections={count: 4}"]);
    ended.assert_code(104);
    assert!(ended.stderr.contains("matrix.connections.count"), "{}", ended.stderr);
    let ended = bench.run(&scenario, &["--set", "connections.count=4"]);
    ended.assert_code(0);
    assert!(ended.rows("summary.csv").len() == 1);
}

#[test]
fn the_last_store_of_a_matrix_stays_where_that_is_asked_for() {
    let bench = Bench::new();
    let scenario = on_the_store("users: 2\n  requests: 20", "matrix: { load.users: [2, 3] }\n");
    let mut child = bench.start(&scenario, &["--keep-store"]);
    let said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut said = said.map(|line| line.expect("text"));
    let stays = said.find(|line| line.starts_with("the store stays at ")).expect("the address of the store");
    let url = stays.split_whitespace().nth(4).expect("an address").to_string();
    let last = said.next().expect("the last line");
    assert!(last.starts_with("PASSED c-") && last.ends_with("(exit 0)"), "{last}");
    let mut connection =
        redis::Client::open(url).expect("an address").get_connection().expect("it is still there");
    let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a count");
    assert!(keys > 0);
    signal(&child, "-INT");
    bench.wait(child).assert_code(0);
}

#[test]
fn the_store_scenarios_run_in_short() {
    let root = env!("CARGO_MANIFEST_DIR");
    let bench = Bench::new();
    let sustained = format!("{root}/scenarios/store-sustained.yaml");
    let ended = bench.call(&[
        &sustained,
        "--out",
        "out",
        "--set",
        "load.duration=500ms",
        "--set",
        "load.ramp_up=50ms",
        "--set",
        "matrix.connections.count=[20, 40]",
    ]);
    ended.assert_code(0);
    let rows = matrix_rows(&ended);
    let connections: Vec<Vec<u64>> =
        rows.iter().map(|row| numbers(row, &["connections", "errors"])).collect();
    assert_eq!(connections, [[20, 0], [40, 0]]);
    let bench = Bench::new();
    let benchmark = format!("{root}/scenarios/store-benchmark.yaml");
    let ended = bench.call(&[&benchmark, "--out", "out", "--set", "load.requests=2000"]);
    ended.assert_code(0);
    let sent: Vec<Vec<u64>> =
        ended.rows("mix.csv").iter().map(|row| numbers(row, &["sent", "matched"])).collect();
    assert_eq!(sent, [[1000, 1000], [1000, 1000]]);
}
