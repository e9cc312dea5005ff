//! Random choices among members and fields.

use std::hash::Hash;

use hashbrown::HashSet;

/// Random numbers (xorshift), seeded from those of the engine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// The next number.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 when the bound is 0.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// Chooses some of a row of things as they come by, each choice of them equally likely.
#[derive(Debug)]
pub struct Selection {
    /// Things still to come.
    left: usize,
    /// Of which so many are to be taken.
    wanted: usize,
}

impl Selection {
    /// Takes `wanted` of `left` things; all of them when there are fewer.
    pub fn new(left: usize, wanted: usize) -> Selection {
        Selection { left, wanted }
    }

    /// Whether the next thing is taken.
    #[inline]
    pub fn takes(&mut self, random: &mut Random) -> bool {
        let taken = random.below(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= usize::from(taken);
        taken
    }
}

/// `count` different ones of `len` things. `all` goes over them, `pick` finds one by a random number.
/// Takes time proportional to `count`.
pub fn distinct<T: Copy + Eq + Hash>(
    random: &mut Random,
    (len, count): (usize, usize),
    all: impl Iterator<Item = T>,
    pick: impl Fn(&mut Random) -> Option<T>,
) -> Vec<T> {
    // Few of many are picked one by one, passing over those that came before; should luck fail, they
    // are chosen in one pass, as many of few are.
    if count <= len / 3 {
        let mut seen: HashSet<T, foldhash::fast::RandomState> = HashSet::default();
        let mut found = Vec::new();
        for _ in 0..count * 8 + 64 {
            if found.len() == count {
                return found;
            }
            found.extend(pick(random).filter(|&thing| seen.insert(thing)));
        }
    }
    in_passing(random, (len, count), all)
}

/// `count` different ones of the `len` things in `all`, in their order.
pub fn in_passing<T>(
    random: &mut Random,
    (len, count): (usize, usize),
    all: impl Iterator<Item = T>,
) -> Vec<T> {
    let mut selection = Selection::new(len, count);
    all.filter(|_| selection.takes(random)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_many_different_things_are_found_as_are_wanted(
            seed: u64, len in 0usize..300, count in 0usize..400, stuck: bool,
        ) {
            let mut random = Random::new(seed);
            let pick = |random: &mut Random| (!stuck).then(|| random.below(len));
            let mut found = distinct(&mut random, (len, count), 0..len, pick);
            prop_assert_eq!(found.len(), count.min(len));
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found.len(), count.min(len));
            prop_assert!(found.iter().all(|&thing| thing < len));
        }
    }

    #[test]
    fn every_thing_is_chosen_about_equally_often() {
        let mut random = Random::new(7);
        for (len, count) in [(10, 1), (10, 3), (10, 4), (10, 9)] {
            let mut times = vec![0usize; len];
            for _ in 0..10_000 {
                let found = distinct(&mut random, (len, count), 0..len, |random| Some(random.below(len)));
                found.iter().for_each(|&thing| times[thing] += 1);
            }
            let expected = 10_000 * count / len;
            let off = expected.abs_diff(*times.iter().max_by_key(|t| t.abs_diff(expected)).unwrap_or(&0));
            assert!(off < 200, "{times:?}");
        }
    }
}
