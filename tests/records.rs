//! `runner records`: what it promises, with the real binary, the store of this program and Debian's
//! `redis-server`.

#[path = "support/program.rs"]
mod program;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use program::{Bench, Ended, signal, wait_for};
use redis_server::RedisServer;

/// `runner store` on a free port, ended when dropped.
struct OwnStore {
    child: Child,
    url: String,
}

impl OwnStore {
    fn start(bench: &Bench) -> OwnStore {
        let mut child = bench
            .command(&["store", "--port", "0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the store starts");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where it is");
        let url = line.split(' ').find(|word| word.starts_with("redis://")).expect("an address").to_string();
        // Keep reading, so that it never waits for its talk to be read.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        OwnStore { child, url }
    }
}

impl Drop for OwnStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(server: &RedisServer) -> String {
    format!("redis://{}", server.addr())
}

/// Says something to a server outside of the program.
fn cli(url: &str, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-u", url]).args(args).output().expect("redis-cli is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn records(bench: &Bench, url: &str, args: &[&str]) -> Ended {
    let mut all = vec!["records", args[0], "--redis", url];
    all.extend(&args[1..]);
    bench.call(&all)
}

fn json(ended: &Ended) -> serde_json::Value {
    ended.assert_code(0);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

fn checksum(bench: &Bench, url: &str, args: &[&str]) -> String {
    let mut all = vec!["generate", "--json", "--quiet"];
    all.extend(args);
    json(&records(bench, url, &all))["checksum"].as_str().expect("a checksum").to_owned()
}

const FULL: &str = r#"{"id":{id},"name":"{name}","mail":"{email}","status":"{status}","n":{random:1..9},"pad":"{size:200..300}"}"#;

#[test]
fn records_are_generated_counted_read_back_and_deleted() {
    let bench = Bench::new();
    let (own, redis) = (OwnStore::start(&bench), RedisServer::start(&[]));
    let mut sums = Vec::new();
    for url in [own.url.clone(), url(&redis)] {
        let args =
            ["generate", "--range", "1..25000", "--template", FULL, "--seed", "7", "--verify", "--json"];
        let done = json(&records(&bench, &url, &args));
        assert_eq!((done["asked"].as_u64(), done["written"].as_u64()), (Some(25_000), Some(25_000)));
        assert_eq!(done["verified"]["equal"], 25_000);
        assert_eq!(done["verified"]["checksum"], done["checksum"]);
        sums.push(done["checksum"].clone());

        let value = cli(&url, &["GET", "record:25000"]);
        let record: serde_json::Value = serde_json::from_str(&value).expect("a record is JSON");
        assert_eq!(record["id"], 25_000);
        assert!((200..=300).contains(&value.len()), "{value}");

        cli(&url, &["SET", "other", "mine"]);
        assert_eq!(records(&bench, &url, &["count"]).stdout, "25000\n");
        assert_eq!(records(&bench, &url, &["count", "--pattern", "*"]).stdout, "25001\n");
        let counted = json(&records(&bench, &url, &["count", "--pattern", "record:1*", "--json"]));
        assert_eq!(counted["total_records"], 11_111);

        let refused = records(&bench, &url, &["clear"]);
        assert!(refused.assert_code(2).stderr.contains("--yes"), "{}", refused.stderr);
        let cleared = records(&bench, &url, &["clear", "--yes"]);
        assert!(cleared.assert_code(0).stderr.contains("25 000 keys deleted"), "{}", cleared.stderr);
        assert_eq!(cli(&url, &["DBSIZE"]), "1");
    }
    assert_eq!(sums[0], sums[1], "the same records have the same checksum wherever they are");
}

#[test]
fn the_same_seed_gives_the_same_records_and_anything_else_another_checksum() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let base = ["--count", "500", "--template", FULL];
    let sum = |more: &[&str]| {
        cli(&store.url, &["FLUSHALL"]);
        checksum(&bench, &store.url, &[&base[..], more].concat())
    };
    let first = sum(&[]);
    let value = cli(&store.url, &["GET", "record:77"]);
    assert_eq!(sum(&["--connections", "1"]), first, "the order does not matter");
    assert_eq!(cli(&store.url, &["GET", "record:77"]), value);
    assert_ne!(sum(&["--seed", "2"]), first);
    assert_ne!(sum(&["--key", "r:{id}"]), first);
    assert_ne!(sum(&["--start", "2"]), first);
    let other = checksum(&bench, &store.url, &["--count", "500", "--template", "{name}"]);
    assert_ne!(other, first);
}

#[test]
fn what_is_there_is_kept_overwritten_or_refused() {
    let bench = Bench::new();
    let redis = RedisServer::start(&[]);
    let url = url(&redis);
    for key in ["record:17", "record:4000"] {
        cli(&url, &["SET", key, "mine"]);
    }
    let generate =
        |more: &[&str]| records(&bench, &url, &[&["generate", "--count", "9000", "--json"], more].concat());
    let refused = generate(&["--existing", "refuse"]);
    let said = &refused.assert_code(2).stderr;
    assert!(said.contains("`record:17` is there already") && said.contains("--existing keep"), "{said}");
    assert_eq!(cli(&url, &["DBSIZE"]), "2", "nothing was written");

    let kept = json(&generate(&[]));
    assert_eq!((kept["written"].as_u64(), kept["kept"].as_u64()), (Some(8998), Some(2)));
    assert_eq!(cli(&url, &["GET", "record:4000"]), "mine");

    let again = json(&generate(&[]));
    assert_eq!((again["written"].as_u64(), again["kept"].as_u64()), (Some(0), Some(9000)));

    let over = json(&generate(&["--existing", "overwrite"]));
    assert_eq!((over["written"].as_u64(), over["kept"].as_u64()), (Some(9000), Some(0)));
    assert_ne!(cli(&url, &["GET", "record:4000"]), "mine");
    assert_eq!(over["checksum"], kept["checksum"]);

    cli(&url, &["FLUSHALL"]);
    assert_eq!(json(&generate(&["--existing", "refuse"]))["written"], 9000);
}

#[test]
fn a_generation_that_was_cut_off_goes_on_where_it_was() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let whole = checksum(&bench, &store.url, &["--count", "20000"]);
    // Every third record is gone, as after a crash in the middle.
    let gone: Vec<String> = (1..=20_000).step_by(3).map(|id| format!("record:{id}")).collect();
    for keys in gone.chunks(1000) {
        let args: Vec<&str> = std::iter::once("DEL").chain(keys.iter().map(String::as_str)).collect();
        cli(&store.url, &args);
    }
    let resumed = json(&records(&bench, &store.url, &["generate", "--count", "20000", "--json", "--verify"]));
    assert_eq!(resumed["written"].as_u64(), Some(gone.len() as u64));
    assert_eq!(resumed["verified"]["equal"], 20_000);
    assert_eq!(resumed["checksum"], whole.as_str());
}

#[test]
fn records_with_a_time_to_live_end() {
    let bench = Bench::new();
    let (own, redis) = (OwnStore::start(&bench), RedisServer::start(&[]));
    for url in [own.url.clone(), url(&redis)] {
        cli(&url, &["SET", "record:5", "mine"]);
        let done = json(&records(&bench, &url, &["generate", "--count", "3000", "--ttl", "1h", "--json"]));
        assert_eq!((done["written"].as_u64(), done["kept"].as_u64()), (Some(2999), Some(1)));
        let left: u64 = cli(&url, &["TTL", "record:3000"]).parse().expect("seconds");
        assert!((3500..=3600).contains(&left), "{left}");
        assert_eq!(cli(&url, &["TTL", "record:5"]), "-1", "what is kept keeps its own");
        let args = ["generate", "--count", "10", "--ttl", "2h", "--existing", "overwrite", "--quiet"];
        records(&bench, &url, &args).assert_code(0);
        let left: u64 = cli(&url, &["TTL", "record:5"]).parse().expect("seconds");
        assert!(left > 3600, "{left}");
    }
}

#[test]
fn a_record_that_was_changed_or_lost_is_found() {
    let bench = Bench::new();
    let redis = RedisServer::start(&[]);
    let url = url(&redis);
    records(&bench, &url, &["generate", "--count", "6000", "--quiet"]).assert_code(0);
    records(&bench, &url, &["verify", "--count", "6000"]).assert_code(0);

    cli(&url, &["SET", "record:4321", "changed"]);
    cli(&url, &["DEL", "record:5"]);
    cli(&url, &["DEL", "record:6"]);
    cli(&url, &["RPUSH", "record:6", "a list"]);
    // The second writes what was lost and keeps what was changed, so that only that is found.
    for args in [&["verify", "--count", "6000"][..], &["generate", "--count", "6000", "--verify"]] {
        let ended = records(&bench, &url, args);
        let said = &ended.assert_code(111).stderr;
        assert!(said.contains("different  record:4321") && said.contains("found    changed"), "{said}");
        assert!(said.contains("missing    record:6"), "{said}");
        let lost = if args[0] == "verify" { "2 missing" } else { "1 missing" };
        assert!(said.contains(lost) && said.contains("1 different"), "{said}");
    }
    let over = ["generate", "--count", "6000", "--existing", "overwrite", "--verify"];
    records(&bench, &url, &over).assert_code(0);
    let other_seed = ["verify", "--count", "10", "--template", "{name}"];
    records(&bench, &url, &other_seed).assert_code(111);
}

#[test]
fn a_scenario_says_what_its_records_are() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let file = bench.file(
        "case.yaml",
        "name: case\nseed: 3\nrecords: { key: 'user:{id:06}', range: [1..40, 100..109], template: '{name} {id}' }\n\
         load: { stages: [ { hold: 10, duration: 1s } ] }\n",
    );
    let file = file.to_str().expect("text");
    let done = json(&records(&bench, &store.url, &["generate", "--scenario", file, "--json"]));
    assert_eq!(done["written"], 50);
    let value = cli(&store.url, &["GET", "user:000109"]);
    assert!(value.ends_with(" 109"), "{value}");

