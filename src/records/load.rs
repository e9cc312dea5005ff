//! Load: a datastore full of records, over several connections, with flat memory.
//!
//! 1. Each connection has one chunk of records on its way. While it travels, chunks for the others are
//!    built; none is built before there is a connection for it, so that a slow server slows the generator
//!    and memory stays what it is for fifty million records.
//! 2. When a connection breaks, its chunk is kept and sent again when the datastore is back.
//! 3. Dropping the future ends everything; records that were on their way may or may not be there.

use std::time::Duration;

use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock;
use crate::datastore::bulk::{How, Lane, Pairs};
use crate::datastore::{self, Datastore};
use crate::records::generator::{Error, Generator};

/// Records of one chunk.
const CHUNK: usize = 2000;

/// Records of a chunk while nobody knows how large they are.
const FIRST_CHUNK: usize = 100;

/// Bytes of one chunk: large records make smaller chunks. One record may be larger.
const CHUNK_BYTES: usize = 256 << 10;

/// Keys that one request asks whether they exist.
const LOOK: usize = 2000;

/// The most connections.
pub const MAX_CONNECTIONS: usize = 256;

/// What to do with records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Leave them as they are.
    Missing,
    /// Write over them.
    All,
    /// Write nothing when there is one.
    Refuse,
}

/// How records are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What to do with records that are there already.
    pub fill: Fill,
    /// How long they live; for ever without one. Records that are kept keep theirs.
    pub ttl: Option<Duration>,
    /// Connections that load at once, from 1 to [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// How long the datastore may be away in the middle before that is an error.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { fill: Fill::Missing, ttl: None, connections: 4, patience: Duration::from_secs(30) }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Records asked for.
    pub asked: u64,
    /// Records written; the others were there and were kept.
    pub written: u64,
    /// Bytes of keys and values asked for.
    pub bytes: u64,
    /// Records that were sent again because a connection broke. Those of them that had arrived the first
    /// time do not count as written.
    pub resent: u64,
    /// What tells the data set from any other: see [`checksum`]. That of the records asked for, whether
    /// they were written or kept.
    pub checksum: u128,
}

impl Filled {
    fn add(&mut self, more: &Filled) {
        self.asked += more.asked;
        self.written += more.written;
        self.bytes += more.bytes;
        self.resent += more.resent;
        self.checksum = self.checksum.wrapping_add(more.checksum);
    }

    /// Records that were there already.
    pub fn kept(&self) -> u64 {
        self.asked - self.written
    }
}

/// The part of one record in the checksum of its data set: XXH3-128 over key and value, each as a bulk
/// string of RESP (`$3\r\nkey\r\n$5\r\nvalue\r\n`). The checksum is the sum of all parts, modulo 2^128, so
/// the order of the records does not matter.
#[inline]
pub fn checksum(wire: &[u8]) -> u128 {
    xxh3_128(wire)
}

impl Generator {
    /// Writes the records with these ids, with the usual [`Settings`]. `progress` hears how many are
    /// done, now and then.
    ///
    /// # Errors
    /// As [`Generator::load`].
    pub async fn fill<I>(
        &self,
        datastore: &Datastore,
        ids: I,
        fill: Fill,
        progress: impl FnMut(Filled),
    ) -> Result<Filled, Error>
    where
        I: IntoIterator<Item = u64, IntoIter: Clone>,
    {
        self.load(datastore, ids, &Settings { fill, ..Settings::default() }, progress).await
    }

    /// Writes the records with these ids. `progress` hears how many are done, now and then.
    ///
    /// # Errors
    /// When the datastore refuses or stays away, or when records are there that should not be; what was
    /// written until then stays.
    pub async fn load<I>(
        &self,
        datastore: &Datastore,
        ids: I,
        settings: &Settings,
        mut progress: impl FnMut(Filled),
    ) -> Result<Filled, Error>
    where
        I: IntoIterator<Item = u64, IntoIter: Clone>,
    {
        let mut ids = ids.into_iter();
        if settings.fill == Fill::Refuse {
            self.none_exists(datastore, ids.clone(), settings.patience).await?;
        }
        let lanes = settings.connections.clamp(1, MAX_CONNECTIONS);
        let mut free: Vec<Loader> = (0..lanes).map(|_| Loader::new(self, datastore, settings)).collect();
        let mut tasks = JoinSet::new();
        let mut done = Filled::default();
        loop {
            // So many as will fill a chunk, from what records have measured until now.
            let average = (done.bytes / done.asked.max(1)).max(1);
            let at_once = if done.asked == 0 { FIRST_CHUNK } else { (CHUNK_BYTES as u64 / average) as usize };
            while let Some(mut loader) = free.pop() {
                loader.ids.clear();
                loader.ids.extend(ids.by_ref().take(at_once.clamp(1, CHUNK)));
                if loader.ids.is_empty() {
                    break;
                }
                tasks.spawn(loader.run());
            }
            let Some(ended) = tasks.join_next().await else { break };
            let (loader, filled) = ended.map_err(|_| Error::ShutDown)??;
            done.add(&filled);
            progress(done);
            free.push(loader);
        }
        // A record that was sent twice is there because of the first time.
        if settings.fill == Fill::Refuse && done.kept() > done.resent {
            let count = done.kept() - done.resent;
            return Err(Error::Appeared { url: datastore.url().to_owned(), count });
        }
        Ok(done)
    }

