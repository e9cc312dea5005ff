//! Hot path
//!
//! The Redis protocol: commands in (what a server reads) and replies (what a client reads).
//!
//! * [`CommandParser`] finds one command after the other in a byte slice, without copying arguments
//!   and without allocating what a peer announces. It can be resumed: a large argument that arrives
//!   in pieces is never scanned twice.
//! * [`encode_command`] writes a command, [`reply_len`] finds the end of a reply, [`Decoder`] reads replies as
//!   [`Value`]s.

mod args;
mod batch;
mod command;
mod reply;
mod value;

pub use args::{Args, OwnedArgs, Span};
pub use batch::{Batch, BatchEnd};
pub use command::{CommandParser, Limits, Parsed, split_words};
pub use reply::{Reply, ReplyLimits, encode_command, reply_len};
pub use value::{Decoder, Value};

/// Why bytes are not the Redis protocol.
///
/// The texts are those that a Redis server sends, to the letter, so that a server can answer
/// `-ERR ` and the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number after `*` is not one, or more than [`Limits::max_args`].
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// The line after `*` does not end within 64 KiB.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkLine,
    /// The number after `$` is not one, or more than [`Limits::max_bulk`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// The line after `$` does not end within 64 KiB.
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// An argument that does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// More than ten arguments before the client has given the password.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// An argument above 16 KiB before the client has given the password.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// A line without `*` that does not end within 64 KiB.
    #[error("Protocol error: too big inline request")]
    InlineLine,
    /// A quote in an inline command that is never closed, or is followed by something.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// One command that is larger than [`Limits::max_command`] bytes.
    #[error("Protocol error: command of more than {0} bytes")]
    CommandTooLarge(usize),
    /// A reply that begins with a byte that is no type.
    #[error("reply begins with byte {0:#04x}, which is no RESP type")]
    ReplyType(u8),
    /// A length or count in a reply that is no number, or is negative.
    #[error("reply holds an invalid length or count")]
    ReplyNumber,
    /// A number or truth value in a reply that is none.
    #[error("reply holds an invalid number or truth value")]
    ReplyValue,
    /// A line or string in a reply that does not end where it must.
    #[error("reply holds a line or string that does not end with CR LF")]
    ReplyEnd,
    /// A reply with more levels than [`ReplyLimits::max_depth`].
    #[error("reply is nested more than {0} levels deep")]
    ReplyDepth(usize),
    /// A reply longer than [`ReplyLimits::max_bytes`].
    #[error("reply is longer than {0} bytes")]
    ReplyTooLarge(usize),
    /// A reply with more elements than [`ReplyLimits::max_elements`].
    #[error("reply holds more than {0} elements")]
    ReplyElements(u64),
}

/// A decimal integer as Redis reads it: an optional `-`, no `+`, no space, no leading zero, and
/// within `i64`. `None` for everything else.
#[inline]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    // Nineteen digits fit in a u64, so nothing can overflow before the check at the end.
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_integer_is_read_back(value: i64) {
            prop_assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
        }
    }
}
