//! Hot path
//!
//! What is in flight on one connection, in the order of sending.
//!
//! Request numbers on a connection rise by a fixed stride, unless some were dropped on the way, so
//! the place of a response's request is computed and only rarely searched.

use std::collections::VecDeque;

use crate::handoff::Item;
use crate::recorder::shard::Mark;
use crate::wire::Correlate;

/// Request numbers that timed out and are remembered, to tell late responses from duplicates.
const REMEMBERED: usize = 1024;

/// One request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub n: u64,
    pub due_ns: u64,
    pub sent_ns: u64,
    pub stage: u16,
    pub kind: u8,
    state: State,
}

impl Entry {
    /// What the recorder has to know of it.
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        Mark { due_ns: self.due_ns, stage: self.stage, kind: self.kind }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Ended,
}

/// Whose response this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A request that waits for it. It has been taken out.
    Waiting(Entry),
    /// A request that has timed out.
    Late,
    /// No request that is known here.
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Inflight {
    entries: VecDeque<Entry>,
    waiting: usize,
    stride: u64,
    order: bool,
    timed_out: VecDeque<u64>,
}

impl Inflight {
    /// `stride`: distance of consecutive request numbers on the connection's slot.
    pub(crate) fn new(correlate: Correlate, stride: u64, window: usize) -> Inflight {
        Inflight {
            entries: VecDeque::with_capacity(window.min(1024) + 1),
            waiting: 0,
            stride,
            order: correlate == Correlate::Order,
            timed_out: VecDeque::new(),
        }
    }

    /// Requests that wait for a response.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    #[inline]
    pub(crate) fn push(&mut self, item: &Item, sent_ns: u64) {
        let Item { n, due_ns, stage, kind, .. } = *item;
        self.entries.push_back(Entry { n, due_ns, sent_ns, stage, kind, state: State::Waiting });
        self.waiting += 1;
    }

    /// Finds the request of a response: the one with this id, or the oldest where there are none.
    #[inline]
    pub(crate) fn take(&mut self, id: Option<u64>) -> Found {
        match id {
            Some(n) if !self.order => self.take_id(n),
            _ => self.take_oldest(),
        }
    }

    fn take_oldest(&mut self) -> Found {
        match self.entries.pop_front() {
            Some(entry) if entry.state == State::Waiting => {
                self.waiting -= 1;
                Found::Waiting(entry)
            }
            _ => Found::Nobody,
        }
    }

    fn take_id(&mut self, n: u64) -> Found {
        if let Some(index) = self.position(n) {
            let entry = self.entries[index];
            if entry.state == State::Waiting {
                self.entries[index].state = State::Ended;
                self.waiting -= 1;
                self.trim();
                return Found::Waiting(entry);
            }
        }
        match self.timed_out.iter().position(|&late| late == n) {
            Some(index) => {
                self.timed_out.remove(index);
                Found::Late
            }
            None => Found::Nobody,
        }
    }

    fn position(&self, n: u64) -> Option<usize> {
        let front = self.entries.front()?;
        if front.n == n {
            return Some(0);
        }
        let guess = (n.wrapping_sub(front.n) / self.stride) as usize;
        if self.entries.get(guess).is_some_and(|entry| entry.n == n) {
            return Some(guess);
        }
        self.entries.iter().position(|entry| entry.n == n)
    }

