//! Feed: has the bytes of every request ready before it is due.
//!
//! For one worker: reads records ahead of their send time by pipelined `MGET`, fills in what is
//! missing, lets the Lua hook shape the payload, encodes the frame, and gives chunks to a bounded
//! ring. Neither Redis nor Lua ever moves a send: what they are too slow for is sent late, measured,
//! or dropped and counted.

pub mod payload;
mod prefetch;
mod shape;
mod texts;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::datastore::{self, Datastore};
use crate::feed::payload::Payloads;
use crate::handoff::{Chunk, Sender};
use crate::plan::course::Course;
use crate::plan::keys::Keys;
use crate::plan::mix::Mix;
use crate::plan::segment::Share;
use crate::records::generator::Generator;
use crate::script::{self, Script};
use crate::units::Nanos;
use crate::wire::Codec;

/// What to do when Redis has no record under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Make it from the template and write it.
    Generate,
    /// Drop the request and count it.
    Drop,
    /// End the run.
    Fail,
}

/// Why payloads could not be made. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record is missing and the scenario says that this must not be.
    #[error("find record {key}: it is not in the datastore, and records.on_missing is `fail`")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The hook failed.
    #[error(transparent)]
    Script(#[from] script::Error),
    /// The datastore failed in a way that does not pass.
    #[error(transparent)]
    Datastore(#[from] datastore::Error),
}

/// Values that were sent and whose responses a hook will want to see, by request number.
pub type Kept = Rc<RefCell<HashMap<u64, Box<[u8]>>>>;

/// What a feed works with.
#[derive(Debug)]
pub struct Parts {
    /// Due times, which may change; `None` in the closed model, in which users decide.
    pub course: Option<Arc<Course>>,
    /// Which record a request is for.
    pub keys: Arc<Keys>,
    /// The worker's requests.
    pub share: Share,
    /// Keys and values of records.
    pub generator: Arc<Generator>,
    /// Of which kind a request is.
    pub mix: Arc<Mix>,
    /// What a request of each kind looks like.
    pub payloads: Arc<Payloads>,
    /// Where records are; `None` where they are made from the template.
    pub datastore: Option<Datastore>,
    /// What to do without a record.
    pub on_missing: OnMissing,
    /// Shapes payloads.
    pub script: Option<Rc<RefCell<Script>>>,
    /// Keeps the records' values for the `response` hook.
    pub keep: Option<Kept>,
    /// How frames look.
    pub codec: Codec,
    /// The ring to the worker.
    pub sink: Sender<Chunk>,
    /// Requests of one chunk.
    pub chunk: usize,
    /// Time zero, once it is known.
    pub clock: Arc<OnceLock<Clock>>,
    /// Requests whose record cannot be had until this long after their due time are dropped; in the
    /// closed model, this long after it was first asked for.
    pub max_lateness: Nanos,
}

/// What the feed has done.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Records that were made because they were missing.
    pub generated: u64,
    /// Requests dropped because their record was missing or could not be read in time.
    pub no_record: u64,
    /// Payloads that fit no frame, by reason.
    pub misfits: BTreeMap<String, u64>,
    /// The longest time that one fetch took.
    pub slowest_fetch: Duration,
    /// Times that the datastore was found to be away.
    pub outages: u64,
}

impl Totals {
    /// Adds the totals of another feed.
    pub fn merge(&mut self, other: &Totals) {
        self.generated += other.generated;
        self.no_record += other.no_record;
        self.slowest_fetch = self.slowest_fetch.max(other.slowest_fetch);
        self.outages += other.outages;
        for (reason, count) in &other.misfits {
            *self.misfits.entry(reason.clone()).or_default() += count;
        }
    }
}

/// How many requests go into one chunk and how many chunks into the ring, for a number of records
/// that are to be read ahead.
pub fn sizes(prefetch: u64) -> (usize, usize) {
    let chunk = (prefetch / 16).clamp(1, 256) as usize;
    // Two chunks are being fetched beside those in the ring, which is filled again when a quarter of it is used up.
    let least = (prefetch as usize / chunk).saturating_sub(prefetch::FETCHES).max(2);
    (chunk, least + least.div_ceil(3))
}

/// Feeds one worker until its last request, or until the worker is gone.
///
/// # Errors
/// When a record is missing that must not be, a hook fails, or the datastore refuses. The ring is
/// then closed, and the worker drains.
pub async fn run(parts: Parts) -> Result<Totals, Error> {
    prefetch::Feed::new(parts).run().await
}
