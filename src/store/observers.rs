//! Who must know when a key changes: transactions that watch it, clients that wait for it.

use std::collections::{HashMap, HashSet, VecDeque};

/// A client that waits: its slot and its number, because slots are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Its place among the clients.
    pub slot: usize,
    /// Its number.
    pub id: u64,
}

/// One key that somebody observes.
#[derive(Debug, Default)]
struct Observed {
    watchers: Vec<u64>,
    /// First come, first served.
    waiters: VecDeque<Waiter>,
    /// It is among the ready ones.
    ready: bool,
}

/// All observed keys.
#[derive(Debug, Default)]
pub struct Observers {
    keys: HashMap<usize, HashMap<Box<[u8]>, Observed>>,
    count: usize,
    /// Clients whose watched keys have changed.
    dirty: HashSet<u64>,
    /// Keys with waiters that have been written.
    ready: VecDeque<(usize, Box<[u8]>)>,
}

impl Observers {
    /// Whether nobody observes anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn observed(&mut self, db: usize, key: &[u8]) -> &mut Observed {
        let keys = self.keys.entry(db).or_default();
        if !keys.contains_key(key) {
            keys.insert(key.into(), Observed::default());
            self.count += 1;
        }
        keys.entry(key.into()).or_default()
    }

    fn release(&mut self, db: usize, key: &[u8], change: impl FnOnce(&mut Observed)) {
        let Some(keys) = self.keys.get_mut(&db) else { return };
        let Some(observed) = keys.get_mut(key) else { return };
        change(observed);
        if observed.watchers.is_empty() && observed.waiters.is_empty() {
            keys.remove(key);
            self.count -= 1;
            if keys.is_empty() {
                self.keys.remove(&db);
            }
        }
    }

    /// `client` watches a key; once is enough.
    pub fn watch(&mut self, db: usize, key: &[u8], client: u64) {
        let observed = self.observed(db, key);
        if !observed.watchers.contains(&client) {
            observed.watchers.push(client);
        }
    }

    /// `client` no longer watches these keys, and what has happened to them is forgotten.
    pub fn unwatch(&mut self, keys: &[(usize, Box<[u8]>)], client: u64) {
        for (db, key) in keys {
            self.release(*db, key, |observed| observed.watchers.retain(|other| *other != client));
        }
        self.dirty.remove(&client);
    }

    /// Whether a key that `client` watches has changed.
    pub fn is_dirty(&self, client: u64) -> bool {
        self.dirty.contains(&client)
    }

    /// A client waits for a key.
    pub fn wait(&mut self, db: usize, key: &[u8], waiter: Waiter) {
        let observed = self.observed(db, key);
        if !observed.waiters.contains(&waiter) {
            observed.waiters.push_back(waiter);
        }
    }

    /// A client no longer waits for a key.
    pub fn unwait(&mut self, db: usize, key: &[u8], waiter: Waiter) {
        self.release(db, key, |observed| observed.waiters.retain(|other| *other != waiter));
    }

    /// A key has changed.
    #[cold]
    pub fn wrote(&mut self, db: usize, key: &[u8]) {
        let Some(observed) = self.keys.get_mut(&db).and_then(|keys| keys.get_mut(key)) else { return };
        self.dirty.extend(&observed.watchers);
        self.wake(db, key);
    }

    /// Those who wait for a key are to look again.
    pub fn wake(&mut self, db: usize, key: &[u8]) {
        let Some(observed) = self.keys.get_mut(&db).and_then(|keys| keys.get_mut(key)) else { return };
        if !observed.waiters.is_empty() && !observed.ready {
            observed.ready = true;
            self.ready.push_back((db, key.into()));
        }
    }

    /// The keys of a database that are observed.
    pub fn keys_of(&self, db: usize) -> Vec<Box<[u8]>> {
        self.keys.get(&db).into_iter().flat_map(|keys| keys.keys().cloned()).collect()
    }

    /// Whether keys with waiters have been written.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key that was written, with those who wait for it.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>, Vec<Waiter>)> {
        let (db, key) = self.ready.pop_front()?;
        let mut waiters = Vec::new();
        if let Some(observed) = self.keys.get_mut(&db).and_then(|keys| keys.get_mut(&key)) {
            observed.ready = false;
            waiters.extend(&observed.waiters);
        }
        Some((db, key, waiters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_key_that_changes_makes_its_watchers_dirty_until_they_stop() {
        let mut observers = Observers::default();
        observers.watch(0, b"k", 7);
        observers.watch(0, b"k", 7);
        observers.wrote(1, b"k");
        assert!(!observers.is_dirty(7));
        observers.wrote(0, b"k");
        assert!(observers.is_dirty(7));
        observers.unwatch(&[(0, b"k"[..].into())], 7);
        assert!(!observers.is_dirty(7) && observers.is_empty());
    }

    #[test]
    fn waiters_come_in_their_order_and_a_key_is_ready_once() {
        let mut observers = Observers::default();
        let (one, two) = (Waiter { slot: 1, id: 1 }, Waiter { slot: 2, id: 2 });
        observers.wait(0, b"k", one);
        observers.wait(0, b"k", two);
        observers.wrote(0, b"k");
        observers.wrote(0, b"k");
        assert_eq!(observers.next_ready(), Some((0, b"k"[..].into(), vec![one, two])));
        assert!(!observers.has_ready());
        observers.unwait(0, b"k", one);
        observers.wrote(0, b"k");
        assert_eq!(observers.next_ready().map(|ready| ready.2), Some(vec![two]));
        observers.unwait(0, b"k", two);
        assert!(observers.is_empty());
    }
}
