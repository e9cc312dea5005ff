//! Hot path
//!
//! What one worker counts. Windows are taken from a small stock that the collector refills, so that
//! the worker does not allocate when a second begins.

use std::collections::VecDeque;

use crate::ledger::{Outcome, Outcomes, Receipts};
use crate::recorder::histogram::Latencies;
use crate::units::NANOS_PER_SEC;

/// Seconds and stages that may be open before a new one is allocated.
const STOCK: usize = 4;

/// One stage of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// When it ends, in nanoseconds from time zero; `u64::MAX` where that is not known.
    pub end_ns: u64,
    /// Sent, but outside of the statistics.
    pub warmup: bool,
}

/// What is counted by: when a request was due, its stage and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it was due, in nanoseconds from time zero.
    pub due_ns: u64,
    /// Its stage.
    pub stage: u16,
    /// Its kind, where there are several.
    pub kind: u8,
}

/// What happened to the requests of one kind.
#[derive(Debug, Clone, Default)]
pub struct KindTally {
    /// Requests sent.
    pub sent: u64,
    /// How they ended, dropped ones too.
    pub outcomes: Outcomes,
    /// Responses that were errors.
    pub error_replies: u64,
    /// How long they took.
    pub latencies: Box<Latencies>,
}

impl KindTally {
    /// Adds the same kind of another worker.
    pub fn merge(&mut self, other: &KindTally) {
        self.sent += other.sent;
        self.outcomes.merge(&other.outcomes);
        self.error_replies += other.error_replies;
        self.latencies.merge(&other.latencies);
    }
}

/// What happened to the requests that were due in one second or one stage.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Requests that came due.
    pub scheduled: u64,
    /// Of these, sent.
    pub sent: u64,
    /// How they ended.
    pub outcomes: Outcomes,
    /// Responses that were errors.
    pub error_replies: u64,
    /// How long they took; nothing where nothing was sent.
    pub latencies: Option<Box<Latencies>>,
    /// Requests in flight when the window ended.
    pub in_flight: u64,
    /// Connections open when the window ended.
    pub connections: u64,
    gauged: bool,
}

impl Window {
    /// Adds the same window of another worker.
    pub fn merge(&mut self, other: &Window) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.outcomes.merge(&other.outcomes);
        self.error_replies += other.error_replies;
        if let Some(theirs) = &other.latencies {
            self.latencies.get_or_insert_default().merge(theirs);
        }
        self.in_flight += other.in_flight;
        self.connections += other.connections;
    }

    /// Makes it as new.
    pub fn clear(&mut self) {
        if let Some(latencies) = &mut self.latencies {
            latencies.clear();
        }
        self.outcomes = Outcomes::default();
        (self.scheduled, self.sent, self.in_flight, self.connections) = (0, 0, 0, 0);
        self.error_replies = 0;
        self.gauged = false;
    }

    #[inline]
    fn latencies(&mut self) -> &mut Latencies {
        self.latencies.get_or_insert_default()
    }

    fn open(&self) -> u64 {
        self.scheduled - self.outcomes.total()
    }
}

/// A window that is complete, on its way to the collector.
#[derive(Debug)]
pub enum Closed {
    /// A second of the schedule, counted from 0.
    Second(u64, Window),
    /// A stage of the schedule, counted from 0.
    Stage(usize, Window),
}

/// A row of windows of which the oldest are handed over first.
#[derive(Debug)]
struct Row {
    first: u64,
    windows: VecDeque<Window>,
}

impl Row {
    fn at(&mut self, index: u64, stock: &mut Vec<Window>) -> &mut Window {
        // Due times never fall, and a window closes only after everything due in it has come due and
        // ended, so the index is never below the first.
        let offset = index.saturating_sub(self.first) as usize;
        while self.windows.len() <= offset {
            self.windows.push_back(stock.pop().unwrap_or_default());
        }
        &mut self.windows[offset]
    }
}

/// The counters of one worker.
#[derive(Debug)]
pub struct Shard {
    seconds: Row,
    stages: Row,
    plan: Vec<Stage>,
    stock: Vec<Window>,
    kinds: Vec<KindTally>,
    /// First bytes given to the kernel.
    pub sent: u64,
    /// How requests ended.
    pub outcomes: Outcomes,
    /// What came back.
    pub receipts: Receipts,
}

