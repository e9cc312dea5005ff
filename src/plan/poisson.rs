//! Poisson arrivals with a fixed total, in bounded memory.
//!
//! Given their number, the arrivals of a Poisson process lie like independent uniform points. To
//! know the `k`-th of `total` sorted points without sorting them all, the points are dealt out by
//! halves: the left half gets as many points as a fair coin shows heads, which is the number of one
//! bits in `total` random bits, and so on down to leaves of a few points, which are drawn and
//! sorted. Each coin depends only on the seed and on its place in the tree, so any machine can ask
//! for any `k`. Integers only.

use crate::seeded::mix;

/// Leaves of the tree hold about this many points.
const LEAF_POINTS: u64 = 64;

/// The seed of one stage.
pub(crate) fn seed_of_stage(seed: u64, stage: u64) -> u64 {
    mix(seed ^ mix(stage.wrapping_add(0x5eed)))
}

/// The seed of what is left of a stage after the change of this number, from that of the stage.
pub(crate) fn seed_of_change(seed: u64, number: u64) -> u64 {
    mix(seed ^ mix(number.wrapping_add(0xc4a6)))
}

/// `area × fraction / 2^64`, rounded down.
pub(crate) fn scale(area: u128, fraction: u64) -> u128 {
    let (high, low) = (area >> 64, area & u128::from(u64::MAX));
    high * u128::from(fraction) + ((low * u128::from(fraction)) >> 64)
}

/// One node of the tree: which part of the stage, and which points lie in it.
#[derive(Debug, Clone, Copy)]
struct Node {
    depth: u32,
    place: u64,
    first: u64,
    count: u64,
}

/// Sorted uniform points of one stage, as fractions of 2^64.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    seed: u64,
    leaf_depth: u32,
    /// The nodes from the root to the leaf that was asked for last.
    path: Vec<Node>,
    leaf: Vec<u64>,
}

impl Deal {
    /// `total` points; at least one.
    pub(crate) fn new(seed: u64, total: u64) -> Deal {
        let leaf_depth = (total / LEAF_POINTS).max(1).ilog2();
        let root = Node { depth: 0, place: 0, first: 0, count: total };
        Deal { seed, leaf_depth, path: vec![root], leaf: Vec::new() }
    }

    /// Where the `k`-th smallest point lies.
    pub(crate) fn fraction(&mut self, k: u64) -> u64 {
        let inside = |node: &Node| k >= node.first && k - node.first < node.count;
        let in_leaf = self.path.len() as u32 == self.leaf_depth + 1
            && self.path.last().is_some_and(inside)
            && !self.leaf.is_empty();
        if !in_leaf {
            while self.path.len() > 1 && !self.path.last().is_some_and(inside) {
                self.path.pop();
            }
            self.descend(k);
        }
        let leaf = self.path[self.path.len() - 1];
        self.leaf[(k - leaf.first) as usize]
    }

    fn descend(&mut self, k: u64) {
        let mut node = self.path[self.path.len() - 1];
        while node.depth < self.leaf_depth {
            let left = self.heads(node);
            let goes_left = k - node.first < left;
            node = Node {
                depth: node.depth + 1,
                place: node.place * 2 + u64::from(!goes_left),
                first: if goes_left { node.first } else { node.first + left },
                count: if goes_left { left } else { node.count - left },
            };
            self.path.push(node);
        }
        self.fill_leaf(node);
    }

    /// How many of the node's points fall into its left half.
    fn heads(&self, node: Node) -> u64 {
        let key = mix(self.seed ^ mix((u64::from(node.depth) << 58) ^ node.place));
        let whole = node.count / 64;
        let mut heads: u64 = (0..whole).map(|i| u64::from(mix(key.wrapping_add(i)).count_ones())).sum();
        let rest = node.count % 64;
        if rest > 0 {
            heads += u64::from((mix(key.wrapping_add(whole)) & ((1 << rest) - 1)).count_ones());
        }
        heads
    }

    fn fill_leaf(&mut self, node: Node) {
        let key = mix(self.seed ^ mix((63 << 58) ^ node.place));
        let depth = self.leaf_depth;
        self.leaf.clear();
        self.leaf.extend((0..node.count).map(|i| {
            let within = mix(key.wrapping_add(i));
            if depth == 0 { within } else { (node.place << (64 - depth)) | (within >> depth) }
        }));
        self.leaf.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_sorted_and_any_can_be_asked_for() {
        for total in [1, 2, 63, 64, 65, 1000, 100_000] {
            let mut deal = Deal::new(5, total);
            let walked: Vec<u64> = (0..total).map(|k| deal.fraction(k)).collect();
            assert!(walked.is_sorted());
            for k in [0, total / 3, total - 1] {
                assert_eq!(Deal::new(5, total).fraction(k), walked[k as usize]);
            }
        }
    }

    #[test]
    fn counts_in_equal_parts_vary_like_a_binomial() {
        // 100,000 points in 100 parts: mean 1000, standard deviation √(1000 × 0.99) = 31.5.
        let mut deal = Deal::new(9, 100_000);
        let mut parts = [0f64; 100];
        for k in 0..100_000 {
            parts[((u128::from(deal.fraction(k)) * 100) >> 64) as usize] += 1.0;
        }
        let deviation = (parts.iter().map(|p| (p - 1000.0).powi(2)).sum::<f64>() / 100.0).sqrt();
        assert!((20.0..45.0).contains(&deviation), "{deviation}");
    }

    #[test]
    fn scaling_is_exact_at_the_edges() {
        assert_eq!(scale(u128::MAX >> 20, 0), 0);
        assert_eq!(scale(1 << 64, u64::MAX), u128::from(u64::MAX));
    }
}
