//! How many nodes Redis's radix tree over the nodes of a stream would have: XINFO STREAM tells it.
//!
//! A tree over keys of sixteen bytes has one node for each key's end, one for each place where keys part,
//! and one for each run of bytes between those; and its root. Adding or taking away a key changes this
//! only around that key, so the sum is kept up to date with a few look-ups in the ordered map.

use std::collections::BTreeMap;

use super::ids::StreamId;

/// Bytes of a key.
const DEPTH: u32 = 16;

/// Bytes that two keys have in common at their front.
fn common(a: u128, b: u128) -> u32 {
    (a ^ b).leading_zeros() / 8
}

/// By how many nodes the tree over the keys of `map` is smaller than the one that has `key` too, which
/// is not in the map.
pub fn growth<T>(map: &BTreeMap<StreamId, T>, key: StreamId) -> usize {
    let key = key.to_bits();
    let below = |bits: u128| map.range(..StreamId::from_bits(bits)).next_back().map(|(id, _)| id.to_bits());
    let from = |bits: u128| map.range(StreamId::from_bits(bits)..).next().map(|(id, _)| id.to_bits());
    let neighbours = [below(key), from(key)];
    // Where the key parts from the others.
    let Some(depth) = neighbours.into_iter().flatten().map(|other| common(key, other)).max() else {
        // The root becomes the run before the only end.
        return 1;
    };
    let own = usize::from(depth + 1 < DEPTH) + 1;
    // The keys that have as much in common with it.
    let mask = u128::MAX.checked_shr(depth * 8).unwrap_or(0);
    let (low, high) = (key & !mask, key | mask);
    let (Some(first), Some(last)) = (from(low), high.checked_add(1).map_or_else(|| below_all(map), below))
    else {
        return own;
    };
    let parts_at = if first == last { DEPTH } else { common(first, last) };
    if parts_at == depth {
        return own;
    }
    // It parts a run, which begins behind the nearest place above where keys part.
    let outside = [below(low), high.checked_add(1).and_then(from)];
    let run_start = outside.into_iter().flatten().map(|other| common(first, other) + 1).max().unwrap_or(0);
    own + usize::from(depth > run_start) + usize::from(parts_at > depth + 1)
}

fn below_all<T>(map: &BTreeMap<StreamId, T>) -> Option<u128> {
    map.last_key_value().map(|(id, _)| id.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts the nodes of the tree by building it.
    fn count(keys: &[u128], depth: u32) -> usize {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 1 };
        if first == last {
            return usize::from(depth < DEPTH) + 1;
        }
        let parts_at = common(*first, *last);
        let byte = |key: &u128| key >> (8 * (DEPTH - 1 - parts_at));
        let children: usize =
            keys.chunk_by(|a, b| byte(a) == byte(b)).map(|keys| count(keys, parts_at + 1)).sum();
        usize::from(parts_at > depth) + 1 + children
    }

    proptest! {
        #[test]
        fn the_sum_of_growth_is_the_size_of_the_tree(
            keys in prop::collection::btree_set(
                (prop::sample::select(vec![0u64, 1, 2, 255, 256, 511, 65536, 1 << 40, u64::MAX]),
                 prop::sample::select(vec![0u64, 1, 255, 256, 258, 1 << 32, u64::MAX])), 0..40),
            order in any::<prop::sample::Index>(),
        ) {
            let mut keys: Vec<StreamId> = keys.into_iter().map(|(ms, seq)| StreamId { ms, seq }).collect();
            let mut map = BTreeMap::new();
            let mut total = 1;
            let turn = order.index(keys.len().max(1));
            keys.rotate_left(turn);
            for id in &keys {
                total += growth(&map, *id);
                map.insert(*id, ());
                let bits: Vec<u128> = map.keys().map(|id| id.to_bits()).collect();
                prop_assert_eq!(total, count(&bits, 0));
            }
            keys.reverse();
            for id in &keys {
                map.remove(id);
                total -= growth(&map, *id);
                let bits: Vec<u128> = map.keys().map(|id| id.to_bits()).collect();
                prop_assert_eq!(total, count(&bits, 0));
            }
        }
    }
}
