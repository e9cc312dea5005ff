//! Hot path
//!
//! Receiving: from bytes to settled requests and completions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::arrival::{self, Arrived};
use crate::engine::End;
use crate::engine::inflight::{Entry, Found};
use crate::engine::worker::Worker;
use crate::handoff::{Completion, Reuse};
use crate::ledger::Outcome;
use crate::wire::Frame;

/// Completions are handed over when there are this many, or at the next sweep.
const BATCH_ITEMS: usize = 256;

/// Or when their responses have this many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// Reads of one connection before it is judged: 8 MiB, more than a socket holds.
const READS_AT_ONCE: usize = 128;

impl Worker {
    /// Reads what a connection holds and settles the requests that it answers.
    /// Ready with `false` when the connection has ended.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        id: usize,
        stream: &mut OwnedReadHalf,
    ) -> Poll<bool> {
        if !self.connections.contains(id) {
            return Poll::Ready(false);
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let polled = if self.config.stamps {
            arrival::poll_read(stream.as_ref(), context, &mut buffer)
        } else {
            let mut space = ReadBuf::new(&mut buffer);
            Pin::new(stream)
                .poll_read(context, &mut space)
                .map_ok(|()| Arrived { bytes: space.filled().len(), age_ns: 0 })
        };
        let alive = match polled {
            Poll::Pending => {
                self.read_buffer = buffer;
                return Poll::Pending;
            }
            Poll::Ready(read) => self.take_in(id, read, &buffer),
        };
        self.read_buffer = buffer;
        self.gather_users();
        Poll::Ready(alive)
    }

    /// What a read has come to. `false` when the connection has ended by it.
    #[inline]
    fn take_in(&mut self, id: usize, read: io::Result<Arrived>, buffer: &[u8]) -> bool {
        match read {
            Ok(Arrived { bytes: 0, .. }) => {
                self.peer_closed(id);
                false
            }
            Ok(arrived) => self.receive(id, &buffer[..arrived.bytes], arrived.age_ns),
            Err(error) => {
                self.trouble(id, "read", error.to_string());
                self.lose(id, End::Reset, Outcome::Reset);
                false
            }
        }
    }

    /// Reads what a connection holds before requests on it are judged by the clock: if the process has stood still,
    /// responses that came in time lie there, and nobody has heard of them. Without stamps nobody could say when.
    #[cold]
    pub(super) fn catch_up(&mut self, id: usize) {
        if !self.config.stamps {
            return;
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        for _ in 0..READS_AT_ONCE {
            let Some(connection) = self.connections.get(id) else { break };
            let read = arrival::read(connection.writer.as_ref(), &mut buffer);
            let is_empty = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            if is_empty || !self.take_in(id, read, &buffer) {
                break;
            }
        }
        self.read_buffer = buffer;
    }

    /// Decodes frames out of bytes that came so long ago. `false` when the connection has ended by it.
    pub(super) fn receive(&mut self, id: usize, bytes: &[u8], age_ns: u64) -> bool {
        let now_ns = self.clock.now_ns();
        let received_ns = now_ns.saturating_sub(age_ns);
        let mut partial = std::mem::take(&mut self.connections[id].partial);
        let whole = if partial.is_empty() {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial
        };
        let mut at = 0;
        let codec = self.config.codec;
        let broken = loop {
            match codec.decode(&whole[at..]) {
                Ok(None) => break None,
                Ok(Some(frame)) => {
                    at += frame.consumed;
                    self.settle(id, &frame, received_ns, now_ns);
                }
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = broken {
            self.shard.receipts.received += 1;
            self.shard.receipts.malformed += 1;
            self.trouble(id, "protocol", error.to_string());
            self.lose(id, End::Protocol, Outcome::Protocol);
            return false;
        }
        let rest = whole.len() - at;
        if partial.is_empty() {
            partial.extend_from_slice(&bytes[at..]);
        } else {
            partial.copy_within(at.., 0);
            partial.truncate(rest);
        }
        let connection = &mut self.connections[id];
        connection.partial = partial;
        let slot = connection.slot;
        if connection.is_used_up() {
            self.end(id, End::Limit);
            self.refill(slot);
            return false;
        }
        if !self.slots[slot].queue.is_empty() {
            self.refill(slot);
        }
        true
    }

    /// One response. Who waits for it goes on now, whenever it came: what was due before now is accounted for.
    pub(super) fn settle(&mut self, id: usize, frame: &Frame<'_>, received_ns: u64, now_ns: u64) {
        self.shard.receipts.received += 1;
        let response_to = frame.id;
        let connection = &mut self.connections[id];
        connection.received += 1;
        match connection.inflight.take(response_to) {
            Found::Waiting(entry) => {
                self.in_flight -= 1;
                // A wall clock that was set while the bytes waited must not make an answer older than its request.
                let received_ns = received_ns.max(entry.sent_ns);
                if received_ns - entry.sent_ns > self.config.connections.request_timeout.0 {
                    // It came before the sweep saw it, but too late all the same.
                    self.shard.receipts.late += 1;
                    self.ended_after_sending(id, &entry, Outcome::TimedOut);
                    return;
                }
                connection.matched += 1;
                let slot = connection.slot;
                self.slots[slot].failures = 0;
                self.shard.matched(entry.mark(), entry.sent_ns, received_ns, frame.refused);
                if frame.refused && self.totals.first_error_reply.is_none() {
                    self.note_error_reply(frame.body);
                }
                if self.ports.sink.is_some() {
                    self.completed(id, &entry, received_ns, Outcome::Matched, frame.body);
                }
                self.free_user(slot, entry.n, Some(now_ns));
            }
            Found::Late => self.shard.receipts.late += 1,
            Found::Nobody => {
                if self.was_sent_before(id, response_to) {
                    self.shard.receipts.duplicate += 1;
                } else {
                    self.shard.receipts.unknown += 1;
                }
            }
        }
    }

    pub(super) fn was_sent_before(&self, id: usize, response_to: Option<u64>) -> bool {
        let slot = &self.slots[self.connections[id].slot];
        response_to.is_some_and(|n| {
            (self.users.is_some() || n % self.config.connections.count == slot.number)
                && n % self.config.segment.of() == self.config.segment.index()
                && slot.last_sent.is_some_and(|last| n <= last)
        })
    }

    /// A request that was sent has ended without a response.
    pub(super) fn ended_after_sending(&mut self, id: usize, entry: &Entry, outcome: Outcome) {
        self.shard.ended(entry.mark(), outcome);
        if self.config.all_completions {
            self.completed(id, entry, 0, outcome, &[]);
        }
        self.free_user(self.connections[id].slot, entry.n, None);
    }

    fn completed(&mut self, id: usize, entry: &Entry, received_ns: u64, outcome: Outcome, body: &[u8]) {
        let connection = &self.connections[id];
        let start = self.batch.bytes.len() as u32;
        self.batch.bytes.extend_from_slice(body);
        self.complete(Completion {
            n: entry.n,
            due_ns: entry.due_ns,
            sent_ns: entry.sent_ns,
            received_ns,
            outcome,
            address: connection.address,
            slot: self.slots[connection.slot].number as u32,
            generation: connection.generation as u32,
            body: start..start + body.len() as u32,
        });
    }

    pub(super) fn complete(&mut self, completion: Completion) {
        self.batch.items.push(completion);
        if self.batch.items.len() >= BATCH_ITEMS || self.batch.bytes.len() >= BATCH_BYTES {
            self.hand_over_batch();
        }
    }

    pub(super) fn hand_over_batch(&mut self) {
        let Some(sink) = &mut self.ports.sink else {
            self.batch.reuse();
            return;
        };
        if !self.batch.items.is_empty() {
            let empty = sink.empty();
            self.overflow.push_back(std::mem::replace(&mut self.batch, empty));
        }
        while let Some(batch) = self.overflow.pop_front() {
            if let Err(batch) = sink.try_send(batch) {
                self.overflow.push_front(batch);
                break;
            }
        }
    }
}
