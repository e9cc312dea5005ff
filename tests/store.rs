//! The store answers as Redis does, to real clients and to hostile ones.

#[path = "support/redis_server.rs"]
mod redis_server;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use redis_server::RedisServer;
use runner::store::{Config, Error, Handle, Server};
use runner::wire::resp::{ReplyLimits, encode_command, reply_len};

fn store() -> Handle {
    Server::start(Config::default()).expect("a free port on the loopback")
}

/// A connection that sends bytes and reads whole replies.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a socket option");
        Client { stream, buffer: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next reply; what is left when the server closes first, or `(no reply)` when none comes.
    fn reply(&mut self) -> Vec<u8> {
        loop {
            let found = reply_len(&self.buffer, &ReplyLimits::default()).expect("a valid reply");
            if let Some(reply) = found {
                return self.buffer.drain(..reply.len).collect();
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return std::mem::take(&mut self.buffer),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(_) => return b"(no reply)".to_vec(),
            }
        }
    }

    fn call(&mut self, args: &[&str]) -> String {
        let mut command = Vec::new();
        encode_command(&mut command, args);
        self.send(&command);
        String::from_utf8_lossy(&self.reply()).into_owned()
    }

    /// Everything until the server closes.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        // A reset counts as closed.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

fn show(reply: &[u8]) -> String {
    reply.escape_ascii().to_string()
}

/// Runs one table against one server; each line with its reply. In `tests/store/*.txt`:
///
/// * a line is an inline command, sent by the first client, and its reply is compared;
/// * an empty line closes all clients: what follows is sent by new ones;
/// * `@b SET k v` is sent by another client, named b; `@b! BLPOP k 0` is sent and its reply not waited for;
///   `@b <` reads one more reply or message of that client;
/// * `? blocked_clients:1` asks for INFO until that stands there;
/// * `#` begins a comment.
fn run_table(addr: SocketAddr, resp3: bool, table: &str) -> Vec<(String, String)> {
    let mut replies = Vec::new();
    let mut clients: HashMap<&str, Client> = HashMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if line.is_empty() {
            clients.clear();
            continue;
        }
        let (name, command) = match line.strip_prefix('@') {
            Some(rest) => rest.split_once(' ').expect("a name and a command"),
            None => ("", line),
        };
        let (name, waits) = name.strip_suffix('!').map_or((name, true), |name| (name, false));
        let client = clients.entry(name).or_insert_with(|| {
            let mut client = Client::connect(addr);
            if resp3 {
                client.call(&["HELLO", "3"]);
            }
            client
        });
        if let Some(wanted) = line.strip_prefix("? ") {
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut asking = Client::connect(addr);
            while !asking.call(&["INFO"]).contains(&format!("{wanted}\r\n")) {
                assert!(Instant::now() < deadline, "never seen: {wanted}");
            }
            continue;
        }
        if command != "<" {
            client.send(format!("{command}\r\n").as_bytes());
        }
        if waits {
            replies.push((line.to_string(), show(&client.reply())));
        }
    }
    replies
}

#[test]
fn every_command_of_the_tables_is_answered_as_redis_answers_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store");
    let (mut lines, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder of tables") {
        let path = entry.expect("a file").path();
        let table = std::fs::read_to_string(&path).expect("a table");
        for resp3 in [false, true] {
            let (ours, theirs) = (store(), RedisServer::start(&["--enable-debug-command", "yes"]));
            let (ours, theirs) =
                (run_table(ours.addr(), resp3, &table), run_table(theirs.addr(), resp3, &table));
            let differ = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
            let report: Vec<String> =
                differ.map(|(o, t)| format!("{}\n  redis {}\n  ours  {}", t.0, t.1, o.1)).collect();
            let name = path.file_name().unwrap_or_default().display();
            if !report.is_empty() {
                failures.push(format!("{name} in RESP{}:\n{}", 2 + u8::from(resp3), report.join("\n")));
            }
            lines += ours.len();
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(lines > 600);
}

#[test]
fn protocol_errors_are_those_of_redis_and_close_the_connection() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let long = |first: &str| [first.as_bytes(), &[b'1'; 70_000]].concat();
    for input in [
        b"*x\r\n".to_vec(),
        b"*2147483648\r\n".to_vec(),
        b"*1\r\n$-1\r\n".to_vec(),
        b"*1\r\n$x\r\n".to_vec(),
        b"*1\r\n$536870913\r\n".to_vec(),
        b"*1\r\n+x\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n:1\r\n".to_vec(),
        b"PING\r\n*1\r\n\r\n\r\n".to_vec(),
        b"\"abc\r\n".to_vec(),
        b"'abc\r\nPING\r\n".to_vec(),
        b"PING\r\nQUIT\r\nPING\r\n".to_vec(),
        b"*0\r\n*-1\r\n\r\n\n*1\r\n$4\r\nPING\r\nQUIT\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n".to_vec(),
        long(""),
        long("*"),
        long("*1\r\n$"),
    ] {
        let answer = |addr| {
            let mut client = Client::connect(addr);
            client.send(&input);
            show(&client.rest())
        };
        assert_eq!(answer(ours.addr()), answer(theirs.addr()), "{}", show(&input[..input.len().min(60)]));
    }
}

