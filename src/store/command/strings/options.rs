//! The options of SET and GETEX.

use crate::store::command::{Failure, integer};
use crate::wire::resp::Args;

/// Whose options they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Set,
    GetEx,
}

/// Expiry options with their unit in milliseconds, and whether they name a time rather than a duration.
const TIMES: [(&str, i64, bool); 4] =
    [("EX", 1000, false), ("PX", 1, false), ("EXAT", 1000, true), ("PXAT", 1, true)];

/// What stands behind key and value.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// NX
    pub only_new: bool,
    /// XX
    pub only_existing: bool,
    /// GET
    pub get: bool,
    /// KEEPTTL
    pub keep: bool,
    /// PERSIST
    pub persist: bool,
    /// Which of [`TIMES`], and its number.
    time: Option<(usize, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Reads the options, with these rules:
    ///
    /// 1. NX excludes XX. KEEPTTL, PERSIST and the four expiries exclude each other.
    /// 2. Each may be repeated; of an expiry the last number counts.
    /// 3. NX, XX, GET and KEEPTTL are for SET, PERSIST is for GETEX.
    pub fn parse(args: Args<'a>, verb: Verb) -> Result<Options<'a>, Failure> {
        let (mut options, mut index) = (Options::default(), 0);
        while let Some(word) = args.get(index) {
            let next = args.get(index + 1);
            if options.take_flag(word, verb) {
                index += 1;
            } else if options.take_time(word, next) {
                index += 2;
            } else {
                return Err(Failure::SYNTAX);
            }
        }
        Ok(options)
    }

    fn take_flag(&mut self, word: &[u8], verb: Verb) -> bool {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let flag = match verb {
            Verb::Set if is("NX") && !self.only_existing => &mut self.only_new,
            Verb::Set if is("XX") && !self.only_new => &mut self.only_existing,
            Verb::Set if is("GET") => &mut self.get,
            Verb::Set if is("KEEPTTL") && self.time.is_none() => &mut self.keep,
            Verb::GetEx if is("PERSIST") && self.time.is_none() => &mut self.persist,
            _ => return false,
        };
        *flag = true;
        true
    }

    fn take_time(&mut self, word: &[u8], next: Option<&'a [u8]>) -> bool {
        let which = TIMES.iter().position(|(name, _, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        let (Some(which), Some(number)) = (which, next) else { return false };
        if self.keep || self.persist || self.time.is_some_and(|(other, _)| other != which) {
            return false;
        }
        self.time = Some((which, number));
        true
    }

    /// Whether the expiry is a time rather than a duration.
    pub fn is_absolute(&self) -> bool {
        self.time.is_some_and(|(which, _)| TIMES[which].2)
    }

    /// When the value expires, in milliseconds of the wall clock; `None` without such an option.
    pub fn expires_at(&self, now_ms: i64, command: &str) -> Result<Option<i64>, Failure> {
        let Some((which, number)) = self.time else { return Ok(None) };
        let (_, unit_ms, absolute) = TIMES[which];
        expires_at(number, unit_ms, (!absolute).then_some(now_ms), command).map(Some)
    }
}

/// The time that `number` names: above zero, and within what can be counted. With `from_ms` it is a
/// duration from there.
pub fn expires_at(number: &[u8], unit_ms: i64, from_ms: Option<i64>, command: &str) -> Result<i64, Failure> {
    let number = integer(number)?;
    let ms = (number > 0).then(|| number.checked_mul(unit_ms)).flatten();
    let at = ms.and_then(|ms| ms.checked_add(from_ms.unwrap_or(0)));
    at.ok_or_else(|| Failure::expire_time(command))
}
