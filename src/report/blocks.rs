//! Blocks: a run cut into stretches of whole seconds, each with its counts and latencies, so that two runs
//! can be compared stretch by stretch. They stand in `summary.json`, which is thereby all that a later
//! comparison needs.
//!
//! 1. Seconds of warm-up do not count, nor does one that is partly warm-up.
//! 2. Where the cuts are follows from the stages alone: runs of one plan are cut alike.
//! 3. A second resembles its neighbours, so blocks are few and long: [`BLOCKS`], as alike as whole seconds
//!    make them.
//! 4. Of a run that was cut short only the blocks count that it has done to their end.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::recorder::histogram::Latencies;
use crate::report::Error;
use crate::report::counts::{self, Reader, Scope};
use crate::report::json::Whole;
use crate::report::timeline;
use crate::units::{NANOS_PER_SEC, Nanos};

/// The blocks of a run. With fewer, a metric that changes in all of them is no rarer than others that do not
/// change are; with more, neighbours resemble each other. What was simulated is in ADR 017.
pub(super) const BLOCKS: usize = 10;

/// A stretch of a run as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    /// Its first second.
    pub from: u64,
    /// The second behind its last one.
    pub to: u64,
    /// How many of the seconds between them count; the last second of a run may be a part of one.
    pub seconds: f64,
    pub scheduled: u64,
    pub sent: u64,
    pub matched: u64,
    /// Requests without the answer they wanted: failed, timed out, dropped, or answered with an error.
    pub errors: u64,
    /// As in `counts.csv`.
    pub response_time: String,
    pub service_time: String,
    pub lag: String,
}

/// A stretch of a run with its latencies.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub from: u64,
    pub to: u64,
    pub seconds: f64,
    pub scheduled: u64,
    pub sent: u64,
    pub matched: u64,
    pub errors: u64,
    pub latencies: Latencies,
}

impl Piece {
    fn empty(cut: &Cut) -> Piece {
        Piece {
            from: cut.seconds.first().map_or(0, |(second, _)| *second),
            to: cut.seconds.last().map_or(0, |(second, _)| second + 1),
            seconds: cut.seconds.iter().map(|(_, length)| *length as f64).sum::<f64>() / NANOS_PER_SEC as f64,
            scheduled: 0,
            sent: 0,
            matched: 0,
            errors: 0,
            latencies: Latencies::default(),
        }
    }

    /// Adds the stretch behind it.
    pub(super) fn join(&mut self, next: &Piece) {
        self.from = self.from.min(next.from);
        self.to = self.to.max(next.to);
        self.seconds += next.seconds;
        self.scheduled += next.scheduled;
        self.sent += next.sent;
        self.matched += next.matched;
        self.errors += next.errors;
        self.latencies.merge(&next.latencies);
    }

    fn block(&self) -> Block {
        let [response_time, service_time, lag] = counts::cells(&self.latencies);
        Block {
            from: self.from,
            to: self.to,
            seconds: self.seconds,
            scheduled: self.scheduled,
            sent: self.sent,
            matched: self.matched,
            errors: self.errors,
            response_time,
            service_time,
            lag,
        }
    }
}

impl Block {
    /// With its latencies; the text says what is wrong with them.
    pub(super) fn piece(&self) -> Result<Piece, String> {
        let latencies = counts::of_cells([&self.response_time, &self.service_time, &self.lag])?;
        Ok(Piece {
            from: self.from,
            to: self.to,
            seconds: self.seconds,
            scheduled: self.scheduled,
            sent: self.sent,
            matched: self.matched,
            errors: self.errors,
            latencies,
        })
    }
}

/// The seconds of a block, and how much of each is part of the schedule, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    seconds: Vec<(u64, u64)>,
}

impl Cut {
    /// How many seconds are in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seconds.len()
    }
}

/// Where a run is cut, by how long its stages are and whether they are warm-up.
pub(super) fn cuts(stages: &[(Nanos, bool)]) -> Vec<Cut> {
    let mut counted: Vec<(u64, u64)> = Vec::new();
    let (mut start, mut warm_until) = (0u64, 0u64);
    for &(duration, warmup) in stages {
        let end = start.saturating_add(duration.0);
        if warmup {
            // A second that has been counted and turns out to be partly warm-up does not count.
            if counted.last().is_some_and(|(second, _)| (second + 1) * NANOS_PER_SEC > start) {
                counted.pop();
            }
            warm_until = end;
        } else {
            // The first second that is not begun by warm-up, nor counted for the stage before.
            let next = counted.last().map_or(0, |(second, _)| second + 1);
            let first = warm_until.div_ceil(NANOS_PER_SEC).max(next).max(start / NANOS_PER_SEC);
            if let Some((second, length)) = counted.last_mut() {
                *length = end.saturating_sub(*second * NANOS_PER_SEC).min(NANOS_PER_SEC).max(*length);
            }
            for second in first..end.div_ceil(NANOS_PER_SEC) {
                counted.push((second, (end - second * NANOS_PER_SEC).min(NANOS_PER_SEC)));
            }
        }
        start = end;
    }
    let many = counted.len();
    let blocks = many.min(BLOCKS);
    let at = |block: usize| (block * many).checked_div(blocks).unwrap_or(0);
    (0..blocks).map(|block| Cut { seconds: counted[at(block)..at(block + 1)].to_vec() }).collect()
}

