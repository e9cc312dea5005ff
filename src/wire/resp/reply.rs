//! Hot path
//!
//! The client's side: commands written, ends of replies found.

use super::{Error, parse_integer};

/// The deepest nesting that [`ReplyLimits::max_depth`] can ask for.
const DEEPEST: usize = 32;

/// How large a reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes of the whole reply.
    pub max_bytes: usize,
    /// Elements of all its arrays together.
    pub max_elements: u64,
    /// Arrays within arrays, at most 32.
    pub max_depth: usize,
}

impl Default for ReplyLimits {
    /// 512 MiB, 16 million elements, 32 levels.
    fn default() -> ReplyLimits {
        ReplyLimits { max_bytes: 512 << 20, max_elements: 16 << 20, max_depth: DEEPEST }
    }
}

/// One complete reply at the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes.
    pub len: usize,
    /// Its type byte, such as `+`, `-`, `$`; of what follows when attributes (`|`) come first.
    pub kind: u8,
}

impl Reply {
    /// Whether it is an error, simple (`-`) or bulk (`!`).
    pub fn is_error(self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// Whether it came unasked (`>`), as messages of a channel do in RESP3.
    pub fn is_push(self) -> bool {
        self.kind == b'>'
    }
}

/// Appends a command to `out`: the name first, then its arguments.
///
/// ```
/// let mut out = Vec::new();
/// runner::wire::resp::encode_command(&mut out, ["GET", "key"]);
/// assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
/// ```
pub fn encode_command<I>(out: &mut Vec<u8>, args: I)
where
    I: IntoIterator<IntoIter: ExactSizeIterator>,
    I::Item: AsRef<[u8]>,
{
    let args = args.into_iter();
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        let arg = arg.as_ref();
        out.push(b'$');
        out.extend_from_slice(digits.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Finds the end of the reply (RESP2 or RESP3) that `input` begins with. `None`: not all of it is
/// here yet.
///
/// # Errors
/// Bytes that are no reply, or more than `limits` allow.
pub fn reply_len(input: &[u8], limits: &ReplyLimits) -> Result<Option<Reply>, Error> {
    match scan(input, limits)? {
        Some(reply) if reply.len > limits.max_bytes => Err(Error::ReplyTooLarge(limits.max_bytes)),
        None if input.len() > limits.max_bytes => Err(Error::ReplyTooLarge(limits.max_bytes)),
        other => Ok(other),
    }
}

fn scan(input: &[u8], limits: &ReplyLimits) -> Result<Option<Reply>, Error> {
    let max_depth = limits.max_depth.min(DEEPEST);
    // Elements still to come, level by level.
    let mut open = [0u64; DEEPEST + 1];
    open[0] = 1;
    let (mut depth, mut at, mut elements, mut kind) = (0, 0, 0u64, None);
    loop {
        let Some(head) = head(input, at, limits)? else { return Ok(None) };
        if depth == 0 && head.kind != b'|' {
            kind = Some(head.kind);
        }
        at = head.next;
        // An attribute describes the element after it and is none itself.
        open[depth] -= u64::from(head.kind != b'|');
        if head.children > 0 {
            elements = elements.saturating_add(head.children);
            if elements > limits.max_elements {
                return Err(Error::ReplyElements(limits.max_elements));
            }
            if depth == max_depth {
                return Err(Error::ReplyDepth(max_depth));
            }
            depth += 1;
            open[depth] = head.children;
        }
        while depth > 0 && open[depth] == 0 {
            depth -= 1;
        }
        if let (0, 0, Some(kind)) = (depth, open[0], kind) {
            return Ok(Some(Reply { len: at, kind }));
        }
    }
}

pub(super) struct Head<'a> {
    pub(super) kind: u8,
    /// Where the next element begins.
    pub(super) next: usize,
    /// Elements that belong to this one.
    pub(super) children: u64,
    /// The text of a line or string; `None` is the null of RESP2.
    pub(super) text: Option<&'a [u8]>,
}

/// The element at `at`, without its children. `None`: not complete.
pub(super) fn head<'a>(input: &'a [u8], at: usize, limits: &ReplyLimits) -> Result<Option<Head<'a>>, Error> {
    let Some(&kind) = input.get(at) else { return Ok(None) };
    if !b"+-:$*_#,(!=%~>|".contains(&kind) {
        return Err(Error::ReplyType(kind));
    }
    let Some(end) = memchr::memchr(b'\n', &input[at..]).map(|end| at + end) else { return Ok(None) };
    let line = input[at + 1..end].strip_suffix(b"\r").ok_or(Error::ReplyEnd)?;
    let next = end + 1;
    let leaf = Head { kind, next, children: 0, text: Some(line) };
    match kind {
        b'$' | b'!' | b'=' => match length(line)? {
            None => Ok(Some(Head { text: None, ..leaf })),
            Some(len) if len > limits.max_bytes as u64 => Err(Error::ReplyTooLarge(limits.max_bytes)),
            Some(len) => {
                let body_end = next + len as usize;
                match input.get(body_end..body_end + 2) {
                    None => Ok(None),
                    Some(b"\r\n") => {
                        Ok(Some(Head { next: body_end + 2, text: Some(&input[next..body_end]), ..leaf }))
                    }
                    Some(_) => Err(Error::ReplyEnd),
                }
            }
        },
        b'*' | b'~' | b'>' => {
            let count = length(line)?;
            Ok(Some(Head { children: count.unwrap_or(0), text: count.map(|_| line), ..leaf }))
        }
        b'%' | b'|' => {
            let pairs = length(line)?.unwrap_or(0);
            Ok(Some(Head { children: pairs.saturating_mul(2), ..leaf }))
        }
        _ => Ok(Some(leaf)),
    }
}

