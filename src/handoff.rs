//! Hot path
//!
//! Handoff: what threads give to each other, in batches, over bounded rings.
//!
//! Payloads go from the feed to a worker as [`Chunk`]s, completions from a worker to the mapping as
//! [`Batch`]es. Each ring has one sender and one receiver; emptied boxes travel back, so a steady
//! run allocates nothing. A full ring is seen by the sender, who decides what to do.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::ledger::Outcome;

/// What is to become of a request when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Send its bytes.
    Send,
    /// Do not send it, and count it so.
    Drop(Outcome),
}

/// One request, ready before it is due.
#[derive(Debug, Clone)]
pub struct Item {
    /// The request number.
    pub n: u64,
    /// When it is due, in nanoseconds from time zero. In the closed model the worker fills it in, when a
    /// user takes the request.
    pub due_ns: u64,
    /// The stage it belongs to.
    pub stage: u16,
    /// Its kind, where there are several; else 0.
    pub kind: u8,
    /// Send or drop.
    pub fate: Fate,
    /// Where its encoded frame lies in the chunk's bytes.
    pub frame: Range<u32>,
}

/// Requests in rising order with their frames.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The requests.
    pub items: Vec<Item>,
    /// Their frames one after the other.
    pub bytes: Vec<u8>,
    /// By which version of the schedule the requests are stamped.
    pub version: u64,
}

/// How one request ended.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The request number.
    pub n: u64,
    /// When it was due.
    pub due_ns: u64,
    /// When its first byte was given to the kernel; 0 if never.
    pub sent_ns: u64,
    /// When its response was complete; 0 if never.
    pub received_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The target's address, as an index into the plan's list.
    pub address: u16,
    /// The connection slot.
    pub slot: u32,
    /// Which connection of the slot, from 0.
    pub generation: u32,
    /// Where the response body lies in the batch's bytes.
    pub body: Range<u32>,
}

/// Completions with their response bodies.
#[derive(Debug, Default)]
pub struct Batch {
    /// The completions, in the order in which they happened.
    pub items: Vec<Completion>,
    /// Response bodies one after the other.
    pub bytes: Vec<u8>,
}

/// Something that can be emptied and used again.
pub trait Reuse: Default {
    /// Empties it and keeps its memory.
    fn reuse(&mut self);
}

impl Reuse for Chunk {
    fn reuse(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.version = 0;
    }
}

impl Reuse for Batch {
    fn reuse(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }
}

/// Wakes the other end when this end is gone.
#[derive(Debug)]
struct LastWord(Arc<Notify>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The giving end.
#[derive(Debug)]
pub struct Sender<T> {
    // Fields are dropped in this order: the ring is given up before the receiver is woken by it.
    ring: rtrb::Producer<Box<T>>,
    returned: rtrb::Consumer<Box<T>>,
    filled: LastWord,
    room: Arc<Notify>,
    hungry: Arc<AtomicBool>,
}

/// The taking end.
#[derive(Debug)]
pub struct Receiver<T> {
    ring: rtrb::Consumer<Box<T>>,
    returned: rtrb::Producer<Box<T>>,
    room: LastWord,
    filled: Arc<Notify>,
    hungry: Arc<AtomicBool>,
    /// With so many boxes left or fewer, the sender is woken.
    refill_at: usize,
}

/// A ring that holds at most `capacity` boxes. A sender that waits for room is woken when a quarter of it is there.
pub fn channel<T: Reuse>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (ring_in, ring_out) = rtrb::RingBuffer::new(capacity);
    let (returned_in, returned_out) = rtrb::RingBuffer::new(capacity + 2);
    let (filled, room) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hungry = Arc::new(AtomicBool::new(false));
    (
        Sender {
            ring: ring_in,
            returned: returned_out,
            filled: LastWord(filled.clone()),
            room: room.clone(),
            hungry: hungry.clone(),
        },
        Receiver {
            ring: ring_out,
            returned: returned_in,
            room: LastWord(room),
            filled,
            hungry,
            refill_at: capacity - (capacity / 4).max(1),
        },
    )
}

impl<T: Reuse> Sender<T> {
    /// An empty box: one that came back, or a new one.
    pub fn empty(&mut self) -> Box<T> {
        self.returned.pop().unwrap_or_default()
    }

    /// Gives a box, or gets it back when the ring is full.
    ///
    /// # Errors
    /// The box itself when there is no room.
    pub fn try_send(&mut self, full: Box<T>) -> Result<(), Box<T>> {
        match self.ring.push(full) {
            Ok(()) => {
                self.filled.0.notify_one();
                Ok(())
            }
            Err(rtrb::PushError::Full(full)) => Err(full),
        }
    }

    /// How many boxes there is room for.
    pub fn slots(&self) -> usize {
        self.ring.slots()
    }

    /// Rings when the receiver has taken something or is gone. May ring once too often.
    pub fn bell(&self) -> Arc<Notify> {
        self.room.clone()
    }

    /// Whether the receiver has asked last and found nothing.
    pub fn hunger(&self) -> Arc<AtomicBool> {
        self.hungry.clone()
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.ring.is_abandoned()
    }
}

impl<T: Reuse> Receiver<T> {
    /// Takes the oldest box.
    pub fn try_recv(&mut self) -> Option<Box<T>> {
        let taken = self.ring.pop().ok();
        // Whoever waits for room is woken for several boxes, not for each.
        if taken.is_some() && self.ring.slots() <= self.refill_at {
            self.room.0.notify_one();
        }
        self.hungry.store(taken.is_none(), Ordering::Relaxed);
        taken
    }

    /// Gives an emptied box back.
    pub fn recycle(&mut self, mut used: Box<T>) {
        used.reuse();
        // A full return ring only means that there are boxes enough.
        let _ = self.returned.push(used);
    }

    /// Wakes the sender although nothing was taken: something else that it waits for may have come.
    pub fn nudge(&self) {
        self.room.0.notify_one();
    }

    /// Rings when something was sent or the sender is gone. May ring once too often.
    pub fn bell(&self) -> Arc<Notify> {
        self.filled.clone()
    }

    /// Whether nothing will come any more: the sender is gone and the ring is empty.
    pub fn is_finished(&self) -> bool {
        // In this order: what was sent before the sender went is seen after it is seen gone.
        self.ring.is_abandoned() && self.ring.is_empty()
    }

    /// How many boxes wait.
    pub fn waiting(&self) -> usize {
        self.ring.slots()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_with_their_memory() {
        let (mut sender, mut receiver) = channel::<Chunk>(2);
        let mut chunk = sender.empty();
        chunk.bytes.extend_from_slice(&[1; 5000]);
        sender.try_send(chunk).expect("room");
        let chunk = receiver.try_recv().expect("sent");
        receiver.recycle(chunk);
        let again = sender.empty();
        assert!(again.bytes.is_empty() && again.bytes.capacity() >= 5000);
    }

    #[test]
    fn a_full_ring_gives_the_box_back() {
        let (mut sender, mut receiver) = channel::<Batch>(1);
        sender.try_send(Box::default()).expect("room");
        assert!(sender.try_send(Box::default()).is_err());
        assert!(!receiver.is_finished());
        drop(sender);
        assert!(!receiver.is_finished());
        assert!(receiver.try_recv().is_some());
        assert!(receiver.is_finished());
    }
}