    fn trim(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.state == State::Ended) {
            self.entries.pop_front();
        }
    }

    /// The first request that waits, if that is for longer than `timeout_ns`.
    #[inline]
    fn overdue(&self, now_ns: u64, timeout_ns: u64) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        let index = self.entries.iter().position(|entry| entry.state == State::Waiting)?;
        (now_ns.saturating_sub(self.entries[index].sent_ns) > timeout_ns).then_some(index)
    }

    /// Whether a request has waited longer than `timeout_ns`.
    pub(crate) fn is_overdue(&self, now_ns: u64, timeout_ns: u64) -> bool {
        self.overdue(now_ns, timeout_ns).is_some()
    }

    /// Takes out a request that has waited longer than `timeout_ns`. Ask until there is none.
    ///
    /// Where responses are told apart by their order alone, the connection is of no more use then: if
    /// the target has skipped the request, each later response would go to the wrong one.
    pub(crate) fn time_out(&mut self, now_ns: u64, timeout_ns: u64) -> Option<Entry> {
        let index = self.overdue(now_ns, timeout_ns)?;
        let entry = self.entries[index];
        self.waiting -= 1;
        self.entries[index].state = State::Ended;
        self.remember(entry.n);
        self.trim();
        Some(entry)
    }

    /// A response that came, but after its time-out.
    pub(crate) fn remember(&mut self, n: u64) {
        if self.timed_out.len() == REMEMBERED {
            self.timed_out.pop_front();
        }
        self.timed_out.push_back(n);
    }

    /// Takes out everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry> + use<> {
        self.waiting = 0;
        std::mem::take(&mut self.entries).into_iter().filter(|entry| entry.state == State::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::Fate;
    use proptest::prelude::*;

    fn filled(correlate: Correlate, numbers: &[u64]) -> Inflight {
        let mut inflight = Inflight::new(correlate, 10, 16);
        for &n in numbers {
            let item = Item { n, due_ns: n * 100, stage: 0, kind: 0, fate: Fate::Send, frame: 0..0 };
            inflight.push(&item, n * 100);
        }
        inflight
    }

    fn number(found: Found) -> Option<u64> {
        match found {
            Found::Waiting(entry) => Some(entry.n),
            _ => None,
        }
    }

    #[test]
    fn responses_may_come_in_any_order_when_they_carry_an_id() {
        let mut inflight = filled(Correlate::Id, &[3, 13, 33, 43]);
        for n in [33, 3, 43, 13] {
            assert_eq!(number(inflight.take(Some(n))), Some(n));
        }
        assert_eq!(inflight.waiting(), 0);
        assert_eq!(inflight.take(Some(3)), Found::Nobody);
    }

    #[test]
    fn without_ids_the_oldest_is_answered_first() {
        let mut inflight = filled(Correlate::Order, &[0, 10, 20]);
        for n in [0, 10, 20] {
            assert_eq!(number(inflight.take(None)), Some(n));
        }
        assert_eq!(inflight.take(None), Found::Nobody);
    }

    #[test]
    fn a_response_after_the_time_out_is_late_once() {
        let mut inflight = filled(Correlate::Id, &[0, 10]);
        assert_eq!(
            inflight.time_out(500, 499),
            Some(Entry { n: 0, due_ns: 0, sent_ns: 0, stage: 0, kind: 0, state: State::Waiting })
        );
        assert_eq!(inflight.time_out(500, 499), None);
        assert_eq!(inflight.take(Some(0)), Found::Late);
        assert_eq!(inflight.take(Some(0)), Found::Nobody);
        assert_eq!(inflight.drain().map(|e| e.n).collect::<Vec<_>>(), [10]);
    }

    proptest! {
        /// Every number that was sent is found once, whatever was dropped before it.
        #[test]
        fn each_is_found_once(gaps in prop::collection::vec(1u64..4, 1..40), seed: u64) {
            let mut n = 7;
            let numbers: Vec<u64> = gaps.iter().map(|gap| { n += gap * 10; n }).collect();
            let mut inflight = filled(Correlate::Id, &numbers);
            let mut shuffled = numbers.clone();
            shuffled.sort_by_key(|&n| crate::seeded::mix(seed ^ n));
            for n in &shuffled {
                prop_assert_eq!(number(inflight.take(Some(*n))), Some(*n));
                prop_assert_eq!(inflight.take(Some(*n)), Found::Nobody);
            }
            prop_assert!(inflight.entries.is_empty());
        }
    }
}
