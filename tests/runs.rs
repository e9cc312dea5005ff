//! Whole runs of the real binary: what the README promises.

#[path = "support/program.rs"]
mod program;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::HashSet;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;

use program::{Bench, Ended, signal, wait_for};
use redis_server::RedisServer;

const LEDGER: [&str; 10] = [
    "scheduled",
    "sent",
    "dropped",
    "not_reached",
    "matched",
    "failed",
    "timed_out",
    "duplicate",
    "late",
    "unknown",
];

fn steady(tps: u32, secs: &str, more: &str) -> String {
    format!(
        "name: steady\nrecords: {{ range: 1..10000 }}\n\
         load: {{ stages: [ {{ hold: {tps}, duration: {secs} }} ] }}\n{more}"
    )
}

fn redis(server: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{}", server.addr())).expect("an address");
    client.get_connection().expect("it answers")
}

fn assert_all_mapped(ended: &Ended, requests: u64) {
    ended.assert_code(0);
    let n = requests;
    assert_eq!(ended.summary(&LEDGER), [n, n, 0, 0, n, 0, 0, 0, 0, 0], "{}", ended.stderr);
    assert_eq!(ended.summary(&["mapped", "map_failed"]), [n, 0]);
}

#[test]
fn a_steady_run_sends_matches_and_maps_exactly_what_is_scheduled() {
    let bench = Bench::new();
    let yaml = steady(100, "3s", "connections: { count: 10, limit: 20 }\n");
    let planned = bench.call(&[bench.file("s.yaml", &yaml).to_str().expect("text"), "--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let ended = bench.run(&yaml, &[]);
    assert_all_mapped(&ended, 300);
    assert_eq!(plan["scheduled"], 300);
    let counted = ended.summary(&["connections_opened", "reconnects"]);
    assert_eq!(
        serde_json::json!(counted),
        serde_json::json!([plan["connections_opened"], plan["reconnects"]])
    );
    let seconds = ended.rows("seconds.csv");
    assert_eq!(seconds.len(), 3);
    for row in seconds {
        for column in ["scheduled", "sent", "matched"] {
            assert_eq!(row[column], "100", "{row:?}");
        }
    }
    assert!(ended.stderr.trim_end().lines().last().is_some_and(|line| line.starts_with("PASSED")));
}

#[test]
fn every_response_id_is_distinct_and_lies_next_to_its_record_in_a_real_redis() {
    let server = RedisServer::start(&[]);
    let bench = Bench::new();
    let url = format!("redis://{}", server.addr());
    let ended = bench.run(&steady(500, "2s", ""), &["--redis", &url]);
    assert_all_mapped(&ended, 1000);
    let mut connection = redis(&server);
    let mut ids = HashSet::new();
    for record in 1..=1000 {
        let key = format!("response:record:{record}");
        let id: String =
            redis::cmd("HGET").arg(key).arg("response_id").query(&mut connection).expect("mapped");
        assert!(ids.insert(id));
    }
    let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a count");
    assert_eq!(keys, 2000, "1,000 generated records and their mappings");
}

#[test]
fn mappings_may_be_strings_records_or_streams() {
    let server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let mut connection = redis(&server);
    for into in ["string", "record", "stream"] {
        let bench = Bench::new();
        let more = format!("mapping: {{ into: {into}, key: \"{into}:{{key}}\" }}\n");
        let ended = bench.run(&steady(200, "1s", &more), &["--redis", &url]);
        assert_all_mapped(&ended, 200);
    }
    let text: String = redis::cmd("GET").arg("string:record:7").query(&mut connection).expect("a string");
    assert!(text.contains('-'), "{text}");
    let record: String = redis::cmd("GET").arg("record:7").query(&mut connection).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!((&record["id"], &record["status"]), (&7.into(), &"processed".into()));
    assert!(record["response_id"].is_string());
    let entries: u64 = redis::cmd("XLEN").arg("stream:record:7").query(&mut connection).expect("a stream");
    assert_eq!(entries, 1);
}

#[test]
fn a_ramp_from_zero_a_limit_of_one_and_a_run_under_a_second_are_sane() {
    let bench = Bench::new();
    let ramp = "name: r\nload: { stages: [ { ramp: { from: 0, to: 200 }, duration: 2s } ] }\n";
    assert_all_mapped(&bench.run(ramp, &[]), 200);
    let bench = Bench::new();
    let ended = bench.run(&steady(100, "1s", "connections: { count: 4, limit: 1 }\n"), &[]);
    assert_all_mapped(&ended, 100);
    assert_eq!(ended.summary(&["connections_opened", "reconnects"]), [100, 96]);
    let bench = Bench::new();
    let ended = bench.run(&steady(100, "300ms", ""), &[]);
    assert_all_mapped(&ended, 30);
    let row = ended.rows("summary.csv").remove(0);
    assert_eq!(row["rate_planned"].parse::<f64>().expect("a number").round(), 100.0);
    assert_eq!(row["rate_actual"].parse::<f64>().expect("a number").round(), 100.0);
}

#[test]
fn a_limit_that_divides_the_total_ends_without_an_empty_reconnect() {
    let bench = Bench::new();
    let more = "connections: { count: 10, limit: 20, stagger: false }\n";
    let ended = bench.run(&steady(200, "1s", more), &[]);
    assert_all_mapped(&ended, 200);
    assert_eq!(ended.summary(&["connections_opened", "reconnects"]), [10, 0]);
}

#[test]
fn two_workers_do_what_one_does() {
    let yaml = steady(400, "1s", "connections: { count: 6, limit: 30 }\nreport: { requests: true }\n");
    let rows = |workers: &str| {
        let bench = Bench::new();
        let ended = bench.run(&yaml, &["--workers", workers]);
        assert_all_mapped(&ended, 400);
        let mut rows: Vec<(u64, String, String)> = ended
            .rows("requests.csv")
            .into_iter()
            .map(|row| (row["n"].parse().expect("a number"), row["key"].clone(), row["intended_us"].clone()))
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(rows("1"), rows("2"));
}

#[test]
fn segments_add_up_to_the_whole() {
    let yaml = steady(300, "1s", "report: { requests: true }\n");
    let rows = |segment: &str| {
        let bench = Bench::new();
        let ended = bench.run(&yaml, &["--segment", segment]);
        ended.assert_code(0);
        ended
            .rows("requests.csv")
            .into_iter()
            .map(|row| {
                (row["n"].parse::<u64>().expect("a number"), row["key"].clone(), row["intended_us"].clone())
            })
            .collect::<Vec<_>>()
    };
    let mut whole = rows("0/1");
    let mut parts: Vec<_> = ["0/3", "1/3", "2/3"].into_iter().flat_map(rows).collect();
    whole.sort();
    parts.sort();
    assert_eq!(whole, parts);
}

#[test]
fn a_redis_that_goes_away_and_comes_back_gets_every_mapping() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let bench = Bench::new();
    // The records are read ahead, so that only the mapping needs Redis.
    let more = "redis: { prefetch: 10000, timeout: 200ms }\nmapping: { verify: none }\n";
    let child = bench.start(&steady(500, "6s", more), &["--redis", &url]);
    let mut connection = redis(&server);
    wait_for("half a second of mappings", || {
        let mapped: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap_or(0);
        mapped > 3000 + 300
    });
    drop(connection);
    server.stop();
    server.start_again();
    let ended = bench.wait(child);
    ended.assert_code(0);
    let counts = ended.summary(&["scheduled", "matched", "mapped", "map_failed"]);
    assert_eq!(counts, [3000, 3000, 3000, 0], "{}", ended.stderr);
    assert!(!ended.has_file("mapping.journal"));
}

#[test]
fn a_redis_that_stays_away_leaves_a_journal_that_flush_empties() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let bench = Bench::new();
    let more = "redis: { prefetch: 10000, timeout: 200ms }\n";
    let yaml = steady(500, "2s", more).replace("load: {", "load: { graceful_stop: 500ms,");
    let child = bench.start(&yaml, &["--redis", &url]);
    let mut connection = redis(&server);
    wait_for("the first mappings", || {
        let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap_or(0);
        keys > 1000 + 100
    });
    drop(connection);
    server.stop();
    let ended = bench.wait(child);
    ended.assert_code(111);
    let counts = ended.summary(&["scheduled", "matched"]);
    assert_eq!(counts, [1000, 1000], "{}", ended.stderr);
    let [mapped, failed] = ended.summary(&["mapped", "map_failed"])[..] else { panic!("two columns") };
    assert_eq!(mapped + failed, 1000);
    assert!(failed > 0 && ended.has_file("mapping.journal"));
    // The next run must not write over what is still to be flushed.
    bench.run(&yaml, &["--redis", "embedded"]).assert_code(2);
    server.start_again();
    let flushed = bench.call(&["flush", "out", "--redis", &url]);
    flushed.assert_code(0);
    assert!(!ended.has_file("mapping.journal"));
    let mut connection = redis(&server);
    let written: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a count");
    assert_eq!(written, failed);
    bench.call(&["flush", "out", "--redis", &url]).assert_code(2);
}

#[test]
fn an_interrupt_while_redis_is_away_does_not_wait_for_records_nobody_will_send() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let bench = Bench::new();
    let more = "redis: { prefetch: 160, timeout: 200ms }\nmapping: { into: none }\n\
                report: { requests: true }\n";
    let yaml = steady(100, "10m", more).replace("load: {", "load: { max_lateness: 1m,");
    let child = bench.start(&yaml, &["--redis", &url]);
    let part = bench.path().join("out/seconds.csv.part");
    let seconds = || std::fs::read_to_string(&part).map_or(0, |text| text.lines().count());
    wait_for("the first second", || seconds() > 1);
    server.stop();
    // By then everything that was read ahead has been sent, and a fetch waits.
    wait_for("the second second", || seconds() > 2);
    let interrupted = std::time::Instant::now();
    signal(&child, "-INT");
    let ended = bench.wait(child);
    ended.assert_code(105);
    assert!(interrupted.elapsed().as_secs() < 20, "{}", ended.stderr);
}

