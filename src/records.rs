//! Records: what is in Redis before a run, made from two templates, loaded, read back, counted and cleared.

pub mod generator;
pub mod load;
mod people;
pub mod value;
pub mod verify;

pub use generator::{Error, Generator};
pub use load::{Fill, Filled, Settings};
pub use verify::Verified;

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
    clear_with(datastore, pattern, |_| {}).await
}

/// The same; `progress` hears how many are gone, now and then.
///
/// # Errors
/// When the datastore does not answer.
pub async fn clear_with(
    datastore: &Datastore,
    pattern: &str,
    mut progress: impl FnMut(u64),
) -> Result<u64, datastore::Error> {
    let pattern = pattern.as_bytes();
    let mut deleted = 0;
    for server in datastore.servers().await? {
        let mut scanned = server.scan(pattern, 0).await?;
        // The next step of the walk runs behind the deletion of what the last one found.
        while let Some(at) = scanned.next {
            let (gone, next) = tokio::try_join!(server.unlink(&scanned.keys), server.scan(pattern, at))?;
            deleted += gone;
            scanned = next;
            progress(deleted);
        }
        deleted += server.unlink(&scanned.keys).await?;
        progress(deleted);
    }
    Ok(deleted)
}
