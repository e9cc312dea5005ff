//! Clients that wait: for keys, for a time-out, or for both.
//!
//! 1. A handler that finds nothing asks to [block](super::command::Call::block). The command is kept, and
//!    the client waits in line at each of its keys.
//! 2. When one of the keys is written, the same handler runs again, for one client after the other
//!    in the order in which they came. If it finds something the client goes on, else it keeps its place.
//! 3. At the time-out, the client is told that there is nothing.

use std::collections::BTreeSet;

use super::command::{Command, Failure};
use super::number;
use super::observers::Waiter;
use super::reply::Replies;
use crate::wire::resp::{OwnedArgs, parse_integer};

/// What is answered when there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// No array.
    NullArray,
    /// This number.
    Integer(i64),
}

impl Empty {
    /// Writes it.
    pub fn answer(self, out: &mut Replies) {
        match self {
            Empty::NullArray => out.null_array(),
            Empty::Integer(value) => out.integer(value),
        }
    }
}

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// Until there is something.
    Never,
    /// So many microseconds.
    After(u64),
}

const NEGATIVE: Failure = Failure::text("ERR timeout is negative");
const NO_FLOAT: Failure = Failure::text("ERR timeout is not a float or out of range");
/// More milliseconds than can be counted are taken for a negative number.
const MAX_MS: f64 = i64::MAX as f64;

/// The time-out of BLPOP and its kin: seconds with a fraction, 0 for none.
///
/// # Errors
/// The texts of Redis for what is no such number.
pub fn timeout_seconds(text: &[u8], now_ms: i64) -> Result<Timeout, Failure> {
    if text.first().is_none_or(u8::is_ascii_whitespace) {
        return Err(NO_FLOAT);
    }
    let seconds = number::strtod(text);
    if seconds.len != text.len() || seconds.value.is_nan() {
        return Err(NO_FLOAT);
    }
    // Part of a millisecond counts as one.
    let ms = (seconds.value * 1000.0).ceil();
    if !(0.0..MAX_MS).contains(&ms) {
        return Err(NEGATIVE);
    }
    Ok(timeout_of(ms as i64, now_ms))
}

/// The time-out of XREAD and its kin: whole milliseconds, 0 for none.
///
/// # Errors
/// The texts of Redis for what is no such number.
pub fn timeout_millis(text: &[u8], now_ms: i64) -> Result<Timeout, Failure> {
    let ms = parse_integer(text).ok_or(Failure::text("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(NEGATIVE);
    }
    Ok(timeout_of(ms, now_ms))
}

/// A wait beyond the end of all clocks never ends.
fn timeout_of(ms: i64, now_ms: i64) -> Timeout {
    if ms == 0 || now_ms.checked_add(ms).is_none() {
        return Timeout::Never;
    }
    Timeout::After((ms as u64).saturating_mul(1000))
}

/// What a client wants to wait for.
#[derive(Debug)]
pub struct Wait<'a, K: Iterator<Item = &'a [u8]>> {
    /// The keys, in the database of the client.
    pub keys: K,
    /// How long.
    pub timeout: Timeout,
    /// What a time-out answers.
    pub empty: Empty,
    /// Run again when a key has been removed too, to tell the client so.
    pub when_gone: bool,
    /// What is run instead of the command as it came, when that would mean something else later.
    pub command: Option<OwnedArgs>,
}

/// A client's wait.
#[derive(Debug)]
pub struct Blocked {
    /// What runs again.
    pub command: OwnedArgs,
    /// Its row.
    pub row: &'static Command,
    /// The database of the keys.
    pub db: usize,
    /// The keys.
    pub keys: Vec<Box<[u8]>>,
    /// When it ends, in microseconds of the wall clock.
    pub deadline_us: Option<u64>,
    /// What a time-out answers.
    pub empty: Empty,
    /// Run again when a key has been removed too.
    pub when_gone: bool,
    /// Nothing is answered, because of CLIENT REPLY.
    pub muted: bool,
}

/// When waits end, the nearest first.
#[derive(Debug, Default)]
pub struct Deadlines(BTreeSet<(u64, usize, u64, Due)>);

/// What ends at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A wait for a key.
    Wait,
    /// The delay of a reply.
    Delay,
}

impl Deadlines {
    /// `waiter` is due at `at_us`.
    pub fn add(&mut self, at_us: u64, waiter: Waiter, due: Due) {
        self.0.insert((at_us, waiter.slot, waiter.id, due));
    }

    /// `waiter` is no longer due at `at_us`.
    pub fn remove(&mut self, at_us: u64, waiter: Waiter, due: Due) {
        self.0.remove(&(at_us, waiter.slot, waiter.id, due));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The nearest one.
    pub fn next_us(&self) -> Option<u64> {
        self.0.first().map(|(at_us, _, _, _)| *at_us)
    }

    /// Takes out one that is due at `now_us`.
    pub fn pop_due(&mut self, now_us: u64) -> Option<(Waiter, Due)> {
        let &(at_us, slot, id, due) = self.0.first()?;
        (at_us <= now_us).then(|| {
            self.0.pop_first();
            (Waiter { slot, id }, due)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_read_as_redis_reads_them() {
        let seconds = |text: &str| timeout_seconds(text.as_bytes(), 1_000_000);
        assert_eq!(seconds("0"), Ok(Timeout::Never));
        assert_eq!(seconds("0.0001"), Ok(Timeout::After(1000)));
        assert_eq!(seconds("1.5"), Ok(Timeout::After(1_500_000)));
        assert_eq!(seconds("-1"), Err(NEGATIVE));
        assert_eq!(seconds("-0.0001"), Ok(Timeout::Never));
        for too_long in ["1e300", "1e400", "inf", "9.3e15"] {
            assert_eq!(seconds(too_long), Err(NEGATIVE));
        }
        assert_eq!(seconds("9.2e15"), Ok(Timeout::After(u64::MAX)));
        assert!(seconds("x").is_err() && seconds("nan").is_err() && seconds("").is_err());
        let millis = |text: &str| timeout_millis(text.as_bytes(), 1_000_000);
        assert_eq!(millis("7"), Ok(Timeout::After(7000)));
        assert_eq!(millis("9223372036854775807"), Ok(Timeout::Never));
        assert!(millis("1.5").is_err() && millis("-1").is_err());
    }

    #[test]
    fn the_nearest_deadline_comes_first() {
        let mut deadlines = Deadlines::default();
        let (one, two) = (Waiter { slot: 1, id: 1 }, Waiter { slot: 2, id: 2 });
        deadlines.add(20, one, Due::Wait);
        deadlines.add(10, two, Due::Wait);
        deadlines.add(10, two, Due::Delay);
        assert_eq!(deadlines.pop_due(5), None);
        assert_eq!(deadlines.pop_due(15), Some((two, Due::Wait)));
        assert_eq!(deadlines.pop_due(15), Some((two, Due::Delay)));
        deadlines.remove(20, one, Due::Wait);
        assert_eq!(deadlines.next_us(), None);
    }
}
