//! Streams: entries with increasing ids, kept in nodes so that trimming is cheap.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::resp::Args;

/// Entries in one node, as in `stream-node-max-entries`.
const NODE_ENTRIES: usize = 100;
/// Bytes in one node, as in `stream-node-max-bytes`.
const NODE_BYTES: usize = 4096;

/// The id of an entry: milliseconds and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl StreamId {
    /// The lowest id.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The highest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The id after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id before this one.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// Reads `ms-seq`, or `ms` with `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match memchr::memchr(b'-', text) {
            None => Some(StreamId { ms: parse_u64(text)?, seq: missing_seq }),
            Some(dash) => {
                Some(StreamId { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? })
            }
        }
    }
}

/// A decimal number without sign within `u64`.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Fields and values of an entry, packed: the count and each item after its length.
#[derive(Debug, Clone)]
struct Item {
    id: StreamId,
    fields: Box<[u8]>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    items: Vec<Item>,
    /// Bytes of all that was ever added, which is what fills a node.
    bytes: usize,
    /// Entries that were ever added, deleted ones too.
    added: usize,
}

/// How to shorten a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// To at most so many entries.
    MaxLen(u64),
    /// To entries at or above this id.
    MinId(StreamId),
}

/// A stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// By the first id that was added to each.
    nodes: BTreeMap<StreamId, Node>,
    len: u64,
    last_id: StreamId,
}

impl Stream {
    /// How many entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The highest id ever used.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// Appends an entry; `id` must be above [`Stream::last_id`].
    pub fn append(&mut self, id: StreamId, fields: Args<'_>) {
        let fields = pack(fields);
        let room = self.nodes.last_entry().filter(|node| {
            let node = node.get();
            node.added < NODE_ENTRIES && node.bytes < NODE_BYTES
        });
        let node = match room {
            Some(node) => node.into_mut(),
            None => self.nodes.entry(id).or_default(),
        };
        node.bytes += fields.len() + size_of::<StreamId>();
        node.added += 1;
        node.items.push(Item { id, fields });
        self.len += 1;
        self.last_id = id;
    }

    /// The entries from `first` to `last`, both ends included, lowest first or last.
    pub fn range<'a>(
        &'a self,
        first: StreamId,
        last: StreamId,
        reverse: bool,
        count: usize,
        visit: &mut dyn FnMut(StreamId, Fields<'a>),
    ) {
        if first > last {
            return;
        }
        let start = self.nodes.range(..=first).next_back().map_or(first, |(id, _)| *id);
        let nodes = self.nodes.range(start..=last.max(start)).map(|(_, node)| node);
        let inside = |item: &&Item| item.id >= first && item.id <= last;
        let mut visit = |item: &'a Item| visit(item.id, Fields(&item.fields));
        if reverse {
            let items = nodes.rev().flat_map(|node| node.items.iter().rev());
            items.filter(inside).take(count).for_each(&mut visit);
        } else {
            nodes.flat_map(|node| &node.items).filter(inside).take(count).for_each(&mut visit);
        }
    }

    /// Deletes one entry; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&key, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let Ok(index) = node.items.binary_search_by_key(&id, |item| item.id) else { return false };
        node.items.remove(index);
        if node.items.is_empty() {
            self.nodes.remove(&key);
        }
        self.len -= 1;
        true
    }

    /// Removes entries from the low end; how many.
    ///
    /// 1. With `exact`, all that the rule wants gone.
    /// 2. Without, only whole nodes, and no node if that would go beyond `limit` entries (0: no limit).
    pub fn trim(&mut self, rule: Trim, exact: bool, limit: u64) -> u64 {
        let mut removed = 0;
        while let Some(mut first) = self.nodes.first_entry() {
            let node = first.get_mut();
            let in_node = node.items.len() as u64;
            let whole = match rule {
                Trim::MaxLen(max) => self.len.saturating_sub(in_node) >= max && self.len > max,
                Trim::MinId(min) => node.items.last().is_none_or(|item| item.id < min),
            };
            if whole {
                if limit > 0 && removed + in_node > limit {
                    break;
                }
                first.remove();
                self.len -= in_node;
                removed += in_node;
                continue;
            }
            if exact {
                let surplus = match rule {
                    Trim::MaxLen(max) => self.len.saturating_sub(max) as usize,
                    Trim::MinId(min) => node.items.partition_point(|item| item.id < min),
                };
                node.items.drain(..surplus);
                self.len -= surplus as u64;
                removed += surplus as u64;
            }
            break;
        }
        removed
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.nodes.values().map(|node| node.bytes + node.items.capacity() * size_of::<Item>()).sum()
    }
}

fn pack(fields: Args<'_>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(4 + fields.iter().map(|item| item.len() + 4).sum::<usize>());
    out.extend_from_slice(&(fields.len() as u32).to_le_bytes());
    for item in fields.iter() {
        out.extend_from_slice(&(item.len() as u32).to_le_bytes());
        out.extend_from_slice(item);
    }
    out.into_boxed_slice()
}

/// Fields and values of one entry, by turns.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// How many, fields and values together.
    pub fn len(self) -> usize {
        self.0.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Each in order.
    pub fn for_each(self, mut visit: impl FnMut(&'a [u8])) {
        let mut rest = self.0.get(4..).unwrap_or_default();
        while let Some((len, tail)) = rest.split_first_chunk() {
            let (item, tail) = tail.split_at(u32::from_le_bytes(*len) as usize);
            visit(item);
            rest = tail;
        }
    }
}
