//! Blocks: a run cut into stretches of whole seconds, each with its counts and latencies, so that two runs
//! can be compared stretch by stretch. They stand in `summary.json`, which is thereby all that a later
//! comparison needs.
//!
//! 1. Seconds of warm-up do not count, nor does one that is partly warm-up; nor do pauses and stages in which nothing is due.
//! 2. Where the cuts are follows from the stages alone: runs of one plan are cut alike.
//! 3. A second resembles its neighbours, so what is compared are few and long blocks: [`BLOCKS`]. What is kept is
//!    cut finer, into at most [`PIECES`], so that of a run that was cut short the time it has done can be cut
//!    into as many blocks. A comparison joins them (`report/compare.rs`).
//! 4. Of a run that was cut short only what it has done to the end counts: seconds in which all was sent that was
//!    planned for them, before the instant at which it ended, or was paused and did not go on, or one of its merged
//!    parts did.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::recorder::histogram::Latencies;
use crate::report::Error;
use crate::report::counts::{self, Reader, Scope};
use crate::report::json::Whole;
use crate::report::timeline;
use crate::units::{NANOS_PER_SEC, Nanos};

/// The blocks that are compared. With fewer, a metric that changes in all of them is no rarer than others that do
/// not change are; with more, neighbours resemble each other. What was simulated is in ADR 017.
pub const BLOCKS: usize = 10;

/// The most blocks that are kept of a run: a multiple of those that are compared, so that a whole run is cut where it
/// would be cut into that many.
pub(super) const PIECES: usize = 6 * BLOCKS;

const MICROS_PER_SEC: u64 = 1_000_000;

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
    pub seconds: f64,
    pub scheduled: u64,
    pub matched: u64,
    pub errors: u64,
    pub latencies: Latencies,
}

impl Piece {
    /// Blocks as one.
    ///
    /// # Errors
    /// What is wrong with their latencies.
    pub(super) fn of<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Result<Piece, String> {
        let mut sum =
            Piece { seconds: 0.0, scheduled: 0, matched: 0, errors: 0, latencies: Latencies::default() };
        for block in blocks {
            sum.join(&Piece {
                seconds: block.seconds,
                scheduled: block.scheduled,
                matched: block.matched,
                errors: block.errors,
                latencies: block.latencies()?,
            });
        }
        Ok(sum)
    }

    /// Adds another stretch.
    pub(super) fn join(&mut self, next: &Piece) {
        self.seconds += next.seconds;
        self.scheduled += next.scheduled;
        self.matched += next.matched;
        self.errors += next.errors;
        self.latencies.merge(&next.latencies);
    }
}

impl Block {
    /// A stretch in which nothing has happened yet.
    pub(super) fn of(cut: &Cut) -> Block {
        Block {
            from: cut.stretches.first().map_or(0, |(from, _)| *from),
            to: cut.stretches.last().map_or(0, |(_, to)| *to),
            seconds: cut.nanos as f64 / NANOS_PER_SEC as f64,
            scheduled: 0,
            sent: 0,
            matched: 0,
            errors: 0,
            response_time: String::new(),
            service_time: String::new(),
            lag: String::new(),
        }
    }

    /// Its latencies; the text says what is wrong with them.
    pub(super) fn latencies(&self) -> Result<Latencies, String> {
        counts::of_cells([&self.response_time, &self.service_time, &self.lag])
    }

    pub(super) fn set_latencies(&mut self, latencies: &Latencies) {
        [self.response_time, self.service_time, self.lag] = counts::cells(latencies);
    }
}

/// A stage, as far as it says where a run is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Laid {
    pub duration: Nanos,
    pub warmup: bool,
    /// Whether requests are due in it.
    pub sends: bool,
}

impl Laid {
    /// A stage by its kind and its requests. The one that comes due as a pause begins is no load.
    pub(super) fn stage(kind: &str, duration: Nanos, warmup: bool, scheduled: u64) -> Laid {
        Laid { duration, warmup, sends: scheduled > 0 && kind != "pause" }
    }
}

/// A part of what counts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Its seconds: each first one, and the one behind the last.
    pub stretches: Vec<(u64, u64)>,
    /// How much of these seconds is part of the schedule.
    pub nanos: u64,
}

