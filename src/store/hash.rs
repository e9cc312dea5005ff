//! Hashes: packed into their entry while small, a table of fields when not.
//!
//! Packed, each field and each value is a length byte and its bytes, in the order in which fields were
//! first set. A hash leaves this form at the limits of `hash-max-listpack-entries` and
//! `hash-max-listpack-value`, and never returns to it.

use std::ops::Range;

use super::entry::{Content, Entry, Kind, View};
use super::table::{KeyHash, Table};
use super::value::Object;

/// Fields in a packed hash.
pub const MAX_PACKED_FIELDS: usize = 128;
/// Bytes of a field or value in a packed hash.
pub const MAX_PACKED_BYTES: usize = 64;

/// A hash as it is read.
#[derive(Debug, Clone, Copy)]
pub enum Hash<'a> {
    /// Small.
    Packed(&'a [u8]),
    /// Not small.
    Table(&'a Table),
}

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
            Hash::Packed(bytes) => Items(bytes).count() / 2,
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
    pub fn for_each(self, mut visit: impl FnMut(&'a [u8], &'a [u8])) {
        match self {
            Hash::Packed(bytes) => {
                let mut items = Items(bytes);
                while let (Some(field), Some(value)) = (items.next(), items.next()) {
                    visit(field, value);
                }
            }
            Hash::Table(table) => table.iter().for_each(|entry| visit(entry.key(), field_value(entry))),
        }
    }

    /// One step of HSCAN: at least `count` fields unless it is the end; gives back the next cursor.
    pub fn scan(self, mut cursor: u64, count: usize, mut visit: impl FnMut(&'a [u8], &'a [u8])) -> u64 {
        let Hash::Table(table) = self else {
            self.for_each(visit);
            return 0;
        };
        let mut seen = 0;
        loop {
            cursor = table.scan(cursor, |entry| {
                seen += 1;
                visit(entry.key(), field_value(entry));
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

/// Fields and values of a packed hash by turns.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        let (item, rest) = rest.split_at_checked(usize::from(len))?;
        self.0 = rest;
        Some(item)
    }
}

struct Found {
    /// The field and its value, with both length bytes.
    pair: Range<usize>,
    /// The bytes of the value.
    value: Range<usize>,
}

fn find(bytes: &[u8], field: &[u8]) -> Option<Found> {
    let mut at = 0;
    while at < bytes.len() {
        let field_len = usize::from(bytes[at]);
        let value = at + 1 + field_len;
        let value_len = usize::from(*bytes.get(value)?);
        let end = value + 1 + value_len;
        if bytes.get(at + 1..value) == Some(field) {
            return Some(Found { pair: at..end, value: value + 1..end });
        }
        at = end;
    }
    None
}

fn fits(field: &[u8], value: &[u8]) -> bool {
    field.len() <= MAX_PACKED_BYTES && value.len() <= MAX_PACKED_BYTES
}

fn push_item(out: &mut Vec<u8>, item: &[u8]) {
    out.push(item.len() as u8);
    out.extend_from_slice(item);
}

/// The content of a hash with these fields, the later of two equal ones counting; and how many
/// there are. `packed` is scratch space that the content may borrow.
pub fn build<'p, 'a>(
    pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
    packed: &'p mut Vec<u8>,
) -> (Content<'p>, usize) {
    packed.clear();
    if pairs.len() > MAX_PACKED_FIELDS || !pairs.clone().all(|(field, value)| fits(field, value)) {
        let mut table = Table::new();
        for (field, value) in pairs {
            set_in_table(&mut table, field, value);
        }
        let len = table.len();
        return (Content::Object(Box::new(Object::Hash(table))), len);
    }
    let mut len = 0;
    for (field, value) in pairs {
        match find(packed, field) {
            Some(found) => {
                packed[found.value.start - 1] = value.len() as u8;
                packed.splice(found.value, value.iter().copied());
            }
            None => {
                push_item(packed, field);
                push_item(packed, value);
                len += 1;
            }
        }
    }
    (Content::PackedHash(packed), len)
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
pub fn set(entry: &mut Entry, field: &[u8], value: &[u8]) -> bool {
    if entry.kind() == Kind::PackedHash {
        let found = find(entry.inline(), field);
        if fits(field, value) {
            if let Some(found) = found {
                if found.value.len() != value.len() {
                    let at = found.value.start - 1;
                    entry.splice(at..at + 1, &[value.len() as u8]);
                }
                entry.splice(found.value, value);
                return false;
            }
            if Items(entry.inline()).count() / 2 < MAX_PACKED_FIELDS {
                append(entry, field, value);
                return true;
            }
        }
        unpack(entry);
    }
    match entry.object_mut() {
        Some(Object::Hash(table)) => set_in_table(table, field, value),
        _ => false,
    }
}

fn append(entry: &mut Entry, field: &[u8], value: &[u8]) {
    let mut pair = [0u8; 2 * (MAX_PACKED_BYTES + 1)];
    let (f, v) = (field.len(), value.len());
    pair[0] = f as u8;
    pair[1..=f].copy_from_slice(field);
    pair[f + 1] = v as u8;
    pair[f + 2..f + 2 + v].copy_from_slice(value);
    let end = entry.inline().len();
    entry.splice(end..end, &pair[..f + v + 2]);
}

/// Turns a packed hash into a table.
fn unpack(entry: &mut Entry) {
    let mut table = Table::new();
    Hash::Packed(entry.inline()).for_each(|field, value| {
        set_in_table(&mut table, field, value);
    });
    let expiry = entry.expiry();
    entry.replace(Content::Object(Box::new(Object::Hash(table))), expiry);
}

/// Removes a field; whether it was there.
pub fn remove(entry: &mut Entry, field: &[u8]) -> bool {
    if entry.kind() == Kind::PackedHash {
        let Some(found) = find(entry.inline(), field) else { return false };
        entry.splice(found.pair, &[]);
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

    proptest! {
        #[test]
        fn a_hash_does_what_a_map_would_packed_or_not(
            start in prop::collection::vec(("[a-z]{0,2}", "[a-z]{0,9}"), 1..20),
            edits in prop::collection::vec(("[a-z]{0,2}", prop::option::of("[a-z]{0,9}|[a-z]{60,70}")), 0..300),
        ) {
            let mut scratch = Vec::new();
            let pairs = start.iter().map(|(f, v)| (f.as_bytes(), v.as_bytes()));
            let (content, len) = build(pairs, &mut scratch);
            let mut entry = Entry::new(b"key", content, None);
            let mut model: BTreeMap<String, String> = start.iter().cloned().collect();
            prop_assert_eq!(len, model.len());
            for (field, value) in edits {
                match value {
                    Some(value) => {
                        let new = set(&mut entry, field.as_bytes(), value.as_bytes());
                        prop_assert_eq!(new, model.insert(field, value).is_none());
                    }
                    None => {
                        let gone = remove(&mut entry, field.as_bytes());
                        prop_assert_eq!(gone, model.remove(&field).is_some());
                    }
                }
            }
            let hash = Hash::of(&entry).expect("a hash");
            prop_assert_eq!(hash.len(), model.len());
            let mut seen = BTreeMap::new();
            hash.for_each(|field, value| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.insert(text(field), text(value));
            });
            for (field, value) in &model {
                prop_assert_eq!(hash.get(field.as_bytes()), Some(value.as_bytes()));
            }
            prop_assert_eq!(seen, model);
        }
    }
}
