//! Hot path
//!
//! The entries of a stream in the order of their ids, and what is known of those that have gone.

use std::collections::BTreeMap;

use super::ids::StreamId;
use super::node::{Fields, Node, NodeLimits, Pairs};
use super::radix;

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
    pub fn append<'a>(&mut self, id: StreamId, pairs: impl Pairs<'a>, limits: NodeLimits) {
        let bytes = pairs.clone().map(|(field, value)| field.len() + value.len()).sum();
        match self.nodes.last_entry() {
            Some(mut last) if !last.get().is_full(bytes, limits) => last.get_mut().append(id, pairs),
            last => {
                if let Some(mut last) = last {
                    last.get_mut().close();
                }
                self.tree_nodes += radix::growth(&self.nodes, id);
                self.nodes.insert(id, Node::new(id, pairs));
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
        let nodes = (first <= last).then(|| self.nodes.range(start..=last.max(start)));
        nodes.into_iter().flatten().map(|(_, node)| node)
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
            if matches!(rule, Trim::MaxLen(max) if self.len <= max) || limit > 0 && removed + in_node > limit
            {
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

    /// Whether an entry with an id from `first` on may have been deleted, other than by trimming, and
    /// not been trimmed away since.
    pub fn may_have_gaps_from(&self, first: StreamId) -> bool {
        let is_gone = |lowest| self.max_deleted < lowest;
        self.max_deleted != StreamId::MIN && first <= self.max_deleted && !self.first().is_none_or(is_gone)
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
    use proptest::prelude::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    type Owned = Vec<(Vec<u8>, Vec<u8>)>;

    fn add(entries: &mut Entries, id: StreamId, pairs: &Owned, limits: NodeLimits) {
        entries.append(id, pairs.iter().map(|(field, value)| (&field[..], &value[..])), limits);
    }

    fn filled(count: u64, limits: NodeLimits) -> Entries {
        let mut entries = Entries::default();
        let pairs = vec![(b"f".to_vec(), b"v".to_vec())];
        (1..=count).for_each(|ms| add(&mut entries, id(ms, 0), &pairs, limits));
        entries
    }

    #[test]
    fn trimming_about_removes_whole_nodes_within_the_limit() {
        let mut entries = filled(1000, NodeLimits::default());
        assert_eq!((entries.node_count(), entries.len()), (10, 1000));
        assert_eq!(entries.trim(Trim::MaxLen(950), false, 0), 0);
        assert_eq!(entries.trim(Trim::MaxLen(850), false, 0), 100);
        assert_eq!(entries.trim(Trim::MaxLen(0), false, 250), 200);
        assert_eq!(entries.trim(Trim::MinId(id(401, 0)), false, 0), 100);
        assert_eq!(entries.trim(Trim::MinId(id(451, 0)), true, 0), 50);
        assert_eq!(entries.first(), Some(id(451, 0)));
        assert_eq!(entries.trim(Trim::MaxLen(0), true, 0), 550);
        assert_eq!((entries.node_count(), entries.tree_nodes(), entries.first()), (0, 1, None));
        assert_eq!((entries.last_id, entries.added), (id(1000, 0), 1000));
    }

    #[test]
    fn what_was_added_up_to_an_id_is_told_only_when_it_is_known() {
        let mut entries = filled(5, NodeLimits::default());
        assert_eq!(entries.added_up_to(id(0, 0)), Some(0));
        assert_eq!(entries.added_up_to(id(1, 0)), Some(1));
        assert_eq!(entries.added_up_to(id(2, 0)), None);
        assert_eq!(entries.added_up_to(id(5, 0)), Some(5));
        assert_eq!(entries.added_up_to(id(6, 0)), None);
        entries.delete(id(3, 0));
        assert_eq!(entries.added_up_to(id(1, 0)), None);
        entries.trim(Trim::MaxLen(2), true, 0);
        assert_eq!(entries.added_up_to(id(1, 0)), Some(3));
        entries.trim(Trim::MaxLen(0), true, 0);
        assert_eq!(entries.added_up_to(id(1, 0)), Some(5));
    }

    #[derive(Debug, Clone)]
    enum Change {
        Add(u64, Owned),
        Delete(u64),
        Trim(Trim, bool, u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        let text = prop::collection::vec(prop::sample::select(b"ab1".to_vec()), 0..4);
        let pair = (prop::sample::select(vec![b"f".to_vec(), b"g".to_vec()]), text);
        let rule = prop_oneof![
            (0u64..30).prop_map(Trim::MaxLen),
            (0u64..60).prop_map(|ms| Trim::MinId(StreamId { ms, seq: 0 }))
        ];
        prop_oneof![
            4 => (1u64..4, prop::collection::vec(pair, 1..3)).prop_map(|(gap, pairs)| Change::Add(gap, pairs)),
            2 => (1u64..60).prop_map(Change::Delete),
            1 => (rule, any::<bool>(), 0u64..8).prop_map(|(rule, exact, limit)| Change::Trim(rule, exact, limit)),
        ]
    }

    proptest! {
        #[test]
        fn entries_are_those_of_an_ordered_map(changes in prop::collection::vec(change(), 0..80)) {
            let limits = NodeLimits { entries: 4, bytes: 60 };
            let (mut entries, mut model) = (Entries::default(), BTreeMap::<StreamId, Owned>::new());
            for change in changes {
                match change {
                    Change::Add(gap, pairs) => {
                        let new = id(entries.last_id.ms + gap, 0);
                        add(&mut entries, new, &pairs, limits);
                        model.insert(new, pairs);
                    }
                    Change::Delete(ms) => {
                        prop_assert_eq!(entries.delete(id(ms, 0)), model.remove(&id(ms, 0)).is_some());
                    }
                    Change::Trim(rule, exact, limit) => {
                        let removed = entries.trim(rule, exact, if exact { 0 } else { limit });
                        for _ in 0..removed {
                            model.pop_first();
                        }
                        if exact {
                            match rule {
                                Trim::MaxLen(max) => prop_assert!(entries.len() <= max),
                                Trim::MinId(min) => prop_assert!(entries.first().is_none_or(|first| first >= min)),
                            }
                        }
                    }
                }
                prop_assert_eq!(entries.len(), model.len() as u64);
                prop_assert_eq!(entries.first(), model.keys().next().copied());
                prop_assert_eq!(entries.last(), model.keys().next_back().copied());
            }
            let owned = |(id, fields): (StreamId, Fields<'_>)| {
                (id, fields.map(|(field, value)| (field.to_vec(), value.to_vec())).collect::<Owned>())
            };
            for (low, high) in [(0, 100), (10, 30), (30, 10), (7, 7), (200, 300)] {
                let (low, high) = (id(low, 0), id(high, 0));
                let found: Vec<_> = entries.range(low, high).map(owned).collect();
                let expected: Vec<_> = model.iter().map(|(id, pairs)| (*id, pairs.clone()))
                    .filter(|(id, _)| *id >= low && *id <= high).collect();
                let mut backwards: Vec<_> = entries.range(low, high).rev().map(owned).collect();
                backwards.reverse();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(&backwards, &expected);
                prop_assert_eq!(entries.count(low, high, usize::MAX), expected.len());
                prop_assert_eq!(entries.count(low, high, 3), expected.len().min(3));
            }
            for ms in 0..100 {
                prop_assert_eq!(entries.contains(id(ms, 0)), model.contains_key(&id(ms, 0)));
                prop_assert_eq!(entries.get(id(ms, 0)).is_some(), model.contains_key(&id(ms, 0)));
            }
            let mut tree = 1;
            let mut seen = BTreeMap::new();
            for base in entries.nodes.keys() {
                tree += radix::growth(&seen, *base);
                seen.insert(*base, ());
            }
            prop_assert_eq!(entries.tree_nodes(), tree);
        }
    }
}
