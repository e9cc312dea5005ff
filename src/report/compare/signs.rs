//! The test by which differences are told from chance.
//!
//! Two runs of one plan are cut alike, and each block of one is held against the same block of the other:
//! what the plan does to a block it does in both, so a ramp is no noise. If nothing has changed, which of the
//! two runs a block came from is a matter of chance, and each difference could as well have had the other
//! sign. So:
//!
//! 1. The differences of a metric are ranked by their size, and the ranks get their signs (Wilcoxon's signed
//!    ranks: one block with a hiccup, however long, is one rank and no more).
//! 2. Their sum, divided by what chance makes of it, says how clearly the metric differs.
//! 3. The same is done for all ways to turn the signs of blocks, the same blocks in all metrics. The
//!    probability of a metric is how often the largest of all metrics comes out as large as its own did
//!    (Westfall and Young's single step). So the more metrics there are, the more each has to show, and
//!    metrics that say the same thing twice cost nothing.
//!
//! What this holds is the chance that *any* metric is called different when nothing has changed.
//!
//! Blocks must not resemble their neighbours, so they are few and long (`report/blocks.rs`): of ten blocks
//! only those outcomes are rare that next to all blocks agree on.
//!
//! Sources: F. Wilcoxon, "Individual comparisons by ranking methods" (1945); P. Westfall and S. Young,
//! "Resampling-Based Multiple Testing" (1993); J. Hodges and E. Lehmann, "Estimates of location
//! based on rank tests" (1963).

use crate::report::blocks::BLOCKS;

/// How often chance alone may make any metric differ so clearly. Of the ways to turn ten signs it lets as many count as
/// 0.01 would.
pub(super) const CHANCE: f64 = 0.0098;

/// Two sums are the same if they are this close.
const HAIR: f64 = 1e-9;

/// For each metric, the probability that chance alone makes any metric differ so clearly. `differences` has
/// for each metric one for each block; a block without any stands as 0, and has no say.
pub(super) fn probabilities(differences: &[Vec<f64>]) -> Vec<f64> {
    let blocks = differences.iter().map(Vec::len).max().unwrap_or(0).min(BLOCKS);
    let ranks: Vec<Vec<f64>> =
        differences.iter().map(|metric| signed_ranks(&metric[..metric.len().min(blocks)])).collect();
    let observed: Vec<f64> = ranks.iter().map(|metric| statistic(metric, 0)).collect();
    let mut as_large = vec![0u64; ranks.len()];
    // With all signs turned the sum has the same size: half of the ways are enough.
    let ways = 1u64 << blocks.saturating_sub(1);
    for way in 0..ways {
        let largest = ranks.iter().map(|metric| statistic(metric, way)).fold(0.0, f64::max);
        for (count, own) in as_large.iter_mut().zip(&observed) {
            *count += u64::from(largest >= own - HAIR);
        }
    }
    as_large.iter().map(|&count| count as f64 / ways as f64).collect()
}

/// Ranks by size, from 1, with the signs of the differences; equal ones share their ranks, and 0 stays 0.
fn signed_ranks(differences: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..differences.len()).filter(|&block| differences[block] != 0.0).collect();
    order.sort_by(|&a, &b| differences[a].abs().total_cmp(&differences[b].abs()));
    let mut ranks = vec![0.0; differences.len()];
    let mut from = 0;
    while from < order.len() {
        let size = differences[order[from]].abs();
        let alike = order[from..].iter().take_while(|&&block| differences[block].abs() == size).count();
        // The mean of the ranks from `from + 1` to `from + alike`.
        let rank = from as f64 + (alike as f64 + 1.0) / 2.0;
        for &block in &order[from..from + alike] {
            ranks[block] = rank * differences[block].signum();
        }
        from += alike;
    }
    ranks
}

/// How far the sum of the ranks is from 0, in units of what chance makes of it. The bits of `way` say which
/// signs are turned.
fn statistic(ranks: &[f64], way: u64) -> f64 {
    let squares: f64 = ranks.iter().map(|rank| rank * rank).sum();
    if squares == 0.0 {
        return 0.0;
    }
    let turned = |(block, rank): (usize, &f64)| if way >> block & 1 == 1 { -rank } else { *rank };
    ranks.iter().enumerate().map(turned).sum::<f64>().abs() / squares.sqrt()
}

/// The typical difference: the median of the means of all pairs of blocks, each with itself too (Hodges and
/// Lehmann). What the ranks are a test of; 0 without any.
pub(super) fn typical(differences: &[f64]) -> f64 {
    let mut means = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (index, a) in differences.iter().enumerate() {
        means.extend(differences[index..].iter().map(|b| (a + b) / 2.0));
    }
    means.sort_by(f64::total_cmp);
    let middle = means.len() / 2;
    match means.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => means[middle],
        _ => (means[middle - 1] + means[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_by_size_and_equal_ones_share_theirs() {
        assert_eq!(signed_ranks(&[-3.0, 0.0, 1.0, 3.0, -2.0]), [-3.5, 0.0, 1.0, 3.5, -2.0]);
        assert_eq!(signed_ranks(&[]), [0.0; 0]);
    }

    #[test]
    fn a_difference_in_every_block_is_as_rare_as_its_blocks_allow() {
        // All eight in one direction: two of 256 ways, or one of the 128 that are gone through.
        let p = probabilities(&[vec![5.0; 8]]);
        assert_eq!(p, [1.0 / 128.0]);
        // The same said twice costs nothing.
        assert_eq!(probabilities(&[vec![5.0; 8], vec![7.0; 8]]), [1.0 / 128.0; 2]);
        // One block alone says nothing, however far it is off.
        let mut one = vec![0.0; 10];
        one[3] = 1e9;
        assert_eq!(probabilities(&[one]), [1.0]);
        assert_eq!(probabilities(&[vec![0.0; 10]]), [1.0]);
        assert!(probabilities(&[]).is_empty());
        // Nine of ten, the smallest one against them: the two rarest of 512 ways.
        let clear: Vec<f64> =
            (1..=10).map(|block| if block == 1 { -1.0 } else { f64::from(block) }).collect();
        assert_eq!(probabilities(std::slice::from_ref(&clear)), [2.0 / 512.0]);
        // Beside a metric that says something else, it has to show more.
        let other = vec![-5.0, 2.0, -2.5, 5.5, 1.0, -3.0, 4.0, 0.5, -4.5, 3.5];
        let both = probabilities(&[clear, other]);
        assert!(both[0] == 4.0 / 512.0 && both[1] > 0.5, "{both:?}");
    }

    #[test]
    fn the_typical_difference_is_not_moved_by_one_block() {
        let mut differences: Vec<f64> = vec![5.0; 19];
        differences.push(-1e9);
        assert_eq!(typical(&differences), 5.0);
        assert_eq!((typical(&[]), typical(&[4.0]), typical(&[1.0, 3.0])), (0.0, 4.0, 2.0));
    }
}
