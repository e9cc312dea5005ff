//! Hot path
//!
//! The users of the closed model that live on one worker, and when each will send next.
//!
//! 1. A user is a place on a slot: users of one slot are alike, so a user who is ready is known by the
//!    instant and the slot. Users in flight are not kept here: the request on their connection is them.
//! 2. A user who is through with a request thinks, and is ready at that end plus the think time. That is
//!    the *intended* time of the next request; the time until it leaves is its lag.
//! 3. Whoever is ready first takes the worker's next request; of two at one instant, who has come first. After the end of
//!    the load nobody is ready.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::plan::closed::{Closed, Think};
use crate::plan::connections::Connections;
use crate::plan::segment::Segment;

/// Connections that are read before those who have their answers send again.
const MOST_READS: usize = 4;

/// Instants and slots (as indices of the worker), the earliest first.
#[derive(Debug, Default)]
struct Ready {
    /// Who has come in the order of the instants, as all do who think equally long: a queue.
    in_order: VecDeque<(u64, u32)>,
    /// Who has come behind somebody who is ready later.
    others: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Ready {
    #[inline]
    fn push(&mut self, ready: (u64, u32)) {
        match self.in_order.back() {
            Some(last) if ready.0 < last.0 => self.others.push(Reverse(ready)),
            _ => self.in_order.push_back(ready),
        }
    }

    /// The first, and whether it is in the queue.
    #[inline]
    fn first(&self) -> Option<((u64, u32), bool)> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(&first), Some(&Reverse(other))) if other.0 < first.0 => Some((other, false)),
            (Some(&first), _) => Some((first, true)),
            (None, other) => other.map(|&Reverse(other)| (other, false)),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(u64, u32)> {
        let (first, is_in_order) = self.first()?;
        if is_in_order {
            self.in_order.pop_front()
        } else {
            self.others.pop().map(|Reverse(other)| other)
        };
        Some(first)
    }

    fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }
}

/// Who is ready when, on one worker.
#[derive(Debug)]
pub(crate) struct Users {
    ready: Ready,
    /// Users by slot of the worker.
    on_slot: Vec<u64>,
    count: u64,
    think: Think,
    seed: u64,
    end_ns: u64,
    /// Whether the load ends with its requests.
    counted: bool,
    /// Rings when a user becomes ready before the pacing task would look.
    bell: Arc<Notify>,
    /// Rings when responses have come and somebody can go on at once.
    at_once: Rc<Notify>,
    /// Reads since users were let go.
    reads: usize,
    /// When the pacing task will look again.
    looks_at_ns: u64,
}

impl Users {
    /// The users of `worker` (of `workers`) in a segment.
    pub(crate) fn new(
        closed: &Closed,
        connections: &Connections,
        segment: Segment,
        (worker, workers): (u64, u64),
        seed: u64,
    ) -> Users {
        let mine = |slot: &u64| slot % workers == worker;
        let slots = (0..connections.count).filter(mine);
        let on_slot: Vec<u64> =
            slots.map(|slot| closed.users_on_slot(segment, slot, connections.count)).collect();
        let of_user = |user: u64| {
            let slot = user % connections.count;
            mine(&slot).then(|| (closed.begins(user).0, (slot / workers) as u32))
        };
        let mut ready = Ready::default();
        closed.users_of(segment).filter_map(of_user).for_each(|user| ready.push(user));
        Users {
            count: ready.len() as u64,
            ready,
            on_slot,
            think: closed.think,
            seed,
            end_ns: closed.end().map_or(u64::MAX, |end| end.0),
            counted: closed.end().is_none(),
            bell: Arc::new(Notify::new()),
            at_once: Rc::new(Notify::new()),
            reads: 0,
            looks_at_ns: 0,
        }
    }

    /// Users on a slot of the worker.
    pub(crate) fn on_slot(&self, slot: usize) -> u64 {
        self.on_slot.get(slot).copied().unwrap_or(0)
    }

    /// Of `left` requests of the worker, those that a slot will be asked for if all its users send
    /// equally often, rounded up.
    pub(crate) fn share_of(&self, slot: usize, left: u64) -> u64 {
        let share = u128::from(left) * u128::from(self.on_slot(slot));
        u64::try_from(share.div_ceil(u128::from(self.count.max(1)))).unwrap_or(u64::MAX)
    }

    /// Whether the load ends with its requests, and not with time.
    pub(crate) fn are_counted(&self) -> bool {
        self.counted
    }

    /// Whether time has ended the load and nobody who was ready before has still to send.
    #[inline]
    pub(crate) fn are_over(&self, now_ns: u64) -> bool {
        now_ns >= self.end_ns && self.next_ready().is_none()
    }

    /// Whether the load may still ask for requests.
    pub(crate) fn go_on(&self, now_ns: u64) -> bool {
        now_ns < self.end_ns
    }

    /// When the first user is ready, if anybody will be.
    #[inline]
    pub(crate) fn next_ready(&self) -> Option<u64> {
        self.ready.first().map(|((ready_ns, _), _)| ready_ns).filter(|&ready_ns| ready_ns < self.end_ns)
    }

