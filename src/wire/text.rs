//! The plain line protocol of the store: `SET user1 Alice` → `OK: Set user1 = Alice`.
//!
//! A request is one line, and so is its reply. Here a line is found in bytes ([`next_line`]), understood
//! ([`parse`]), and a reply is written ([`Reply`]); nothing is read or sent.
//!
//! 1. A line ends with a line feed; a carriage return before it belongs to the end. Any other carriage return is
//!    refused, since nobody could tell it from an end of line in a reply.
//! 2. The name of a command may be in any case. Blanks before it, and between it and what follows, do not count.
//! 3. A key has no blank. One blank ends it, and everything behind that blank is the value, blanks included.
//! 4. A line of blanks is no request, and gets no reply.

use std::io::{self, Write};

/// What every wrong request is told to use instead.
pub const COMMANDS: [&str; 6] = ["SET", "GET", "DELETE", "LIST", "PING", "QUIT"];
/// How every reply to a request that was not carried out begins.
pub const ERROR: &[u8] = b"ERROR: ";
/// How every other reply begins.
pub const OK: &[u8] = b"OK: ";
/// Bytes of an unknown name that are shown.
const SHOWN_NAME: usize = 128;

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// `SET key value`
    Set {
        /// Without a blank.
        key: &'a [u8],
        /// May have blanks, and may be empty.
        value: &'a [u8],
    },
    /// `GET key`
    Get {
        /// Without a blank.
        key: &'a [u8],
    },
    /// `DELETE key`
    Delete {
        /// Without a blank.
        key: &'a [u8],
    },
    /// `LIST`
    List,
    /// `PING`
    Ping,
    /// `QUIT`
    Quit,
    /// `AUTH password`
    Auth {
        /// All of the line behind the name.
        password: &'a [u8],
    },
}

impl Request<'_> {
    /// Whether it changes data.
    pub fn writes(&self) -> bool {
        matches!(self, Request::Set { .. } | Request::Delete { .. })
    }
}

/// Why a line is no request. The texts are what a reply says behind `ERROR: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name that means nothing; its first bytes.
    #[error("unknown command '{0}'; use SET, GET, DELETE, LIST, PING or QUIT")]
    Unknown(String),
    /// Too few words, or too many.
    #[error("usage: {0}")]
    Usage(&'static str),
    /// A carriage return inside the line.
    #[error("a line cannot hold a carriage return except at its end")]
    CarriageReturn,
}

/// The first line of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// It is all here.
    Whole {
        /// Without its end.
        line: &'a [u8],
        /// Bytes that it takes, its end included.
        used: usize,
    },
    /// Its end has not come yet.
    Incomplete,
    /// It is longer than it may be, whether its end has come or not.
    TooLong,
}

/// The line at the start of `input`, of whose first `scanned` bytes it is known that no line ends there. `limit`:
/// bytes that a line may have without its end.
#[inline]
pub fn next_line(input: &[u8], scanned: usize, limit: usize) -> Line<'_> {
    let scanned = scanned.min(input.len());
    let Some(end) = memchr::memchr(b'\n', &input[scanned..]).map(|end| scanned + end) else {
        // The last byte may be half of an end of line.
        return if input.len() > limit.saturating_add(1) { Line::TooLong } else { Line::Incomplete };
    };
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > limit { Line::TooLong } else { Line::Whole { line, used: end + 1 } }
}

/// What a line (without its end) asks for; `None` for a line of blanks.
///
/// # Errors
/// Why it asks for nothing that there is.
pub fn parse(line: &[u8]) -> Option<Result<Request<'_>, Refusal>> {
    let line = trim_start(line);
    if line.is_empty() {
        return None;
    }
    if memchr::memchr(b'\r', line).is_some() {
        return Some(Err(Refusal::CarriageReturn));
    }
    let (name, rest) = word(line);
    let rest = trim_start(rest);
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    Some(match () {
        () if is("SET") => set(rest),
        () if is("GET") => key(rest, "GET key").map(|key| Request::Get { key }),
        () if is("DELETE") => key(rest, "DELETE key").map(|key| Request::Delete { key }),
        () if is("LIST") => nothing(rest, "LIST").map(|()| Request::List),
        () if is("PING") => nothing(rest, "PING").map(|()| Request::Ping),
        () if is("QUIT") => nothing(rest, "QUIT").map(|()| Request::Quit),
        () if is("AUTH") && rest.is_empty() => Err(Refusal::Usage("AUTH password")),
        () if is("AUTH") => Ok(Request::Auth { password: rest }),
        () => {
            Err(Refusal::Unknown(String::from_utf8_lossy(&name[..name.len().min(SHOWN_NAME)]).into_owned()))
        }
    })
}

fn set(rest: &[u8]) -> Result<Request<'_>, Refusal> {
    let (key, rest) = word(rest);
    match rest.split_first() {
        // The blank that ends the key; there is none where nothing follows.
        Some((_, value)) => Ok(Request::Set { key, value }),
        None => Err(Refusal::Usage("SET key value")),
    }
}

