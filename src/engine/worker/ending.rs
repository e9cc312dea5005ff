//! What time brings: time-outs, lateness, complete windows; and the end of the run.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock;
use crate::engine::users::Users;
use crate::engine::worker::{Shared, Worker};
use crate::engine::{End, Event, Totals};
use crate::ledger::Outcome;
use crate::units::Nanos;
use crate::wire::Correlate;

/// Bytes of an error reply that are kept.
const ERROR_TEXT: usize = 200;

impl Worker {
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if self.ports.control.is_draining() && !self.stopped {
            self.stop(now_ns);
        }
        if self.in_flight > 0 {
            self.time_out(now_ns);
        }
        if self.queued > 0 {
            for slot in 0..self.slots.len() {
                if !self.slots[slot].queue.is_empty() {
                    self.refill(slot);
                }
            }
        }
        self.hand_over_batch();
        while let Ok(window) = self.ports.windows.try_recv() {
            self.shard.restock(window);
        }
        self.close_windows(now_ns, false, self.connections.len() as u64);
        self.show();
    }

    pub(super) fn time_out(&mut self, now_ns: u64) {
        let timeout_ns = self.config.connections.request_timeout.0;
        for index in 0..self.connections.capacity() {
            if !self.connections.get(index).is_some_and(|c| c.inflight.is_overdue(now_ns, timeout_ns)) {
                continue;
            }
            self.catch_up(index);
            let mut timed_out = false;
            while let Some(entry) =
                self.connections.get_mut(index).and_then(|c| c.inflight.time_out(now_ns, timeout_ns))
            {
                timed_out = true;
                self.in_flight -= 1;
                self.ended_after_sending(index, &entry, Outcome::TimedOut);
            }
            if !timed_out {
                continue;
            }
            let connection = &self.connections[index];
            let slot = connection.slot;
            if connection.is_used_up() {
                self.end(index, End::Limit);
            } else if self.config.codec.correlate == Correlate::Order {
                let detail = "a response is overdue, and those behind it cannot be told apart";
                self.trouble(index, "timeout", detail.to_string());
                self.lose(index, End::Unanswered, Outcome::Reset);
            }
            self.refill(slot);
        }
    }

    /// Nothing that is still to be sent is due before this.
    pub(super) fn due_through_ns(&mut self, now_ns: u64) -> u64 {
        if self.stopped {
            return now_ns;
        }
        if let Some(users) = &self.users {
            // Whoever is not ready now will be so later than now.
            return users.next_ready().map_or(now_ns, |ready_ns| ready_ns.min(now_ns));
        }
        match self.next_due() {
            Some(due_ns) => due_ns.min(now_ns),
            // All of its share has come due: what a change adds is due later than now.
            None if self.consumed == self.share || self.ports.source.is_finished() => now_ns,
            // The next payload is late; due times never fall.
            None => self.last_due_ns,
        }
    }

    pub(super) fn close_windows(&mut self, now_ns: u64, finished: bool, connections: u64) {
        let due_through_ns = self.due_through_ns(now_ns);
        let (events, number) = (&self.ports.events, self.config.worker);
        self.shard.close(now_ns, due_through_ns, self.in_flight, connections, finished, |closed| {
            // A collector that is gone has nothing to collect.
            let _ = events.send((number, Event::Window(closed)));
        });
    }

    pub(super) fn show(&self) {
        let gauges = &self.ports.gauges;
        let outcomes = &self.shard.outcomes;
        gauges.due.store(self.consumed, Relaxed);
        gauges.sent.store(self.shard.sent, Relaxed);
        gauges.matched.store(outcomes.of(Outcome::Matched), Relaxed);
        gauges.failed.store(outcomes.failed() + outcomes.of(Outcome::TimedOut), Relaxed);
        gauges.dropped.store(outcomes.dropped(), Relaxed);
        gauges.in_flight.store(self.in_flight, Relaxed);
        gauges.connections.store(self.connections.len() as u64, Relaxed);
        gauges.opened.store(self.totals.opened, Relaxed);
        gauges.cpu_ns.store(clock::thread_cpu().as_nanos() as u64, Relaxed);
    }

    /// Keeps the words of the first response that is an error.
    #[cold]
    pub(super) fn note_error_reply(&mut self, body: &[u8]) {
        let shown = &body[..body.len().min(ERROR_TEXT)];
        self.totals.first_error_reply = Some(String::from_utf8_lossy(shown).into_owned());
    }

    /// Sends nothing more: what waits for room is dropped, what is in flight may come.
    pub(super) fn stop(&mut self, now_ns: u64) {
        self.stopped = true;
        self.totals.cut = Some(Nanos(now_ns));
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
    }

    pub(super) fn drop_queue(&mut self, slot: usize) {
        while let Some(queued) = self.slots[slot].queue.pop_front() {
            self.queued -= 1;
            self.drop_request(slot, queued, Outcome::Stopped);
        }
    }

    pub(super) fn is_finished(&mut self, now_ns: u64) -> bool {
        if self.ports.control.is_stopping_now() {
            return true;
        }
        let over = self.stopped || self.users.as_ref().is_some_and(|users| users.are_over(now_ns));
        if !over && (self.front.is_some() || !self.ports.source.is_finished()) {
            return false;
        }
        if self.queued == 0 && self.in_flight == 0 && self.pending == 0 {
            return true;
        }
        let since_ns = *self.draining_since_ns.get_or_insert(now_ns);
        now_ns - since_ns > self.config.graceful_stop.0
    }

    /// Ends everything that is still open and makes up the account.
    pub(super) fn settle_accounts(&mut self) {
        let finished = self.clock.now();
        let open: Vec<usize> = self.connections.iter().map(|(id, _)| id).collect();
        let connections = open.len() as u64;
        self.stopped = true;
        self.keep_last_course();
        for id in open {
            if self.connections[id].outstanding() > 0 {
                self.catch_up(id);
            }
            let Some(connection) = self.connections.get(id) else { continue };
            if connection.outstanding() > 0 {
                self.lose(id, End::Finished, Outcome::TimedOut);
            } else {
                self.end(id, End::Finished);
            }
        }
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
        self.wanted.clear();
        // Time ends a load without a number of requests: none of them is missing.
        if self.users.as_ref().is_none_or(Users::are_counted) {
            self.shard.not_reached(self.share.saturating_sub(self.consumed));
        }
        let since = self.totals.cut.unwrap_or(finished);
        let goes_on = self.users.as_ref().is_none_or(|users| users.go_on(since.0));
        self.totals.cut = (goes_on && self.consumed < self.share).then_some(since);
        self.close_windows(finished.0, true, connections);
        self.show();
        self.totals.begun = self.consumed;
        self.totals.kinds = self.shard.take_kinds();
        self.totals.sent = self.shard.sent;
        self.totals.outcomes = self.shard.outcomes;
        self.totals.receipts = self.shard.receipts;
        self.totals.unreachable_slots = self.slots.iter().filter(|slot| slot.down).count() as u64;
        self.totals.finished = finished;
        self.totals.cpu = clock::thread_cpu().saturating_sub(self.cpu_before);
    }
}

/// Gives the last completions away, then the account.
pub(super) async fn finish(shared: &Shared) -> Totals {
    shared.borrow_mut().settle_accounts();
    loop {
        shared.borrow_mut().hand_over_batch();
        let gone = shared.borrow().ports.sink.as_ref().is_none_or(|sink| sink.is_closed());
        if gone || shared.borrow().overflow.is_empty() {
            break;
        }
        clock::sleep(Duration::from_millis(1)).await;
    }
    let mut worker = shared.borrow_mut();
    worker.ports.sink = None;
    std::mem::take(&mut worker.totals)
}
