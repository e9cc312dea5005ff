//! `runner client` against the store, against Debian's redis-server, and against servers that misbehave.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_process.rs"]
mod store_process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use redis_server::RedisServer;
use store_process::{Store, everything, finish};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runner");
const PASSWORD: &str = "secret";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The lines that a program prints, as they come.
struct Lines(Receiver<String>);

impl Lines {
    fn of(read: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(read).lines().map_while(Result::ok) {
                // The test may have seen enough.
                let _ = sender.send(line);
            }
        });
        Lines(lines)
    }

    fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// All lines that are left.
    fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.0.recv_timeout(PATIENCE).ok()).collect()
    }
}

/// A client that is fed line by line, and is ended in any case.
struct Conversation {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Conversation {
    fn begin(args: &[&str]) -> Conversation {
        let mut command = client(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let stdout = Lines::of(child.stdout.take().expect("a pipe"));
        let stderr = Lines::of(child.stderr.take().expect("a pipe"));
        Conversation { child, stdout, stderr }
    }

    /// At once, since it may end behind the first line.
    fn say(&mut self, lines: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(format!("{lines}\n").as_bytes()).expect("it reads");
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.stdout.next()
    }

    /// The end of its input: what it still prints, what it says, and its exit code.
    fn end(mut self) -> (i32, String, String) {
        drop(self.child.stdin.take());
        let (stdout, stderr) = (self.stdout.rest().join("\n"), self.stderr.rest().join("\n"));
        let status = self.child.wait().expect("it has closed both");
        (status.code().unwrap_or(-1), stdout, stderr)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Closes the connections of all clients, and returns when they are closed.
fn lose_all_connections(addr: SocketAddr) {
    let (code, said) = run(&[&url(addr), "-e", "CLIENT KILL TYPE normal SKIPME yes", "-e", "PING"]);
    assert!(code == 0 && said.ends_with("PONG\n"), "{said}");
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
    let orders = Lines::of(python.stdout.take().expect("a pipe"));
    let mut done = python.stdin.take().expect("a pipe");
    for expected in ["stop", "start"] {
        assert_eq!(orders.next(), expected);
        if expected == "stop" {
            server.stop()
        } else {
            server.start_again()
        }
        writeln!(done, "done").expect("it waits");
    }
    assert_eq!(orders.next(), "passed away");
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
        // A connection that was ended is opened again.
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
        assert!(stderr.contains("error: failed to send line 9: its quotes are not balanced"), "{stderr}");
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
    // A connection that was ended is opened again.
    assert_eq!(run(&[&address, "-e", "QUIT", "-e", "PING"]), (0, "OK: Bye\nOK: PONG\n".into()));
}

#[test]
fn the_default_address_may_be_one_of_either_dialect() {
    for dialect in ["resp", "text"] {
        // Whether anybody listens on that port, and what is said there, is not known.
        let mut command = client(&["--dialect", dialect, "--timeout", "50ms", "-e", "SET 'open"]);
        let (code, _, stderr) = ended(&mut command);
        assert!(code != 2 && !stderr.contains("do not agree"), "{dialect}: {code}: {stderr}");
    }
}

#[test]
fn a_line_that_cannot_be_sent_is_not_shown_since_it_may_hold_a_password() {
    both(|addr| {
        let (_, _, stderr) = feed(&[&url(addr)], b"PING\nAUTH 'hunter2\n");
        assert_eq!(stderr, "error: failed to send line 2: its quotes are not balanced\n");
        let (code, stdout, stderr) = ended(&mut client(&[&url(addr), "-e", "AUTH \"hunter2", "-e", "PING"]));
        assert_eq!((code, stdout.as_str()), (1, "PONG\n"));
        assert_eq!(stderr, "error: failed to send command 1: its quotes are not balanced\n");
    });
}

#[test]
fn a_database_that_cannot_be_chosen_is_not_replaced_by_another_one() {
    both(|addr| {
        let url = url(addr);
        assert_eq!(run(&[&url, "-e", "SET kept 1"]).0, 0);
        let elsewhere = format!("{url}/99");
        for args in [&["-e", "FLUSHDB"][..], &["--pipe"], &[]] {
            let (code, _, stderr) = feed(&[&[elsewhere.as_str()], args].concat(), b"FLUSHDB\n");
            assert!(code == 1 && stderr.contains("failed to choose database 99 at "), "{code}: {stderr}");
        }
        assert_eq!(run(&[&url, "-e", "GET kept", "-e", "DBSIZE"]), (0, "1\n1\n".into()));
    });
}

#[test]
fn a_database_behind_a_password_is_chosen_once_that_is_given() {
    let (theirs, ours) =
        (RedisServer::start(&["--requirepass", PASSWORD]), Store::start(&["--password", PASSWORD]));
    for addr in [theirs.addr(), ours.addr()] {
        let (second, auth) = (format!("{}/2", url(addr)), format!("AUTH {PASSWORD}"));
        let hello = format!("HELLO 3 AUTH default {PASSWORD}");
        for (resp, login) in [("2", &auth), ("3", &auth), ("3", &hello)] {
            let args = [&second, "--resp", resp, "-e", login, "-e", "SET a 1"];
            assert_eq!(ended(&mut client(&args)).0, 0, "{login}");
            let at = |db: u32| run(&[&format!("redis://:{PASSWORD}@{addr}/{db}"), "-e", "DBSIZE"]);
            assert_eq!((at(0), at(2)), ((0, "0\n".into()), (0, "1\n".into())), "--resp {resp}: {login}");
            assert_eq!(run(&[&format!("redis://:{PASSWORD}@{addr}"), "-e", "FLUSHALL"]).0, 0);
        }
        // Where the password is wrong, it cannot be known whether there is such a database.
        let nowhere = format!("{}/99", url(addr));
        let (code, stdout, stderr) = ended(&mut client(&[&nowhere, "-e", &auth, "-e", "SET a 1"]));
        assert_eq!((code, stdout.as_str()), (1, "OK\n"));
        assert!(stderr.contains("failed to choose database 99 at "), "{stderr}");
        // A password that is piped is read by the server alone, so nobody would choose the database after it.
        let (code, _, stderr) = feed(&[&second, "--pipe"], format!("{auth}\nSET a 1\n").as_bytes());
        assert!(code == 1 && stderr.contains("failed to choose database 2 at "), "{code}: {stderr}");
        let (code, stdout, _) = feed(&[&url(addr), "--pipe"], format!("{auth}\nDBSIZE\n").as_bytes());
        assert_eq!((code, stdout.as_str()), (0, "2 replies, 0 errors\n"));
        assert_eq!(
            run(&[&format!("redis://:{PASSWORD}@{addr}"), "-e", "INFO keyspace"]).1.matches("db").count(),
            0
        );
    }
}

#[test]
fn what_a_command_has_changed_holds_for_the_next_connection_too() {
    let (theirs, ours) =
        (RedisServer::start(&["--requirepass", PASSWORD]), Store::start(&["--password", PASSWORD]));
    for addr in [theirs.addr(), ours.addr()] {
        let lines = |commands: &[&str]| -> Vec<String> {
            let mut args = vec![format!("redis://:{PASSWORD}@{addr}")];
            args.extend(commands.iter().flat_map(|command| ["-e".to_string(), (*command).to_string()]));
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            ended(&mut client(&args)).1.lines().map(str::to_string).collect()
        };
        // Of HELLO the line behind `proto`.
        let protocol = |commands: &[&str]| {
            let lines = lines(commands);
            let at = lines.iter().rposition(|line| line == "proto").expect("a reply to HELLO");
            lines[at + 1].clone()
        };
        assert_eq!(protocol(&["QUIT", "HELLO"]), "3");
        assert_eq!(protocol(&["HELLO 2", "QUIT", "HELLO"]), "2");
        assert_eq!(protocol(&["HELLO 2", "HELLO 3", "QUIT", "HELLO"]), "3");
        let auth = format!("AUTH {PASSWORD}");
        assert_eq!(protocol(&["RESET", &auth, "HELLO"]), "3");
        assert_eq!(protocol(&["HELLO 2", "RESET", &auth, "HELLO"]), "2");
        // RESET has forgotten the password of the address.
        assert!(lines(&["RESET", "QUIT", "PING"])[2].starts_with("(error) NOAUTH"));
        let with_hello = format!("HELLO 3 AUTH default {PASSWORD}");
        assert_eq!(lines(&["RESET", &with_hello, "QUIT", "PING"]).last().map(String::as_str), Some("PONG"));
        // What waits for EXEC changes nothing before it, nothing without it, and nothing when it fails.
        let where_it_goes = |commands: &[&str]| {
            let after = ["QUIT", "SET here 1"];
            lines(&[&["FLUSHALL"], commands, &after].concat());
            let info = lines(&["INFO keyspace"]);
            info.iter().find_map(|line| Some(line.strip_prefix("db")?.split_once(':')?.0.to_string()))
        };
        let in_db = |db: &str| Some(db.to_string());
        assert_eq!(where_it_goes(&["MULTI", "PING", "SELECT 3", "PING", "EXEC"]), in_db("3"));
        assert_eq!(where_it_goes(&["MULTI", "SELECT 3", "SELECT 4", "EXEC"]), in_db("4"));
        assert_eq!(where_it_goes(&["MULTI", "SELECT 3", "SELECT 99", "EXEC"]), in_db("3"));
        assert_eq!(where_it_goes(&["MULTI", "SELECT 3", "DISCARD"]), in_db("0"));
        assert_eq!(where_it_goes(&["MULTI", "SELECT 3", "NOSUCH", "EXEC"]), in_db("0"));
        assert_eq!(where_it_goes(&["MULTI", "SELECT 3"]), in_db("0"));
        assert_eq!(where_it_goes(&["WATCH w", "SET w 1", "MULTI", "SELECT 3", "EXEC"]), in_db("0"));
        // So with a password.
        let queued = ["RESET", &auth, "MULTI", &with_hello, "EXEC", "QUIT", "PING"];
        assert_eq!(lines(&queued).last().map(String::as_str), Some("PONG"));
    }
    let server = RedisServer::start(&[]);
    let commands =
        ["ACL SETUSER ann on >pw +@all ~* &*", "MULTI", "AUTH ann pw", "EXEC", "QUIT", "ACL WHOAMI"];
    let mut args = vec![url(server.addr())];
    args.extend(commands.iter().flat_map(|command| ["-e".to_string(), (*command).to_string()]));
    let (_, stdout) = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(stdout.ends_with("\nann\n"), "{stdout}");
}

#[test]
fn messages_are_not_asked_for_in_a_transaction() {
    both(|addr| {
        for resp in ["2", "3"] {
            for command in ["SUBSCRIBE a b", "PSUBSCRIBE a", "SSUBSCRIBE a", "UNSUBSCRIBE a b", "MONITOR"] {
                let args = [&url(addr), "--resp", resp, "-e", "MULTI", "-e", command, "-e", "ECHO x"];
                let args = [&args[..], &["-e", "EXEC", "-e", "PING"]].concat();
                let (code, stdout, stderr) = ended(&mut client(&args));
                assert_eq!((code, stdout.as_str()), (1, "OK\nQUEUED\nx\nPONG\n"), "{command}");
                assert!(stderr.contains("failed to send command 2: in a transaction"), "{stderr}");
            }
        }
    });
}

#[test]
fn a_connection_that_was_lost_is_opened_again_but_not_in_the_middle_of_a_transaction() {
    both(|addr| {
        let mut talk = Conversation::begin(&[&url(addr)]);
        assert_eq!(talk.ask("SELECT 1"), "OK");
        lose_all_connections(addr);
        assert_eq!(talk.ask("SET a 1"), "OK");
        assert_eq!(talk.stderr.next(), "warning: the connection was lost and is opened again");
        assert_eq!([talk.ask("MULTI"), talk.ask("SET b 1")], ["OK", "QUEUED"]);
        lose_all_connections(addr);
        talk.say("SET c 1\nSET d 1");
        let (code, stdout, stderr) = talk.end();
        assert_eq!((code, stdout.as_str()), (100, ""));
        assert!(stderr.contains("failed to go on with the transaction at "), "{stderr}");
        assert_eq!(run(&[&format!("{}/1", url(addr)), "-e", "KEYS *"]), (0, "a\n".into()));
    });
}

/// Runs it with an output that nobody reads.
fn unread(args: &[&str], input: &[u8]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    let mut child = client(args).stdin(file).stdout(writer).stderr(Stdio::piped()).spawn().expect("it runs");
    let stderr = Lines::of(child.stderr.take().expect("a pipe")).rest().join("\n");
    (child.wait().expect("it ends").code().unwrap_or(-1), stderr)
}

#[test]
fn a_failure_is_one_even_when_nobody_reads_the_replies() {
    both(|addr| {
        let url = url(addr);
        assert_eq!(unread(&[&url, "-e", "PING"], b""), (0, String::new()));
        assert_eq!(unread(&[&url, "-e", "NOSUCH"], b""), (1, String::new()));
        assert_eq!(unread(&[&url], b"\n'\nPING\n").0, 1);
        assert_eq!(unread(&[&url], b"PING\nPING\n").0, 0);
        assert_eq!(unread(&[&url, "--pipe"], b"PING\n").0, 0);
        assert_eq!(unread(&[&url, "--pipe"], b"NOSUCH\n").0, 1);
    });
    let lost = answering(b"+OK\r\n");
    let (code, stderr) = unread(&[&url(lost), "--resp", "2", "--pipe"], b"SET a 1\nSET b 2\n");
    assert!(code == 100 && stderr.contains("failed to talk to "), "{code}: {stderr}");
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
        // QUIT ends it, in either form.
        let mut encoded = Vec::new();
        runner::wire::resp::encode_command(&mut encoded, ["SET", "a", "1"]);
        runner::wire::resp::encode_command(&mut encoded, ["quit"]);
        for input in [&b"SET a 1\nQUIT\nSET a 2\n"[..], b"SET a 1\nQUIT", &encoded] {
            let (code, stdout, stderr) = feed(&[&url(addr), "--pipe"], input);
            assert_eq!((code, stdout.as_str()), (0, "2 replies, 0 errors\n"), "{stderr}");
        }
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
        for resp in ["2", "3"] {
            let listening = Conversation::begin(&[&url(addr), "--resp", resp, "-e", "SUBSCRIBE news"]);
            let next = || listening.stdout.next();
            assert_eq!([next(), next(), next()], ["subscribe", "news", "1"], "--resp {resp}");
            assert_eq!(run(&[&url(addr), "-e", "PUBLISH news hello"]), (0, "1\n".into()));
            assert_eq!([next(), next(), next()], ["message", "news", "hello"], "--resp {resp}");
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

/// A server that does this with the number of each connection, and with its first bytes, once they have come. It
/// closes without reading more.
fn serving(serve: impl Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its port");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            // Whether the client is still there is its own business.
            let _ = stream.read(&mut [0; 1024]).and_then(|_| serve(number, &mut stream));
        }
    });
    addr
}

/// A server that answers everything with these bytes, and closes after that.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    serving(move |_, stream| stream.write_all(bytes))
}

#[test]
fn replies_that_have_come_are_counted_whatever_becomes_of_the_connection() {
    // Far more than the server reads: its end is a reset, and further writes fail.
    let upload = "SET record value\n".repeat(1 << 20);
    let server = answering(b"+OK\r\n-ERR full\r\n+O");
    let (code, stdout, stderr) = feed(&[&url(server), "--resp", "2", "--pipe"], upload.as_bytes());
    assert_eq!((code, stdout.as_str()), (100, "2 replies, 1 errors\n"), "{stderr}");
    assert!(stderr.contains("(error) ERR full\n") && stderr.contains("failed to talk to "), "{stderr}");
    let address = format!("text://{}", answering(b"OK: Set record = value\n"));
    let (code, stdout, _) = feed(&[&address, "--pipe"], upload.as_bytes());
    assert_eq!((code, stdout.as_str()), (100, "1 replies, 0 errors\n"));
    // A value is not the good-bye that it looks like.
    let address = format!("text://{}", answering(b"OK: Bye\n"));
    let (code, stdout, _) = feed(&[&address, "--pipe"], b"GET a\nGET b\n");
    assert_eq!((code, stdout.as_str()), (100, "1 replies, 0 errors\n"));
    // After a good-bye a reset is as good an end as any.
    let upload = format!("QUIT\n{upload}");
    let (code, stdout, _) = feed(&[&address, "--pipe"], upload.as_bytes());
    assert_eq!((code, stdout.as_str()), (0, "1 replies, 0 errors\n"));
    let server = answering(b"+OK\r\n");
    let (code, stdout, _) = feed(&[&url(server), "--resp", "2", "--pipe"], upload.as_bytes());
    assert_eq!((code, stdout.as_str()), (0, "1 replies, 0 errors\n"));
    // A command may be refused before it was sent as a whole.
    let server = answering(b"-ERR Protocol error: invalid bulk length\r\n");
    let large = format!("SET record {}\n", "x".repeat(16 << 20));
    let (code, stdout, _) = feed(&[&url(server), "--resp", "2"], large.as_bytes());
    assert_eq!((code, stdout.as_str()), (1, "(error) ERR Protocol error: invalid bulk length\n"));
}

#[test]
fn after_quit_there_is_a_new_connection_even_where_the_server_has_not_closed_the_old_one() {
    for (scheme, bye, pong) in [("redis", "+OK\r\n", "+PONG\r\n"), ("text", "OK: Bye\n", "OK: PONG\n")] {
        let (kept, old) = mpsc::channel();
        let server = serving(move |number, stream| {
            kept.send(stream.try_clone()?).expect("the test goes on");
            stream.write_all(if number == 0 { bye } else { pong }.as_bytes())
        });
        let address = format!("{scheme}://{server}");
        let resp: &[&str] = if scheme == "redis" { &["--resp", "2"] } else { &[] };
        let args = [&[address.as_str()], resp, &["-e", "QUIT", "-e", "PING"]].concat();
        let (code, stdout, stderr) = ended(&mut client(&args));
        assert_eq!((code, stdout.lines().count()), (0, 2), "{stdout}{stderr}");
        assert!(stdout.ends_with("PONG\n"), "{stdout}");
        drop(old);
    }
}

#[test]
fn a_server_that_takes_commands_and_answers_none_is_given_up() {
    for (address, resp) in [("redis", &["--resp", "2"][..]), ("text", &[])] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("{address}://{}", listener.local_addr().expect("its port"));
        let args = [&[address.as_str(), "--pipe", "--patience", "100ms"], resp].concat();
        let (code, stdout, stderr) = feed(&args, b"PING\n");
        assert_eq!((code, stdout.as_str()), (100, "0 replies, 0 errors\n"), "{stderr}");
        assert!(stderr.contains("only 0 replies came, and then nothing for 100ms"), "{stderr}");
    }
}

#[test]
fn what_a_server_says_cannot_steer_the_terminal() {
    let steering = "-NO \x1b]0;owned\x07\u{9b}2J\r\n";
    let said = |args: &[&str], input: &[u8]| {
        let (code, _, stderr) = feed(args, input);
        assert_ne!(code, 0, "{args:?}");
        assert!(stderr.contains("]0;owned"), "{args:?}: {stderr}");
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!stderr.contains(steers), "{args:?}: {stderr:?}");
    };
    let server = url(answering(steering.as_bytes()));
    said(&[&server, "--resp", "3", "-e", "PING"], b"");
    said(&[&server, "--resp", "2", "--pipe"], b"PING\nPING\n");
    said(&[&format!("{server}/3"), "--resp", "2", "-e", "PING"], b"");
    said(&[&server, "--resp", "2", "--password", "x", "-e", "PING"], b"");
    let server = format!("text://{}", answering(b"ERROR: \x1b]0;owned\x07\n"));
    said(&[&server, "--password", "x", "-e", "PING"], b"");
}

#[test]
fn what_is_no_reply_is_an_error_and_nothing_is_allocated_by_what_is_announced() {
    for (bytes, code, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], 1, "which is no RESP type"),
        (b"*9223372036854775807\r\n", 1, "reply holds more than"),
        (b"$99999999999\r\n", 1, "reply is longer than"),
        (b"*1\r\n*1\r\n*1\r\n", 100, "the server has closed the connection"),
        (b"", 100, "the server has closed the connection"),
    ] {
        let (found, _, stderr) = ended(&mut client(&[&url(answering(bytes)), "--resp", "2", "-e", "PING"]));
        assert!(found == code && stderr.contains(said), "{}: {found}: {stderr}", bytes.escape_ascii());
    }
    let old = answering(b"-ERR unknown command 'HELLO'\r\n+PONG\r\n");
    assert_eq!(run(&[&url(old), "-e", "PING"]).1, "PONG\n");
    let (code, _, stderr) = ended(&mut client(&[&url(old), "--resp", "3", "-e", "PING"]));
    assert!(code == 1 && stderr.contains("failed to speak RESP3 with"), "{code}: {stderr}");
}
