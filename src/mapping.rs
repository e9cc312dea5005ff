//! Mapping: writes each response next to its record.
//!
//! Completions come over a bounded ring, are written in batched pipelines, wait in a bounded queue
//! while Redis is away, then in a [`journal`] file in the run folder. What was written is read back
//! at the end and compared by [`verify`]. All of it runs off the measured threads.

pub mod form;
pub mod journal;
pub mod verify;
pub mod writer;

use std::collections::BTreeMap;
use std::io;

use crate::{datastore, template};

/// Why responses could not be mapped. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template of the scenario.
    #[error("read {path}: {source}")]
    Template {
        /// The key of the scenario.
        path: String,
        /// What is wrong with it.
        source: template::Error,
    },
    /// The journal could not be written or read.
    #[error("use the journal {path}: {source}")]
    Journal {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A line of the journal makes no sense.
    #[error("read line {line} of the journal {path}: {message}")]
    JournalLine {
        /// The file.
        path: String,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// The datastore failed in a way that does not pass.
    #[error(transparent)]
    Datastore(#[from] datastore::Error),
}

/// What became of the responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Written and acknowledged.
    pub mapped: u64,
    /// Refused, or in the journal at the end.
    pub map_failed: u64,
    /// Of the failed, those that wait in the journal for `runner flush`.
    pub journaled: u64,
    /// What Redis said when it refused, and how often; at most [`Totals::MAX_REFUSALS`] texts.
    pub refusals: BTreeMap<String, u64>,
    /// The longest time that one pipeline took.
    pub slowest_write: std::time::Duration,
    /// Times that the datastore was found to be away.
    pub outages: u64,
}

impl Totals {
    /// Different refusals that are told apart.
    pub const MAX_REFUSALS: usize = 32;

    /// Counts a refusal.
    pub fn refuse(&mut self, text: &str) {
        let known = self.refusals.len() < Self::MAX_REFUSALS || self.refusals.contains_key(text);
        *self.refusals.entry(if known { text } else { "(more)" }.to_string()).or_default() += 1;
    }

    /// Adds the totals of another writer.
    pub fn merge(&mut self, other: &Totals) {
        self.mapped += other.mapped;
        self.map_failed += other.map_failed;
        self.journaled += other.journaled;
        self.outages += other.outages;
        self.slowest_write = self.slowest_write.max(other.slowest_write);
        for (text, count) in &other.refusals {
            *self.refusals.entry(text.clone()).or_default() += count;
        }
    }
}