impl Shard {
    /// A shard for these stages, which tells so many kinds of requests apart (0 for none).
    pub fn new(plan: Vec<Stage>, kinds: usize) -> Shard {
        let row = || Row { first: 0, windows: VecDeque::with_capacity(64) };
        let stocked = || Window { latencies: Some(Box::default()), ..Window::default() };
        let stock = (0..STOCK).map(|_| stocked()).collect();
        Shard {
            seconds: row(),
            stages: row(),
            plan,
            stock,
            kinds: vec![KindTally::default(); kinds],
            sent: 0,
            outcomes: Outcomes::default(),
            receipts: Receipts::default(),
        }
    }

    /// Stages end at other times than was known, from the first on that has not ended.
    pub fn set_ends(&mut self, ends_ns: impl Iterator<Item = u64>) {
        for (stage, end_ns) in self.plan.iter_mut().zip(ends_ns) {
            stage.end_ns = end_ns;
        }
    }

    /// The tally of a kind, where kinds are told apart and the stage counts.
    #[inline]
    fn kind(&mut self, mark: Mark) -> Option<&mut KindTally> {
        let tally = self.kinds.get_mut(usize::from(mark.kind))?;
        let warmup = self.plan.get(usize::from(mark.stage)).is_some_and(|stage| stage.warmup);
        (!warmup).then_some(tally)
    }

    /// A request came due.
    #[inline]
    pub fn scheduled(&mut self, mark: Mark) {
        self.seconds.at(mark.due_ns / NANOS_PER_SEC, &mut self.stock).scheduled += 1;
        self.stages.at(u64::from(mark.stage), &mut self.stock).scheduled += 1;
    }

    /// Its first byte was given to the kernel.
    #[inline]
    pub fn sent(&mut self, mark: Mark, sent_ns: u64) {
        self.sent += 1;
        let lag = sent_ns.saturating_sub(mark.due_ns);
        let second = self.seconds.at(mark.due_ns / NANOS_PER_SEC, &mut self.stock);
        second.sent += 1;
        second.latencies().lag.saturating_record(lag);
        let stage = self.stages.at(u64::from(mark.stage), &mut self.stock);
        stage.sent += 1;
        stage.latencies().lag.saturating_record(lag);
        if let Some(kind) = self.kind(mark) {
            kind.sent += 1;
            kind.latencies.lag.saturating_record(lag);
        }
    }

    /// Its response came in time. `refused`: it says that the target refuses the request.
    #[inline]
    pub fn matched(&mut self, mark: Mark, sent_ns: u64, received_ns: u64, refused: bool) {
        self.outcomes.add(Outcome::Matched, 1);
        let response = received_ns.saturating_sub(mark.due_ns);
        let service = received_ns.saturating_sub(sent_ns);
        let errors = u64::from(refused);
        self.receipts.error_replies += errors;
        let second = self.seconds.at(mark.due_ns / NANOS_PER_SEC, &mut self.stock);
        second.outcomes.add(Outcome::Matched, 1);
        second.error_replies += errors;
        second.latencies().response.saturating_record(response);
        second.latencies().service.saturating_record(service);
        let stage = self.stages.at(u64::from(mark.stage), &mut self.stock);
        stage.outcomes.add(Outcome::Matched, 1);
        stage.error_replies += errors;
        stage.latencies().response.saturating_record(response);
        stage.latencies().service.saturating_record(service);
        if let Some(kind) = self.kind(mark) {
            kind.outcomes.add(Outcome::Matched, 1);
            kind.error_replies += errors;
            kind.latencies.response.saturating_record(response);
            kind.latencies.service.saturating_record(service);
        }
    }

    /// It ended in another way, after it had come due.
    #[inline]
    pub fn ended(&mut self, mark: Mark, outcome: Outcome) {
        self.outcomes.add(outcome, 1);
        self.seconds.at(mark.due_ns / NANOS_PER_SEC, &mut self.stock).outcomes.add(outcome, 1);
        self.stages.at(u64::from(mark.stage), &mut self.stock).outcomes.add(outcome, 1);
        if let Some(kind) = self.kind(mark) {
            kind.outcomes.add(outcome, 1);
        }
    }

    /// Gives the tallies of the kinds away, when the run is over.
    pub fn take_kinds(&mut self) -> Vec<KindTally> {
        std::mem::take(&mut self.kinds)
    }

    /// Requests that never came due.
    pub fn not_reached(&mut self, count: u64) {
        self.outcomes.add(Outcome::NotReached, count);
    }

