//! The line protocol of `wire::text` at a connection: lines become the store's own commands, and what these
//! reply becomes a line again.
//!
//! There is no second way to the data. Each request runs through [`Engine::run`] with the client's own session, so
//! statistics, MONITOR, limits, expiry, faults and pauses are what they are for clients that speak RESP.

use super::command::Flow;
use super::engine::Engine;
use super::reply::Mark;
use super::session::Session;
use crate::wire::resp::{Limits, OwnedArgs};
use crate::wire::text::{self, Line, Refusal, Reply, Request};

/// The longest line before the password is given.
const LINE_BEFORE_AUTH: usize = 16 * 1024;
/// Space that is kept from one line to the next.
const KEPT_BYTES: usize = 64 * 1024;

/// What a client beyond the limit is told.
pub const TOO_MANY_CLIENTS: &[u8] = b"ERROR: max number of clients reached\n";

/// Turns lines into commands and replies into lines; one serves all connections.
#[derive(Debug, Default)]
pub struct Translator {
    command: OwnedArgs,
    /// The reply that is being written.
    line: Vec<u8>,
}

/// Bytes that a line of this client may have: as many as a value, and few before it has given the password.
pub fn line_limit(engine: &Engine, session: &Session) -> usize {
    let limit = engine.config.max_bulk.min(Limits::default().max_command);
    if session.authenticated { limit } else { limit.min(LINE_BEFORE_AUTH) }
}

impl Translator {
    /// Runs the line at the start of `input`, of whose first `scanned` bytes it is known that no line ends there.
    /// How many bytes are done with, and what became of the line; `None` when it is not whole.
    pub fn run_next(
        &mut self,
        input: &[u8],
        scanned: usize,
        engine: &mut Engine,
        session: &mut Session,
    ) -> Option<(usize, Flow)> {
        match text::next_line(input, scanned, line_limit(engine, session)) {
            Line::Incomplete => None,
            Line::Whole { line, used } => Some((used, self.run(line, engine, session))),
            Line::TooLong => {
                let limit = line_limit(engine, session);
                self.fail(engine, session, &format!("ERR a line of more than {limit} bytes"));
                session.closing = true;
                Some((input.len(), Flow::Done))
            }
        }
    }

    /// Runs a line that was cut off by the end of the connection: what only reads is answered, since whoever
    /// forgot the end of line waits for that; what writes might have been meant to go on, and is refused.
    pub fn run_last(&mut self, line: &[u8], engine: &mut Engine, session: &mut Session) -> Flow {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match text::parse(line) {
            Some(Ok(request)) if request.writes() => {
                self.fail(
                    engine,
                    session,
                    "ERR nothing is written by a line that does not end with a line break",
                );
                Flow::Done
            }
            _ => self.run(line, engine, session),
        }
    }

    /// Runs one whole line.
    fn run(&mut self, line: &[u8], engine: &mut Engine, session: &mut Session) -> Flow {
        match text::parse(line) {
            None => Flow::Done,
            Some(Ok(request)) => self.run_request(request, engine, session),
            // What a browser sends when a page tricks it into talking to this port: the store has commands of
            // these names, which drop it.
            Some(Err(Refusal::Unknown(name))) if is_http(&name) => {
                self.build(&[name.as_bytes()]);
                engine.run(session, self.command.args())
            }
            Some(Err(refusal)) => {
                self.fail(engine, session, &format!("ERR {refusal}"));
                Flow::Done
            }
        }
    }

    fn run_request(&mut self, request: Request<'_>, engine: &mut Engine, session: &mut Session) -> Flow {
        match request {
            Request::Set { key, value } => self.build(&[b"SET", key, value]),
            Request::Get { key } => self.build(&[b"GET", key]),
            Request::Delete { key } => self.build(&[b"DEL", key]),
            Request::List => self.build(&[b"KEYS", b"*"]),
            Request::Ping => self.build(&[b"PING"]),
            Request::Quit => self.build(&[b"QUIT"]),
            Request::Auth { password } => self.build(&[b"AUTH", password]),
        }
        let mark = session.out.mark();
        if engine.run(session, self.command.args()) == Flow::Held {
            return Flow::Held;
        }
        self.translate(&request, session, mark);
        Flow::Done
    }

    fn build(&mut self, words: &[&[u8]]) {
        self.command.clear(KEPT_BYTES);
        words.iter().for_each(|word| self.command.push(word));
    }

