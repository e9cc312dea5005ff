//! Write: batches, bulk loads and deletions.

use redis::{RedisError, Value};

use super::{Datastore, Error, WriteBatch, describe};

/// Pairs in one MSET: more gains nothing, and the server does nothing else meanwhile.
const MSET_PAIRS: usize = 500;

/// Keys of one UNLINK.
const UNLINK_KEYS: usize = 1000;

impl Datastore {
    /// Sends a batch as one pipeline. The results are in the order of its commands: what the server
    /// refused is told command by command.
    ///
    /// # Errors
    /// When the connection broke or stayed silent: any part of the batch may have been done. Commands
    /// that may be repeated can be written again when the datastore is [`Datastore::back`].
    pub async fn write(&self, batch: &WriteBatch) -> Result<Vec<Result<(), String>>, Error> {
        let answers = self.ask_all("a batch", batch.pipeline()).await?;
        // A server that is loading refuses everything alike: that is being away, not a refusal.
        if let Some(Value::ServerError(error)) = answers.first() {
            let error = self.server_error("a batch", RedisError::from(error.clone()));
            if error.is_away() {
                return Err(error);
            }
        }
        Ok(answers.into_iter().map(outcome).collect())
    }

    /// Writes the pairs whose key does not exist (pipelined `SET NX`); how many that were.
    ///
    /// # Errors
    /// When the connection breaks, or at the first pair that the server refuses.
    pub async fn set_missing<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, pairs: &[(K, V)]) -> Result<u64, Error> {
        let mut batch = WriteBatch::new();
        for (key, value) in pairs {
            batch.set_missing(key.as_ref(), value.as_ref());
        }
        let mut set = 0;
        for answer in self.ask_all("SET", batch.pipeline()).await? {
            match answer {
                Value::Okay => set += 1,
                Value::Nil => {}
                Value::ServerError(error) => return Err(self.server_error("SET", error.into())),
                other => return Err(self.unexpected("SET", &other)),
            }
        }
        Ok(set)
    }

    /// Writes all pairs, over what was there (pipelined `MSET`).
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn set_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, pairs: &[(K, V)]) -> Result<(), Error> {
        let mut batch = WriteBatch::new();
        // The keys of one command must have one slot in a cluster.
        let at_once = if self.is_cluster() { 1 } else { MSET_PAIRS };
        for chunk in pairs.chunks(at_once) {
            batch.set_many(chunk.iter().map(|(key, value)| (key.as_ref(), value.as_ref())));
        }
        for answer in self.ask_all("MSET", batch.pipeline()).await? {
            if let Value::ServerError(error) = answer {
                return Err(self.server_error("MSET", error.into()));
            }
        }
        Ok(())
    }

    /// Deletes keys; how many there were. In a cluster, keys of this one of its servers. (`UNLINK`, or `DEL`
    /// where the server is too old for it.)
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn unlink<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<u64, Error> {
        match self.delete("UNLINK", keys).await {
            Err(Error::Refused { message, .. }) if message.contains("unknown command") => {
                self.delete("DEL", keys).await
            }
            deleted => deleted,
        }
    }

    async fn delete<K: AsRef<[u8]>>(&self, command: &'static str, keys: &[K]) -> Result<u64, Error> {
        let mut pipeline = redis::pipe();
        let at_once = if self.shared.in_cluster { 1 } else { UNLINK_KEYS };
        for chunk in keys.chunks(at_once) {
            let cmd = pipeline.cmd(command);
            for key in chunk {
                cmd.arg(key.as_ref());
            }
        }
        let mut deleted = 0;
        for answer in self.ask_all(command, &pipeline).await? {
            deleted += self.whole_number(command, answer)?;
        }
        Ok(deleted)
    }
}

fn outcome(answer: Value) -> Result<(), String> {
    match answer {
        Value::ServerError(error) => Err(describe(&error.into())),
        _ => Ok(()),
    }
}