    // The run finds them and generates none: the values are those that it would have made itself.
    let seeded = checksum(&bench, &store.url, &["--scenario", file, "--seed", "3"]);
    assert_eq!(done["checksum"], seeded.as_str());
    assert_ne!(checksum(&bench, &store.url, &["--scenario", file, "--seed", "4"]), seeded);
    records(&bench, &store.url, &["verify", "--scenario", file]).assert_code(0);
}

#[test]
fn a_scenario_generates_the_same_records_as_the_command() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let scenario = "name: case\nseed: 3\n\
         records: { range: 1..20, template: '{\"id\":{id},\"name\":\"{name}\",\"pad\":\"{size:90}\"}' }\n\
         load: { stages: [ { hold: 20, duration: 1s } ] }\nconnections: { count: 2 }\n";
    let ended = bench.run(scenario, &["--redis", &store.url]);
    ended.assert_code(0);
    let file = bench.file("again.yaml", scenario);
    let verified = records(&bench, &store.url, &["verify", "--scenario", file.to_str().expect("text")]);
    verified.assert_code(0);
    assert_eq!(cli(&store.url, &["STRLEN", "record:20"]), "90");
}

#[test]
fn a_store_that_is_away_is_said_to_be() {
    let bench = Bench::new();
    let mut redis = RedisServer::start(&[]);
    let url = format!("redis://:secret@{}", redis.addr());
    redis.stop();
    for args in
        [&["generate", "--count", "10"][..], &["count"], &["clear", "--yes"], &["verify", "--count", "1"]]
    {
        let ended = records(&bench, &url, args);
        let said = &ended.assert_code(100).stderr;
        assert!(
            said.contains("no connection") && said.contains(":***@") && !said.contains("secret"),
            "{said}"
        );
    }
}