#[test]
fn with_a_password_nothing_runs_before_it_is_given() {
    let config = Config { password: Some("secret".into()), ..Config::default() };
    let ours = Server::start(config).expect("a free port");
    let theirs = RedisServer::start(&["--requirepass", "secret"]);
    let lines = [
        "GET a",
        "NOSUCH",
        "GET",
        "HELLO 3",
        "HELLO 2",
        "CLIENT SETNAME x",
        "AUTH wrong",
        "AUTH default wrong",
        "HELLO 2 AUTH default wrong",
        "PING",
        "RESET",
        "AUTH secret",
        "GET a",
        "PING",
        "RESET",
        "GET a",
        "AUTH default secret",
        "GET a",
        "QUIT",
    ];
    let big = [&b"*11\r\n"[..], b"*1\r\n$16385\r\n"];
    let answer = |addr| {
        let mut client = Client::connect(addr);
        let mut replies = Vec::new();
        for line in lines {
            client.send(format!("{line}\r\n").as_bytes());
            replies.push((line, show(&client.reply())));
        }
        for input in big {
            let mut client = Client::connect(addr);
            client.send(input);
            replies.push(("too big", show(&client.rest())));
        }
        replies
    };
    assert_eq!(answer(ours.addr()), answer(theirs.addr()));
}

