//! Seeded: every random choice of a run, as a pure function of the seed and of what is chosen for.
//!
//! There is no generator with a state that threads would have to share: the choice for request `n`
//! is a hash of the seed and `n`, so any thread or machine makes the same one.

/// A well mixed number from any number (the finaliser of SplitMix64).
#[inline]
pub const fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The choice number `n` of a purpose. Different purposes must use different `purpose` numbers.
#[inline]
pub const fn choice(seed: u64, purpose: u64, n: u64) -> u64 {
    mix(seed ^ mix(purpose) ^ mix(n.wrapping_mul(2).wrapping_add(1)))
}

/// Maps a choice to `0..bound`, evenly up to one part in 2^64 / `bound`.
#[inline]
pub const fn below(choice: u64, bound: u64) -> u64 {
    ((choice as u128 * bound as u128) >> 64) as u64
}

/// Where `index` goes in a permutation of `0..count` that follows from `key`, without a table: a Feistel
/// network over the next power of four, walked again until it lands inside. `index` must be below `count`.
pub const fn permuted(index: u64, count: u64, key: u64) -> u64 {
    let bits = (64 - (count - 1).leading_zeros()).div_ceil(2);
    let half = if bits == 0 { 1 } else { bits };
    let mask = (1u64 << half) - 1;
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        let mut round = 0u64;
        while round < 6 {
            let mixed = mix(key ^ (round << 56) ^ right) & mask;
            (left, right) = (right, left ^ mixed);
            round += 1;
        }
        x = (left << half) | right;
        if x < count {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_even_and_differ_by_purpose() {
        let mut tens = [0u32; 10];
        for n in 0..10_000 {
            tens[below(choice(1, 2, n), 10) as usize] += 1;
            assert_ne!(choice(1, 2, n), choice(1, 3, n));
        }
        assert!(tens.iter().all(|&count| (850..1150).contains(&count)), "{tens:?}");
    }
}
