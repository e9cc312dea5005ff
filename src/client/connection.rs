//! Commands out, replies in, and the greeting before them.

use std::rc::Rc;

use super::socket::{Deadline, Interrupts, Socket};
use super::{Address, Config, Dialect, Error, MAX_REPLY, Protocol, paint};
use crate::wire::resp::{Decoder, ReplyLimits, Value, encode_command};
use crate::wire::text;

/// Bytes that one read asks for.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a line: a value, and the words before it.
const MAX_LINE: usize = MAX_REPLY + 64 * 1024;

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// In RESP.
    Value(Value),
    /// A line, without its end.
    Line(Vec<u8>),
}

impl Reply {
    /// Whether it is an error, or holds one.
    pub fn has_error(&self) -> bool {
        match self {
            Reply::Value(value) => value.has_error(),
            Reply::Line(line) => text::is_error(line),
        }
    }

    /// The text of an error, for people.
    fn error(&self) -> Option<String> {
        match self {
            Reply::Value(Value::Error(text)) => Some(paint::visible(text)),
            Reply::Line(line) if text::is_error(line) => Some(paint::visible(line)),
            _ => None,
        }
    }
}

/// Who one is at a server.
pub struct Login {
    /// The user, when not the default one.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Vec<u8>,
}

/// What is said to a server before anything else.
pub struct Greeting {
    /// Who one is, when that has to be said.
    pub login: Option<Login>,
    /// The database.
    pub db: u32,
    /// Which RESP is asked for.
    pub protocol: Protocol,
}

/// A connection to a server, greeted.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    dialect: Dialect,
    decoder: Decoder,
    /// What has come and is not yet a whole reply, from `start` on.
    input: Vec<u8>,
    start: usize,
    /// Bytes behind `start` in which no line ends.
    scanned: usize,
    /// It speaks RESP3.
    pub is_resp3: bool,
    /// Why the database is not yet the one that was asked for: the server wants a password first.
    pub waits_for_db: Option<String>,
    /// What went wrong with the greeting and need not be the end of it.
    pub warning: Option<String>,
}

impl Connection {
    /// Connects, logs in, and agrees on the protocol; then chooses the database.
    ///
    /// # Errors
    /// When the server cannot be reached, does not answer in time, or does not speak the protocol, and
    /// [`Error::Database`].
    pub fn open(
        config: &Config,
        greeting: &Greeting,
        interrupts: Rc<Interrupts>,
    ) -> Result<Connection, Error> {
        let address: &Address = &config.address;
        let mut connection = Connection {
            socket: Socket::connect(&address.place, config.timeout, interrupts)?,
            dialect: address.dialect,
            decoder: Decoder::new(ReplyLimits { max_bytes: MAX_REPLY, ..ReplyLimits::default() }),
            input: Vec::new(),
            start: 0,
            scanned: 0,
            is_resp3: false,
            waits_for_db: None,
            warning: None,
        };
        let deadline = Deadline::within(config.timeout);
        match address.dialect {
            Dialect::Resp => connection.greet(greeting, &deadline)?,
            Dialect::Text => {
                if let Some(login) = &greeting.login {
                    connection.send_line(&[b"AUTH ", &login.password[..]].concat())?;
                    connection.warning = connection.next(Some(&deadline))?.error();
                }
            }
        }
        Ok(connection)
    }

    fn greet(&mut self, greeting: &Greeting, deadline: &Deadline) -> Result<(), Error> {
        let Greeting { login, db, protocol } = greeting;
        let mut logged_in = false;
        if *protocol != Protocol::Resp2 {
            let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
            if let Some(login) = login {
                hello.extend([b"AUTH", login.user.as_deref().unwrap_or(b"default"), &login.password]);
            }
            match self.ask(&hello, Some(deadline))?.error() {
                None => (self.is_resp3, logged_in) = (true, true),
                // It wants a password first; when one is given, RESP3 is tried again.
                Some(answer) if answer.starts_with("NOAUTH") && login.is_none() => {}
                Some(answer) if answer.starts_with("WRONGPASS") => {
                    self.warning = Some(answer);
                    logged_in = true;
                }
                Some(answer) if *protocol == Protocol::Resp3 => return Err(self.no_resp3(answer)),
                Some(_) => {}
            }
        }
        if let Some(login) = login.as_ref().filter(|_| !logged_in) {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            auth.extend(login.user.as_deref());
            auth.push(&login.password);
            self.warning = self.ask(&auth, Some(deadline))?.error();
        }
        if *db == 0 { Ok(()) } else { self.choose(*db, deadline) }
    }

