//! Sorted sets: one packed chunk while small, a table and a tree when not.
//!
//! Small, all members stand with their scores in one byte vector, in order. Above the limits of
//! `zset-max-listpack-entries` and `zset-max-listpack-value` a table leads from a member to its score,
//! and a tree holds the members in order. A sorted set never returns to the small form by itself.
//!
//! The order is that of the scores, then that of the members' bytes. Ranges are ranges of ranks:
//! [`SortedSet::span`] finds them.

use std::ops::Range;

use super::encodings::Encodings;
use super::entry::{Content, Entry, View};
use super::table::{KeyHash, Table};

mod chunk;
mod score;
mod tree;

use chunk::Chunk;
pub use chunk::Item;
use tree::Tree;

/// Members with their scores, in order.
#[derive(Debug, Clone, Default)]
pub struct SortedSet(Form);

#[derive(Debug, Clone)]
enum Form {
    Packed(Chunk),
    Large(Box<Large>),
}

impl Default for Form {
    fn default() -> Form {
        Form::Packed(Chunk::default())
    }
}

/// The same members twice: to be found, and in order.
#[derive(Debug, Clone, Default)]
struct Large {
    /// The value of a member is its packed score.
    table: Table,
    tree: Tree,
}

/// The score of a member that stands in a table.
fn entry_score(entry: &Entry) -> f64 {
    match entry.view() {
        View::String(bytes) => score::unpack(bytes).map_or(0.0, |(score, _)| score),
        _ => 0.0,
    }
}

