//! Hot path
//!
//! Sending: from due requests to bytes that the kernel has taken.

use std::io;

use crate::engine::End;
use crate::engine::connection::{Pending, Queued};
use crate::engine::worker::{Wanted, Worker, mark};
use crate::ledger::Outcome;

impl Worker {
    /// Puts a request on its slot's connection; `false` when there is no room.
    pub(super) fn assign(&mut self, slot: usize, queued: Queued) -> bool {
        let Some(id) = self.connection_with_room(slot) else { return false };
        let connection = &mut self.connections[id];
        let (chunk, _) = &self.chunks.slab[queued.chunk as usize];
        let frame = &chunk.items[queued.item as usize].frame;
        let start = connection.output.len();
        connection.output.extend_from_slice(&chunk.bytes[frame.start as usize..frame.end as usize]);
        connection.pending.push_back(Pending { queued, start });
        connection.used += 1;
        self.pending += 1;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
        let needs_spare = connection.room() <= self.spare_room;
        self.taken(slot);
        if needs_spare {
            self.consider_opening(slot);
        }
        true
    }

    pub(super) fn connection_with_room(&mut self, slot: usize) -> Option<usize> {
        let slot = &mut self.slots[slot];
        if slot.current.is_none_or(|id| self.connections[id].room() == 0) && slot.spare.is_some() {
            slot.current = slot.spare.take();
        }
        let id = slot.current?;
        let connection = &self.connections[id];
        let has_room = connection.room() > 0 && connection.outstanding() < self.config.connections.window;
        has_room.then_some(id)
    }

    /// Writes to every connection that has something new, the one with the oldest request first.
    pub(super) fn flush_dirty(&mut self) {
        let mut next = 0;
        // Writing may find a connection broken, which then writes what is left to do by itself.
        while let Some(&id) = self.dirty.get(next) {
            self.flush(id);
            next += 1;
        }
        self.dirty.clear();
    }

    /// Gives a connection's output to the kernel, and stamps the requests whose first byte it took.
    pub(super) fn flush(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        if connection.blocked || connection.written == connection.output.len() {
            return;
        }
        let sent_ns = self.clock.now_ns();
        match connection.writer.try_write(&connection.output[connection.written..]) {
            Ok(bytes) => {
                connection.written += bytes;
                self.stamp(id, sent_ns);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.trouble(id, "write", error.to_string());
                self.lose(id, End::Reset, Outcome::Reset);
                return;
            }
        }
        let connection = &mut self.connections[id];
        if connection.written == connection.output.len() {
            connection.output.clear();
            connection.written = 0;
        } else {
            connection.compact();
            connection.blocked = true;
            self.wanted.push(Wanted::Writable(id, (connection.slot, connection.generation)));
        }
    }

    pub(super) fn stamp(&mut self, id: usize, sent_ns: u64) {
        let connection = &mut self.connections[id];
        let slot = connection.slot;
        let mut last_sent = None;
        let mut stamped = 0;
        while let Some(pending) = connection.pending.front().copied() {
            if pending.start >= connection.written {
                break;
            }
            connection.pending.pop_front();
            let item = &self.chunks.slab[pending.queued.chunk as usize].0.items[pending.queued.item as usize];
            connection.inflight.push(item, sent_ns);
            self.shard.sent(mark(item), sent_ns);
            last_sent = Some(item.n);
            stamped += 1;
            if let Some(chunk) = self.chunks.release(pending.queued) {
                self.ports.source.recycle(chunk);
            }
        }
        connection.sent += stamped;
        self.in_flight += stamped;
        self.pending -= stamped as usize;
        let slot = &mut self.slots[slot];
        slot.last_sent = slot.last_sent.max(last_sent);
    }

    /// Lets waiting requests of a slot go as far as there is room.
    pub(super) fn refill(&mut self, slot: usize) {
        let now_ns = self.clock.now_ns();
        while let Some(&queued) = self.slots[slot].queue.front() {
            let late = now_ns.saturating_sub(self.chunks.item(queued).due_ns) > self.config.max_lateness.0;
            if !late && (self.stopped || !self.assign(slot, queued)) {
                break;
            }
            self.slots[slot].queue.pop_front();
            self.queued -= 1;
            if late {
                self.drop_request(slot, queued, Outcome::Late);
            }
        }
        self.flush_dirty();
    }
}