    /// Takes the user who has been ready longest: since when, and on which slot.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<(u64, usize)> {
        self.ready.pop().map(|(ready_ns, slot)| (ready_ns, slot as usize))
    }

    /// The user of request `n` on a slot is through with it.
    #[inline]
    pub(crate) fn free(&mut self, slot: usize, n: u64, ended_ns: u64) {
        let ready_ns = ended_ns.saturating_add(self.think.after(self.seed, n));
        self.ready.push((ready_ns, slot as u32));
    }

    /// The pacing task will look again at this instant, or when the bell rings.
    pub(crate) fn will_look(&mut self, at_ns: u64) {
        self.looks_at_ns = at_ns;
    }

    /// Wakes the pacing task if somebody is ready before it would look.
    #[inline]
    pub(crate) fn ring_if_early(&mut self) {
        if self.next_ready().is_some_and(|ready_ns| ready_ns < self.looks_at_ns) {
            self.looks_at_ns = 0;
            self.bell.notify_one();
        }
    }

    /// Responses have come over a connection: whoever can go on at once is to, together with those of other connections
    /// that were ready to be read at the same time. `true` when there are enough of these.
    #[inline]
    pub(crate) fn gather(&mut self) -> bool {
        if self.next_ready().is_none() {
            return false;
        }
        self.reads += 1;
        if self.reads == 1 {
            self.at_once.notify_one();
        }
        self.reads >= MOST_READS
    }

    /// All who are ready are let go.
    #[inline]
    pub(crate) fn gathered(&mut self) {
        self.reads = 0;
    }

    /// Rings when somebody may be ready by responses that have come.
    pub(crate) fn at_once(&self) -> Rc<Notify> {
        self.at_once.clone()
    }

    /// Rings when the pacing task should look. May ring once too often.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::closed::Until;
    use crate::units::Nanos;

    const MS: u64 = 1_000_000;

    fn connections(count: u64) -> Connections {
        Connections {
            count,
            limit: 0,
            window: 4,
            stagger: false,
            connect_timeout: Nanos::from_secs(1),
            request_timeout: Nanos::from_secs(1),
            source_addresses: vec![],
        }
    }

    fn users(count: u64, slots: u64, until: Until, ramp_up: Nanos, worker: (u64, u64)) -> Users {
        let think = Think { from: Nanos(5 * MS), to: Nanos(5 * MS) };
        let closed = Closed { users: count, until, at_most: None, think, ramp_up };
        Users::new(&closed, &connections(slots), Segment::WHOLE, worker, 1)
    }

    #[test]
    fn users_live_on_the_slots_of_their_worker_and_begin_along_the_ramp() {
        let until = Until::Requests(100);
        let mut first = users(5, 4, until, Nanos(10 * MS), (0, 2));
        assert_eq!((first.on_slot(0), first.on_slot(1), first.on_slot(9)), (2, 1, 0), "slots 0 and 2");
        let order: Vec<_> = std::iter::from_fn(|| first.take()).collect();
        assert_eq!(order, [(0, 0), (4 * MS, 1), (8 * MS, 0)]);
        assert_eq!(users(5, 4, until, Nanos::ZERO, (1, 2)).on_slot(1), 1);
    }

    #[test]
    fn who_has_thought_is_ready_and_the_earliest_sends_first() {
        let mut users = users(2, 2, Until::Requests(100), Nanos::ZERO, (0, 1));
        users.take();
        users.take();
        assert_eq!(users.next_ready(), None);
        users.free(1, 7, 20 * MS);
        users.free(0, 8, 10 * MS);
        assert_eq!(users.next_ready(), Some(15 * MS));
        assert_eq!(
            (users.take(), users.take(), users.take()),
            (Some((15 * MS, 0)), Some((25 * MS, 1)), None)
        );
    }

    proptest! {
        #[test]
        fn the_earliest_is_always_first(instants in prop::collection::vec((0u64..40, 0u32..4, any::<bool>()), 1..60)) {
            let (mut ready, mut all) = (Ready::default(), Vec::new());
            for (instant, slot, is_taken) in instants {
                ready.push((instant, slot));
                all.push((instant, slot));
                prop_assert_eq!(ready.len(), all.len());
                if is_taken {
                    let first = ready.pop().expect("somebody");
                    prop_assert_eq!(Some(first.0), all.iter().map(|user| user.0).min());
                    let index = all.iter().position(|user| *user == first).expect("pushed before");
                    all.remove(index);
                }
            }
        }
    }

    #[test]
    fn after_the_end_nobody_is_ready_and_the_load_is_over() {
        let mut users = users(1, 1, Until::Time(Nanos(20 * MS)), Nanos::ZERO, (0, 1));
        assert!(!users.are_counted() && users.go_on(19 * MS) && !users.are_over(30 * MS));
        users.take();
        users.free(0, 0, 15 * MS);
        assert_eq!(users.next_ready(), None, "ready at the end is too late");
        assert!(users.are_over(20 * MS) && !users.are_over(19 * MS));
    }

    #[test]
    fn what_a_slot_will_be_asked_for_is_never_rounded_down() {
        let users = users(4, 2, Until::Requests(100), Nanos::ZERO, (0, 1));
        assert_eq!((users.share_of(0, 0), users.share_of(0, 1), users.share_of(1, 9)), (0, 1, 5));
        assert!(users.share_of(0, u64::MAX) >= u64::MAX / 2);
    }
}