    /// An error that names the first record that is there.
    async fn none_exists(
        &self,
        datastore: &Datastore,
        mut ids: impl Iterator<Item = u64>,
        patience: Duration,
    ) -> Result<(), Error> {
        let mut keys: Vec<Vec<u8>> = Vec::with_capacity(LOOK);
        loop {
            keys.clear();
            keys.extend(ids.by_ref().take(LOOK).map(|id| {
                let mut key = Vec::new();
                self.key(id, &mut key);
                key
            }));
            if keys.is_empty() {
                return Ok(());
            }
            let mut patience = Patience::new(datastore, patience);
            let exist = loop {
                match datastore.exist_many(&keys).await {
                    Ok(exist) => break exist,
                    Err(error) => patience.outlast(error).await?,
                }
            };
            if let Some((key, _)) = keys.iter().zip(exist).find(|(_, exists)| *exists) {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(Error::Exists { url: datastore.url().to_owned(), key });
            }
        }
    }
}

/// One connection with what it carries.
struct Loader {
    generator: Generator,
    datastore: Datastore,
    settings: Settings,
    lane: Lane,
    ids: Vec<u64>,
    pairs: Pairs,
}

impl Loader {
    fn new(generator: &Generator, datastore: &Datastore, settings: &Settings) -> Loader {
        let how = match settings.fill {
            Fill::All => How { over: true, ttl: settings.ttl },
            Fill::Missing | Fill::Refuse => How { over: false, ttl: settings.ttl },
        };
        Loader {
            generator: generator.clone(),
            datastore: datastore.clone(),
            settings: settings.clone(),
            lane: datastore.lane(how),
            ids: Vec::new(),
            pairs: Pairs::default(),
        }
    }

    /// Builds and writes the records with the ids, in parts where they are large.
    async fn run(mut self) -> Result<(Loader, Filled), Error> {
        let mut filled = Filled::default();
        let mut next = 0;
        while next < self.ids.len() {
            self.pairs.clear();
            while next < self.ids.len() && self.pairs.wire_len() < CHUNK_BYTES {
                let id = self.ids[next];
                self.pairs.push(|out| self.generator.key(id, out), |out| self.generator.value(id, out));
                filled.checksum =
                    filled.checksum.wrapping_add(checksum(self.pairs.wire(self.pairs.len() - 1)));
                next += 1;
            }
            filled.asked += self.pairs.len() as u64;
            filled.bytes += self.pairs.payload() as u64;
            let (written, resent) = self.write().await?;
            filled.written += written;
            filled.resent += resent;
        }
        Ok((self, filled))
    }

    /// Writes the pairs, again and again while the datastore is away: how many were written, and how many
    /// were sent again.
    async fn write(&mut self) -> Result<(u64, u64), Error> {
        let mut resent = 0;
        let mut patience = Patience::new(&self.datastore, self.settings.patience);
        loop {
            match self.lane.write(&self.pairs).await {
                Ok(written) => return Ok((written, resent)),
                Err(error) => patience.outlast(error).await?,
            }
            resent = self.pairs.len() as u64;
        }
    }
}

/// For one request that is made again and again while the datastore is away, within a bounded time.
pub(super) struct Patience<'a> {
    datastore: &'a Datastore,
    limit: Duration,
    /// Begins when it is first away.
    away: Option<clock::Stopwatch>,
}

impl Patience<'_> {
    pub(super) fn new(datastore: &Datastore, limit: Duration) -> Patience<'_> {
        Patience { datastore, limit, away: None }
    }

    /// Waits until the request that failed so may be made again.
    ///
    /// # Errors
    /// When it would fail again: the error itself, or that the time is over.
    pub(super) async fn outlast(&mut self, error: datastore::Error) -> Result<(), datastore::Error> {
        if !error.is_away() {
            return Err(error);
        }
        let away = self.away.get_or_insert_with(clock::Stopwatch::start);
        let left = self.limit.saturating_sub(away.elapsed());
        if !left.is_zero() && clock::timeout(left, back(self.datastore)).await.transpose()?.is_some() {
            return Ok(());
        }
        let url = self.datastore.url().to_owned();
        Err(datastore::Error::GaveUp { url, after: self.limit, last: error.to_string() })
    }
}

/// Waits until the datastore answers again.
async fn back(datastore: &Datastore) -> Result<(), datastore::Error> {
    // The shared connection may not know yet that the server has gone: asking tells it.
    while let Err(error) = datastore.ping().await {
        if !error.is_away() {
            return Err(error);
        }
        datastore.back().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_does_not_depend_on_the_order_and_tells_neighbours_apart() {
        let part = |key: &str, value: &str| {
            let mut pairs = Pairs::default();
            pairs.push(
                |out| out.extend_from_slice(key.as_bytes()),
                |out| out.extend_from_slice(value.as_bytes()),
            );
            checksum(pairs.wire(0))
        };
        assert_ne!(part("a", "bc"), part("ab", "c"));
        // The algorithm is part of what the checksum means: this is XXH3-128 of `$1\r\na\r\n$1\r\nb\r\n`.
        assert_eq!(part("a", "b"), xxh3_128(b"$1\r\na\r\n$1\r\nb\r\n"));
        let mut sum = Filled { checksum: u128::MAX, ..Filled::default() };
        sum.add(&Filled { checksum: 2, ..Filled::default() });
        assert_eq!(sum.checksum, 1);
    }
}
