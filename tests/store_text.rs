//! The text dialect of the store: plain lines, as `nc` sends them.

#[path = "support/store_process.rs"]
mod store_process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runner::store::{Config, Dialect, Fault, Handle, Harm, Server};
use store_process::Store;

const LONG: usize = 10 << 20;

fn config() -> Config {
    Config { dialect: Dialect::Text, ..Config::default() }
}

fn store() -> Handle {
    Server::start(config()).expect("a free port")
}

/// A connection that speaks in lines.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the store listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket option");
        Client { reader: BufReader::new(stream) }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("the store reads");
    }

    /// The next line without its end; empty when the store has closed.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("a line in time");
        String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes());
        self.line()
    }

    /// Everything until the store closes.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset counts as closed.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Closes its side, as `nc -N` does at the end of its input.
    fn half_close(&self) {
        self.reader.get_ref().shutdown(Shutdown::Write).expect("shut down");
    }

    fn ends(&mut self) {
        assert_eq!(self.rest(), "", "the store said more before it closed");
    }
}

/// What `nc` prints when this is piped into it.
fn nc(addr: SocketAddr, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("nc")
        .args(["-N", &addr.ip().to_string(), &addr.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc starts: install netcat-openbsd");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).expect("nc reads"));
    let output = child.wait_with_output().expect("nc ends");
    writer.join().expect("written");
    assert!(output.status.success(), "{:?}", output.status);
    output.stdout
}

#[test]
fn the_example_session_works_line_by_line_through_nc() {
    let store = Store::start(&["--dialect", "text"]);
    let addr = store.addr();
    let mut nc = Command::new("nc")
        .args([&addr.ip().to_string(), &addr.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc starts: install netcat-openbsd");
    let mut typed = nc.stdin.take().expect("a pipe");
    let mut printed = BufReader::new(nc.stdout.take().expect("a pipe"));
    for (line, expected) in [
        ("SET user1 Alice", "OK: Set user1 = Alice"),
        ("SET user2 Bob", "OK: Set user2 = Bob"),
        ("GET user1", "OK: Alice"),
        ("LIST", "OK: Keys: user1, user2"),
        ("DELETE user1", "OK: Deleted user1"),
        ("PING", "OK: PONG"),
        ("QUIT", "OK: Bye"),
    ] {
        writeln!(typed, "{line}").expect("nc reads");
        let mut answer = String::new();
        printed.read_line(&mut answer).expect("nc prints");
        assert_eq!(answer, format!("{expected}\n"), "{line}");
    }
    // The store has closed; nc itself ends with its input.
    drop(typed);
    let mut rest = Vec::new();
    printed.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty() && nc.wait().expect("it ends").success());
}

#[test]
fn lines_piped_into_nc_are_answered_even_the_last_one_without_an_end() {
    let store = store();
    assert_eq!(nc(store.addr(), b"SET a 1\r\nGET a"), b"OK: Set a = 1\nOK: 1\n");
    assert_eq!(nc(store.addr(), b"PING"), b"OK: PONG\n");
    // What writes may have been cut off, and is not run.
    for cut in ["SET a 10", "DELETE a"] {
        let said = String::from_utf8(nc(store.addr(), cut.as_bytes())).expect("text");
        assert_eq!(said, "ERROR: nothing is written by a line that does not end with a line break\n");
    }
    assert_eq!(store.get("a").expect("running"), Some(b"1".to_vec()));
}

#[test]
fn ten_megabytes_come_back_through_nc() {
    let store = store();
    let value = "x y".repeat(LONG / 3);
    let stored = nc(store.addr(), format!("SET big {value}\n").as_bytes());
    assert_eq!(stored, format!("OK: Set big = {value}\n").into_bytes());
    assert_eq!(nc(store.addr(), b"GET big\n"), format!("OK: {value}\n").into_bytes());
    assert_eq!(store.get("big").expect("running").map(|value| value.len()), Some(value.len()));
}

#[test]
fn what_is_wrong_is_said_and_the_conversation_goes_on() {
    let store = store();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.ask("LIST"), "OK: Keys:");
    assert_eq!(client.ask("GET user9"), "ERROR: key not found: user9");
    assert_eq!(client.ask("DELETE user9"), "ERROR: key not found: user9");
    let unknown = "ERROR: unknown command 'FOO'; use SET, GET, DELETE, LIST, PING or QUIT";
    assert_eq!(client.ask("FOO bar"), unknown);
    assert_eq!(client.ask("SET key"), "ERROR: usage: SET key value");
    assert_eq!(client.ask("GET"), "ERROR: usage: GET key");
    assert_eq!(client.ask("set k  two  words "), "OK: Set k =  two  words ");
    assert_eq!(client.ask("gEt k"), "OK:  two  words ");
    client.send(b"\n\r\n  \r\nPING\r\n");
    assert_eq!(client.line(), "OK: PONG");
    store.execute(["RPUSH", "list", "a"]).expect("running");
    assert_eq!(
        client.ask("GET list"),
        "ERROR: WRONGTYPE Operation against a key holding the wrong kind of value"
    );
    assert_eq!(client.ask("SET list a"), "OK: Set list = a");
    // Nothing that was said is written by an error, and errors are counted as any others.
    let info = String::from_utf8(store.execute(["INFO", "errorstats"]).expect("running")).expect("text");
    assert!(info.contains("errorstat_WRONGTYPE:count=1") && info.contains("errorstat_ERR:count="), "{info}");
}

#[test]
fn a_line_break_inside_a_value_cannot_break_the_protocol() {
    let store = store();
    store.set("two", "lines\nOK: forged").expect("running");
    store.set("a\r\nkey", "1").expect("running");
    let mut client = Client::connect(store.addr());
    assert_eq!(client.ask("GET two"), "ERROR: the value of two holds a line break, which no line can carry");
    assert_eq!(client.ask("LIST"), "OK: Keys: a\\r\\nkey, two");
    assert_eq!(client.ask("SET k a\rb"), "ERROR: a line cannot hold a carriage return except at its end");
    assert_eq!(client.ask("PING"), "OK: PONG");
}

#[test]
fn lines_may_come_byte_by_byte_and_many_at_once() {
    let store = store();
    let mut client = Client::connect(store.addr());
    for byte in b"SET slow poke\r\n" {
        client.send(&[*byte]);
    }
    assert_eq!(client.line(), "OK: Set slow = poke");
    let many: String = (0..10_000).map(|n| format!("SET k{n} v{n}\nGET k{n}\n")).collect();
    let mut sender = client.reader.get_ref().try_clone().expect("a descriptor");
    let writer = std::thread::spawn(move || sender.write_all(many.as_bytes()).expect("the store reads"));
    for n in 0..10_000 {
        assert_eq!(client.line(), format!("OK: Set k{n} = v{n}"));
        assert_eq!(client.line(), format!("OK: v{n}"));
    }
    writer.join().expect("written");
    // A batch of lines is answered with one write: far fewer writes than answers.
    let info = String::from_utf8(store.execute(["INFO", "stats"]).expect("running")).expect("text");
    let writes = info.lines().find_map(|line| line.strip_prefix("total_writes_processed:"));
    let writes: u64 = writes.expect("a counter").trim().parse().expect("a number");
    assert!(writes < 10_000, "{writes} writes for 20,000 answers");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_line_changes_nothing() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.send(b"SET half a li");
    client.half_close();
    assert!(client.rest().starts_with("ERROR: nothing is written"));
    assert_eq!(store.get("half").expect("running"), None);
}

/// Lets this process open as many files as it may; `needed` are needed.
fn raise_descriptors(needed: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised as far as is allowed");
    }
    assert!(hard > needed + 100, "{needed} file descriptors are needed (`ulimit -Hn`), {hard} are allowed");
}

#[test]
fn many_clients_at_once_see_the_same_data() {
    const CLIENTS: usize = 500;
    // Both ends are here.
    raise_descriptors(2 * CLIENTS as u64);
    let store = store();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(store.addr())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("SET key{n} value{n}\n").as_bytes());
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(), format!("OK: Set key{n} = value{n}"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let other = (n + 1) % CLIENTS;
        assert_eq!(client.ask(&format!("GET key{other}")), format!("OK: value{other}"));
    }
    let listed = clients[0].ask("LIST");
    let mut expected: Vec<String> = (0..CLIENTS).map(|n| format!("key{n}")).collect();
    expected.sort_unstable();
    assert_eq!(listed, format!("OK: Keys: {}", expected.join(", ")));
}

