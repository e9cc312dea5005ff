//! Generator: the key and the value of record *id*, and a Redis full of them.

use tokio::task::JoinSet;

use crate::datastore::{self, Datastore};
use crate::template::{self, Template, push_number};

/// The names that the templates of records know.
pub const NAMES: [&str; 1] = ["id"];

/// Records of one pipeline.
const CHUNK: usize = 5000;

/// Bytes of one pipeline: large records make shorter pipelines.
const CHUNK_BYTES: usize = 4 << 20;

/// Pipelines on their way at once: the next is built and sent while the server works on the others.
const IN_FLIGHT: usize = 3;

/// Why records could not be made. Fits after "failed to".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// `records.key` is no template.
    #[error("read records.key: {0}")]
    Key(#[source] template::Error),
    /// `records.template` is no template.
    #[error("read records.template: {0}")]
    Value(#[source] template::Error),
    /// `records.key` gives all records the same key.
    #[error("use records.key `{0}`: it has no {{id}}, so that all records would have one key")]
    NoId(String),
    /// The datastore did not take them.
    #[error("write records: {0}")]
    Datastore(#[from] datastore::Error),
    /// A task that was writing ended without a result; only a runtime that shuts down does that.
    #[error("write records: the runtime is shutting down")]
    ShutDown,
}

/// What to do with records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Leave them as they are.
    Missing,
    /// Write over them.
    All,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Records asked for.
    pub asked: u64,
    /// Records written.
    pub written: u64,
}

/// Makes keys and values from the id alone: the same in every run and on every machine.
#[derive(Debug, Clone)]
pub struct Generator {
    key: Template,
    value: Template,
}

impl Generator {
    /// A generator from the templates of a scenario. Both know `{id}`.
    ///
    /// # Errors
    /// When one of them is no template, or the key has no `{id}`.
    pub fn new(key: &str, value: &str) -> Result<Generator, Error> {
        let key = Template::parse(key, &NAMES).map_err(Error::Key)?;
        let value = Template::parse(value, &NAMES).map_err(Error::Value)?;
        if !key.uses(0) {
            return Err(Error::NoId(key.as_str().to_owned()));
        }
        Ok(Generator { key, value })
    }

    /// Appends the key of record `id`.
    #[inline]
    pub fn key(&self, id: u64, out: &mut Vec<u8>) {
        self.key.render(out, |_, out| push_number(out, id));
    }

    /// Appends the value of record `id`.
    #[inline]
    pub fn value(&self, id: u64, out: &mut Vec<u8>) {
        self.value.render(out, |_, out| push_number(out, id));
    }

    /// Writes the records with these ids. `progress` hears how many are done, now and then.
    ///
    /// # Errors
    /// When the datastore fails; what was written until then stays.
    pub async fn fill(
        &self,
        datastore: &Datastore,
        ids: impl IntoIterator<Item = u64>,
        fill: Fill,
        mut progress: impl FnMut(Filled),
    ) -> Result<Filled, Error> {
        let mut ids = ids.into_iter();
        let mut tasks = JoinSet::new();
        let mut done = Filled::default();
        loop {
            let chunk = self.chunk(&mut ids);
            let last = chunk.is_empty();
            if !last {
                tasks.spawn(write(datastore.clone(), chunk, fill));
            }
            while tasks.len() >= IN_FLIGHT || (last && !tasks.is_empty()) {
                let Some(written) = tasks.join_next().await else { break };
                let written = written.map_err(|_| Error::ShutDown)??;
                done.asked += written.asked;
                done.written += written.written;
                progress(done);
            }
            if last {
                return Ok(done);
            }
            // Let the connection send what was just handed over before the next chunk is built.
            tokio::task::yield_now().await;
        }
    }

    fn chunk(&self, ids: &mut impl Iterator<Item = u64>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
            let Some(id) = ids.next() else { break };
            let (mut key, mut value) = (Vec::new(), Vec::new());
            self.key(id, &mut key);
            self.value(id, &mut value);
            bytes += key.len() + value.len();
            chunk.push((key, value));
        }
        chunk
    }
}

async fn write(
    datastore: Datastore,
    chunk: Vec<(Vec<u8>, Vec<u8>)>,
    fill: Fill,
) -> Result<Filled, datastore::Error> {
    let asked = chunk.len() as u64;
    let written = match fill {
        Fill::Missing => datastore.set_missing(&chunk).await?,
        Fill::All => {
            datastore.set_many(&chunk).await?;
            asked
        }
    };
    Ok(Filled { asked, written })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending"}"#;

    #[test]
    fn a_record_follows_from_its_id() {
        let generator = Generator::new("record:{id}", VALUE).expect("templates");
        let (mut key, mut value) = (Vec::new(), Vec::new());
        generator.key(7, &mut key);
        generator.value(7, &mut value);
        assert_eq!(key, b"record:7");
        assert_eq!(value, br#"{"id":7,"name":"User7","phone":"900000000007","status":"pending"}"#);
    }

    #[test]
    fn a_key_that_is_the_same_for_all_is_refused() {
        assert_eq!(Generator::new("record", "x").expect_err("no id"), Error::NoId("record".to_owned()));
        assert!(matches!(Generator::new("{id:x}", "x"), Err(Error::Key(_))));
        assert!(matches!(Generator::new("{id}", "{id:x}"), Err(Error::Value(_))));
    }

    #[test]
    fn chunks_are_bounded_in_number_and_bytes() {
        let generator = Generator::new("{id}", VALUE).expect("templates");
        assert_eq!(generator.chunk(&mut (0..1_000_000)).len(), CHUNK);
        let large = Generator::new("{id}", &"x".repeat(CHUNK_BYTES / 2)).expect("templates");
        assert_eq!(large.chunk(&mut (0..1_000_000)).len(), 2);
        assert!(generator.chunk(&mut (0..0)).is_empty());
    }
}
