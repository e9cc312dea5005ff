//! The tools that come with Redis, against Redis first and then against the store, with the same expectations.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_process.rs"]
mod store_process;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use redis_server::RedisServer;
use store_process::{Store, everything, finish};

const TOOLS: &str = "the package redis-tools";
const PASSWORD: &str = "secret";

/// Runs a check against both. It says itself which of them it was when it fails.
fn both(check: impl Fn(SocketAddr)) {
    let (theirs, ours) = (RedisServer::start(&[]), Store::start(&[]));
    for (name, addr) in [("redis-server", theirs.addr()), ("the store", ours.addr())] {
        eprintln!("against {name}");
        check(addr);
    }
}

fn tool(name: &str, addr: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(["-p", &addr.port().to_string()]).args(args);
    // What somebody has set for their own redis-cli says nothing about the store.
    for own in ["REDISCLI_AUTH", "FAKETTY"] {
        command.env_remove(own);
    }
    command.env("REDISCLI_RCFILE", "/dev/null").stdin(Stdio::null());
    command
}

/// What redis-cli prints; it has to end well.
fn cli(addr: SocketAddr, args: &[&str]) -> String {
    let output = finish(&mut tool("redis-cli", addr, args), TOOLS);
    assert!(output.status.success(), "redis-cli {args:?}: {}", everything(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs redis-cli with this as its standard input.
fn feed(addr: SocketAddr, args: &[&str], input: &[u8]) -> Output {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    finish(tool("redis-cli", addr, args).stdin(file), TOOLS)
}

/// A redis-cli that goes on until it is dropped, read line by line.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(addr: SocketAddr, args: &[&str]) -> Following {
        let mut command = tool("redis-cli", addr, args);
        let mut child =
            command.stdout(Stdio::piped()).spawn().expect("redis-cli starts: install redis-tools");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Following { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("redis-cli goes on").expect("text")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Some of everything.
fn fill(addr: SocketAddr) {
    let mut commands: String = (0..500).map(|n| format!("SET record:{n} {n}\r\n")).collect();
    commands += "RPUSH list a b c\r\nHSET hash f 1 g 2\r\nSADD set a b c d\r\nZADD zset 1 a 2 b\r\n";
    commands += "XADD stream 1-1 f v\r\nSET longest 12345678901234567890\r\n";
    let output = feed(addr, &["--pipe"], commands.as_bytes());
    assert!(everything(&output).contains("errors: 0, replies: 506"), "{}", everything(&output));
}

#[test]
fn redis_cli_works_in_a_terminal() {
    both(|addr| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/terminal.py");
        let mut python = Command::new("python3");
        let output =
            finish(python.arg(script).arg(addr.port().to_string()), "the packages python3 and redis-tools");
        assert!(output.status.success(), "{}", everything(&output));
    });
}

#[test]
fn redis_cli_prints_every_kind_of_reply() {
    both(|addr| {
        let is = |args: &[&str], expected: &str| assert_eq!(cli(addr, args), expected, "{args:?}");
        is(&["PING"], "PONG\n");
        is(&["SET", "k", "v"], "OK\n");
        is(&["GET", "none"], "\n");
        is(&["--no-raw", "GET", "none"], "(nil)\n");
        is(&["-3", "--no-raw", "GET", "none"], "(nil)\n");
        is(&["RPUSH", "l", "a", "b c", ""], "3\n");
        is(&["--csv", "LRANGE", "l", "0", "-1"], "\"a\",\"b c\",\"\"\n");
        is(&["--json", "LRANGE", "l", "0", "-1"], "[\"a\",\"b c\",\"\"]\n");
        is(&["--no-raw", "LRANGE", "l", "0", "-1"], "1) \"a\"\n2) \"b c\"\n3) \"\"\n");
        is(&["HSET", "h", "f", "1"], "1\n");
        is(&["--json", "HGETALL", "h"], "{\"f\":\"1\"}\n");
        is(&["-2", "--json", "HGETALL", "h"], "[\"f\",\"1\"]\n");
        is(&["-3", "--no-raw", "HGETALL", "h"], "1# \"f\" => \"1\"\n");
        is(&["ZADD", "z", "1.5", "a"], "1\n");
        is(&["ZSCORE", "z", "a"], "1.5\n");
        is(&["-3", "--no-raw", "ZSCORE", "z", "a"], "(double) 1.5\n");
        is(&["-3", "--csv", "ZRANGE", "z", "0", "-1", "WITHSCORES"], "\"a\",1.5\n");
        is(&["-3", "--json", "CONFIG", "GET", "maxmemory"], "{\"maxmemory\":\"0\"}\n");
        is(&["SADD", "s", "x"], "1\n");
        is(&["-3", "--no-raw", "SMEMBERS", "s"], "1~ \"x\"\n");
        is(&["-r", "3", "-i", "0.001", "INCR", "n"], "1\n2\n3\n");
        is(&["-n", "3", "SET", "k", "elsewhere"], "OK\n");
        is(&["-n", "3", "DBSIZE"], "1\n");
        is(&["-u", &format!("redis://{addr}/3"), "GET", "k"], "elsewhere\n");
        is(&["GET", "k"], "v\n");
        is(&["-d", "|", "LRANGE", "l", "0", "1"], "a|b c\n");
        is(&["NOSUCH"], "ERR unknown command 'NOSUCH', with args beginning with: \n\n");
        let refused = finish(&mut tool("redis-cli", addr, &["-e", "INCR", "k"]), TOOLS);
        assert!(!refused.status.success());
        let typed = feed(addr, &["-x", "SET", "typed"], b"from standard input");
        assert_eq!(typed.stdout, b"OK\n");
        let lines = feed(addr, &[], b"GET typed\nSET a 1\n\nMULTI\nINCR a\nEXEC\n");
        assert_eq!(String::from_utf8_lossy(&lines.stdout), "from standard input\nOK\nOK\nQUEUED\n2\n");
        assert!(cli(addr, &["INFO", "server"]).contains("redis_version:7.0.15\r\n"));
        assert!(cli(addr, &["COMMAND", "DOCS", "get"]).starts_with("get\nsummary\n"));
    });
}

#[test]
fn redis_cli_gives_a_password() {
    let (theirs, ours) =
        (RedisServer::start(&["--requirepass", PASSWORD]), Store::start(&["--password", PASSWORD]));
    for addr in [theirs.addr(), ours.addr()] {
        let said = |args: &[&str]| everything(&finish(&mut tool("redis-cli", addr, args), TOOLS));
        assert_eq!(said(&["PING"]), "NOAUTH Authentication required.\n\n");
        assert_eq!(said(&["--no-auth-warning", "-a", PASSWORD, "PING"]), "PONG\n");
        assert_eq!(said(&["--no-auth-warning", "-3", "-n", "2", "-a", PASSWORD, "PING"]), "PONG\n");
        assert_eq!(said(&["--no-auth-warning", "--user", "default", "--pass", PASSWORD, "PING"]), "PONG\n");
        assert_eq!(
            said(&["-u", &format!("redis://default:{PASSWORD}@{addr}/1"), "--no-auth-warning", "PING"]),
            "PONG\n"
        );
        let wrong = said(&["--no-auth-warning", "-a", "wrong", "PING"]);
        assert!(
            wrong.contains("AUTH failed: WRONGPASS invalid username-password pair or user is disabled."),
            "{wrong}"
        );
        let bench = ["-a", PASSWORD, "-n", "100", "-c", "5", "-q", "-t", "set,get"];
        let output = finish(&mut tool("redis-benchmark", addr, &bench), TOOLS);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", everything(&output));
    }
}

#[test]
fn redis_cli_pipes_a_hundred_thousand_commands() {
    both(|addr| {
        let as_lines: String = (0..100_000).map(|n| format!("SET record:{n} value:{n}\r\n")).collect();
        let mut encoded = Vec::new();
        (0..100_000).for_each(|n| {
            runner::wire::resp::encode_command(
                &mut encoded,
                ["APPEND".into(), format!("record:{n}"), "\r\n!".into()],
            );
        });
        for input in [as_lines.as_bytes(), &encoded] {
            let output = feed(addr, &["--pipe"], input);
            let said = everything(&output);
            assert!(output.status.success() && said.contains("errors: 0, replies: 100000\n"), "{said}");
        }
        assert_eq!(cli(addr, &["DBSIZE"]), "100000\n");
        assert_eq!(cli(addr, &["--no-raw", "GET", "record:99999"]), "\"value:99999\\r\\n!\"\n");
        let output = feed(addr, &["--pipe"], b"SET a 1\r\nNOSUCH\r\nLPUSH a 1\r\n");
        assert!(everything(&output).contains("errors: 2, replies: 3\n"), "{}", everything(&output));
        let found = cli(addr, &["--scan", "--pattern", "record:*"]);
        assert_eq!(found.lines().collect::<BTreeSet<_>>().len(), 100_000);
    });
}

#[test]
fn redis_cli_walks_over_all_keys() {
    both(|addr| {
        fill(addr);
        let scan = |args: &[&str]| cli(addr, args).lines().map(str::to_string).collect::<BTreeSet<_>>();
        assert_eq!(scan(&["--scan"]).len(), 506);
        let tens: BTreeSet<String> = (0..10).map(|n| format!("record:1{n}")).collect();
        assert_eq!(scan(&["--scan", "--pattern", "record:1?"]), tens);
        assert_eq!(scan(&["--scan", "--quoted-pattern", "\"record:1\\x3f\""]), tens);
        let big = cli(addr, &["--bigkeys"]);
        for line in [
            "Sampled 506 keys in the keyspace!",
            "Biggest   list found '\"list\"' has 3 items",
            "Biggest   hash found '\"hash\"' has 2 fields",
            "Biggest string found '\"longest\"' has 20 bytes",
            "Biggest stream found '\"stream\"' has 1 entries",
            "Biggest    set found '\"set\"' has 4 members",
            "Biggest   zset found '\"zset\"' has 2 members",
        ] {
            assert!(big.contains(line), "{line}: {big}");
        }
        let memory = cli(addr, &["--memkeys"]);
        for line in
            ["Sampled 506 keys in the keyspace!", "501 strings with", "Biggest stream found '\"stream\"' has"]
        {
            assert!(memory.contains(line), "{line}: {memory}");
        }
    });
}

#[test]
fn redis_cli_follows_channels_and_the_monitor() {
    both(|addr| {
        let mut channel = Following::start(addr, &["--csv", "SUBSCRIBE", "news", "sport"]);
        assert_eq!(channel.line(), "Reading messages... (press Ctrl-C to quit)");
        assert_eq!(channel.line(), "\"subscribe\",\"news\",1");
        assert_eq!(channel.line(), "\"subscribe\",\"sport\",2");
        let mut pattern = Following::start(addr, &["-3", "--csv", "PSUBSCRIBE", "n*s"]);
        assert_eq!(pattern.line(), "Reading messages... (press Ctrl-C to quit)");
        assert_eq!(pattern.line(), "\"psubscribe\",\"n*s\",1");
        assert_eq!(cli(addr, &["PUBLISH", "news", "hello"]), "2\n");
        assert_eq!(channel.line(), "\"message\",\"news\",\"hello\"");
        assert_eq!(pattern.line(), "\"pmessage\",\"n*s\",\"news\",\"hello\"");

        let mut monitor = Following::start(addr, &["MONITOR"]);
        assert_eq!(monitor.line(), "OK");
        cli(addr, &["-n", "2", "SET", "seen", "by \"monitor\""]);
        let mut line = monitor.line();
        while !line.contains("\"SET\"") {
            line = monitor.line();
        }
        assert!(
            line.contains(" [2 127.0.0.1:") && line.ends_with("] \"SET\" \"seen\" \"by \\\"monitor\\\"\""),
            "{line}"
        );
    });
}

#[test]
fn redis_cli_measures_the_latency() {
    both(|addr| {
        let said = cli(addr, &["-i", "0.1", "--latency"]);
        assert_eq!(said.split_whitespace().count(), 4, "{said}");
    });
}

#[test]
fn every_default_test_of_redis_benchmark_runs_without_an_error() {
    const TESTS: [&str; 20] = [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "LPUSH",
        "RPUSH",
        "LPOP",
        "RPOP",
        "SADD",
        "HSET",
        "SPOP",
        "ZADD",
        "ZPOPMIN",
        "LPUSH (needed to benchmark LRANGE)",
        "LRANGE_100 (first 100 elements)",
        "LRANGE_300 (first 300 elements)",
        "LRANGE_500 (first 500 elements)",
        "LRANGE_600 (first 600 elements)",
        "MSET (10 keys)",
    ];
    both(|addr| {
        for more in [&[][..], &["-P", "16"], &["-3"], &["-r", "1000", "-P", "4"], &["--threads", "2"]] {
            let args = [&["-n", "1000", "-c", "10", "-q"], more].concat();
            let output = finish(&mut tool("redis-benchmark", addr, &args), TOOLS);
            let said = everything(&output);
            assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {said}");
            assert!(!said.contains("rror"), "{args:?}: {said}");
            for test in TESTS {
                assert!(said.contains(&format!("{test}: ")), "{args:?} did not run {test}: {said}");
            }
        }
        // A connection for each request; the tool itself advises against many of them.
        let reconnecting = ["-n", "1000", "-c", "10", "-q", "-k", "0", "-t", "set,get"];
        let output = finish(&mut tool("redis-benchmark", addr, &reconnecting), TOOLS);
        assert!(output.status.success() && !everything(&output).contains("rror"), "{}", everything(&output));
        let output = finish(
            &mut tool("redis-benchmark", addr, &["-n", "1000", "-q", "XADD", "s", "*", "f", "v"]),
            TOOLS,
        );
        assert!(output.status.success() && output.stderr.is_empty(), "{}", everything(&output));
        assert_eq!(cli(addr, &["XLEN", "s"]), "1000\n");
    });
}
