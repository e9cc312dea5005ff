//! Ledger: where every request ended, and the equations that must hold.
//!
//! 1. `scheduled = sent + dropped{late, overload, no_record, script, stopped} + not_reached`
//! 2. `sent = matched + failed{reset, eof, protocol, refused} + timed_out`
//! 3. `received = matched + duplicate + late + unknown + malformed`
//! 4. `matched = mapped + map_failed` (where responses are mapped at all)
//!
//! `scheduled` comes from the plan's arithmetic, `received` from the decoder, and every other
//! number is counted where the thing happens, so a mistake anywhere shows as an imbalance.

use std::fmt;

use serde::Serialize;

/// How one scheduled request ended. Each ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// The response came in time and belongs to the request.
    Matched,
    /// Sent; the connection was reset before the response came.
    Reset,
    /// Sent; the peer closed the connection before the response came.
    Eof,
    /// Sent; the peer's bytes were no frames, so the connection was given up.
    Protocol,
    /// Sent; the peer ended the connection before it had answered anything on it.
    Refused,
    /// Sent; no response came within the request time-out.
    TimedOut,
    /// Not sent: it would have left later than `max_lateness` after its due time.
    Late,
    /// Not sent: no room on its connection, and the scenario says to drop (or the queue was full).
    Overload,
    /// Not sent: its record is missing, or could not be read in time.
    NoRecord,
    /// Not sent: the Lua hook returned nil.
    Script,
    /// Not sent: the run was stopped while the request waited.
    Stopped,
    /// Not sent: the run ended before its due time.
    NotReached,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Outcome; 12] = [
        Outcome::Matched,
        Outcome::Reset,
        Outcome::Eof,
        Outcome::Protocol,
        Outcome::Refused,
        Outcome::TimedOut,
        Outcome::Late,
        Outcome::Overload,
        Outcome::NoRecord,
        Outcome::Script,
        Outcome::Stopped,
        Outcome::NotReached,
    ];

    /// The word used in files and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Matched => "matched",
            Outcome::Reset => "reset",
            Outcome::Eof => "eof",
            Outcome::Protocol => "protocol",
            Outcome::Refused => "refused",
            Outcome::TimedOut => "timed_out",
            Outcome::Late => "late",
            Outcome::Overload => "overload",
            Outcome::NoRecord => "no_record",
            Outcome::Script => "script",
            Outcome::Stopped => "stopped",
            Outcome::NotReached => "not_reached",
        }
    }

    /// Whether the first byte had been given to the kernel.
    pub const fn was_sent(self) -> bool {
        (self as u8) <= (Outcome::TimedOut as u8)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How many requests ended in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// Counts `count` more.
    #[inline]
    pub fn add(&mut self, outcome: Outcome, count: u64) {
        self.0[outcome as usize] += count;
    }

    /// How many ended so.
    #[inline]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many ended so; they are counted no more.
    pub fn take(&mut self, outcome: Outcome) -> u64 {
        std::mem::take(&mut self.0[outcome as usize])
    }

    /// Adds the counts of another part of the run.
    pub fn merge(&mut self, other: &Outcomes) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    fn sum(&self, outcomes: &[Outcome]) -> u64 {
        outcomes.iter().map(|&outcome| self.of(outcome)).sum()
    }

    /// Not sent, for whatever reason but the end of the run.
    pub fn dropped(&self) -> u64 {
        use Outcome::{Late, NoRecord, Overload, Script, Stopped};
        self.sum(&[Late, Overload, NoRecord, Script, Stopped])
    }

    /// Sent, and the connection failed.
    pub fn failed(&self) -> u64 {
        self.sum(&[Outcome::Reset, Outcome::Eof, Outcome::Protocol, Outcome::Refused])
    }

    /// All requests that ended.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What came back over the wire, whether asked for or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipts {
    /// Frames the decoder found, and broken ones.
    pub received: u64,
    /// A second response to a request that had been matched.
    pub duplicate: u64,
    /// A response to a request that had timed out.
    pub late: u64,
    /// A response to something that was never sent here.
    pub unknown: u64,
    /// Bytes that are no frame.
    pub malformed: u64,
    /// Of the matched, those that say that the target refuses the request (a RESP error).
    pub error_replies: u64,
}

