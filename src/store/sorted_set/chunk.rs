//! Members with their scores in one byte vector, in the order of the set.
//!
//! Each item is its score (see [`super::score`]), the length of the member in groups of seven bits,
//! lowest first, and the member. A small sorted set is one chunk; a large one is a tree of them.

use std::cmp::Ordering;
use std::ops::Range;

use super::score::{Packed, unpack};

/// A member with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item<'a> {
    /// The score, never NaN.
    pub score: f64,
    /// The member.
    pub member: &'a [u8],
}

impl Item<'_> {
    /// The order of a sorted set: by score, then by the bytes of the member.
    #[inline]
    pub fn order(&self, other: &Item<'_>) -> Ordering {
        match self.score.partial_cmp(&other.score) {
            Some(Ordering::Less) => Ordering::Less,
            Some(Ordering::Greater) => Ordering::Greater,
            _ => self.member.cmp(other.member),
        }
    }

    /// Whether it stands before another one.
    #[inline]
    pub fn is_before(&self, other: &Item<'_>) -> bool {
        self.order(other) == Ordering::Less
    }
}

/// Where an item stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Items before it.
    pub index: usize,
    /// Its bytes.
    pub bytes: Range<usize>,
    /// Its score.
    pub score: f64,
}

/// Items in order.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    len: u32,
}

/// The items of a chunk, first to last.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let (score, rest) = unpack(self.rest)?;
        let (len, rest) = read_len(rest)?;
        let (member, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Item { score, member })
    }
}

#[inline]
fn read_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (mut len, mut shift, mut rest) = (usize::from(first & 0x7f), 7, rest);
    loop {
        let (&byte, next) = rest.split_first()?;
        len |= usize::from(byte & 0x7f).checked_shl(shift)?;
        rest = next;
        if byte < 0x80 {
            return Some((len, rest));
        }
        shift += 7;
    }
}

/// What stands before a member: its score and its length.
struct Head {
    bytes: [u8; 19],
    len: usize,
}

impl Head {
    fn of(item: Item<'_>) -> Head {
        let score = Packed::of(item.score);
        let mut head = Head { bytes: [0; 19], len: score.bytes().len() };
        head.bytes[..head.len].copy_from_slice(score.bytes());
        let mut rest = item.member.len();
        loop {
            let more = rest >= 0x80;
            head.bytes[head.len] = (rest & 0x7f) as u8 | if more { 0x80 } else { 0 };
            head.len += 1;
            rest >>= 7;
            if !more {
                return head;
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Chunk {
    /// A chunk of one item.
    pub fn of(item: Item<'_>) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.insert(0, item);
        chunk
    }

    /// How many items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of all items.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that are allocated.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// The items, first to last.
    #[inline]
    pub fn items(&self) -> Items<'_> {
        Items { rest: &self.bytes }
    }

    /// Where `items` has arrived.
    #[inline]
    fn offset(&self, items: &Items<'_>) -> usize {
        self.bytes.len() - items.rest.len()
    }

    /// Looks for a member.
    pub fn find(&self, member: &[u8]) -> Option<Place> {
        let (mut items, mut index, mut start) = (self.items(), 0, 0);
        while let Some(item) = items.next() {
            let end = self.offset(&items);
            if item.member == member {
                return Some(Place { index, bytes: start..end, score: item.score });
            }
            index += 1;
            start = end;
        }
        None
    }

    /// How many leading items satisfy `before`, and where the next one begins.
    #[inline]
    pub fn partition(&self, before: impl Fn(Item<'_>) -> bool) -> (usize, usize) {
        let (mut items, mut index, mut start) = (self.items(), 0, 0);
        while items.next().is_some_and(&before) {
            index += 1;
            start = self.offset(&items);
        }
        (index, start)
    }

    /// The bytes of the items in a range of indices.
    fn bytes_of(&self, range: Range<usize>) -> Range<usize> {
        let mut items = self.items();
        let mut skip = |count: usize| {
            items.by_ref().take(count).for_each(|_| {});
            self.offset(&items)
        };
        let start = skip(range.start);
        start..skip(range.len())
    }

    /// Visits the items in a range of indices, first to last or last to first.
    pub fn visit<'a>(&'a self, range: Range<usize>, reverse: bool, visit: &mut impl FnMut(Item<'a>)) {
        let items = self.items().skip(range.start).take(range.len());
        if reverse {
            let items: Vec<Item<'a>> = items.collect();
            items.into_iter().rev().for_each(visit);
        } else {
            items.for_each(visit);
        }
    }

    /// Puts an item in at a byte offset at which one begins, or the chunk ends.
    pub fn insert(&mut self, offset: usize, item: Item<'_>) {
        let head = Head::of(item);
        let (old, more) = (self.bytes.len(), head.len + item.member.len());
        if self.bytes.capacity() - old < more {
            // Small steps: most chunks stay as large as they are for long.
            self.bytes.reserve_exact(more.max(old / 4).next_multiple_of(16));
        }
        if offset < old {
            self.bytes.resize(old + more, 0);
            self.bytes.copy_within(offset..old, offset + more);
            let (to_head, to_member) = self.bytes[offset..offset + more].split_at_mut(head.len);
            to_head.copy_from_slice(head.bytes());
            to_member.copy_from_slice(item.member);
        } else {
            self.bytes.extend_from_slice(head.bytes());
            self.bytes.extend_from_slice(item.member);
        }
        self.len += 1;
    }

    /// Removes one item.
    pub fn remove(&mut self, place: &Place) {
        self.drain(place.bytes.clone(), 1);
    }

    /// Removes the items in a range of indices after `visit` has seen them.
    pub fn remove_range(&mut self, range: Range<usize>, visit: &mut impl FnMut(Item<'_>)) {
        let bytes = self.bytes_of(range.clone());
        Items { rest: &self.bytes[bytes.clone()] }.for_each(visit);
        self.drain(bytes, range.len());
    }

    fn drain(&mut self, bytes: Range<usize>, count: usize) {
        self.bytes.drain(bytes);
        self.len -= count as u32;
        if self.bytes.capacity() > 64 && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    /// Cuts off its second half by bytes; both halves have an item when it has two.
    pub fn split(&mut self) -> Chunk {
        let half = self.bytes.len() / 2;
        let (mut items, mut index, mut cut) = (self.items(), 0, 0);
        while index == 0 || cut < half && index + 1 < self.len() {
            if items.next().is_none() {
                break;
            }
            index += 1;
            cut = self.offset(&items);
        }
        let right = Chunk { bytes: self.bytes[cut..].to_vec(), len: self.len - index as u32 };
        self.bytes.truncate(cut);
        self.bytes.shrink_to_fit();
        self.len = index as u32;
        right
    }

    /// Appends all items of another one, which stand behind all of its own.
    pub fn append(&mut self, other: &Chunk) {
        self.bytes.extend_from_slice(&other.bytes);
        self.len += other.len;
    }
}
