//! Which record request `n` sends: a pure function of the seed and `n`.
//!
//! The ranges of a scenario are laid end to end and numbered from 0: that number is the *record
//! index*. Orders choose an index, the ranges turn it into an id.

use crate::seeded;
use crate::units::IdRange;

/// In which order records are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// First to last, then again.
    Sequential,
    /// Each record once in a seeded order, then again in another.
    Shuffle,
    /// Any record, each as likely as the others.
    Random,
    /// The first record most often, the k-th with a share of 1/k.
    Zipf,
}

const PURPOSE_RANDOM: u64 = 0x6b65_7973_0001;
const PURPOSE_SHUFFLE: u64 = 0x6b65_7973_0002;
const PURPOSE_ZIPF: u64 = 0x6b65_7973_0003;

/// The record of every request.
#[derive(Debug, Clone)]
pub struct Keys {
    ranges: Vec<IdRange>,
    /// Records before each range.
    before: Vec<u64>,
    count: u64,
    order: Order,
    seed: u64,
    zipf: Option<Zipf>,
}

impl Keys {
    /// Records of `ranges`, chosen in `order`. At least one range; more ids than `u64` holds must
    /// have been refused before.
    pub fn new(ranges: Vec<IdRange>, order: Order, seed: u64) -> Keys {
        let mut count = 0u64;
        let mut before = Vec::with_capacity(ranges.len());
        for range in &ranges {
            before.push(count);
            count += range.count();
        }
        let zipf = (order == Order::Zipf).then(|| Zipf::new(count));
        Keys { ranges, before, count, order, seed, zipf }
    }

    /// How many records there are to choose from.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The ranges as written.
    pub fn ranges(&self) -> &[IdRange] {
        &self.ranges
    }

    /// Whether some record is named by more than one range.
    pub fn overlap(&self) -> bool {
        let mut ranges = self.ranges.clone();
        ranges.sort_by_key(|range| range.first());
        ranges.windows(2).any(|pair| pair[1].first() <= pair[0].last())
    }

    /// The seed, if the order depends on one.
    pub fn seed(&self) -> Option<u64> {
        (self.order != Order::Sequential).then_some(self.seed)
    }

    /// The index of the record of request `n`, below [`Keys::count`].
    pub fn index_of(&self, n: u64) -> u64 {
        match self.order {
            Order::Sequential => n % self.count,
            Order::Random => seeded::below(seeded::choice(self.seed, PURPOSE_RANDOM, n), self.count),
            Order::Shuffle => self.shuffled(n % self.count, n / self.count),
            Order::Zipf => self.zipf.as_ref().map_or(0, |zipf| zipf.rank(self.seed, n) - 1),
        }
    }

    /// The record id of request `n`.
    pub fn id_of(&self, n: u64) -> u64 {
        self.id_at(self.index_of(n))
    }

    /// The record id at an index below [`Keys::count`].
    pub fn id_at(&self, index: u64) -> u64 {
        let range = self.before.partition_point(|&before| before <= index) - 1;
        self.ranges[range].first() + (index - self.before[range])
    }

    fn shuffled(&self, index: u64, epoch: u64) -> u64 {
        seeded::permuted(index, self.count, seeded::choice(self.seed, PURPOSE_SHUFFLE, epoch))
    }
}

/// Zipf's law with exponent 1, by rejection from a logarithmic curve, in integers, so that every
/// machine draws the same ranks.
#[derive(Debug, Clone)]
struct Zipf {
    count: u64,
    /// log2(count + 1) with [`LOG_BITS`] fractional bits.
    log_count: u64,
    /// 2^(1/2), 2^(1/4), 2^(1/8) … with 62 fractional bits.
    roots: [u64; LOG_BITS as usize],
}

const LOG_BITS: u32 = 40;

/// Above this rank the acceptance ratio equals its limit, ln 2, to seven digits.
const FAR_RANK: u64 = 1 << 24;

/// ln 2 × 2^64.
const LN2_Q64: u64 = 12_786_308_645_202_655_660;

impl Zipf {
    fn new(count: u64) -> Zipf {
        let mut roots = [0; LOG_BITS as usize];
        let mut root = 2u128 << 62;
        for slot in &mut roots {
            root = (root << 62).isqrt();
            *slot = root as u64;
        }
        Zipf { count, log_count: log2(count.saturating_add(1)), roots }
    }

    /// A rank from 1 to `count`.
    fn rank(&self, seed: u64, n: u64) -> u64 {
        let mut draw = seeded::choice(seed, PURPOSE_ZIPF, n);
        // Each round is accepted with a chance of at least ln 2: 64 refusals do not happen.
        for _ in 0..64 {
            let rank = self.exp2(seeded::below(draw, self.log_count)).clamp(1, self.count);
            draw = seeded::mix(draw);
            if draw <= acceptance(rank) {
                return rank;
            }
            draw = seeded::mix(draw);
        }
        1
    }

