//! The mix: of which kind request `n` is, as a pure function of the seed and `n`.
//!
//! The weights, reduced by their common divisor, add up to the length of a *block*. Each block of that
//! many requests holds every kind exactly as often as its weight says, in an order of its own that
//! follows from the seed. So 3 to 1 is exactly 3 to 1 over every whole number of blocks, on any number
//! of machines, and no kind ever waits longer than two blocks.

use crate::seeded;

const PURPOSE_MIX: u64 = 0x6d69_7800_0001;

/// The most kinds of a mix.
pub const MAX_KINDS: usize = 16;

/// The largest weight.
pub const MAX_WEIGHT: u64 = 1_000_000;

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name in the reports.
    pub name: String,
    /// Its share, relative to the other weights; at least 1.
    pub weight: u64,
    /// The template of its payload.
    pub payload: String,
}

/// The kinds of a plan and in which order they come. Empty where all requests are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mix {
    kinds: Vec<Kind>,
    /// Where each kind ends in a block.
    ends: Vec<u64>,
    seed: u64,
}

impl Mix {
    /// A mix of these kinds.
    pub fn new(kinds: Vec<Kind>, seed: u64) -> Mix {
        let common = kinds.iter().fold(0, |common, kind| gcd(kind.weight.max(1), common)).max(1);
        let mut end = 0;
        let ends = kinds
            .iter()
            .map(|kind| {
                end += kind.weight.max(1) / common;
                end
            })
            .collect();
        Mix { kinds, ends, seed }
    }

    /// The kinds as they were written.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Whether there are no kinds to be told apart.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The seed, if the order of the kinds depends on one.
    pub fn seed(&self) -> Option<u64> {
        (self.kinds.len() > 1).then_some(self.seed)
    }

    /// The kind of request `n`, as an index into [`Mix::kinds`]; 0 where there are none.
    pub fn kind_of(&self, n: u64) -> usize {
        let Some(&block) = self.ends.last().filter(|_| self.ends.len() > 1) else { return 0 };
        let key = seeded::choice(self.seed, PURPOSE_MIX, n / block);
        let place = seeded::permuted(n % block, block, key);
        self.ends.partition_point(|&end| end <= place)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mix(weights: &[u64], seed: u64) -> Mix {
        let kind = |&weight: &u64| Kind { name: String::new(), weight, payload: String::new() };
        Mix::new(weights.iter().map(kind).collect(), seed)
    }

    #[test]
    fn one_kind_or_none_is_always_the_first() {
        assert!((0..100).all(|n| mix(&[7], 1).kind_of(n) == 0 && mix(&[], 1).kind_of(n) == 0));
        assert_eq!((mix(&[7], 1).seed(), mix(&[7, 1], 1).seed()), (None, Some(1)));
    }

    #[test]
    fn the_order_follows_from_the_seed_and_is_not_the_same_in_every_block() {
        let order = |seed| (0..64).map(|n| mix(&[1, 1], seed).kind_of(n)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert!(
            order(1).chunks(2).any(|pair| pair == [0, 1]) && order(1).chunks(2).any(|pair| pair == [1, 0])
        );
    }

    proptest! {
        /// Every block holds each kind exactly as often as its weight says.
        #[test]
        fn shares_are_exact(weights in prop::collection::vec(1u64..30, 1..6), factor in 1u64..5, seed: u64, block in 0u64..1000) {
            let scaled: Vec<u64> = weights.iter().map(|weight| weight * factor).collect();
            let mix = mix(&scaled, seed);
            let total: u64 = weights.iter().sum();
            let mut counts = vec![0; weights.len()];
            for n in block * total..(block + 1) * total {
                counts[mix.kind_of(n)] += 1;
            }
            prop_assert_eq!(counts, weights);
        }
    }
}
