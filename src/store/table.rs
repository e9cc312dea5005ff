//! Hot path
//!
//! A table of entries that can be scanned while it changes.
//!
//! The space of hashes is cut into segments, each a hash table of at most 448 entries, found
//! through a directory (extendible hashing). A full segment is split in two; nothing else moves, so
//! no insert ever pauses for the whole table.
//!
//! A scan walks the space of hashes from left to right, one segment at a time, and its cursor is
//! where the next segment begins. A key never changes its place in that space, and a split
//! leaves borders where they are and adds one. So a key that is there from the first to the last call
//! is returned, whatever else comes and goes.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use hashbrown::HashTable;

use super::entry::Entry;

/// Entries in one segment: seven eighths of 512 places.
const SEGMENT_MAX: usize = 448;
/// Segments are never split further than this: 2^24 of them.
const MAX_DEPTH: u8 = 24;

/// Seeded once for the process, so that no peer can choose keys that collide.
static HASHER: LazyLock<foldhash::fast::RandomState> = LazyLock::new(foldhash::fast::RandomState::default);

/// The hash of a key, for the functions of [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(u64);

impl KeyHash {
    /// Hashes a key.
    #[inline]
    pub fn of(key: &[u8]) -> KeyHash {
        let mut hasher = HASHER.build_hasher();
        hasher.write(key);
        KeyHash(hasher.finish())
    }

    /// Its place in the space that scans walk. Taken from other bits than those by which a
    /// segment finds its place and tag (the lowest and the seven highest).
    #[inline]
    fn place(self) -> u32 {
        (self.0 >> 24) as u32
    }
}

#[derive(Debug, Clone)]
struct Segment {
    entries: HashTable<Entry>,
    /// How many leading bits of the place all its entries share.
    depth: u8,
    /// How many of its entries have an expiry.
    volatile: u32,
}

/// Keys with their values.
#[derive(Debug, Clone)]
pub struct Table {
    /// A segment for each value of the first `depth` bits of a place.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    depth: u8,
    len: usize,
    volatile: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

fn rehash(entry: &Entry) -> u64 {
    KeyHash::of(entry.key()).0
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        let segment = Segment { entries: HashTable::new(), depth: 0, volatile: 0 };
        Table { directory: vec![0], segments: vec![segment], depth: 0, len: 0, volatile: 0 }
    }

    /// How many entries, those included that have expired and are not yet removed.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries have an expiry.
    #[inline]
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    #[inline]
    fn segment_at(&self, place: u32) -> usize {
        self.directory[(u64::from(place) >> (32 - self.depth)) as usize] as usize
    }

    /// The entry of `key`.
    #[inline]
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<&Entry> {
        self.segments[self.segment_at(hash.place())].entries.find(hash.0, |entry| entry.key() == key)
    }

    /// The entry of `key`, to change its value in place. To change its expiry, use
    /// [`Table::set_expiry`].
    #[inline]
    pub fn get_mut(&mut self, hash: KeyHash, key: &[u8]) -> Option<&mut Entry> {
        let segment = self.segment_at(hash.place());
        self.segments[segment].entries.find_mut(hash.0, |entry| entry.key() == key)
    }

    /// The entry of `key` unless `dead` says that it has died; then it is removed and handed back as
    /// an error.
    #[inline]
    pub fn get_live(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        dead: impl FnOnce(&Entry) -> bool,
    ) -> Result<Option<&mut Entry>, Entry> {
        let index = self.segment_at(hash.place());
        let segment = &mut self.segments[index];
        let Some(bucket) = segment.entries.find_bucket_index(hash.0, |entry| entry.key() == key) else {
            return Ok(None);
        };
        if segment.entries.get_bucket(bucket).is_some_and(dead) {
            return self.remove(hash, key).map_or(Ok(None), Err);
        }
        Ok(self.segments[index].entries.get_bucket_mut(bucket))
    }