#[test]
fn a_store_that_goes_away_in_the_middle_is_waited_for() {
    let bench = Bench::new();
    let mut redis = RedisServer::start(&[]);
    let url = url(&redis);
    let args = ["records", "generate", "--redis", &url, "--count", "3000000", "--timeout", "60s", "--json"];
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for("the first records", || cli(&url, &["DBSIZE"]).parse::<u64>().is_ok_and(|size| size > 10_000));
    redis.stop();
    redis.start_again();
    let ended = bench.wait(child);
    let done = json(&ended);
    assert!(
        ended.stderr.lines().any(|line| line.contains("/s  ") && line.contains(" left  ")),
        "{}",
        ended.stderr
    );
    assert_eq!(done["asked"], 3_000_000);
    assert!(done["resent"].as_u64().is_some_and(|resent| resent > 0), "{done}");
    // The server that came back is empty, and what was written before is gone with the first one: the same
    // command says so and mends it.
    let there: u64 = cli(&url, &["DBSIZE"]).parse().expect("a number");
    assert!((1..3_000_000).contains(&there), "{there}");
}

#[test]
fn a_store_that_stays_away_ends_the_waiting() {
    let bench = Bench::new();
    let mut redis = RedisServer::start(&[]);
    let url = url(&redis);
    let args = ["records", "generate", "--redis", &url, "--count", "50000000", "--timeout", "1s"];
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for("the first records", || cli(&url, &["DBSIZE"]).parse::<u64>().is_ok_and(|size| size > 10_000));
    redis.stop();
    let ended = bench.wait(child);
    let said = &ended.assert_code(100).stderr;
    assert!(said.contains("was away for more than 1s") && said.contains("run it again"), "{said}");
}