#[derive(Debug, Clone)]
struct Step(Vec<String>);

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_string);
    let field = || prop::sample::select(vec!["f", "g", "h"]).prop_map(str::to_string);
    let value = || {
        prop_oneof!["-?[0-9]{1,3}", "[a-z]{0,4}", Just("9223372036854775807".to_string()), "[a-z]{45,70}",]
    };
    let number = || prop_oneof!["-?[0-9]{1,3}", Just("x".to_string())];
    let words = |name: &'static str, parts: Vec<BoxedStrategy<String>>| {
        parts.prop_map(move |parts| Step(name.split(' ').map(str::to_string).chain(parts).collect()))
    };
    prop_oneof![
        words("SET", vec![key().boxed(), value().boxed()]),
        words(
            "SET",
            vec![
                key().boxed(),
                value().boxed(),
                prop::sample::select(vec!["NX", "XX", "GET", "KEEPTTL", "nope"])
                    .prop_map(str::to_string)
                    .boxed()
            ]
        ),
        words("GET", vec![key().boxed()]),
        words("GETDEL", vec![key().boxed()]),
        words("APPEND", vec![key().boxed(), value().boxed()]),
        words("STRLEN", vec![key().boxed()]),
        words("INCRBY", vec![key().boxed(), number().boxed()]),
        words("DECRBY", vec![key().boxed(), number().boxed()]),
        words("MGET", vec![key().boxed(), key().boxed()]),
        words("MSETNX", vec![key().boxed(), value().boxed(), key().boxed(), value().boxed()]),
        words("DEL", vec![key().boxed(), key().boxed()]),
        words("EXISTS", vec![key().boxed(), key().boxed()]),
        words("RENAME", vec![key().boxed(), key().boxed()]),
        words("RENAMENX", vec![key().boxed(), key().boxed()]),
        words("TYPE", vec![key().boxed()]),
        words("OBJECT ENCODING", vec![key().boxed()]),
        words(
            "EXPIREAT",
            vec![
                key().boxed(),
                prop::sample::select(vec!["1", "9999999999", "9999999990"]).prop_map(str::to_string).boxed(),
                prop::sample::select(vec!["NX", "XX", "GT", "LT"]).prop_map(str::to_string).boxed()
            ]
        ),
        words("EXPIRETIME", vec![key().boxed()]),
        words("PERSIST", vec![key().boxed()]),
        words("HSET", vec![key().boxed(), field().boxed(), value().boxed()]),
        words(
            "HSET",
            vec![key().boxed(), field().boxed(), value().boxed(), field().boxed(), value().boxed()]
        ),
        words("HGET", vec![key().boxed(), field().boxed()]),
        words("HDEL", vec![key().boxed(), field().boxed(), field().boxed()]),
        words("HINCRBY", vec![key().boxed(), field().boxed(), number().boxed()]),
        words("HLEN", vec![key().boxed()]),
        words("HSTRLEN", vec![key().boxed(), field().boxed()]),
        words("XADD", vec![key().boxed(), "[0-9]{1,2}-[0-9*]".boxed(), field().boxed(), value().boxed()]),
        words(
            "XADD",
            vec![
                key().boxed(),
                Just("MAXLEN".to_string()).boxed(),
                "[0-5]".boxed(),
                "[0-9]{1,2}-\\*".boxed(),
                field().boxed(),
                value().boxed()
            ]
        ),
        words("XLEN", vec![key().boxed()]),
        words("XRANGE", vec![key().boxed(), "[(]?[0-9]{1,2}|-".boxed(), "[(]?[0-9]{1,2}|\\+".boxed()]),
        words("XREVRANGE", vec![key().boxed(), "[0-9]{1,2}|\\+".boxed(), "[0-9]{1,2}|-".boxed()]),
        words("XDEL", vec![key().boxed(), "[0-9]{1,2}-[0-9]".boxed()]),
        words(
            "XTRIM",
            vec![
                key().boxed(),
                prop::sample::select(vec!["MAXLEN", "MINID"]).prop_map(str::to_string).boxed(),
                "[0-9]{1,2}".boxed()
            ]
        ),
        Just(Step(vec!["DBSIZE".into()])),
    ]
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let clients = RefCell::new((Client::connect(ours.addr()), Client::connect(theirs.addr())));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = prop::collection::vec(step(), 1..120);
    let outcome = runner.run(&steps, |steps| {
        let mut batch = Vec::new();
        encode_command(&mut batch, ["FLUSHALL"]);
        steps.iter().for_each(|step| encode_command(&mut batch, &step.0));
        let (ours, theirs) = &mut *clients.borrow_mut();
        ours.send(&batch);
        theirs.send(&batch);
        // All replies are read before any is compared, so that a failure leaves none behind.
        let replies: Vec<_> =
            (0..=steps.len()).map(|_| (show(&ours.reply()), show(&theirs.reply()))).collect();
        for (step, (our, their)) in steps.iter().zip(&replies[1..]) {
            prop_assert_eq!(our, their, "{:?}", step);
        }
        Ok(())
    });
    outcome.expect("the same replies");
}

#[test]
fn a_command_is_understood_wherever_its_packets_are_split() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let mut command = Vec::new();
    encode_command(&mut command, ["SET", "split", "value with \r\n inside"]);
    for cut in 1..command.len() {
        client.send(&command[..cut]);
        client.send(&command[cut..]);
        assert_eq!(client.reply(), b"+OK\r\n");
    }
    assert_eq!(client.call(&["GET", "split"]), "$20\r\nvalue with \r\n inside\r\n");
}

#[test]
fn a_pipeline_of_a_hundred_thousand_is_answered_in_order() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let mut sender = client.stream.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        let mut batch = Vec::new();
        for n in 0..100_000 {
            encode_command(&mut batch, ["INCR".to_string(), format!("counter:{}", n % 10)]);
        }
        sender.write_all(&batch).expect("the store reads");
    });
    for n in 0..100_000 {
        assert_eq!(client.reply(), format!(":{}\r\n", n / 10 + 1).into_bytes());
    }
    writer.join().expect("the writer has no reason to panic");
    assert!(store.stats().commands >= 99_000);
}

