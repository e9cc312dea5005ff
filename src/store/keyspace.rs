//! Hot path
//!
//! The databases, and the one door through which all of them are changed.
//!
//! Handlers read with [`Keyspace::find`] and change with [`Keyspace::put`], [`Keyspace::edit`],
//! [`Keyspace::set_expiry`], [`Keyspace::remove`], [`Keyspace::flush`], [`Keyspace::swap`]. Each of
//! these ends in `wrote`, so whoever must know of changes (watchers, waiting clients, a log) has one
//! place to stand. An expired key is never handed out: it is removed when it is met.

use super::encodings::Encodings;
use super::entry::{Content, Entry, MAX_INLINE};
use super::notify::{Class, Events};
use super::observers::Observers;
use super::reclaim::{Garbage, Reclaimer};
use super::table::{KeyHash, Table};
use super::tracking::Changes;
use super::value::Object;

/// What becomes of an expiry when the value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The new value has none.
    Clear,
    /// It keeps that of the old one.
    Keep,
    /// It expires at this time (milliseconds of the wall clock).
    At(i64),
}

/// Counters of the keyspace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Changes since the start.
    pub dirty: u64,
    /// Reads of keys that were there.
    pub hits: u64,
    /// Reads of keys that were not.
    pub misses: u64,
    /// Keys that have expired.
    pub expired: u64,
}

/// Who must know of changes: counters, watchers and waiting clients, listeners to notifications, and clients
/// that keep copies.
#[derive(Debug, Default)]
pub struct Witnesses {
    counters: Counters,
    /// Who watches keys, or waits for them.
    pub observers: Observers,
    /// Notifications that are wanted, and those that wait.
    pub events: Events,
    /// Keys that have changed, for clients that keep copies of them.
    pub changes: Changes,
}

/// All databases, at one moment.
#[derive(Debug)]
pub struct Keyspace {
    databases: Vec<Table>,
    now_ms: i64,
    /// Seconds, for the access clocks of entries.
    clock: u32,
    /// Frees what is large.
    pub reclaimer: Reclaimer,
    /// Who must know of changes.
    pub witnesses: Witnesses,
    /// How large values may grow in their small form.
    pub encodings: Encodings,
    /// Where the search for expired keys goes on.
    pub(super) expiry_cursor: (usize, u64),
}

/// A string as content: in its entry when it fits.
#[inline]
pub fn string_content(bytes: &[u8]) -> Content<'_> {
    if bytes.len() <= MAX_INLINE {
        Content::String(bytes)
    } else {
        Content::Object(Box::new(Object::Raw(bytes.to_vec())))
    }
}

impl Keyspace {
    /// So many empty databases.
    pub fn new(databases: usize) -> Keyspace {
        let databases = (0..databases.max(1)).map(|_| Table::new()).collect();
        Keyspace {
            databases,
            now_ms: 0,
            clock: 0,
            reclaimer: Reclaimer::default(),
            witnesses: Witnesses::default(),
            encodings: Encodings::default(),
            expiry_cursor: (0, 0),
        }
    }

