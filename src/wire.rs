//! Hot path
//!
//! Wire: requests and responses as bytes. Encodes and decodes, does no I/O, and is shared by the
//! engine (which sends requests), the responder (which answers them) and the store (`resp`).
//!
//! Decoders work on a slice of the read buffer and copy nothing. A peer's length is compared with
//! a limit before it is believed, and nothing is ever allocated by it.

pub mod length;
pub mod line;
pub mod resp;
pub mod text;

/// Why bytes from a peer, or a payload of ours, are not a frame. Fits after "failed to read a frame:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A frame above the limit.
    #[error("a frame of {announced} bytes is above the limit of {limit}")]
    TooLong {
        /// What the header says, or how much has come without an end.
        announced: u64,
        /// The limit.
        limit: u64,
    },
    /// A length that cannot hold what must be in the frame.
    #[error("a frame of {announced} bytes cannot hold the {needed} that it must begin with")]
    TooShort {
        /// What the header says.
        announced: u64,
        /// The least that is needed.
        needed: u64,
    },
    /// A request id that is not a number.
    #[error("a line must begin with a request id in decimal digits")]
    NoId,
    /// A line break inside the payload of a line.
    #[error("a payload with a line break cannot be sent in one line; use framing `length`")]
    LineBreak,
    /// Not the protocol of a Redis server.
    #[error("not a RESP reply: {0}")]
    Resp(String),
    /// A payload that is no Redis command.
    #[error("the payload is not a Redis command: {0}")]
    Command(String),
}

/// How frames are cut out of the stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A length, then that many bytes.
    Length(length::Header),
    /// One line a frame, up to the limit in bytes.
    Line {
        /// The longest line.
        limit: u64,
    },
    /// One write is a request, one read its response.
    Raw,
    /// Redis commands and replies.
    Resp {
        /// The longest reply.
        limit: u64,
    },
}

/// How a response finds its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correlate {
    /// The response carries the id of the request.
    Id,
    /// Responses come in the order of the requests.
    Order,
}

/// A frame at the front of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Bytes of the buffer that it takes, header included.
    pub consumed: usize,
    /// The request id, where the frame carries one.
    pub id: Option<u64>,
    /// What follows.
    pub body: &'a [u8],
    /// The peer says that it refuses the request (a RESP error reply).
    pub refused: bool,
}

/// Framing and correlation together: how one target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    /// How frames are cut.
    pub framing: Framing,
    /// How responses are matched.
    pub correlate: Correlate,
}

impl Codec {
    /// Lines carry an id where responses are matched by it.
    fn id_in_line(&self, id: u64) -> Option<u64> {
        (self.correlate == Correlate::Id).then_some(id)
    }

    /// Appends one request to `out`.
    ///
    /// # Errors
    /// When the payload does not fit the framing. `out` is then as it was before.
    #[inline]
    pub fn encode_request(&self, out: &mut Vec<u8>, id: u64, payload: &[u8]) -> Result<(), Error> {
        match self.framing {
            Framing::Length(header) => header.encode(out, id, payload),
            Framing::Line { limit } => line::encode(out, self.id_in_line(id), payload, limit),
            Framing::Resp { limit } => encode_resp_request(out, payload, limit),
            Framing::Raw => {
                out.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    /// Appends the request that sends a record as it is: its value, or `SET key value` to a Redis
    /// server.
    ///
    /// # Errors
    /// As [`Codec::encode_request`].
    #[inline]
    pub fn encode_record(&self, out: &mut Vec<u8>, id: u64, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match self.framing {
            Framing::Resp { .. } => {
                resp::encode_command(out, [b"SET".as_slice(), key, value]);
                Ok(())
            }
            _ => self.encode_request(out, id, value),
        }
    }

    /// Appends one response to `out`; the responder's side.
    ///
    /// # Errors
    /// As [`Codec::encode_request`].
    #[inline]
    pub fn encode_response(&self, out: &mut Vec<u8>, id: Option<u64>, body: &[u8]) -> Result<(), Error> {
        match self.framing {
            Framing::Length(header) => header.encode(out, id.unwrap_or(0), body),
            Framing::Line { limit } => line::encode(out, id, body, limit),
            Framing::Resp { .. } => {
                encode_resp_response(out, body);
                Ok(())
            }
            Framing::Raw => {
                out.extend_from_slice(body);
                Ok(())
            }
        }
    }

    /// The request at the front of `buffer`; the responder's side.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    #[inline]
    pub fn decode_request<'a>(&self, buffer: &'a [u8]) -> Result<Option<Frame<'a>>, Error> {
        match self.framing {
            Framing::Resp { limit } => decode_resp_request(buffer, limit),
            _ => self.decode(buffer),
        }
    }

    /// The response at the front of `buffer`, or `None` while it is incomplete.
    ///
    /// # Errors
    /// When the bytes can never become a frame. The connection is then of no more use.
    #[inline]
    pub fn decode<'a>(&self, buffer: &'a [u8]) -> Result<Option<Frame<'a>>, Error> {
        match self.framing {
            Framing::Length(header) => header.decode(buffer),
            Framing::Line { limit } => line::decode(buffer, self.correlate == Correlate::Id, limit),
            Framing::Raw if buffer.is_empty() => Ok(None),
            Framing::Raw => {
                Ok(Some(Frame { consumed: buffer.len(), id: None, body: buffer, refused: false }))
            }
            Framing::Resp { limit } => decode_resp_reply(buffer, limit),
        }
    }
}