/// In the small form Redis keeps zero as an integer, which has no sign.
fn without_sign_of_zero(item: Item<'_>) -> Item<'_> {
    Item { score: item.score + 0.0, ..item }
}

impl Large {
    fn insert_new(&mut self, item: Item<'_>) {
        let packed = score::Packed::of(item.score);
        let entry = Entry::new(item.member, Content::String(packed.bytes()), None);
        self.table.insert_new(KeyHash::of(item.member), entry);
        self.tree.insert(item);
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(KeyHash::of(member), member).map(entry_score)
    }

    fn take_from_tree(&mut self, item: Item<'_>) {
        let rank = self.tree.partition(|other| other.is_before(&item));
        self.tree.remove_range(rank..rank + 1, &mut |_| {});
    }
}

impl SortedSet {
    /// An empty one for so many members, of which the longest has `longest` bytes: large at once when
    /// they will not fit the small form.
    pub fn for_members(count: usize, longest: usize, limits: &Encodings) -> SortedSet {
        let mut set = SortedSet::default();
        if count > limits.sorted_set_entries || longest > limits.sorted_set_value {
            set.enlarge();
        }
        set
    }

    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed(chunk) => chunk.len(),
            Form::Large(large) => large.tree.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is in its small form.
    pub fn is_packed(&self) -> bool {
        matches!(self.0, Form::Packed(_))
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        if self.is_packed() { "listpack" } else { "skiplist" }
    }

    /// Bytes that it takes apart from its own struct.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(chunk) => chunk.allocated(),
            Form::Large(large) => {
                let entries: usize = large.table.iter().map(Entry::block_bytes).sum();
                size_of::<Large>() + large.table.own_bytes() + entries + large.tree.bytes()
            }
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Packed(chunk) => chunk.find(member).map(|place| place.score),
            Form::Large(large) => large.score(member),
        }
    }

    /// How many members stand before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Form::Packed(chunk) => chunk.find(member).map(|place| (place.index, place.score)),
            Form::Large(large) => {
                let item = Item { score: large.score(member)?, member };
                Some((large.tree.partition(|other| other.is_before(&item)), item.score))
            }
        }
    }

    /// Adds a member that is not there.
    pub fn insert_new(&mut self, item: Item<'_>, limits: &Encodings) {
        if self.is_packed()
            && (self.len() >= limits.sorted_set_entries || item.member.len() > limits.sorted_set_value)
        {
            self.enlarge();
        }
        match &mut self.0 {
            Form::Packed(chunk) => {
                let item = without_sign_of_zero(item);
                let (_, offset) = chunk.partition(|other| other.is_before(&item));
                chunk.insert(offset, item);
            }
            Form::Large(large) => large.insert_new(item),
        }
    }

    /// Gives another score to a member that has the score `old`.
    pub fn change(&mut self, old: f64, item: Item<'_>) {
        match &mut self.0 {
            Form::Packed(chunk) => {
                let Some(place) = chunk.find(item.member) else { return };
                chunk.remove(&place);
                let item = without_sign_of_zero(item);
                let (_, offset) = chunk.partition(|other| other.is_before(&item));
                chunk.insert(offset, item);
            }
            Form::Large(large) => {
                large.take_from_tree(Item { score: old, member: item.member });
                large.tree.insert(item);
                if let Some(entry) = large.table.get_mut(KeyHash::of(item.member), item.member) {
                    entry.replace(Content::String(score::Packed::of(item.score).bytes()), None);
                }
            }
        }
    }

    /// Removes a member; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Packed(chunk) => {
                let place = chunk.find(member)?;
                chunk.remove(&place);
                Some(place.score)
            }
            Form::Large(large) => {
                let score = entry_score(&large.table.remove(KeyHash::of(member), member)?);
                large.take_from_tree(Item { score, member });
                Some(score)
            }
        }
    }

    /// Removes the members in a range of ranks after `visit` has seen them, first to last.
    pub fn remove_range(&mut self, range: Range<usize>, mut visit: impl FnMut(Item<'_>)) {
        match &mut self.0 {
            Form::Packed(chunk) => {
                let end = range.end.min(chunk.len());
                chunk.remove_range(range.start.min(end)..end, &mut visit);
            }
            Form::Large(large) => {
                let Large { table, tree } = &mut **large;
                tree.remove_range(range, &mut |item: Item<'_>| {
                    visit(item);
                    table.remove(KeyHash::of(item.member), item.member);
                });
            }
        }
    }

    /// The ranks of the members that are `above` one border and `below` another. A member may be above
    /// only if all behind it are, and below only if all before it are. Where members of different
    /// scores break that, Redis leaves the answer open; for the small form it is the same here: from
    /// the first (with `reverse`: back from the last) that is within both, as far as they follow each
    /// other.
    pub fn span(
        &self,
        above: impl Fn(Item<'_>) -> bool,
        below: impl Fn(Item<'_>) -> bool,
        reverse: bool,
    ) -> Range<usize> {
        let chunk = match &self.0 {
            Form::Packed(chunk) => chunk,
            Form::Large(large) => {
                let start = large.tree.partition(|item| !above(item));
                return start..large.tree.partition(below).max(start);
            }
        };
        let (mut first, mut last) = (None, None);
        let (mut begun, mut run, mut span) = (false, 0, 0..0);
        for (index, item) in chunk.items().enumerate() {
            let (above, below) = (above(item), below(item));
            first = first.or(Some(below));
            last = Some(above);
            if reverse {
                if !above {
                    run = index + 1;
                }
                if below {
                    span = run..index + 1;
                }
            } else if !begun && above {
                (begun, span) = (true, index..index);
            }
            if !reverse && begun && below && span.end == index {
                span.end = index + 1;
            }
        }
        if first == Some(true) && last == Some(true) { span } else { 0..0 }
    }

    /// Visits the members in a range of ranks, first to last or, with `reverse`, last to first.
    pub fn visit<'a>(&'a self, range: Range<usize>, reverse: bool, mut visit: impl FnMut(Item<'a>)) {
        match &self.0 {
            Form::Packed(chunk) => chunk.visit(range, reverse, &mut visit),
            Form::Large(large) => large.tree.visit(range, reverse, &mut visit),
        }
    }

    /// All members, first to last.
    pub fn for_each<'a>(&'a self, visit: impl FnMut(Item<'a>)) {
        self.visit(0..self.len(), false, visit);
    }

    /// The member at a rank.
    pub fn at(&self, rank: usize) -> Option<Item<'_>> {
        let mut found = None;
        self.visit(rank..rank.saturating_add(1), false, |item| found = Some(item));
        found
    }

    /// One step of ZSCAN: at least `count` members unless it is the end; gives back the next cursor.
    pub fn scan<'a>(&'a self, mut cursor: u64, count: usize, mut visit: impl FnMut(Item<'a>)) -> u64 {
        let Form::Large(large) = &self.0 else {
            self.for_each(visit);
            return 0;
        };
        let mut seen = 0;
        loop {
            cursor = large.table.scan(cursor, |entry| {
                seen += 1;
                visit(Item { score: entry_score(entry), member: entry.key() });
            });
            if cursor == 0 || seen >= count {
                return cursor;
            }
        }
    }

    /// Leaves the small form, if it has it.
    pub fn enlarge(&mut self) {
        if !self.is_packed() {
            return;
        }
        let mut large = Box::<Large>::default();
        self.for_each(|item| large.insert_new(item));
        self.0 = Form::Large(large);
    }
}

#[cfg(test)]
mod tests;
