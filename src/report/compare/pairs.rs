//! Which stretches of two runs belong together.
//!
//! 1. Runs of one plan are cut at the same places, or at some of the same where one of them was cut coarser (by an
//!    earlier version). Each stretch of one goes with the same seconds of the other; what only one of them has done
//!    is left out.
//! 2. Runs of different plans, and of the closed model, have no seconds in common: each is cut into as many parts.
//! 3. A stretch in which one of them had nothing to send says nothing. It goes with its neighbour.
//! 4. What is left are [`BLOCKS`] blocks of neighbours, or fewer where there are not so many stretches.

use crate::plan::Plan;
use crate::report::blocks::{self, BLOCKS, Block, Laid, PIECES};

/// Seconds of two runs that belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pair<'a> {
    pub base: Vec<&'a Block>,
    pub new: Vec<&'a Block>,
}

/// Stretches that can be joined to longer ones.
trait Stretch {
    fn join(&mut self, next: Self);

    /// Nothing was to be sent in it.
    fn is_silent(&self) -> bool;
}

impl Stretch for Vec<&Block> {
    fn join(&mut self, next: Self) {
        self.extend(next);
    }

    fn is_silent(&self) -> bool {
        self.iter().all(|block| block.scheduled == 0)
    }
}

impl Stretch for Pair<'_> {
    fn join(&mut self, next: Self) {
        self.base.join(next.base);
        self.new.join(next.new);
    }

    fn is_silent(&self) -> bool {
        self.base.is_silent() || self.new.is_silent()
    }
}

/// Silent stretches joined to the one before, or to the first that is none.
fn settled<T: Stretch>(stretches: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut settled: Vec<T> = Vec::new();
    for stretch in stretches {
        match settled.last_mut() {
            Some(last) if stretch.is_silent() || last.is_silent() => last.join(stretch),
            _ => settled.push(stretch),
        }
    }
    settled.retain(|stretch| !stretch.is_silent());
    settled
}

/// Neighbours joined, so that so many are left.
fn grouped<T: Stretch>(stretches: Vec<T>, groups: usize) -> Vec<T> {
    let many = stretches.len();
    let mut grouped: Vec<T> = Vec::with_capacity(groups);
    for (index, stretch) in stretches.into_iter().enumerate() {
        // Where the next group begins: there are as many as groups before it, in equal steps.
        let begins = grouped.len() * many / groups.max(1) == index;
        match grouped.last_mut() {
            Some(last) if !begins => last.join(stretch),
            _ => grouped.push(stretch),
        }
    }
    grouped
}

/// Blocks of two runs of one plan.
pub(super) fn alike<'a>(base: &'a [Block], new: &'a [Block]) -> Vec<Pair<'a>> {
    let settled = settled(aligned(base, new));
    let groups = settled.len().min(BLOCKS);
    grouped(settled, groups)
}

/// Blocks of two runs of which nothing is known to be the same.
pub(super) fn unlike<'a>(base: &'a [Block], new: &'a [Block]) -> Vec<Pair<'a>> {
    let [base, new] = [base, new].map(|blocks| settled(blocks.iter().map(|block| vec![block])));
    let groups = base.len().min(new.len()).min(BLOCKS);
    let pairs = grouped(base, groups).into_iter().zip(grouped(new, groups));
    pairs.map(|(base, new)| Pair { base, new }).collect()
}

/// The blocks that a run has at most in common with any other.
pub(super) fn alone(blocks: &[Block]) -> Vec<Vec<&Block>> {
    let settled = settled(blocks.iter().map(|block| vec![block]));
    let groups = settled.len().min(BLOCKS);
    grouped(settled, groups)
}

/// The shortest stretches that begin and end alike in both.
fn aligned<'a>(base: &'a [Block], new: &'a [Block]) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    let (mut base, mut new) = (base, new);
    while let ([a, ..], [b, ..]) = (base, new) {
        if a.from != b.from {
            let behind = if a.from < b.from { &mut base } else { &mut new };
            *behind = &behind[1..];
            continue;
        }
        let Some((many, of_new)) = same_end(base, new) else { break };
        let ((taken, rest), (taken_of_new, rest_of_new)) = (base.split_at(many), new.split_at(of_new));
        let seconds = |blocks: &[Block]| blocks.iter().map(|block| block.seconds).sum::<f64>();
        // Of the seconds between them one may have left out some as warm-up that the other has not.
        if (seconds(taken) - seconds(taken_of_new)).abs() < 1e-6 {
            pairs.push(Pair { base: taken.iter().collect(), new: taken_of_new.iter().collect() });
        }
        (base, new) = (rest, rest_of_new);
    }
    pairs
}

/// How many blocks of each have the same end; `None` where no more do.
fn same_end(base: &[Block], new: &[Block]) -> Option<(usize, usize)> {
    let (mut a, mut b) = (0, 0);
    loop {
        let (end, end_of_new) = (base.get(a)?.to, new.get(b)?.to);
        match end.cmp(&end_of_new) {
            std::cmp::Ordering::Equal => return Some((a + 1, b + 1)),
            std::cmp::Ordering::Less => a += 1,
            std::cmp::Ordering::Greater => b += 1,
        }
    }
}

