//! Hot path
//!
//! The commands that a server reads: arrays of bulk strings, and inline lines.

use super::args::{Args, Span};
use super::batch::{Batch, BatchEnd};
use super::{Error, parse_integer};

/// The longest line: an inline command, or the digits of a length.
const MAX_LINE: usize = 64 * 1024;
/// Arguments that a client may send before it has given the password.
const MAX_ARGS_BEFORE_AUTH: i64 = 10;
/// Bytes of one argument that a client may send before it has given the password.
const MAX_BULK_BEFORE_AUTH: i64 = 16 * 1024;
/// Scratch space that outlives a command: enough for all usual ones.
pub(super) const KEPT_ARGS: usize = 4096;

/// How much a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one command.
    pub max_args: usize,
    /// Bytes of one argument.
    pub max_bulk: usize,
    /// Bytes of one command, all its arguments and lengths together. Below 4 GiB.
    pub max_command: usize,
    /// The client must still give a password: ten arguments, 16 KiB each.
    pub before_auth: bool,
}

impl Default for Limits {
    /// 512 MiB for an argument, 1 GiB for a command, which bounds the arguments too.
    fn default() -> Limits {
        Limits { max_args: i32::MAX as usize, max_bulk: 512 << 20, max_command: 1 << 30, before_auth: false }
    }
}

/// What the bytes began with.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A whole command, and how many bytes it took.
    Command {
        /// Its name and arguments.
        args: Args<'a>,
        /// Bytes from the start of the input.
        used: usize,
    },
    /// Bytes that mean nothing and are skipped: an empty line, `*0`, `*-1`.
    Nothing {
        /// Bytes from the start of the input.
        used: usize,
    },
    /// Not all of it is here yet. Call again with the same bytes and more.
    Incomplete,
}

/// Finds commands in bytes. One may serve many connections: after [`Parsed::Incomplete`] it holds
/// where it stopped, so it either stays with its connection or is [reset](CommandParser::reset).
#[derive(Debug, Default)]
pub struct CommandParser {
    spans: Vec<Span>,
    /// The unquoted arguments of an inline command, one after the other.
    inline: Vec<u8>,
    /// Where to go on, from the start of the command.
    at: usize,
    /// Arguments that are still to come, once the count has been read.
    left: Option<usize>,
    /// The length of the argument at `at`, once it has been read.
    bulk: Option<usize>,
}

impl CommandParser {
    /// Forgets a command that was not complete, and gives back scratch space beyond the usual.
    pub fn reset(&mut self) {
        self.at = 0;
        self.left = None;
        self.bulk = None;
        self.spans.clear();
        self.spans.shrink_to(KEPT_ARGS);
        self.inline.clear();
        self.inline.shrink_to(KEPT_ARGS);
    }

    /// Parses commands of `input` from `from` on into `batch`, which is empty: at most `max`.
    pub fn fill(
        &mut self,
        batch: &mut Batch,
        input: &[u8],
        from: usize,
        max: usize,
        limits: &Limits,
    ) -> BatchEnd {
        let mut at = from;
        while at < input.len() && batch.len() < max {
            let is_inline = input[at] != b'*';
            match self.parse(&input[at..], limits) {
                Ok(Parsed::Command { args, used }) => {
                    batch.push(args, at, at + used, is_inline);
                    at += used;
                }
                Ok(Parsed::Nothing { used }) => at += used,
                Ok(Parsed::Incomplete) => return BatchEnd::Incomplete(at),
                Err(error) => return BatchEnd::Error(error),
            }
        }
        BatchEnd::At(at)
    }

    /// Parses the command at the start of `input`.
    ///
    /// # Errors
    /// What is wrong, in the words of a Redis server. The connection cannot go on after that.
    #[inline]
    pub fn parse<'a>(&'a mut self, input: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, Error> {
        match input.first() {
            None => Ok(Parsed::Incomplete),
            Some(b'*') => self.parse_array(input, limits),
            Some(_) => self.parse_inline(input),
        }
    }