    /// Asks the processor to fetch what a look-up of a key with this hash will read.
    #[inline]
    pub fn prefetch(&self, hash: KeyHash) {
        let segment = &self.segments[self.segment_at(hash.place())];
        let _ = segment.entries.find(hash.0, |entry| {
            entry.prefetch();
            false
        });
    }

    /// Adds an entry whose key is not in the table.
    pub fn insert_new(&mut self, hash: KeyHash, entry: Entry) {
        let mut index = self.segment_at(hash.place());
        while self.segments[index].entries.len() >= SEGMENT_MAX && self.segments[index].depth < MAX_DEPTH {
            self.split(index, hash.place());
            index = self.segment_at(hash.place());
        }
        let volatile = entry.expiry().is_some();
        let segment = &mut self.segments[index];
        segment.entries.insert_unique(hash.0, entry, rehash);
        segment.volatile += u32::from(volatile);
        self.volatile += usize::from(volatile);
        self.len += 1;
    }

    /// Removes the entry of `key`.
    pub fn remove(&mut self, hash: KeyHash, key: &[u8]) -> Option<Entry> {
        let index = self.segment_at(hash.place());
        let found = self.segments[index].entries.find_entry(hash.0, |entry| entry.key() == key).ok()?;
        let (entry, _) = found.remove();
        self.removed(index, &entry);
        Some(entry)
    }

    /// Keeps the books after an entry has left a segment.
    fn removed(&mut self, index: usize, entry: &Entry) {
        let segment = &mut self.segments[index];
        if entry.expiry().is_some() {
            segment.volatile -= 1;
            self.volatile -= 1;
        }
        self.len -= 1;
        let (len, capacity) = (segment.entries.len(), segment.entries.capacity());
        if capacity > 28 && len < capacity / 8 {
            segment.entries.shrink_to(len * 2, rehash);
        }
    }

    /// Replaces value and expiry of the entry that [`Table::get_mut`] would find, by `change`, and
    /// keeps the count of entries with an expiry. `None` when there is no such entry.
    #[inline]
    pub fn change<R>(
        &mut self,
        hash: KeyHash,
        key: &[u8],
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let index = self.segment_at(hash.place());
        let segment = &mut self.segments[index];
        let entry = segment.entries.find_mut(hash.0, |entry| entry.key() == key)?;
        let before = entry.expiry().is_some();
        let result = change(entry);
        match (before, entry.expiry().is_some()) {
            (false, true) => {
                segment.volatile += 1;
                self.volatile += 1;
            }
            (true, false) => {
                segment.volatile -= 1;
                self.volatile -= 1;
            }
            _ => {}
        }
        Some(result)
    }