/// The blocks that a run of a plan will have; `None` where its end is not known.
pub(super) fn of_plan(plan: &Plan) -> Option<Vec<Block>> {
    let end = plan.end()?;
    let laid = plan.stages.iter().map(|stage| match &plan.closed {
        // Users send as long as they have time.
        Some(_) => Laid { duration: end, warmup: stage.warmup, sends: true },
        None => Laid::stage(stage.kind, stage.duration(), stage.warmup, plan.share_of(stage).scheduled),
    });
    let cuts = blocks::cuts(&laid.collect::<Vec<_>>(), PIECES);
    let of_cut = |cut: &blocks::Cut| Block {
        scheduled: match &plan.closed {
            Some(_) => 1,
            None => cut.stretches.iter().map(|&(from, to)| plan.due_in_seconds(from, to)).sum(),
        },
        ..Block::of(cut)
    };
    Some(cuts.iter().map(of_cut).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::plan;

    /// Blocks from one of these seconds to the next, with so many requests in each.
    fn cut_at(ends: &[u64], scheduled: impl Fn(u64) -> u64) -> Vec<Block> {
        let block = |pair: &[u64]| Block {
            scheduled: (pair[0]..pair[1]).map(&scheduled).sum(),
            ..Block::of(&blocks::Cut {
                stretches: vec![(pair[0], pair[1])],
                nanos: (pair[1] - pair[0]) * 1_000_000_000,
            })
        };
        ends.windows(2).map(block).collect()
    }

    fn spans(pairs: &[Pair<'_>]) -> Vec<(u64, u64)> {
        let span = |pair: &Pair<'_>| {
            let ends = |blocks: &[&Block]| (blocks[0].from, blocks[blocks.len() - 1].to);
            assert_eq!(ends(&pair.base), ends(&pair.new));
            ends(&pair.base)
        };
        pairs.iter().map(span).collect()
    }

    fn every(second: u64, to: u64) -> Vec<u64> {
        (0..=to).step_by(second as usize).collect()
    }

    #[test]
    fn what_both_have_done_is_cut_into_ten() {
        let (whole, short) = (cut_at(&every(1, 60), |_| 5), cut_at(&every(1, 57), |_| 5));
        let pairs = alike(&whole, &short);
        assert_eq!(
            spans(&pairs),
            [0, 5, 11, 17, 22, 28, 34, 39, 45, 51, 57].windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>()
        );
        // Cut into ten by an earlier version.
        let coarse = cut_at(&every(6, 60), |_| 5);
        let expected: Vec<(u64, u64)> = (0..10).map(|block| (6 * block, 6 * block + 6)).collect();
        assert_eq!(
            (spans(&alike(&coarse, &whole)), spans(&alike(&whole, &coarse))),
            (expected.clone(), expected)
        );
        assert_eq!(alike(&coarse, &short).len(), 9);
        // Warm-up in one and not in the other.
        assert_eq!(spans(&alike(&whole, &whole[20..]))[0], (20, 24));
        assert_eq!(alike(&whole, &[]), []);
    }

    #[test]
    fn seconds_in_which_nothing_is_due_are_no_blocks() {
        // Six requests in a minute.
        let few = cut_at(&every(1, 60), |second| u64::from(second % 10 == 0));
        assert_eq!(alike(&few, &few).len(), 6);
        assert_eq!((alone(&few).len(), unlike(&few, &few).len()), (6, 6));
        // Twelve; none is lost, and no second is.
        let more = cut_at(&every(1, 60), |second| u64::from(second % 5 == 3));
        let pairs = alike(&more, &more);
        assert_eq!((pairs.len(), spans(&pairs)[0].0, spans(&pairs)[9].1), (10, 0, 60));
        let none = cut_at(&every(1, 60), |_| 0);
        assert_eq!(alike(&none, &more), []);
    }

    #[test]
    fn a_plan_says_how_many_blocks_its_runs_will_have() {
        let blocks = |load: &str| of_plan(&plan(load)).map(|planned| alone(&planned).len());
        assert_eq!(blocks("load: { stages: [ { hold: 50, duration: 60s } ] }"), Some(10));
        assert_eq!(blocks("load: { stages: [ { hold: 50, duration: 9s } ] }"), Some(9));
        assert_eq!(blocks("load: { stages: [ { hold: \"6/m\", duration: 60s } ] }"), Some(6));
        let pause = "load: { stages: [ { hold: 50, duration: 9s }, { pause: {}, duration: 1h } ] }";
        assert_eq!(blocks(pause), Some(9));
        assert_eq!(blocks(&pause.replace("9s", "20s")), Some(10));
        assert_eq!(blocks("load: { users: 5, duration: 5s }"), Some(5));
        assert_eq!(blocks("load: { users: 5, requests: 1000 }"), None);
    }
}
