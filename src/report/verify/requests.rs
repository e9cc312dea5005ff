//! `requests.csv`: each request once. As long as a run may be, so no row is kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use serde::Deserialize;

use super::{Check, Compared, absent};
use crate::ledger::Outcome;
use crate::plan::segment::Segment;
use crate::report::Error;
use crate::report::json::Whole;
use crate::report::timeline::rows;

/// Each request once, ended as the ledger says, at times that follow each other.
pub(super) fn requests(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct Line {
        n: u64,
        response_id: String,
        intended_us: u64,
        sent_us: Option<u64>,
        received_us: Option<u64>,
        outcome: String,
    }
    let mut numbers = Numbers::default();
    let mut ids = Ids::default();
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    let mut compared = Compared::default();
    let segment = whole.segment.parse().unwrap_or(Segment::WHOLE);
    let (mut rows_read, mut matched) = (0u64, 0u64);
    let found = rows(folder, "requests.csv", |line: Line| {
        let in_order = match (line.sent_us, line.received_us) {
            (Some(sent), Some(received)) => line.intended_us <= sent && sent <= received,
            (Some(sent), None) => line.intended_us <= sent,
            (None, None) => true,
            (None, Some(_)) => false,
        };
        if !in_order {
            compared.wrong(format!("the times of request {} do not follow each other", line.n));
        }
        if line.n % segment.of() != segment.index() {
            compared.wrong(format!("request {} is not of segment {segment}", line.n));
        }
        if !numbers.insert(line.n) {
            compared.wrong(format!("request {} is there twice", line.n));
        }
        rows_read += 1;
        if line.outcome == Outcome::Matched.word() {
            matched += 1;
            // A foreign service may answer as it likes, and a model gives no ids; ours never gives one twice.
            if whole.responder.is_some() && !whole.simulated && !ids.insert(&line.response_id) {
                compared.wrong(format!("response id {} is there twice", line.response_id));
            }
        }
        if let Some(count) = ended.get_mut(&line.outcome) {
            *count += 1;
        } else if ended.len() < MAX_OUTCOMES {
            ended.insert(line.outcome, 1);
        } else {
            compared.wrong(format!("request {} ended in no way that is known", line.n));
        }
        Ok(())
    })?;
    if !found {
        return Ok(absent(what));
    }
    let account = &whole.ledger;
    // Those that never came due have no row.
    compared.same("rows", rows_read, account.scheduled - account.not_reached.min(account.scheduled));
    compared.same("matched", matched, account.matched);
    compared.same("timed_out", ended.get(Outcome::TimedOut.word()).copied().unwrap_or(0), account.timed_out);
    for (word, count) in account.dropped_by.iter().chain(&account.failed_by) {
        compared.same(word, ended.get(word).copied().unwrap_or(0), *count);
    }
    Ok(compared.check(what))
}

/// Ways to end that are told apart: more than there are, so that a damaged file cannot fill the memory with others.
const MAX_OUTCOMES: usize = 64;

/// Numbers of requests: a bit for each, in pages, so that it does not matter where they begin or how they lie.
#[derive(Default)]
struct Numbers {
    pages: HashMap<u64, [u64; 8]>,
}

impl Numbers {
    /// Whether it is new.
    fn insert(&mut self, n: u64) -> bool {
        let page = self.pages.entry(n / 512).or_default();
        let (word, bit) = ((n / 64 % 8) as usize, 1 << (n % 64));
        let new = page[word] & bit == 0;
        page[word] |= bit;
        new
    }
}

/// Response ids, as hashes of 64 bits under a key that is another each time.
///
/// Two ids with one hash would be taken for one that was given twice. Of 100 million ids that happens to any two
/// with a chance of n²/2^65, one in 3,700; looked at again, under another key, they are told apart.
#[derive(Default)]
struct Ids {
    key: RandomState,
    hashes: HashSet<u64>,
}

impl Ids {
    /// Whether it is new.
    fn insert(&mut self, id: &str) -> bool {
        self.hashes.insert(self.key.hash_one(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_wherever_it_lies() {
        let mut numbers = Numbers::default();
        for n in (0..2000).chain([u64::MAX, u64::MAX - 1, 1 << 40]) {
            assert!(numbers.insert(n) && !numbers.insert(n), "{n}");
        }
        assert_eq!(numbers.pages.len(), 4 + 2);
    }

    #[test]
    fn an_id_is_new_once() {
        let mut ids = Ids::default();
        for n in 0..5000 {
            assert!(ids.insert(&format!("id-{n}")) && !ids.insert(&format!("id-{n}")), "{n}");
        }
    }
}