/// How often a server has been asked to do something.
fn calls(url: &str, command: &str) -> u64 {
    let said = cli(url, &["INFO", "commandstats"]);
    let calls =
        said.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

#[test]
fn a_store_that_goes_away_while_it_is_read_is_waited_for() {
    let bench = Bench::new();
    let mut redis = RedisServer::start(&[]);
    let url = url(&redis);
    for (args, command, code) in [
        // What was there is gone with the first server, or never was: all of it is missing.
        (&["verify"][..], "mget", 111),
        (&["generate", "--existing", "refuse"], "exists", 0),
    ] {
        let all = [&["records"], args, &["--redis", &url, "--count", "1000000", "--timeout", "60s"]].concat();
        let child =
            bench.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        wait_for("the first look", || calls(&url, command) > 0);
        redis.stop();
        redis.start_again();
        bench.wait(child).assert_code(code);
    }
}

#[test]
fn a_store_that_stays_away_while_it_is_read_ends_the_waiting() {
    let bench = Bench::new();
    let mut redis = RedisServer::start(&[]);
    let url = url(&redis);
    for (args, command) in [(&["verify"][..], "mget"), (&["generate", "--existing", "refuse"], "exists")] {
        let all = [&["records"], args, &["--redis", &url, "--count", "50000000", "--timeout", "1s"]].concat();
        let child =
            bench.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        wait_for("the first look", || calls(&url, command) > 0);
        redis.stop();
        let ended = bench.wait(child);
        assert!(ended.assert_code(100).stderr.contains("was away for more than 1s"), "{}", ended.stderr);
        redis.start_again();
    }
}

#[test]
fn a_generation_that_is_interrupted_before_its_first_record_says_so() {
    let bench = Bench::new();
    let redis = RedisServer::start(&[]);
    let url = url(&redis);
    let args = ["records", "generate", "--redis", &url, "--count", "50000000", "--existing", "refuse"];
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for("the first look", || calls(&url, "exists") > 0);
    signal(&child, "-INT");
    let ended = bench.wait(child);
    assert!(ended.assert_code(105).stderr.contains("nothing was written"), "{}", ended.stderr);
}

#[test]
fn an_interrupted_generation_says_how_far_it_came_and_goes_on_later() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let args = ["records", "generate", "--redis", &store.url, "--count", "50000000"];
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let size = || cli(&store.url, &["DBSIZE"]).parse::<u64>().expect("a number");
    wait_for("the first records", || size() > 1000);
    signal(&child, "-INT");
    let ended = bench.wait(child);
    let said = &ended.assert_code(105).stderr;
    let there = size();
    assert!(said.contains(&format!("interrupted after {there} records of 50000000")), "{there}: {said}");

    let more = (there + 1000).to_string();
    let resumed = json(&records(&bench, &store.url, &["generate", "--count", &more, "--json", "--verify"]));
    assert_eq!((resumed["kept"].as_u64(), resumed["written"].as_u64()), (Some(there), Some(1000)));
}

