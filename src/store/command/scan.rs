//! What SCAN and HSCAN have in common: cursor, MATCH, COUNT, TYPE.

use super::{Failure, integer};
use crate::store::glob;
use crate::store::number::parse_u64;
use crate::wire::resp::Args;

/// The answer when there is no such key.
pub const NOTHING: &[u8] = b"*2\r\n$1\r\n0\r\n*0\r\n";

/// The options of a scan.
pub struct Scan<'a> {
    /// Where to go on.
    pub cursor: u64,
    /// MATCH
    pattern: Option<&'a [u8]>,
    /// COUNT
    pub count: usize,
    /// TYPE
    pub of_type: Option<&'a [u8]>,
}

/// The cursor of a scan: any unsigned number, with a sign as C reads it (`-1` wraps around), up to the
/// first zero byte.
pub fn cursor(text: &[u8]) -> Result<u64, Failure> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    let value = if text.is_empty() { Some(0) } else { parse_u64(digits) };
    let value = value.ok_or(Failure::text("ERR invalid cursor"))?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

impl<'a> Scan<'a> {
    /// Reads the options after the cursor.
    pub fn parse(cursor: u64, options: Args<'a>, with_type: bool) -> Result<Scan<'a>, Failure> {
        let mut scan = Scan { cursor, pattern: None, count: 10, of_type: None };
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let value = options.get(index + 1).ok_or(Failure::SYNTAX)?;
            if word.eq_ignore_ascii_case(b"COUNT") {
                let count = integer(value)?;
                if count < 1 {
                    return Err(Failure::SYNTAX);
                }
                scan.count = count as usize;
            } else if word.eq_ignore_ascii_case(b"MATCH") {
                scan.pattern = (value != b"*").then_some(value);
            } else if with_type && word.eq_ignore_ascii_case(b"TYPE") {
                scan.of_type = Some(value);
            } else {
                return Err(Failure::SYNTAX);
            }
            index += 2;
        }
        Ok(scan)
    }

    /// Whether a name is wanted.
    #[inline]
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}