    #[inline]
    fn parse_array<'a>(&'a mut self, input: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, Error> {
        let mut left = match self.left {
            Some(left) => left,
            None => {
                let Some((count, next)) = number_line(input, 0, Error::MultibulkLine)? else {
                    return Ok(Parsed::Incomplete);
                };
                let count = count.filter(|&count| count <= limits.max_args as i64);
                let count = count.ok_or(Error::MultibulkLength)?;
                if limits.before_auth && count > MAX_ARGS_BEFORE_AUTH {
                    return Err(Error::UnauthenticatedMultibulk);
                }
                if count <= 0 {
                    return Ok(Parsed::Nothing { used: next });
                }
                self.spans.clear();
                self.at = next;
                count as usize
            }
        };
        while left > 0 {
            let len = match self.bulk.take() {
                Some(len) => len,
                None => {
                    let Some(len) = self.bulk_line(input, limits)? else {
                        self.left = Some(left);
                        return Ok(Parsed::Incomplete);
                    };
                    len
                }
            };
            if input.len() - self.at < len + 2 {
                self.bulk = Some(len);
                self.left = Some(left);
                return Ok(Parsed::Incomplete);
            }
            // The limit on one command keeps both below 4 GiB.
            self.spans.push(Span { start: self.at as u32, len: len as u32 });
            self.at += len + 2;
            left -= 1;
        }
        let used = std::mem::take(&mut self.at);
        self.left = None;
        Ok(Parsed::Command { args: Args { bytes: input, spans: &self.spans }, used })
    }

    /// Reads `$<length>\r\n` at `self.at` and steps over it.
    #[inline]
    fn bulk_line(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Error> {
        match input.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            // A line that is not complete may still turn out too long; Redis waits for its end.
            Some(&other) => {
                return match find_line(input, self.at, Error::BulkLine)? {
                    Some(_) => Err(Error::ExpectedBulk(other)),
                    None => Ok(None),
                };
            }
        }
        let Some((len, next)) = number_line(input, self.at, Error::BulkLine)? else {
            return Ok(None);
        };
        let len = len.filter(|&len| len >= 0 && len <= limits.max_bulk as i64).ok_or(Error::BulkLength)?;
        if limits.before_auth && len > MAX_BULK_BEFORE_AUTH {
            return Err(Error::UnauthenticatedBulk);
        }
        let len = len as usize;
        if next + len + 2 > limits.max_command.min(u32::MAX as usize) {
            return Err(Error::CommandTooLarge(limits.max_command));
        }
        self.at = next;
        Ok(Some(len))
    }

    fn parse_inline<'a>(&'a mut self, input: &'a [u8]) -> Result<Parsed<'a>, Error> {
        let Some(end) = memchr::memchr(b'\n', &input[self.at..]) else {
            self.at = input.len();
            return if self.at > MAX_LINE { Err(Error::InlineLine) } else { Ok(Parsed::Incomplete) };
        };
        let end = self.at + end;
        self.at = 0;
        if end > MAX_LINE {
            return Err(Error::InlineLine);
        }
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.spans.clear();
        self.inline.clear();
        split_inline(line, &mut self.inline, &mut self.spans)?;
        if self.spans.is_empty() {
            return Ok(Parsed::Nothing { used: end + 1 });
        }
        Ok(Parsed::Command { args: Args { bytes: &self.inline, spans: &self.spans }, used: end + 1 })
    }
}

/// The line at `start` with its type byte: where its `\r` is, when `\n` is here too.
fn find_line(input: &[u8], start: usize, too_long: Error) -> Result<Option<usize>, Error> {
    let window = &input[start..input.len().min(start + MAX_LINE + 1)];
    match memchr::memchr(b'\r', window) {
        Some(end) if start + end + 1 < input.len() => Ok(Some(start + end)),
        None if window.len() > MAX_LINE => Err(too_long),
        _ => Ok(None),
    }
}

