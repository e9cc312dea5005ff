//! Hot path
//!
//! One client's socket: what has come in and is not yet run, what is to go out.
//!
//! 1. Input is read behind what is left of the last read, into one buffer that all connections share,
//!    and run from there. Only an incomplete rest is kept with the connection.
//! 2. A rest that is large belongs to a large argument: from then on the connection reads into its own
//!    buffer, which grows as bytes arrive and never by what was announced.
//! 3. A client that does not read its replies is not read from until it does.
//! 4. Clients speak RESP or, all of a store, plain lines (`text`); the rest is the same for both.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::Dialect;
use super::command::Flow;
use super::engine::Engine;
use super::session::Session;
use super::text::Translator;
use crate::clock;
use crate::wire::resp::{Batch, BatchEnd, CommandParser};

/// Bytes that one read asks for.
pub const READ_BYTES: usize = 64 * 1024;
/// A rest above this stays in the connection's own buffer.
pub const SMALL_REST: usize = 32 * 1024;
/// A rest below this is parsed again from its start rather than resumed.
const RESUMED_REST: usize = 4 * 1024;
/// Commands that are parsed before the first of them runs.
const BATCH: usize = 16;
/// Output that is sent although the turn is not over.
const FLUSH_BYTES: usize = 1 << 20;
/// Output above which the client is not read from.
const PAUSE_BYTES: usize = 64 << 20;

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    buffer: Box<[u8]>,
    parser: CommandParser,
    batch: Batch,
    /// For clients that speak plain lines.
    lines: Option<Translator>,
    /// Output buffers that nobody uses.
    spare: Vec<Vec<u8>>,
}

impl Shared {
    /// For clients that speak so.
    pub fn new(dialect: Dialect) -> Shared {
        Shared {
            buffer: vec![0; SMALL_REST + READ_BYTES].into_boxed_slice(),
            parser: CommandParser::default(),
            batch: Batch::default(),
            lines: (dialect == Dialect::Text).then(Translator::default),
            spare: Vec::new(),
        }
    }

    /// What clients speak.
    pub fn dialect(&self) -> Dialect {
        if self.lines.is_some() { Dialect::Text } else { Dialect::Resp }
    }
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until its socket says so.
    Waiting,
    /// There may be more to read: come again.
    More,
    /// It is over.
    Closed,
}

/// One client's socket and input.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// An incomplete command, or what waits while the client is not read from.
    rest: Vec<u8>,
    /// Where parsing of a large rest goes on.
    parser: Option<Box<CommandParser>>,
    /// Bytes at the start of the rest in which no line ends.
    scanned: usize,
    /// Not read from until output has gone.
    paused: bool,
    /// Input may wait because the client was held when it was last run.
    held: bool,
    /// The client has closed its side. The queue says so only once, so it is remembered until the last
    /// byte before it has been read.
    pub peer_closed: bool,
    /// The latest window of turns in which it had news.
    pub active_in: u32,
}

