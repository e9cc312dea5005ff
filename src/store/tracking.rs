//! Client-side caching: who has read which keys, and must be told when they change.
//!
//! 1. A client that tracks and reads a key is remembered with it, whatever the database; in broadcast mode it
//!    names prefixes instead.
//! 2. When a key is written, expires or is flushed away, those who are remembered are told once, and
//!    forgotten.
//! 3. The table is bounded: of too many keys one is told as changed, although it was not.

use std::collections::{BTreeMap, HashMap};

use super::observers::Waiter;

/// How a client tracks.
#[derive(Debug, Clone, Default)]
pub struct Caching {
    /// The client that is told instead; 0 for none.
    pub redirect: u64,
    /// It is told of all keys with its prefixes, whether it has read them or not.
    pub broadcast: bool,
    /// Only reads after CLIENT CACHING YES count.
    pub opt_in: bool,
    /// Reads after CLIENT CACHING NO do not count.
    pub opt_out: bool,
    /// Its own writes are not told.
    pub no_loop: bool,
    /// CLIENT CACHING, for the next command.
    pub next: bool,
    /// The client that should be told is gone.
    pub broken: bool,
    /// The prefixes, sorted.
    pub prefixes: Vec<Box<[u8]>>,
}

impl Caching {
    /// Whether the keys that it reads now are to be remembered.
    pub fn remembers(&self) -> bool {
        match (self.broadcast, self.opt_in, self.opt_out) {
            (true, _, _) => false,
            (false, true, _) => self.next,
            (false, false, true) => !self.next,
            (false, false, false) => true,
        }
    }
}

/// Keys that have changed, each with whether that was by itself.
type ChangedKeys = Vec<(Box<[u8]>, bool)>;

/// Keys that have changed, when somebody wants to know.
#[derive(Debug, Default)]
pub struct Changes {
    /// Somebody wants to know.
    pub wanted: bool,
    /// A whole database has been emptied.
    pub flushed: bool,
    keys: ChangedKeys,
}

impl Changes {
    /// Whether there is anything to tell.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.flushed
    }

    /// A key has changed, because of a command or by itself: it has expired.
    #[cold]
    pub fn add(&mut self, key: &[u8], by_itself: bool) {
        // A command often touches a key several times in a row.
        if self.keys.last().is_none_or(|(last, by)| **last != *key || *by != by_itself) {
            self.keys.push((key.into(), by_itself));
        }
    }

    /// Hands out what there is to tell: whether all keys are gone, and those that have changed.
    pub fn take(&mut self) -> (bool, ChangedKeys) {
        (std::mem::take(&mut self.flushed), std::mem::take(&mut self.keys))
    }
}

/// Keys, and the number of the client that has written each last; none for one that has expired.
pub type WrittenKeys = BTreeMap<Box<[u8]>, Option<u64>>;

/// Who wants to be told of which keys.
#[derive(Debug)]
pub struct Tracking {
    clients: Vec<Waiter>,
    keys: HashMap<Box<[u8]>, Vec<Waiter>>,
    /// Clients of all keys together.
    items: usize,
    prefixes: BTreeMap<Box<[u8]>, Vec<Waiter>>,
    /// Keys that have changed since the turn began, by prefix.
    waiting: BTreeMap<Box<[u8]>, WrittenKeys>,
    /// `tracking-table-max-keys`; 0 for no limit.
    max_keys: usize,
}

impl Default for Tracking {
    fn default() -> Tracking {
        let (clients, keys, prefixes) = (Vec::new(), HashMap::new(), BTreeMap::new());
        Tracking { clients, keys, items: 0, prefixes, waiting: BTreeMap::new(), max_keys: 1_000_000 }
    }
}

impl Tracking {
    /// Remembers at most so many keys; 0 for no limit.
    pub fn set_max_keys(&mut self, max_keys: usize) {
        self.max_keys = max_keys;
    }

    /// How many clients track.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many clients are remembered, all keys together.
    pub fn items(&self) -> usize {
        self.items
    }

    /// How many prefixes clients have named.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// A client begins to track, or tracks in another way.
    pub fn join(&mut self, waiter: Waiter, prefixes: &[Box<[u8]>]) {
        if !self.clients.contains(&waiter) {
            self.clients.push(waiter);
        }
        for prefix in prefixes {
            let clients = self.prefixes.entry(prefix.clone()).or_default();
            if !clients.contains(&waiter) {
                clients.push(waiter);
            }
        }
    }

