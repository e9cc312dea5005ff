//! The real binary as a store on a free port, and programs that are run against it.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long one program may take before a test gives up; some of them fetch packages.
const PATIENCE: Duration = Duration::from_secs(300);

/// `runner store` on a free port. Dropping it ends it.
pub struct Store {
    child: Child,
    addr: SocketAddr,
}

impl Store {
    /// Starts one with more options in `args`, and returns when it listens.
    ///
    /// # Panics
    /// When it does not say where it listens.
    pub fn start(args: &[&str]) -> Store {
        let mut child = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(["store", "--port", "0"])
            .args(args)
            .env_remove("RUNNER_STORE_PASSWORD")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says where it listens");
        let addr = line.split("://").nth(1).and_then(|rest| rest.split(' ').next());
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the store said {line:?} instead of its address");
        };
        // It is ended without being asked, and may say more until then.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Store { child, addr }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end and captures what it says; `needs` says what to install where it is missing.
///
/// # Panics
/// When it cannot be started, or does not end in time; then it is ended.
pub fn finish(command: &mut Command, needs: &str) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{name}` does not start ({error}): install {needs}"));
    let id = child.id();
    let (ended, result) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = result.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        let said = result.recv().expect("it has been ended").map(|output| everything(&output));
        panic!("{name} did not end in {PATIENCE:?}; it said {}", said.unwrap_or_default());
    };
    output.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a program wrote, first the data, then the talk.
pub fn everything(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}
