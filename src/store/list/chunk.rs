//! Hot path
//!
//! Elements packed into one buffer, with room at whichever end it is needed.
//!
//! An element is its length, its bytes and its length once more, so that a chunk can be read from both
//! ends. A length below 128 is one byte; a longer one takes seven bits a byte, lowest first, and the
//! second time these bytes are in reverse order.
//!
//! ```text
//! bytes: | room for pushes at the head | element | element | … | room for pushes at the tail |
//!        0                             head                    bytes.len()        capacity
//! ```

use std::ops::Range;

use super::{End, Limits};

/// Lengths below this are one byte.
const SHORT: usize = 128;
/// The longest form of a length.
const MAX_LENGTH_BYTES: usize = 10;
/// The first room of a chunk.
const MIN_ROOM: usize = 24;
/// A chunk with less room than this is not made smaller.
const SHRUNK_FROM: usize = 512;

/// Packed elements.
#[derive(Debug, Default, Clone)]
pub struct Chunk {
    bytes: Vec<u8>,
    head: u32,
    count: u32,
}

/// Bytes that an element of `len` bytes takes.
#[inline]
pub fn packed_len(len: usize) -> usize {
    if len < SHORT { len + 2 } else { len + 2 * length_bytes(len) }
}

fn length_bytes(len: usize) -> usize {
    (len.max(1).ilog2() as usize) / 7 + 1
}

/// A length in its long form, and how many bytes that is.
fn long_length(mut len: usize) -> ([u8; MAX_LENGTH_BYTES], usize) {
    let mut out = [0; MAX_LENGTH_BYTES];
    let mut used = 0;
    while len >= SHORT {
        out[used] = len as u8 | 0x80;
        len >>= 7;
        used += 1;
    }
    out[used] = len as u8;
    (out, used + 1)
}

/// Writes an element into a place of exactly its packed length.
#[inline]
fn pack(place: &mut [u8], element: &[u8]) {
    if element.len() < SHORT {
        if let [first, middle @ .., last] = place {
            *first = element.len() as u8;
            *last = element.len() as u8;
            middle.copy_from_slice(element);
        }
        return;
    }
    let (length, used) = long_length(element.len());
    let end = place.len();
    place[..used].copy_from_slice(&length[..used]);
    place[used..end - used].copy_from_slice(element);
    place[end - used..].copy_from_slice(&length[..used]);
    place[end - used..].reverse();
}

/// A length as its bytes come, and how many they are.
#[cold]
fn read_long(bytes: impl Iterator<Item = u8>) -> Option<(usize, usize)> {
    let mut len = 0;
    for (index, byte) in bytes.take(MAX_LENGTH_BYTES).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((len, index + 1));
        }
    }
    None
}

/// The first element of `packed`, and what follows it.
#[inline]
pub fn first(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let byte = usize::from(*packed.first()?);
    let (len, used) = if byte < SHORT { (byte, 1) } else { read_long(packed.iter().copied())? };
    Some((packed.get(used..used + len)?, packed.get(len + 2 * used..)?))
}

/// The last element of `packed`, and what precedes it.
#[inline]
pub fn last(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let byte = usize::from(*packed.last()?);
    let (len, used) = if byte < SHORT { (byte, 1) } else { read_long(packed.iter().rev().copied())? };
    let before = packed.len().checked_sub(len + 2 * used)?;
    Some((packed.get(before + used..before + used + len)?, &packed[..before]))
}

impl Chunk {
    /// How many elements.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The packed elements.
    #[inline]
    pub fn packed(&self) -> &[u8] {
        &self.bytes[self.head as usize..]
    }

    /// Bytes of the packed elements.
    #[inline]
    pub fn used(&self) -> usize {
        self.bytes.len() - self.head as usize
    }

    /// Bytes that it holds on to.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether so many bytes more, in one element, belong here.
    #[inline]
    pub fn accepts(&self, packed_len: usize, limits: Limits) -> bool {
        self.used() + packed_len <= limits.chunk_bytes as usize && self.count < limits.chunk_elements
    }