#[test]
fn a_line_above_the_limit_is_refused_and_the_connection_closed() {
    let store = Server::start(Config { max_bulk_bytes: 1000, ..config() }).expect("a free port");
    let mut client = Client::connect(store.addr());
    let fits = format!("SET k {}", "x".repeat(1000 - 6));
    assert_eq!(client.ask(&fits), format!("OK: Set k = {}", "x".repeat(1000 - 6)));
    assert_eq!(client.ask(&format!("{fits}x")), "ERROR: a line of more than 1000 bytes");
    client.ends();
    // Without an end of line it is refused as soon as it is too long, and not kept until one comes.
    let mut client = Client::connect(store.addr());
    client.send(&[b'x'; 2000]);
    assert_eq!(client.line(), "ERROR: a line of more than 1000 bytes");
    client.ends();
}

#[test]
fn with_a_password_everything_else_waits_for_it() {
    let store =
        Server::start(Config { password: Some("open sesame".into()), ..config() }).expect("a free port");
    let mut client = Client::connect(store.addr());
    let required = "ERROR: authentication required: AUTH password";
    for line in ["GET a", "SET a 1", "LIST", "PING"] {
        assert_eq!(client.ask(line), required, "{line}");
    }
    assert!(client.ask("AUTH wrong").starts_with("ERROR: WRONGPASS"));
    assert_eq!(client.ask("AUTH"), "ERROR: usage: AUTH password");
    assert_eq!(client.ask("AUTH open sesame"), "OK: Authenticated");
    assert_eq!(client.ask("SET a 1"), "OK: Set a = 1");
    // Before the password only short lines are taken.
    let mut client = Client::connect(store.addr());
    client.send(&[b'x'; 20_000]);
    assert_eq!(client.line(), "ERROR: a line of more than 16384 bytes");
    client.ends();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.ask("QUIT"), "OK: Bye");
    client.ends();
}

