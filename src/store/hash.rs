//! Hashes: packed into their entry while small, a table of fields when not.
//!
//! Packed, there are two bytes with the number of fields, then each field and each value with its length
//! before it, in the order in which fields were first set. A hash leaves this form at the limits of
//! `hash-max-listpack-entries` and `hash-max-listpack-value`, and never returns to it.

use std::ops::Range;

use super::encodings::Encodings;
use super::entry::{Content, Entry, Kind, MAX_PACKED, View};
use super::random::{self, Random};
use super::table::{KeyHash, Table};
use super::value::Object;

/// Bytes with the number of fields.
const COUNT: usize = 2;
/// Lengths from this one on take four more bytes.
const LONG: usize = 255;
/// Bytes of a length.
const MAX_LENGTH: usize = 5;

/// A hash as it is read.
#[derive(Debug, Clone, Copy)]
pub enum Hash<'a> {
    /// Small.
    Packed(&'a [u8]),
    /// Not small.
    Table(&'a Table),
}

/// A field with its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Hash<'a> {
    /// The hash in an entry; `None` when it holds another type.
    #[inline]
    pub fn of(entry: &'a Entry) -> Option<Hash<'a>> {
        match entry.view() {
            View::PackedHash(bytes) => Some(Hash::Packed(bytes)),
            View::Object(Object::Hash(table)) => Some(Hash::Table(table)),
            _ => None,
        }
    }

    /// How many fields.
    pub fn len(self) -> usize {
        match self {
            Hash::Packed(bytes) => packed_len(bytes),
            Hash::Table(table) => table.len(),
        }
    }

    /// The value of a field.
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        match self {
            Hash::Packed(bytes) => find(bytes, field).map(|found| &bytes[found.value]),
            Hash::Table(table) => table.get(KeyHash::of(field), field).map(field_value),
        }
    }

    /// All fields with their values.
    pub fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        let (packed, table) = match self {
            Hash::Packed(bytes) => (Some(Pairs(bytes.get(COUNT..).unwrap_or_default())), None),
            Hash::Table(table) => (None, Some(table)),
        };
        let entries = table.into_iter().flat_map(Table::iter);
        packed.into_iter().flatten().chain(entries.map(|entry| (entry.key(), field_value(entry))))
    }

    /// All fields with their values.
    pub fn for_each(self, visit: impl FnMut(Pair<'a>)) {
        self.iter().for_each(visit);
    }

    /// A field by chance, all about equally likely.
    pub fn pick(self, random: &mut Random) -> Option<Pair<'a>> {
        match self {
            Hash::Packed(_) => self.iter().nth(random.below(self.len())),
            Hash::Table(table) => table.pick(random.next()).map(|entry| (entry.key(), field_value(entry))),
        }
    }

    /// `count` fields by chance, each at most once, and all when there are fewer.
    pub fn some(self, count: usize, random: &mut Random) -> Vec<Pair<'a>> {
        match self {
            // To reach one of a packed hash all before it are passed.
            Hash::Packed(_) => random::in_passing(random, (self.len(), count), self.iter()),
            Hash::Table(_) => {
                random::distinct(random, (self.len(), count), self.iter(), |random| self.pick(random))
            }
        }
    }

    /// One step of HSCAN: at least `count` fields unless it is the end; gives back the next cursor.
    pub fn scan(self, mut cursor: u64, count: usize, mut visit: impl FnMut(Pair<'a>)) -> u64 {
        let Hash::Table(table) = self else {
            self.for_each(visit);
            return 0;
        };
        let mut seen = 0;
        loop {
            cursor = table.scan(cursor, |entry| {
                seen += 1;
                visit((entry.key(), field_value(entry)));
            });
            if cursor == 0 || seen >= count {
                return cursor;
            }
        }
    }
}

/// The value of a field that stands in a table.
fn field_value(entry: &Entry) -> &[u8] {
    match entry.view() {
        View::String(bytes) => bytes,
        View::Object(Object::Raw(bytes)) => bytes,
        _ => &[],
    }
}

