//! All of standard input to the server as fast as it takes it, replies counted.
//!
//! 1. What comes in is passed on as it is: commands in RESP, or one a line as people type them; a server takes both.
//! 2. No more is read than the server has taken, so memory stays flat whatever is piped in.
//! 3. Replies are read all the time, or the server would stop taking commands.
//! 4. The end: in RESP, the reply to an ECHO of something that nobody else says, as `redis-cli --pipe` does it; in
//!    the text dialect, as many replies as lines.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use super::connection::{Connection, Reply};
use super::script::{print, say};
use super::session::Session;
use super::socket::{Deadline, Interrupts, wait_for};
use super::{Config, Dialect, Error};
use crate::clock;
use crate::wire::resp::{Value, encode_command};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;
/// A server that has something to do and does nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one wait lasts at most.
const TICK: Duration = Duration::from_millis(500);
/// Errors that are shown; all are counted.
const SHOWN_ERRORS: u64 = 5;

/// Sends everything; whether no reply was an error.
///
/// # Errors
/// When the connection ends too early, or not all is answered. What was answered is printed before.
pub fn run(config: &Config) -> Result<bool, Error> {
    let mut session = Session::open(config, Interrupts::default())?;
    if let Some(warning) = session.take_warning() {
        say(&format!("warning: {warning}"));
    }
    let mut pipe = Pipe::new(config.address.dialect).map_err(Error::Input)?;
    let ended = pipe.run(session.connected()?);
    print(format!("{} replies, {} errors\n", pipe.replies, pipe.errors).as_bytes())?;
    ended.map(|()| pipe.errors == 0)
}

struct Pipe {
    stdin: File,
    dialect: Dialect,
    /// What has been read and, from `sent` on, not yet been taken by the server.
    chunk: Vec<u8>,
    sent: usize,
    input_ended: bool,
    /// The last line has something in it and no end yet.
    in_line: bool,
    /// Lines with something in them, in the text dialect.
    lines: u64,
    token: Vec<u8>,
    replies: u64,
    errors: u64,
    /// The reply that ends it has come.
    is_done: bool,
    /// The server has said good-bye.
    has_left: bool,
}

impl Pipe {
    fn new(dialect: Dialect) -> io::Result<Pipe> {
        // Not through the buffer of `Stdin`: whether there is something to read is asked of the descriptor.
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let token = format!("{:016x}-{:016x}-{}", clock::wall_micros(), clock::ticks(), std::process::id());
        Ok(Pipe {
            stdin,
            dialect,
            chunk: Vec::with_capacity(CHUNK),
            sent: 0,
            input_ended: false,
            in_line: false,
            lines: 0,
            token: token.into_bytes(),
            replies: 0,
            errors: 0,
            is_done: false,
            has_left: false,
        })
    }

    fn run(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let mut deadline = Deadline::within(PATIENCE);
        while !self.is_done {
            let wants_input = self.sent == self.chunk.len() && !self.input_ended;
            let before = (self.sent, self.replies, self.input_ended);
            let (input_ready, readable) = self.wait(connection, wants_input)?;
            if input_ready {
                self.read().map_err(Error::Input)?;
            }
            self.write(connection)?;
            if readable {
                self.receive(connection)?;
            }
            // Nobody is waited for while standard input has nothing to say.
            if wants_input || before != (self.sent, self.replies, self.input_ended) {
                deadline = Deadline::within(PATIENCE);
            } else if deadline.is_over() {
                return Err(Error::Unanswered { replies: self.replies, within: PATIENCE });
            }
        }
        Ok(())
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
        if self.dialect == Dialect::Text {
            self.count_lines();
        }
        Ok(())
    }

    fn end_input(&mut self) {
        self.input_ended = true;
        match self.dialect {
            Dialect::Resp => {
                // A last line without an end gets one; a server skips an empty line.
                self.chunk.extend_from_slice(b"\r\n");
                encode_command(&mut self.chunk, [&b"ECHO"[..], &self.token]);
            }
            Dialect::Text => {
                if std::mem::take(&mut self.in_line) {
                    self.chunk.push(b'\n');
                    self.lines += 1;
                }
                self.is_done = self.replies >= self.lines;
            }
        }
    }

    fn count_lines(&mut self) {
        for &byte in &self.chunk {
            match byte {
                b'\n' => self.lines += u64::from(std::mem::take(&mut self.in_line)),
                b' ' | b'\t' | b'\r' => {}
                _ => self.in_line = true,
            }
        }
    }

    fn write(&mut self, connection: &mut Connection) -> Result<(), Error> {
        while self.sent < self.chunk.len() {
            match connection.socket().try_write(&self.chunk[self.sent..])? {
                Some(written) => self.sent += written,
                None => break,
            }
        }
        Ok(())
    }

    fn receive(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let received = connection.receive()?;
        while let Some(reply) = connection.buffered()? {
            self.count(&reply);
        }
        if received == Some(0) && !self.is_done {
            // After QUIT there is nobody left to ask.
            self.is_done = self.has_left;
            return if self.is_done {
                Ok(())
            } else {
                Err(Error::Closed(connection.socket().name().to_string()))
            };
        }
        Ok(())
    }

    fn count(&mut self, reply: &Reply) {
        match reply {
            Reply::Value(Value::Push(_)) => return,
            Reply::Value(Value::Bulk(text)) if *text == self.token => {
                self.is_done = true;
                return;
            }
            Reply::Line(line) => self.has_left = line == b"OK: Bye",
            Reply::Value(_) => {}
        }
        self.replies += 1;
        if reply.has_error() {
            self.errors += 1;
            if self.errors <= SHOWN_ERRORS {
                let text = super::paint::plain(reply);
                say(String::from_utf8_lossy(&text).trim_end());
            }
        }
        if self.dialect == Dialect::Text && self.input_ended && self.replies >= self.lines {
            self.is_done = true;
        }
    }
}
