//! Batch: commands that are gathered and written as one pipeline.

use std::time::Duration;

use redis::{Cmd, Pipeline};

/// Commands in their order. Nothing is sent before [`super::Datastore::write`].
///
/// All of them give the same result when they are sent twice, except [`WriteBatch::xadd`].
#[derive(Debug, Default)]
pub struct WriteBatch {
    pipeline: Pipeline,
    /// Bytes of all arguments.
    size: usize,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// How many commands.
    pub fn len(&self) -> usize {
        self.pipeline.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pipeline.is_empty()
    }

    /// Bytes of all arguments: what to bound a batch by besides its length.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Forgets all commands.
    pub fn clear(&mut self) {
        self.pipeline.clear();
        self.size = 0;
    }

    /// `SET key value`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        self.add(&[b"SET", key, value]);
    }

    /// `SET key value NX`: only when there is none.
    pub fn set_missing(&mut self, key: &[u8], value: &[u8]) {
        self.add(&[b"SET", key, value, b"NX"]);
    }

    /// `HSET key field value ...`. Does nothing without fields.
    pub fn hset<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, key: &[u8], fields: &[(F, V)]) {
        if !fields.is_empty() {
            self.add_fields(&[b"HSET", key], fields);
        }
    }

    /// `XADD key * field value ...`. Does nothing without fields. Sent twice, it adds twice.
    pub fn xadd<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, key: &[u8], fields: &[(F, V)]) {
        if !fields.is_empty() {
            self.add_fields(&[b"XADD", key, b"*"], fields);
        }
    }

    /// `PEXPIRE key ms`: whole milliseconds, at least one.
    pub fn expire(&mut self, key: &[u8], ttl: Duration) {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2);
        self.add(&[b"PEXPIRE", key, itoa::Buffer::new().format(ms).as_bytes()]);
    }

    /// `DEL key`.
    pub fn del(&mut self, key: &[u8]) {
        self.add(&[b"DEL", key]);
    }

    /// `MSET key value ...`: the fastest way to write many keys.
    pub(super) fn set_many<'a>(
        &mut self,
        pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) {
        let size = pairs.clone().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(1 + 2 * pairs.len(), 4 + size);
        cmd.arg(b"MSET");
        for (key, value) in pairs {
            cmd.arg(key).arg(value);
        }
        self.size += size;
        self.pipeline.add_command(cmd);
    }

    fn add(&mut self, args: &[&[u8]]) {
        self.add_fields::<&[u8], &[u8]>(args, &[]);
    }

    /// One command, in two allocations of the right size.
    fn add_fields<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, args: &[&[u8]], fields: &[(F, V)]) {
        let fixed = args.iter().map(|arg| arg.len()).sum::<usize>();
        let pairs =
            fields.iter().map(|(field, value)| field.as_ref().len() + value.as_ref().len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(args.len() + 2 * fields.len(), fixed + pairs);
        for arg in args {
            cmd.arg(*arg);
        }
        for (field, value) in fields {
            cmd.arg(field.as_ref()).arg(value.as_ref());
        }
        self.size += fixed + pairs;
        self.pipeline.add_command(cmd);
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_on_the_wire_in_their_order() {
        let mut batch = WriteBatch::new();
        batch.set(b"k", b"v");
        batch.hset(b"h", &[("a", "1"), ("b", "2")]);
        batch.hset::<&str, &str>(b"h", &[]);
        batch.xadd(b"s", &[("a", "1")]);
        batch.expire(b"h", Duration::from_secs(2));
        batch.expire(b"h", Duration::from_nanos(1));
        batch.set_missing(b"k", b"v");
        batch.del(b"k");
        assert_eq!(batch.len(), 7);
        let packed = String::from_utf8(batch.pipeline().get_packed_pipeline()).expect("ASCII");
        let words: Vec<&str> =
            packed.split("\r\n").filter(|word| !word.starts_with(['*', '$']) || *word == "*").collect();
        assert_eq!(
            words.join(" ").trim_end(),
            "SET k v HSET h a 1 b 2 XADD s * a 1 PEXPIRE h 2000 PEXPIRE h 1 SET k v NX DEL k"
        );
        assert!(batch.size() > 0);
        batch.clear();
        assert_eq!((batch.len(), batch.size(), batch.is_empty()), (0, 0, true));
    }
}