#[test]
fn a_value_of_twenty_megabytes_goes_in_and_out() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let value: String = (0..20 << 20).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    assert_eq!(client.call(&["SET", "large", &value]), "+OK\r\n");
    assert_eq!(client.call(&["STRLEN", "large"]), format!(":{}\r\n", value.len()));
    assert!(client.call(&["GET", "large"]).contains(&value));
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let value = "x".repeat(1 << 20);
    client.call(&["SET", "k", &value]);
    let mut batch = Vec::new();
    (0..200).for_each(|_| encode_command(&mut batch, ["GET", "k"]));
    encode_command(&mut batch, ["ECHO", "end"]);
    client.send(&batch);
    // While 200 MiB wait for this client, another one is served.
    assert_eq!(Client::connect(store.addr()).call(&["PING"]), "+PONG\r\n");
    for _ in 0..200 {
        assert_eq!(client.reply().len(), value.len() + 12);
    }
    assert_eq!(client.reply(), b"$3\r\nend\r\n");
}

#[test]
fn a_thousand_clients_are_served_and_one_too_many_is_told_so() {
    let store = Server::start(Config { max_clients: 1000, ..Config::default() }).expect("a free port");
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(store.addr())).collect();
    for client in &mut clients {
        client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n");
    }
    let mut seen: Vec<Vec<u8>> = clients.iter_mut().map(Client::reply).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
    let refused = Client::connect(store.addr()).rest();
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    drop(clients.pop());
    // The place is free as soon as the store has seen the other one leave.
    while Client::connect(store.addr()).call(&["PING"]) != "+PONG\r\n" {}
}

#[test]
fn announced_lengths_cost_no_memory_and_garbage_no_service() {
    let store = store();
    let mut hostile = Vec::new();
    for start in [
        &b"*1048576\r\n$536870912\r\nabc"[..],
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n",
        b"*1048576\r\n",
        b"*1\r\n*1\r\n*1\r\n",
        b"\x00\xff\xfe\x80garbage",
    ] {
        for _ in 0..50 {
            let mut client = Client::connect(store.addr());
            client.send(start);
            hostile.push(client);
        }
    }
    let mut nested = Client::connect(store.addr());
    nested.send(&b"*1\r\n".repeat(10_000));
    assert!(nested.rest().starts_with(b"-ERR Protocol error: expected '$', got '*'"));
    assert_eq!(Client::connect(store.addr()).call(&["PING"]), "+PONG\r\n");
    // 150 clients have announced 512 MiB each: far more than this, had it been set aside.
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
    assert!(pages * 4096 < 16 << 30, "{pages} pages");
}

#[test]
fn scan_returns_every_key_that_stays_while_others_come_and_go() {
    let store = store();
    let (mut scanner, mut other) = (Client::connect(store.addr()), Client::connect(store.addr()));
    let mut batch = Vec::new();
    (0..5000).for_each(|n| encode_command(&mut batch, ["SET".into(), format!("stays:{n}"), "v".into()]));
    scanner.send(&batch);
    (0..5000).for_each(|_| assert_eq!(scanner.reply(), b"+OK\r\n"));
    let (mut cursor, mut seen, mut turn) = ("0".to_string(), HashSet::new(), 0);
    loop {
        let reply = scanner.call(&["SCAN", &cursor, "COUNT", "100"]);
        let words: Vec<&str> = reply.split("\r\n").filter(|word| !word.starts_with(['$', '*'])).collect();
        cursor = words[0].to_string();
        seen.extend(words[1..].iter().filter(|word| word.starts_with("stays")).map(|word| word.to_string()));
        if cursor == "0" {
            break;
        }
        // Thousands of keys are added, then removed again, so that tables grow in between.
        let name = if turn % 2 == 0 { "SET" } else { "DEL" };
        let mut batch = Vec::new();
        for n in 0..3000 {
            let mut words = vec![name.to_string(), format!("moves:{}:{n}", turn / 2)];
            words.extend((name == "SET").then(|| "v".to_string()));
            encode_command(&mut batch, words);
        }
        other.send(&batch);
        (0..3000).for_each(|_| drop(other.reply()));
        turn += 1;
    }
    assert_eq!(seen.len(), 5000);
}