    /// A chunk of one element, which may be of any size.
    pub fn alone(element: &[u8]) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.push(End::Tail, element, Limits::default());
        chunk
    }

    /// Adds an element at one end. The caller has asked [`Chunk::accepts`].
    #[inline]
    pub fn push(&mut self, end: End, element: &[u8], limits: Limits) {
        let need = packed_len(element.len());
        match end {
            End::Head => {
                if (self.head as usize) < need {
                    self.make_room(End::Head, need, limits);
                }
                let head = self.head as usize;
                pack(&mut self.bytes[head - need..head], element);
                self.head = (head - need) as u32;
            }
            End::Tail => {
                if self.bytes.capacity() - self.bytes.len() < need {
                    self.make_room(End::Tail, need, limits);
                }
                if element.len() < SHORT {
                    self.bytes.push(element.len() as u8);
                    self.bytes.extend_from_slice(element);
                    self.bytes.push(element.len() as u8);
                } else {
                    let start = self.bytes.len();
                    self.bytes.resize(start + need, 0);
                    pack(&mut self.bytes[start..], element);
                }
            }
        }
        self.count += 1;
    }

    /// Room for `need` bytes more at one end: what is free at the other end when that is at least half
    /// of the buffer, else a buffer of twice the size, but not beyond what a chunk may hold. So an
    /// element moves a constant number of times.
    #[cold]
    fn make_room(&mut self, end: End, need: usize, limits: Limits) {
        let (head, used, capacity) = (self.head as usize, self.used(), self.bytes.capacity());
        let enough = capacity >= used + need && capacity - used >= used;
        let doubled = (2 * used).max(MIN_ROOM).min(limits.chunk_bytes as usize);
        let room = if enough { capacity } else { doubled.max(used + need) };
        match end {
            End::Tail if enough => {
                self.bytes.copy_within(head.., 0);
                self.bytes.truncate(used);
                self.head = 0;
            }
            End::Tail => {
                let mut bytes = Vec::with_capacity(room);
                bytes.extend_from_slice(&self.bytes[head..]);
                self.bytes = bytes;
                self.head = 0;
            }
            End::Head if enough => {
                self.bytes.resize(capacity, 0);
                self.bytes.copy_within(head..head + used, capacity - used);
                self.head = (capacity - used) as u32;
            }
            End::Head => {
                let mut bytes = Vec::with_capacity(room);
                bytes.resize(room - used, 0);
                bytes.extend_from_slice(&self.bytes[head..]);
                self.bytes = bytes;
                self.head = (room - used) as u32;
            }
        }
    }

    /// Gives a new chunk its first room, for one that is expected to hold `bytes`.
    pub fn with_room(end: End, bytes: usize) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.make_room(end, bytes, Limits::default());
        chunk
    }

    /// The element at one end.
    #[inline]
    pub fn peek(&self, end: End) -> Option<&[u8]> {
        let found = match end {
            End::Head => first(self.packed()),
            End::Tail => last(self.packed()),
        };
        found.map(|(element, _)| element)
    }

    /// Removes the element at one end.
    #[inline]
    pub fn drop_one(&mut self, end: End) {
        match end {
            End::Head => {
                let rest = first(self.packed()).map_or(0, |(_, rest)| rest.len());
                self.head = (self.bytes.len() - rest) as u32;
            }
            End::Tail => {
                let before = last(self.packed()).map_or(0, |(_, before)| before.len());
                self.bytes.truncate(self.head as usize + before);
            }
        }
        self.count -= 1;
        if self.count == 0 {
            self.bytes.clear();
            self.head = 0;
        }
    }

    /// Removes so many elements, at most all, at one end.
    pub fn drop_many(&mut self, end: End, elements: usize) {
        let elements = elements.min(self.count());
        let start = self.head as usize;
        match end {
            End::Head => self.head = (start + self.offset(elements)) as u32,
            End::Tail => self.bytes.truncate(start + self.offset(self.count() - elements)),
        }
        self.count -= elements as u32;
        if self.count == 0 {
            self.bytes.clear();
            self.head = 0;
        }
    }

    /// Gives back memory when most of it is free.
    #[inline]
    pub fn shrink(&mut self) {
        if self.bytes.capacity() >= SHRUNK_FROM && self.used() < self.bytes.capacity() / 4 {
            self.shrink_to(self.used() * 2);
        }
    }

    #[cold]
    fn shrink_to(&mut self, capacity: usize) {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(self.packed());
        self.bytes = bytes;
        self.head = 0;
    }

    /// Where an element begins in [`Chunk::packed`]; its end for one behind the last.
    pub fn offset(&self, index: usize) -> usize {
        let packed = self.packed();
        let mut rest = packed;
        if index <= self.count() / 2 {
            for _ in 0..index {
                rest = first(rest).map_or(&[][..], |(_, rest)| rest);
            }
            packed.len() - rest.len()
        } else {
            for _ in index..self.count() {
                rest = last(rest).map_or(&[][..], |(_, before)| before);
            }
            rest.len()
        }
    }

    /// Where an element stands in `bytes`.
    fn span(&self, index: usize) -> Range<usize> {
        let start = self.head as usize + self.offset(index);
        let rest = first(&self.bytes[start..]).map_or(0, |(_, rest)| rest.len());
        start..self.bytes.len() - rest
    }

    /// An element.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        first(&self.packed()[self.offset(index)..]).map(|(element, _)| element)
    }

    /// Adds an element before the one at `index`, which is there.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let at = self.head as usize + self.offset(index);
        self.resize_gap(at..at, packed_len(element.len()));
        pack(&mut self.bytes[at..at + packed_len(element.len())], element);
        self.count += 1;
    }

    /// Replaces an element.
    pub fn set(&mut self, index: usize, element: &[u8]) {
        let span = self.span(index);
        let need = packed_len(element.len());
        let start = span.start;
        self.resize_gap(span, need);
        pack(&mut self.bytes[start..start + need], element);
    }

    /// Makes `span` as long as `need`; what follows moves.
    fn resize_gap(&mut self, span: Range<usize>, need: usize) {
        let (len, old) = (self.bytes.len(), span.len());
        if need > old {
            self.bytes.resize(len + need - old, 0);
        }
        self.bytes.copy_within(span.end..len, span.start + need);
        self.bytes.truncate(len - old + need);
    }

    /// Bytes by which the chunk grows when `element` takes the place of the one at `index`.
    pub fn growth(&self, index: usize, element: &[u8]) -> usize {
        packed_len(element.len()).saturating_sub(self.span(index).len())
    }

    /// Removes one element.
    pub fn remove(&mut self, index: usize) {
        let span = self.span(index);
        self.bytes.drain(span);
        self.count -= 1;
    }

    /// How many elements equal `element`.
    fn count_of(&self, element: &[u8]) -> usize {
        let mut rest = self.packed();
        let mut found = 0;
        while let Some((next, after)) = first(rest) {
            found += usize::from(next == element);
            rest = after;
        }
        found
    }

    /// Removes up to `max` elements that equal `element`, those nearest to `end`; how many.
    pub fn remove_equal(&mut self, end: End, element: &[u8], max: usize) -> usize {
        let found = self.count_of(element);
        let removed = found.min(max);
        if removed == 0 {
            return 0;
        }
        let mut skip = if end == End::Tail { found - removed } else { 0 };
        let mut left = removed;
        let (mut read, mut write) = (self.head as usize, self.head as usize);
        while let Some((next, after)) = first(&self.bytes[read..]) {
            let behind = self.bytes.len() - after.len();
            let matches = left > 0 && next == element;
            if matches && skip == 0 {
                left -= 1;
            } else {
                skip -= usize::from(matches);
                self.bytes.copy_within(read..behind, write);
                write += behind - read;
            }
            read = behind;
        }
        self.bytes.truncate(write);
        self.count -= removed as u32;
        self.shrink();
        removed
    }

    /// Cuts off and hands out the elements from `index` on.
    pub fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.head as usize + self.offset(index);
        let tail = Chunk { bytes: self.bytes[at..].to_vec(), head: 0, count: self.count - index as u32 };
        self.bytes.truncate(at);
        self.count = index as u32;
        tail
    }

    /// Whether both together make one chunk.
    pub fn accepts_chunk(&self, other: &Chunk, limits: Limits) -> bool {
        self.used() + other.used() <= limits.chunk_bytes as usize
            && self.count + other.count <= limits.chunk_elements
    }

    /// Adds all elements of another chunk.
    pub fn append(&mut self, other: &Chunk) {
        self.bytes.extend_from_slice(other.packed());
        self.count += other.count;
    }
}