    /// Cuts the segment at `place` in two.
    fn split(&mut self, index: usize, place: u32) {
        let depth = self.segments[index].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
        }
        let old = std::mem::take(&mut self.segments[index].entries);
        let bit = 1u32 << (31 - depth);
        let right_len = old.iter().filter(|entry| KeyHash(rehash(entry)).place() & bit != 0).count();
        let mut left = HashTable::with_capacity(old.len() - right_len);
        let mut right = HashTable::with_capacity(right_len);
        let (mut left_volatile, mut right_volatile) = (0, 0);
        for entry in old {
            let hash = KeyHash(rehash(&entry));
            let (side, volatile) = match hash.place() & bit {
                0 => (&mut left, &mut left_volatile),
                _ => (&mut right, &mut right_volatile),
            };
            *volatile += u32::from(entry.expiry().is_some());
            side.insert_unique(hash.0, entry, rehash);
        }
        let new = self.segments.len() as u32;
        self.segments[index] = Segment { entries: left, depth: depth + 1, volatile: left_volatile };
        self.segments.push(Segment { entries: right, depth: depth + 1, volatile: right_volatile });
        // The slots of the old segment, of which the second half now belongs to the new one.
        let slots = 1usize << (self.depth - depth);
        let first = (u64::from(place) >> (32 - self.depth)) as usize & !(slots - 1);
        self.directory[first + slots / 2..first + slots].fill(new);
    }

    /// Hands all entries of the segment at `cursor` to `visit` and gives back the cursor of the next
    /// one, 0 after the last. Begin with 0; a number that nobody handed out is taken for some segment.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a Entry)) -> u64 {
        let place = cursor as u32;
        let segment = &self.segments[self.segment_at(place)];
        segment.entries.iter().for_each(&mut visit);
        segment.next_cursor(place)
    }

    /// Like [`Table::scan`], only for entries with an expiry: `visit` sees those of the first segment
    /// at or after `cursor` that has one. Passes at most `limit` segments.
    pub fn scan_volatile(&self, cursor: u64, limit: usize, mut visit: impl FnMut(&Entry)) -> u64 {
        let mut cursor = cursor;
        for _ in 0..limit {
            let Ok(place) = u32::try_from(cursor) else { return 0 };
            let segment = &self.segments[self.segment_at(place)];
            cursor = segment.next_cursor(place);
            if segment.volatile > 0 {
                segment.entries.iter().filter(|entry| entry.expiry().is_some()).for_each(&mut visit);
                break;
            }
            if cursor == 0 {
                break;
            }
        }
        cursor
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments.iter().flat_map(|segment| segment.entries.iter())
    }

    /// An entry chosen by `random`, all of them about equally likely.
    pub fn pick(&self, random: u64) -> Option<&Entry> {
        let (segment, bucket) = self.choose(random)?;
        self.segments[segment].entries.get_bucket(bucket)
    }

    /// Removes the entry that [`Table::pick`] would find.
    pub fn take(&mut self, random: u64) -> Option<Entry> {
        let (segment, bucket) = self.choose(random)?;
        let (entry, _) = self.segments[segment].entries.get_bucket_entry(bucket).ok()?.remove();
        self.removed(segment, &entry);
        Some(entry)
    }

    /// Segment and bucket of an entry chosen by `random`.
    fn choose(&self, random: u64) -> Option<(usize, usize)> {
        let slots = self.directory.len();
        let start = (random >> 32) as usize % slots;
        let mut segments = (0..slots).map(|step| self.directory[(start + step) % slots] as usize);
        let segment = segments.find(|&segment| !self.segments[segment].entries.is_empty())?;
        let entries = &self.segments[segment].entries;
        let buckets = entries.num_buckets();
        let is_full = |bucket: &usize| entries.get_bucket(*bucket).is_some();
        // One in nine buckets is full at least, or there are few: trying some finds one soon.
        let mut random = random;
        let tries = (0..64).map(|_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) as usize % buckets
        });
        let bucket = tries.chain(0..buckets).find(is_full)?;
        Some((segment, bucket))
    }

    /// Places for entries.
    pub fn capacity(&self) -> usize {
        self.segments.iter().map(|segment| segment.entries.capacity()).sum()
    }

    /// Hash tables of which it consists.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of the table with its entries' blocks, as the first `samples` of these let expect; with 0 all
    /// are looked at.
    pub fn bytes(&self, samples: usize) -> usize {
        let samples = if samples == 0 { self.len } else { samples.min(self.len) };
        let bytes: usize = self.iter().take(samples).map(Entry::block_bytes).sum();
        // 2^64 bytes would be needed for an overflow.
        let all = (bytes as u128 * self.len as u128).checked_div(samples as u128).unwrap_or(0);
        self.own_bytes() + all as usize
    }

    /// Bytes of the table itself, without the entries' blocks.
    pub fn own_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(|s| s.entries.allocation_size()).sum();
        segments + self.segments.capacity() * size_of::<Segment>() + self.directory.capacity() * 4
    }
}