/// Fields with their values, one after the other, without the count.
struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        let field = item(self.0, 0)?;
        let value = item(self.0, field.end)?;
        let pair = (&self.0[field], &self.0[value.clone()]);
        self.0 = &self.0[value.end..];
        Some(pair)
    }
}

/// The bytes of the field or value whose length stands at `at`.
#[inline]
fn item(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let len = usize::from(*bytes.get(at)?);
    let (start, len) = if len < LONG { (at + 1, len) } else { (at + MAX_LENGTH, long_length(bytes, at)?) };
    (start + len <= bytes.len()).then_some(start..start + len)
}

#[cold]
fn long_length(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at + 1..)?.first_chunk().map(|len| u32::from_le_bytes(*len) as usize)
}

/// Appends a length as [`item`] reads it.
fn push_length(out: &mut Vec<u8>, len: usize) {
    if len < LONG {
        out.push(len as u8);
    } else {
        out.push(LONG as u8);
        out.extend_from_slice(&(len as u32).to_le_bytes());
    }
}

fn push_pair(out: &mut Vec<u8>, field: &[u8], value: &[u8]) {
    for item in [field, value] {
        push_length(out, item.len());
        out.extend_from_slice(item);
    }
}

struct Found {
    /// The field and its value, with both lengths.
    pair: Range<usize>,
    /// The value with its length.
    length_and_value: Range<usize>,
    /// The bytes of the value.
    value: Range<usize>,
}

fn find(bytes: &[u8], field: &[u8]) -> Option<Found> {
    let mut at = COUNT;
    while at < bytes.len() {
        let own = item(bytes, at)?;
        let value = item(bytes, own.end)?;
        if &bytes[own.clone()] == field {
            return Some(Found { pair: at..value.end, length_and_value: own.end..value.end, value });
        }
        at = value.end;
    }
    None
}

fn packed_len(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |count| usize::from(u16::from_le_bytes(*count)))
}

/// The bytes that say `len`.
fn count_bytes(len: usize) -> [u8; COUNT] {
    (len as u16).to_le_bytes()
}

// A pair takes two bytes at least, and there is only one with two.
const _: () = assert!(MAX_PACKED / 2 <= u16::MAX as usize);

/// Whether a packed hash of `packed` bytes may hold the pair too.
fn fits(packed: usize, (field, value): Pair<'_>, limits: &Encodings) -> bool {
    let longest = field.len().max(value.len());
    longest <= limits.hash_value && packed + field.len() + value.len() + 2 * MAX_LENGTH <= MAX_PACKED
}

/// The content of a hash with these fields, the later of two equal ones counting; and how many
/// there are. `packed` is scratch space that the content may borrow.
pub fn build<'p, 'a>(
    mut pairs: impl Iterator<Item = Pair<'a>>,
    packed: &'p mut Vec<u8>,
    limits: &Encodings,
) -> (Content<'p>, usize) {
    packed.clear();
    packed.extend_from_slice(&count_bytes(0));
    let (mut len, mut left) = (0, None);
    for (field, value) in pairs.by_ref() {
        if len >= limits.hash_entries || !fits(packed.len(), (field, value), limits) {
            left = Some((field, value));
            break;
        }
        match find(packed, field) {
            Some(found) => {
                let mut with = Vec::with_capacity(value.len() + MAX_LENGTH);
                push_length(&mut with, value.len());
                with.extend_from_slice(value);
                packed.splice(found.length_and_value, with);
            }
            None => {
                push_pair(packed, field, value);
                len += 1;
            }
        }
    }
    packed[..COUNT].copy_from_slice(&count_bytes(len));
    let Some(left) = left else { return (Content::PackedHash(packed), len) };
    let mut entry = Entry::new(b"", Content::PackedHash(packed), None);
    std::iter::once(left)
        .chain(pairs)
        .for_each(|(field, value)| len += usize::from(set(&mut entry, field, value, limits)));
    let object = entry.object_mut().map(std::mem::take);
    match object {
        Some(object) => (Content::Object(Box::new(object)), len),
        None => {
            packed.clear();
            packed.extend_from_slice(entry.inline());
            (Content::PackedHash(packed), len)
        }
    }
}