    /// 2^x rounded down, for x with [`LOG_BITS`] fractional bits.
    fn exp2(&self, x: u64) -> u64 {
        let mut mantissa = 1u128 << 62;
        for (i, &root) in self.roots.iter().enumerate() {
            if x >> (LOG_BITS - 1 - i as u32) & 1 == 1 {
                mantissa = (mantissa * u128::from(root)) >> 62;
            }
        }
        let whole = (x >> LOG_BITS) as u32;
        ((mantissa << whole) >> 62) as u64
    }
}

/// The chance to keep a rank, times 2^64: (1/k) ÷ log2(1 + 1/k), which is 1 for the first.
fn acceptance(rank: u64) -> u64 {
    if rank == 1 {
        return u64::MAX;
    }
    if rank >= FAR_RANK {
        return LN2_Q64;
    }
    let step = log2(rank + 1) - log2(rank);
    ((1u128 << (64 + LOG_BITS)) / (u128::from(rank) * u128::from(step))).min(u128::from(u64::MAX)) as u64
}

/// log2(x) with [`LOG_BITS`] fractional bits, rounded down; x at least 1.
fn log2(x: u64) -> u64 {
    let whole = x.ilog2();
    let mut mantissa = (u128::from(x) << 62) >> whole;
    let mut log = u64::from(whole);
    for _ in 0..LOG_BITS {
        mantissa = (mantissa * mantissa) >> 62;
        let carry = mantissa >> 63;
        mantissa >>= carry;
        log = (log << 1) | carry as u64;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn range(first: u64, last: u64) -> IdRange {
        IdRange::new(first, last).expect("a range")
    }

    #[test]
    fn sequential_walks_all_ranges_and_starts_again() {
        let keys = Keys::new(vec![range(1, 3), range(10, 11)], Order::Sequential, 1);
        let ids: Vec<u64> = (0..7).map(|n| keys.id_of(n)).collect();
        assert_eq!(ids, [1, 2, 3, 10, 11, 1, 2]);
        assert!(!keys.overlap());
        assert!(Keys::new(vec![range(5, 9), range(1, 5)], Order::Sequential, 1).overlap());
    }

    #[test]
    fn zipf_gives_rank_k_a_share_of_one_over_k() {
        let keys = Keys::new(vec![range(1, 1000)], Order::Zipf, 4);
        let mut hits = vec![0f64; 1001];
        let draws = 200_000;
        for n in 0..draws {
            hits[keys.id_of(n) as usize] += 1.0;
        }
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        for k in [1usize, 2, 3, 10] {
            let expected = draws as f64 / harmonic / k as f64;
            assert!((hits[k] / expected - 1.0).abs() < 0.05, "rank {k}: {} of {expected}", hits[k]);
        }
        let tail: f64 = hits[501..].iter().sum();
        let expected = draws as f64 * (501..=1000).map(|k| 1.0 / f64::from(k)).sum::<f64>() / harmonic;
        assert!((tail / expected - 1.0).abs() < 0.05, "{tail} of {expected}");
    }

    #[test]
    fn logarithms_are_right() {
        for x in [1u64, 2, 3, 1000, 1 << 40, u64::MAX] {
            let ours = log2(x) as f64 / 2f64.powi(LOG_BITS as i32);
            assert!((ours - (x as f64).log2()).abs() < 1e-9, "{x}: {ours}");
        }
        let zipf = Zipf::new(10);
        assert_eq!(zipf.exp2(3 << LOG_BITS), 8);
        assert_eq!(zipf.exp2(log2(1_000_000) + 1), 1_000_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Every order stays inside the ranges.
        #[test]
        fn ids_stay_inside(first in 0u64..1000, count in 1u64..5000, seed: u64, n: u64) {
            for order in [Order::Sequential, Order::Shuffle, Order::Random, Order::Zipf] {
                let keys = Keys::new(vec![range(first, first + count - 1)], order, seed);
                let id = keys.id_of(n);
                prop_assert!((first..first + count).contains(&id), "{order:?} {id}");
            }
        }

        /// A shuffle sends each record once before any comes again, each round in another order.
        #[test]
        fn a_shuffle_is_a_permutation(count in 1u64..3000, seed: u64) {
            let keys = Keys::new(vec![range(1, count)], Order::Shuffle, seed);
            let rounds: Vec<Vec<u64>> =
                (0..2).map(|r| (0..count).map(|i| keys.id_of(r * count + i)).collect()).collect();
            for round in &rounds {
                prop_assert_eq!(round.iter().collect::<HashSet<_>>().len() as u64, count);
            }
            prop_assert!(count < 20 || rounds[0] != rounds[1]);
        }
    }
}
