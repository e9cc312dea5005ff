//! Removes keys whose time has come although nobody asks for them.
//!
//! One step looks at a bounded number of segments that hold keys with an expiry, going on where the
//! last one stopped, and ends early when its time is over, so that a loop turn is never long. Keys that
//! are asked for are checked anyway.

use super::keyspace::Keyspace;

/// Segments with volatile keys that one step looks at: 448 keys each at most.
const SEGMENTS_PER_STEP: usize = 64;
/// Segments without any that one step passes over.
const SKIPPED_PER_STEP: usize = 4096;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Keys that it removed.
    pub removed: usize,
    /// More than a quarter of the keys it saw had expired: go on soon.
    pub busy: bool,
}

/// Whether any key can expire at all.
pub fn needed(keyspace: &Keyspace) -> bool {
    (0..keyspace.databases()).any(|db| keyspace.table(db).volatile() > 0)
}

/// One bounded step. It ends after the segment at which `time_is_over` says so.
pub fn step(keyspace: &mut Keyspace, mut time_is_over: impl FnMut() -> bool) -> Step {
    let now_ms = keyspace.now_ms();
    let (mut removed, mut seen) = (0, 0);
    let mut databases_left = keyspace.databases();
    for _ in 0..SEGMENTS_PER_STEP {
        let (db, cursor) = keyspace.expiry_cursor;
        let mut expired = Vec::new();
        let mut next = 0;
        if keyspace.table(db).volatile() > 0 {
            next = keyspace.table(db).scan_volatile(cursor, SKIPPED_PER_STEP, |entry| {
                seen += 1;
                if entry.is_expired(now_ms) {
                    expired.push(entry.key().to_vec());
                }
            });
        }
        removed += expired.len();
        expired.iter().for_each(|key| keyspace.expire(db, key));
        keyspace.expiry_cursor = match next {
            0 => ((db + 1) % keyspace.databases(), 0),
            next => (db, next),
        };
        databases_left -= usize::from(next == 0);
        if databases_left == 0 || time_is_over() {
            break;
        }
    }
    Step { removed, busy: removed * 4 > seen && removed > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::Content;
    use crate::store::keyspace::Expiry;

    fn filled(keys: usize, expiry: Expiry) -> Keyspace {
        let mut keyspace = Keyspace::new(16);
        keyspace.set_now(1000);
        for n in 0..keys {
            keyspace.put(3, n.to_string().as_bytes(), Content::String(b"value"), expiry);
        }
        keyspace
    }

    #[test]
    fn a_key_is_there_until_its_millisecond_and_gone_from_then_on() {
        let mut keyspace = filled(1, Expiry::At(2000));
        keyspace.set_now(1999);
        assert!(keyspace.contains(3, b"0"));
        keyspace.set_now(2000);
        assert!(!keyspace.contains(3, b"0"));
        assert_eq!((keyspace.key_count(), keyspace.counters().expired), (0, 1));
    }

    #[test]
    fn expired_keys_go_away_although_nobody_asks() {
        let mut keyspace = filled(100_000, Expiry::At(2000));
        assert_eq!(step(&mut keyspace, || false), Step { removed: 0, busy: false });
        keyspace.set_now(2000);
        let mut steps = 0;
        while keyspace.key_count() > 0 {
            let step = step(&mut keyspace, || false);
            assert!(step.removed <= SEGMENTS_PER_STEP * 448);
            steps += 1;
            assert!(steps < 200);
        }
        assert!(steps > 2 && !needed(&keyspace));
    }

    #[test]
    fn keys_without_an_expiry_stay() {
        let mut keyspace = filled(1000, Expiry::Clear);
        keyspace.set_now(i64::MAX);
        assert!(!needed(&keyspace));
        assert_eq!(step(&mut keyspace, || false).removed, 0);
        assert_eq!(keyspace.key_count(), 1000);
    }

    #[test]
    fn a_step_whose_time_is_over_ends_with_its_segment() {
        let mut keyspace = filled(100_000, Expiry::At(2000));
        keyspace.set_now(2000);
        keyspace.expiry_cursor = (3, 0);
        let step = step(&mut keyspace, || true);
        assert!((1..=448).contains(&step.removed) && step.busy);
    }
}
