//! What time brings: time-outs, complete windows; and the end of the run.

use std::sync::atomic::Ordering::Relaxed;

use crate::engine::{End, Event, Trouble, Users};
use crate::ledger::Outcome;
use crate::recorder::shard::Closed;
use crate::simulation::model::{Model, Sent};
use crate::units::Nanos;
use crate::wire::Correlate;

impl Model<'_> {
    pub(super) fn sweep(&mut self) {
        if self.ports.control.is_draining() && !self.stopped {
            self.stop();
        }
        self.time_out();
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
        self.close_windows(false, self.connections.len() as u64);
        self.show();
    }

    pub(super) fn time_out(&mut self) {
        while let Some(&(at_ns, id, serial)) = self.expiries.front() {
            // As in the engine: longer than the time-out, and not as long.
            if at_ns >= self.now_ns {
                break;
            }
            self.expiries.pop_front();
            let Some(connection) = self.connections.get_mut(id).filter(|found| found.serial == serial) else {
                continue;
            };
            // The line is in the order of sending, and so are the time-outs.
            let Some(sent) = connection.line.get_mut(connection.silent) else { continue };
            // One that was answered just before this has no time-out any more: the next one's comes later.
            if sent.sent_ns.saturating_add(self.config.connections.request_timeout.0) != at_ns {
                continue;
            }
            let (slot, address) = (connection.slot, self.config.addresses[connection.address]);
            // As in the engine, all of the connection that are overdue by now: their own turns find them ended.
            while let Some(sent) = self.overdue(id) {
                self.ended_after_sending(id, &sent, Outcome::TimedOut);
            }
            if self.connections[id].is_used_up() {
                self.end(id, End::Limit);
            } else if self.config.codec.correlate == Correlate::Order {
                let detail = "a response is overdue, and those behind it cannot be told apart".to_string();
                let at = Nanos(self.now_ns);
                self.tell(Event::Trouble(Trouble { at, kind: "timeout", address, detail }));
                self.lose(id, End::Unanswered, Outcome::Reset);
            }
            self.refill(slot);
        }
    }

    /// Takes out the oldest request of a connection that has waited longer than its time-out.
    fn overdue(&mut self, id: usize) -> Option<Sent> {
        let timeout_ns = self.config.connections.request_timeout.0;
        let connection = self.connections.get_mut(id)?;
        let sent = connection.line.get_mut(connection.silent)?;
        if self.now_ns.saturating_sub(sent.sent_ns) <= timeout_ns {
            return None;
        }
        connection.waiting -= 1;
        if !sent.comes {
            return connection.line.remove(connection.silent);
        }
        sent.waits = false;
        connection.silent += 1;
        Some(*sent)
    }

    /// Nothing that is still to be sent is due before this.
    pub(super) fn due_through_ns(&self) -> u64 {
        if self.stopped {
            return self.now_ns;
        }
        match (&self.users, &self.next) {
            (Some(users), _) => users.next_ready().map_or(self.now_ns, |ready_ns| ready_ns.min(self.now_ns)),
            (None, Some(next)) => next.due_ns.min(self.now_ns),
            (None, None) => self.now_ns,
        }
    }

    pub(super) fn close_windows(&mut self, finished: bool, connections: u64) {
        let (through_ns, mut seconds) = (self.due_through_ns(), 0);
        let (events, number) = (&self.ports.events, self.config.worker);
        self.shard.close(self.now_ns, through_ns, self.in_flight, connections, finished, |closed| {
            seconds += u64::from(matches!(closed, Closed::Second(..)));
            // A collector that is gone has nothing to collect.
            let _ = events.send((number, Event::Window(closed)));
        });
        if seconds > 0 {
            self.pace.second(number);
        }
    }

    pub(super) fn show(&self) {
        let (gauges, outcomes) = (&self.ports.gauges, &self.shard.outcomes);
        gauges.due.store(self.consumed, Relaxed);
        gauges.sent.store(self.shard.sent, Relaxed);
        gauges.matched.store(outcomes.of(Outcome::Matched), Relaxed);
        gauges.failed.store(outcomes.failed() + outcomes.of(Outcome::TimedOut), Relaxed);
        gauges.dropped.store(outcomes.dropped(), Relaxed);
        gauges.in_flight.store(self.in_flight, Relaxed);
        gauges.connections.store(self.connections.len() as u64, Relaxed);
        gauges.opened.store(self.totals.opened, Relaxed);
        self.ports.dial.now_ns.store(self.now_ns, Relaxed);
        self.ports.dial.issued.store(self.issued, Relaxed);
    }

    pub(super) fn tell(&self, event: Event) {
        // A collector that is gone has nothing to collect.
        let _ = self.ports.events.send((self.config.worker, event));
    }

    /// Sends nothing more: what waits for room is dropped, what is in flight may come.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.totals.cut = Some(Nanos(self.now_ns));
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
    }

    pub(super) fn drop_queue(&mut self, slot: usize) {
        while let Some(request) = self.slots[slot].queue.pop_front() {
            self.queued -= 1;
            self.drop_request(slot, &request, Outcome::Stopped);
        }
    }

    pub(super) fn is_finished(&mut self) -> bool {
        if self.ports.control.is_stopping_now() {
            return true;
        }
        let over = self.stopped || self.users.as_ref().is_some_and(|users| users.are_over(self.now_ns));
        if !over && self.next.is_some() {
            return false;
        }
        if self.queued == 0 && self.in_flight == 0 {
            return true;
        }
        let since_ns = *self.draining_since_ns.get_or_insert(self.now_ns);
        self.now_ns - since_ns > self.config.graceful_stop.0
    }

    /// Ends everything that is still open and makes up the account.
    pub(super) fn settle_accounts(&mut self) {
        let open: Vec<usize> = self.connections.iter().map(|(id, _)| id).collect();
        let connections = open.len() as u64;
        self.stopped = true;
        for id in open {
            if self.connections[id].waiting > 0 {
                self.lose(id, End::Finished, Outcome::TimedOut);
            } else {
                self.end(id, End::Finished);
            }
        }
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
        // Time ends a load without a number of requests: none of them is missing.
        if self.users.as_ref().is_none_or(Users::are_counted) {
            self.shard.not_reached(self.share - self.consumed);
        }
        let since = self.totals.cut.unwrap_or(Nanos(self.now_ns));
        let goes_on = self.users.as_ref().is_none_or(|users| users.go_on(since.0));
        self.totals.cut = (goes_on && self.consumed < self.share).then_some(since);
        self.close_windows(true, connections);
        self.hand_over_batch();
        self.show();
        let mut totals = std::mem::take(&mut self.totals);
        totals.begun = self.consumed;
        totals.kinds = self.shard.take_kinds();
        totals.sent = self.shard.sent;
        totals.outcomes = self.shard.outcomes;
        totals.receipts = self.shard.receipts;
        totals.finished = Nanos(self.now_ns);
        self.tell(Event::Finished(Box::new(totals)));
    }
}