#[test]
fn redis_cli_works_alone_in_a_pipe_and_as_scanner() {
    let store = store();
    let cli = |args: &[&str], input: &str| {
        let mut child = Command::new("redis-cli")
            .args(["-p", &store.addr().port().to_string()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is needed for this test: install the package redis-tools");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("redis-cli reads");
        let output = child.wait_with_output().expect("redis-cli ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(cli(&["SET", "greeting", "hello"], ""), "OK\n");
    assert_eq!(cli(&["-3", "GET", "greeting"], ""), "hello\n");
    let lines: String = (0..20_000).map(|n| format!("SET record:{n} value:{n}\r\n")).collect();
    let piped = cli(&["--pipe"], &lines);
    assert!(piped.contains("errors: 0, replies: 20000"), "{piped}");
    let scanned = cli(&["--scan", "--pattern", "record:*"], "");
    assert_eq!(scanned.lines().collect::<HashSet<_>>().len(), 20_000);
    assert!(cli(&["INFO", "server"], "").contains("redis_version:7.0.15"));
    assert!(cli(&["--bigkeys"], "").contains("20001 strings"));
}

#[test]
fn the_redis_package_works_over_both_protocols() {
    let store = store();
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://{}/?protocol={protocol}", store.addr());
        let client = redis::Client::open(url).expect("a valid URL");
        let mut connection = client.get_connection().expect("the store listens");
        let answer: (String, i64) = redis::pipe()
            .cmd("SET")
            .arg("k")
            .arg("v")
            .ignore()
            .cmd("GET")
            .arg("k")
            .cmd("HSET")
            .arg(protocol)
            .arg("f")
            .arg(1)
            .arg("g")
            .arg(2)
            .query(&mut connection)
            .expect("an answer");
        assert_eq!(answer, ("v".to_string(), 2));
        let all: std::collections::BTreeMap<String, i64> =
            redis::cmd("HGETALL").arg(protocol).query(&mut connection).expect("a map");
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [("f".to_string(), 1), ("g".to_string(), 2)]);
        let keys: Vec<String> =
            redis::cmd("MGET").arg(&["k", "k"]).query(&mut connection).expect("two values");
        assert_eq!(keys, ["v", "v"]);
        let wrong = redis::cmd("GET").arg(protocol).query::<String>(&mut connection);
        assert_eq!(wrong.expect_err("a hash").code(), Some("WRONGTYPE"));
    }
}

#[test]
fn clients_see_and_close_each_other() {
    let store = store();
    let (mut one, mut two) = (Client::connect(store.addr()), Client::connect(store.addr()));
    one.call(&["CLIENT", "SETNAME", "one"]);
    two.call(&["CLIENT", "SETNAME", "two"]);
    let list = one.call(&["CLIENT", "LIST"]);
    assert!(list.contains("name=one") && list.contains("name=two") && list.contains("cmd=client|list"));
    let id = two.call(&["CLIENT", "ID"]);
    let id = id.trim_start_matches(':').trim_end();
    assert_eq!(one.call(&["CLIENT", "KILL", "ID", id]), ":1\r\n");
    assert!(two.rest().is_empty());
    assert!(!one.call(&["CLIENT", "LIST"]).contains("name=two"));
    let own = one.call(&["CLIENT", "KILL", "SKIPME", "no", "ADDR", "1.1.1.1:1"]);
    assert_eq!(own, ":0\r\n");
}

#[test]
fn several_stores_in_one_process_share_nothing() {
    let (first, second) = (store(), store());
    let (mut one, mut two) = (Client::connect(first.addr()), Client::connect(second.addr()));
    one.call(&["SET", "k", "v"]);
    assert_eq!(two.call(&["GET", "k"]), "$-1\r\n");
    first.stop();
    assert!(one.rest().is_empty());
    assert_eq!(two.call(&["PING"]), "+PONG\r\n");
}

#[test]
fn a_port_in_use_and_an_open_address_without_password_are_refused() {
    let store = store();
    let taken = Server::start(Config { port: store.addr().port(), ..Config::default() });
    assert!(matches!(taken, Err(Error::InUse { addr }) if addr == store.addr()));
    let open = Config { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..Config::default() };
    let refused = Server::start(open.clone()).expect_err("no password");
    assert!(refused.to_string().contains("set a password"));
    let allowed = Config { password: Some("secret".into()), ..open };
    Server::start(allowed).expect("a password makes it legal").stop();
}

#[test]
fn shutdown_ends_the_store() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(client.rest().is_empty());
    store.wait();
}

#[test]
fn a_client_that_sends_and_closes_at_once_leaves_no_trace() {
    let store = store();
    for n in 0..200 {
        let mut client = Client::connect(store.addr());
        client.send(format!("SET k{n} v\r\n").as_bytes());
    }
    let mut last = Client::connect(store.addr());
    // Each of them is seen to leave in some turn; the command count says when all have been served.
    while last.call(&["DBSIZE"]) != ":200\r\n" {}
    while !last.call(&["INFO", "clients"]).contains("connected_clients:1\r\n") {}
}

/// Sub-commands in the order of their names; their own order means nothing.
fn sort_subcommands(description: &mut redis::Value) {
    let redis::Value::Array(elements) = description else { return };
    let Some(redis::Value::Array(subcommands)) = elements.get_mut(9) else { return };
    subcommands.sort_by_key(|sub| format!("{sub:?}"));
}

#[test]
fn command_info_describes_each_command_as_redis_does() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let connect = |addr: SocketAddr| {
        let client = redis::Client::open(format!("redis://{addr}/")).expect("a valid URL");
        client.get_connection().expect("the server listens")
    };
    let (mut ours, mut theirs) = (connect(ours.addr()), connect(theirs.addr()));
    let describe = |connection: &mut redis::Connection, name: &str| -> redis::Value {
        let mut info: Vec<redis::Value> =
            redis::cmd("COMMAND").arg("INFO").arg(name).query(connection).expect("a description");
        let mut description = info.remove(0);
        sort_subcommands(&mut description);
        description
    };
    let names: Vec<String> = redis::cmd("COMMAND").arg("LIST").query(&mut ours).expect("names");
    assert!(names.len() > 70);
    for name in &names {
        assert_eq!(describe(&mut ours, name), describe(&mut theirs, name), "{name}");
    }
}