fn set_in_table(table: &mut Table, field: &[u8], value: &[u8]) -> bool {
    let hash = KeyHash::of(field);
    if let Some(entry) = table.get_mut(hash, field) {
        entry.replace(super::keyspace::string_content(value), None);
        return false;
    }
    table.insert_new(hash, Entry::new(field, super::keyspace::string_content(value), None));
    true
}

/// Sets a field of the hash in `entry`; whether it is a new one. Does nothing to another type.
pub fn set(entry: &mut Entry, field: &[u8], value: &[u8], limits: &Encodings) -> bool {
    if entry.kind() == Kind::PackedHash {
        if fits(entry.inline().len(), (field, value), limits) {
            let new = set_packed(entry, field, value);
            if packed_len(entry.inline()) > limits.hash_entries {
                unpack(entry);
            }
            return new;
        }
        unpack(entry);
    }
    match entry.object_mut() {
        Some(Object::Hash(table)) => set_in_table(table, field, value),
        _ => false,
    }
}

fn set_packed(entry: &mut Entry, field: &[u8], value: &[u8]) -> bool {
    let packed = entry.inline();
    match find(packed, field) {
        Some(found) if found.value.len() == value.len() => {
            entry.splice(found.value, value);
            false
        }
        Some(found) => {
            let mut with = Vec::with_capacity(value.len() + MAX_LENGTH);
            push_length(&mut with, value.len());
            with.extend_from_slice(value);
            entry.splice(found.length_and_value, &with);
            false
        }
        None => {
            let (end, count) = (packed.len(), count_bytes(packed_len(packed) + 1));
            let mut pair = Vec::with_capacity(field.len() + value.len() + 2 * MAX_LENGTH);
            push_pair(&mut pair, field, value);
            entry.splice(end..end, &pair);
            entry.splice(0..COUNT, &count);
            true
        }
    }
}

/// Turns a packed hash into a table.
fn unpack(entry: &mut Entry) {
    let mut table = Table::new();
    Hash::Packed(entry.inline()).for_each(|(field, value)| {
        set_in_table(&mut table, field, value);
    });
    let expiry = entry.expiry();
    entry.replace(Content::Object(Box::new(Object::Hash(table))), expiry);
}

