//! Frees what is large on a thread of its own, so that no client waits for it.
//!
//! The thread is started when there is something for it, and ends with the store. At most
//! [`QUEUE`] values wait; beyond that, and where no thread can be had, whoever has the value frees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::entry::{Content, Entry, View};
use super::table::Table;
use super::value::Object;

/// Values that may wait to be freed.
const QUEUE: usize = 1024;
/// Allocations from which on a value is freed in the background. Below, handing it over costs more.
const WORTH_IT: usize = 64;

/// What is to be freed.
#[derive(Debug)]
pub enum Garbage {
    /// A key with its value.
    Entry(Entry),
    /// A whole database.
    Table(Table),
}

impl Garbage {
    /// Values in it, for the counters.
    fn values(&self) -> u64 {
        match self {
            Garbage::Entry(_) => 1,
            Garbage::Table(table) => table.len() as u64,
        }
    }

    fn is_large(&self) -> bool {
        match self {
            Garbage::Entry(entry) => is_large(entry),
            Garbage::Table(table) => table.len() > WORTH_IT,
        }
    }
}

/// Whether freeing the value of an entry takes long.
#[inline]
pub fn is_large(entry: &Entry) -> bool {
    match entry.view() {
        View::Object(object) => object.effort() > WORTH_IT,
        _ => false,
    }
}

/// Frees values in the background.
#[derive(Debug, Default)]
pub struct Reclaimer {
    worker: Option<Worker>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    pending: AtomicU64,
    freed: AtomicU64,
}

#[derive(Debug)]
struct Worker {
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Garbage>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(counters: Arc<Counters>) -> Option<Worker> {
        let (queue, garbage) = sync_channel(QUEUE);
        let builder = std::thread::Builder::new().name("store-reclaim".into());
        let thread = builder.spawn(move || free_all(&garbage, &counters)).ok()?;
        Some(Worker { queue: Some(queue), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread ends when the queue is empty and has no sender.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn free_all(garbage: &Receiver<Garbage>, counters: &Counters) {
    for one in garbage {
        let values = one.values();
        drop(one);
        counters.pending.fetch_sub(values, Ordering::Relaxed);
        counters.freed.fetch_add(values, Ordering::Relaxed);
    }
}

impl Reclaimer {
    /// Frees it: at once when it is small, else in the background.
    pub fn free(&mut self, garbage: Garbage) {
        if !garbage.is_large() {
            return;
        }
        if self.worker.is_none() {
            self.worker = Worker::start(Arc::clone(&self.counters));
        }
        let Some(queue) = self.worker.as_ref().and_then(|worker| worker.queue.as_ref()) else { return };
        let values = garbage.values();
        self.counters.pending.fetch_add(values, Ordering::Relaxed);
        if let Err(TrySendError::Full(garbage) | TrySendError::Disconnected(garbage)) =
            queue.try_send(garbage)
        {
            drop(garbage);
            self.counters.pending.fetch_sub(values, Ordering::Relaxed);
        }
    }

    /// Takes the value out of an entry that will get another one, when freeing it would take long.
    #[inline]
    pub fn free_value(&mut self, entry: &mut Entry) {
        if is_large(entry) {
            self.free_large_value(entry);
        }
    }

    #[cold]
    fn free_large_value(&mut self, entry: &mut Entry) {
        if let Some(object) = entry.object_mut().map(std::mem::take) {
            self.free(Garbage::Entry(Entry::new(b"", Content::Object(Box::new(object)), None)));
        }
    }

    /// Values that wait to be freed.
    pub fn pending(&self) -> u64 {
        self.counters.pending.load(Ordering::Relaxed)
    }

    /// Values that have been freed in the background.
    pub fn freed(&self) -> u64 {
        self.counters.freed.load(Ordering::Relaxed)
    }
}

impl Object {
    /// About how many allocations freeing it takes; large blocks count as many.
    #[inline]
    pub fn effort(&self) -> usize {
        match self {
            Object::Raw(bytes) => bytes.capacity() >> 14,
            Object::Hash(table) => table.len(),
            Object::List(list) => list.chunks(),
            Object::SortedSet(set) => set.len(),
            Object::Stream(stream) => stream.effort(),
            Object::Set(set) => set.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::table::KeyHash;

    fn table(keys: usize) -> Table {
        let mut table = Table::new();
        for n in 0..keys {
            let key = n.to_string();
            let entry = Entry::new(key.as_bytes(), Content::String(b"value"), None);
            table.insert_new(KeyHash::of(key.as_bytes()), entry);
        }
        table
    }

    fn hash(fields: usize) -> Entry {
        Entry::new(b"key", Content::Object(Box::new(Object::Hash(table(fields)))), None)
    }

    #[test]
    fn what_is_large_is_freed_elsewhere_and_counted() {
        let mut reclaimer = Reclaimer::default();
        reclaimer.free(Garbage::Entry(hash(10)));
        assert!(reclaimer.worker.is_none(), "nothing large yet");
        for _ in 0..QUEUE * 2 {
            reclaimer.free(Garbage::Entry(hash(100)));
        }
        reclaimer.free(Garbage::Table(table(1000)));
        drop(reclaimer.worker.take());
        assert_eq!(reclaimer.pending(), 0);
        assert!(reclaimer.freed() > 0);
    }

    #[test]
    fn a_large_value_leaves_its_entry_and_a_small_one_stays() {
        let mut reclaimer = Reclaimer::default();
        let (mut small, mut large) = (hash(10), hash(100));
        reclaimer.free_value(&mut small);
        reclaimer.free_value(&mut large);
        assert!(matches!(small.view(), View::Object(Object::Hash(table)) if table.len() == 10));
        assert!(matches!(large.view(), View::Object(Object::Raw(bytes)) if bytes.is_empty()));
        assert_eq!(large.key(), b"key");
    }
}
