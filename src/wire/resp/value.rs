//! Replies as values, for a client that shows them or looks into them.
//!
//! A [`Decoder`] is fed what has arrived and keeps what it has read of a reply that is not whole, so that no byte is
//! looked at twice however small the pieces are. Nothing is allocated by a count or length that a server announces.

use super::reply::{Head, ReplyLimits, head};
use super::{Error, parse_integer};

/// The deepest nesting, as in [`ReplyLimits::max_depth`].
const DEEPEST: usize = 32;

/// A reply of RESP2 or RESP3. Strings are bytes as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR ...`, or `!` in RESP3.
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// `$1`
    Bulk(Vec<u8>),
    /// `=8`: a format of three letters, and the text.
    Verbatim(Vec<u8>, Vec<u8>),
    /// `_`, `$-1` or `*-1`.
    Null,
    /// `,1.5`, as the server has written it.
    Double(Vec<u8>),
    /// `#t`
    Boolean(bool),
    /// `(12345678901234567890`, as the server has written it.
    BigNumber(Vec<u8>),
    /// `*2`
    Array(Vec<Value>),
    /// `~2`
    Set(Vec<Value>),
    /// `>2`: it came unasked.
    Push(Vec<Value>),
    /// `%1`
    Map(Vec<(Value, Value)>),
    /// `|1`: what is said about the value that follows it, and that value.
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    /// Whether it is an error, or holds one, as the reply to EXEC may.
    pub fn has_error(&self) -> bool {
        match self {
            Value::Error(_) => true,
            Value::Array(items) | Value::Set(items) | Value::Push(items) => {
                items.iter().any(Value::has_error)
            }
            Value::Map(pairs) => pairs.iter().any(|(name, value)| name.has_error() || value.has_error()),
            Value::Attributed(_, value) => value.has_error(),
            _ => false,
        }
    }

    /// The bytes of a string of any kind.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(_, text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Names and values of a map, which is an array in RESP2.
    pub fn pairs(&self) -> Vec<(&Value, &Value)> {
        match self {
            Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
            Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
            _ => Vec::new(),
        }
    }
}

/// An element whose children are still to come.
#[derive(Debug)]
struct Open {
    kind: u8,
    left: u64,
    items: Vec<Value>,
}

/// Reads one reply after the other.
#[derive(Debug, Default)]
pub struct Decoder {
    limits: ReplyLimits,
    open: Vec<Open>,
    /// Bytes of the present reply that are done with.
    bytes: usize,
    elements: u64,
}

impl Decoder {
    /// A decoder that refuses replies above `limits`.
    pub fn new(limits: ReplyLimits) -> Decoder {
        Decoder { limits, open: Vec::new(), bytes: 0, elements: 0 }
    }

    /// Reads on in `input`, which begins where the last call has stopped: how many bytes are done with, and the
    /// reply that they complete. Without a reply, more is needed behind what is left of `input`.
    ///
    /// # Errors
    /// Bytes that are no reply, or more than the limits allow. The decoder is then of no more use.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Option<Value>), Error> {
        let mut at = 0;
        while let Some(head) = head(input, at, &self.limits)? {
            self.bytes = self.bytes.saturating_add(head.next - at);
            at = head.next;
            self.check(0)?;
            if let Some(value) = self.take(&head)? {
                self.bytes = 0;
                self.elements = 0;
                return Ok((at, Some(value)));
            }
        }
        self.check(input.len() - at)?;
        Ok((at, None))
    }

    fn check(&self, waiting: usize) -> Result<(), Error> {
        let max = self.limits.max_bytes;
        if self.bytes.saturating_add(waiting) > max { Err(Error::ReplyTooLarge(max)) } else { Ok(()) }
    }

    /// Takes one element, and the value that it completes.
    fn take(&mut self, head: &Head<'_>) -> Result<Option<Value>, Error> {
        // The value that an attribute describes is kept with it.
        let children = head.children + u64::from(head.kind == b'|');
        if children == 0 {
            let value = leaf(head)?;
            return Ok(self.close(value));
        }
        self.elements = self.elements.saturating_add(head.children);
        if self.elements > self.limits.max_elements {
            return Err(Error::ReplyElements(self.limits.max_elements));
        }
        let max_depth = self.limits.max_depth.min(DEEPEST);
        if self.open.len() == max_depth {
            return Err(Error::ReplyDepth(max_depth));
        }
        self.open.push(Open { kind: head.kind, left: children, items: Vec::new() });
        Ok(None)
    }

    /// Puts a whole value where it belongs; the reply, when that was the last one.
    fn close(&mut self, mut value: Value) -> Option<Value> {
        while let Some(mut open) = self.open.pop() {
            open.items.push(value);
            open.left -= 1;
            if open.left > 0 {
                self.open.push(open);
                return None;
            }
            value = aggregate(open.kind, open.items);
        }
        Some(value)
    }
}

