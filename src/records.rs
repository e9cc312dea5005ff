//! Records: what is in Redis before a run, made from two templates, counted and cleared.

pub mod generator;

pub use generator::{Error, Fill, Filled, Generator};

use crate::datastore::{self, Datastore};

/// How many records there are: keys that match `pattern`, such as `record:*`.
///
/// # Errors
/// When the datastore does not answer.
pub async fn count(datastore: &Datastore, pattern: &str) -> Result<u64, datastore::Error> {
    datastore.count(pattern.as_bytes()).await
}

/// Deletes all keys that match `pattern`; how many there were.
///
/// # Errors
/// When the datastore does not answer.
pub async fn clear(datastore: &Datastore, pattern: &str) -> Result<u64, datastore::Error> {
    let (mut deleted, mut cursor) = (0, Some(0));
    while let Some(at) = cursor {
        let scanned = datastore.scan(pattern.as_bytes(), at).await?;
        deleted += datastore.del(&scanned.keys).await?;
        cursor = scanned.next;
    }
    Ok(deleted)
}