/// How long the stages of a run were, and which of them were warm-up.
pub(super) fn stages_of(whole: &Whole) -> Vec<(Nanos, bool)> {
    let nanos = |seconds: f64| Nanos((seconds * NANOS_PER_SEC as f64).round() as u64);
    whole.stages.iter().map(|stage| (nanos(stage.duration_s), stage.warmup)).collect()
}

/// The blocks of a run from the files in its folder; none where its seconds or counts were not written.
///
/// # Errors
/// When a file cannot be read or holds what no run writes.
pub(super) fn read(folder: &Path, whole: &Whole) -> Result<Vec<Block>, Error> {
    let cuts = cuts(&stages_of(whole));
    let mut pieces: Vec<Piece> = cuts.iter().map(Piece::empty).collect();
    let blocks = cuts.iter().enumerate();
    let of_second: Vec<(u64, usize)> =
        blocks.flat_map(|(block, cut)| cut.seconds.iter().map(move |(second, _)| (*second, block))).collect();
    let block_of = |second: u64| {
        let at = of_second.binary_search_by_key(&second, |(second, _)| *second).ok()?;
        of_second.get(at).map(|(_, block)| *block)
    };
    let lines = timeline::each_second(folder, |line| {
        if let Some(piece) = block_of(line.second).and_then(|block| pieces.get_mut(block)) {
            piece.scheduled += line.scheduled;
            piece.sent += line.sent;
            piece.matched += line.matched;
            piece.errors += line.failed + line.timed_out + line.dropped + line.error_replies;
        }
        Ok(())
    })?;
    let (Some(lines), Some(mut counts)) = (lines, Reader::open(folder)?) else { return Ok(Vec::new()) };
    while let Some((scope, second)) = counts.advance()? {
        if scope == Scope::Second
            && let Some(piece) = block_of(second).and_then(|block| pieces.get_mut(block))
        {
            counts.add_to(&mut piece.latencies)?;
        }
    }
    // What was not reached is missing in all of its seconds but those that were done.
    let done = if whole.ledger.not_reached > 0 { whole.duration_s } else { f64::INFINITY };
    let is_whole = |piece: &&Piece| piece.to as f64 <= done && piece.to <= lines;
    Ok(pieces.iter().filter(is_whole).map(Piece::block).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(stages: &[(u64, bool)]) -> Vec<Vec<u64>> {
        let stages: Vec<_> = stages.iter().map(|&(ms, warmup)| (Nanos::from_millis(ms), warmup)).collect();
        cuts(&stages).iter().map(|cut| cut.seconds.iter().map(|(second, _)| *second).collect()).collect()
    }

    #[test]
    fn warm_up_and_seconds_that_share_it_are_left_out() {
        let counted = |stages: &[(u64, bool)]| seconds(stages).concat();
        assert_eq!(counted(&[(1500, true), (2500, false)]), [2, 3]);
        assert_eq!(counted(&[(2500, false), (1000, true), (2000, false)]), [0, 1, 4, 5]);
        assert_eq!(counted(&[(500, false), (500, false), (300, false)]), [0, 1]);
        assert_eq!(counted(&[(3000, true)]), [0; 0]);
        // A stage that ends within a second, and one that ends with the run.
        let cut = cuts(&[(Nanos::from_millis(700), false), (Nanos::from_millis(500), false)]);
        let lengths: Vec<u64> = cut.iter().flat_map(|cut| &cut.seconds).map(|(_, length)| *length).collect();
        assert_eq!(lengths, [1_000_000_000, 200_000_000]);
    }

    #[test]
    fn there_are_ten_blocks_where_there_are_ten_seconds() {
        let sizes = |secs: u64| seconds(&[(secs * 1000, false)]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((sizes(5), sizes(10)), (vec![1; 5], vec![1; 10]));
        assert_eq!(sizes(13), [1, 1, 1, 2, 1, 1, 2, 1, 1, 2]);
        assert_eq!(sizes(3600), [360; 10]);
    }

    proptest! {
        #[test]
        fn every_second_outside_of_warm_up_is_in_one_block(
            stages in prop::collection::vec((1u64..20_000, prop::bool::weighted(0.3)), 1..8)
        ) {
            let flat = seconds(&stages).concat();
            let mut start = 0;
            let mut warm = Vec::new();
            for &(ms, warmup) in &stages {
                if warmup {
                    warm.push((start, start + ms));
                }
                start += ms;
            }
            let touched = |second: u64| warm.iter().any(|&(a, b)| a < (second + 1) * 1000 && b > second * 1000);
            let expected: Vec<u64> = (0..start.div_ceil(1000)).filter(|&second| !touched(second)).collect();
            prop_assert_eq!(flat, expected);
        }
    }
}