impl Connection {
    /// A socket that has just been accepted.
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            rest: Vec::new(),
            parser: None,
            scanned: 0,
            paused: false,
            held: false,
            peer_closed: false,
            active_in: u32::MAX,
        }
    }

    /// Reads once, runs every complete command.
    pub fn read(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) -> Outcome {
        if session.killed {
            return Outcome::Closed;
        }
        if self.paused || session.closing {
            return Outcome::Waiting;
        }
        if session.is_held() {
            // Nobody is left to wait for an answer, except behind `printf ... | nc -N`.
            let waits_on = shared.lines.is_some() || session.delayed_until_us.is_some();
            let gone = self.peer_closed && !waits_on;
            return if gone { Outcome::Closed } else { Outcome::Waiting };
        }
        session.out.take_spare(&mut shared.spare);
        let outcome = self.read_once(session, engine, shared);
        session.out.give_spare(&mut shared.spare);
        outcome
    }

    fn read_once(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) -> Outcome {
        let (received, full) = if self.rest.len() < SMALL_REST {
            match self.read_shared(session, engine, shared) {
                Ok(received) => (received, received.unwrap_or(0) >= READ_BYTES),
                Err(_) => return Outcome::Closed,
            }
        } else {
            match self.read_own(session, engine, shared) {
                Ok((received, full)) => (received, full),
                Err(_) => return Outcome::Closed,
            }
        };
        match received {
            None => Outcome::Waiting,
            // The client has closed its side: what it has asked is run, and nobody waits for replies.
            Some(0) if shared.lines.is_some() => self.finish_lines(session, engine, shared),
            Some(0) => Outcome::Closed,
            Some(_) if session.killed => Outcome::Closed,
            Some(_) if self.peer_closed => Outcome::More,
            // It reads on when it is no longer held.
            Some(_) if session.is_held() => Outcome::Waiting,
            Some(_) if full => Outcome::More,
            Some(_) => Outcome::Waiting,
        }
    }

    /// Reads into the shared buffer. `None`: nothing is there.
    fn read_shared(
        &mut self,
        session: &mut Session,
        engine: &mut Engine,
        shared: &mut Shared,
    ) -> io::Result<Option<usize>> {
        let kept = self.rest.len();
        let Some(received) = receive(&mut self.stream, &mut shared.buffer[kept..kept + READ_BYTES])? else {
            return Ok(None);
        };
        engine.stats.bytes_in += received as u64;
        engine.stats.reads += 1;
        shared.buffer[..kept].copy_from_slice(&self.rest);
        let Shared { buffer, parser, batch, lines, .. } = shared;
        let input = &buffer[..kept + received];
        let used = match lines {
            None => self.run_all(input, session, engine, parser, batch),
            Some(lines) => self.run_lines(input, session, engine, lines),
        };
        self.rest.clear();
        self.rest.extend_from_slice(&input[used..]);
        self.release_rest();
        self.check_query(session, engine);
        Ok(Some(received))
    }

    /// Appends to the connection's own buffer, which grows with what has arrived.
    fn read_own(
        &mut self,
        session: &mut Session,
        engine: &mut Engine,
        shared: &mut Shared,
    ) -> io::Result<(Option<usize>, bool)> {
        let Some(received) = receive(&mut self.stream, &mut shared.buffer)? else { return Ok((None, false)) };
        self.rest.extend_from_slice(&shared.buffer[..received]);
        engine.stats.bytes_in += received as u64;
        engine.stats.reads += 1;
        self.run_rest(session, engine, shared);
        Ok((Some(received), received == shared.buffer.len()))
    }

    /// Runs what is in the connection's own buffer.
    fn run_rest(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) {
        let mut input = std::mem::take(&mut self.rest);
        let used = match &mut shared.lines {
            None => self.run_all(&input, session, engine, &mut shared.parser, &mut shared.batch),
            Some(lines) => self.run_lines(&input, session, engine, lines),
        };
        input.drain(..used);
        self.rest = input;
        self.release_rest();
        self.check_query(session, engine);
    }

    /// Gives up on a client whose input grows and grows without ever being run.
    fn check_query(&self, session: &mut Session, engine: &Engine) {
        let queued = session.transaction.as_ref().map_or(0, |transaction| transaction.bytes());
        if self.rest.len() + queued > engine.config.max_query {
            session.killed = true;
        }
    }

    /// Idle connections keep next to nothing.
    fn release_rest(&mut self) {
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = Vec::new();
        } else if self.rest.capacity() > SMALL_REST && self.rest.len() < self.rest.capacity() / 4 {
            self.rest.shrink_to_fit();
        }
    }

    /// Goes on with what has waited while the client was held.
    pub fn resume(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) -> Outcome {
        if self.paused || session.closing || session.killed || session.is_held() {
            return Outcome::Waiting;
        }
        if std::mem::take(&mut self.held) {
            self.run_rest(session, engine, shared);
            // There may be more in the socket, which has said so while nobody listened.
            return if session.killed { Outcome::Closed } else { Outcome::More };
        }
        Outcome::Waiting
    }

    /// Runs every complete command in `input`; how many bytes they took.
    ///
    /// Several commands are parsed before the first of them runs, so that the processor can fetch their
    /// keys meanwhile.
    fn run_all(
        &mut self,
        input: &[u8],
        session: &mut Session,
        engine: &mut Engine,
        shared_parser: &mut CommandParser,
        batch: &mut Batch,
    ) -> usize {
        // What reading took is no command's time.
        engine.last_ticks = clock::ticks();
        let mut own = self.parser.take();
        let parser = own.as_deref_mut().unwrap_or(shared_parser);
        let mut used = 0;
        let mut incomplete = false;
        while used < input.len() && !incomplete {
            let limits = engine.limits(session);
            // Before the password is given, each command may change what the next one may be.
            let max = if limits.before_auth { 1 } else { BATCH };
            batch.clear();
            let end = parser.fill(batch, input, used, max, &limits);
            engine.prefetch_all(session.db, batch, input);
            let (ran, stopped) = self.run_batch(input, batch, session, engine);
            used = ran.unwrap_or(used);
            if session.closing || session.killed {
                // Nothing that follows is run.
                used = input.len();
                break;
            }
            if stopped {
                break;
            }
            match end {
                BatchEnd::At(at) => used = at,
                BatchEnd::Incomplete(at) => {
                    used = at;
                    incomplete = true;
                }
                BatchEnd::Error(error) => {
                    engine.fail(session, &format!("ERR {error}"));
                    session.closing = true;
                    used = input.len();
                }
            }
        }
        self.held = session.is_held();
        if incomplete && input.len() - used > RESUMED_REST {
            self.parser = Some(own.unwrap_or_else(|| Box::new(std::mem::take(shared_parser))));
        } else {
            parser.reset();
        }
        used
    }

    /// Runs every whole line in `input`; how many bytes they took.
    fn run_lines(
        &mut self,
        input: &[u8],
        session: &mut Session,
        engine: &mut Engine,
        lines: &mut Translator,
    ) -> usize {
        engine.last_ticks = clock::ticks();
        let mut used = 0;
        let mut scanned = std::mem::take(&mut self.scanned);
        while used < input.len() {
            match lines.run_next(&input[used..], scanned, engine, session) {
                None => {
                    self.scanned = input.len() - used;
                    break;
                }
                Some((_, Flow::Held)) => break,
                Some((taken, Flow::Done)) => used += taken,
            }
            scanned = 0;
            if session.closing || session.killed {
                // Nothing that follows is run.
                used = input.len();
                break;
            }
            if session.is_held() || session.out.len() > FLUSH_BYTES && self.must_pause(session, engine) {
                break;
            }
        }
        self.held = session.is_held();
        used
    }

    /// The client has closed its side, as `printf ... | nc -N` does while it waits for the answers: what it has
    /// left without an end of line is answered too, and all answers are sent before the connection is closed.
    fn finish_lines(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) -> Outcome {
        if session.killed {
            return Outcome::Closed;
        }
        // It goes on with the lines that wait, and reads the end again behind them.
        if self.paused || session.is_held() {
            return Outcome::Waiting;
        }
        let last = std::mem::take(&mut self.rest);
        if let Some(lines) = shared.lines.as_mut().filter(|_| !last.is_empty())
            && lines.run_last(&last, engine, session) == Flow::Held
        {
            self.rest = last;
            self.held = true;
            return Outcome::Waiting;
        }
        if session.killed || session.out.is_empty() {
            return Outcome::Closed;
        }
        session.closing = true;
        Outcome::Waiting
    }

    /// Runs the commands of a batch until the client is closed, held, or must read first; where the last
    /// one that ran ends, and whether it has stopped there.
    #[inline]
    fn run_batch(
        &mut self,
        input: &[u8],
        batch: &Batch,
        session: &mut Session,
        engine: &mut Engine,
    ) -> (Option<usize>, bool) {
        let mut used = None;
        for index in 0..batch.len() {
            let Some((args, end)) = batch.get(index, input) else { break };
            if engine.run(session, args) == Flow::Held {
                return (used, true);
            }
            used = Some(end);
            let is_over = session.closing || session.killed || session.is_held();
            if is_over || session.out.len() > FLUSH_BYTES && self.must_pause(session, engine) {
                return (used, true);
            }
        }
        (used, false)
    }

    /// Sends, and tells whether too much is left.
    fn must_pause(&mut self, session: &mut Session, engine: &mut Engine) -> bool {
        engine.check_output(session);
        if session.killed || self.flush(session, engine).is_err() || session.out.overflowed() {
            session.killed = true;
        }
        engine.last_ticks = clock::ticks();
        self.paused = session.out.len() > PAUSE_BYTES;
        self.paused || session.killed
    }

    /// Sends what waits, and goes on with input that waited for that.
    pub fn write(&mut self, session: &mut Session, engine: &mut Engine, shared: &mut Shared) -> Outcome {
        if session.delayed_until_us.is_some() && !session.killed {
            return Outcome::Waiting;
        }
        if self.flush(session, engine).is_err() || session.out.overflowed() || session.killed {
            return Outcome::Closed;
        }
        if session.closing && session.out.is_empty() {
            return Outcome::Closed;
        }
        if self.paused && session.out.len() < PAUSE_BYTES / 2 {
            self.paused = false;
            self.run_rest(session, engine, shared);
            return if session.killed { Outcome::Closed } else { Outcome::More };
        }
        session.out.give_spare(&mut shared.spare);
        Outcome::Waiting
    }

    /// Sends what can be sent at once, for the last time.
    pub fn finish(&mut self, session: &mut Session, engine: &mut Engine) {
        // The connection is closed in any case.
        let _ = self.flush(session, engine);
    }

    fn flush(&mut self, session: &mut Session, engine: &mut Engine) -> io::Result<()> {
        while !session.out.is_empty() {
            match self.stream.write(session.out.bytes()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    engine.stats.bytes_out += sent as u64;
                    engine.stats.writes += 1;
                    session.out.sent(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads once; `None` when nothing is there.
fn receive(stream: &mut TcpStream, space: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(space) {
            Ok(received) => return Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