    /// Moves time to `now_ms` (milliseconds of the wall clock). Everything until the next call happens then.
    pub fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.clock = (now_ms / 1000) as u32;
    }

    /// The time that is noted in entries when they are used.
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// The time of everything that happens now, in milliseconds of the wall clock.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.witnesses.counters
    }

    /// Sets all counters but that of changes to zero.
    pub fn reset_counters(&mut self) {
        self.witnesses.counters = Counters { dirty: self.witnesses.counters.dirty, ..Counters::default() };
    }

    /// How many databases.
    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    /// A database, to walk over. May hold keys that have expired.
    #[inline]
    pub fn table(&self, db: usize) -> &Table {
        &self.databases[db]
    }

    /// Keys in all databases.
    pub fn key_count(&self) -> usize {
        self.databases.iter().map(Table::len).sum()
    }

    #[inline]
    fn live(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        let place = Place { db, key, now_ms: self.now_ms };
        place.live(&mut self.databases[db], &mut self.witnesses, &mut self.reclaimer)
    }

    /// Reads a key, counts the read, and notes in the entry that it is used.
    #[inline]
    pub fn read(&mut self, db: usize, key: &[u8]) -> Option<&Entry> {
        let clock = self.clock;
        let entry = self.counted(db, key)?;
        entry.touch(clock);
        Some(entry)
    }

    /// Reads a key and counts the read.
    pub fn read_untouched(&mut self, db: usize, key: &[u8]) -> Option<&Entry> {
        self.counted(db, key).map(|entry| &*entry)
    }

    #[inline]
    fn counted(&mut self, db: usize, key: &[u8]) -> Option<&mut Entry> {
        let place = Place { db, key, now_ms: self.now_ms };
        let found = place.live(&mut self.databases[db], &mut self.witnesses, &mut self.reclaimer);
        if found.is_some() {
            self.witnesses.counters.hits += 1;
        } else {
            self.witnesses.counters.misses += 1;
            self.witnesses.events.add(Class::KEY_MISS, "keymiss", db, key);
        }
        found
    }

    /// Looks at a key without counting a read.
    #[inline]
    pub fn find(&mut self, db: usize, key: &[u8]) -> Option<&Entry> {
        self.live(db, key).map(|entry| &*entry)
    }

    /// Whether a key is there.
    pub fn contains(&mut self, db: usize, key: &[u8]) -> bool {
        self.live(db, key).is_some()
    }

    /// Sets a key to a value, of whatever type it was.
    #[inline]
    pub fn put(&mut self, db: usize, key: &[u8], content: Content<'_>, expiry: Expiry) {
        let hash = KeyHash::of(key);
        let (now_ms, clock) = (self.now_ms, self.clock);
        let (table, reclaimer) = (&mut self.databases[db], &mut self.reclaimer);
        let at = match expiry {
            Expiry::At(at) => Some(at),
            _ => None,
        };
        // The closure takes the content only when there is an entry.
        let mut content = Some(content);
        let was_expired = table.change(hash, key, |entry| {
            let was_expired = entry.is_expired(now_ms);
            let kept = entry.expiry().filter(|_| expiry == Expiry::Keep && !was_expired);
            if let Some(content) = content.take() {
                reclaimer.free_value(entry);
                entry.replace(content, at.or(kept));
                entry.touch(clock);
            }
            was_expired
        });
        if let Some(content) = content {
            let mut entry = Entry::new(key, content, at);
            entry.touch(clock);
            table.insert_new(hash, entry);
        }
        if was_expired == Some(true) {
            self.witnesses.expired(db, key);
        }
        if was_expired != Some(false) {
            self.witnesses.events.add(Class::NEW, "new", db, key);
        }
        self.wrote(db, key, 1);
    }

    /// Adds an entry that was taken out elsewhere, under its own key, replacing what is there.
    pub fn put_entry(&mut self, db: usize, mut entry: Entry) {
        let hash = KeyHash::of(entry.key());
        match self.databases[db].remove(hash, entry.key()) {
            Some(old) => self.reclaimer.free(Garbage::Entry(old)),
            None => self.witnesses.events.add(Class::NEW, "new", db, entry.key()),
        }
        entry.touch(self.clock);
        self.wrote(db, entry.key(), 1);
        self.databases[db].insert_new(hash, entry);
    }

    /// Changes a value in place. `changes` counts what `edit` says it changed; 0 is no write.
    pub fn edit<R>(&mut self, db: usize, key: &[u8], edit: impl FnOnce(&mut Entry) -> (R, u64)) -> Option<R> {
        let clock = self.clock;
        let entry = self.live(db, key)?;
        let (result, changes) = edit(entry);
        entry.touch(clock);
        if changes > 0 {
            self.wrote(db, key, changes);
        }
        Some(result)
    }

    /// Like [`Keyspace::edit`], of a key that is made with `new` when it is not there.
    pub fn edit_or_insert<R>(
        &mut self,
        db: usize,
        key: &[u8],
        new: impl FnOnce() -> Content<'static>,
        edit: impl FnOnce(&mut Entry) -> (R, u64),
    ) -> R {
        let clock = self.clock;
        let (result, changes) = match self.live(db, key) {
            Some(entry) => {
                let done = edit(entry);
                entry.touch(clock);
                done
            }
            None => {
                let mut entry = Entry::new(key, new(), None);
                let done = edit(&mut entry);
                entry.touch(clock);
                self.databases[db].insert_new(KeyHash::of(key), entry);
                self.witnesses.events.add(Class::NEW, "new", db, key);
                done
            }
        };
        if changes > 0 {
            self.wrote(db, key, changes);
        }
        result
    }

    /// Like [`Keyspace::edit`], of what nobody is told of who watches the key or waits for it.
    pub fn edit_unseen<R>(
        &mut self,
        db: usize,
        key: &[u8],
        edit: impl FnOnce(&mut Entry) -> (R, u64),
    ) -> Option<R> {
        let (result, changes) = edit(self.live(db, key)?);
        self.witnesses.counters.dirty += changes;
        Some(result)
    }

    /// Lets those who wait for a key look again, although it was not written.
    pub fn wake(&mut self, db: usize, key: &[u8]) {
        self.witnesses.observers.wake(db, key);
    }

    /// Sets or removes the expiry of a key that is there; whether it is.
    pub fn set_expiry(&mut self, db: usize, key: &[u8], expiry: Option<i64>) -> bool {
        let clock = self.clock;
        let changed = self.databases[db].change(KeyHash::of(key), key, |entry| {
            entry.set_expiry(expiry);
            entry.touch(clock);
        });
        if changed.is_some() {
            self.wrote(db, key, 1);
        }
        changed.is_some()
    }

    /// Removes a key and hands out what it held; `None` when it was not there or had expired.
    pub fn remove(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let entry = self.databases[db].remove(KeyHash::of(key), key)?;
        if entry.is_expired(self.now_ms) {
            self.reclaimer.free(Garbage::Entry(entry));
            self.witnesses.expired(db, key);
            return None;
        }
        self.wrote(db, key, 1);
        Some(entry)
    }

    /// Removes a key and frees what it held; whether it was there.
    pub fn delete(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(entry) = self.remove(db, key) else { return false };
        self.reclaimer.free(Garbage::Entry(entry));
        true
    }

    /// Removes a key because its time has come.
    pub(super) fn expire(&mut self, db: usize, key: &[u8]) {
        if let Some(entry) = self.databases[db].remove(KeyHash::of(key), key) {
            self.reclaimer.free(Garbage::Entry(entry));
            self.witnesses.expired(db, key);
        }
    }

    /// Empties a database and frees what was in it.
    pub fn flush(&mut self, db: usize) {
        let table = self.clear(db);
        self.reclaimer.free(Garbage::Table(table));
    }

    /// Empties a database, and hands out what was in it.
    fn clear(&mut self, db: usize) -> Table {
        let table = std::mem::take(&mut self.databases[db]);
        self.witnesses.counters.dirty += table.len() as u64;
        self.witnesses.changes.flushed |= self.witnesses.changes.wanted;
        for key in self.witnesses.observers.keys_of(db) {
            if table.get(KeyHash::of(&key), &key).is_some() {
                self.wrote(db, &key, 0);
            }
        }
        table
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let observed = [one, other].map(|db| (db, self.witnesses.observers.keys_of(db)));
        // What has expired is removed now, in the database where it did: it is no change to who observes the
        // other one.
        for key in observed.iter().flat_map(|(_, keys)| keys) {
            self.contains(one, key);
            self.contains(other, key);
        }
        self.databases.swap(one, other);
        self.witnesses.counters.dirty += 1;
        for (db, key) in observed.iter().flat_map(|(db, keys)| keys.iter().map(|key| (*db, key))) {
            if self.contains(one, key) || self.contains(other, key) {
                self.wrote(db, key, 0);
            }
        }
    }

    /// Tells whoever wants to know what has happened to a key.
    #[inline]
    pub fn notify(&mut self, class: Class, event: &'static str, db: usize, key: &[u8]) {
        self.witnesses.events.add(class, event, db, key);
    }

    /// Whether somebody must be told of what has been written.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.witnesses.observers.has_ready()
            || !self.witnesses.events.is_empty()
            || !self.witnesses.changes.is_empty()
    }

    /// Counts further changes of a key that was written.
    pub fn count_changes(&mut self, changes: u64) {
        self.witnesses.counters.dirty += changes;
    }

    /// Every change of a key ends here.
    #[inline]
    fn wrote(&mut self, db: usize, key: &[u8], changes: u64) {
        self.witnesses.wrote(db, key, changes);
    }
}

