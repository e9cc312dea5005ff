//! A process that stood still for a while does not hold that against its target.

#[path = "support/http.rs"]
mod http;
#[path = "support/live.rs"]
mod live;
#[path = "support/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use live::LiveRun;
use program::{Bench, signal_to, wait_for};

/// The end of a connection that the program has opened.
struct Peer {
    requests: BufReader<TcpStream>,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Peer {
        Peer { requests: BufReader::new(listener.accept().expect("a connection").0) }
    }

    /// The id of the next request; `None` when there is no more.
    fn request(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.requests.read_line(&mut line).unwrap_or(0);
        (bytes > 0).then(|| line.split(' ').next().unwrap_or_default().to_string())
    }

    fn answer(&mut self, id: &str) {
        let line = format!("{id} response-{id}\n");
        self.requests.get_mut().write_all(line.as_bytes()).expect("it is there");
    }
}

/// Lets a process stand still while `act` goes on, and then for so long.
fn suspended(process: u32, still: Duration, act: impl FnOnce()) {
    signal_to(process, "-STOP");
    wait_for("its threads to stand still", || {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it is there");
        threads.flatten().all(|thread| is_stopped(&thread.path()))
    });
    act();
    // Nothing happens meanwhile that could be waited for: that is what is tested. A processor is left to the others.
    let (never, nothing) = mpsc::channel::<()>();
    assert!(nothing.recv_timeout(still).is_err());
    drop(never);
}

fn is_stopped(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

fn scenario(addr: SocketAddr, stage: &str, connections: &str, load: &str) -> String {
    format!(
        "name: still\nrecords: {{ range: 1..1000 }}\nload: {{ stages: [ {{ name: all, {stage} }} ]{load} }}\n\
         connections: {{ {connections} }}\nmapping: {{ into: none }}\n\
         target: {{ addresses: [\"{addr}\"], framing: line }}\n"
    )
}

/// Two requests over two connections, five milliseconds after each other.
const TWO: &str = "hold: 200, duration: 10ms";

#[test]
fn a_response_that_came_in_time_counts_though_nobody_read_it_in_time() {
    let (target, addr) = listener();
    let bench = Bench::new();
    // Half a second is between them: a kernel that was not asked for stamps before takes a moment to begin.
    let yaml = scenario(addr, "hold: 2, duration: 1s", "count: 2, request_timeout: 4s", "");
    let child = bench.start(&yaml, &[]);
    let mut peers = [Peer::accept(&target), Peer::accept(&target)];
    let ids = [0, 1].map(|peer: usize| peers[peer].request().expect("a request"));
    suspended(child.id(), Duration::from_millis(4500), || peers[0].answer(&ids[0]));
    peers[1].answer(&ids[1]);
    signal_to(child.id(), "-CONT");
    let ended = bench.wait(child);
    let columns = ["scheduled", "sent", "matched", "timed_out", "late", "failed"];
    assert_eq!(ended.summary(&columns), [2, 2, 1, 1, 1, 0], "{}", ended.stderr);
}

#[test]
fn what_lies_in_the_sockets_when_a_run_waits_no_longer_is_read() {
    let (target, addr) = listener();
    let yaml = scenario(addr, TWO, "count: 2, request_timeout: 1m", ", graceful_stop: 8s");
    let run = LiveRun::start(&yaml, &[], &[]);
    let mut peers = [Peer::accept(&target), Peer::accept(&target)];
    let ids = [0, 1].map(|peer: usize| peers[peer].request().expect("a request"));
    assert_eq!(run.post("/control", r#"{"action": "stop"}"#).status, 200);
    peers[0].answer(&ids[0]);
    // Whoever knows of the answer knows of the stop, and waits for the other one.
    wait_for("the answer", || run.get("/live").json()["now"]["matched"] == 1);
    suspended(run.id(), Duration::from_millis(8500), || peers[1].answer(&ids[1]));
    signal_to(run.id(), "-CONT");
    let ended = run.wait();
    let columns = ["scheduled", "sent", "matched", "timed_out"];
    assert_eq!(ended.summary(&columns), [2, 2, 2, 0], "{}", ended.stderr);
}

/// As planned, there is no time between requests to look when responses come.
#[test]
fn a_run_that_is_given_a_lower_rate_learns_when_responses_come() {
    let (target, addr) = listener();
    let connections = "count: 1, limit: 0, window: 64, request_timeout: 2s";
    let yaml = scenario(addr, "ramp: { from: 1, to: 50000 }, duration: 1h", connections, "");
    let run = LiveRun::start(&yaml, &["--workers", "1"], &[]);
    let mut peer = Peer::accept(&target);
    let first = peer.request().expect("a request");
    peer.answer(&first);
    let changed = run.post("/control", r#"{"action": "rate", "rate": 1}"#);
    assert_eq!(changed.status, 200, "{changed:?}");
    let at_s = changed.json()["at_s"].as_f64().expect("an instant");
    let mut now_s = 0.0;
    while now_s <= at_s {
        let id = peer.request().expect("a request");
        peer.answer(&id);
        now_s = run.get("/live").json()["now"]["elapsed_s"].as_f64().expect("a time");
    }
    let id = peer.request().expect("a request");
    suspended(run.id(), Duration::from_millis(2500), || peer.answer(&id));
    signal_to(run.id(), "-CONT");
    run.post("/control", r#"{"action": "stop"}"#);
    while let Some(id) = peer.request() {
        peer.answer(&id);
    }
    let ended = run.wait();
    let [sent, matched, timed_out] = ended.summary(&["sent", "matched", "timed_out"])[..] else {
        panic!("three numbers")
    };
    assert_eq!((matched, timed_out), (sent, 0), "{}", ended.stderr);
}