#[test]
fn a_run_whose_mappings_cannot_be_read_back_fails_and_still_writes_its_reports() {
    let server = RedisServer::start(&["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-hget"]);
    let bench = Bench::new();
    let url = format!("redis://{}", server.addr());
    let ended = bench.run(&steady(100, "500ms", ""), &["--redis", &url]);
    ended.assert_code(100);
    assert_eq!(ended.summary(&["matched", "mapped"]), [50, 50]);
    assert!(ended.has_file("stages.csv") && ended.has_file("errors.csv"));
}

#[test]
fn what_a_flush_is_refused_stays_in_the_journal() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let bench = Bench::new();
    let more = "redis: { prefetch: 10000, timeout: 200ms }\n";
    let yaml = steady(500, "2s", more).replace("load: {", "load: { graceful_stop: 500ms,");
    let child = bench.start(&yaml, &["--redis", &url]);
    let mut connection = redis(&server);
    wait_for("the first mappings", || {
        let keys: u64 = redis::cmd("DBSIZE").query(&mut connection).unwrap_or(0);
        keys > 1000 + 100
    });
    server.stop();
    let ended = bench.wait(child);
    let [left] = ended.summary(&["map_failed"])[..] else { panic!("one column") };
    server.start_again();
    let mut connection = redis(&server);
    let mut set = |memory: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(memory).exec(&mut connection).expect("set");
    };
    set("1");
    bench.call(&["flush", "out", "--redis", &url]).assert_code(111);
    assert!(ended.has_file("mapping.journal"));
    set("0");
    bench.call(&["flush", "out", "--redis", &url]).assert_code(0);
    assert!(!ended.has_file("mapping.journal"));
    let written: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a count");
    assert_eq!(written, left);
}

