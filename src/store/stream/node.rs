//! Hot path
//!
//! A node of a stream: entries that follow each other, their bytes one after the other.
//!
//! The names of the fields of the first entry stand once at the front; an entry with the same names
//! holds only values. Every item is its length and its bytes.
//!
//! How full a node is decides where trimming by whole nodes may cut, which clients can see. So a node
//! counts the bytes that it would take as Redis packs it (a listpack), not those it takes here.

use std::collections::VecDeque;

use super::ids::StreamId;
use crate::wire::resp::parse_integer;

/// How much goes in one node; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Entries, deleted ones included: `stream-node-max-entries`.
    pub entries: usize,
    /// Bytes as Redis packs them: `stream-node-max-bytes`.
    pub bytes: usize,
}

impl Default for NodeLimits {
    /// Those of Redis 7.0.
    fn default() -> NodeLimits {
        NodeLimits { entries: 100, bytes: 4096 }
    }
}

/// Fields and values of a new entry.
pub trait Pairs<'a>: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone {}

impl<'a, P: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone> Pairs<'a> for P {}

/// Bytes of all fields and values of one entry, and of one node without a limit.
pub const MAX_BYTES: usize = 1 << 30;

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    id: StreamId,
    /// Where its items begin in the bytes of the node, which stay below 4 GiB: see [`MAX_BYTES`].
    start: u32,
    /// How many fields, times two; odd when their names are those of the first entry.
    fields: u32,
}

/// Entries that follow each other.
#[derive(Debug, Clone)]
pub struct Node {
    slots: VecDeque<Slot>,
    bytes: Vec<u8>,
    /// How many fields the first entry had.
    shared_fields: usize,
    /// The first id that was added.
    base: StreamId,
    /// The last id that was added, deleted or not.
    last: StreamId,
    /// Entries that were added, deleted ones included.
    added: usize,
    /// Bytes as Redis packs them, without the two counts of entries.
    packed: usize,
}

/// Entries of [`Node::slots`] from one place to another.
type Span = std::ops::Range<usize>;

impl Node {
    /// A node with one entry.
    pub fn new<'a>(id: StreamId, pairs: impl Pairs<'a>) -> Node {
        let names = pairs.len();
        let mut node = Node {
            slots: VecDeque::new(),
            bytes: Vec::new(),
            shared_fields: names,
            base: id,
            last: id,
            added: 0,
            packed: LISTPACK_FRAME + packed_integer(names as i64) + packed_integer(0),
        };
        for (name, _) in pairs.clone() {
            push_item(&mut node.bytes, name);
            node.packed += packed_text(name);
        }
        node.push(id, pairs, true);
        node
    }

    /// Whether an entry of `bytes` belongs into the next node.
    pub fn is_full(&self, bytes: usize, limits: NodeLimits) -> bool {
        let max = if limits.bytes == 0 { MAX_BYTES } else { limits.bytes.min(MAX_BYTES) };
        self.packed_bytes() + bytes >= max || limits.entries > 0 && self.added >= limits.entries
    }

    /// Appends an entry with an id above all others.
    pub fn append<'a>(&mut self, id: StreamId, pairs: impl Pairs<'a>) {
        let names = pairs.clone().map(|(name, _)| name);
        let shared =
            pairs.len() == self.shared_fields && names.eq(Items(&self.bytes).take(self.shared_fields));
        self.push(id, pairs, shared);
    }

    fn push<'a>(&mut self, id: StreamId, pairs: impl Pairs<'a>, shared: bool) {
        let count = pairs.len();
        let start = self.bytes.len() as u32;
        let lead = if shared { 2 } else { 0 };
        let mut packed = packed_integer(lead)
            + packed_integer(id.ms.wrapping_sub(self.base.ms) as i64)
            + packed_integer(id.seq.wrapping_sub(self.base.seq) as i64);
        for (name, value) in pairs {
            if !shared {
                push_item(&mut self.bytes, name);
                packed += packed_text(name);
            }
            push_item(&mut self.bytes, value);
            packed += packed_text(value);
        }
        packed += if shared {
            packed_integer(count as i64 + 3)
        } else {
            packed_integer(count as i64) + packed_integer(count as i64 * 2 + 4)
        };
        self.packed += packed;
        self.slots.push_back(Slot { id, start, fields: (count as u32) << 1 | u32::from(shared) });
        self.added += 1;
        self.last = id;
    }

    /// Gives back memory that was set aside for more entries.
    pub fn close(&mut self) {
        self.slots.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether all entries were deleted.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The last id that was added, deleted or not.
    pub fn last_added(&self) -> StreamId {
        self.last
    }

    /// The first id that is left.
    pub fn first(&self) -> Option<StreamId> {
        self.slots.front().map(|slot| slot.id)
    }

    /// The last id that is left.
    pub fn last(&self) -> Option<StreamId> {
        self.slots.back().map(|slot| slot.id)
    }

    /// How many entries are below `id`.
    pub fn below(&self, id: StreamId) -> usize {
        self.slots.partition_point(|slot| slot.id < id)
    }

    /// The places of the entries from `first` to `last`.
    pub fn span(&self, first: StreamId, last: StreamId) -> Span {
        let start = if self.base >= first { 0 } else { self.below(first) };
        let end = match last.next() {
            Some(end) if self.last > last => self.below(end),
            _ => self.slots.len(),
        };
        start..end.max(start)
    }

    /// The entries in these places.
    pub fn entries(&self, span: Span) -> impl DoubleEndedIterator<Item = (StreamId, Fields<'_>)> {
        self.slots.range(span).map(|slot| (slot.id, self.fields(*slot)))
    }

    /// The fields of an entry.
    pub fn get(&self, id: StreamId) -> Option<Fields<'_>> {
        let index = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        self.slots.get(index).map(|slot| self.fields(*slot))
    }

    /// Whether there is such an entry.
    pub fn contains(&self, id: StreamId) -> bool {
        self.slots.binary_search_by_key(&id, |slot| slot.id).is_ok()
    }

    fn fields(&self, slot: Slot) -> Fields<'_> {
        let own = Items(&self.bytes[slot.start as usize..]);
        let names = (slot.fields & 1 == 1).then_some(Items(&self.bytes));
        Fields { names, own, left: slot.fields >> 1 }
    }

    /// Deletes an entry; whether it was there. Its bytes stay until the node goes.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let found = self.slots.binary_search_by_key(&id, |slot| slot.id);
        found.is_ok_and(|index| self.slots.remove(index).is_some())
    }

    /// Deletes the first `count` entries.
    pub fn remove_first(&mut self, count: usize) {
        self.slots.drain(..count.min(self.slots.len()));
    }

    fn packed_bytes(&self) -> usize {
        let (left, deleted) = (self.slots.len(), self.added - self.slots.len());
        self.packed + packed_integer(left as i64) + packed_integer(deleted as i64)
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        size_of::<Node>() + self.bytes.capacity() + self.slots.capacity() * size_of::<Slot>()
    }
}