#[test]
fn quit_closes_and_nothing_behind_it_is_run() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.send(b"SET a 1\nQUIT\nSET a 2\n");
    assert_eq!(client.rest(), "OK: Set a = 1\nOK: Bye\n");
    assert_eq!(store.get("a").expect("running"), Some(b"1".to_vec()));
}

#[test]
fn limits_faults_and_expiry_hold_here_too() {
    let store = Server::start(Config { max_clients: 1, ..config() }).expect("a free port");
    let mut client = Client::connect(store.addr());
    assert_eq!(client.ask("SET a 1"), "OK: Set a = 1");
    assert_eq!(Client::connect(store.addr()).rest(), "ERROR: max number of clients reached\n");
    store.execute(["EXPIRE", "a", "60"]).expect("running");
    store.fast_forward(Duration::from_secs(61)).expect("running");
    assert_eq!(client.ask("GET a"), "ERROR: key not found: a");
    let fault = |harm| vec![Fault { command: Some("GET".into()), share: 1.0, harm }];
    store.set_faults(fault(Harm::Error("ERR out of luck".into()))).expect("running");
    assert_eq!(client.ask("GET a"), "ERROR: out of luck");
    // A client that is held goes on where it was, with all that it has sent meanwhile.
    store.set_faults(fault(Harm::Latency(Duration::from_millis(20)))).expect("running");
    client.send(b"SET b 2\nGET b\nGET b\nPING\n");
    let answers: Vec<String> = (0..4).map(|_| client.line()).collect();
    assert_eq!(answers, ["OK: Set b = 2", "OK: 2", "OK: 2", "OK: PONG"]);
    store.set_faults(fault(Harm::Disconnect)).expect("running");
    assert_eq!(client.ask("PING"), "OK: PONG");
    client.send(b"GET b\nPING\n");
    client.ends();
}

#[test]
fn a_client_that_is_paused_gets_its_answers_afterwards() {
    let store = store();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.ask("PING"), "OK: PONG");
    store.execute(["CLIENT", "PAUSE", "100000"]).expect("running");
    client.send(b"SET a 1\nGET a\n");
    store.execute(["CLIENT", "UNPAUSE"]).expect("running");
    assert_eq!((client.line(), client.line()), ("OK: Set a = 1".to_string(), "OK: 1".to_string()));
}

/// Returns when the store has read what was sent before: each of these is run between two looks at the sockets.
fn let_it_read(store: &Handle) {
    for _ in 0..3 {
        store.execute(["PING"]).expect("running");
    }
}

