//! The real binary in a folder of its own, so that the body of a test reads like the manual.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder in which the program is run.
pub struct Bench {
    dir: tempfile::TempDir,
}

/// A run that has ended.
pub struct Ended {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// What was said.
    pub stderr: String,
    /// The data.
    pub stdout: String,
    folder: PathBuf,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        let names = [
            "REDIS_URL",
            "COMPARE_WITH",
            "RUNNER_OUT",
            "RUNNER_SEED",
            "RUNNER_SEGMENT",
            "RUNNER_WORKERS",
            "RUNNER_UI",
            "RUNNER_TOKEN",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        ];
        for name in names {
            command.env_remove(name);
        }
        command
    }

    /// Runs any command to its end.
    pub fn call(&self, args: &[&str]) -> Ended {
        let output = self.command(args).output().expect("the binary runs");
        self.ended(output)
    }

    /// Runs a scenario given as text.
    pub fn run(&self, scenario: &str, args: &[&str]) -> Ended {
        let started = self.start(scenario, args);
        self.wait(started)
    }

    /// Starts a scenario given as text.
    pub fn start(&self, scenario: &str, args: &[&str]) -> Child {
        let file = self.file("scenario.yaml", scenario);
        let mut all = vec![file.to_str().expect("text"), "--out", "out"];
        all.extend(args);
        self.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
    }

    pub fn wait(&self, child: Child) -> Ended {
        self.ended(child.wait_with_output().expect("it ends"))
    }

    pub fn ended(&self, output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            folder: self.dir.path().join("out"),
        }
    }
}

impl Ended {
    /// A file of the run folder.
    pub fn file(&self, name: &str) -> String {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.stderr))
    }

    pub fn has_file(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// The rows of a CSV file by their column names.
    pub fn rows(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let text = self.file(name);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().collect::<Result<_, _>>().expect("every row has every column")
    }

    /// Columns of `summary.csv` as numbers.
    pub fn summary(&self, columns: &[&str]) -> Vec<u64> {
        let row = self.rows("summary.csv").remove(0);
        columns
            .iter()
            .map(|column| row[*column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}")))
            .collect()
    }

    pub fn assert_code(&self, code: i32) -> &Ended {
        assert_eq!(self.code, code, "{}", self.stderr);
        self
    }
}

/// Waits for something that will be true soon.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::yield_now();
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, name: &str) {
    signal_to(child.id(), name);
}

/// Sends a signal to a process, by its id.
pub fn signal_to(process: u32, name: &str) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().expect("kill runs");
    assert!(sent.success());
}
