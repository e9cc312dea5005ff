//! Child: one run as a process of its own, so that HTTP never touches the threads that measure.
//!
//! It is followed by what it writes (`seconds.csv`, its summary on stdout, its words on stderr) and by how it ends,
//! and stopped by the signals that a person would send.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock;
use crate::report::follow::{Follower, Second};
use crate::serve::scenarios::{Changes, OWN_VARIABLES};

/// How often it is looked at what the run has written.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most of what a run prints that is kept: the beginning of its data, the end of its talk.
const MAX_DATA: usize = 4 << 20;
const MAX_TALK: usize = 16 << 10;

/// How long its pipes may stay open after its end, should somebody else hold them.
const PIPES: Duration = Duration::from_secs(1);

/// How a run is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// As the first Ctrl-C: wait for what is in flight, write all reports.
    Gently,
    /// As the second Ctrl-C: at once, reports are still written.
    AtOnce,
    /// Nothing is written any more.
    Kill,
}

/// What is started.
pub(super) struct Order {
    pub program: PathBuf,
    pub scenario: PathBuf,
    pub folder: PathBuf,
    pub id: String,
    pub changes: Changes,
    /// The store it is given; without one it uses that which it names.
    pub redis: Option<String>,
}

/// What is told while it goes.
pub(super) enum Event {
    /// Another second of the schedule is over.
    Second(Second),
    /// It is being stopped.
    Stopping,
}

/// How it has ended.
pub(super) struct Ended {
    pub status: Option<ExitStatus>,
    /// Its data.
    pub stdout: Vec<u8>,
    /// The last it has said.
    pub stderr: String,
}

impl Order {
    /// Starts it. Its standard input is one end of a socket to us, over which it tells how it stands: nobody else can
    /// reach that, and no port is needed.
    pub(super) fn start(&self) -> std::io::Result<(Child, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&self.scenario).args(["--json", "--quiet", "--link", "--run-id", &self.id]);
        command.arg("--out").arg(&self.folder);
        // One word each, so that no value is taken for a flag.
        command.args(self.changes.sets.iter().map(|(path, value)| format!("--set={path}={value}")));
        command.args(self.changes.vars.iter().map(|(name, value)| format!("--var={name}={value}")));
        command.args(self.changes.seed.map(|seed| format!("--seed={seed}")));
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        // A password on the command line could be read by every user of the machine.
        if let Some(url) = &self.redis {
            command.env("REDIS_URL", url);
        }
        // Ctrl-C in the terminal of the server reaches the whole group: it must stop the run once, not twice.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok((command.spawn()?, ours))
    }
}

/// Follows a run to its end.
pub(super) async fn follow(
    mut child: Child,
    folder: PathBuf,
    mut stops: mpsc::Receiver<Stop>,
    mut tell: impl FnMut(Event) + Send,
) -> Ended {
    let data = child.stdout.take().map(|pipe| tokio::spawn(beginning(pipe)));
    let talk = child.stderr.take().map(|pipe| tokio::spawn(end(pipe)));
    let mut follower = Follower::new(&folder);
    let mut look = |tell: &mut dyn FnMut(Event)| {
        // A file that cannot be read is no reason to let go of the run: it shows less, that is all.
        for second in follower.read().unwrap_or_default() {
            tell(Event::Second(second));
        }
    };
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            Some(stop) = stops.recv() => {
                send(&mut child, stop);
                tell(Event::Stopping);
            }
            () = clock::sleep(LOOK_EVERY) => look(&mut tell),
        }
    };
    look(&mut tell);
    let talk = whole(talk).await;
    Ended { status, stdout: whole(data).await, stderr: String::from_utf8_lossy(&talk).into_owned() }
}

fn send(child: &mut Child, stop: Stop) {
    // It has an id as long as nobody has seen its end; one that has ended meanwhile hears nothing.
    match child.id().and_then(|id| i32::try_from(id).ok()) {
        Some(id) if stop != Stop::Kill => {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        Some(_) => {
            let _ = child.start_kill();
        }
        None => {}
    }
}

async fn whole(reading: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    let Some(reading) = reading else { return Vec::new() };
    clock::timeout(PIPES, reading).await.and_then(Result::ok).unwrap_or_default()
}

/// The beginning of what comes; the rest is read and forgotten, so that the run does not wait for a reader.
async fn beginning(mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let room = MAX_DATA - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
    kept
}

/// The end of what comes.
async fn end(mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let surplus = kept.len().saturating_sub(MAX_TALK);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_kept_is_bounded() {
        let endless = vec![b'x'; MAX_DATA + 5];
        assert_eq!(beginning(&endless[..]).await.len(), MAX_DATA);
        let mut talk = vec![b'x'; MAX_TALK];
        talk.extend_from_slice(b"the end");
        let kept = end(&talk[..]).await;
        assert!(kept.len() == MAX_TALK && kept.ends_with(b"the end"));
    }
}
