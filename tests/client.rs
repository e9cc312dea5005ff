//! `runner client` against the store, against Debian's redis-server, and against servers that misbehave.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_process.rs"]
mod store_process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use redis_server::RedisServer;
use store_process::{Store, everything, finish};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runner");
const PASSWORD: &str = "secret";

fn client(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("client").args(args).stdin(Stdio::null());
    for name in ["REDIS_URL", "RUNNER_STORE_PASSWORD", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = finish(command, "nothing more");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// What is printed, and the exit code.
fn run(args: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = ended(&mut client(args));
    assert!(code < 2, "{args:?}: {stderr}");
    (code, stdout)
}

/// Runs it with this as its standard input.
fn feed(args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    ended(client(args).stdin(file))
}

fn url(addr: SocketAddr) -> String {
    format!("redis://{addr}")
}

/// Runs a check against both servers, and says itself against which of them it failed.
fn both(check: impl Fn(SocketAddr)) {
    let (theirs, ours) = (RedisServer::start(&[]), Store::start(&[]));
    for (name, addr) in [("redis-server", theirs.addr()), ("the store", ours.addr())] {
        eprintln!("against {name}");
        check(addr);
    }
}

fn prompt(what: &str, address: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/prompt.py");
    let mut python = Command::new("python3");
    python.arg(script).args([PROGRAM, what, address]);
    python
}

fn in_a_terminal(what: &str, address: &str) {
    let output = finish(prompt(what, address).stdin(Stdio::null()), "the package python3");
    assert!(output.status.success(), "{}", everything(&output));
}

#[test]
fn the_session_of_the_document_looks_as_it_does_there() {
    let store = Store::start(&["--dialect", "text"]);
    let address = format!("text://localhost:{}", store.addr().port());
    in_a_terminal("document", &address);
    in_a_terminal("text", &address);
}

#[test]
fn the_prompt_works_in_a_terminal() {
    both(|addr| in_a_terminal("resp", &url(addr)));
}

#[test]
fn a_server_that_goes_away_is_tried_again_at_the_next_command() {
    let mut server = RedisServer::start(&[]);
    let mut python = prompt("away", &url(server.addr()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut orders = BufReader::new(python.stdout.take().expect("a pipe")).lines();
    let mut done = python.stdin.take().expect("a pipe");
    for expected in ["stop", "start"] {
        assert_eq!(orders.next().expect("an order").expect("text"), expected);
        if expected == "stop" {
            server.stop()
        } else {
            server.start_again()
        }
        writeln!(done, "done").expect("it waits");
    }
    assert_eq!(orders.next().expect("a line").expect("text"), "passed away");
    assert!(python.wait().expect("it ends").success());
}

#[test]
fn commands_on_the_command_line_are_run_in_order_and_printed_plain() {
    both(|addr| {
        let url = url(addr);
        for resp in ["2", "3"] {
            let many = [
                "--resp",
                resp,
                &url,
                "-e",
                "FLUSHALL",
                "-e",
                "SET a \"two words\"",
                "-e",
                "GET a",
                "-e",
                "GET none",
            ];
            assert_eq!(run(&many), (0, "OK\nOK\ntwo words\n\n".into()));
            let one = |command: &str| run(&[&url, "--resp", resp, "-e", command]);
            assert_eq!(one("RPUSH l a 'b c'"), (0, "2\n".into()));
            assert_eq!(one("LRANGE l 0 -1"), (0, "a\nb c\n".into()));
            assert_eq!(one("HSET h f 1 g 2"), (0, "2\n".into()));
            assert_eq!(one("HGETALL h"), (0, "f\n1\ng\n2\n".into()));
            assert_eq!(one("ZADD z 1.5 m"), (0, "1\n".into()));
            assert_eq!(one("ZSCORE z m"), (0, "1.5\n".into()));
            assert_eq!(one("UNSUBSCRIBE a b").1.lines().count(), 6);
            assert_eq!(one("CLIENT REPLY OFF"), (1, String::new()));
        }
        let failing = run(&[&url, "-e", "INCR a", "-e", "PING"]);
        assert_eq!(failing, (1, "(error) ERR value is not an integer or out of range\nPONG\n".into()));
        // An error inside a transaction is one, too.
        assert_eq!(run(&[&url, "-e", "MULTI", "-e", "INCR a", "-e", "EXEC"]).0, 1);
        assert_eq!(run(&[&url, "-e", "SELECT 3", "-e", "DBSIZE"]), (0, "OK\n0\n".into()));
        assert_eq!(run(&[&format!("{url}/3"), "-e", "DBSIZE"]), (0, "0\n".into()));
        // A connection that has been closed is opened again.
        assert_eq!(run(&[&url, "-e", "QUIT", "-e", "PING"]), (0, "OK\nPONG\n".into()));
        let named = |command: &str| ended(client(&["-e", command]).env("REDIS_URL", &url));
        assert_eq!(named("PING").1, "PONG\n");
        let resp3 = run(&[&url, "-e", "HELLO"]).1;
        assert!(resp3.contains("proto\n3\n"), "{resp3}");
    });
}

#[test]
fn standard_input_is_run_line_by_line() {
    both(|addr| {
        let input = b"SET a 1\r\n\n  \nGET a\nMULTI\nINCR a\nEXEC\nNOSUCH\nGET 'open\nGET a";
        let (code, stdout, stderr) = feed(&[&url(addr)], input);
        let unknown = "(error) ERR unknown command 'NOSUCH', with args beginning with: ";
        assert_eq!((code, stdout), (1, format!("OK\n1\nOK\nQUEUED\n2\n{unknown}\n2\n")));
        assert!(stderr.contains("failed to send `GET 'open`: its quotes are not balanced"), "{stderr}");
        let (code, stdout, _) = feed(&[&url(addr)], b"PING\nQUIT\nPING\n");
        assert_eq!((code, stdout.as_str()), (0, "PONG\nOK\n"));
    });
    let store = Store::start(&["--dialect", "text"]);
    let address = format!("text://{}", store.addr());
    let session = b"SET user1 Alice\nSET user2 Bob\n\nGET user1\nLIST\nDELETE user1\nQUIT\n";
    let (code, stdout, _) = feed(&[&address], session);
    let answers = "OK: Set user1 = Alice\nOK: Set user2 = Bob\nOK: Alice\nOK: Keys: user1, user2\nOK: Deleted user1\nOK: Bye\n";
    assert_eq!((code, stdout.as_str()), (0, answers));
    assert_eq!(run(&[&address, "-e", "GET user1"]), (1, "ERROR: key not found: user1\n".into()));
    assert_eq!(run(&[&address, "-e", "SET a b\nSET c d"]), (1, String::new()));
    let named = run(&[&store.addr().to_string(), "--dialect", "text", "-e", "PING"]);
    assert_eq!(named, (0, "OK: PONG\n".into()));
}

#[test]
fn a_hundred_thousand_commands_are_piped_in_either_form() {
    both(|addr| {
        let lines: String = (0..100_000).map(|n| format!("SET record:{n} value:{n}\n")).collect();
        let mut encoded = Vec::new();
        (0..100_000).for_each(|n| {
            let words = ["APPEND".to_string(), format!("record:{n}"), "\r\n!".to_string()];
            runner::wire::resp::encode_command(&mut encoded, words);
        });
        for input in [lines.as_bytes(), &encoded] {
            let (code, stdout, stderr) = feed(&[&url(addr), "--pipe"], input);
            assert_eq!((code, stdout.as_str()), (0, "100000 replies, 0 errors\n"), "{stderr}");
        }
        assert_eq!(run(&[&url(addr), "-e", "GET record:99999"]), (0, "value:99999\r\n!\n".into()));
        // The last line without an end; large replies come while commands still go.
        let input =
            [b"SET a 1\nNOSUCH\nLPUSH a 1\n".to_vec(), b"KEYS record:1*\n".repeat(20), b"PING".to_vec()]
                .concat();
        let (code, stdout, stderr) = feed(&[&url(addr), "--pipe"], &input);
        assert_eq!((code, stdout.as_str()), (1, "24 replies, 2 errors\n"), "{stderr}");
        assert!(
            stderr.contains("(error) ERR unknown command 'NOSUCH'") && stderr.contains("WRONGTYPE"),
            "{stderr}"
        );
        assert_eq!(feed(&[&url(addr), "--pipe"], b"").1, "0 replies, 0 errors\n");
    });
    let store = Store::start(&["--dialect", "text"]);
    let address = format!("text://{}", store.addr());
    let lines: String =
        (0..50_000).map(|n| format!("SET record:{n} value {n}\n\nGET record:{n}\n")).collect();
    assert_eq!(feed(&[&address, "--pipe"], lines.as_bytes()).1, "100000 replies, 0 errors\n");
    let (code, stdout, _) = feed(&[&address, "--pipe"], b"GET none\nQUIT\nGET none");
    assert_eq!((code, stdout.as_str()), (1, "2 replies, 1 errors\n"));
}

#[test]
fn messages_are_printed_as_they_come() {
    both(|addr| {
        for (resp, first) in [("2", ""), ("3", "")] {
            let mut listening = client(&[&url(addr), "--resp", resp, "-e", "SUBSCRIBE news"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("the binary runs");
            let mut lines = BufReader::new(listening.stdout.take().expect("a pipe")).lines();
            let mut next = || lines.next().expect("it goes on").expect("text");
            assert_eq!([next(), next(), next()], ["subscribe", "news", "1"], "{first}");
            assert_eq!(run(&[&url(addr), "-e", "PUBLISH news hello"]), (0, "1\n".into()));
            assert_eq!([next(), next(), next()], ["message", "news", "hello"]);
            listening.kill().expect("it is there");
            listening.wait().expect("it ends");
        }
    });
}

#[test]
fn a_password_comes_with_the_address_or_beside_it_and_is_never_shown() {
    let (theirs, ours) =
        (RedisServer::start(&["--requirepass", PASSWORD]), Store::start(&["--password", PASSWORD]));
    for addr in [theirs.addr(), ours.addr()] {
        for resp in ["2", "3"] {
            let with = |address: &str, args: &[&str]| {
                ended(&mut client(&[&[address, "--resp", resp, "-e", "PING"], args].concat()))
            };
            assert_eq!(with(&format!("redis://:{PASSWORD}@{addr}"), &[]).1, "PONG\n");
            assert_eq!(with(&format!("redis://default:{PASSWORD}@{addr}/2"), &[]).1, "PONG\n");
            assert_eq!(with(&url(addr), &["--password", PASSWORD]).1, "PONG\n");
            let by_environment =
                ended(client(&[&url(addr), "-e", "PING"]).env("RUNNER_STORE_PASSWORD", PASSWORD));
            assert_eq!(by_environment.1, "PONG\n");
            let (code, stdout, stderr) = with(&format!("redis://:wrong@{addr}"), &[]);
            assert_eq!((code, stdout.as_str()), (1, "(error) NOAUTH Authentication required.\n"));
            assert!(stderr.contains("warning: WRONGPASS") && !stderr.contains("wrong@"), "{stderr}");
        }
        assert_eq!(run(&[&url(addr), "-e", "PING"]), (1, "(error) NOAUTH Authentication required.\n".into()));
        // It may be typed, too; then RESP3 is spoken after all.
        let (code, stdout) = run(&[&url(addr), "-e", &format!("AUTH {PASSWORD}"), "-e", "HELLO"]);
        assert!(code == 0 && stdout.starts_with("OK\n") && stdout.contains("proto\n3\n"), "{stdout}");
    }
    let store = Store::start(&["--dialect", "text", "--password", PASSWORD]);
    let address = format!("text://:{PASSWORD}@{}", store.addr());
    assert_eq!(run(&[&address, "-e", "PING"]), (0, "OK: PONG\n".into()));
}

#[test]
fn a_socket_in_the_file_system_is_an_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    let _server = RedisServer::start(&["--unixsocket", socket.to_str().expect("text")]);
    assert_eq!(run(&[&format!("unix://{}", socket.display()), "-e", "PING"]), (0, "PONG\n".into()));
}

#[test]
fn an_address_that_is_none_and_a_server_that_is_none_have_their_exit_codes() {
    let (code, _, stderr) = ended(&mut client(&["http://localhost", "-e", "PING"]));
    assert!(code == 2 && stderr.contains("write host:port"), "{code}: {stderr}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its port");
    drop(listener);
    for args in [&["-e", "PING"][..], &["--pipe"], &[]] {
        let (code, _, stderr) = ended(&mut client(&[&[url(addr).as_str()], args].concat()));
        assert!(code == 100 && stderr.contains("failed to connect to "), "{code}: {stderr}");
    }
}

#[test]
fn nobody_is_waited_for_forever() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its port");
    // It accepts, and never says a word.
    let (code, _, stderr) = ended(&mut client(&[&url(addr), "--timeout", "100ms", "-e", "PING"]));
    assert!(code == 100 && stderr.contains("no answer within 100ms"), "{code}: {stderr}");
}

/// A server that answers everything with these bytes, and closes after that.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its port");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut asked = [0; 1024];
            // Whether the client is still there is its own business.
            let _ = stream.read(&mut asked).and_then(|_| stream.write_all(bytes));
        }
    });
    addr
}

#[test]
fn what_is_no_reply_is_an_error_and_nothing_is_allocated_by_what_is_announced() {
    for (bytes, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "which is no RESP type"),
        (b"*9223372036854775807\r\n", "reply holds more than"),
        (b"$99999999999\r\n", "reply is longer than"),
        (b"*1\r\n*1\r\n*1\r\n", "the server has closed the connection"),
        (b"", "the server has closed the connection"),
    ] {
        let (code, _, stderr) = ended(&mut client(&[&url(answering(bytes)), "--resp", "2", "-e", "PING"]));
        assert!(code != 0 && stderr.contains(said), "{}: {code}: {stderr}", bytes.escape_ascii());
    }
    let old = answering(b"-ERR unknown command 'HELLO'\r\n+PONG\r\n");
    assert_eq!(run(&[&url(old), "-e", "PING"]).1, "PONG\n");
    let (code, _, stderr) = ended(&mut client(&[&url(old), "--resp", "3", "-e", "PING"]));
    assert!(code == 1 && stderr.contains("failed to speak RESP3 with"), "{code}: {stderr}");
}
