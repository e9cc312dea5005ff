//! Verify: are the responses that were issued for the records what Redis holds at the end?
//!
//! For each record the hash of the response that was written last is remembered: eight bytes a
//! record, however many requests. At the end the mappings are read back and compared. Two workers may
//! write the mapping of one record at nearly the same time; which came last is then Redis's secret,
//! and such a record only has to hold some response of this run.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::datastore::{Datastore, Error};
use crate::mapping::form::{Form, Into};
use crate::plan::keys::Keys;
use crate::seeded;

/// Records that are remembered at most: 64 MiB. Beyond, a sample of them is.
const MAX_REMEMBERED: u64 = 8 << 20;

/// Records of a sample.
const SAMPLE: u64 = 10_000;

/// Mappings read back in one pipeline.
const CHUNK: usize = 1000;

const HASH_BITS: u32 = 48;
const CONTENDED: u64 = 1 << 63;
const PURPOSE_SAMPLE: u64 = 0x7665_7269_6679;

/// How much is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every mapping.
    Full,
    /// A seeded sample of records.
    Sample,
    /// Nothing.
    None,
}

/// What was written last for each record.
#[derive(Debug)]
pub struct LastWritten {
    slots: Vec<AtomicU64>,
    records: u64,
    seed: u64,
    hasher: foldhash::fast::FixedState,
}

impl LastWritten {
    /// Remembers responses for `records` records, or for a sample of them.
    pub fn new(extent: Extent, records: u64, seed: u64) -> LastWritten {
        let remembered = match extent {
            Extent::Full => records.min(MAX_REMEMBERED),
            Extent::Sample => records.min(SAMPLE),
            Extent::None => 0,
        };
        let slots = (0..remembered).map(|_| AtomicU64::new(0)).collect();
        LastWritten { slots, records, seed, hasher: foldhash::fast::FixedState::with_seed(seed) }
    }

    /// Whether only a sample is remembered.
    pub fn is_sample(&self) -> bool {
        (self.slots.len() as u64) < self.records
    }

    /// The record index that a place in the table stands for.
    fn record_at(&self, place: u64) -> u64 {
        if !self.is_sample() {
            return place;
        }
        // Records are cut into as many parts as there are places; one of each part is chosen.
        let part =
            |place: u64| (u128::from(place) * u128::from(self.records) / self.slots.len() as u128) as u64;
        let (start, end) = (part(place), part(place + 1));
        start + seeded::below(seeded::choice(self.seed, PURPOSE_SAMPLE, place), end - start)
    }

    fn slot(&self, record: u64) -> Option<&AtomicU64> {
        if !self.is_sample() {
            return self.slots.get(record as usize);
        }
        let count = self.slots.len() as u128;
        let place =
            ((u128::from(record) + 1) * count).div_ceil(u128::from(self.records)).saturating_sub(1) as u64;
        // Parts are rounded, so look at the neighbour too.
        [place, place.saturating_sub(1)]
            .into_iter()
            .find(|&place| place < self.slots.len() as u64 && self.record_at(place) == record)
            .map(|place| &self.slots[place as usize])
    }

    fn hash(&self, response: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(response);
        // Zero means that nothing was written.
        (hasher.finish() & ((1 << HASH_BITS) - 1)).max(1)
    }

    /// The mapping of a record (by its index) was written and acknowledged.
    pub fn wrote(&self, worker: u64, record: u64, response: &[u8]) {
        let Some(slot) = self.slot(record) else { return };
        let mine = ((worker & 0x3fff) << HASH_BITS) | self.hash(response);
        // In one step: two workers at once must not overlook each other.
        let _ = slot.fetch_update(Relaxed, Relaxed, |before| {
            let other = before != 0 && (before & !CONTENDED) >> HASH_BITS != mine >> HASH_BITS;
            Some(mine | (before & CONTENDED) | if other { CONTENDED } else { 0 })
        });
    }
}

/// What reading back has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Mappings that were looked for.
    pub expected: u64,
    /// Mappings that hold the right response.
    pub found: u64,
    /// Mappings that are not there.
    pub missing: u64,
    /// Mappings that hold another response.
    pub different: u64,
    /// Only a sample was looked at.
    pub sample: bool,
}

impl Verified {
    /// Nothing is missing and nothing is wrong.
    pub fn holds(&self) -> bool {
        self.missing == 0 && self.different == 0
    }
}

/// Reads mappings back and compares them.
///
/// # Errors
/// When the datastore fails.
pub async fn read_back(
    form: &Form,
    datastore: &Datastore,
    keys: &Keys,
    last: &LastWritten,
) -> Result<Verified, Error> {
    let mut verified = Verified { sample: last.is_sample(), ..Verified::default() };
    let mut wanted: Vec<(u64, Vec<u8>)> = Vec::with_capacity(CHUNK);
    for place in 0..last.slots.len() as u64 {
        let written = last.slots[place as usize].load(Relaxed);
        if written != 0 {
            let mut key = Vec::new();
            form.render_key(keys.id_at(last.record_at(place)), &mut key);
            wanted.push((written, key));
        }
        if wanted.len() == CHUNK || (place + 1 == last.slots.len() as u64 && !wanted.is_empty()) {
            compare(form, datastore, last, &wanted, &mut verified).await?;
            wanted.clear();
        }
    }
    Ok(verified)
}

async fn compare(
    form: &Form,
    datastore: &Datastore,
    last: &LastWritten,
    wanted: &[(u64, Vec<u8>)],
    verified: &mut Verified,
) -> Result<(), Error> {
    let keys: Vec<&[u8]> = wanted.iter().map(|(_, key)| key.as_slice()).collect();
    let field = form.checked_field().unwrap_or_default();
    let found = match form.config().into {
        Into::String => datastore.get_many(&keys).await?,
        Into::Record => {
            let records = datastore.get_many(&keys).await?;
            records.into_iter().map(|record| form.field_of_record(&record?)).collect()
        }
        Into::Hash => datastore.hget_many(&keys, field.as_bytes()).await?,
        Into::Stream => datastore.xlast_many(&keys, field.as_bytes()).await?,
    };
    for ((written, _), found) in wanted.iter().zip(found) {
        verified.expected += 1;
        let hash_of = (1u64 << HASH_BITS) - 1;
        match found {
            None => verified.missing += 1,
            Some(response) if written & CONTENDED != 0 || last.hash(&response) == written & hash_of => {
                verified.found += 1;
            }
            Some(_) => verified.different += 1,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_response_written_last_counts_and_two_writers_are_contended() {
        let last = LastWritten::new(Extent::Full, 10, 1);
        last.wrote(0, 3, b"a");
        last.wrote(0, 3, b"b");
        assert_eq!(last.slots[3].load(Relaxed), last.hash(b"b"));
        last.wrote(1, 3, b"c");
        assert!(last.slots[3].load(Relaxed) & CONTENDED != 0);
        last.wrote(1, 3, b"d");
        assert!(last.slots[3].load(Relaxed) & CONTENDED != 0);
    }

    proptest! {
        /// Each place of a sample is found again by the record it stands for, and by no other.
        #[test]
        fn a_sample_knows_its_records(records in SAMPLE + 1..SAMPLE * 20, seed: u64) {
            let last = LastWritten::new(Extent::Sample, records, seed);
            for place in (0..SAMPLE).step_by(97) {
                let record = last.record_at(place);
                prop_assert!(record < records);
                let slot = last.slot(record).expect("chosen");
                prop_assert!(std::ptr::eq(slot, &last.slots[place as usize]));
            }
        }
    }
}
