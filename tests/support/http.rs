//! `runner serve` as a process, and a client that says exactly what it is told to say.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// `runner serve` on a free port, in a folder of its own with a folder of scenarios. Dropping it kills it.
pub struct Serve {
    pub child: Child,
    client: Client,
    /// Where it says that records are.
    pub redis: String,
    said: Option<JoinHandle<String>>,
    dir: tempfile::TempDir,
}

impl Serve {
    /// Starts it with a store of its own and more options.
    pub fn start(args: &[&str]) -> Serve {
        Serve::with(args, &[], &[])
    }

    /// The same with variables of the environment, and with scenarios: name and text.
    pub fn with(args: &[&str], env: &[(&str, &str)], scenarios: &[(&str, &str)]) -> Serve {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("scenarios");
        std::fs::create_dir(&folder).expect("a folder");
        for (name, text) in scenarios {
            std::fs::write(folder.join(name), text).expect("a scenario");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.arg("serve").args(args).current_dir(dir.path());
        for name in [
            "REDIS_URL",
            "RUNNER_TOKEN",
            "RUNNER_LISTEN",
            "RUNNER_OUT",
            "RUNNER_SEED",
            "RUNNER_SEGMENT",
            "RUNNER_UI",
        ] {
            command.env_remove(name);
        }
        command
            .env("RUNNER_LISTEN", "127.0.0.1:0")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut talk = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = || {
            let mut line = String::new();
            talk.read_line(&mut line).expect("it says where it is");
            line
        };
        let (first, second) = (line(), line());
        let addr = first.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            let _ = child.kill();
            panic!("it said {first:?} {second:?} instead of its address");
        };
        let redis = second.trim().trim_start_matches("records are in ").split(',').next().unwrap_or_default();
        let said =
            std::thread::spawn(move || talk.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Serve { child, client: Client { addr }, redis: redis.to_owned(), said: Some(said), dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn scenario(&self, name: &str) -> PathBuf {
        self.path().join("scenarios").join(name)
    }

    /// Waits for its end after a signal.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// What it has said after its address, once it has ended.
    pub fn talk(&mut self) -> String {
        self.said.take().map(|said| said.join().expect("it was listened to")).unwrap_or_default()
    }
}

impl Deref for Serve {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Asks a server and says exactly what it is told to say.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    addr: SocketAddr,
}

impl Client {
    pub fn of(addr: SocketAddr) -> Client {
        Client { addr }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connects; nothing is sent.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        stream
    }

    /// Sends one request as it stands and reads the answer; the connection is new and then closed.
    pub fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        // A server that has seen enough may close before everything is sent.
        let _ = stream.write_all(request.as_ref());
        Answer::read(&mut BufReader::new(stream))
    }

    /// Sends a request with these header lines and this body.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(format!("{request}\r\n{body}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &["Content-Type: application/json"], body)
    }

    /// Opens a stream of events.
    pub fn events(&self, path: &str) -> Events {
        let mut stream = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.addr);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut reader = BufReader::new(stream);
        let (status, headers) = head(&mut reader);
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        Events { reader }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer; `status` is 0 where the server has closed without one.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn read(reader: &mut impl BufRead) -> Answer {
        let (status, headers) = head(reader);
        let mut body = Vec::new();
        if let Some(length) = headers.get("content-length") {
            let length: u64 = length.parse().expect("a length");
            let _ = reader.take(length).read_to_end(&mut body);
        } else if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
            while let Some(chunk) = chunk(reader) {
                body.extend(chunk);
            }
        }
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and word of an error, which must have the shape of all errors.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("{self:?}"));
        for name in ["message", "help"] {
            assert!(error[name].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
        (self.status, error["code"].as_str().expect("a word").to_owned())
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = Vec::new();
    // A reset counts as the end.
    let _ = reader.read_until(b'\n', &mut line);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let first = line(reader);
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line(reader).split_once(':') {
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    (status, headers)
}

fn chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let length = usize::from_str_radix(&line(reader), 16).ok().filter(|length| *length > 0)?;
    let mut chunk = vec![0; length];
    reader.read_exact(&mut chunk).ok()?;
    line(reader);
    Some(chunk)
}

/// Server-sent events as they come.
pub struct Events {
    reader: BufReader<TcpStream>,
}

impl Events {
    /// The next event with its data; none when the stream has ended.
    pub fn next(&mut self) -> Option<(String, Value)> {
        loop {
            // Each event comes as one chunk.
            let text = String::from_utf8(chunk(&mut self.reader)?).expect("text");
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(event), Some(data)) = (field("event:"), field("data:")) {
                return Some((event.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
        }
    }

    /// All events to the end of the stream.
    pub fn rest(mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