    /// Hands over the windows whose requests have all come due and ended; all of them when
    /// `finished`. Nothing that is still to come is due before `due_through_ns`, which falls behind
    /// `now_ns` when the worker does. The gauges are those of the moment in which the window ended.
    pub fn close(
        &mut self,
        now_ns: u64,
        due_through_ns: u64,
        in_flight: u64,
        connections: u64,
        finished: bool,
        mut hand_over: impl FnMut(Closed),
    ) {
        let past = now_ns / NANOS_PER_SEC;
        // Seconds in which nothing was due get their row too.
        let reached =
            if finished { self.schedule_seconds().min(past + 1) } else { self.schedule_seconds().min(past) };
        if let Some(last) = reached.checked_sub(1).filter(|&last| last >= self.seconds.first) {
            self.seconds.at(last, &mut self.stock);
        }
        let mut index = self.seconds.first;
        for window in self.seconds.windows.iter_mut().take_while(|_| {
            index += 1;
            index <= past || finished
        }) {
            if !window.gauged {
                (window.in_flight, window.connections, window.gauged) = (in_flight, connections, true);
            }
        }
        let through = due_through_ns / NANOS_PER_SEC;
        while self.seconds.first < through || finished {
            if !finished && self.seconds.windows.front().is_none_or(|w| w.open() > 0) {
                break;
            }
            let Some(window) = self.seconds.windows.pop_front() else { break };
            hand_over(Closed::Second(self.seconds.first, window));
            self.seconds.first += 1;
        }
        while let Some(&Stage { end_ns, .. }) = self.plan.get(self.stages.first as usize) {
            let open = self.stages.windows.front().map_or(0, |w| w.open());
            if !finished && (due_through_ns < end_ns || open > 0) {
                break;
            }
            let window = self.stages.windows.pop_front().or_else(|| self.stock.pop()).unwrap_or_default();
            hand_over(Closed::Stage(self.stages.first as usize, window));
            self.stages.first += 1;
        }
    }

    fn schedule_seconds(&self) -> u64 {
        self.plan.last().map_or(0, |stage| stage.end_ns.div_ceil(NANOS_PER_SEC))
    }