/// Fields and values of one entry.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// The names, when they are those of the first entry.
    names: Option<Items<'a>>,
    own: Items<'a>,
    left: u32,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next()?,
            None => self.own.next()?,
        };
        Some((name, self.own.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Fields<'_> {}

/// Items one after the other.
#[derive(Debug, Clone)]
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (mut len, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let (item, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(item)
    }
}

fn push_item(bytes: &mut Vec<u8>, item: &[u8]) {
    let mut len = item.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(item);
}

/// The header of a listpack and its end.
const LISTPACK_FRAME: usize = 7;

/// Bytes of an integer in a listpack.
fn packed_integer(value: i64) -> usize {
    let fits = |bits: u32| (-(1 << (bits - 1))..1 << (bits - 1)).contains(&value);
    match value {
        0..=127 => 2,
        _ if fits(13) => 3,
        _ if fits(16) => 4,
        _ if fits(24) => 5,
        _ if fits(32) => 6,
        _ => 10,
    }
}

/// Bytes of a text in a listpack, which keeps integers as such.
fn packed_text(text: &[u8]) -> usize {
    if text.len() <= 20
        && let Some(value) = parse_integer(text)
    {
        return packed_integer(value);
    }
    let head = match text.len() {
        0..=63 => 1,
        64..=4095 => 2,
        _ => 5,
    };
    let entry = head + text.len();
    let tail = match entry {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    entry + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_sizes_are_those_of_a_listpack() {
        for (text, size) in [
            ("0", 2),
            ("127", 2),
            ("128", 3),
            ("-1", 3),
            ("4096", 4),
            ("-32769", 5),
            ("8388608", 6),
            ("2147483648", 10),
            ("007", 5),
            ("", 2),
            ("a", 3),
        ] {
            assert_eq!(packed_text(text.as_bytes()), size, "{text}");
        }
        assert_eq!(packed_text(&[b'x'; 63]), 65);
        assert_eq!(packed_text(&[b'x'; 64]), 67);
        assert_eq!(packed_text(&[b'x'; 126]), 130);
        assert_eq!(packed_text(&[b'x'; 4096]), 4103);
    }

    #[test]
    fn items_of_any_length_are_read_again() {
        let items: Vec<Vec<u8>> = [0, 1, 127, 128, 300, 16384, 70_000].map(|len| vec![7; len]).into();
        let mut bytes = Vec::new();
        items.iter().for_each(|item| push_item(&mut bytes, item));
        assert!(Items(&bytes).eq(items.iter().map(Vec::as_slice)));
    }
}