/// Appends a Redis command: one that is written as RESP already, or a line of words as in `redis-cli`.
fn encode_resp_request(out: &mut Vec<u8>, payload: &[u8], limit: u64) -> Result<(), Error> {
    let wrong = |message: String| Error::Command(message);
    if payload.first() == Some(&b'*') {
        return match resp::reply_len(payload, &reply_limits(limit)) {
            Ok(Some(command)) if command.len == payload.len() => {
                out.extend_from_slice(payload);
                Ok(())
            }
            Ok(_) => Err(wrong("it is not exactly one command".to_string())),
            Err(error) => Err(wrong(error.to_string())),
        };
    }
    let mut line = payload.to_vec();
    line.push(b'\n');
    let mut parser = resp::CommandParser::default();
    match parser.parse(&line, &resp::Limits::default()) {
        Ok(resp::Parsed::Command { args, used }) if used == line.len() => {
            resp::encode_command(out, args.iter());
            Ok(())
        }
        Ok(_) => Err(wrong("it is not exactly one line of words".to_string())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn reply_limits(limit: u64) -> resp::ReplyLimits {
    resp::ReplyLimits { max_bytes: limit as usize, ..resp::ReplyLimits::default() }
}

/// The reply at the front of `buffer`; pushes that come unasked are skipped.
fn decode_resp_reply(buffer: &[u8], limit: u64) -> Result<Option<Frame<'_>>, Error> {
    let mut start = 0;
    loop {
        let found = resp::reply_len(&buffer[start..], &reply_limits(limit));
        let Some(reply) = found.map_err(|error| Error::Resp(error.to_string()))? else { return Ok(None) };
        let end = start + reply.len;
        if !reply.is_push() {
            let (body, refused) = (resp_text(&buffer[start..end]), reply.is_error());
            return Ok(Some(Frame { consumed: end, id: None, body, refused }));
        }
        start = end;
    }
}

/// What a person would read in a reply: the text of a string, a number or an error, all bytes of
/// anything larger.
fn resp_text(reply: &[u8]) -> &[u8] {
    let without_end = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    match without_end.split_first() {
        Some((b'+' | b'-' | b':' | b',' | b'#' | b'(', text)) => text,
        Some((b'$' | b'!' | b'=', rest)) => {
            memchr::memchr(b'\n', rest).map_or(&[][..], |line| &rest[line + 1..])
        }
        Some((b'_', _)) => &[],
        _ => reply,
    }
}

/// The command at the front of `buffer`; the responder's side.
fn decode_resp_request(buffer: &[u8], limit: u64) -> Result<Option<Frame<'_>>, Error> {
    if buffer.first() != Some(&b'*') {
        return line::decode(buffer, false, limit);
    }
    let found = resp::reply_len(buffer, &reply_limits(limit));
    let command = found.map_err(|error| Error::Resp(error.to_string()))?;
    Ok(command.map(|command| Frame {
        consumed: command.len,
        id: None,
        body: &buffer[..command.len],
        refused: false,
    }))
}

fn encode_resp_response(out: &mut Vec<u8>, body: &[u8]) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESP: Codec = Codec { framing: Framing::Resp { limit: 1000 }, correlate: Correlate::Order };

    #[test]
    fn a_payload_may_be_words_or_resp() {
        let mut out = Vec::new();
        RESP.encode_request(&mut out, 1, b"SET key \"two words\"").expect("words");
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$9\r\ntwo words\r\n");
        let as_it_is = out.clone();
        out.clear();
        RESP.encode_request(&mut out, 1, &as_it_is).expect("a command");
        assert_eq!(out, as_it_is);
        for wrong in [&b"*1\r\n$4\r\nPI"[..], b"GET \"open", b"", b"GET a\nGET b"] {
            assert!(RESP.encode_request(&mut out, 1, wrong).is_err(), "{wrong:?}");
        }
        out.clear();
        RESP.encode_record(&mut out, 1, b"k", b"{\"a\": 1}").expect("a record");
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8\r\n{\"a\": 1}\r\n");
    }

    #[test]
    fn replies_are_read_as_a_person_would() {
        for (bytes, text, refused) in [
            (&b"+OK\r\n"[..], &b"OK"[..], false),
            (b"$5\r\nhello\r\n", b"hello", false),
            (b"$-1\r\n", b"", false),
            (b"_\r\n", b"", false),
            (b":42\r\n", b"42", false),
            (b"-ERR no\r\n", b"ERR no", true),
            (b"*1\r\n:1\r\n", b"*1\r\n:1\r\n", false),
        ] {
            let frame = RESP.decode(bytes).expect("a reply").expect("whole");
            assert_eq!((frame.body, frame.refused, frame.consumed), (text, refused, bytes.len()));
            assert_eq!(RESP.decode(&bytes[..bytes.len() - 1]), Ok(None));
        }
        let pushed = b">1\r\n+news\r\n+OK\r\n";
        let frame = RESP.decode(pushed).expect("a reply").expect("whole");
        assert_eq!((frame.body, frame.consumed), (&b"OK"[..], pushed.len()));
        assert!(RESP.decode(b"nonsense").is_err());
    }
}