/// Since when, which group, which arguments: what COMMAND DOCS says and is no sentence.
fn documented_facts(docs: redis::Value) -> Vec<(String, String)> {
    let redis::Value::Array(mut docs) = docs else { return Vec::new() };
    let Some(redis::Value::Array(fields)) = docs.pop() else { return Vec::new() };
    let facts = fields.chunks(2).filter_map(|pair| {
        let redis::Value::BulkString(name) = &pair[0] else { return None };
        let name = String::from_utf8_lossy(name).into_owned();
        let is_fact =
            ["since", "group", "doc_flags", "deprecated_since", "arguments"].contains(&name.as_str());
        is_fact.then(|| (name, format!("{:?}", pair[1])))
    });
    facts.collect()
}

#[test]
fn command_docs_give_the_facts_that_redis_gives() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let connect = |addr: SocketAddr| {
        let client = redis::Client::open(format!("redis://{addr}/")).expect("a valid URL");
        client.get_connection().expect("the server listens")
    };
    let (mut ours, mut theirs) = (connect(ours.addr()), connect(theirs.addr()));
    let filter = ["COMMAND", "LIST", "FILTERBY", "PATTERN", "*"];
    let mut list = redis::cmd(filter[0]);
    filter[1..].iter().for_each(|word| drop(list.arg(word)));
    let names: Vec<String> = list.query(&mut ours).expect("names");
    assert!(names.iter().any(|name| name == "client|kill"));
    let facts = |connection: &mut redis::Connection, name: &str| {
        documented_facts(redis::cmd("COMMAND").arg("DOCS").arg(name).query(connection).expect("docs"))
    };
    for name in names {
        assert_eq!(facts(&mut ours, &name), facts(&mut theirs, &name), "{name}");
    }
}
