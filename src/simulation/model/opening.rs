//! Opening connections, and what becomes of one that ends.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::engine::{ConnectionRecord, End, Event, back_off};
use crate::ledger::Outcome;
use crate::simulation::model::{Connection, Model};
use crate::units::Nanos;

impl Model<'_> {
    /// Requests that a slot will still be asked for, as far as is known.
    pub(super) fn still_wanted(&self, slot: usize) -> u64 {
        let waiting = &self.slots[slot];
        match &self.users {
            None => waiting.unassigned,
            Some(users) => {
                let over = self.stopped || !users.go_on(self.now_ns);
                let left = if over { 0 } else { self.share - self.consumed };
                users.share_of(slot, left).saturating_add(waiting.queue.len() as u64)
            }
        }
    }

    /// Asks for another connection when a slot will soon need one and none is on its way.
    pub(super) fn consider_opening(&mut self, slot: usize) {
        let wants = &self.slots[slot];
        if wants.opening || wants.spare.is_some() || self.stopped {
            return;
        }
        let room = wants.current.map_or(0, |id| self.connections[id].room());
        if room > self.spare_room || self.still_wanted(slot) <= room {
            return;
        }
        let wants = &mut self.slots[slot];
        wants.opening = true;
        let pause =
            back_off(wants.failures, self.config.seed, wants.number, wants.opened).unwrap_or_default();
        let pause_ns = Nanos::from(pause).0;
        let at_ns = self.now_ns.saturating_add(pause_ns).saturating_add(self.connect_ns);
        self.openings.push(Reverse((at_ns, slot)));
    }

    /// A connection of the slot is open.
    pub(super) fn opened(&mut self, slot: usize) {
        let connections = &self.config.connections;
        let wants = &mut self.slots[slot];
        let generation = wants.opened;
        let turn = wants.number + generation * connections.count + u64::from(wants.failures);
        self.serials += 1;
        let id = self.connections.insert(Connection {
            slot,
            generation,
            serial: self.serials,
            address: (turn % self.config.addresses.len() as u64) as usize,
            opened_ns: self.now_ns,
            limit: connections.limit_of(wants.number, generation),
            sent: 0,
            matched: 0,
            received: 0,
            line: VecDeque::new(),
            waiting: 0,
            silent: 0,
        });
        wants.opening = false;
        wants.opened += 1;
        self.totals.opened += 1;
        self.totals.reconnects += u64::from(generation > 0);
        if wants.current.is_none() { wants.current = Some(id) } else { wants.spare = Some(id) }
    }

    /// Takes a connection out of service and closes it.
    pub(super) fn end(&mut self, id: usize, end: End) {
        let connection = self.connections.remove(id);
        let slot = &mut self.slots[connection.slot];
        if slot.current == Some(id) {
            slot.current = slot.spare.take();
        } else if slot.spare == Some(id) {
            slot.spare = None;
        }
        let record = ConnectionRecord {
            slot: slot.number,
            generation: connection.generation,
            address: self.config.addresses[connection.address],
            opened: Nanos(connection.opened_ns),
            connect_time: Nanos(self.connect_ns),
            closed: Nanos(self.now_ns),
            sent: connection.sent,
            matched: connection.matched,
            end,
        };
        self.tell(Event::Connection(record));
        self.consider_opening(connection.slot);
    }

    /// A connection is given up: what waits on it has ended so.
    pub(super) fn lose(&mut self, id: usize, end: End, outcome: Outcome) {
        let connection = &mut self.connections[id];
        let (slot, answered_nothing) = (connection.slot, connection.received == 0);
        connection.waiting = 0;
        let line = std::mem::take(&mut connection.line);
        for sent in line.iter().filter(|sent| sent.waits) {
            self.ended_after_sending(id, sent, outcome);
        }
        self.slots[slot].failures += u32::from(answered_nothing);
        self.end(id, end);
    }
}