fn key<'a>(rest: &'a [u8], usage: &'static str) -> Result<&'a [u8], Refusal> {
    let (key, more) = word(rest);
    if key.is_empty() || !trim_start(more).is_empty() { Err(Refusal::Usage(usage)) } else { Ok(key) }
}

fn nothing(rest: &[u8], usage: &'static str) -> Result<(), Refusal> {
    if rest.is_empty() { Ok(()) } else { Err(Refusal::Usage(usage)) }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| is_blank(**byte)).count()..]
}

/// The bytes up to the first blank, and from there on.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len()))
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `OK: Set user1 = Alice`
    Set {
        /// As it was asked for.
        key: &'a [u8],
        /// As it was asked for.
        value: &'a [u8],
    },
    /// `OK: Alice`
    Value {
        /// What was asked for.
        key: &'a [u8],
        /// What is there. One with a line break cannot be sent, and is an error instead.
        value: &'a [u8],
    },
    /// `OK: Deleted user1`
    Deleted(&'a [u8]),
    /// `OK: Keys: user1, user2`, in the order given. A line break in a key is shown as `\n` or `\r`.
    Keys(&'a [&'a [u8]]),
    /// `OK: PONG`
    Pong,
    /// `OK: Bye`
    Bye,
    /// `OK: Authenticated`
    Authenticated,
    /// `ERROR: key not found: user9`
    NotFound(&'a [u8]),
    /// `ERROR: ` and a text, whose line breaks become blanks.
    Error(&'a [u8]),
}

impl Reply<'_> {
    /// Appends the line, with its end, to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let parts: &[&[u8]] = match self {
            Reply::Set { key, value } => &[OK, b"Set ", key, b" = ", value],
            Reply::Value { key, value } if has_line_break(value) => {
                &[ERROR, b"the value of ", key, b" holds a line break, which no line can carry"]
            }
            Reply::Value { value, .. } => &[OK, value],
            Reply::Deleted(key) => &[OK, b"Deleted ", key],
            Reply::Keys(keys) => return write_keys(out, keys),
            Reply::Pong => &[OK, b"PONG"],
            Reply::Bye => &[OK, b"Bye"],
            Reply::Authenticated => &[OK, b"Authenticated"],
            Reply::NotFound(key) => &[ERROR, b"key not found: ", key],
            Reply::Error(text) => return write_error(out, text),
        };
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    }
}

fn has_line_break(text: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', text).is_some()
}

fn write_keys(out: &mut Vec<u8>, keys: &[&[u8]]) {
    out.extend_from_slice(b"OK: Keys:");
    for (index, key) in keys.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" " } else { b", " });
        if !has_line_break(key) {
            out.extend_from_slice(key);
            continue;
        }
        for &byte in *key {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                other => out.push(other),
            }
        }
    }
    out.push(b'\n');
}

fn write_error(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(ERROR);
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.push(b'\n');
}

/// Whether a reply (one line) says that its request was not carried out.
pub fn is_error(reply: &[u8]) -> bool {
    reply.starts_with(ERROR.trim_ascii_end())
}