#[test]
fn a_responder_killed_in_mid_run_costs_requests_but_not_the_account() {
    let bench = Bench::new();
    let mut responder = bench
        .command(&["responder", "--ports", "0", "--limit", "100"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut said = std::io::BufReader::new(responder.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("it says where it listens");
    let address = line.split_whitespace().find(|word| word.contains(':')).expect("an address").to_string();
    let more = format!("target: {{ addresses: [\"{address}\"] }}\nreport: {{ requests: true }}\n");
    let yaml = steady(500, "2s", &more).replace("load: {", "load: { max_lateness: 200ms,");
    let child = bench.start(&yaml, &[]);
    let part = bench.path().join("out/requests.csv.part");
    wait_for("some requests", || std::fs::read_to_string(&part).is_ok_and(|text| text.lines().count() > 100));
    responder.kill().expect("killed");
    responder.wait().expect("ended");
    let ended = bench.wait(child);
    ended.assert_code(100);
    let counts =
        ended.summary(&["scheduled", "sent", "dropped", "not_reached", "matched", "failed", "timed_out"]);
    let [scheduled, sent, dropped, not_reached, matched, failed, timed_out] = counts[..] else {
        panic!("seven")
    };
    assert_eq!(scheduled, 1000);
    assert_eq!(scheduled, sent + dropped + not_reached, "{}", ended.stderr);
    assert_eq!(sent, matched + failed + timed_out);
    assert!(dropped > 0);
    assert!(!ended.rows("errors.csv").is_empty());
}

#[test]
fn a_target_that_answers_nothing_is_no_passed_run() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let bench = Bench::new();
    let more = format!(
        "target: {{ addresses: [\"{address}\"] }}\nconnections: {{ count: 2, request_timeout: 200ms }}\n"
    );
    let ended = bench.run(&steady(100, "500ms", &more), &[]);
    ended.assert_code(100);
    assert_eq!(ended.summary(&["scheduled", "sent", "matched", "timed_out"]), [50, 50, 0, 50]);
    assert!(ended.stderr.contains("answered none of 50 requests"), "{}", ended.stderr);
}

#[test]
fn ctrl_c_drains_and_leaves_whole_reports() {
    for name in ["-INT", "-TERM"] {
        let bench = Bench::new();
        let child = bench.start(&steady(200, "60s", "report: { requests: true }\n"), &[]);
        let part = bench.path().join("out/requests.csv.part");
        wait_for("some requests", || {
            std::fs::read_to_string(&part).is_ok_and(|text| text.lines().count() > 20)
        });
        signal(&child, name);
        let ended = bench.wait(child);
        ended.assert_code(105);
        let counts = ended.summary(&["scheduled", "sent", "dropped", "not_reached", "matched", "mapped"]);
        let [scheduled, sent, dropped, not_reached, matched, mapped] = counts[..] else {
            panic!("six columns")
        };
        assert_eq!((scheduled, sent + dropped + not_reached), (12_000, 12_000));
        assert_eq!((matched, mapped), (sent, sent));
        for file in
            ["stages.csv", "seconds.csv", "connections.csv", "errors.csv", "requests.csv", "plan.json"]
        {
            assert!(ended.has_file(file), "{file}");
        }
    }
}

#[test]
fn lua_shapes_payloads_checks_replies_and_may_drop() {
    let bench = Bench::new();
    bench.file(
        "hook.lua",
        "local dropped = metrics.counter('odd')\n\
         function request(ctx, record)\n\
         \x20 if record.id % 2 == 1 then dropped.add(dropped, 1) return nil end\n\
         \x20 return ctx.args.prefix .. record.value\n\
         end\n\
         function response(ctx, record, reply) check('has an id', #reply.id > 10) check('has its value', #record.value > 10) end\n\
         function done(summary) assert(summary, 'no summary') end\n",
    );
    let more = "script: { file: hook.lua, args: { prefix: TX } }\n";
    let ended = bench.run(&steady(200, "1s", more), &["--json"]);
    ended.assert_code(0);
    assert_eq!(
        ended.summary(&["scheduled", "sent", "dropped", "matched", "mapped"]),
        [200, 100, 100, 100, 100]
    );
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON on stdout");
    let text = json.to_string();
    assert!(text.contains("has an id") && text.contains("odd"), "{text}");
}

#[test]
fn expected_failures_have_their_exit_codes() {
    let bench = Bench::new();
    let code = |yaml: &str, args: &[&str]| {
        let ended = bench.run(yaml, args);
        let last = ended.stderr.trim_end().lines().last().unwrap_or_default().to_string();
        assert!(
            ended.code == 0 || last.contains(&format!("exit {}", ended.code)),
            "{last}\n{}",
            ended.stderr
        );
        ended.code
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = free.local_addr().expect("bound").port();
    let brief = steady(10, "100ms", "");
    assert_eq!(code(&brief, &["--redis", "redis://127.0.0.1:1"]), 100);
    assert_eq!(code(&steady(10, "100ms", "target: { addresses: [\"127.0.0.1:1\"] }\n"), &[]), 100);
    let port = format!("responder: {{ ports: 1, first_port: {taken} }}\n");
    assert_eq!(code(&steady(10, "100ms", &port), &[]), 106);
    assert_eq!(code(&brief.replace("hold: 10", "hold: -1"), &[]), 104);
    bench.file("hook.lua", "function request(ctx, record) error('no') end\n");
    assert_eq!(code(&steady(10, "100ms", "script: { file: hook.lua }\n"), &[]), 107);
    bench.file("hook.lua", "function request(ctx, record) return end end\n");
    assert_eq!(code(&steady(10, "100ms", "script: { file: hook.lua }\n"), &[]), 107);
    assert_eq!(code(&steady(10, "100ms", "").replace("1..10000", "1..10000, on_missing: fail"), &[]), 1);
    assert_eq!(bench.call(&["--no-such-flag"]).code, 2);
    assert_eq!(bench.call(&["validate", "nowhere.yaml"]).code, 104);
}

#[test]
fn what_fails_before_the_first_request_is_no_interruption_however_many_workers_there_are() {
    let bench = Bench::new();
    bench.file("hook.lua", "function request(ctx, record) error('no such luck') end\n");
    let cases = [
        (steady(10, "1s", "script: { file: hook.lua }\n"), 107, "no such luck"),
        (steady(10, "1s", "").replace("1..10000", "1..10000, on_missing: fail"), 1, "on_missing is `fail`"),
    ];
    for (yaml, code, why) in cases {
        for workers in ["2", "4"] {
            let ended = bench.run(&yaml, &["--workers", workers]);
            ended.assert_code(code);
            assert!(ended.stderr.contains(why) && !ended.stderr.contains("interrupted"), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_dry_run_opens_nothing_and_says_so() {
    let bench = Bench::new();
    // Neither the store nor the target exists, and nobody notices.
    let yaml = steady(100, "10s", "target: { addresses: [\"127.0.0.1:1\"] }\n");
    let ended = bench.run(&yaml, &["--dry-run", "--redis", "redis://127.0.0.1:1"]);
    ended.assert_code(0);
    assert!(ended.stdout.contains("nothing was sent"), "{}", ended.stdout);
    assert!(!bench.path().join("out").exists() && !bench.path().join("runs").exists());
}

#[test]
fn every_bad_scenario_ends_with_104() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let bench = Bench::new();
    let mut count = 0;
    for entry in std::fs::read_dir(cases).expect("the cases") {
        let path = entry.expect("an entry").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bad-")) {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a case")).into_owned();
        let lines = |word: &str| {
            let found = text.lines().filter_map(|line| line.strip_prefix(word)).map(str::trim);
            found.map(str::to_string).collect::<Vec<_>>()
        };
        let mut command = bench.command(&[path.to_str().expect("text"), "--dry-run"]);
        for flag in lines("# flag:") {
            let (name, value) = flag.split_once(' ').expect("a name and a value");
            command.arg(format!("{name}={value}"));
        }
        for variable in lines("# env:") {
            let (name, value) = variable.split_once('=').expect("a name and a value");
            command.env(name.trim(), value);
        }
        let ended = bench.ended(command.output().expect("the binary runs"));
        assert_eq!(ended.code, 104, "{}\n{}", path.display(), ended.stderr);
        count += 1;
    }
    assert!(count >= 25, "{count}");
}

#[test]
fn the_kept_store_can_be_looked_at() {
    let bench = Bench::new();
    let file = bench.file("s.yaml", &steady(100, "500ms", ""));
    let mut child = bench
        .command(&[file.to_str().expect("text"), "--keep-store"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let said = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let line = std::io::BufRead::lines(said)
        .map_while(Result::ok)
        .find(|line| line.contains("the store stays at"))
        .expect("it says where");
    let url = line.split_whitespace().find(|word| word.starts_with("redis://")).expect("a URL").to_string();
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_connection().expect("it is there");
    let fields: u64 = redis::cmd("HLEN").arg("response:record:50").query(&mut connection).expect("a mapping");
    assert_eq!(fields, 3);
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// Passes bytes on between two connections until they end.
fn join(one: TcpStream, other: TcpStream) {
    for (from, to) in [(&one, &other), (&other, &one)] {
        let [mut from, mut to] = [from, to].map(|stream| stream.try_clone().expect("a socket"));
        std::thread::spawn(move || {
            // Who is gone takes nothing.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

#[test]
fn connections_that_end_or_fail_before_the_first_request_are_in_the_files_too() {
    let bench = Bench::new();
    let store = RedisServer::start(&[]);
    let store_addr = store.addr();
    let [first, second, gate] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [a, b, url] = [&first, &second, &gate].map(|it| it.local_addr().expect("an address").to_string());
    let more = format!(
        "redis: {{ url: \"redis://{url}\", timeout: 1m }}\nconnections: {{ count: 1, limit: 0 }}\n\
         target: {{ addresses: [\"{a}\", \"{b}\"], framing: line, correlate: order }}\n\
         mapping: {{ into: none }}\n"
    );
    let child = bench.start(&steady(50, "1s", &more), &[]);
    // Closed at once, and the next one is refused: the third goes to the other address.
    let (stream, _) = first.accept().expect("a connection");
    drop(first);
    drop(stream);
    let (stream, _) = second.accept().expect("a connection");
    // Whatever is sent comes back, a line for a line.
    let echo = std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream).expect("it is read"));
    // Nothing could be due before, since there was no record to send.
    std::thread::spawn(move || {
        for client in gate.incoming() {
            join(client.expect("a client"), TcpStream::connect(store_addr).expect("a store"));
        }
    });
    let ended = bench.wait(child);
    ended.assert_code(0);
    assert!(echo.join().expect("it was read") > 0);
    assert_eq!(ended.summary(&["matched", "connections_opened", "reconnects"]), [50, 2, 1]);
    let connections: Vec<_> = ended
        .rows("connections.csv")
        .into_iter()
        .map(|row| ["generation", "address", "closed_us", "sent", "end"].map(|name| row[name].clone()))
        .collect();
    assert_eq!(connections.len(), 2, "{connections:?}");
    assert_eq!(connections[0], ["0", a.as_str(), "0", "0", "peer_closed"]);
    assert_eq!([&connections[1][1], &connections[1][4]], [b.as_str(), "finished"]);
    let errors = ended.rows("errors.csv");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        ["kind", "address", "count"].map(|name| errors[0][name].as_str()),
        ["connect", a.as_str(), "1"]
    );
    bench.call(&["verify", "out"]).assert_code(0);
}