    /// A client no longer tracks. What it has read is forgotten when it changes.
    pub fn leave(&mut self, waiter: Waiter, prefixes: &[Box<[u8]>]) {
        self.clients.retain(|client| *client != waiter);
        for prefix in prefixes {
            let Some(clients) = self.prefixes.get_mut(prefix) else { continue };
            clients.retain(|client| *client != waiter);
            if clients.is_empty() {
                self.prefixes.remove(prefix);
            }
        }
        if self.clients.is_empty() {
            self.clear();
        }
    }

    /// A client has read a key. Returns a key that is to be told as changed, to make room.
    pub fn remember(&mut self, key: &[u8], waiter: Waiter) -> Option<Box<[u8]>> {
        if let Some(clients) = self.keys.get_mut(key) {
            if !clients.contains(&waiter) {
                clients.push(waiter);
                self.items += 1;
            }
            return None;
        }
        let is_full = self.max_keys > 0 && self.keys.len() >= self.max_keys;
        let victim = if is_full { self.keys.keys().next().cloned() } else { None };
        self.keys.insert(key.into(), vec![waiter]);
        self.items += 1;
        victim
    }

    /// Who has read a key; they are forgotten.
    pub fn take(&mut self, key: &[u8]) -> Vec<Waiter> {
        let clients = self.keys.remove(key).unwrap_or_default();
        self.items -= clients.len();
        clients
    }

    /// Who has named a prefix of a key.
    pub fn broadcast(&mut self, key: &[u8], writer: Option<Waiter>) {
        for (prefix, _) in self.prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix)) {
            let keys = self.waiting.entry(prefix.clone()).or_default();
            keys.insert(key.into(), writer.map(|waiter| waiter.id));
        }
    }

    /// Whether keys with prefixes have changed.
    pub fn has_broadcasts(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to be told of each prefix: to whom, and the keys with the number of who has written each.
    pub fn take_broadcasts(&mut self) -> Vec<(Vec<Waiter>, WrittenKeys)> {
        let waiting = std::mem::take(&mut self.waiting);
        let told = |(prefix, keys)| Some((self.prefixes.get(&prefix)?.clone(), keys));
        waiting.into_iter().filter_map(told).collect()
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.items = 0;
    }

    /// All clients that track.
    pub fn everybody(&self) -> Vec<Waiter> {
        self.clients.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Waiter = Waiter { slot: 1, id: 1 };
    const TWO: Waiter = Waiter { slot: 2, id: 2 };

    #[test]
    fn who_has_read_a_key_is_told_once() {
        let mut tracking = Tracking::default();
        tracking.join(ONE, &[]);
        assert_eq!(tracking.remember(b"k", ONE), None);
        tracking.remember(b"k", ONE);
        tracking.remember(b"k", TWO);
        assert_eq!((tracking.keys(), tracking.items()), (1, 2));
        assert_eq!(tracking.take(b"k"), [ONE, TWO]);
        assert!(tracking.take(b"k").is_empty() && tracking.items() == 0);
    }

    #[test]
    fn a_full_table_gives_a_key_away() {
        let mut tracking = Tracking::default();
        tracking.set_max_keys(2);
        tracking.join(ONE, &[]);
        assert_eq!((tracking.remember(b"a", ONE), tracking.remember(b"b", ONE)), (None, None));
        let victim = tracking.remember(b"c", ONE).expect("one too many");
        assert_eq!(tracking.take(&victim), [ONE]);
        assert_eq!(tracking.keys(), 2);
        tracking.leave(ONE, &[]);
        assert_eq!((tracking.keys(), tracking.clients()), (0, 0));
    }

    #[test]
    fn prefixes_are_those_of_who_names_them() {
        let mut tracking = Tracking::default();
        let (all, users) = ([Box::from(&b""[..])], [Box::from(&b"user:"[..])]);
        tracking.join(ONE, &all);
        tracking.join(TWO, &users);
        for (key, writer) in [(&b"user:1"[..], Some(TWO)), (b"other", None), (b"user:1", Some(ONE))] {
            tracking.broadcast(key, writer);
        }
        let told = tracking.take_broadcasts();
        let (user, other) = ((b"user:1"[..].into(), Some(ONE.id)), (b"other"[..].into(), None));
        let expected = [(vec![ONE], [user.clone(), other].into()), (vec![TWO], [user].into())];
        assert_eq!(told, expected);
        tracking.leave(ONE, &all);
        tracking.broadcast(b"other", None);
        assert!(tracking.prefixes() == 1 && !tracking.has_broadcasts());
    }
}
