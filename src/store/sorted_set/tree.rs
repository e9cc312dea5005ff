//! Hot path
//!
//! The members of a large sorted set in their order: a tree of chunks that knows how many items stand
//! in each branch, so that inserting, removing, ranking and selecting by rank take logarithmic time.
//!
//! 1. A separator is above every item before its child and not above any item in it; that of a first
//!    child means nothing.
//! 2. A full chunk is cut before the next item goes in, so one chunk is larger than [`FULL_BYTES`] by
//!    one item at most, however large that is.
//! 3. An item that would go in behind or before a full chunk begins a new one, whose separator leaves
//!    it as much room as there is: items that come in order fill chunks completely.
//! 4. A branch that has become small is joined with its neighbour when both together leave room.

use std::ops::Range;

use super::chunk::{Chunk, Item};

/// Items in a chunk that is full.
const FULL_ITEMS: usize = 64;
/// Bytes in a chunk that is full.
const FULL_BYTES: usize = 2048;
/// Branches of one node.
const MAX_CHILDREN: usize = 32;

/// A tree of chunks.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Node,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Chunk),
    Inner(Vec<Child>),
}

#[derive(Debug, Clone)]
struct Child {
    separator: Separator,
    len: usize,
    node: Node,
}

/// A place between two items.
#[derive(Debug, Clone)]
struct Separator {
    score: f64,
    member: Box<[u8]>,
}

impl Separator {
    #[inline]
    fn item(&self) -> Item<'_> {
        Item { score: self.score, member: &self.member }
    }

    /// A short one just above `left`, and not above `right`.
    fn low(left: Item<'_>, right: Item<'_>) -> Separator {
        if left.score < right.score {
            return Separator { score: left.score.next_up(), member: Box::default() };
        }
        let common = common_prefix(left.member, right.member);
        let mut member = right.member[..common].to_vec();
        // The byte after the common part is smaller on the left, or missing there.
        member.push(left.member.get(common).map_or(0, |byte| byte.saturating_add(1)));
        Separator { score: right.score, member: member.into() }
    }

    /// A short one above `left`, and not far below `right`.
    fn high(left: Item<'_>, right: Item<'_>) -> Separator {
        let len = match left.score < right.score {
            true => 0,
            false => common_prefix(left.member, right.member) + 1,
        };
        Separator { score: right.score, member: right.member[..len.min(right.member.len())].into() }
    }
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// A new right neighbour of the node that was changed.
type Sibling = Option<(Separator, Node)>;

impl Default for Tree {
    fn default() -> Tree {
        Tree { root: Node::Leaf(Chunk::default()), len: 0 }
    }
}

impl Tree {
    /// How many items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an item that is not in the tree.
    pub fn insert(&mut self, item: Item<'_>) {
        self.len += 1;
        let Some((separator, right)) = self.root.insert(item) else { return };
        let left = std::mem::replace(&mut self.root, Node::Inner(Vec::with_capacity(2)));
        if let Node::Inner(children) = &mut self.root {
            let first = Separator { score: f64::NEG_INFINITY, member: Box::default() };
            children.push(Child { separator: first, len: left.len(), node: left });
            children.push(Child { separator, len: right.len(), node: right });
        }
    }

    /// How many leading items satisfy `before`, which no item does that stands behind one that does not.
    #[inline]
    pub fn partition(&self, before: impl Fn(Item<'_>) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(chunk) => return rank + chunk.partition(before).0,
                Node::Inner(children) => {
                    let index = choose(children, &before);
                    rank += children[..index].iter().map(|child| child.len).sum::<usize>();
                    node = &children[index].node;
                }
            }
        }
    }

    /// Visits the items in a range of ranks, first to last or last to first.
    pub fn visit<'a>(&'a self, range: Range<usize>, reverse: bool, visit: &mut impl FnMut(Item<'a>)) {
        self.root.visit(range, reverse, visit);
    }

    /// Removes the items in a range of ranks after `visit` has seen them.
    pub fn remove_range(&mut self, range: Range<usize>, visit: &mut impl FnMut(Item<'_>)) {
        let range = range.start..range.end.min(self.len);
        if range.is_empty() {
            return;
        }
        self.len -= range.len();
        self.root.remove_range(range, visit);
        while let Node::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Node::Leaf(Chunk::default()),
                1 => {
                    let Some(only) = children.pop() else { return };
                    self.root = only.node;
                }
                _ => return,
            }
        }
    }

    /// Bytes that are allocated.
    pub fn bytes(&self) -> usize {
        self.root.bytes()
    }
}