/// A length or count; `None` is the null of RESP2 (`-1`).
fn length(line: &[u8]) -> Result<Option<u64>, Error> {
    match parse_integer(line) {
        Some(-1) => Ok(None),
        Some(len) => u64::try_from(len).map(Some).map_err(|_| Error::ReplyNumber),
        None => Err(Error::ReplyNumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redis_protocol::resp2::types::{OwnedFrame as Resp2, Resp2Frame};

    fn len(input: &[u8]) -> Result<Option<Reply>, Error> {
        reply_len(input, &ReplyLimits::default())
    }

    #[test]
    fn every_type_of_both_protocols_has_an_end() {
        for (reply, kind) in [
            (&b"+OK\r\n"[..], b'+'),
            (b"-ERR no\r\n", b'-'),
            (b":12\r\n", b':'),
            (b"$-1\r\n", b'$'),
            (b"$0\r\n\r\n", b'$'),
            (b"$2\r\n\r\n\r\n", b'$'),
            (b"*-1\r\n", b'*'),
            (b"*0\r\n", b'*'),
            (b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", b'*'),
            (b"_\r\n", b'_'),
            (b"#t\r\n", b'#'),
            (b",3.5\r\n", b','),
            (b"(123456789012345678901\r\n", b'('),
            (b"!5\r\nERR x\r\n", b'!'),
            (b"=7\r\ntxt:abc\r\n", b'='),
            (b"%1\r\n+a\r\n:1\r\n", b'%'),
            (b"~2\r\n+a\r\n+b\r\n", b'~'),
            (b">2\r\n+a\r\n+b\r\n", b'>'),
            (b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", b'$'),
            (b"*1\r\n|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", b'*'),
        ] {
            let expected = Some(Reply { len: reply.len(), kind });
            assert_eq!(len(reply), Ok(expected), "{}", reply.escape_ascii());
            let followed = [reply, b"+OK\r\n"].concat();
            assert_eq!(len(&followed), Ok(expected), "{}", reply.escape_ascii());
            for cut in 0..reply.len() {
                assert_eq!(len(&reply[..cut]), Ok(None), "{} cut at {cut}", reply.escape_ascii());
            }
        }
    }

    #[test]
    fn errors_and_pushes_are_told_apart() {
        let reply = |kind| Reply { len: 1, kind };
        assert!(reply(b'-').is_error() && reply(b'!').is_error() && !reply(b'+').is_error());
        assert!(reply(b'>').is_push() && !reply(b'*').is_push());
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let nested = |levels: usize| [b"*1\r\n".repeat(levels), b":1\r\n".to_vec()].concat();
        assert!(len(&nested(32)).is_ok_and(|reply| reply.is_some()));
        assert_eq!(len(&nested(33)), Err(Error::ReplyDepth(32)));
        assert_eq!(len(&nested(100_000)), Err(Error::ReplyDepth(32)));
        let small = ReplyLimits { max_bytes: 10, max_elements: 3, max_depth: 2 };
        assert!(reply_len(b"$4\r\nabcd\r\n", &small).is_ok());
        assert_eq!(reply_len(b"$5\r\nabcde\r\n", &small), Err(Error::ReplyTooLarge(10)));
        assert_eq!(reply_len(b"$11\r\n", &small), Err(Error::ReplyTooLarge(10)));
        assert_eq!(reply_len(b"+0123456789", &small), Err(Error::ReplyTooLarge(10)));
        assert_eq!(reply_len(b"*3\r\n", &small), Ok(None));
        assert_eq!(reply_len(b"*4\r\n", &small), Err(Error::ReplyElements(3)));
        assert_eq!(len(b"*9223372036854775807\r\n"), Err(Error::ReplyElements(16 << 20)));
        assert_eq!(len(b"%9223372036854775807\r\n"), Err(Error::ReplyElements(16 << 20)));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert_eq!(len(b"HTTP/1.1 200 OK\r\n"), Err(Error::ReplyType(b'H')));
        assert_eq!(len(b"$x\r\n"), Err(Error::ReplyNumber));
        assert_eq!(len(b"$-2\r\n"), Err(Error::ReplyNumber));
        assert_eq!(len(b"+OK\n"), Err(Error::ReplyEnd));
        assert_eq!(len(b"$1\r\nabc"), Err(Error::ReplyEnd));
    }

    fn frame() -> impl Strategy<Value = Resp2> {
        let leaf = prop_oneof![
            "[a-z ]{0,9}".prop_map(|text| Resp2::SimpleString(text.into_bytes())),
            "[A-Z]{1,9}".prop_map(Resp2::Error),
            any::<i64>().prop_map(Resp2::Integer),
            prop::collection::vec(any::<u8>(), 0..30).prop_map(Resp2::BulkString),
            Just(Resp2::Null),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Resp2::Array))
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_implementation_at_every_cut(frame in frame()) {
            use redis_protocol::resp2::{decode::decode, encode::encode};
            let mut bytes = vec![0; frame.encode_len(false)];
            let written = encode(&mut bytes, &frame, false).expect("room for the frame");
            bytes.truncate(written);
            for cut in 0..=bytes.len() {
                let theirs = decode(&bytes[..cut]).expect("a valid frame");
                let ours = len(&bytes[..cut]).expect("a valid frame");
                prop_assert_eq!(ours.map(|reply| reply.len), theirs.map(|(_, len)| len));
            }
        }

        #[test]
        fn any_bytes_give_an_end_or_an_error_and_never_a_panic(
            input in prop::collection::vec(any::<u8>(), 0..200),
            first in prop::sample::select(b"+-:$*_#,(!=%~>|".to_vec()),
        ) {
            let input = [&[first][..], &input].concat();
            if let Ok(Some(reply)) = len(&input) {
                prop_assert!(reply.len <= input.len());
            }
        }
    }
}