    /// Takes back an emptied window.
    pub fn restock(&mut self, window: Window) {
        if self.stock.len() < STOCK && window.latencies.is_some() {
            self.stock.push(window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NANOS_PER_SEC;

    fn shard(ends: &[u64]) -> Shard {
        Shard::new(ends.iter().map(|&end_ns| Stage { end_ns, warmup: false }).collect(), 0)
    }

    fn at(due_ns: u64) -> Mark {
        Mark { due_ns, stage: 0, kind: 0 }
    }

    #[test]
    fn kinds_are_counted_apart_and_without_warm_up() {
        let stage = |end_ns, warmup| Stage { end_ns, warmup };
        let mut shard = Shard::new(vec![stage(SECOND, true), stage(2 * SECOND, false)], 2);
        for (due_ns, stage, kind) in [(0, 0, 0), (SECOND, 1, 0), (SECOND, 1, 1), (SECOND, 1, 1)] {
            let mark = Mark { due_ns, stage, kind };
            shard.scheduled(mark);
            shard.sent(mark, due_ns + 10);
            shard.matched(mark, due_ns + 10, due_ns + 30, kind == 1);
        }
        shard.ended(Mark { due_ns: SECOND, stage: 1, kind: 0 }, Outcome::Overload);
        let kinds = shard.take_kinds();
        let counts = kinds.iter().map(|k| (k.sent, k.outcomes.of(Outcome::Matched), k.error_replies));
        assert_eq!(counts.collect::<Vec<_>>(), [(1, 1, 0), (2, 2, 2)]);
        assert_eq!((kinds[0].outcomes.dropped(), kinds[1].latencies.service.len()), (1, 2));
        assert_eq!(shard.receipts.error_replies, 2);
    }

    #[test]
    fn a_stage_whose_end_is_not_known_is_handed_over_at_the_end() {
        let mut shard = shard(&[u64::MAX]);
        shard.scheduled(at(5));
        shard.ended(at(5), Outcome::Late);
        assert_eq!(close(&mut shard, 2 * SECOND, false), [(0, 1), (1, 0)]);
        let mut stages = 0;
        shard.close(3 * SECOND, 3 * SECOND, 0, 0, true, |closed| {
            stages += u32::from(matches!(closed, Closed::Stage(0, _)));
        });
        assert_eq!(stages, 1);
    }

    fn close(shard: &mut Shard, now_ns: u64, finished: bool) -> Vec<(u64, u64)> {
        let mut rows = Vec::new();
        shard.close(now_ns, now_ns, 3, 10, finished, |closed| {
            if let Closed::Second(index, window) = closed {
                rows.push((index, window.scheduled));
            }
        });
        rows
    }

    #[test]
    fn a_second_is_handed_over_when_its_last_request_has_ended() {
        let mut shard = shard(&[3 * SECOND]);
        shard.scheduled(at(SECOND - 1));
        shard.sent(at(SECOND - 1), SECOND + 5);
        assert_eq!(close(&mut shard, SECOND + 10, false), []);
        shard.matched(at(SECOND - 1), SECOND + 5, SECOND + 20, false);
        assert_eq!(close(&mut shard, SECOND + 30, false), [(0, 1)]);
        assert_eq!(close(&mut shard, 2 * SECOND + 30, false), [(1, 0)]);
    }

    #[test]
    fn a_worker_that_is_late_counts_in_the_second_and_the_stage_of_the_due_time() {
        let mut shard = shard(&[2 * SECOND]);
        let mut rows = Vec::new();
        let mut stages = Vec::new();
        let mut take = |closed| match closed {
            Closed::Second(index, window) => rows.push((index, window.scheduled)),
            Closed::Stage(index, window) => stages.push((index, window.scheduled)),
        };
        shard.scheduled(at(0));
        shard.ended(at(0), Outcome::Late);
        // Three seconds have passed, but what was due at 0.5 s and 1.5 s is still to come.
        shard.close(3 * SECOND, SECOND / 2, 0, 0, false, &mut take);
        for due_ns in [SECOND / 2, 3 * SECOND / 2] {
            shard.scheduled(at(due_ns));
            shard.ended(at(due_ns), Outcome::Late);
        }
        shard.close(3 * SECOND, 3 * SECOND, 0, 0, false, &mut take);
        assert_eq!((rows, stages), (vec![(0, 2), (1, 1)], vec![(0, 3)]));
    }

    #[test]
    fn a_stage_that_is_paused_is_handed_over_when_it_ends_and_not_when_it_was_to_end() {
        let mut shard = shard(&[SECOND, 2 * SECOND]);
        let mut stages = Vec::new();
        shard.set_ends([5 * SECOND, 6 * SECOND].into_iter());
        for now_ns in [3 * SECOND, 5 * SECOND, 6 * SECOND] {
            shard.close(now_ns, now_ns, 0, 0, false, |closed| {
                if let Closed::Stage(index, _) = closed {
                    stages.push((index, now_ns / SECOND));
                }
            });
        }
        assert_eq!(stages, [(0, 5), (1, 6)]);
    }

    #[test]
    fn every_second_of_the_schedule_gets_a_row_even_an_empty_one() {
        let mut shard = shard(&[SECOND, 4 * SECOND]);
        shard.scheduled(at(0));
        shard.ended(at(0), Outcome::Late);
        assert_eq!(close(&mut shard, 10 * SECOND, true), [(0, 1), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn a_stage_without_requests_is_handed_over_too() {
        let mut shard = shard(&[SECOND, 2 * SECOND]);
        let mut stages = Vec::new();
        shard.close(5 * SECOND, 5 * SECOND, 0, 0, true, |closed| {
            if let Closed::Stage(index, _) = closed {
                stages.push(index);
            }
        });
        assert_eq!(stages, [0, 1]);
    }

    #[test]
    fn times_are_taken_from_the_due_time() {
        let mut shard = shard(&[SECOND]);
        shard.scheduled(at(1000));
        shard.sent(at(1000), 4000);
        shard.matched(at(1000), 4000, 9000, false);
        let mut seen = None;
        shard.close(SECOND, SECOND, 0, 0, true, |closed| {
            if let Closed::Stage(_, window) = closed {
                let l = window.latencies.expect("something was sent");
                // Three digits are kept, so a value of 8000 may come back as 8003.
                seen = Some([&l.response, &l.service, &l.lag].map(|h| h.max() / 10 * 10));
            }
        });
        assert_eq!(seen, Some([8000, 5000, 3000]));
    }
}
