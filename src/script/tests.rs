//! What a script may do, and that it cannot do more.

use super::*;

mod runaways;

fn config(source: &str) -> Config {
    Config {
        path: PathBuf::from("scripts/hook.lua"),
        source: source.to_owned(),
        args: serde_json::json!({ "prefix": "TX" }),
        seed: 1,
        timeout: Duration::from_millis(50),
        memory: Bytes(32 << 20),
        rates: Vec::new(),
    }
}

fn script(source: &str) -> Script {
    Script::load(&config(source)).expect("a script that loads")
}

fn record(seq: u64) -> Record<'static> {
    Record { id: seq + 1, key: b"record:1", value: br#"{"id":1}"#, seq, due: Nanos::from_millis(10 * seq) }
}

fn request(script: &mut Script, seq: u64) -> Result<String, Error> {
    let mut out = Vec::new();
    script.request(&record(seq), &mut out)?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

/// What `request` returns for `body`.
fn returns(body: &str) -> Result<String, Error> {
    request(&mut script(&format!("function request(ctx, record) {body} end")), 0)
}

#[test]
fn request_shapes_the_bytes_from_the_record() {
    let source = "function request(ctx, record)
        return table.concat({ctx.args.prefix, record.id, record.key, record.value, record.seq, record.due}, '|')
    end";
    assert_eq!(request(&mut script(source), 3).as_deref(), Ok("TX|4|record:1|{\"id\":1}|3|30000"));
}

#[test]
fn ids_above_two_to_the_53_arrive_as_their_digits() {
    let mut script = script("function request(ctx, record) return type(record.id) .. record.id end");
    let mut out = Vec::new();
    let record = Record { id: (1 << 53) + 1, ..record(0) };
    script.request(&record, &mut out).expect("bytes");
    assert_eq!(out, b"string9007199254740993");
}

#[test]
fn nil_drops_a_request_and_a_buffer_is_sent() {
    let mut out = vec![1];
    let mut dropping = script("function request() return nil end");
    assert_eq!(dropping.request(&record(0), &mut out), Ok(Built::Dropped));
    let mut binary =
        script("function request() local b = buffer.create(2) buffer.writeu8(b, 0, 255) return b end");
    assert_eq!(binary.request(&record(0), &mut out), Ok(Built::Bytes(2)));
    assert_eq!(out, [1, 255, 0]);
}

#[test]
fn a_request_that_returns_something_else_is_an_error() {
    let error = returns("return 42").expect_err("a number is no payload");
    assert_eq!(
        error.to_string(),
        "scripts/hook.lua: hook request must return a text, a buffer, or nil to drop the request, got a number"
    );
}

#[test]
fn setup_response_and_done_get_what_they_need() {
    let mut script = script(
        "function setup(ctx) assert(ctx.worker == 2 and ctx.workers == 4 and ctx.seed == 1) ctx.mine = 7 end
        function response(ctx, record, reply)
            check('own state', ctx.mine == 7)
            check('id', #reply.id > 0)
            check('slow', reply.service_us < 10)
            metrics.counter('bytes'):add(#reply.body)
            metrics.counter('replies'):inc()
            assert(reply.response_us == 30 and record.seq == 5)
        end
        function done(summary) metrics.counter('sent'):add(summary.ledger.sent) end",
    );
    assert_eq!(script.hooks(), Hooks { setup: true, request: false, response: true, done: true });
    script.setup(2, 4).expect("setup");
    let reply = Reply { id: b"r-1", body: b"abcd", service_us: 20, response_us: 30 };
    script.response(&record(5), &reply).expect("response");
    script.response(&record(5), &reply).expect("response");
    script.done(&serde_json::json!({ "ledger": { "sent": 12 } })).expect("done");

    let tallies = script.tallies();
    let counters: Vec<_> = tallies.counters.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counters, [("bytes", 8.0), ("replies", 2.0), ("sent", 12.0)]);
    assert_eq!(tallies.checks["slow"], Check { passed: 0, failed: 2 });
    assert_eq!(tallies.checks["own state"], Check { passed: 2, failed: 0 });
    assert_eq!(tallies.hooks[&Hook::Response].calls, 2);
    let mut both = tallies.clone();
    both.merge(&tallies);
    assert_eq!(both.counters["bytes"], 16.0);
    assert_eq!(both.checks["id"].passed, 4);
    assert_eq!(both.hooks[&Hook::Done].calls, 2);
}

#[test]
fn without_the_request_hook_the_value_is_sent_as_it_is() {
    let mut script = script("function response() end");
    assert_eq!(request(&mut script, 0).as_deref(), Ok(r#"{"id":1}"#));
}

#[test]
fn payload_n_is_the_same_in_every_run_and_in_any_order() {
    let source = "function request(ctx, record)
        return uuid() .. ' ' .. random(1, 1000000) .. ' ' .. random() .. ' ' .. math.random(6)
    end";
    let (mut one, mut other) = (script(source), script(source));
    let forwards: Vec<_> = (0..20).map(|n| request(&mut one, n)).collect();
    let mut backwards: Vec<_> = (0..20).rev().map(|n| request(&mut other, n)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let distinct: std::collections::HashSet<_> = forwards.iter().flatten().collect();
    assert_eq!(distinct.len(), 20);
    let mut seeded = Script::load(&Config { seed: 2, ..config(source) }).expect("a script");
    assert_ne!(request(&mut seeded, 0), forwards[0]);
}

#[test]
fn random_refuses_what_is_no_range() {
    for (call, complaint) in [
        ("random(5, 1)", "random(a, b): 5 is above 1"),
        ("random(1.5, 2)", "random(a, b) needs whole numbers, got 1.5 and 2"),
        ("random(0/0, 2)", "whole numbers"),
        ("random('x')", "whole numbers"),
        ("random(-2^60, 2)", "reaches at most 2^53"),
        ("random(0, math.huge)", "reaches at most 2^53"),
    ] {
        let error = returns(&format!("return tostring({call})")).expect_err("no range").to_string();
        assert!(error.starts_with("scripts/hook.lua:1: in hook request: "), "{error}");
        assert!(error.contains(complaint), "{call}: {error}");
    }
}

// ---------------------------------------------------------------------------------------------
// JSON

#[test]
fn json_goes_there_and_back_with_sorted_keys() {
    for (text, expected) in [
        (r#"{"b":1,"a":[1,2.5,true,null,"x"],"c":{}}"#, r#"{"a":[1,2.5,true,null,"x"],"b":1,"c":{}}"#),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[[],{}]", "[[],{}]"),
        (r#""\u00e9\n""#, "\"é\\n\""),
        ("9007199254740992", "9007199254740992"),
        ("9007199254740993", "\"9007199254740993\""),
        ("-9007199254740993", "\"-9007199254740993\""),
        ("1e3", "1000"),
        ("0.1", "0.1"),
    ] {
        let body = format!("return json.encode(json.decode([==[{text}]==]))");
        assert_eq!(returns(&body).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_list_may_be_filled_in_any_order_and_marked_when_empty() {
    assert_eq!(
        returns("local t = {} t[2] = 'b' t[1] = 'a' return json.encode(t)").as_deref(),
        Ok(r#"["a","b"]"#)
    );
    assert_eq!(
        returns("return json.encode({a = json.array(), b = {}})").as_deref(),
        Ok(r#"{"a":[],"b":{}}"#)
    );
    assert_eq!(returns("return json.encode({a = json.null})").as_deref(), Ok(r#"{"a":null}"#));
}

#[test]
fn json_that_makes_no_sense_is_an_error_of_the_calling_line() {
    let deep = format!("return json.decode(('['):rep({0}) .. (']'):rep({0})) and 'ok'", 64);
    assert_eq!(returns(&deep).as_deref(), Ok("ok"));
    for (body, complaint) in [
        ("return json.decode('{')", "json.decode: EOF while parsing an object at line 1 column 1"),
        ("return json.decode('1 2')", "trailing characters"),
        ("return json.decode(nil)", "json.decode needs a text, got nil"),
        ("return json.decode(('['):rep(65) .. (']'):rep(65))", "nested deeper than 64 levels"),
        ("return json.decode(('['):rep(100000))", "nested deeper than 64 levels"),
        ("local t = {} t.t = t return json.encode(t)", "nested deeper than 64 levels"),
        ("local t = {} t[1] = t return json.encode(t)", "nested deeper than 64 levels"),
        ("return json.encode(0/0)", "NaN has no JSON form"),
        ("return json.encode({1, x = 2})", "neither a list (1 to n) nor an object"),
        ("return json.encode({[7.5] = 2})", "the key of an object must be a text, got a number"),
        ("local t = {} for i = 1, 8193 do t['k' .. i] = i end return json.encode(t)", "more than 8192 keys"),
        (
            "local t = {} for i = 1, 60 do local u = {t = t} for j = 1, 200 do u['k' .. j] = j end t = u end return json.encode(t)",
            "more than 8192 keys",
        ),
        ("return json.encode(print)", "a function has no JSON form"),
        ("return json.encode('\\255')", "not valid UTF-8 (byte 1 of it)"),
    ] {
        let error = returns(body).expect_err("bad JSON").to_string();
        assert!(error.starts_with("scripts/hook.lua:1: in hook request: json."), "{error}");
        assert!(error.contains(complaint), "{body}: {error}");
    }
}

// ---------------------------------------------------------------------------------------------
// Errors

#[test]
fn an_error_names_file_line_and_hook() {
    for (body, expected) in [
        (
            "\n\nreturn record.nothing.here",
            "scripts/hook.lua:3: in hook request: attempt to index nil with 'here'",
        ),
        ("\nerror('my own')", "scripts/hook.lua:2: in hook request: my own"),
        ("\nerror('bare', 0)", "scripts/hook.lua:2: in hook request: bare"),
        (
            "\nstring.find()",
            "scripts/hook.lua:2: in hook request: invalid argument #1 to 'find' (string expected, got nil)",
        ),
        (
            "\ncheck()",
            "scripts/hook.lua:2: in hook request: check: the name must be a text that is not empty, got nil",
        ),
        (
            "\nmetrics.counter('a').add(1)",
            "scripts/hook.lua:2: in hook request: counter:add needs a finite number, got nil",
        ),
    ] {
        assert_eq!(returns(body).expect_err("an error").to_string(), expected);
    }
}

#[test]
fn a_message_is_bounded_and_cannot_steer_the_terminal() {
    let error = returns("error('\\27[2J' .. ('é'):rep(1e6))").expect_err("an error").to_string();
    assert!(error.starts_with("scripts/hook.lua:1: in hook request: \u{fffd}[2Jé"), "{error}");
    assert!(error.len() < 2200 && error.ends_with("é..."));
}

#[test]
fn a_file_that_does_not_compile_names_its_line() {
    let error = Script::load(&config("\nfunction request(\nend")).expect_err("no Lua").to_string();
    assert!(error.starts_with("scripts/hook.lua:3: "), "{error}");
    let bytecode = Script::load(&config("\u{1}\u{2}\u{3}")).expect_err("no Lua");
    assert!(matches!(bytecode, Error::Syntax { .. }), "{bytecode}");
    let error = Script::load(&config(&" ".repeat(MAX_SOURCE_BYTES + 1))).expect_err("too long");
    assert!(matches!(error, Error::TooLong { .. }));
}

#[test]
fn an_error_in_the_body_of_the_file_says_so() {
    let error = Script::load(&config("local x\nx.y = 1")).expect_err("an error").to_string();
    assert_eq!(error, "scripts/hook.lua:2: in the body of the file: attempt to index nil with 'y'");
}

#[test]
fn a_file_without_a_hook_is_an_error_with_a_suggestion() {
    let error = Script::load(&config("function requst() end")).expect_err("no hook").to_string();
    assert!(error.ends_with("(found `requst`: did you mean `request`?)"), "{error}");
    let error = Script::load(&config("x = 1")).expect_err("no hook");
    assert!(matches!(error, Error::NoHooks { did_you_mean: None, .. }));
    let error = Script::load(&config("request = 'GET'")).expect_err("no function").to_string();
    assert_eq!(error, "scripts/hook.lua: request must be a function, got a string");
}

#[test]
fn a_rate_function_is_found_by_name_and_must_return_a_rate() {
    let source = "function tps_at(t) return 100 + t end
        function bad(t) return t == 0 and 0/0 or t == 1 and -1 or t == 2 and math.huge or t == 3 and 'x' or nil end
        function endless() while true do end end";
    let rates = ["tps_at", "bad", "endless"].map(str::to_owned).to_vec();
    let mut script = Script::load(&Config { rates, ..config(source) }).expect("a script");
    assert_eq!(script.rate_at("tps_at", 2.5), Ok(102.5));
    for (t, got) in [(0.0, "NaN"), (1.0, "-1"), (2.0, "inf"), (3.0, "string"), (4.0, "nil")] {
        let error = script.rate_at("bad", t).expect_err("no rate").to_string();
        assert_eq!(
            error,
            format!("scripts/hook.lua: bad({t}) returned {got}: a rate must be a finite number, 0 or more")
        );
    }
    assert!(matches!(script.rate_at("endless", 0.0), Err(Error::Timeout { .. })));
    assert!(matches!(script.rate_at("none", 0.0), Err(Error::UnknownFunction { .. })));

    let rates = vec!["tps_ta".to_owned()];
    let error = Script::load(&Config { rates, ..config(source) }).expect_err("no such function").to_string();
    assert_eq!(error, "scripts/hook.lua: no function `tps_ta` (found `tps_ta`: did you mean `tps_at`?)");
}

// ---------------------------------------------------------------------------------------------
// Bounds

#[test]
fn names_are_bounded_and_the_rest_is_counted_together() {
    let mut script = script(
        "function request(ctx, record)
            metrics.counter('c' .. record.seq):inc()
            check('k' .. record.seq, record.seq % 2 == 0)
            return ''
        end",
    );
    for seq in 0..1500 {
        request(&mut script, seq).expect("bytes");
    }
    let tallies = script.tallies();
    assert_eq!(tallies.counters.len(), 1001);
    assert_eq!(tallies.counters["(more names)"], 500.0);
    assert_eq!(tallies.checks["(more names)"], Check { passed: 250, failed: 250 });
    let error = returns("check(('x'):rep(129), true)").expect_err("a long name").to_string();
    assert!(error.contains("longer than 128 bytes"), "{error}");
}

#[test]
fn printed_lines_are_counted_beyond_those_that_are_shown() {
    let mut script = script("function request() for i = 1, 250 do print(i, nil, {}) end return '' end");
    request(&mut script, 0).expect("bytes");
    assert_eq!(script.tallies().printed, 250);
}

#[test]
fn there_is_no_door_to_the_machine_or_the_clock() {
    for name in [
        "os",
        "io",
        "debug",
        "package",
        "require",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "collectgarbage",
        "gcinfo",
        "getfenv",
        "setfenv",
        "newproxy",
    ] {
        assert_eq!(returns(&format!("return tostring({name})")).as_deref(), Ok("nil"), "{name}");
    }
    assert_eq!(returns("return tostring(math.randomseed)").as_deref(), Ok("nil"));
}

#[test]
fn libraries_and_helpers_cannot_be_changed() {
    for body in [
        "string.find = nil",
        "table.sort = nil",
        "json.decode = nil",
        "metrics.counter = nil",
        "getmetatable('').__index = nil",
        "rawset(string, 'find', nil)",
        "rawset(json, 'decode', nil)",
        "getmetatable(_G).__index.check = nil",
        "setmetatable(string, {})",
    ] {
        assert!(returns(body).is_err(), "{body}");
    }
    assert_eq!(
        returns("json = 3 return tostring(json)").as_deref(),
        Ok("3"),
        "but hidden by the script's own"
    );
}

#[test]
fn the_body_of_a_file_has_the_same_limits() {
    let error = Script::load(&config("\nwhile true do end")).expect_err("it must be stopped");
    assert_eq!(
        error.to_string(),
        "scripts/hook.lua:2: in the body of the file: took longer than 50ms and was stopped: \
         shorten it or raise script.timeout"
    );
    let error = Script::load(&config("x = ('x'):rep(1e9)")).expect_err("it must be stopped").to_string();
    assert_eq!(
        error,
        "scripts/hook.lua: in the body of the file: needs more than 32MiB of memory: keep less or raise script.memory"
    );
}

#[test]
fn a_timeout_names_the_line_that_was_running() {
    let error = returns("\nlocal function spin()\nwhile true do end\nend\npcall(spin)").expect_err("stopped");
    let Error::Timeout { place, hook: Hook::Request, .. } = error else { panic!("{error}") };
    assert_eq!(place.line, Some(3));
}

#[test]
fn a_script_goes_on_after_an_error() {
    let mut script = script(
        "function request(ctx, record)
            if record.seq == 0 then while true do end end
            if record.seq == 1 then return ('x'):rep(1e9) end
            if record.seq == 2 then error({}) end
            return 'fine'
        end",
    );
    assert!(matches!(request(&mut script, 0), Err(Error::Timeout { .. })));
    assert!(matches!(request(&mut script, 1), Err(Error::Memory { .. })));
    assert!(matches!(request(&mut script, 2), Err(Error::Runtime { .. })));
    assert_eq!(request(&mut script, 3).as_deref(), Ok("fine"));
}

#[test]
fn a_script_that_sits_on_all_its_memory_fails_cleanly() {
    let source = "function request(ctx, record)
            if record.seq == 0 then
                for _, size in {1e6, 1e5, 1e4, 1e3, 100, 10, 1} do
                    pcall(function() while true do ctx[#ctx + 1] = ('x'):rep(size) .. #ctx end end)
                end
            end
            return json.encode({id = uuid(), list = json.decode('[1,{\"a\":[]}]')})
        end
        function response(ctx, record, reply) check(uuid(), true) metrics.counter(uuid()):inc() end
        function done(summary) json.encode(summary) end";
    let memory = MIN_MEMORY;
    let mut script = Script::load(&Config { memory, timeout: Duration::from_secs(5), ..config(source) })
        .expect("a script that loads in the least memory");
    let value = vec![b'x'; 100_000];
    for seq in 0..200 {
        let record = Record { value: &value[..usize::try_from(seq).expect("small") * 500], ..record(seq) };
        let result = script.request(&record, &mut Vec::new());
        assert!(!matches!(result, Err(Error::Timeout { .. })), "{result:?}");
        let reply = Reply { id: b"r", body: record.value, service_us: 1, response_us: 1 };
        // Whether there is room is chance; that nothing panics is not.
        let _ = script.response(&record, &reply);
    }
    let _ = script.done(&serde_json::json!({ "list": vec![1; 10_000] }));
    assert_eq!(script.tallies().hooks[&Hook::Request].calls, 200);
}

#[test]
fn a_memory_limit_in_which_nothing_runs_is_refused() {
    for bytes in [0, 1, MIN_MEMORY.0 - 1] {
        let error = Script::load(&Config { memory: Bytes(bytes), ..config("function request() end") });
        assert!(matches!(error, Err(Error::LittleMemory { .. })));
    }
    let error = Script::load(&Config { memory: Bytes(0), ..config("") }).expect_err("no memory").to_string();
    assert_eq!(error, "scripts/hook.lua: script.memory is 0B, a script needs at least 2MiB");
}

#[test]
fn memory_does_not_grow_over_many_calls() {
    let mut script = script(
        "function request(ctx, record)
            local r = json.decode(record.value) r.tx = ctx.args.prefix .. '-' .. record.seq return json.encode(r)
        end",
    );
    for seq in 0..1000 {
        request(&mut script, seq).expect("bytes");
    }
    script.lua.gc_collect().expect("collected");
    let before = script.lua.used_memory();
    for seq in 0..20_000 {
        request(&mut script, seq).expect("bytes");
    }
    script.lua.gc_collect().expect("collected");
    // The VM's own tables may still double once; a leak of one value a call would be far more.
    assert!(script.lua.used_memory() <= before + 65_536, "{before} to {}", script.lua.used_memory());
}

// ---------------------------------------------------------------------------------------------
// The scripts that come with the project

fn shipped(name: &str, args: serde_json::Value, rates: &[&str]) -> Script {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let source = std::fs::read_to_string(&path).expect("a script of the project");
    let rates = rates.iter().map(|&name| name.to_owned()).collect();
    Script::load(&Config { path, args, rates, ..config(&source) }).expect("it loads")
}

#[test]
fn enrich_adds_its_fields_and_sorts_the_keys() {
    let mut script = shipped("enrich.lua", serde_json::json!({ "prefix": "AB" }), &[]);
    script.setup(0, 1).expect("setup");
    let bytes = request(&mut script, 7).expect("bytes");
    let value: serde_json::Value = serde_json::from_str(&bytes).expect("JSON");
    assert_eq!(value["tx"], "AB-7");
    assert!((100..=10_000).contains(&value["amount"].as_i64().expect("a whole number")));
    assert!(bytes.starts_with(r#"{"amount":"#) && bytes.contains(r#""id":1,"tx""#), "{bytes}");
}

#[test]
fn validate_counts_and_checks_replies() {
    let mut script = shipped("validate.lua", serde_json::json!({ "slow_us": 100 }), &[]);
    script.setup(0, 1).expect("setup");
    assert_eq!(request(&mut script, 0).as_deref(), Ok(r#"{"id":1}"#));
    for (id, service_us) in [(&b"r-1"[..], 50), (b"", 200)] {
        script.response(&record(0), &Reply { id, body: id, service_us, response_us: 300 }).expect("response");
    }
    script.done(&serde_json::json!({})).expect("done");
    let tallies = script.tallies();
    assert_eq!(tallies.checks["reply has an id"], Check { passed: 1, failed: 1 });
    assert_eq!(tallies.checks["reply id is printable"], Check { passed: 1, failed: 1 });
    assert_eq!(tallies.checks["reply is quick"], Check { passed: 1, failed: 1 });
    assert_eq!(tallies.counters["replies"], 2.0);
    assert_eq!(tallies.counters["slow replies"], 1.0);
}

#[test]
fn rate_is_a_sawtooth_between_50_and_200() {
    let mut script = shipped("rate.lua", serde_json::Value::Null, &["tps_at"]);
    assert_eq!(script.rate_at("tps_at", 0.0), Ok(50.0));
    assert_eq!(script.rate_at("tps_at", 1.25), Ok(125.0));
    assert_eq!(script.rate_at("tps_at", 2.5), Ok(50.0));
    for i in 0..1000 {
        let rate = script.rate_at("tps_at", f64::from(i) / 100.0).expect("a rate");
        assert!((50.0..200.0).contains(&rate));
    }
}

#[test]
fn the_memory_limit_holds_again_after_reading_json() {
    let source = "function request(ctx, record)
        pcall(json.decode, '[1,') json.decode('[1]')
        return ('x'):rep(1e9)
    end";
    let mut script = script(source);
    assert!(matches!(request(&mut script, 0), Err(Error::Memory { .. })));
    assert_eq!(script.lua.set_memory_limit(1).expect("a limit"), 32 << 20);
}