/// Where a run is cut, into so many parts or as many as it has seconds.
pub(super) fn cuts(stages: &[Laid], parts: usize) -> Vec<Cut> {
    let counted = counted(stages);
    let seconds = touched(&counted);
    let many: u64 = seconds.iter().map(|(from, to)| to - from).sum();
    let parts = many.min(parts as u64);
    let at = |part: u64| (u128::from(part) * u128::from(many) / u128::from(parts)) as u64;
    let cut = |part: u64| {
        let stretches = within(&seconds, at(part), at(part + 1));
        let nanos = stretches.iter().map(|&stretch| overlap(&counted, stretch)).sum();
        Cut { stretches, nanos }
    };
    (0..parts).map(cut).collect()
}

/// What counts of a schedule, from and to, in nanoseconds and in order.
fn counted(stages: &[Laid]) -> Vec<(u64, u64)> {
    let mut counted: Vec<(u64, u64)> = Vec::new();
    let (mut start, mut warm_until) = (0u64, 0u64);
    for stage in stages {
        let end = start.saturating_add(stage.duration.0);
        if stage.warmup {
            // What has been counted and turns out to share a second with warm-up does not count.
            let first = start / NANOS_PER_SEC * NANOS_PER_SEC;
            while let Some(last) = counted.last_mut().filter(|(_, to)| *to > first) {
                last.1 = first;
                if last.0 >= first {
                    counted.pop();
                }
            }
            warm_until = end.div_ceil(NANOS_PER_SEC).saturating_mul(NANOS_PER_SEC);
        } else if stage.sends && start.max(warm_until) < end {
            counted.push((start.max(warm_until), end));
        }
        start = end;
    }
    counted
}

/// The seconds that are touched, from the first to the one behind the last, each once.
fn touched(counted: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut seconds: Vec<(u64, u64)> = Vec::new();
    for (from, to) in counted {
        let (from, to) = (from / NANOS_PER_SEC, to.div_ceil(NANOS_PER_SEC));
        match seconds.last_mut().filter(|(_, before)| *before >= from) {
            Some(last) => last.1 = last.1.max(to),
            None => seconds.push((from, to)),
        }
    }
    seconds
}

/// The seconds from the `low`th to before the `high`th.
fn within(seconds: &[(u64, u64)], low: u64, high: u64) -> Vec<(u64, u64)> {
    let mut stretches = Vec::new();
    let mut before = 0;
    for &(from, to) in seconds {
        let here = |nth: u64| from + nth.saturating_sub(before).min(to - from);
        if here(low) < here(high) {
            stretches.push((here(low), here(high)));
        }
        before += to - from;
    }
    stretches
}

/// How much of some seconds counts, in nanoseconds.
fn overlap(counted: &[(u64, u64)], (from, to): (u64, u64)) -> u64 {
    let (from, to) = (from.saturating_mul(NANOS_PER_SEC), to.saturating_mul(NANOS_PER_SEC));
    let first = counted.partition_point(|(_, end)| *end <= from);
    let reached = counted[first..].iter().take_while(|(start, _)| *start < to);
    reached.map(|&(start, end)| end.min(to) - start.max(from)).sum()
}

/// The stages of a run.
fn stages_of(whole: &Whole) -> Vec<Laid> {
    let nanos = |seconds: f64| Nanos((seconds * NANOS_PER_SEC as f64).round() as u64);
    let stages = whole.stages.iter();
    let laid =
        stages.map(|stage| Laid::stage(&stage.kind, nanos(stage.duration_s), stage.warmup, stage.scheduled));
    laid.collect()
}

/// The first second that a run has not done to its end, by its rows of `seconds.csv`.
#[derive(Debug, Default)]
struct Done {
    /// The first in which something is missing that was planned for it.
    missing: Option<u64>,
    /// The last in which something was begun.
    begun: u64,
}

impl Done {
    fn row(&mut self, line: &timeline::SecondLine) {
        if line.scheduled < line.planned {
            self.missing.get_or_insert(line.second);
        }
        if line.scheduled > 0 {
            self.begun = line.second;
        }
    }