/// The number in the line at `start` (which begins with a type byte) and where the next line
/// begins; `None` inside when it is no number.
#[inline]
fn number_line(input: &[u8], start: usize, too_long: Error) -> Result<Option<(Option<i64>, usize)>, Error> {
    // One to four digits, as nearly all lengths are.
    let mut value = 0i64;
    for (index, &byte) in input[start + 1..].iter().take(5).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let canonical = index > 0 && (input[start + 1] != b'0' || index == 1);
            if byte == b'\r' && canonical && input.len() > start + index + 2 {
                return Ok(Some((Some(value), start + index + 3)));
            }
            break;
        }
        value = value * 10 + i64::from(digit);
    }
    let Some(end) = find_line(input, start, too_long)? else { return Ok(None) };
    Ok(Some((parse_integer(&input[start + 1..end]), end + 2)))
}

/// Splits a line as Redis does.
///
/// 1. Arguments are separated by blanks (space, tab, CR, LF, VT, FF); a NUL ends the line.
/// 2. In double quotes `\xHH`, `\n`, `\r`, `\t`, `\b`, `\a` and `\<any>` are escapes.
/// 3. In single quotes only `\'` is one.
/// 4. A closing quote must be followed by a blank or the end.
fn split_inline(line: &[u8], bytes: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), Error> {
    let line = &line[..memchr::memchr(0, line).unwrap_or(line.len())];
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        while let [0x0b, tail @ ..] = rest {
            rest = tail.trim_ascii_start();
        }
        if rest.is_empty() {
            return Ok(());
        }
        let start = bytes.len();
        rest = inline_argument(rest, bytes)?;
        spans.push(Span { start: start as u32, len: (bytes.len() - start) as u32 });
    }
}