#[test]
fn memory_does_not_grow_with_the_number_of_records() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let file = bench.file("ids.txt", "x{size:100}");
    let template = format!("@{}", file.display());
    let args = ["records", "generate", "--redis", &store.url, "--count", "1200000", "--template", &template];
    let mut child = bench
        .command(&[&args[..], &["--existing", "overwrite", "--quiet"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while matches!(child.try_wait(), Ok(None)) {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        peak = peak.max(kib);
        std::thread::yield_now();
    }
    assert!(child.wait().expect("it ended").success());
    // The program and what is on its way have some 40 MB; all keys and values alone would have 130 MB more.
    assert!((1..64 * 1024).contains(&peak), "{peak} KiB at most");
}

#[test]
fn a_large_record_is_loaded_like_any_other() {
    let bench = Bench::new();
    let store = OwnStore::start(&bench);
    let args = ["generate", "--count", "40", "--template", "{id}:{size:1MiB}", "--verify", "--json"];
    let done = json(&records(&bench, &store.url, &args));
    assert_eq!(done["verified"]["equal"], 40);
    assert_eq!(cli(&store.url, &["STRLEN", "record:40"]), "1048576");
}

#[test]
fn what_cannot_be_generated_is_said_with_what_to_write() {
    let bench = Bench::new();
    for (args, hint) in [
        (&["--redis", "embedded"][..], "runner store"),
        (&["--key", "same"], "{id}"),
        (&["--key", "{id}{uuid}"], "instead of {uuid}"),
        (&["--template", "{random:9..1}"], "{random:1..100}"),
        (&["--template", "{id}{size:3}"], "or more"),
        (&["--template", &"{text:1048576}".repeat(17)], "17825792 bytes"),
        (&["--count", "0"], "from 1"),
        (&["--count", "9", "--range", "1..9"], "cannot be used with"),
        (&["--range", "9..1"], "runs backwards"),
        (&["--count", "18446744073709551615", "--start", "2"], "beyond the largest id"),
        (&["--redis", "http://127.0.0.1"], "redis://host:port"),
        (&["--connections", "0"], "1..=256"),
    ] {
        let mut all = vec!["records", "generate"];
        all.extend(args);
        let ended = bench.call(&all);
        assert!(ended.code != 0 && ended.stderr.contains(hint), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn what_the_server_refuses_is_told() {
    let bench = Bench::new();
    let redis = RedisServer::start(&["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    for args in [&["--existing", "keep"][..], &["--existing", "overwrite"], &["--ttl", "1h"]] {
        let mut all = vec!["generate", "--count", "200000"];
        all.extend(args);
        let ended = records(&bench, &url(&redis), &all);
        assert!(ended.assert_code(100).stderr.contains("OOM"), "{}", ended.stderr);
    }
    let locked = RedisServer::start(&["--requirepass", "secret"]);
    let good = format!("redis://:secret@{}/2", locked.addr());
    records(&bench, &good, &["generate", "--count", "100", "--verify"]).assert_code(0);
    let ended = records(&bench, &good.replace("secret", "wrong"), &["generate", "--count", "100"]);
    assert!(ended.assert_code(100).stderr.contains("refuses the login"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("wrong@"), "{}", ended.stderr);
}