    /// Seconds that were done, where the run was cut short: its rows go on while it waits for what is in flight, and
    /// while it is paused, and those of a merged run while another part goes on.
    fn before(&self, whole: &Whole) -> u64 {
        if !whole.is_cut_short() {
            return u64::MAX;
        }
        let at_us = whole.ended.as_ref().and_then(|ended| ended.at_us);
        let whole_seconds = at_us.map(|at_us| at_us / MICROS_PER_SEC);
        let done = match whole.model.as_str() {
            // Nothing is planned for a second of the closed model: the last one may be a part of one.
            "closed" => Some(self.begun).filter(|_| whole_seconds.is_none()),
            // What was late when it ended is missing before.
            _ => self.missing,
        };
        let done = done.into_iter().chain(whole_seconds).min();
        done.unwrap_or(u64::MAX).min(whole.duration_s as u64)
    }
}

/// The blocks of a run from the files in its folder; none where its seconds or counts were not written.
///
/// # Errors
/// When a file cannot be read or holds what no run writes.
pub(super) fn read(folder: &Path, whole: &Whole) -> Result<Vec<Block>, Error> {
    let cuts = cuts(&stages_of(whole), PIECES);
    let mut blocks: Vec<Block> = cuts.iter().map(Block::of).collect();
    let of_cut =
        |(block, cut): (usize, &Cut)| cut.stretches.clone().into_iter().map(move |part| (part, block));
    let places: Vec<((u64, u64), usize)> = cuts.iter().enumerate().flat_map(of_cut).collect();
    let block_of = |second: u64| {
        let at = places.partition_point(|((_, to), _)| *to <= second);
        places.get(at).filter(|((from, _), _)| *from <= second).map(|(_, block)| *block)
    };
    let mut done = Done::default();
    let lines = timeline::each_second(folder, |line| {
        done.row(&line);
        if let Some(block) = block_of(line.second).and_then(|block| blocks.get_mut(block)) {
            block.scheduled += line.scheduled;
            block.sent += line.sent;
            block.matched += line.matched;
            block.errors += line.failed + line.timed_out + line.dropped + line.error_replies;
        }
        Ok(())
    })?;
    let (Some(lines), Some(mut counts)) = (lines, Reader::open(folder)?) else { return Ok(Vec::new()) };
    // The rows are in the order of the seconds: the latencies of one block are in memory at a time.
    let (mut open, mut latencies) = (0, Latencies::default());
    while let Some((scope, second)) = counts.advance()? {
        let Some(block) = block_of(second).filter(|_| scope == Scope::Second) else { continue };
        if block < open {
            let what = format!("second {second} stands behind later ones");
            return Err(counts.wrong(counts.line(), what));
        }
        if block > open {
            if let Some(full) = blocks.get_mut(open) {
                full.set_latencies(&latencies);
            }
            latencies.clear();
            open = block;
        }
        counts.add_to(&mut latencies)?;
    }
    if let Some(last) = blocks.get_mut(open) {
        last.set_latencies(&latencies);
    }
    let done = done.before(whole).min(lines);
    blocks.retain(|block| block.to <= done);
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::{Ending, whole};
    use crate::report::tests::typical;
    use proptest::prelude::*;

    /// Stages of so many milliseconds, warm-up or not, in which something is due.
    fn laid(stages: &[(u64, bool)]) -> Vec<Laid> {
        let laid =
            |&(ms, warmup): &(u64, bool)| Laid { duration: Nanos::from_millis(ms), warmup, sends: true };
        stages.iter().map(laid).collect()
    }

    fn seconds_of(cut: &Cut) -> Vec<u64> {
        cut.stretches.iter().flat_map(|&(from, to)| from..to).collect()
    }

    fn seconds(stages: &[(u64, bool)]) -> Vec<Vec<u64>> {
        cuts(&laid(stages), BLOCKS).iter().map(seconds_of).collect()
    }

    #[test]
    fn warm_up_and_seconds_that_share_it_are_left_out() {
        let counted = |stages: &[(u64, bool)]| seconds(stages).concat();
        assert_eq!(counted(&[(1500, true), (2500, false)]), [2, 3]);
        assert_eq!(counted(&[(2500, false), (1000, true), (2000, false)]), [0, 1, 4, 5]);
        assert_eq!(counted(&[(500, false), (500, false), (300, false)]), [0, 1]);
        assert_eq!(counted(&[(3000, true)]), [0; 0]);
        // A stage that ends within a second, and one that ends with the run.
        let cuts = cuts(&laid(&[(700, false), (500, false)]), BLOCKS);
        assert_eq!(cuts.iter().map(|cut| cut.nanos).collect::<Vec<_>>(), [1_000_000_000, 200_000_000]);
    }

    #[test]
    fn stages_in_which_nothing_is_due_are_left_out() {
        let mut stages = laid(&[(20_300, false), (9_300, false), (400, false), (1000, false)]);
        stages[1].sends = false;
        let cuts = cuts(&stages, PIECES);
        let expected: Vec<u64> = (0..=20).chain(29..31).collect();
        assert_eq!(cuts.iter().flat_map(seconds_of).collect::<Vec<_>>(), expected);
        let nanos: Vec<u64> = cuts.iter().rev().take(3).map(|cut| cut.nanos / 1_000_000).collect();
        assert_eq!(nanos, [1000, 400, 300]);
    }

    #[test]
    fn there_are_ten_blocks_where_there_are_ten_seconds() {
        let sizes = |secs: u64| seconds(&[(secs * 1000, false)]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((sizes(5), sizes(10)), (vec![1; 5], vec![1; 10]));
        assert_eq!(sizes(13), [1, 1, 1, 2, 1, 1, 2, 1, 1, 2]);
        assert_eq!(sizes(3600), [360; 10]);
        // What is kept is cut finer, at the same places and others.
        for secs in [5, 60, 61, 3599, 86_400] {
            let ends = |parts: usize| -> Vec<u64> {
                let cuts = cuts(&laid(&[(secs * 1000, false)]), parts);
                cuts.iter().map(|cut| cut.stretches.last().expect("a second").1).collect()
            };
            let (coarse, fine) = (ends(BLOCKS), ends(PIECES));
            assert!(fine.len() <= PIECES && coarse.iter().all(|end| fine.contains(end)), "{secs}");
        }
    }

    #[test]
    fn a_stage_of_any_length_is_cut_without_a_thought_for_its_seconds() {
        let endless = Laid { duration: Nanos(u64::MAX), warmup: false, sends: true };
        let cuts = cuts(&[endless, Laid { warmup: true, ..endless }, endless], PIECES);
        assert!(cuts.len() <= PIECES, "{}", cuts.len());
    }

    #[test]
    fn of_a_run_that_was_cut_short_only_whole_seconds_were_done() {
        let row = |second, scheduled, planned| timeline::SecondLine {
            second,
            scheduled,
            planned,
            ..timeline::SecondLine::default()
        };
        let mut done = Done::default();
        // Stopped within the third second; then it waited for what was in flight.
        [row(0, 5, 5), row(1, 5, 5), row(2, 3, 5), row(3, 0, 5)].iter().for_each(|row| done.row(row));
        let mut whole = whole(&typical());
        assert_eq!(done.before(&whole), u64::MAX);
        whole.ledger.not_reached = 7;
        assert_eq!(done.before(&whole), 2);
        whole.model = "closed".to_string();
        assert_eq!(done.before(&whole), 2);
    }

    #[test]
    fn what_was_done_ends_where_the_run_was_ended_whatever_its_rows_say() {
        let row = |second, scheduled, planned| timeline::SecondLine {
            second,
            scheduled,
            planned,
            ..timeline::SecondLine::default()
        };
        let ended = |how: &str, at_us| Ending { how: how.to_string(), at_us, threshold: None };
        let mut whole = whole(&typical());
        // Paused, or ended in one of its parts: what is planned for later seconds is there.
        let mut done = Done::default();
        [row(0, 5, 5), row(1, 5, 5), row(2, 3, 3), row(3, 0, 0)].iter().for_each(|row| done.row(row));
        whole.ended = Some(ended("stopped", Some(2_600_000)));
        whole.ledger.not_reached = 7;
        assert_eq!(done.before(&whole), 2);
        // Only time ends the load: nothing is missing, and users of another part begin more.
        (whole.ledger.not_reached, whole.model) = (0, "closed".to_string());
        [row(4, 5, 0), row(5, 5, 0)].iter().for_each(|row| done.row(row));
        assert_eq!(done.before(&whole), 2);
        whole.ended = Some(ended("complete", None));
        assert_eq!(done.before(&whole), u64::MAX);
        // A worker was behind when the run was ended.
        whole.model = "open".to_string();
        whole.ended = Some(ended("threshold", Some(9_000_000)));
        done.row(&row(6, 4, 5));
        assert_eq!(done.before(&whole), 6);
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
