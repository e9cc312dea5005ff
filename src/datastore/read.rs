//! Read: records before a run, mappings after it, and counting.

use redis::{ErrorKind, Pipeline, RedisError, Value};

use super::{Datastore, Error};

/// Keys of one MGET; more are asked for in several MGETs of one pipeline.
const MGET_KEYS: usize = 1000;

/// Keys that the server may look at in one step of a scan: a few milliseconds of its time.
const SCAN_COUNT: usize = 5000;

/// One step of a walk over all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
    /// Keys that match. A key may come more than once when keys are added meanwhile.
    pub keys: Vec<Vec<u8>>,
}

impl Datastore {
    /// The values of keys, in their order (`MGET`); `None` for a key that is missing or no string.
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if self.is_cluster() {
            return self.get_each(keys).await;
        }
        let mut pipeline = redis::pipe();
        for chunk in keys.chunks(MGET_KEYS) {
            let cmd = pipeline.cmd("MGET");
            for key in chunk {
                cmd.arg(key.as_ref());
            }
        }
        let mut values = Vec::with_capacity(keys.len());
        for answer in self.ask_all("MGET", &pipeline).await? {
            match answer {
                Value::Array(answers) => {
                    for answer in answers {
                        values.push(self.bytes("MGET", answer)?);
                    }
                }
                Value::ServerError(error) => return Err(self.server_error("MGET", error.into())),
                other => return Err(self.unexpected("MGET", &other)),
            }
        }
        if values.len() != keys.len() {
            let got = format!("{} values for {} keys", values.len(), keys.len());
            return Err(Error::Answer { url: self.url().to_owned(), command: "MGET", got });
        }
        Ok(values)
    }

    /// The same with one `GET` a key, as a cluster wants it.
    async fn get_each<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("GET").arg(key.as_ref());
        }
        let answers = self.ask_all("GET", &pipeline).await?;
        answers.into_iter().map(|answer| self.bytes("GET", answer)).collect()
    }

    /// Which keys exist, in their order (pipelined `EXISTS`).
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn exist_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<bool>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("EXISTS").arg(key.as_ref());
        }
        let answers = self.ask_all("EXISTS", &pipeline).await?;
        answers.into_iter().map(|answer| Ok(self.whole_number("EXISTS", answer)? > 0)).collect()
    }

    /// One field of many hashes, in the order of the keys (pipelined `HGET`); `None` for what is missing
    /// or no hash.
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn hget_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        field: &[u8],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("HGET").arg(key.as_ref()).arg(field);
        }
        let answers = self.ask_all("HGET", &pipeline).await?;
        answers.into_iter().map(|answer| self.bytes("HGET", answer)).collect()
    }

    /// The lengths of many streams (pipelined `XLEN`); 0 for a missing one, `None` for what is no stream.
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn xlen_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<u64>>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("XLEN").arg(key.as_ref());
        }
        let answers = self.ask_all("XLEN", &pipeline).await?;
        let number = |answer: Value| match answer {
            answer if is_wrong_type(&answer) => Ok(None),
            answer => self.whole_number("XLEN", answer).map(Some),
        };
        answers.into_iter().map(number).collect()
    }

    /// One field of the newest entry of many streams (pipelined `XREVRANGE`); `None` for what is missing
    /// or no stream.
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn xlast_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        field: &[u8],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        const COMMAND: &str = "XREVRANGE";
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd(COMMAND).arg(key.as_ref()).arg("+").arg("-").arg("COUNT").arg(1);
        }
        let answers = self.ask_all(COMMAND, &pipeline).await?;
        let newest = |answer: Value| match answer {
            answer if is_wrong_type(&answer) => Ok(None),
            Value::ServerError(error) => Err(self.server_error(COMMAND, error.into())),
            Value::Array(entries) => Ok(entries.into_iter().next().and_then(|entry| field_of(entry, field))),
            other => Err(self.unexpected(COMMAND, &other)),
        };
        answers.into_iter().map(newest).collect()
    }

    /// One step of a walk over the keys that match a glob pattern. Begin with `cursor` 0. In a cluster, ask
    /// each of [`Datastore::servers`].
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn scan(&self, pattern: &[u8], cursor: u64) -> Result<Scanned, Error> {
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let answer = self.ask("SCAN", &cmd).await?;
        let Value::Array(parts) = answer else { return Err(self.unexpected("SCAN", &answer)) };
        let Ok([next, found]) = <[Value; 2]>::try_from(parts) else {
            return Err(self.unexpected("SCAN", &Value::Nil));
        };
        let Some(at) = cursor_of(&next) else { return Err(self.unexpected("SCAN", &next)) };
        let Value::Array(found) = found else { return Err(self.unexpected("SCAN", &found)) };
        let key = |key: Value| match key {
            Value::BulkString(key) => Ok(key),
            other => Err(self.unexpected("SCAN", &other)),
        };
        let keys = found.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Scanned { next: (at != 0).then_some(at), keys })
    }

    /// How many keys match a glob pattern. Exact while nobody writes.
    ///
    /// # Errors
    /// When the connection breaks, or when the server refuses.
    pub async fn count(&self, pattern: &[u8]) -> Result<u64, Error> {
        let mut count = 0;
        for server in self.servers().await? {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let scanned = server.scan(pattern, at).await?;
                count += scanned.keys.len() as u64;
                cursor = scanned.next;
            }
        }
        Ok(count)
    }

    fn bytes(&self, command: &'static str, answer: Value) -> Result<Option<Vec<u8>>, Error> {
        match answer {
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::Nil => Ok(None),
            answer if is_wrong_type(&answer) => Ok(None),
            Value::ServerError(error) => Err(self.server_error(command, error.into())),
            other => Err(self.unexpected(command, &other)),
        }
    }

    pub(super) fn whole_number(&self, command: &'static str, answer: Value) -> Result<u64, Error> {
        match answer {
            Value::Int(number) if number >= 0 => Ok(number.unsigned_abs()),
            Value::ServerError(error) => Err(self.server_error(command, error.into())),
            other => Err(self.unexpected(command, &other)),
        }
    }
}

/// The key holds another type.
fn is_wrong_type(answer: &Value) -> bool {
    let Value::ServerError(error) = answer else { return false };
    let error = RedisError::from(error.clone());
    error.kind() == ErrorKind::Extension && error.code() == Some("WRONGTYPE")
}

/// The cursor in the answer to a scan.
fn cursor_of(value: &Value) -> Option<u64> {
    let Value::BulkString(digits) = value else { return None };
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The value of a field in a stream entry, `[id, [field, value, ...]]`.
fn field_of(entry: Value, field: &[u8]) -> Option<Vec<u8>> {
    let Value::Array(parts) = entry else { return None };
    let Some(Value::Array(pairs)) = parts.into_iter().nth(1) else { return None };
    let mut pairs = pairs.into_iter();
    while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
        if let (Value::BulkString(name), Value::BulkString(value)) = (name, value)
            && name == field
        {
            return Some(value);
        }
    }
    None
}