#[test]
fn a_client_that_closes_its_side_while_it_is_paused_loses_nothing() {
    let store = store();
    let pause = || store.execute(["CLIENT", "PAUSE", "100000"]).expect("running");
    let unpause = || store.execute(["CLIENT", "UNPAUSE"]).expect("running");
    pause();
    // Lines and end come together, the last line without its own end.
    let mut together = Client::connect(store.addr());
    together.send(b"SET a 1\nGET a\nGET a");
    together.half_close();
    // The end comes when the client is held already.
    let mut later = Client::connect(store.addr());
    later.send(b"PING\nPING\n");
    let_it_read(&store);
    later.half_close();
    // There is nothing but a line without an end, which is held itself.
    let mut unfinished = Client::connect(store.addr());
    unfinished.send(b"PING");
    unfinished.half_close();
    let_it_read(&store);
    unpause();
    assert_eq!(together.rest(), "OK: Set a = 1\nOK: 1\nOK: 1\n");
    assert_eq!(later.rest(), "OK: PONG\nOK: PONG\n");
    assert_eq!(unfinished.rest(), "OK: PONG\n");
    // A line that writes and was cut off is not run afterwards either.
    pause();
    let mut cut = Client::connect(store.addr());
    cut.send(b"SET a 2\nSET a 30");
    cut.half_close();
    let_it_read(&store);
    unpause();
    let refused = "ERROR: nothing is written by a line that does not end with a line break\n";
    assert_eq!(cut.rest(), format!("OK: Set a = 2\n{refused}"));
    assert_eq!(store.get("a").expect("running"), Some(b"2".to_vec()));
}

#[test]
fn a_client_that_closes_its_side_while_it_is_delayed_gets_an_answer_to_every_line() {
    let store = store();
    store.set("a", "1").expect("running");
    let harm = Harm::Latency(Duration::from_millis(20));
    store.set_faults(vec![Fault { command: Some("GET".into()), share: 1.0, harm }]).expect("running");
    let mut client = Client::connect(store.addr());
    client.send(b"GET a\nPING\nGET a\nGET b\nGET a");
    client.half_close();
    assert_eq!(client.rest(), "OK: 1\nOK: PONG\nOK: 1\nERROR: key not found: b\nOK: 1\n");
}

#[test]
fn a_client_that_closes_its_side_and_reads_late_gets_all_answers() {
    const ASKED: usize = 1_000;
    let store = store();
    let value = "v".repeat(100_000);
    store.set("big", &value).expect("running");
    let mut client = Client::connect(store.addr());
    // Above 64 MiB of answers the store reads no more; then the end has come before the last lines are run.
    client.send("GET big\n".repeat(ASKED).as_bytes());
    client.send(b"PING");
    client.half_close();
    let_it_read(&store);
    for _ in 0..ASKED {
        assert_eq!(client.line().len(), value.len() + 4);
    }
    assert_eq!(client.rest(), "OK: PONG\n");
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_loses_nothing() {
    const ASKED: usize = 2_000;
    const PAUSED_ABOVE: usize = 64 << 20;
    let store = store();
    let value = "v".repeat(100_000);
    store.set("big", &value).expect("running");
    let mut client = Client::connect(store.addr());
    let mut sender = client.reader.get_ref().try_clone().expect("a descriptor");
    // 200 MB of answers; the store stops running lines when 64 MiB wait, and goes on when they are read.
    let writer = std::thread::spawn(move || sender.write_all("GET big\n".repeat(ASKED).as_bytes()));
    writer.join().expect("joined").expect("the lines themselves are few");
    let mut most = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    while most <= PAUSED_ABOVE {
        assert!(Instant::now() < deadline, "no more than {most} bytes ever waited");
        let clients = String::from_utf8(store.execute(["CLIENT", "LIST"]).expect("running")).expect("text");
        // The program itself stands among the clients, too.
        let waiting = clients.split("omem=").filter_map(|rest| rest.split(' ').next()?.parse().ok());
        most = waiting.fold(most, usize::max);
    }
    assert!(most < PAUSED_ABOVE + (2 << 20), "{most} bytes waited");
    for _ in 0..ASKED {
        assert_eq!(client.line().len(), value.len() + 4);
    }
    assert_eq!(client.ask("PING"), "OK: PONG");
}

#[test]
fn a_browser_that_is_tricked_into_talking_here_is_dropped() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.send(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET a 1\n");
    assert_eq!(client.rest(), "");
    assert_eq!(store.get("a").expect("running"), None);
    let mut client = Client::connect(store.addr());
    client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET a 1\n");
    client.rest();
    assert_eq!(store.get("a").expect("running"), None);
}