/// Removes a field; whether it was there.
pub fn remove(entry: &mut Entry, field: &[u8]) -> bool {
    if entry.kind() == Kind::PackedHash {
        let packed = entry.inline();
        let Some(found) = find(packed, field) else { return false };
        let left = count_bytes(packed_len(packed).saturating_sub(1));
        entry.splice(found.pair, &[]);
        entry.splice(0..COUNT, &left);
        return true;
    }
    match entry.object_mut() {
        Some(Object::Hash(table)) => table.remove(KeyHash::of(field), field).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn is_packed(entry: &Entry) -> bool {
        matches!(Hash::of(entry), Some(Hash::Packed(_)))
    }

    #[test]
    fn a_hash_is_packed_up_to_the_limits_and_never_again() {
        let limits = Encodings { hash_entries: 2, hash_value: 4, ..Encodings::default() };
        let mut scratch = Vec::new();
        let pairs: [Pair<'_>; 3] = [(b"a", b"1"), (b"a", b"2"), (b"b", b"1234")];
        let (content, len) = build(pairs.into_iter(), &mut scratch, &limits);
        let mut entry = Entry::new(b"key", content, None);
        assert!(len == 2 && is_packed(&entry));
        assert!(!set(&mut entry, b"a", b"4321", &limits) && is_packed(&entry));
        for (field, value) in [(&b"c"[..], &b""[..]), (b"a", b"12345"), (b"12345", b"1")] {
            let mut entry = Entry::new(b"key", Content::PackedHash(entry.inline()), Some(7));
            set(&mut entry, field, value, &limits);
            assert!(!is_packed(&entry) && entry.expiry() == Some(7));
            assert!(remove(&mut entry, field) && !is_packed(&entry));
        }
        let lower = Encodings { hash_entries: 1, ..limits };
        assert!(!set(&mut entry, b"a", b"4321", &lower) && !is_packed(&entry));
    }

    #[test]
    fn a_packed_hash_counts_its_fields_and_leaves_when_it_does_not_fit() {
        let limits = Encodings { hash_entries: usize::MAX, hash_value: usize::MAX, ..Encodings::default() };
        let mut entry = Entry::new(b"key", build(std::iter::empty(), &mut Vec::new(), &limits).0, None);
        for n in 0..1000u32 {
            assert!(set(&mut entry, &n.to_le_bytes(), b"", &limits));
            assert_eq!(Hash::of(&entry).map(Hash::len), Some(n as usize + 1));
        }
        assert!(set(&mut entry, b"long", &[b'x'; 70_000], &limits) && is_packed(&entry));
        assert!(set(&mut entry, b"longer", &[b'x'; 70_000], &limits) && !is_packed(&entry));
        assert_eq!(Hash::of(&entry).map(Hash::len), Some(1002));
    }

    #[test]
    fn fields_are_picked_about_equally_often() {
        for entries in [10, 100] {
            let limits = Encodings { hash_entries: entries, ..Encodings::default() };
            let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
            let mut scratch = Vec::new();
            let pairs = names.iter().map(|name| (name.as_bytes(), name.as_bytes()));
            let entry = Entry::new(b"", build(pairs, &mut scratch, &limits).0, None);
            let (hash, mut random) = (Hash::of(&entry).expect("a hash"), Random::new(1));
            let mut times = BTreeMap::new();
            for _ in 0..5000 {
                for (field, _) in hash.pick(&mut random).into_iter().chain(hash.some(9, &mut random)) {
                    *times.entry(field).or_insert(0u32) += 1;
                }
            }
            assert!(times.len() == 50 && times.values().all(|&n| n.abs_diff(1000) < 200), "{times:?}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_does_what_a_map_would_packed_or_not(
            (entries, value) in (0usize..40, 0usize..600),
            start in prop::collection::vec(("[a-z]{0,2}", "[a-z]{0,9}|[a-z]{250,260}"), 1..40),
            edits in prop::collection::vec(
                ("[a-z]{0,2}|[a-z]{254,256}", prop::option::of("[a-z]{0,9}|[a-z]{60,70}|[a-z]{250,260}")), 0..300),
        ) {
            let limits = Encodings { hash_entries: entries, hash_value: value, ..Encodings::default() };
            let mut scratch = Vec::new();
            let pairs = start.iter().map(|(f, v)| (f.as_bytes(), v.as_bytes()));
            let (content, len) = build(pairs, &mut scratch, &limits);
            let mut entry = Entry::new(b"key", content, None);
            let mut model: BTreeMap<String, String> = start.iter().cloned().collect();
            prop_assert_eq!(len, model.len());
            for (field, value) in edits {
                match value {
                    Some(value) => {
                        let new = set(&mut entry, field.as_bytes(), value.as_bytes(), &limits);
                        prop_assert_eq!(new, model.insert(field, value).is_none());
                    }
                    None => {
                        let gone = remove(&mut entry, field.as_bytes());
                        prop_assert_eq!(gone, model.remove(&field).is_some());
                    }
                }
                prop_assert_eq!(Hash::of(&entry).map(Hash::len), Some(model.len()));
            }
            let hash = Hash::of(&entry).expect("a hash");
            let mut seen = BTreeMap::new();
            hash.for_each(|(field, value)| {
                seen.insert(text(field), text(value));
            });
            for (field, value) in &model {
                prop_assert_eq!(hash.get(field.as_bytes()), Some(value.as_bytes()));
            }
            prop_assert_eq!(seen, model);
        }
    }
}
