//! All of standard input to the server as fast as it takes it, replies counted.
//!
//! 1. What comes in is passed on as it is: commands in RESP, or one a line as people type them; a server takes both.
//! 2. No more is read than the server has taken, so memory stays flat whatever is piped in.
//! 3. Replies are read all the time, or the server would stop taking commands.
//! 4. The end: in RESP, the reply to an ECHO of something that nobody else says, as `redis-cli --pipe` does it; in
//!    the text dialect, as many replies as lines. After QUIT it is the end of the connection, however that comes.
//! 5. Whatever ends it, replies that have come by then are counted, and what was lost is an error even when nobody
//!    reads the count.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use super::connection::{Connection, Reply};
use super::output::{is_unread, print, say};
use super::session::Session;
use super::skim::Skimmer;
use super::socket::{Deadline, wait_for};
use super::{Config, Dialect, Error};
use crate::clock;
use crate::wire::resp::{Value, encode_command};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;
/// How long one wait lasts at most.
const TICK: Duration = Duration::from_millis(500);
/// Errors that are shown; all are counted.
const SHOWN_ERRORS: u64 = 5;

/// Sends everything; whether no reply was an error.
///
/// # Errors
/// When the connection ends too early, or not all is answered. What was answered is printed before.
pub fn run(config: &Config) -> Result<bool, Error> {
    let mut session = Session::open(config, Rc::default())?;
    let mut pipe = Pipe::new(config).map_err(Error::Input)?;
    let ended = pipe.run(session.connected_for_good()?);
    let printed = print(format!("{} replies, {} errors\n", pipe.replies, pipe.errors).as_bytes());
    ended?;
    match printed {
        Err(error) if !is_unread(&error) => Err(error),
        _ => Ok(pipe.errors == 0),
    }
}

struct Pipe {
    stdin: File,
    dialect: Dialect,
    /// How long a server may do nothing that has something to do.
    patience: Duration,
    /// What has been read and, from `sent` on, not yet been taken by the server.
    chunk: Vec<u8>,
    sent: usize,
    input_ended: bool,
    /// Counts what is read.
    input: Skimmer,
    token: Vec<u8>,
    /// Bytes that have come.
    received: u64,
    replies: u64,
    errors: u64,
    /// The reply that ends it has come.
    is_done: bool,
    /// A QUIT that was refused.
    is_kept: bool,
}

impl Pipe {
    fn new(config: &Config) -> io::Result<Pipe> {
        // Not through the buffer of `Stdin`: whether there is something to read is asked of the descriptor.
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let token = format!("{:016x}-{:016x}-{}", clock::wall_micros(), clock::ticks(), std::process::id());
        let dialect = config.address.dialect;
        Ok(Pipe {
            stdin,
            dialect,
            patience: config.patience,
            chunk: Vec::with_capacity(CHUNK),
            sent: 0,
            input_ended: false,
            input: Skimmer::new(dialect),
            token: token.into_bytes(),
            received: 0,
            replies: 0,
            errors: 0,
            is_done: false,
            is_kept: false,
        })
    }

    fn run(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let mut deadline = Deadline::within(self.patience);
        while !self.is_done {
            let wants_input = self.sent == self.chunk.len() && !self.input_ended;
            let before = self.progress();
            let (input_ready, readable) = self.wait(connection, wants_input)?;
            if readable {
                self.receive(connection)?;
            }
            if input_ready && !self.is_done {
                self.read().map_err(Error::Input)?;
            }
            self.write(connection)?;
            // Nobody is waited for while standard input has nothing to say.
            if wants_input || before != self.progress() {
                deadline = Deadline::within(self.patience);
            } else if deadline.is_over() {
                return Err(Error::Unanswered { replies: self.replies, within: self.patience });
            }
        }
        Ok(())
    }

    /// What changes whenever the server, or standard input, does something.
    fn progress(&self) -> (usize, u64, bool) {
        (self.sent, self.received, self.input_ended)
    }