fn leaf(head: &Head<'_>) -> Result<Value, Error> {
    let Some(text) = head.text else { return Ok(Value::Null) };
    Ok(match head.kind {
        b'+' => Value::Simple(text.to_vec()),
        b'-' | b'!' => Value::Error(text.to_vec()),
        b':' => Value::Integer(parse_integer(text).ok_or(Error::ReplyValue)?),
        b'$' => Value::Bulk(text.to_vec()),
        b'=' => match text.split_at_checked(4) {
            Some((format, text)) if format.ends_with(b":") => {
                Value::Verbatim(format[..3].to_vec(), text.to_vec())
            }
            _ => return Err(Error::ReplyValue),
        },
        b'_' => Value::Null,
        b',' => Value::Double(text.to_vec()),
        b'#' if text == b"t" => Value::Boolean(true),
        b'#' if text == b"f" => Value::Boolean(false),
        b'#' => return Err(Error::ReplyValue),
        b'(' => Value::BigNumber(text.to_vec()),
        // Without elements.
        kind => aggregate(kind, Vec::new()),
    })
}

fn aggregate(kind: u8, mut items: Vec<Value>) -> Value {
    match kind {
        b'~' => Value::Set(items),
        b'>' => Value::Push(items),
        b'%' => Value::Map(pairs(items)),
        b'|' => match items.pop() {
            Some(value) => Value::Attributed(pairs(items), Box::new(value)),
            // An attribute is opened with at least its value.
            None => Value::Null,
        },
        _ => Value::Array(items),
    }
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8]) -> Result<Option<Value>, Error> {
        Decoder::default().decode(bytes).map(|(_, value)| value)
    }

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.into())
    }

    /// The bytes of a value, as a server would send them.
    fn encode(value: &Value, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, kind: u8, text: &[u8]| {
            out.push(kind);
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        };
        let count = |out: &mut Vec<u8>, kind: u8, count: usize| line(out, kind, count.to_string().as_bytes());
        match value {
            Value::Simple(text) => line(out, b'+', text),
            Value::Error(text) => line(out, b'-', text),
            Value::Integer(number) => line(out, b':', number.to_string().as_bytes()),
            Value::Bulk(text) => {
                count(out, b'$', text.len());
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Value::Verbatim(format, text) => {
                count(out, b'=', text.len() + 4);
                out.extend_from_slice(&[format, &b":"[..], text, b"\r\n"].concat());
            }
            Value::Null => line(out, b'_', b""),
            Value::Double(text) => line(out, b',', text),
            Value::Boolean(value) => line(out, b'#', if *value { b"t" } else { b"f" }),
            Value::BigNumber(text) => line(out, b'(', text),
            Value::Array(items) | Value::Set(items) | Value::Push(items) => {
                let kind = match value {
                    Value::Array(_) => b'*',
                    Value::Set(_) => b'~',
                    _ => b'>',
                };
                count(out, kind, items.len());
                items.iter().for_each(|item| encode(item, out));
            }
            Value::Map(pairs) => {
                count(out, b'%', pairs.len());
                pairs.iter().for_each(|(name, value)| {
                    encode(name, out);
                    encode(value, out);
                });
            }
            Value::Attributed(pairs, value) => {
                count(out, b'|', pairs.len());
                pairs.iter().for_each(|(name, value)| {
                    encode(name, out);
                    encode(value, out);
                });
                encode(value, out);
            }
        }
    }

    #[test]
    fn every_type_of_both_protocols_is_read() {
        for (bytes, value) in [
            (&b"+OK\r\n"[..], Value::Simple(b"OK".into())),
            (b"-ERR no\r\n", Value::Error(b"ERR no".into())),
            (b"!6\r\nERR no\r\n", Value::Error(b"ERR no".into())),
            (b":-7\r\n", Value::Integer(-7)),
            (b"$2\r\n\r\n\r\n", bulk("\r\n")),
            (b"$-1\r\n", Value::Null),
            (b"*-1\r\n", Value::Null),
            (b"_\r\n", Value::Null),
            (b"*0\r\n", Value::Array(vec![])),
            (
                b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
                Value::Array(vec![Value::Array(vec![Value::Integer(1)]), bulk("x")]),
            ),
            (b"#t\r\n", Value::Boolean(true)),
            (b",inf\r\n", Value::Double(b"inf".into())),
            (b"(123\r\n", Value::BigNumber(b"123".into())),
            (b"=7\r\ntxt:abc\r\n", Value::Verbatim(b"txt".into(), b"abc".into())),
            (b"%1\r\n+a\r\n:1\r\n", Value::Map(vec![(Value::Simple(b"a".into()), Value::Integer(1))])),
            (b"~1\r\n:1\r\n", Value::Set(vec![Value::Integer(1)])),
            (b">1\r\n:1\r\n", Value::Push(vec![Value::Integer(1)])),
            (
                b"|1\r\n$3\r\nttl\r\n:3\r\n$1\r\nx\r\n",
                Value::Attributed(vec![(bulk("ttl"), Value::Integer(3))], Box::new(bulk("x"))),
            ),
        ] {
            assert_eq!(decoded(bytes), Ok(Some(value)), "{}", bytes.escape_ascii());
            assert_eq!(decoded(&bytes[..bytes.len() - 1]), Ok(None), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let nested = |levels: usize| [b"*1\r\n".repeat(levels), b":1\r\n".to_vec()].concat();
        assert!(decoded(&nested(32)).is_ok_and(|value| value.is_some()));
        assert_eq!(decoded(&nested(33)), Err(Error::ReplyDepth(32)));
        assert_eq!(decoded(&b"|0\r\n".repeat(100_000)), Err(Error::ReplyDepth(32)));
        let small = ReplyLimits { max_bytes: 13, max_elements: 3, max_depth: 2 };
        let decode = |bytes: &[u8]| Decoder::new(small).decode(bytes).map(|(_, value)| value.is_some());
        assert_eq!(decode(b"*2\r\n:1\r\n:23\r\n"), Ok(true));
        assert_eq!(decode(b"*2\r\n:1\r\n:234\r\n"), Err(Error::ReplyTooLarge(13)));
        assert_eq!(decode(b"*2\r\n:1\r\n:23456"), Err(Error::ReplyTooLarge(13)));
        assert_eq!(decode(b"*4\r\n"), Err(Error::ReplyElements(3)));
        assert_eq!(decode(b"$14\r\n"), Err(Error::ReplyTooLarge(13)));
        assert_eq!(decoded(b"*9223372036854775807\r\n"), Err(Error::ReplyElements(16 << 20)));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [&b":x\r\n"[..], b":\r\n", b"#x\r\n", b"=2\r\nab\r\n", b"=4\r\nabcd\r\n"] {
            assert_eq!(decoded(bytes), Err(Error::ReplyValue), "{}", bytes.escape_ascii());
        }
        assert_eq!(decoded(b"HTTP/1.1\r\n"), Err(Error::ReplyType(b'H')));
    }

    #[test]
    fn an_error_is_found_at_any_depth() {
        let error = decoded(b"*2\r\n:1\r\n*1\r\n-ERR no\r\n").expect("valid").expect("whole");
        assert!(error.has_error() && !bulk("ERR").has_error());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "[a-z]{1,9}".prop_map(|text| Value::Simple(text.into_bytes())),
            any::<i64>().prop_map(Value::Integer),
            prop::collection::vec(any::<u8>(), 0..30).prop_map(Value::Bulk),
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            (-1000i32..1000).prop_map(|number| Value::Double(format!("{number}.5").into_bytes())),
            "[a-z ]{0,9}".prop_map(|text| Value::Verbatim(b"txt".into(), text.into_bytes())),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let many = prop::collection::vec(inner.clone(), 0..6);
            let pairs = prop::collection::vec((inner.clone(), inner), 0..4);
            prop_oneof![
                many.clone().prop_map(Value::Array),
                many.prop_map(Value::Set),
                pairs.prop_map(Value::Map)
            ]
        })
    }

    /// Whether the `redis` crate has read the same.
    fn is_same(ours: &Value, theirs: &redis::Value) -> bool {
        use redis::Value as Theirs;
        let all = |ours: &[Value], theirs: &[Theirs]| {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        };
        match (ours, theirs) {
            (Value::Simple(text), Theirs::Okay) => text == b"OK",
            (Value::Simple(text), Theirs::SimpleString(other)) => text == other.as_bytes(),
            (Value::Integer(number), Theirs::Int(other)) => number == other,
            (Value::Bulk(text), Theirs::BulkString(other)) => text == other,
            (Value::Null, Theirs::Nil) => true,
            (Value::Boolean(value), Theirs::Boolean(other)) => value == other,
            (Value::Double(text), Theirs::Double(other)) => {
                String::from_utf8_lossy(text).parse() == Ok(*other)
            }
            (Value::Verbatim(_, text), Theirs::VerbatimString { text: other, .. }) => {
                text == other.as_bytes()
            }
            (Value::Array(items), Theirs::Array(others)) | (Value::Set(items), Theirs::Set(others)) => {
                all(items, others)
            }
            (Value::Map(pairs), Theirs::Map(others)) => {
                pairs.len() == others.len()
                    && pairs
                        .iter()
                        .zip(others)
                        .all(|(ours, theirs)| is_same(&ours.0, &theirs.0) && is_same(&ours.1, &theirs.1))
            }
            _ => false,
        }
    }

    proptest! {
        /// However the bytes are cut, the same value comes out, and it is what another client reads.
        #[test]
        fn it_agrees_with_another_implementation_in_any_pieces(value in value(), piece in 1usize..40) {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            let theirs = redis::parse_redis_value(&bytes).expect("a valid reply");
            prop_assert!(is_same(&value, &theirs), "{:?} is not {:?}", value, theirs);
            let (mut decoder, mut waiting, mut found) = (Decoder::default(), Vec::new(), None);
            for piece in bytes.chunks(piece) {
                prop_assert!(found.is_none());
                waiting.extend_from_slice(piece);
                let (used, value) = decoder.decode(&waiting).expect("a valid reply");
                waiting.drain(..used);
                found = value;
            }
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(found, Some(value));
        }

        /// It ends where `reply_len` says that the reply ends.
        #[test]
        fn any_bytes_give_a_value_or_an_error_and_never_a_panic(
            input in prop::collection::vec(any::<u8>(), 0..200),
            first in prop::sample::select(b"+-:$*_#,(!=%~>|".to_vec()),
        ) {
            let input = [&[first][..], &input].concat();
            if let Ok((used, Some(_))) = Decoder::default().decode(&input) {
                let len = super::super::reply_len(&input, &ReplyLimits::default());
                prop_assert_eq!(len.expect("a reply").map(|reply| reply.len), Some(used));
            }
        }
    }
}