/// The last child whose separator satisfies `before`, or the first one.
#[inline]
fn choose(children: &[Child], before: impl Fn(Item<'_>) -> bool) -> usize {
    let later = children.get(1..).unwrap_or_default();
    later.partition_point(|child| before(child.separator.item()))
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(chunk) => chunk.len(),
            Node::Inner(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    fn insert(&mut self, item: Item<'_>) -> Sibling {
        let children = match self {
            Node::Leaf(chunk) => return insert_into_leaf(chunk, item),
            Node::Inner(children) => children,
        };
        let index = choose(children, |separator| !item.is_before(&separator));
        let child = &mut children[index];
        let sibling = child.node.insert(item);
        let Some((separator, node)) = sibling else {
            child.len += 1;
            return None;
        };
        child.len = child.node.len();
        children.insert(index + 1, Child { separator, len: node.len(), node });
        if children.len() <= MAX_CHILDREN {
            return None;
        }
        // What comes in order leaves full nodes behind.
        let cut = if index + 2 == children.len() { index + 1 } else { children.len() / 2 };
        let mut right = children.split_off(cut);
        children.shrink_to_fit();
        let first = right.first_mut()?;
        let unused = Separator { score: first.separator.score, member: Box::default() };
        let separator = std::mem::replace(&mut first.separator, unused);
        Some((separator, Node::Inner(right)))
    }

    fn visit<'a>(&'a self, range: Range<usize>, reverse: bool, visit: &mut impl FnMut(Item<'a>)) {
        let children = match self {
            Node::Leaf(chunk) => return chunk.visit(range, reverse, visit),
            Node::Inner(children) => children,
        };
        let mut one = |child: &'a Child, start: usize| {
            let within = overlap(&range, start, child.len);
            if !within.is_empty() {
                child.node.visit(within, reverse, visit);
            }
        };
        if reverse {
            let mut end = self.len();
            for child in children.iter().rev() {
                end -= child.len;
                one(child, end);
            }
        } else {
            let mut start = 0;
            for child in children {
                one(child, start);
                start += child.len;
            }
        }
    }

    fn remove_range(&mut self, range: Range<usize>, visit: &mut impl FnMut(Item<'_>)) {
        let children = match self {
            Node::Leaf(chunk) => return chunk.remove_range(range, visit),
            Node::Inner(children) => children,
        };
        let (mut start, mut first, mut emptied) = (0, None, false);
        for (index, child) in children.iter_mut().enumerate() {
            if start >= range.end {
                break;
            }
            let within = overlap(&range, start, child.len);
            start += child.len;
            if !within.is_empty() {
                child.len -= within.len();
                child.node.remove_range(within, visit);
                first = first.or(Some(index));
                emptied |= child.len == 0;
            }
        }
        if emptied {
            children.retain(|child| child.len > 0);
        }
        // At most the first and the last child of the range are still there, side by side.
        let around = first.unwrap_or(0);
        for index in (around.saturating_sub(1)..=around + 1).rev() {
            join(children, index);
        }
    }

    /// Whether a node is so small that it should be joined with a neighbour.
    fn is_small(&self) -> bool {
        match self {
            Node::Leaf(chunk) => chunk.len() <= FULL_ITEMS / 4 && chunk.byte_len() <= FULL_BYTES / 4,
            Node::Inner(children) => children.len() <= MAX_CHILDREN / 4,
        }
    }

    /// Whether two neighbours leave room when they are joined.
    fn has_room_for(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.len() + right.len() <= FULL_ITEMS * 3 / 4
                    && left.byte_len() + right.byte_len() <= FULL_BYTES * 3 / 4
            }
            (Node::Inner(left), Node::Inner(right)) => left.len() + right.len() <= MAX_CHILDREN * 3 / 4,
            _ => false,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Node::Leaf(chunk) => chunk.allocated(),
            Node::Inner(children) => {
                let below = |child: &Child| child.separator.member.len() + child.node.bytes();
                children.capacity() * size_of::<Child>() + children.iter().map(below).sum::<usize>()
            }
        }
    }
}

fn insert_into_leaf(chunk: &mut Chunk, item: Item<'_>) -> Sibling {
    let (index, offset) = chunk.partition(|other| other.is_before(&item));
    if chunk.len() < FULL_ITEMS && chunk.byte_len() < FULL_BYTES {
        chunk.insert(offset, item);
        return None;
    }
    if index == chunk.len() {
        let last = chunk.items().last()?;
        return Some((Separator::low(last, item), Node::Leaf(Chunk::of(item))));
    }
    if index == 0 {
        let first = chunk.items().next()?;
        let separator = Separator::high(item, first);
        let right = std::mem::replace(chunk, Chunk::of(item));
        return Some((separator, Node::Leaf(right)));
    }
    let mut right = chunk.split();
    let separator = Separator::high(chunk.items().last()?, right.items().next()?);
    let side = if item.is_before(&separator.item()) { chunk } else { &mut right };
    let (_, offset) = side.partition(|other| other.is_before(&item));
    side.insert(offset, item);
    Some((separator, Node::Leaf(right)))
}

/// Joins the child at `index` with the next one when one is small and both leave room.
fn join(children: &mut Vec<Child>, index: usize) {
    let Some([left, right]) = children.get_mut(index..index + 2) else { return };
    if !(left.node.is_small() || right.node.is_small()) || !left.node.has_room_for(&right.node) {
        return;
    }
    let Child { separator, len, node } = children.remove(index + 1);
    let left = &mut children[index];
    left.len += len;
    match (&mut left.node, node) {
        (Node::Leaf(left), Node::Leaf(right)) => left.append(&right),
        (Node::Inner(left), Node::Inner(mut right)) => {
            // It becomes an inner child, so that its separator counts again.
            if let Some(first) = right.first_mut() {
                first.separator = separator;
            }
            left.append(&mut right);
        }
        _ => {}
    }
}

/// The part of `range` that lies within `len` items from `start` on, counted from there.
fn overlap(range: &Range<usize>, start: usize, len: usize) -> Range<usize> {
    range.start.saturating_sub(start).min(len)..range.end.saturating_sub(start).min(len)
}
