//! `runner serve`: what it answers, to whom, and that nothing makes it hang.

#[path = "support/http.rs"]
mod http;
#[path = "support/program.rs"]
mod program;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::io::{BufReader, Read, Write};
use std::process::{Command, Stdio};

use http::{Answer, Serve};
use program::{signal, wait_for};
use redis_server::RedisServer;
use serde_json::json;

const JSON: &str = "Content-Type: application/json";

const SCENARIO: &str = "name: steady\ndescription: fifty a second\nrecords: { range: 1..100 }\n\
                        load: { stages: [ { hold: 50, duration: 2s } ] }\nconnections: { count: 2 }\n";

fn redis(url: &str) -> redis::Connection {
    redis::Client::open(url).expect("an address").get_connection().expect("it answers")
}

#[test]
fn the_document_is_answered_to_the_letter_and_redis_has_the_keys() {
    let server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let serve = Serve::start(&["--redis", &url]);
    assert_eq!(serve.get("/ping").body, r#"{"message":"pong"}"#);
    assert_eq!(serve.get("/count").body, r#"{"total_records":0}"#);
    let answer = serve.post("/generate", r#"{"count": 25000}"#);
    let (start, end) = (r#"{"message":"25000 records stored successfully","duration":""#, r#"s"}"#);
    let duration = answer.body.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    let duration = duration.unwrap_or_else(|| panic!("{answer:?}"));
    assert!(duration.parse::<f64>().is_ok() && duration.split_once('.').expect("a point").1.len() == 2);
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"));
    assert_eq!(serve.get("/count").body, r#"{"total_records":25000}"#);
    let mut connection = redis(&url);
    let get = |connection: &mut redis::Connection, key: &str| -> Option<String> {
        redis::cmd("GET").arg(key).query(connection).expect("an answer")
    };
    let value = r#"{"id":25000,"name":"User25000","phone":"9000000025000","status":"pending"}"#;
    assert_eq!(get(&mut connection, "record:25000").as_deref(), Some(value));
    assert!(get(&mut connection, "record:1").is_some() && get(&mut connection, "record:0").is_none());
}

#[test]
fn without_a_redis_it_has_a_store_of_its_own_and_says_where() {
    let serve = Serve::start(&[]);
    assert_eq!(serve.post("/generate", r#"{"count": 10}"#).status, 200);
    let keys: u64 = redis::cmd("DBSIZE").query(&mut redis(&serve.redis)).expect("a count");
    assert_eq!(keys, 10);
    assert_eq!(serve.get("/api/v1/status").json()["redis"], serve.redis.as_str());
}

#[test]
fn a_run_is_followed_in_full_steered_and_counted() {
    let long = SCENARIO.replace("2s", "1m");
    let serve = Serve::with(&[], &[], &[("long.yaml", &long)]);
    assert!(serve.get("/metrics").body.contains("runner_runs_active 0"));
    let started = serve.post("/api/v1/runs", r#"{"scenario": "long.yaml"}"#).json();
    let path = format!("/api/v1/runs/{}", started["id"].as_str().expect("a name"));
    let live = || serve.get(&format!("{path}/live")).json();
    wait_for("two seconds", || live()["points"].as_array().is_some_and(|points| points.len() >= 2));
    let state = live();
    assert_eq!((&state["facts"]["run_id"], &state["phase"]), (&started["id"], &json!("running")));
    assert_eq!((&state["points"][0]["sent"], &state["points"][0]["planned"]), (&json!(50), &json!(50)));
    let metrics = serve.get("/metrics").body;
    for line in ["runner_runs_active 1", "runner_run_active 1", "runner_requests_sent_total{stage="] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}:\n{metrics}");
    }
    let control = format!("{path}/control");
    assert_eq!(serve.post(&control, r#"{"action": "rate"}"#).error(), (422, "bad_control".to_owned()));
    assert_eq!(serve.post("/api/v1/runs/none/control", r#"{"action": "stop"}"#).error().0, 404);
    let events = serve.events(&format!("{path}/live/events"));
    let stopped = serve.post(&control, r#"{"action": "stop"}"#);
    assert_eq!((stopped.status, &stopped.json()["action"]), (200, &json!("stop")), "{stopped:?}");
    let events = events.rest();
    let (name, last) = events.last().expect("an end");
    assert_eq!((name.as_str(), &last["phase"], &last["over"]), ("end", &json!("ended"), &json!(true)));
    wait_for("the end", || serve.get(&path).json()["exit_code"].is_number());
    let run = serve.get(&path).json();
    assert_eq!(last["now"]["sent"], run["summary"]["ledger"]["sent"]);
    // It is told when it is gone, too, and takes no wish any more.
    assert_eq!(live()["end"]["exit_code"], run["exit_code"]);
    assert_eq!(serve.post(&control, r#"{"action": "stop"}"#).error(), (409, "already_ended".to_owned()));
    wait_for("the count", || {
        serve.get("/metrics").body.contains("runner_runs_ended_total{state=\"stopped\"} 1")
    });
}

#[test]
fn a_run_that_could_not_begin_has_ended_for_those_who_follow_it() {
    let steady = "name: steady\nload: { stages: [ { hold: 10, duration: 1s } ] }\n";
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")];
    let serve = Serve::with(&[], &env, &[("steady.yaml", steady)]);
    let started = serve.post("/api/v1/runs", r#"{"scenario": "steady.yaml"}"#).json();
    let path = format!("/api/v1/runs/{}", started["id"].as_str().expect("a name"));
    let (name, state) = serve.events(&format!("{path}/live/events")).rest().pop().expect("an end");
    let end = &state["end"];
    assert_eq!((name.as_str(), &end["passed"], &end["exit_code"]), ("end", &json!(false), &json!(2)));
    assert_eq!(end["reason"], serve.get(&path).json()["reason"]);
    assert_ne!(end["reason"], "");
}

#[test]
fn a_run_that_is_killed_is_over_for_those_who_look() {
    let long = SCENARIO.replace("2s", "1m");
    let serve = Serve::with(&[], &[], &[("long.yaml", &long)]);
    let started = serve.post("/api/v1/runs", r#"{"scenario": "long.yaml"}"#).json();
    let path = format!("/api/v1/runs/{}", started["id"].as_str().expect("a name"));
    wait_for("it sends", || serve.get(&format!("{path}/live")).json()["phase"] == "running");
    let events = serve.events(&format!("{path}/live/events"));
    let children =
        Command::new("pgrep").args(["-P", &serve.child.id().to_string()]).output().expect("pgrep runs");
    let child = String::from_utf8_lossy(&children.stdout).trim().to_owned();
    assert!(Command::new("kill").args(["-9", &child]).status().expect("kill runs").success(), "{child}");
    let events = events.rest();
    let (name, last) = events.last().expect("an end");
    assert_eq!((name.as_str(), &last["over"]), ("end", &json!(true)));
    assert_eq!(
        (&last["end"]["passed"], &last["end"]["reason"]),
        (&json!(false), &json!("ended by signal 9"))
    );
}

#[test]
fn a_body_that_is_wrong_is_told_what_to_do() {
    let serve = Serve::start(&[]);
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("{", 400, "bad_json"),
        ("{\"count\": 5", 400, "bad_json"),
        ("{\"count\": 5} x", 400, "bad_json"),
        ("{\"count\": 05}", 400, "bad_json"),
        ("{\"count\": NaN}", 400, "bad_json"),
        (&"[".repeat(100_000), 400, "bad_json"),
        ("{}", 422, "bad_field"),
        ("[]", 422, "bad_field"),
        ("null", 422, "bad_field"),
        ("{\"count\": 5, \"cuont\": 5}", 422, "bad_field"),
        ("{\"count\": 5, \"count\": 5}", 422, "bad_field"),
        ("{\"count\": 0}", 422, "count_out_of_range"),
        ("{\"count\": -1}", 422, "count_out_of_range"),
        ("{\"count\": 1.5}", 422, "count_out_of_range"),
        ("{\"count\": 1000000000000}", 422, "count_out_of_range"),
        ("{\"count\": 100000001}", 422, "count_out_of_range"),
        ("{\"count\": 1e300}", 422, "count_out_of_range"),
        ("{\"count\": \"5\"}", 422, "count_not_a_number"),
        ("{\"count\": null}", 422, "count_not_a_number"),
        ("{\"count\": [5]}", 422, "count_not_a_number"),
    ] {
        for path in ["/generate", "/api/v1/generations"] {
            let answer = serve.post(path, body);
            let shown: String = body.chars().take(60).collect();
            assert_eq!(answer.error(), (status, code.to_owned()), "{shown}: {answer:?}");
        }
    }
    let odd = [&b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"[..], b"{\"count\":\"\xff\"}"];
    assert_eq!(serve.raw(odd.concat()).error(), (400, "bad_json".to_owned()));
    for (body, code) in [
        (json!({ "count": 5, "key": "record" }), "bad_template"),
        (json!({ "count": 5, "key": "{id:zz}" }), "bad_template"),
        (json!({ "count": 5, "template": "{id:zz}" }), "bad_template"),
        (json!({ "count": 5, "key": "x".repeat(600) }), "key_too_long"),
        (json!({ "count": 5, "template": "x".repeat(70_000) }), "template_too_long"),
        (json!({ "count": 5, "first": -1 }), "first_out_of_range"),
        (json!({ "count": 5, "existing": "burn" }), "bad_field"),
        (json!({ "count": 5, "template": "longer than that {size:3}" }), "bad_template"),
        (json!({ "count": 5, "seed": "7" }), "seed_not_a_number"),
        (json!({ "count": 5, "ttl_s": -1 }), "ttl_s_out_of_range"),
    ] {
        assert_eq!(
            serve.post("/api/v1/generations", &body.to_string()).error(),
            (422, code.to_owned()),
            "{body}"
        );
    }
    assert_eq!(serve.get("/count").json(), json!({ "total_records": 0 }));
}

#[test]
fn types_lengths_paths_and_methods_are_held() {
    let serve = Serve::start(&[]);
    let error = |answer: Answer, status: u16, code: &str| {
        assert_eq!(answer.error(), (status, code.to_owned()), "{answer:?}");
        answer
    };
    let body = r#"{"count": 5}"#;
    for kind in [&[][..], &["Content-Type: text/plain"], &["Content-Type: application/x-www-form-urlencoded"]]
    {
        error(serve.ask("POST", "/generate", kind, body), 415, "not_json");
    }
    for kind in ["Content-Type: application/json; charset=utf-8", "content-type: Application/JSON"] {
        assert_eq!(serve.ask("POST", "/generate", &[kind], body).status, 200);
    }
    let long = format!("{{\"count\": 5, \"x\": \"{}\"}}", "x".repeat(2 << 20));
    error(serve.post("/generate", &long), 413, "body_too_large");
    let chunked = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    error(serve.raw(chunked), 413, "body_too_large");
    let huge = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 99999999999\r\n\r\n{{"
    );
    error(serve.raw(huge), 413, "body_too_large");
    for path in ["/nothing", "/api", "/api/v2/runs", "/generate/", "/api/v1/runs/%ff", "/%2e%2e/etc"] {
        let status = serve.get(path).error().0;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    for (path, code) in [
        ("/api/v1/generations/7", "no_such_generation"),
        ("/api/v1/generations/x/events", "no_such_generation"),
        ("/api/v1/runs/x", "no_such_run"),
        ("/api/v1/runs/x/events", "no_such_run"),
        ("/api/v1/runs/x/files/y", "no_such_run"),
    ] {
        error(serve.get(path), 404, code);
    }
    for (method, path, allow) in [
        ("GET", "/generate", "POST"),
        ("DELETE", "/count", "GET,HEAD"),
        ("PUT", "/api/v1/runs", "GET,HEAD,POST"),
        ("OPTIONS", "/ping", "GET,HEAD"),
        ("TRACE", "/", "GET,HEAD"),
    ] {
        let answer = error(serve.ask(method, path, &[], ""), 405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], allow);
    }
    assert_eq!(serve.raw("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status, 400);
    assert_eq!(serve.raw("\u{1}\u{2}\r\n\r\n").status, 400);
}

#[test]
fn a_generation_is_followed_by_many_and_a_second_one_waits_its_turn() {
    let serve = Serve::start(&[]);
    let body = json!({ "count": 400_000, "first": 1000, "key": "item:{id}", "template": "<{id}>" });
    let answer = serve.post("/api/v1/generations", &body.to_string());
    assert_eq!((answer.status, answer.headers["location"].as_str()), (202, "/api/v1/generations/1"));
    // This one never reads.
    let mut dead = serve.connect();
    write!(dead, "GET /api/v1/generations/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let listeners: Vec<_> = (0..3).map(|_| serve.events("/api/v1/generations/1/events")).collect();
    assert_eq!(serve.post("/generate", r#"{"count": 5}"#).error(), (409, "generation_running".to_owned()));
    let all: Vec<_> = listeners.into_iter().map(http::Events::rest).collect();
    for events in all {
        let (name, last) = events.last().expect("at least one");
        assert_eq!((name.as_str(), &last["state"]), ("end", &json!("finished")));
        assert_eq!((&last["done"], &last["total"]), (&json!(400_000), &json!(400_000)));
        assert!(last["rate"].as_f64().is_some_and(|rate| rate > 0.0), "{last}");
        for (name, progress) in &events[..events.len() - 1] {
            assert_eq!((name.as_str(), &progress["state"]), ("progress", &json!("running")));
        }
    }
    assert_eq!(serve.events("/api/v1/generations/1/events").rest().len(), 1);
    let mut connection = redis(&serve.redis);
    let value: String = redis::cmd("GET").arg("item:400999").query(&mut connection).expect("a value");
    assert_eq!(value, "<400999>");
    assert_eq!(serve.get("/api/v1/generations/1").json()["first"], 1000);
    let kept =
        json!({ "count": 10, "first": 400_995, "key": "item:{id}", "template": "new", "existing": "keep" });
    assert_eq!(serve.post("/api/v1/generations", &kept.to_string()).status, 202);
    let (_, end) = serve.events("/api/v1/generations/2/events").rest().pop().expect("an end");
    assert_eq!((&end["done"], &end["written"]), (&json!(10), &json!(5)));
    let list = serve.get("/api/v1/generations").json();
    assert_eq!((&list["generations"][0]["id"], &list["generations"][1]["id"]), (&json!(2), &json!(1)));
}

#[test]
fn records_are_drawn_from_a_seed_live_as_long_as_asked_and_do_not_overwrite_unasked() {
    let serve = Serve::start(&[]);
    let mut connection = redis(&serve.redis);
    let mut generate = |asked: serde_json::Value| {
        let answer = serve.post("/api/v1/generations", &asked.to_string());
        assert_eq!(answer.status, 202, "{answer:?}");
        let events = format!("/api/v1/generations/{}/events", answer.json()["id"]);
        let end = serve.events(&events).rest().pop().expect("an end").1;
        let value: String = redis::cmd("GET").arg("p:3").query(&mut connection).expect("a value");
        let ttl: i64 = redis::cmd("TTL").arg("p:3").query(&mut connection).expect("a lifetime");
        (end, value, ttl)
    };
    let asked = |seed: u64, ttl: u64, existing: &str| {
        json!({ "count": 5, "key": "p:{id}", "template": "{id} {email} {uuid}", "seed": seed, "ttl_s": ttl,
                "existing": existing })
    };
    let (end, seven, ttl) = generate(asked(7, 1000, "refuse"));
    assert_eq!((&end["state"], &end["written"]), (&json!("finished"), &json!(5)), "{end}");
    assert!(seven.starts_with("3 ") && seven.contains('@'), "{seven}");
    assert!((1..=1000).contains(&ttl), "{ttl}");
    let (end, value, _) = generate(asked(8, 0, "refuse"));
    assert_eq!((&end["state"], &end["error"]["code"]), (&json!("failed"), &json!("records_exist")), "{end}");
    assert_eq!(value, seven);
    let (_, eight, ttl) = generate(asked(8, 0, "overwrite"));
    assert_ne!(eight, seven);
    assert_eq!(ttl, -1);
    assert_eq!(generate(asked(7, 0, "overwrite")).1, seven);
}

#[test]
fn a_generation_is_cancelled_at_once_and_what_is_there_stays() {
    let serve = Serve::start(&[]);
    let asked = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| serve.post("/generate", r#"{"count": 100000000}"#));
        wait_for("records", || serve.get("/count").json()["total_records"].as_u64() > Some(0));
        let answer = serve.post("/api/v1/generations/1/cancel", "");
        assert_eq!((answer.status, answer.json()["state"].clone()), (200, json!("cancelled")), "{answer:?}");
        waiting.join().expect("an answer")
    });
    assert_eq!(asked.error(), (409, "generation_cancelled".to_owned()));
    assert_eq!(serve.post("/api/v1/generations/1/cancel", "").error(), (409, "already_ended".to_owned()));
    let events = serve.events("/api/v1/generations/1/events").rest();
    assert_eq!((events.len(), &events[0].1["state"]), (1, &json!("cancelled")));
    let count = serve.get("/count").json()["total_records"].as_u64().expect("a count");
    assert!(count > 0 && count < 100_000_000);
    assert_eq!(serve.post("/generate", r#"{"count": 5}"#).status, 200);
}

#[test]
fn a_redis_that_is_away_is_told_and_found_again() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://user:secret@{}", server.addr());
    // A user that Redis does not know: the answer is a refusal that shows no password.
    let stranger = Serve::start(&["--redis", &url]);
    let answer = stranger.get("/count");
    assert_eq!(answer.error(), (503, "redis_login".to_owned()), "{answer:?}");
    assert!(answer.body.contains("user:***@") && !answer.body.contains("secret"), "{answer:?}");

    let url = format!("redis://{}", server.addr());
    let serve = Serve::start(&["--redis", &url]);
    assert_eq!(serve.post("/generate", r#"{"count": 5}"#).status, 200);
    assert_eq!(serve.get("/count").json(), json!({ "total_records": 5 }));
    server.stop();
    for _ in 0..3 {
        for answer in [
            serve.get("/count"),
            serve.post("/generate", r#"{"count": 5}"#),
            serve.post("/api/v1/generations", r#"{"count": 5}"#),
        ] {
            assert_eq!(answer.error(), (503, "redis_unreachable".to_owned()));
            assert!(answer.body.contains(&url) && answer.headers.contains_key("retry-after"), "{answer:?}");
        }
    }
    server.start_again();
    assert_eq!(serve.get("/count").json(), json!({ "total_records": 0 }));
    assert_eq!(serve.post("/generate", r#"{"count": 7}"#).status, 200);
    assert_eq!(serve.get("/count").json(), json!({ "total_records": 7 }));
}

#[test]
fn a_generation_whose_redis_dies_fails_and_says_why() {
    let mut server = RedisServer::start(&[]);
    let url = format!("redis://{}", server.addr());
    let serve = Serve::start(&["--redis", &url]);
    let asked = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| serve.post("/generate", r#"{"count": 50000000}"#));
        wait_for("records", || serve.get("/count").json()["total_records"].as_u64() > Some(0));
        server.stop();
        waiting.join().expect("an answer")
    });
    assert_eq!(asked.error(), (503, "redis_unreachable".to_owned()));
    let generation = serve.get("/api/v1/generations/1").json();
    assert_eq!(generation["state"], "failed");
    assert_eq!(generation["error"]["code"], "redis_unreachable");
}

#[test]
fn a_token_opens_everything_but_a_sign_of_life_and_the_page() {
    let serve = Serve::with(&[], &[("RUNNER_TOKEN", "open-sesame")], &[]);
    for path in ["/ping", "/", "/docs"] {
        assert_eq!(serve.get(path).status, 200, "{path}");
    }
    for path in ["/count", "/openapi.json", "/api/v1/runs", "/api/v1/status", "/nothing"] {
        let answer = serve.get(path);
        assert_eq!(answer.error(), (401, "unauthorized".to_owned()), "{path}");
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        for wrong in
            ["Authorization: Bearer open-sesam", "Authorization: Basic open-sesame", "Authorization: Bearer"]
        {
            assert_eq!(serve.ask("GET", path, &[wrong], "").status, 401, "{wrong}");
        }
    }
    let right = "Authorization: Bearer open-sesame";
    assert_eq!(serve.ask("GET", "/count", &[right], "").status, 200);
    let document = serve.ask("GET", "/openapi.json", &[right], "").json();
    assert_eq!(document["security"], json!([{ "token": [] }]));
}

#[test]
fn the_network_is_not_served_without_a_token() {
    let bench = program::Bench::new();
    for (token, code) in [(None, 2), (Some(""), 2), (Some("a b"), 2)] {
        let mut command = bench.command(&["serve", "--listen", "0.0.0.0:0"]);
        command.env_remove("RUNNER_TOKEN").envs(token.map(|token| ("RUNNER_TOKEN", token)));
        let output = command.stderr(Stdio::piped()).output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("RUNNER_TOKEN"), "{said}");
    }
    let taken = Serve::start(&[]);
    let ended = bench.call(&["serve", "--listen", &taken.addr().to_string()]);
    ended.assert_code(106);
    let open = Serve::with(&["--listen", "0.0.0.0:0"], &[("RUNNER_TOKEN", "secret")], &[]);
    let request = format!("GET /ping HTTP/1.1\r\nHost: 10.1.2.3:{}\r\n\r\n", open.addr().port());
    assert_eq!(open.raw(request).status, 200);
}

#[test]
fn other_hosts_and_other_sites_are_refused() {
    let serve = Serve::start(&["--allowed-host", "load.example"]);
    let asked = |host: &str, more: &str| {
        serve.raw(format!("GET /count HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"))
    };
    for host in ["localhost", "127.0.0.1:9", "[::1]", "load.example:443"] {
        assert_eq!(asked(host, "").status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
        assert_eq!(asked(host, "").error(), (421, "wrong_host".to_owned()), "{host}");
    }
    let absolute = "GET http://evil.example/count HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(serve.raw(absolute).error(), (421, "wrong_host".to_owned()));
    assert_eq!(serve.raw("GET /count HTTP/1.0\r\n\r\n").error(), (400, "bad_host".to_owned()));
    assert_eq!(asked("localhost:1", "Origin: http://localhost:1\r\n").status, 200);
    for origin in ["http://evil.example", "null", "http://localhost:2"] {
        let answer = asked("localhost:1", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.error(), (403, "foreign_origin".to_owned()), "{origin}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn silent_and_trickling_clients_are_let_go() {
    let serve = Serve::start(&["--read-timeout", "200ms"]);
    let mut silent = serve.connect();
    let mut half = serve.connect();
    half.write_all(b"GET /ping HTTP/1.1\r\nHost: loc").expect("it reads");
    let mut kept = serve.connect();
    kept.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    for stream in [&mut silent, &mut half, &mut kept] {
        let mut rest = Vec::new();
        // A reset counts as closed; only a time-out would not.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    let slow =
        format!("POST /generate HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 100\r\n\r\n{{");
    let answer = serve.raw(slow);
    assert_eq!(answer.error(), (408, "body_too_slow".to_owned()));
    assert_eq!(serve.get("/ping").status, 200);
}

#[test]
fn more_clients_than_seats_wait_and_are_answered() {
    let serve = Serve::start(&["--read-timeout", "1s"]);
    let silent: Vec<_> = (0..400).map(|_| serve.connect()).collect();
    assert_eq!(serve.get("/ping").status, 200);
    drop(silent);
    assert_eq!(serve.get("/count").status, 200);
}

#[test]
fn scenarios_are_listed_with_what_is_wrong_with_them() {
    let bad = "name: bad\nload: { stages: [ { hold: -5, duration: 2s } ] }\ncolour: red\n";
    let serve = Serve::with(&[], &[], &[("b-good.yaml", SCENARIO), ("a-bad.yaml", bad), ("notes.txt", "x")]);
    std::os::unix::fs::symlink("/etc/hostname", serve.scenario("out.yaml")).expect("a link");
    let list = serve.get("/api/v1/scenarios").json();
    let scenarios = list["scenarios"].as_array().expect("a list");
    assert_eq!(scenarios.len(), 2, "{list}");
    let (bad, good) = (&scenarios[0], &scenarios[1]);
    assert_eq!((&bad["file"], &bad["valid"]), (&json!("a-bad.yaml"), &json!(false)));
    assert_eq!(bad["problems"].as_array().map(Vec::len), Some(2), "{bad}");
    assert!(bad["problems"][0]["line"].as_u64() > Some(0));
    assert_eq!(
        (&good["name"], &good["valid"], &good["scheduled"]),
        (&json!("steady"), &json!(true), &json!(100))
    );
    assert_eq!((&good["description"], &good["duration_s"]), (&json!("fifty a second"), &json!(2.0)));
    let refused = serve.post("/api/v1/runs", r#"{"scenario": "a-bad.yaml"}"#);
    assert_eq!(refused.error(), (422, "invalid_scenario".to_owned()));
    assert_eq!(refused.json()["error"]["problems"].as_array().map(Vec::len), Some(2));
    for (name, status) in [
        ("../scenarios/b-good.yaml", 422),
        ("/etc/passwd", 422),
        ("out.yaml", 404),
        ("missing.yaml", 404),
        ("notes.txt", 422),
    ] {
        let answer = serve.post("/api/v1/runs", &json!({ "scenario": name }).to_string());
        assert_eq!(answer.error().0, status, "{name}");
    }
}

#[test]
fn a_run_is_started_followed_and_its_files_are_served() {
    let serve = Serve::with(&[], &[], &[("steady.yaml", SCENARIO)]);
    assert_eq!(serve.post("/generate", r#"{"count": 100}"#).status, 200);
    let body = json!({ "scenario": "steady.yaml", "set": { "load.stages[0].hold": 40 }, "seed": 7 });
    let answer = serve.post("/api/v1/runs", &body.to_string());
    let run = answer.json();
    let id = run["id"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!((answer.status, &answer.headers["location"]), (202, &format!("/api/v1/runs/{id}")));
    assert_eq!((&run["planned"], &run["planned_s"]), (&json!(80), &json!(2.0)));
    let other = serve.post("/api/v1/runs", &body.to_string());
    assert_eq!(other.error(), (409, "run_running".to_owned()));
    let events = serve.events(&format!("/api/v1/runs/{id}/events")).rest();
    let (name, end) = events.last().expect("an end");
    assert_eq!(
        (name.as_str(), &end["state"], &end["exit_code"]),
        ("end", &json!("passed"), &json!(0)),
        "{end}"
    );
    assert!(
        events.iter().any(|(_, run)| run["state"] == "running" && run["progress"]["seconds"] == 1),
        "{events:?}"
    );
    let progress = &end["progress"];
    assert_eq!(
        (&progress["sent"], &progress["matched"], &progress["seconds"]),
        (&json!(80), &json!(80), &json!(2))
    );
    assert!(events[..events.len() - 1].iter().all(|(_, run)| run["files"] == json!([])), "{events:?}");
    assert_eq!((&end["summary"]["run_id"], &end["summary"]["seed"]), (&json!(id), &json!(7)));
    assert!(end["reason"].as_str().is_some_and(|reason| reason.starts_with("PASSED")));
    let run = serve.get(&format!("/api/v1/runs/{id}")).json();
    let names: Vec<_> =
        run["files"].as_array().expect("files").iter().map(|file| file["name"].clone()).collect();
    assert!(names.contains(&json!("summary.csv")), "{names:?}");
    let file = serve.get(&format!("/api/v1/runs/{id}/files/summary.csv"));
    assert_eq!((file.status, file.headers["content-type"].as_str()), (200, "text/csv; charset=utf-8"));
    let on_disk =
        std::fs::read_to_string(serve.path().join("runs").join(id).join("summary.csv")).expect("a file");
    assert_eq!(file.body, on_disk);
    for name in ["..%2f..%2fscenarios%2fsteady.yaml", "%2e%2e", "nothing", "%2fetc%2fpasswd"] {
        let answer = serve.get(&format!("/api/v1/runs/{id}/files/{name}"));
        assert_eq!(answer.error(), (404, "no_such_file".to_owned()), "{name}");
    }
    // The records came from the store of the server, and the responses lie next to them there.
    let mapped: String = redis::cmd("HGET")
        .arg("response:record:1")
        .arg("run")
        .query(&mut redis(&serve.redis))
        .expect("a mapping");
    assert_eq!(mapped, id);
}

#[test]
fn what_is_not_known_of_a_scenario_before_it_runs_is_null() {
    let closed = |load: &str| format!("name: closed\nload: {{ users: 4, {load} }}\n");
    let (by_requests, by_time) = (closed("requests: 300"), closed("duration: 3s"));
    let two = format!("{SCENARIO}matrix: {{ connections.count: [1, 2] }}\n");
    let scenarios =
        [("a-requests.yaml", by_requests.as_str()), ("b-time.yaml", &by_time), ("c-two.yaml", &two)];
    let serve = Serve::with(&[], &[], &scenarios);
    let list = serve.get("/api/v1/scenarios").json();
    let known: Vec<_> = list["scenarios"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| json!([it["valid"], it["runs"], it["scheduled"], it["duration_s"]]))
        .collect();
    assert_eq!(known, [json!([true, 1, 300, null]), json!([true, 1, null, 3.0]), json!([true, 2, 200, 4.0])]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "a-requests.yaml"}"#).json();
    assert_eq!((&run["planned"], &run["planned_s"]), (&json!(300), &json!(null)), "{run}");
    let events = format!("/api/v1/runs/{}/events", run["id"].as_str().expect("a name"));
    let (_, end) = serve.events(&events).rest().pop().expect("an end");
    assert_eq!((&end["state"], &end["progress"]["sent"]), (&json!("passed"), &json!(300)), "{end}");
}

#[test]
fn a_run_made_of_two_is_followed_to_its_end_and_the_files_of_both_are_served() {
    let two = format!("{SCENARIO}matrix: {{ 'load.stages[0].hold': [20, 30] }}\n");
    let serve = Serve::with(&[], &[], &[("two.yaml", &two)]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "two.yaml"}"#).json();
    assert_eq!(
        (&run["runs"], &run["planned"], &run["planned_s"]),
        (&json!(2), &json!(100), &json!(4.0)),
        "{run}"
    );
    let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("a name"));
    let (name, end) = serve.events(&format!("{path}/events")).rest().pop().expect("an end");
    assert_eq!((name.as_str(), &end["state"]), ("end", &json!("passed")), "{end}");
    let progress = &end["progress"];
    assert_eq!(
        (&progress["sent"], &progress["matched"], &progress["seconds"]),
        (&json!(100), &json!(100), &json!(4)),
        "{end}"
    );
    let names: Vec<&str> =
        end["files"].as_array().expect("files").iter().filter_map(|file| file["name"].as_str()).collect();
    assert!(names.contains(&"matrix.csv"), "{names:?}");
    for row in ["1-", "2-"] {
        let is_its = |name: &&&str| name.starts_with(row) && name.ends_with("/summary.csv");
        let name = names.iter().find(is_its).unwrap_or_else(|| panic!("{row}: {names:?}"));
        let file = serve.get(&format!("{path}/files/{}", name.replace('/', "%2F")));
        assert_eq!((file.status, file.headers["content-type"].as_str()), (200, "text/csv; charset=utf-8"));
        assert!(file.body.starts_with("run_id,"), "{file:?}");
    }
}

#[test]
fn clients_that_do_not_read_a_file_keep_nobody_waiting() {
    let short = SCENARIO.replace("2s", "200ms");
    let serve = Serve::with(&[], &[], &[("short.yaml", &short)]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "short.yaml"}"#).json();
    let id = run["id"].as_str().expect("a name");
    serve.events(&format!("/api/v1/runs/{id}/events")).rest();
    let big = std::fs::File::create(serve.path().join("runs").join(id).join("big.bin")).expect("a file");
    big.set_len(64 << 20).expect("room");
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = serve.connect();
            write!(stream, "GET /api/v1/runs/{id}/files/big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("it reads");
            let mut begins = [0; 12];
            stream.read_exact(&mut begins).expect("an answer begins");
            assert_eq!(&begins, b"HTTP/1.1 200");
            stream
        })
        .collect();
    assert_eq!(serve.get("/api/v1/scenarios").status, 200);
    assert_eq!(serve.get(&format!("/api/v1/runs/{id}/files/summary.csv")).status, 200);
    assert_eq!(serve.post("/api/v1/runs", r#"{"scenario": "short.yaml"}"#).status, 202);
    drop(slow);
    let whole = serve.get(&format!("/api/v1/runs/{id}/files/big.bin"));
    assert_eq!((whole.status, whole.body.len()), (200, 64 << 20));
}

#[test]
fn a_run_that_names_its_store_does_not_get_one_that_the_server_was_not_given() {
    let redis_of_its_own = RedisServer::start(&[]);
    let url = format!("redis://{}", redis_of_its_own.addr());
    let short = SCENARIO.replace("2s", "200ms");
    let names = format!("{short}redis: {{ url: '{url}', timeout: 10s }}\n");
    // The variable is there, and the command line says otherwise.
    let elsewhere = [("REDIS_URL", "redis://127.0.0.1:1")];
    let by_default = format!("{short}redis: {{ url: '${{REDIS_URL:-embedded}}' }}\n");
    let scenarios = [("names.yaml", names.as_str()), ("default.yaml", &by_default)];
    let serve = Serve::with(&["--redis", "embedded"], &elsewhere, &scenarios);
    for (scenario, store) in [("names.yaml", &url), ("default.yaml", &serve.redis)] {
        let run = serve.post("/api/v1/runs", &json!({ "scenario": scenario }).to_string()).json();
        let id = run["id"].as_str().unwrap_or_else(|| panic!("{run}"));
        let (_, end) = serve.events(&format!("/api/v1/runs/{id}/events")).rest().pop().expect("an end");
        assert_eq!(end["state"], "passed", "{end}");
        let mapped: Option<String> = redis::cmd("HGET")
            .arg("response:record:1")
            .arg("run")
            .query(&mut redis(store))
            .expect("an answer");
        assert_eq!(mapped.as_deref(), Some(id), "{scenario}");
    }
}

#[test]
fn what_cannot_be_run_with_the_store_of_the_server_is_refused_before_it_runs() {
    let target = "name: target\nload: { users: 2, requests: 10, mix: [ { payload: 'GET {key}' } ] }\n\
                  records: { source: template }\nmapping: { into: none }\n\
                  target: { addresses: store, framing: resp }\n";
    let serve = Serve::with(&["--redis", "redis://:swordfish@127.0.0.1:1"], &[], &[("target.yaml", target)]);
    let list = serve.get("/api/v1/scenarios");
    assert_eq!(list.json()["scenarios"][0]["valid"], false, "{list:?}");
    let answer = serve.post("/api/v1/runs", r#"{"scenario": "target.yaml"}"#);
    assert_eq!(answer.error(), (422, "invalid_scenario".to_owned()));
    assert_eq!(answer.json()["error"]["problems"][0]["path"], "target.addresses", "{answer:?}");
    assert!(!list.body.contains("swordfish") && !answer.body.contains("swordfish"));
}

#[test]
fn a_run_is_stopped_gently_and_writes_its_reports() {
    let long = SCENARIO.replace("2s", "1m");
    let serve = Serve::with(&[], &[], &[("long.yaml", &long)]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "long.yaml"}"#).json();
    let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("a name"));
    let mut events = serve.events(&format!("{path}/events"));
    while events.next().is_some_and(|(_, run)| run["state"] != "running") {}
    let answer = serve.post(&format!("{path}/stop"), "");
    assert_eq!(answer.status, 202, "{answer:?}");
    let (_, end) = events.rest().pop().expect("an end");
    assert_eq!((&end["state"], &end["exit_code"]), (&json!("stopped"), &json!(105)), "{end}");
    assert!(end["summary"]["ledger"]["sent"].as_u64() > Some(0));
    assert_eq!(serve.post(&format!("{path}/stop"), "").error(), (409, "already_ended".to_owned()));
}

#[test]
fn a_request_cannot_read_the_environment_or_choose_a_script() {
    let secret = [("RUNNER_TOKEN", "open-sesame"), ("SECRET", "swordfish")];
    let with_var = SCENARIO
        .replace("name: steady", "name: steady\nvars: { rate: 50 }")
        .replace("hold: 50", "hold: ${rate}");
    let serve = Serve::with(&[], &secret, &[("steady.yaml", &with_var)]);
    let post = |body: serde_json::Value| {
        let headers = [JSON, "Authorization: Bearer open-sesame"];
        serve.ask("POST", "/api/v1/runs", &headers, &body.to_string())
    };
    for value in ["${SECRET}", "x ${RUNNER_TOKEN}", r#""\x24{SECRET}""#] {
        for field in ["set", "vars"] {
            let answer = post(json!({ "scenario": "steady.yaml", field: { "description": value } }));
            assert_eq!(answer.error(), (422, "bad_change".to_owned()), "{field} {value}");
        }
    }
    for (path, value) in [
        ("script.file", json!("/etc/passwd")),
        ("script", json!({ "file": "/etc/passwd" })),
        ("matrix", json!({ "script.file": ["/etc/passwd"] })),
    ] {
        let answer = post(json!({ "scenario": "steady.yaml", "set": { path: value } }));
        assert_eq!(answer.error(), (422, "invalid_scenario".to_owned()), "{answer:?}");
        assert!(!answer.body.contains("root:"), "{answer:?}");
    }
    let unknown = post(json!({ "scenario": "steady.yaml", "set": { "colour": "red" } }));
    assert_eq!(unknown.error(), (422, "invalid_scenario".to_owned()));
    let answer = post(
        json!({ "scenario": "steady.yaml", "vars": { "rate": 10 }, "set": { "load.stages[0].duration": "1s" } }),
    );
    assert_eq!((answer.status, &answer.json()["planned"]), (202, &json!(10)), "{answer:?}");
}

#[test]
fn a_signal_ends_what_goes_on_and_waits_for_it() {
    let long = SCENARIO.replace("2s", "1m");
    let mut serve = Serve::with(&[], &[], &[("long.yaml", &long)]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "long.yaml"}"#).json();
    let id = run["id"].as_str().expect("a name").to_owned();
    let mut events = serve.events(&format!("/api/v1/runs/{id}/events"));
    while events.next().is_some_and(|(_, run)| run["state"] != "running") {}
    assert_eq!(serve.post("/api/v1/generations", r#"{"count": 100000000}"#).status, 202);
    let generation = serve.events("/api/v1/generations/1/events");
    signal(&serve.child, "-TERM");
    assert_eq!(serve.wait().code(), Some(0));
    let (_, end) = events.rest().pop().expect("an end");
    assert_eq!(end["state"], "stopped");
    let (_, end) = generation.rest().pop().expect("an end");
    assert_eq!(end["state"], "cancelled");
    assert!(serve.path().join("runs").join(&id).join("summary.csv").exists(), "its reports are there");
    assert!(serve.talk().contains("stopping"));
}

#[test]
fn no_generation_begins_after_a_signal_on_a_connection_that_was_kept() {
    // A target that never answers, so that its run is waited for.
    let target = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let waits = format!(
        "name: waits\nload: {{ graceful_stop: 5m, stages: [ {{ hold: 50, duration: 10m }} ] }}\n\
         connections: {{ count: 1, request_timeout: 5m }}\ntarget: {{ addresses: ['{}'] }}\n",
        target.local_addr().expect("it is bound")
    );
    let mut serve = Serve::with(&[], &[], &[("waits.yaml", &waits)]);
    let run = serve.post("/api/v1/runs", r#"{"scenario": "waits.yaml"}"#).json();
    let mut events = serve.events(&format!("/api/v1/runs/{}/events", run["id"].as_str().expect("a name")));
    let (mut asked, _) = target.accept().expect("it connects");
    asked.read_exact(&mut [0]).expect("a request");
    let mut kept = BufReader::new(serve.connect());
    kept.get_mut().write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    assert_eq!(Answer::read(&mut kept).status, 200);
    signal(&serve.child, "-TERM");
    while events.next().is_some_and(|(_, run)| run["state"] != "stopping") {}
    let body = r#"{"count": 5}"#;
    let request = format!("Host: localhost\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for path in ["/generate", "/api/v1/generations"] {
        write!(kept.get_mut(), "POST {path} HTTP/1.1\r\n{request}").expect("it reads");
        assert_eq!(Answer::read(&mut kept).error(), (503, "shutting_down".to_owned()), "{path}");
    }
    signal(&serve.child, "-TERM");
    assert_eq!(serve.wait().code(), Some(0));
}

#[test]
fn connections_that_are_kept_answer_one_request_after_the_other() {
    let serve = Serve::start(&[]);
    let mut stream = serve.connect();
    let one = "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(one.repeat(50).as_bytes()).expect("it reads");
    let mut reader = BufReader::new(stream);
    for _ in 0..50 {
        assert_eq!(Answer::read(&mut reader).body, r#"{"message":"pong"}"#);
    }
}

#[test]
fn the_page_and_the_description_are_there() {
    let serve = Serve::start(&["--max-count", "1234"]);
    for path in ["/", "/docs"] {
        let page = serve.get(path);
        assert!(page.headers["content-type"].starts_with("text/html") && page.body.contains("<title>runner"));
        let policy = &page.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    let document = serve.get("/openapi.json").json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let request = &document["components"]["schemas"]["GenerateRequest"];
    assert_eq!(request["properties"]["count"]["maximum"], 1234);
    assert_eq!(serve.post("/generate", r#"{"count": 1235}"#).error().0, 422);
}

#[test]
fn curl_gets_what_the_readme_says() {
    let serve = Serve::start(&[]);
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .arg("-sS")
            .args(args)
            .output()
            .expect("curl is needed: install the package curl");
        String::from_utf8(output.stdout).expect("text")
    };
    let url = |path: &str| format!("http://{}{path}", serve.addr());
    let body = r#"{"count": 500000}"#;
    let said = curl(&["-H", JSON, "-d", body, &url("/generate")]);
    assert!(said.starts_with(r#"{"message":"500000 records stored successfully","duration":""#), "{said}");
    assert_eq!(curl(&[&url("/count")]), r#"{"total_records":500000}"#);
    assert_eq!(curl(&[&url("/ping")]), r#"{"message":"pong"}"#);
}