/// Writes a request as its line; what a client sends.
///
/// # Errors
/// When `out` fails, or the line holds a line break and would be two.
pub fn write_request(out: &mut impl Write, line: &[u8]) -> io::Result<()> {
    if has_line_break(line) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command is one line"));
    }
    out.write_all(line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(line: &[u8]) -> Request<'_> {
        parse(line).expect("not blank").expect("a request")
    }

    fn refused(line: &[u8]) -> String {
        parse(line).expect("not blank").expect_err("no request").to_string()
    }

    fn written(reply: &Reply<'_>) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn names_may_be_in_any_case_and_values_keep_their_blanks() {
        let alice = Request::Set { key: b"user1", value: b"Alice" };
        for line in [&b"SET user1 Alice"[..], b"set user1 Alice", b"  Set \t user1 Alice"] {
            assert_eq!(request(line), alice);
        }
        assert_eq!(request(b"SET k  two  words "), Request::Set { key: b"k", value: b" two  words " });
        assert_eq!(request(b"SET k "), Request::Set { key: b"k", value: b"" });
        assert_eq!(request(b"SET k \xff\x00"), Request::Set { key: b"k", value: b"\xff\x00" });
        assert_eq!(request(b"get  user1  "), Request::Get { key: b"user1" });
        assert_eq!(request(b"DELETE user1"), Request::Delete { key: b"user1" });
        assert_eq!(
            (request(b"list"), request(b"Ping "), request(b"QUIT")),
            (Request::List, Request::Ping, Request::Quit)
        );
        assert_eq!(request(b"AUTH a pass phrase"), Request::Auth { password: b"a pass phrase" });
        assert!(parse(b"").is_none() && parse(b" \t ").is_none());
    }

    #[test]
    fn what_is_no_request_is_told_what_would_be_one() {
        assert_eq!(refused(b"FOO bar"), "unknown command 'FOO'; use SET, GET, DELETE, LIST, PING or QUIT");
        for line in [&b"SET"[..], b"SET ", b"SET key"] {
            assert_eq!(refused(line), "usage: SET key value");
        }
        assert_eq!(refused(b"GET"), "usage: GET key");
        assert_eq!(refused(b"GET a b"), "usage: GET key");
        assert_eq!(refused(b"DELETE"), "usage: DELETE key");
        assert_eq!(refused(b"LIST all"), "usage: LIST");
        assert_eq!(refused(b"AUTH "), "usage: AUTH password");
        assert!(refused(b"SET k a\rb").starts_with("a line cannot hold a carriage return"));
        assert_eq!(refused(&[b'x'; 10_000]).len(), refused(&[b'x'; 128]).len());
    }

    #[test]
    fn lines_end_with_a_line_feed_and_have_a_limit() {
        assert_eq!(next_line(b"PING\r\nGET a\n", 0, 10), Line::Whole { line: b"PING", used: 6 });
        assert_eq!(next_line(b"GET a\n", 3, 5), Line::Whole { line: b"GET a", used: 6 });
        assert_eq!(next_line(b"GET a\r\n", 0, 5), Line::Whole { line: b"GET a", used: 7 });
        assert_eq!(next_line(b"GET a", 0, 5), Line::Incomplete);
        assert_eq!(next_line(b"GET a\r", 0, 5), Line::Incomplete);
        assert_eq!(next_line(b"GET ab\n", 0, 5), Line::TooLong);
        assert_eq!(next_line(b"GET abc", 0, 5), Line::TooLong);
        assert_eq!(next_line(b"", 7, 5), Line::Incomplete);
    }

    #[test]
    fn replies_are_those_of_the_document() {
        let (key, value) = (&b"user1"[..], &b"Alice"[..]);
        assert_eq!(written(&Reply::Set { key, value }), "OK: Set user1 = Alice\n");
        assert_eq!(written(&Reply::Value { key, value }), "OK: Alice\n");
        assert_eq!(written(&Reply::Keys(&[b"user1", b"user2"])), "OK: Keys: user1, user2\n");
        assert_eq!(written(&Reply::Keys(&[])), "OK: Keys:\n");
        assert_eq!(written(&Reply::Deleted(key)), "OK: Deleted user1\n");
        assert_eq!(written(&Reply::Pong) + &written(&Reply::Bye), "OK: PONG\nOK: Bye\n");
        assert_eq!(written(&Reply::NotFound(b"user9")), "ERROR: key not found: user9\n");
    }

    #[test]
    fn a_line_break_never_gets_into_a_reply() {
        let value = &b"two\nlines"[..];
        let said = written(&Reply::Value { key: b"k", value });
        assert_eq!(said, "ERROR: the value of k holds a line break, which no line can carry\n");
        assert_eq!(written(&Reply::Keys(&[b"a\nb", b"c\rd"])), "OK: Keys: a\\nb, c\\rd\n");
        assert_eq!(written(&Reply::Error(b"a\r\nb")), "ERROR: a  b\n");
        assert!(is_error(b"ERROR: no") && !is_error(b"OK: ERROR: no"));
        assert!(write_request(&mut Vec::new(), b"GET a\nGET b").is_err());
    }

    proptest! {
        /// What is written as a line is understood as it was meant, wherever the bytes were cut.
        #[test]
        fn a_set_is_read_back_at_every_cut(key in "[^ \t\r\n]{1,20}", value in "[^\r\n]{0,60}", crlf: bool) {
            let end = if crlf { "\r\n" } else { "\n" };
            let bytes = format!("SET {key} {value}{end}").into_bytes();
            for cut in 0..bytes.len() {
                prop_assert_eq!(next_line(&bytes[..cut], 0, 1000), Line::Incomplete);
                let whole = next_line(&bytes, cut.min(bytes.len() - end.len()), 1000);
                prop_assert!(matches!(whole, Line::Whole { used, .. } if used == bytes.len()), "{:?}", whole);
            }
            let Line::Whole { line, .. } = next_line(&bytes, 0, 1000) else { panic!("whole") };
            prop_assert_eq!(request(line), Request::Set { key: key.as_bytes(), value: value.as_bytes() });
        }

        /// No bytes make it panic, and one line in is one line out.
        #[test]
        fn any_bytes_give_one_line(line in prop::collection::vec(any::<u8>(), 0..80), name in 0usize..8) {
            let name = ["", "SET ", "GET ", "DELETE ", "LIST ", "PING ", "QUIT ", "AUTH "][name];
            let line: Vec<u8> = name.bytes().chain(line).filter(|byte| *byte != b'\n').collect();
            let mut out = Vec::new();
            match parse(&line) {
                None => Reply::Pong.write(&mut out),
                Some(Err(refusal)) => Reply::Error(refusal.to_string().as_bytes()).write(&mut out),
                Some(Ok(Request::Set { key, value })) => Reply::Set { key, value }.write(&mut out),
                Some(Ok(Request::Get { key } | Request::Delete { key })) => Reply::NotFound(key).write(&mut out),
                Some(Ok(_)) => Reply::Keys(&[&line]).write(&mut out),
            }
            prop_assert!(!out[..out.len() - 1].iter().any(|byte| matches!(byte, b'\r' | b'\n')));
            prop_assert_eq!(out.last(), Some(&b'\n'));
        }
    }
}
