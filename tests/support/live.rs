//! A run with its live page, as a process.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use crate::http::Client;
use crate::program::{Bench, Ended};

/// `runner run --ui` on a free port, in a folder of its own. Dropping it kills it.
pub struct LiveRun {
    pub bench: Bench,
    child: RefCell<Option<Child>>,
    client: Client,
    said: RefCell<Option<JoinHandle<String>>>,
    printed: RefCell<Option<JoinHandle<String>>>,
}

impl LiveRun {
    /// Starts a scenario given as text.
    pub fn start(scenario: &str, args: &[&str], env: &[(&str, &str)]) -> LiveRun {
        let bench = Bench::new();
        let file = bench.file("scenario.yaml", scenario);
        let mut all = vec!["run", file.to_str().expect("text"), "--out", "out", "--ui", "127.0.0.1:0"];
        all.extend(args);
        let mut command = bench.command(&all);
        command.env_remove("RUNNER_TOKEN").env_remove("RUNNER_UI").envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut talk = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut before = String::new();
        let addr = loop {
            let mut line = String::new();
            let read = talk.read_line(&mut line).expect("it says where it is");
            let addr = line.strip_prefix("live at http://").and_then(|rest| rest.split('/').next());
            before.push_str(&line);
            match addr.and_then(|addr| addr.parse().ok()) {
                Some(addr) => break addr,
                None if read == 0 => panic!("it said {before:?} instead of its address"),
                None => {}
            }
        };
        let rest = move || before + &talk.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n");
        let said = std::thread::spawn(rest);
        let mut stdout = child.stdout.take().expect("a pipe");
        let printed = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap_or_default());
        let (said, printed) = (RefCell::new(Some(said)), RefCell::new(Some(printed)));
        LiveRun { bench, child: RefCell::new(Some(child)), client: Client::of(addr), said, printed }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.borrow().as_ref().expect("not yet waited for").id()
    }

    /// Ends it as a crash of the machine would.
    pub fn kill(&self) -> Ended {
        self.child.borrow_mut().as_mut().expect("not yet waited for").kill().expect("it can be killed");
        self.wait()
    }

    /// Waits for its end. Its files stay until this is dropped.
    pub fn wait(&self) -> Ended {
        let mut child = self.child.take().expect("not yet waited for");
        let status = child.wait().expect("it ends");
        let text = |thread: Option<JoinHandle<String>>| {
            thread.map(|thread| thread.join().expect("it was listened to")).unwrap_or_default()
        };
        let (stderr, stdout) = (text(self.said.take()), text(self.printed.take()));
        let output =
            std::process::Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() };
        self.bench.ended(output)
    }
}

impl Deref for LiveRun {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for LiveRun {
    fn drop(&mut self) {
        if let Some(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