/// A key, as it is looked for.
struct Place<'k> {
    db: usize,
    key: &'k [u8],
    now_ms: i64,
}

impl Place<'_> {
    /// The entry, unless its time has come: then it is removed.
    #[inline]
    fn live<'t>(
        &self,
        table: &'t mut Table,
        witnesses: &mut Witnesses,
        reclaimer: &mut Reclaimer,
    ) -> Option<&'t mut Entry> {
        let is_expired = |entry: &Entry| entry.is_expired(self.now_ms);
        match table.get_live(KeyHash::of(self.key), self.key, is_expired) {
            Ok(entry) => entry,
            Err(entry) => {
                reclaimer.free(Garbage::Entry(entry));
                witnesses.expired(self.db, self.key);
                None
            }
        }
    }
}

impl Witnesses {
    #[inline]
    fn wrote(&mut self, db: usize, key: &[u8], changes: u64) {
        self.counters.dirty += changes;
        if !self.observers.is_empty() {
            self.observers.wrote(db, key);
        }
        if self.changes.wanted {
            self.changes.add(key, false);
        }
    }

    /// A key was removed because its time has come.
    #[cold]
    fn expired(&mut self, db: usize, key: &[u8]) {
        self.counters.expired += 1;
        self.events.add(Class::EXPIRED, "expired", db, key);
        self.observers.wrote(db, key);
        if self.changes.wanted {
            self.changes.add(key, true);
        }
    }
}
