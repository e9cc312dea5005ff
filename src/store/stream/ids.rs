//! Ids of entries, and how they are written.

use std::fmt;

use crate::store::number;

/// The id of an entry: milliseconds and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl StreamId {
    /// The lowest id.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The highest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// Bytes of the longest text of an id.
    pub const TEXT: usize = 41;

    /// The id after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id before this one.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// Both parts as one number, in the same order.
    pub fn to_bits(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }

    /// The id of which [`StreamId::to_bits`] is `bits`.
    pub fn from_bits(bits: u128) -> StreamId {
        StreamId { ms: (bits >> 64) as u64, seq: bits as u64 }
    }

    /// Writes `ms-seq` without asking for memory.
    pub fn write(self, buffer: &mut [u8; StreamId::TEXT]) -> &[u8] {
        let mut len = 0;
        for part in [
            itoa::Buffer::new().format(self.ms).as_bytes(),
            b"-",
            itoa::Buffer::new().format(self.seq).as_bytes(),
        ] {
            buffer[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        &buffer[..len]
    }

    /// Reads `ms-seq`, or `ms` with `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match split(text)? {
            (ms, Some(seq)) => Some(StreamId { ms: parse_part(ms)?, seq: parse_part(seq)? }),
            (ms, None) => Some(StreamId { ms: parse_part(ms)?, seq: missing_seq }),
        }
    }

    /// Like [`StreamId::parse`], and `-` and `+` are the lowest and the highest id.
    pub fn parse_or_end(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match text {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            _ => StreamId::parse(text, missing_seq),
        }
    }
}

/// The id that a new entry is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the time, and a number that is free.
    Auto,
    /// `ms-*`: a number that is free in this millisecond.
    AutoSeq(u64),
    /// `ms-seq`, or `ms` for `ms-0`.
    Given(StreamId),
}

impl NewId {
    /// Reads one.
    pub fn parse(text: &[u8]) -> Option<NewId> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match split(text)? {
            (ms, Some(b"*")) => parse_part(ms).map(NewId::AutoSeq),
            _ => StreamId::parse(text, 0).map(NewId::Given),
        }
    }

    /// The id, when there is one above `last`.
    pub fn resolve(self, last: StreamId, now_ms: u64) -> Option<StreamId> {
        match self {
            NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
            NewId::Auto => last.next(),
            NewId::AutoSeq(ms) if ms == last.ms => last.next().filter(|next| next.ms == ms),
            NewId::AutoSeq(ms) => Some(StreamId { ms, seq: 0 }).filter(|id| *id > last),
            NewId::Given(id) => Some(id).filter(|id| *id > last),
        }
    }
}

/// The longest text that is looked at.
const MAX_TEXT: usize = 127;

/// What stands before the first dash, and what after it. As in Redis a zero byte ends the text.
fn split(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    match memchr::memchr(b'-', text) {
        Some(dash) => Some((&text[..dash], Some(&text[dash + 1..]))),
        None => Some((text, None)),
    }
}

/// A decimal number within `u64`, read as the C library's `strtoull` does: spaces before it, a sign and
/// leading zeros are allowed, and minus counts down from 2^64. A plain negative number is refused.
fn parse_part(text: &[u8]) -> Option<u64> {
    if crate::wire::resp::parse_integer(text).is_some_and(|value| value < 0) {
        return None;
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = number::parse_u64(digits)?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let cases: [(&[u8], Option<StreamId>); 16] = [
            (b"1-2", Some(id(1, 2))),
            (b"1", Some(id(1, 9))),
            (b"007-05", Some(id(7, 5))),
            (b" 8-+7", Some(id(8, 7))),
            (b"8--05", Some(id(8, u64::MAX - 4))),
            (b"8--5", None),
            (b"18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            (b"18446744073709551616", None),
            (b"1-2\0rest", Some(id(1, 2))),
            (b"", None),
            (b"-", None),
            (b"+", None),
            (b"1-", None),
            (b"-1", None),
            (b"1-2-3", None),
            (b"1-*", None),
        ];
        for (text, expected) in cases {
            assert_eq!(StreamId::parse(text, 9), expected, "{}", text.escape_ascii());
        }
        assert_eq!(StreamId::parse(&[b'0'; 128], 0), None);
        assert_eq!(StreamId::parse(&[b'0'; 127], 0), Some(StreamId::MIN));
        assert_eq!(StreamId::parse_or_end(b"+", 0), Some(StreamId::MAX));
    }

    #[test]
    fn a_new_id_is_above_the_last_one() {
        let resolve = |text: &[u8], last| NewId::parse(text).and_then(|new| new.resolve(last, 50));
        assert_eq!(resolve(b"*", id(49, 7)), Some(id(50, 0)));
        assert_eq!(resolve(b"*", id(50, 7)), Some(id(50, 8)));
        assert_eq!(resolve(b"*", id(60, u64::MAX)), Some(id(61, 0)));
        assert_eq!(resolve(b"0-*", StreamId::MIN), Some(id(0, 1)));
        assert_eq!(resolve(b"5-*", id(5, u64::MAX)), None);
        assert_eq!(resolve(b"6-*", id(5, 3)), Some(id(6, 0)));
        assert_eq!(resolve(b"5", id(5, 0)), None);
        assert_eq!(resolve(b"5-1", id(5, 0)), Some(id(5, 1)));
        assert_eq!(NewId::parse(b"*-*"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms: u64, seq: u64) {
            let id = id(ms, seq);
            prop_assert_eq!(StreamId::parse(id.to_string().as_bytes(), 0), Some(id));
            let (mut buffer, text) = ([0; StreamId::TEXT], id.to_string());
            prop_assert_eq!(id.write(&mut buffer), text.as_bytes());
            prop_assert_eq!(StreamId::from_bits(id.to_bits()), id);
            prop_assert_eq!(id.next().and_then(StreamId::previous).unwrap_or(id), id);
        }
    }
}
