//! Hot path
//!
//! The entries of a stream in the order of their ids, and what is known of those that have gone.

use std::collections::BTreeMap;

use super::ids::StreamId;
use super::node::{Fields, Node, NodeLimits};
use super::radix;
use crate::wire::resp::Args;

/// How to shorten a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// To at most so many entries.
    MaxLen(u64),
    /// To entries at or above this id.
    MinId(StreamId),
}

/// The entries of a stream.
#[derive(Debug, Clone)]
pub struct Entries {
    /// By the first id that was added to each. A node all of whose entries were trimmed one by one may
    /// be empty.
    nodes: BTreeMap<StreamId, Node>,
    /// Nodes of the radix tree that Redis would keep these in.
    tree_nodes: usize,
    len: u64,
    /// The highest id ever used, unless XSETID has set another.
    pub last_id: StreamId,
    /// Entries that were ever added, unless XSETID has set another number.
    pub added: u64,
    /// The highest id that was deleted, other than by trimming.
    pub max_deleted: StreamId,
}

impl Default for Entries {
    fn default() -> Entries {
        Entries {
            nodes: BTreeMap::new(),
            tree_nodes: 1,
            len: 0,
            last_id: StreamId::MIN,
            added: 0,
            max_deleted: StreamId::MIN,
        }
    }
}

impl Entries {
    /// How many.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an entry; `id` must be above all others.
    pub fn append(&mut self, id: StreamId, fields: Args<'_>, limits: NodeLimits) {
        let bytes = fields.iter().map(<[u8]>::len).sum();
        match self.nodes.last_entry() {
            Some(mut last) if !last.get().is_full(bytes, limits) => last.get_mut().append(id, fields),
            last => {
                if let Some(mut last) = last {
                    last.get_mut().close();
                }
                self.tree_nodes += radix::growth(&self.nodes, id);
                self.nodes.insert(id, Node::new(id, fields));
            }
        }
        self.len += 1;
        self.added += 1;
        self.last_id = id;
    }

    /// The nodes that may hold entries from `first` to `last`.
    fn nodes(&self, first: StreamId, last: StreamId) -> impl DoubleEndedIterator<Item = &Node> {
        let start = self.nodes.range(..=first).next_back().map_or(first, |(id, _)| *id);
        // An interval that ends before it begins holds nothing.
        let end = if first <= last { last } else { start };
        let nodes = self.nodes.range(start..=end.max(start)).map(|(_, node)| node);
        nodes.take_while(move |_| first <= last)
    }

    /// The entries from `first` to `last`, both ends included.
    pub fn range(
        &self,
        first: StreamId,
        last: StreamId,
    ) -> impl DoubleEndedIterator<Item = (StreamId, Fields<'_>)> {
        self.nodes(first, last).flat_map(move |node| node.entries(node.span(first, last)))
    }

    /// How many entries there are from `first` to `last`, counting at most to `max`.
    pub fn count(&self, first: StreamId, last: StreamId, max: usize) -> usize {
        let mut count = 0;
        for node in self.nodes(first, last) {
            count += node.span(first, last).len();
            if count >= max {
                return max;
            }
        }
        count
    }

    /// The node in which `id` would be.
    fn node(&self, id: StreamId) -> Option<&Node> {
        self.nodes.range(..=id).next_back().map(|(_, node)| node)
    }

    /// The fields of an entry.
    pub fn get(&self, id: StreamId) -> Option<Fields<'_>> {
        self.node(id)?.get(id)
    }

    /// Whether there is such an entry.
    pub fn contains(&self, id: StreamId) -> bool {
        self.node(id).is_some_and(|node| node.contains(id))
    }

    /// The lowest id.
    pub fn first(&self) -> Option<StreamId> {
        self.nodes.values().find_map(Node::first)
    }

    /// The highest id.
    pub fn last(&self) -> Option<StreamId> {
        self.nodes.values().rev().find_map(Node::last)
    }

    /// Deletes one entry; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&base, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        if !node.remove(id) {
            return false;
        }
        if node.is_empty() {
            self.nodes.remove(&base);
            self.tree_nodes -= radix::growth(&self.nodes, base);
        }
        self.len -= 1;
        self.max_deleted = self.max_deleted.max(id);
        true
    }

    /// Removes entries from the low end; how many.
    ///
    /// 1. With `exact`, all that the rule wants gone.
    /// 2. Without, only whole nodes, and no node if that would go beyond `limit` entries (0: no limit).
    /// 3. By id, a node goes when the last id that was ever added to it is below the given one; else its
    ///    entries go one by one, perhaps all of them.
    pub fn trim(&mut self, rule: Trim, exact: bool, limit: u64) -> u64 {
        let mut removed = 0;
        while let Some(mut first) = self.nodes.first_entry() {
            let node = first.get_mut();
            let in_node = node.len() as u64;
            if matches!(rule, Trim::MaxLen(max) if self.len <= max) || limit > 0 && removed + in_node > limit {
                break;
            }
            let whole = match rule {
                Trim::MaxLen(max) => self.len - in_node >= max,
                Trim::MinId(min) => node.last_added() < min,
            };
            if !whole {
                if exact {
                    let surplus = match rule {
                        Trim::MaxLen(max) => (self.len - max) as usize,
                        Trim::MinId(min) => node.below(min),
                    };
                    node.remove_first(surplus);
                    self.len -= surplus as u64;
                    removed += surplus as u64;
                }
                break;
            }
            let (base, _) = first.remove_entry();
            self.tree_nodes -= radix::growth(&self.nodes, base);
            self.len -= in_node;
            removed += in_node;
        }
        removed
    }

    /// Whether an entry with an id from `first` on may have been deleted, other than by trimming.
    pub fn may_have_gaps_from(&self, first: StreamId) -> bool {
        self.len > 0 && self.max_deleted != StreamId::MIN && first <= self.max_deleted
    }

    /// How many entries were ever added up to `id`; `None` when that cannot be told:
    ///
    /// 1. In a stream that was never used, none. In one that is empty, all that were ever added, unless
    ///    `id` lies in the future.
    /// 2. Of the last id, all. Of an id in the future, nobody knows.
    /// 3. When nothing was deleted at or behind the first entry: below the first, all that are gone; of
    ///    the first, one more.
    /// 4. Of any other, nobody knows.
    pub fn added_up_to(&self, id: StreamId) -> Option<i64> {
        let added = self.added as i64;
        if added == 0 {
            return Some(0);
        }
        if id == self.last_id || self.len == 0 && id < self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        let first = self.first().unwrap_or_default();
        if self.max_deleted != StreamId::MIN && self.max_deleted >= first {
            return None;
        }
        let gone = added.wrapping_sub(self.len as i64);
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(gone),
            std::cmp::Ordering::Equal => Some(gone.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many nodes the entries are kept in.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes Redis's radix tree over them has.
    pub fn tree_nodes(&self) -> usize {
        self.tree_nodes
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.nodes.values().map(|node| node.memory() + size_of::<StreamId>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::{Parsed, Parser, encode_command};
    use proptest::prelude::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

}
