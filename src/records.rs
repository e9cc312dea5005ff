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
    let pattern = pattern.as_bytes();
    let mut deleted = 0;
    let mut scanned = datastore.scan(pattern, 0).await?;
    // The next step of the walk runs behind the deletion of what the last one found.
    while let Some(at) = scanned.next {
        let (gone, next) = tokio::try_join!(datastore.del(&scanned.keys), datastore.scan(pattern, at))?;
        deleted += gone;
        scanned = next;
    }
    deleted += datastore.del(&scanned.keys).await?;
    Ok(deleted)
}
