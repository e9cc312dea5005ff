//! Hot path
//!
//! One line a frame: `<request id> <payload>\n`, or `<payload>\n` for services that know no ids. A
//! carriage return before the line feed is taken off, so that `nc -C` and telnet can talk too.

use super::{Error, Frame};

/// Appends a line.
pub(super) fn encode(out: &mut Vec<u8>, id: Option<u64>, payload: &[u8], limit: u64) -> Result<(), Error> {
    if memchr::memchr(b'\n', payload).is_some() {
        return Err(Error::LineBreak);
    }
    let start = out.len();
    if let Some(id) = id {
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(payload);
    out.push(b'\n');
    let announced = (out.len() - start) as u64;
    if announced > limit {
        out.truncate(start);
        return Err(Error::TooLong { announced, limit });
    }
    Ok(())
}

/// The line at the front of `buffer`.
pub(super) fn decode(buffer: &[u8], with_id: bool, limit: u64) -> Result<Option<Frame<'_>>, Error> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        let announced = buffer.len() as u64;
        return if announced > limit { Err(Error::TooLong { announced, limit }) } else { Ok(None) };
    };
    let consumed = end + 1;
    if consumed as u64 > limit {
        return Err(Error::TooLong { announced: consumed as u64, limit });
    }
    let line = &buffer[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !with_id {
        return Ok(Some(Frame { consumed, id: None, body: line, refused: false }));
    }
    let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    let id = parse_id(&line[..digits]).ok_or(Error::NoId)?;
    let body = match line[digits..].split_first() {
        None => &[],
        Some((b' ', body)) => body,
        Some(_) => return Err(Error::NoId),
    };
    Ok(Some(Frame { consumed, id: Some(id), body, refused: false }))
}

fn parse_id(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |id, digit| id.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u64 = 1000;

    #[test]
    fn a_person_can_type_a_request() {
        let frame = decode(b"12 hello there\r\nmore", true, LIMIT).expect("valid").expect("complete");
        assert_eq!((frame.consumed, frame.id, frame.body), (16, Some(12), &b"hello there"[..]));
        let empty = decode(b"7\n", true, LIMIT).expect("valid").expect("complete");
        assert_eq!((empty.id, empty.body), (Some(7), &b""[..]));
    }

    #[test]
    fn a_line_without_an_id_or_without_an_end_is_refused() {
        for line in [&b"hello\n"[..], b" 1 x\n", b"99999999999999999999 x\n", b"12x\n", b"\n"] {
            assert_eq!(decode(line, true, LIMIT), Err(Error::NoId), "{line:?}");
        }
        assert_eq!(decode(&[b'1'; 1000], true, LIMIT), Ok(None));
        assert_eq!(decode(&[b'1'; 1001], true, LIMIT), Err(Error::TooLong { announced: 1001, limit: 1000 }));
        let mut out = b"before".to_vec();
        assert_eq!(encode(&mut out, None, b"a\nb", LIMIT), Err(Error::LineBreak));
        assert!(encode(&mut out, None, &[b'x'; 1000], LIMIT).is_err());
        assert_eq!(out, b"before");
    }

    proptest! {
        /// What is encoded is decoded again, and only once the line has ended.
        #[test]
        fn lines_survive_any_split(id in any::<Option<u64>>(), payload in "[a-zA-Z0-9 {}\":,]{0,100}") {
            let mut out = Vec::new();
            encode(&mut out, id, payload.as_bytes(), LIMIT).expect("fits");
            for cut in 0..out.len() {
                prop_assert_eq!(decode(&out[..cut], id.is_some(), LIMIT), Ok(None));
            }
            let frame = decode(&out, id.is_some(), LIMIT).expect("valid").expect("complete");
            prop_assert_eq!((frame.consumed, frame.id, frame.body), (out.len(), id, payload.as_bytes()));
        }

        /// No bytes make the decoder panic.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64), with_id: bool) {
            let _ = decode(&bytes, with_id, 32);
        }
    }
}