impl Segment {
    /// Where the segment after the one that holds `place` begins; 0 after the last.
    fn next_cursor(&self, place: u32) -> u64 {
        let width = 1u64 << (32 - self.depth);
        let next = (u64::from(place) & !(width - 1)) + width;
        if next > u64::from(u32::MAX) { 0 } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::Content;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn add(table: &mut Table, key: &str) {
        let entry = Entry::new(key.as_bytes(), Content::String(b"value"), None);
        table.insert_new(KeyHash::of(key.as_bytes()), entry);
    }

    fn scan_step(table: &Table, cursor: u64, seen: &mut HashSet<String>) -> u64 {
        table.scan(cursor, |entry| {
            seen.insert(String::from_utf8_lossy(entry.key()).into_owned());
        })
    }

    #[test]
    fn a_hundred_thousand_keys_are_found_scanned_and_removed() {
        let mut table = Table::new();
        let keys: Vec<String> = (0..100_000).map(|n| format!("record:{n}")).collect();
        keys.iter().for_each(|key| add(&mut table, key));
        assert_eq!(table.len(), keys.len());
        assert!(table.segments.iter().all(|segment| segment.entries.len() <= SEGMENT_MAX));
        for key in &keys {
            let found = table.get(KeyHash::of(key.as_bytes()), key.as_bytes());
            assert_eq!(found.map(Entry::key), Some(key.as_bytes()));
        }
        let (mut seen, mut cursor, mut calls) = (HashSet::new(), 0, 0);
        loop {
            cursor = scan_step(&table, cursor, &mut seen);
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((seen.len(), calls), (keys.len(), table.segments.len()));
        for key in &keys {
            assert!(table.remove(KeyHash::of(key.as_bytes()), key.as_bytes()).is_some());
        }
        assert!(table.is_empty() && table.iter().next().is_none());
    }

    #[test]
    fn entries_with_an_expiry_are_counted_through_splits_and_changes() {
        let mut table = Table::new();
        for n in 0..2000 {
            let key = format!("{n}");
            let expiry = (n % 4 == 0).then_some(1);
            let entry = Entry::new(key.as_bytes(), Content::String(b""), expiry);
            table.insert_new(KeyHash::of(key.as_bytes()), entry);
        }
        assert_eq!(table.volatile(), 500);
        let hash = |key: &str| KeyHash::of(key.as_bytes());
        table.change(hash("0"), b"0", |entry| entry.set_expiry(None));
        table.change(hash("1"), b"1", |entry| entry.set_expiry(Some(1)));
        table.remove(hash("4"), b"4");
        assert_eq!(table.volatile(), 499);
        assert_eq!(table.segments.iter().map(|s| s.volatile as usize).sum::<usize>(), 499);
        let (mut cursor, mut seen) = (0, 0);
        loop {
            cursor = table.scan_volatile(cursor, 1, |_| seen += 1);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, 499);
    }

    #[test]
    fn a_cursor_that_nobody_handed_out_is_harmless() {
        let mut table = Table::new();
        (0..5000).for_each(|n| add(&mut table, &n.to_string()));
        for cursor in [1, 12345, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let next = table.scan(cursor, |_| {});
            assert!(next == 0 || next > u64::from(cursor as u32));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn a_key_that_stays_is_always_scanned_whatever_comes_and_goes(
            staying in 1usize..3000,
            between in prop::collection::vec((0u32..6000, 0usize..1500), 0..40),
        ) {
            let mut table = Table::new();
            (0..staying).for_each(|n| add(&mut table, &format!("stays:{n}")));
            let (mut seen, mut cursor, mut turns) = (HashSet::new(), 0, between.iter().cycle());
            loop {
                cursor = scan_step(&table, cursor, &mut seen);
                if cursor == 0 {
                    break;
                }
                let Some(&(first, count)) = turns.next() else { continue };
                for n in first..first + count as u32 {
                    let key = format!("moves:{n}");
                    let hash = KeyHash::of(key.as_bytes());
                    if table.remove(hash, key.as_bytes()).is_none() {
                        add(&mut table, &key);
                    }
                }
            }
            for n in 0..staying {
                let key = format!("stays:{n}");
                prop_assert!(seen.contains(&key), "{} was missed", key);
            }
        }
    }
}