/// The words of a line as `redis-cli` and inline commands have them, without their quotes.
///
/// # Errors
/// [`Error::UnbalancedQuotes`].
pub fn split_words(line: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    split_inline(line, &mut bytes, &mut spans)?;
    let args = Args { bytes: &bytes, spans: &spans };
    Ok(args.iter().map(<[u8]>::to_vec).collect())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// Appends one argument, unquoted, to `out`, and gives back what follows it.
fn inline_argument<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Error> {
    loop {
        match rest {
            [] => return Ok(rest),
            [byte, ..] if is_blank(*byte) => return Ok(rest),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let tail = quoted(tail, *quote, out)?;
                return match tail {
                    [] => Ok(tail),
                    [byte, ..] if is_blank(*byte) => Ok(tail),
                    _ => Err(Error::UnbalancedQuotes),
                };
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Appends what stands before the closing `quote`, and gives back what follows it.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Result<&'a [u8], Error> {
    loop {
        rest = match rest {
            [] => return Err(Error::UnbalancedQuotes),
            [byte, tail @ ..] if *byte == quote => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                out.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        let mut parser = CommandParser::default();
        let (mut rest, mut found) = (input, Vec::new());
        loop {
            match parser.parse(rest, &Limits::default())? {
                Parsed::Command { args, used } => {
                    found.push(args.iter().map(<[u8]>::to_vec).collect());
                    rest = &rest[used..];
                }
                Parsed::Nothing { used } => rest = &rest[used..],
                Parsed::Incomplete => return Ok(found),
            }
        }
    }

    /// Hands over one more byte at a time, as the slowest sender would.
    fn byte_by_byte(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        let mut parser = CommandParser::default();
        let (mut start, mut found) = (0, Vec::new());
        for end in 1..=input.len() {
            loop {
                match parser.parse(&input[start..end], &Limits::default())? {
                    Parsed::Command { args, used } => {
                        found.push(args.iter().map(<[u8]>::to_vec).collect());
                        start += used;
                    }
                    Parsed::Nothing { used } => start += used,
                    Parsed::Incomplete => break,
                }
            }
        }
        Ok(found)
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn inline_commands_follow_the_quoting_rules() {
        for (line, expected) in [
            ("PING\r\n", words(&["PING"])),
            ("SET a b\n", words(&["SET", "a", "b"])),
            ("  SET\ta   b \r\n", words(&["SET", "a", "b"])),
            ("SET a \"b c\"\n", words(&["SET", "a", "b c"])),
            ("SET a \"\\x41\\n\\\"\"\n", words(&["SET", "a", "A\n\""])),
            ("SET a 'it\\'s \\n'\n", words(&["SET", "a", "it's \\n"])),
            ("SET a \"\"\n", words(&["SET", "a", ""])),
        ] {
            assert_eq!(all(line.as_bytes()), Ok(vec![expected]), "{line:?}");
        }
        for line in ["\"abc\n", "'abc\n", "\"a\"b\n", "'a'b\n"] {
            assert_eq!(all(line.as_bytes()), Err(Error::UnbalancedQuotes), "{line:?}");
        }
    }

    #[test]
    fn empty_lines_and_empty_arrays_are_skipped() {
        assert_eq!(all(b"\r\n\n*0\r\n*-1\r\n*-7\r\n   \r\nPING\r\n"), Ok(vec![words(&["PING"])]));
    }

    #[test]
    fn wrong_lengths_are_refused_in_the_words_of_redis() {
        for (input, error) in [
            (&b"*x\r\n"[..], Error::MultibulkLength),
            (b"*01\r\n", Error::MultibulkLength),
            (b"*2147483648\r\n", Error::MultibulkLength),
            (b"*1\r\n$-1\r\n", Error::BulkLength),
            (b"*1\r\n$536870913\r\n", Error::BulkLength),
            (b"*1\r\n+x\r\n", Error::ExpectedBulk(b'+')),
        ] {
            assert_eq!(all(input), Err(error.clone()));
            assert_eq!(byte_by_byte(input), Err(error));
        }
        for (first, error) in
            [(&b""[..], Error::InlineLine), (b"*", Error::MultibulkLine), (b"*1\r\n$", Error::BulkLine)]
        {
            let mut input = first.to_vec();
            input.resize(first.len() + MAX_LINE + 1, b'1');
            assert_eq!(all(&input), Err(error));
        }
    }

    #[test]
    fn before_the_password_little_is_accepted() {
        let limits = Limits { before_auth: true, ..Limits::default() };
        let parse = |input: &[u8]| CommandParser::default().parse(input, &limits).map(|_| ());
        assert_eq!(parse(b"*10\r\n"), Ok(()));
        assert_eq!(parse(b"*11\r\n"), Err(Error::UnauthenticatedMultibulk));
        assert_eq!(parse(b"*1\r\n$16384\r\n"), Ok(()));
        assert_eq!(parse(b"*1\r\n$16385\r\n"), Err(Error::UnauthenticatedBulk));
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut parser = CommandParser::default();
        let input = b"*1048576\r\n$536870912\r\nx";
        assert!(matches!(parser.parse(input, &Limits::default()), Ok(Parsed::Incomplete)));
        assert_eq!(parser.spans.capacity(), 0);
    }

    proptest! {
        #[test]
        fn commands_are_found_wherever_the_packets_are_split(
            commands in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 1..6),
        ) {
            let mut input = Vec::new();
            for command in &commands {
                super::super::encode_command(&mut input, command);
            }
            prop_assert_eq!(all(&input), Ok(commands.clone()));
            prop_assert_eq!(byte_by_byte(&input), Ok(commands));
        }

        #[test]
        fn any_bytes_give_commands_or_an_error_and_never_a_panic(
            input in prop::collection::vec(any::<u8>(), 0..300),
            first in prop::sample::select(vec![&b""[..], b"*2\r\n$", b"*", b"*3\r\n$1\r\n"]),
        ) {
            let input = [first, &input].concat();
            prop_assert_eq!(all(&input).ok(), byte_by_byte(&input).ok());
        }
    }
}