    /// Waits for whatever can go on: input, and reading from or writing to the server.
    fn wait(&self, connection: &mut Connection, wants_input: bool) -> Result<(bool, bool), Error> {
        let socket = connection.socket();
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, self.sent < self.chunk.len());
        let mut fds = vec![PollFd::new(socket.as_fd(), events)];
        if wants_input {
            fds.push(PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN));
        }
        wait_for(&mut fds, TICK)
            .map_err(|source| Error::Broken { address: socket.name().to_string(), source })?;
        let has =
            |fd: &PollFd<'_>, events: PollFlags| fd.revents().is_some_and(|found| found.intersects(events));
        let over = PollFlags::POLLHUP | PollFlags::POLLERR;
        let input_ready =
            fds.get(1).is_some_and(|fd| has(fd, PollFlags::POLLIN | over | PollFlags::POLLNVAL));
        Ok((input_ready, has(&fds[0], PollFlags::POLLIN | over)))
    }

    fn read(&mut self) -> io::Result<()> {
        self.sent = 0;
        self.chunk.resize(CHUNK, 0);
        let read = match self.stdin.read(&mut self.chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
            Ok(0) => {
                self.chunk.clear();
                self.end_input();
                return Ok(());
            }
            Ok(read) => read,
        };
        self.chunk.truncate(read);
        self.input.pass(&self.chunk);
        Ok(())
    }

    fn end_input(&mut self) {
        self.input_ended = true;
        let is_in_line = self.input.is_in_line();
        // A last line without an end gets one; a server skips an empty line.
        self.input.pass(b"\n");
        match self.dialect {
            Dialect::Resp => {
                self.chunk.extend_from_slice(b"\r\n");
                encode_command(&mut self.chunk, [&b"ECHO"[..], &self.token]);
            }
            Dialect::Text => {
                if is_in_line {
                    self.chunk.push(b'\n');
                }
                self.is_done = self.replies >= self.input.commands();
            }
        }
    }

    fn write(&mut self, connection: &mut Connection) -> Result<(), Error> {
        while self.sent < self.chunk.len() && !self.is_done {
            match connection.socket().try_write(&self.chunk[self.sent..]) {
                Ok(Some(written)) => self.sent += written,
                Ok(None) => break,
                Err(error) => {
                    // What the server has said before it went is still there.
                    while matches!(self.take(connection), Ok(Some(1..))) {}
                    return self.end(error);
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, connection: &mut Connection) -> Result<(), Error> {
        match self.take(connection) {
            Ok(Some(0)) => self.end(Error::Closed(connection.socket().name().to_string())),
            Ok(_) => Ok(()),
            Err(error @ Error::Broken { .. }) => self.end(error),
            Err(error) => Err(error),
        }
    }

    /// Reads once and counts the replies that are whole; `None` when nothing is there, 0 at the end.
    fn take(&mut self, connection: &mut Connection) -> Result<Option<usize>, Error> {
        let received = connection.receive()?;
        self.received += received.unwrap_or(0) as u64;
        while let Some(reply) = connection.buffered()? {
            self.count(&reply);
        }
        Ok(received)
    }

    /// The connection is over, which is what QUIT is for.
    fn end(&mut self, error: Error) -> Result<(), Error> {
        self.is_done |= self.has_left();
        if self.is_done { Ok(()) } else { Err(error) }
    }

    /// Whether the server has answered everything up to a QUIT.
    fn has_left(&self) -> bool {
        self.input.quit_at().is_some_and(|quit_at| self.replies >= quit_at && !self.is_kept)
    }

    fn count(&mut self, reply: &Reply) {
        match reply {
            Reply::Value(Value::Push(_)) => return,
            Reply::Value(Value::Bulk(text)) if *text == self.token => {
                self.is_done = true;
                return;
            }
            _ => {}
        }
        self.replies += 1;
        if reply.has_error() {
            self.is_kept |= self.input.quit_at() == Some(self.replies);
            self.errors += 1;
            if self.errors <= SHOWN_ERRORS {
                say(String::from_utf8_lossy(&super::paint::plain(reply)).trim_end());
            }
        }
        // One line in, one line out: after that to QUIT there is none.
        if self.dialect == Dialect::Text {
            self.is_done |= self.has_left() || self.input_ended && self.replies >= self.input.commands();
        }
    }
}
