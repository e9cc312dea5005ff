//! Hot path
//!
//! Replies, written into a connection's output in the protocol it speaks.

use super::number;

/// A place between two replies.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

/// The replies of one connection that are not yet sent.
#[derive(Debug)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Bytes at the front that are sent already.
    sent: usize,
    resp3: bool,
    /// Bytes that may wait.
    limit: usize,
    overflow: bool,
}

impl Replies {
    /// Empty, in RESP2. At most about `limit` bytes may wait; see [`Replies::overflowed`].
    pub fn new(limit: usize) -> Replies {
        Replies { bytes: Vec::new(), sent: 0, resp3: false, limit, overflow: false }
    }

    /// What waits.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reply did not fit and is cut off: the connection must be closed.
    #[inline]
    pub fn overflowed(&self) -> bool {
        self.overflow
    }

    /// Forgets the first `sent` bytes of what waits.
    pub fn sent(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
        } else if self.sent > MOVED_AFTER && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Takes a spare buffer when it has none.
    #[inline]
    pub fn take_spare(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.pop().unwrap_or_default();
        }
    }

    /// Hands its buffer on when all is sent, so that a client that waits holds none.
    #[inline]
    pub fn give_spare(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            let bytes = std::mem::take(&mut self.bytes);
            if spare.len() < SPARE_BUFFERS && bytes.capacity() <= SPARE_BYTES {
                spare.push(bytes);
            }
        }
    }

    /// Whether the connection speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Speaks RESP3, or RESP2, from the next reply on.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, reply: &[u8]) {
        self.bytes.extend_from_slice(reply);
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string, without CR and LF.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error with its code; CR and LF become spaces.
    pub fn error(&mut self, text: &str) {
        self.bytes.push(b'-');
        let text = text.trim_end_matches(['\r', '\n']);
        let clean = text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        self.bytes.extend(clean);
        self.raw(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.raw(text);
        self.raw(b"\r\n");
    }

    #[inline]
    fn number(&mut self, kind: u8, value: i64) {
        if (0..10).contains(&value) {
            self.raw(&[kind, b'0' + value as u8, b'\r', b'\n']);
            return;
        }
        self.line(kind, itoa::Buffer::new().format(value).as_bytes());
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// A count.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.number(b':', i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, text: &[u8]) {
        if self.len() + text.len() > self.limit {
            self.overflow = true;
            return;
        }
        self.bytes.reserve(text.len() + 24);
        self.number(b'$', text.len() as i64);
        self.raw(text);
        self.raw(b"\r\n");
    }

    /// A text as bulk string.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// A text for people: verbatim in RESP3, bulk in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text.as_bytes());
        }
        self.number(b'=', text.len() as i64 + 4);
        self.raw(b"txt:");
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No array.
    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A value, or none.
    #[inline]
    pub fn optional(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.null(),
        }
    }

    /// The start of an array of `len` replies.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    /// The start of `pairs` names with their replies: a map in RESP3, an array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.number(b'%', pairs as i64) } else { self.array(pairs * 2) }
    }

    /// The start of a message of `len` replies that nobody has asked for; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.number(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A message that nobody has asked for, of strings only.
    pub fn message(&mut self, parts: &[&[u8]]) {
        self.push(parts.len());
        parts.iter().for_each(|part| self.bulk(part));
    }

    /// Tells a client that keeps copies that a key has changed, or all with `None`; nothing in RESP2.
    pub fn invalidate(&mut self, keys: Option<&[&[u8]]>) {
        if self.resp3 {
            self.push(2);
            self.text("invalidate");
            self.changed(keys);
        }
    }

    /// The same, to a client in RESP2 that listens for another one.
    pub fn redirected(&mut self, keys: Option<&[&[u8]]>) {
        self.array(3);
        self.text("message");
        self.text("__redis__:invalidate");
        self.changed(keys);
    }

    fn changed(&mut self, keys: Option<&[&[u8]]>) {
        match keys {
            Some(keys) => {
                self.array(keys.len());
                keys.iter().for_each(|key| self.bulk(key));
            }
            None => self.null(),
        }
    }

    /// Yes or no: a number in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match self.resp3 {
            true => self.raw(if value { b"#t\r\n" } else { b"#f\r\n" }),
            false => self.integer(i64::from(value)),
        }
    }

    /// A floating-point number: a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        number::format_double(value, &mut text);
        if self.resp3 { self.line(b',', &text) } else { self.bulk(&text) }
    }

    /// Where the next reply begins, for [`Replies::cut`].
    pub fn mark(&self) -> Mark {
        Mark(self.len())
    }

    /// Takes back everything since `mark`, of which nothing may have been sent.
    pub fn cut(&mut self, mark: Mark) {
        self.bytes.truncate(self.sent + mark.0);
    }

    /// What has been written since `mark`, of which nothing may have been sent.
    pub fn since(&self, mark: Mark) -> &[u8] {
        self.bytes().get(mark.0..).unwrap_or_default()
    }

    /// A whole reply of the line protocol, with its end.
    pub fn text_line(&mut self, line: &[u8]) {
        if self.len() + line.len() > self.limit {
            self.overflow = true;
            return;
        }
        self.raw(line);
    }

    /// The start of a set of `len` replies; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.number(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }
}

/// Buffers that are kept for whoever answers next.
const SPARE_BUFFERS: usize = 64;
/// The largest buffer that is kept.
const SPARE_BYTES: usize = 512 * 1024;
/// Bytes that are sent before what follows them is moved to the front.
const MOVED_AFTER: usize = 1 << 20;