    /// Counts an error, and answers it.
    fn fail(&mut self, engine: &mut Engine, session: &mut Session, text: &str) {
        let mark = session.out.mark();
        engine.fail(session, text);
        self.translate(&Request::Ping, session, mark);
    }

    /// Puts the line of the dialect in place of what the command has replied since `mark`.
    fn translate(&mut self, request: &Request<'_>, session: &mut Session, mark: Mark) {
        if session.killed || session.out.overflowed() {
            return;
        }
        self.line.clear();
        let reply = session.out.since(mark);
        if reply.is_empty() {
            return;
        }
        write_line(request, reply, &mut self.line);
        session.out.cut(mark);
        session.out.text_line(&self.line);
        self.line.shrink_to(KEPT_BYTES);
    }
}

fn is_http(name: &str) -> bool {
    name.eq_ignore_ascii_case("POST") || name.eq_ignore_ascii_case("HOST:")
}

/// Writes what a RESP2 reply to `request` is in the dialect.
fn write_line(request: &Request<'_>, reply: &[u8], out: &mut Vec<u8>) {
    let keys;
    let reply = match (reply.first(), request) {
        (Some(b'-'), _) => Reply::Error(error_text(reply)),
        (_, Request::Set { key, value }) => Reply::Set { key, value },
        (Some(b'$'), Request::Get { key }) => match bulk(reply) {
            Some((value, _)) => Reply::Value { key, value },
            None => Reply::NotFound(key),
        },
        (_, Request::Delete { key }) if reply == b":0\r\n" => Reply::NotFound(key),
        (_, Request::Delete { key }) => Reply::Deleted(key),
        (Some(b'*'), Request::List) => {
            keys = sorted_keys(reply);
            Reply::Keys(&keys)
        }
        (_, Request::Ping) => Reply::Pong,
        (_, Request::Quit) => Reply::Bye,
        (_, Request::Auth { .. }) => Reply::Authenticated,
        // The commands above reply nothing else.
        (_, Request::Get { .. } | Request::List) => Reply::Error(b"the store's reply has no line"),
    };
    reply.write(out);
}

/// The text of an error reply; `ERR` says nothing that `ERROR:` does not.
fn error_text(reply: &[u8]) -> &[u8] {
    let text = reply.strip_prefix(b"-").unwrap_or(reply);
    let text = text.strip_suffix(b"\r\n").unwrap_or(text);
    if text.starts_with(b"NOAUTH") {
        return b"authentication required: AUTH password";
    }
    text.strip_prefix(b"ERR ").unwrap_or(text)
}

/// The string at the start of a reply, and what follows it; `None` for no value.
fn bulk(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\r', reply)?;
    let len = usize::try_from(crate::wire::resp::parse_integer(reply.get(1..end)?)?).ok()?;
    let start = end + 2;
    Some((reply.get(start..start + len)?, reply.get(start + len + 2..)?))
}

/// The strings of an array by their bytes, so that the same keys make the same line.
fn sorted_keys(reply: &[u8]) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    let mut rest = memchr::memchr(b'\n', reply).map_or(&[][..], |end| &reply[end + 1..]);
    while let Some((key, after)) = bulk(rest) {
        keys.push(key);
        rest = after;
    }
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(request: &Request<'_>, reply: &[u8]) -> String {
        let mut out = Vec::new();
        write_line(request, reply, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn replies_of_the_store_become_lines() {
        let get = Request::Get { key: b"k" };
        assert_eq!(line(&get, b"$5\r\nAlice\r\n"), "OK: Alice\n");
        assert_eq!(line(&get, b"$0\r\n\r\n"), "OK: \n");
        assert_eq!(line(&get, b"$-1\r\n"), "ERROR: key not found: k\n");
        assert_eq!(line(&get, b"-WRONGTYPE not that\r\n"), "ERROR: WRONGTYPE not that\n");
        assert_eq!(line(&get, b"-ERR out of luck\r\n"), "ERROR: out of luck\n");
        assert_eq!(
            line(&get, b"-NOAUTH Authentication required.\r\n"),
            "ERROR: authentication required: AUTH password\n"
        );
        let delete = Request::Delete { key: b"k" };
        assert_eq!(line(&delete, b":1\r\n"), "OK: Deleted k\n");
        assert_eq!(line(&delete, b":0\r\n"), "ERROR: key not found: k\n");
        assert_eq!(line(&Request::List, b"*2\r\n$2\r\nb2\r\n$1\r\na\r\n"), "OK: Keys: a, b2\n");
        assert_eq!(line(&Request::List, b"*0\r\n"), "OK: Keys:\n");
    }
}