impl Receipts {
    /// Adds the counts of another part of the run.
    pub fn merge(&mut self, other: &Receipts) {
        self.received += other.received;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.unknown += other.unknown;
        self.malformed += other.malformed;
        self.error_replies += other.error_replies;
    }
}

/// What became of the responses in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapped {
    /// Written and acknowledged.
    pub mapped: u64,
    /// Refused by Redis, or still in the journal at the end.
    pub map_failed: u64,
}

/// The whole account of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Requests of the plan (or of this segment of it).
    pub scheduled: u64,
    /// First bytes given to the kernel.
    pub sent: u64,
    /// How they ended.
    pub outcomes: Outcomes,
    /// What came back.
    pub receipts: Receipts,
    /// What was written to Redis; `None` when the scenario maps nothing.
    pub mapping: Option<Mapped>,
}

/// One side of the account does not equal the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// The equation in words.
    pub equation: &'static str,
    /// Its left side.
    pub left: u64,
    /// Its right side.
    pub right: u64,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not {}", self.equation, self.left, self.right)
    }
}

impl Ledger {
    /// Requests that were sent and did not get the answer they wanted: failed, timed out, or answered with
    /// an error.
    pub fn errors(&self) -> u64 {
        let outcomes = &self.outcomes;
        outcomes.failed() + outcomes.of(Outcome::TimedOut) + self.receipts.error_replies
    }

    /// Checks every equation.
    ///
    /// # Errors
    /// All that do not hold.
    pub fn balance(&self) -> Result<(), Vec<Imbalance>> {
        let outcomes = &self.outcomes;
        let matched = outcomes.of(Outcome::Matched);
        let receipts = &self.receipts;
        let mut sides = vec![
            (
                "scheduled = sent + dropped + not_reached",
                self.scheduled,
                self.sent + outcomes.dropped() + outcomes.of(Outcome::NotReached),
            ),
            (
                "sent = matched + failed + timed_out",
                self.sent,
                matched + outcomes.failed() + outcomes.of(Outcome::TimedOut),
            ),
            (
                "received = matched + duplicate + late + unknown + malformed",
                receipts.received,
                matched + receipts.duplicate + receipts.late + receipts.unknown + receipts.malformed,
            ),
        ];
        if let Some(mapping) = self.mapping {
            sides.push(("matched = mapped + map_failed", matched, mapping.mapped + mapping.map_failed));
        }
        let wrong: Vec<Imbalance> = sides
            .into_iter()
            .filter(|(_, left, right)| left != right)
            .map(|(equation, left, right)| Imbalance { equation, left, right })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_numbered_in_order() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
        assert!(Outcome::TimedOut.was_sent() && !Outcome::Late.was_sent());
    }

    #[test]
    fn a_whole_account_balances_and_one_missing_request_shows_in_its_equation() {
        let mut ledger = Ledger { scheduled: 10, sent: 7, ..Ledger::default() };
        ledger.outcomes.add(Outcome::Matched, 5);
        ledger.outcomes.add(Outcome::Eof, 1);
        ledger.outcomes.add(Outcome::TimedOut, 1);
        ledger.outcomes.add(Outcome::Late, 2);
        ledger.outcomes.add(Outcome::NotReached, 1);
        ledger.receipts = Receipts { received: 7, duplicate: 1, late: 1, ..Receipts::default() };
        ledger.mapping = Some(Mapped { mapped: 4, map_failed: 1 });
        assert_eq!(ledger.balance(), Ok(()));

        ledger.sent = 8;
        let wrong = ledger.balance().expect_err("one request too many");
        assert_eq!(wrong.len(), 2);
        assert_eq!(wrong[0].to_string(), "scheduled = sent + dropped + not_reached: 10 is not 11");
    }
}
