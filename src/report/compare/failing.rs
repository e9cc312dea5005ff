//! Whether requests fail in a part of one run and not of the other.
//!
//! Signs cannot tell that: where both runs have no failures a block has no say, and of three blocks no signs are rare
//! enough, whatever share of their requests fails. A failure is no wandering number, though. It has a count,
//! and most services have none. So a run fails more in a part of it when all of this holds:
//!
//! 1. Of the failures of both runs together it has more than chance gives it, if each request fails as easily in one
//!    as in the other. No sum is needed: k of n failures and more have a probability of at most
//!    `exp(−n · D(k/n ‖ p))`, where p is its share of the requests and D the relative entropy (Chernoff), which holds
//!    for drawing without putting back too (Hoeffding).
//! 2. Its share of failures is larger by the bounds, and by [`LEAST`] at least.
//! 3. So is that of some of its blocks than that of *any* block of the other run. What the plan does to some of its
//!    seconds it does in both.
//! 4. Failures come in bursts (a stall, a restart), and requests of one burst do not fail by a chance of their own. How
//!    often a service has one, two runs do not say; that one run has the only one, or the only two, is no rare thing.
//!    So these blocks must be [`BURSTS`] stretches apart from each other, or one of [`OUTAGE`] blocks: a burst that is
//!    no longer than a block, even if it lies across a border, is in two neighbours at most. What lasts longer is
//!    an outage, and counts though it is one.
//!
//! Sources: H. Chernoff, "A measure of asymptotic efficiency for tests of a hypothesis based on the sum of
//! observations" (1952); W. Hoeffding, "Probability inequalities for sums of bounded random variables" (1963).

/// The least difference between whole runs, and between a block and all of the other run, as a share of the requests.
pub(super) const LEAST: f64 = 0.01;

/// How often chance alone may give one run so many of the failures of both.
pub(super) const CHANCE: f64 = 0.0002;

/// As many bursts in one run, where the other has none, are no accident: of a service that has one in every second run
/// on average, one comparison in a hundred finds the new run worse for that.
const BURSTS: usize = 3;

/// Blocks in a row that are an outage and not a burst.
const OUTAGE: usize = 3;

/// How many requests failed, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub failed: u64,
    pub of: u64,
}

impl Failures {
    fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.failed as f64 / self.of as f64 }
    }

    fn sum(all: &[Failures]) -> Failures {
        let add = |a: Failures, b: &Failures| Failures {
            failed: a.failed.saturating_add(b.failed),
            of: a.of.saturating_add(b.of),
        };
        all.iter().fold(Failures::default(), add)
    }
}

/// A part of a run in which more fails than anywhere in the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// How many of the blocks.
    pub blocks: usize,
    /// Whether they may be a burst or two.
    pub is_burst: bool,
    /// How likely chance alone gives one run so many of the failures of both.
    pub probability: f64,
    /// Whether it is the new run.
    pub is_new: bool,
}

/// The part of one of two runs in which more fails, by their blocks. `matters` says whether a share of failures is
/// larger than another by enough.
pub(super) fn part(base: &[Failures], new: &[Failures], matters: impl Fn(f64, f64) -> bool) -> Option<Part> {
    let is_new = Failures::sum(new).share() > Failures::sum(base).share();
    let (worse, other) = if is_new { (new, base) } else { (base, new) };
    let more = |share: f64, than: f64| share - than >= LEAST && matters(than, share - than);
    let (all, all_of_other) = (Failures::sum(worse), Failures::sum(other));
    if !more(all.share(), all_of_other.share()) {
        return None;
    }
    let worst_of_other = other.iter().map(|block| block.share()).fold(0.0, f64::max);
    let beyond: Vec<usize> =
        (0..worse.len()).filter(|&block| more(worse[block].share(), worst_of_other)).collect();
    let stretches: Vec<usize> = beyond.chunk_by(|a, b| a + 1 == *b).map(<[usize]>::len).collect();
    let longest = *stretches.iter().max()?;
    Some(Part {
        blocks: beyond.len(),
        is_burst: stretches.len() < BURSTS && longest < OUTAGE,
        probability: probability(all, all_of_other),
        is_new,
    })
}

/// At most how likely one of two runs has so many of the failures of both, whichever it is.
fn probability(worse: Failures, other: Failures) -> f64 {
    let failed = worse.failed.saturating_add(other.failed) as f64;
    let expected = worse.of as f64 / (worse.of as f64 + other.of as f64);
    let found = worse.failed as f64 / failed;
    if failed == 0.0 || found <= expected {
        return 1.0;
    }
    // What is empty has no entropy: 0 · ln 0 is 0.
    let term = |found: f64, expected: f64| if found > 0.0 { found * (found / expected).ln() } else { 0.0 };
    let entropy = term(found, expected) + term(1.0 - found, 1.0 - expected);
    (2.0 * (-failed * entropy).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(failed: [u64; 10], of: u64) -> Vec<Failures> {
        failed.iter().map(|&failed| Failures { failed, of }).collect()
    }

    fn any(_: f64, change: f64) -> bool {
        change > 0.0
    }

    const NONE: [u64; 10] = [0; 10];

    #[test]
    fn a_probability_is_no_smaller_than_the_exact_one() {
        let of =
            |a: u64, b: u64| probability(Failures { failed: a, of: 100 }, Failures { failed: b, of: 100 });
        // All of n failures in one of two equal runs: 2 · 2^-n.
        for n in 1..30u64 {
            assert!((of(n, 0) - (2.0 * 0.5f64.powi(n as i32)).min(1.0)).abs() < 1e-12, "{n}");
        }
        // Of 40 tosses 30 heads and more, either way: 0.0022.
        assert!((0.0022..0.02).contains(&of(30, 10)), "{}", of(30, 10));
        assert_eq!((of(0, 0), of(5, 5), of(1, 3)), (1.0, 1.0, 1.0));
    }

    #[test]
    fn a_part_of_a_run_is_found_and_one_burst_is_not() {
        let base = blocks(NONE, 50);
        let failing = |numbers: &[usize], failed: u64| {
            let mut all = NONE;
            numbers.iter().for_each(|&block| all[block] = failed);
            blocks(all, 50)
        };
        let found = part(&base, &failing(&[7, 8, 9], 50), any).expect("a part");
        assert!(found.blocks == 3 && found.is_new && found.probability < 1e-9, "{found:?}");
        assert!(!found.is_burst);
        let found = part(&failing(&[0, 4, 9], 10), &base, any).expect("a part");
        assert!(found.blocks == 3 && !found.is_new && found.probability < 0.0001, "{found:?}");
        assert!(!found.is_burst);
        for bursts in [&[3][..], &[3, 4], &[0, 9], &[0, 1, 8, 9]] {
            let found = part(&base, &failing(bursts, 50), any).expect("bursts");
            assert!(found.is_burst && found.blocks == bursts.len(), "{bursts:?}: {found:?}");
        }
        // As much in one block of the other run.
        assert_eq!(part(&failing(&[5], 50), &failing(&[7, 8, 9], 50), any), None);
        // Enough blocks and too few requests to tell.
        let few = part(&blocks(NONE, 5), &blocks([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], 5), any).expect("a part");
        assert!(few.probability > CHANCE, "{few:?}");
        // Too little of the whole to matter.
        assert_eq!(part(&blocks(NONE, 1000), &blocks([40, 0, 40, 0, 0, 0, 0, 0, 0, 0], 1000), any), None);
        assert_eq!(part(&base, &base, any), None);
    }
}