    /// Goes on with a greeting for which the server has wanted a password that it has now.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn greet_again(&mut self, greeting: &Greeting, deadline: &Deadline) -> Result<(), Error> {
        if greeting.protocol != Protocol::Resp2 && !self.is_resp3 {
            match self.ask(&[b"HELLO", b"3"], Some(deadline))?.error() {
                None => self.is_resp3 = true,
                Some(answer) if greeting.protocol == Protocol::Resp3 => return Err(self.no_resp3(answer)),
                Some(_) => {}
            }
        }
        if self.waits_for_db.is_some() { self.choose(greeting.db, deadline) } else { Ok(()) }
    }

    fn no_resp3(&self, answer: String) -> Error {
        Error::NoResp3 { address: self.socket.name().to_string(), answer }
    }

    /// Chooses the database. Before the password nothing can be done in any, and it is chosen after it.
    ///
    /// # Errors
    /// [`Error::Database`], since all that follows would go to another one.
    pub fn choose(&mut self, db: u32, deadline: &Deadline) -> Result<(), Error> {
        let answer = self.ask(&[b"SELECT", db.to_string().as_bytes()], Some(deadline))?.error();
        self.waits_for_db = answer;
        match &self.waits_for_db {
            Some(answer) if !answer.starts_with("NOAUTH") => {
                Err(Error::Database { db, address: self.socket.name().to_string(), answer: answer.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Sends a command in RESP and waits for its reply; messages that come unasked are left out.
    ///
    /// # Errors
    /// As [`Connection::next`].
    pub fn ask(&mut self, words: &[&[u8]], deadline: Option<&Deadline>) -> Result<Reply, Error> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words);
        self.send_bytes(&bytes, deadline)?;
        loop {
            match self.next(deadline)? {
                Reply::Value(Value::Push(_)) => {}
                reply => return Ok(reply),
            }
        }
    }

    /// Sends a command in RESP.
    ///
    /// # Errors
    /// As [`Connection::send_bytes`].
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words);
        self.send_bytes(&bytes, None)
    }

    /// Sends a command as a line.
    ///
    /// # Errors
    /// [`Error::Command`] when it is none; else as [`Connection::send_bytes`].
    pub fn send_line(&mut self, line: &[u8]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        text::write_request(&mut bytes, line)
            .map_err(|_| Error::Command("it has a line break, and a command is one line"))?;
        self.send_bytes(&bytes, None)
    }

    fn send_bytes(&mut self, mut bytes: &[u8], deadline: Option<&Deadline>) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(Some(written)) => bytes = &bytes[written..],
                Ok(None) => self.socket.wait_writable(deadline)?,
                // A server that takes no more may have said why; that is read before the end of the connection.
                Err(_) if self.has_been_told() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something of the server waits to be read, now that the connection is over.
    fn has_been_told(&mut self) -> bool {
        self.is_gone();
        self.input.len() > self.start
    }

    /// The next reply, or message that came unasked. Without a deadline it waits as long as the connection lasts:
    /// some commands take their time.
    ///
    /// # Errors
    /// When the connection ends, what comes is no reply, the deadline has passed, or by Ctrl-C.
    pub fn next(&mut self, deadline: Option<&Deadline>) -> Result<Reply, Error> {
        loop {
            // Messages may come so fast that nothing is ever waited for.
            if self.socket.was_interrupted() {
                return Err(Error::Interrupted);
            }
            if let Some(reply) = self.buffered()? {
                return Ok(reply);
            }
            match self.receive()? {
                None => self.socket.wait_readable(deadline)?,
                Some(0) => return Err(Error::Closed(self.socket.name().to_string())),
                Some(_) => {}
            }
        }
    }

    /// A reply that is here already.
    ///
    /// # Errors
    /// When what is here is none.
    pub fn buffered(&mut self) -> Result<Option<Reply>, Error> {
        let waiting = &self.input[self.start..];
        let (used, reply) = match self.dialect {
            Dialect::Resp => {
                let decoded = self.decoder.decode(waiting);
                let address = || self.socket.name().to_string();
                let (used, value) =
                    decoded.map_err(|source| Error::Protocol { address: address(), source })?;
                (used, value.map(Reply::Value))
            }
            Dialect::Text => match text::next_line(waiting, self.scanned, MAX_LINE) {
                text::Line::Whole { line, used } => (used, Some(Reply::Line(line.to_vec()))),
                text::Line::Incomplete => {
                    self.scanned = waiting.len();
                    (0, None)
                }
                text::Line::TooLong => {
                    return Err(Error::Line { address: self.socket.name().to_string(), limit: MAX_LINE });
                }
            },
        };
        self.start += used;
        if used > 0 {
            self.scanned = 0;
        }
        // What is done with is given up when it is more than what waits, so that every byte is moved only once.
        if self.start > self.input.len() / 2 {
            self.input.drain(..self.start);
            self.start = 0;
            self.input.shrink_to(4 * READ_BYTES);
        }
        Ok(reply)
    }

    /// Reads once into the buffer; `None` when nothing is there, 0 at the end.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn receive(&mut self) -> Result<Option<usize>, Error> {
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let received = self.socket.try_read(&mut self.input[filled..]);
        let kept = received.as_ref().ok().copied().flatten().unwrap_or(0);
        self.input.truncate(filled + kept);
        received
    }

    /// Whether the server has closed the connection since the last reply. What it has sent meanwhile is kept.
    pub fn is_gone(&mut self) -> bool {
        loop {
            match self.receive() {
                Ok(None) => return false,
                Ok(Some(0)) | Err(_) => return true,
                // More than a moment's messages are read when they are wanted.
                Ok(Some(_)) if self.input.len() > 16 * READ_BYTES => return false,
                Ok(Some(_)) => {}
            }
        }
    }

    /// The socket, to send without waiting for replies.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}
