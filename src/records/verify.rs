//! Verify: reads records back and compares each with what it should be.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::datastore::Datastore;
use crate::datastore::bulk::Pairs;
use crate::records::generator::{Error, Generator};
use crate::records::load::{Patience, checksum};

/// Records of one request, at most.
const CHUNK: usize = 2000;

/// Bytes of one request's answer, where records are what they should be.
const CHUNK_BYTES: usize = 256 << 10;

/// Requests on their way.
const IN_FLIGHT: usize = 4;

/// Differences that are told.
const TOLD: usize = 5;

/// How much of a value is told.
const SHOWN: usize = 200;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records asked for.
    pub asked: u64,
    /// Records that are what they should be.
    pub equal: u64,
    /// Records that are not there, or are no strings.
    pub missing: u64,
    /// Records with another value.
    pub different: u64,
    /// The checksum of what is there, as [`checksum`] says.
    pub checksum: u128,
    /// The first few that differ.
    pub first: Vec<Difference>,
}

/// A record that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its key.
    pub key: String,
    /// What it should be, cut where it is long.
    pub expected: String,
    /// What it is; `None` when it is missing or no string.
    pub found: Option<String>,
}

impl Verified {
    fn add(&mut self, more: Verified) {
        self.asked += more.asked;
        self.equal += more.equal;
        self.missing += more.missing;
        self.different += more.different;
        self.checksum = self.checksum.wrapping_add(more.checksum);
        self.first.extend(more.first);
        self.first.truncate(TOLD);
    }

    /// Whether all of them are what they should be.
    pub fn is_whole(&self) -> bool {
        self.equal == self.asked
    }
}

impl Generator {
    /// Reads the records with these ids back and compares them. The datastore may be away for `patience` in
    /// the middle. `progress` hears how many are done.
    ///
    /// # Errors
    /// When the datastore refuses or stays away.
    pub async fn verify(
        &self,
        datastore: &Datastore,
        ids: impl IntoIterator<Item = u64>,
        patience: Duration,
        mut progress: impl FnMut(&Verified),
    ) -> Result<Verified, Error> {
        let mut ids = ids.into_iter().peekable();
        let mut tasks = JoinSet::new();
        let mut verified = Verified::default();
        loop {
            while tasks.len() < IN_FLIGHT && ids.peek().is_some() {
                let mut pairs = Pairs::default();
                while pairs.len() < CHUNK && pairs.wire_len() < CHUNK_BYTES {
                    let Some(id) = ids.next() else { break };
                    pairs.push(|out| self.key(id, out), |out| self.value(id, out));
                }
                tasks.spawn(compare(datastore.clone(), pairs, patience));
            }
            let Some(ended) = tasks.join_next().await else { return Ok(verified) };
            verified.add(ended.map_err(|_| Error::ShutDown)??);
            progress(&verified);
        }
    }
}

async fn compare(datastore: Datastore, pairs: Pairs, patience: Duration) -> Result<Verified, Error> {
    let keys: Vec<&[u8]> = (0..pairs.len()).map(|index| pairs.key(index)).collect();
    let mut patience = Patience::new(&datastore, patience);
    let values = loop {
        match datastore.get_many(&keys).await {
            Ok(values) => break values,
            Err(error) => patience.outlast(error).await?,
        }
    };
    let mut verified = Verified { asked: pairs.len() as u64, ..Verified::default() };
    let mut one = Pairs::default();
    for (index, found) in values.into_iter().enumerate() {
        match found {
            Some(found) if found == pairs.value(index) => {
                verified.equal += 1;
                verified.checksum = verified.checksum.wrapping_add(checksum(pairs.wire(index)));
            }
            Some(found) => {
                verified.different += 1;
                one.clear();
                one.push(|out| out.extend_from_slice(pairs.key(index)), |out| out.extend_from_slice(&found));
                verified.checksum = verified.checksum.wrapping_add(checksum(one.wire(0)));
                tell(&mut verified, &pairs, index, Some(&found));
            }
            None => {
                verified.missing += 1;
                tell(&mut verified, &pairs, index, None);
            }
        }
    }
    Ok(verified)
}

fn tell(verified: &mut Verified, pairs: &Pairs, index: usize, found: Option<&[u8]>) {
    if verified.first.len() < TOLD {
        verified.first.push(Difference {
            key: shown(pairs.key(index)),
            expected: shown(pairs.value(index)),
            found: found.map(shown),
        });
    }
}

/// The beginning of what may be no text, in one line.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let mut text = String::from_utf8_lossy(cut).escape_debug().to_string().replace("\\\"", "\"");
    if cut.len() < bytes.len() {
        text.push_str("...");
    }
    text
}
