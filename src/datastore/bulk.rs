//! Bulk: many strings through connections of their own, as raw bytes, with replies counted and not kept.
//!
//! A [`Lane`] is one such connection (to a cluster: one to each master). What it writes is built by the
//! caller in [`Pairs`], already in the form of the wire, so that each byte is copied once more and not taken
//! apart again. Which commands carry the pairs:
//!
//! 1. Over what is there: `MSET`, some hundred pairs at once.
//! 2. What is missing: `MSETNX`, which writes all of its pairs or none, whoever else is writing. When it
//!    writes none, its pairs go once more as one `SETNX` each; so do the next ones, until a chunk was
//!    missing as a whole again.
//! 3. With a time to live: `SET key value PX ms [NX]`, one for each pair.
//! 4. To a cluster: one command for each pair, to the master of its slot. What a master sends elsewhere
//!    goes by the shared connections, which know how to follow.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use redis::Value;

use super::wire::{Reply, Wire};
use super::{Datastore, Error};
use crate::clock;

/// Pairs of one MSET or MSETNX, at most: more gains nothing, and the server does nothing else meanwhile.
const GROUP: usize = 100;

/// Bytes of one of them, but for the last pair.
const GROUP_BYTES: usize = 64 << 10;

/// Keys with their values, in the form in which they go on the wire.
#[derive(Debug, Default)]
pub struct Pairs {
    wire: Vec<u8>,
    places: Vec<Place>,
    scratch: Vec<u8>,
    payload: usize,
}

/// Where a pair stands in [`Pairs::wire`].
#[derive(Debug, Clone)]
struct Place {
    whole: Range<usize>,
    key: Range<usize>,
    value: Range<usize>,
}

impl Pairs {
    /// Adds a pair; each closure appends its part.
    #[inline]
    pub fn push(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.wire.len();
        self.scratch.clear();
        key(&mut self.scratch);
        let key = bulk_string(&mut self.wire, &self.scratch);
        self.scratch.clear();
        value(&mut self.scratch);
        let value = bulk_string(&mut self.wire, &self.scratch);
        self.payload += key.len() + value.len();
        self.places.push(Place { whole: start..self.wire.len(), key, value });
    }

    /// Forgets all pairs and keeps the room for others.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.places.clear();
        self.payload = 0;
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn payload(&self) -> usize {
        self.payload
    }

    /// Bytes of the wire: what to bound a chunk by.
    pub fn wire_len(&self) -> usize {
        self.wire.len()
    }

    /// The key of a pair.
    pub fn key(&self, index: usize) -> &[u8] {
        &self.wire[self.places[index].key.clone()]
    }

    /// The value of a pair.
    pub fn value(&self, index: usize) -> &[u8] {
        &self.wire[self.places[index].value.clone()]
    }

    /// A pair as it goes on the wire: key and value, each as a bulk string.
    #[inline]
    pub fn wire(&self, index: usize) -> &[u8] {
        &self.wire[self.places[index].whole.clone()]
    }

    /// Neighbours as they go on the wire.
    fn span(&self, pairs: &Range<usize>) -> &[u8] {
        match (self.places.get(pairs.start), self.places.get(pairs.end.wrapping_sub(1))) {
            (Some(first), Some(last)) => &self.wire[first.whole.start..last.whole.end],
            _ => &[],
        }
    }

    /// The pairs cut into groups for one command each.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let mut end = start;
            let mut bytes = 0;
            while end < self.len() && end - start < GROUP && bytes < GROUP_BYTES {
                bytes += self.places[end].whole.len();
                end += 1;
            }
            let group = start..end;
            start = end;
            (!group.is_empty()).then_some(group)
        })
    }
}

/// Appends a bulk string; where its bytes stand.
#[inline]
fn bulk_string(wire: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    wire.push(b'$');
    wire.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    wire.extend_from_slice(b"\r\n");
    let start = wire.len();
    wire.extend_from_slice(bytes);
    wire.extend_from_slice(b"\r\n");
    start..start + bytes.len()
}

/// How pairs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Over what is there; else only what is missing.
    pub over: bool,
    /// How long they live; for ever without one.
    pub ttl: Option<Duration>,
}

/// One connection of its own, opened when it is first used and again after it broke. To a cluster, one to
/// each master.
#[derive(Debug)]
pub struct Lane {
    datastore: Datastore,
    form: Form,
    /// By the address of the server.
    wires: BTreeMap<String, Wire>,
    /// What goes on the wire next.
    out: Vec<u8>,
    /// The last chunk was not missing as a whole, so the next one will not be either.
    one_by_one: bool,
}

/// The bytes around the pairs.
#[derive(Debug)]
struct Form {
    over: bool,
    /// The command for one pair, and what stands behind the pair.
    command: &'static str,
    options: Vec<String>,
    /// The same as they go on the wire.
    before: Vec<u8>,
    behind: Vec<u8>,
    /// Whether pairs may go in groups.
    in_groups: bool,
}

impl Form {
    fn of(how: How, is_cluster: bool) -> Form {
        let mut options = Vec::new();
        if let Some(ttl) = how.ttl {
            let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2);
            options.extend(["PX".to_owned(), ms.to_string()]);
            if !how.over {
                options.push("NX".to_owned());
            }
        }
        let command = if how.over || how.ttl.is_some() { "SET" } else { "SETNX" };
        let mut before = format!("*{}\r\n", 3 + options.len()).into_bytes();
        bulk_string(&mut before, command.as_bytes());
        let mut behind = Vec::new();
        for option in &options {
            bulk_string(&mut behind, option.as_bytes());
        }
        let in_groups = how.ttl.is_none() && !is_cluster;
        Form { over: how.over, command, options, before, behind, in_groups }
    }

    fn group(&self, out: &mut Vec<u8>, pairs: &Pairs, group: &Range<usize>) {
        out.push(b'*');
        out.extend_from_slice(itoa::Buffer::new().format(1 + 2 * group.len()).as_bytes());
        out.extend_from_slice(if self.over { b"\r\n$4\r\nMSET\r\n" } else { b"\r\n$6\r\nMSETNX\r\n" });
        out.extend_from_slice(pairs.span(group));
    }

    fn single(&self, out: &mut Vec<u8>, pair: &[u8]) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(pair);
        out.extend_from_slice(&self.behind);
    }
}

/// Whether a reply says that the pair was written: `+OK` or `:1`.
fn is_written(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Status | Reply::Number(1))
}

impl Datastore {
    /// A connection of its own for loading.
    pub fn lane(&self, how: How) -> Lane {
        Lane {
            datastore: self.clone(),
            form: Form::of(how, self.is_cluster()),
            wires: BTreeMap::new(),
            out: Vec::new(),
            one_by_one: false,
        }
    }
}

impl Lane {
    /// Writes the pairs and returns how many of them were written.
    ///
    /// # Errors
    /// When the connection breaks, or at the first pair that the server refuses. Any part may have been
    /// written then; writing the same pairs again does no harm.
    pub async fn write(&mut self, pairs: &Pairs) -> Result<u64, Error> {
        if self.datastore.is_cluster() {
            return self.write_to_cluster(pairs).await;
        }
        if !self.form.in_groups || self.one_by_one {
            let all = 0..pairs.len();
            let written = self.write_singly(pairs, std::slice::from_ref(&all)).await?;
            self.one_by_one = written < pairs.len() as u64;
            return Ok(written);
        }
        self.out.clear();
        let groups: Vec<Range<usize>> = pairs.groups().collect();
        for group in &groups {
            self.form.group(&mut self.out, pairs, group);
        }
        let (mut written, mut left) = (0, Vec::new());
        let command = if self.form.over { "MSET" } else { "MSETNX" };
        let datastore = self.datastore.clone();
        self.exchange(&datastore, command, groups.len(), |index, reply| {
            match reply {
                Reply::Error(text) => return Err(datastore.refusal(command, text)),
                Reply::Status | Reply::Number(1) => written += groups[index].len() as u64,
                Reply::Number(_) | Reply::Nil => left.push(groups[index].clone()),
            }
            Ok(())
        })
        .await?;
        if !left.is_empty() {
            self.one_by_one = true;
            written += self.write_singly(pairs, &left).await?;
        }
        Ok(written)
    }

    /// One command for each pair.
    async fn write_singly(&mut self, pairs: &Pairs, spans: &[Range<usize>]) -> Result<u64, Error> {
        self.out.clear();
        let mut count = 0;
        for index in spans.iter().cloned().flatten() {
            self.form.single(&mut self.out, pairs.wire(index));
            count += 1;
        }
        let mut written = 0;
        let datastore = self.datastore.clone();
        let command = self.form.command;
        self.exchange(&datastore, command, count, |_, reply| {
            match reply {
                Reply::Error(text) => return Err(datastore.refusal(command, text)),
                reply => written += u64::from(is_written(&reply)),
            }
            Ok(())
        })
        .await?;
        Ok(written)
    }

    /// Each pair to the master of its slot.
    async fn write_to_cluster(&mut self, pairs: &Pairs) -> Result<u64, Error> {
        let map = self.datastore.map()?;
        let mut by_server: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for index in 0..pairs.len() {
            by_server.entry(map.server_of(pairs.key(index))?).or_default().push(index);
        }
        let (mut written, mut moved) = (0, Vec::new());
        for (server, indices) in by_server {
            self.out.clear();
            for &index in &indices {
                self.form.single(&mut self.out, pairs.wire(index));
            }
            let server = map.server(server);
            let command = self.form.command;
            self.exchange(server, command, indices.len(), |index, reply| {
                match reply {
                    Reply::Error(text) if super::cluster::is_elsewhere(text) => moved.push(indices[index]),
                    Reply::Error(text) => return Err(server.refusal(command, text)),
                    reply => written += u64::from(is_written(&reply)),
                }
                Ok(())
            })
            .await?;
        }
        Ok(written + self.follow(pairs, &moved).await?)
    }

    /// Pairs whose slot is moving, by the way that follows them.
    async fn follow(&self, pairs: &Pairs, moved: &[usize]) -> Result<u64, Error> {
        if moved.is_empty() {
            return Ok(0);
        }
        let mut pipeline = redis::Pipeline::with_capacity(moved.len());
        for &index in moved {
            pipeline.cmd(self.form.command).arg(pairs.key(index)).arg(pairs.value(index));
            pipeline.arg(&self.form.options);
        }
        let mut written = 0;
        for answer in self.datastore.ask_all("SET", &pipeline).await? {
            match answer {
                Value::Okay | Value::Int(1) => written += 1,
                Value::Nil | Value::Int(_) => {}
                Value::ServerError(error) => return Err(self.datastore.server_error("SET", error.into())),
                other => return Err(self.datastore.unexpected("SET", &other)),
            }
        }
        Ok(written)
    }

    /// Sends what is in `out` to a server and takes one reply a command. A connection that fails is
    /// thrown away.
    async fn exchange(
        &mut self,
        server: &Datastore,
        command: &'static str,
        replies: usize,
        each: impl FnMut(usize, Reply<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let limit = server.timeout();
        let mut wire = match self.wires.remove(server.url()) {
            Some(wire) => wire,
            None => {
                let opening = clock::timeout(limit, Wire::open(server)).await;
                opening.unwrap_or_else(|| Err(server.timed_out()))?
            }
        };
        let exchanged = clock::timeout(limit, wire.exchange(&self.out, replies, each)).await;
        exchanged.ok_or_else(|| server.timed_out())?.map_err(|error| error.at(server, command))?;
        self.wires.insert(server.url().to_owned(), wire);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize, size: usize) -> Pairs {
        let mut pairs = Pairs::default();
        for index in 0..count {
            pairs.push(
                |out| out.extend_from_slice(format!("k{index}").as_bytes()),
                |out| out.resize(size, b'x'),
            );
        }
        pairs
    }

    #[test]
    fn pairs_stand_as_they_go_on_the_wire() {
        let mut pairs = pairs(2, 3);
        assert_eq!((pairs.len(), pairs.payload()), (2, 10));
        assert_eq!(pairs.wire(1), b"$2\r\nk1\r\n$3\r\nxxx\r\n");
        assert_eq!((pairs.key(0), pairs.value(1)), (&b"k0"[..], &b"xxx"[..]));
        assert_eq!(pairs.wire_len(), 2 * pairs.wire(0).len());
        pairs.clear();
        assert!(pairs.is_empty() && pairs.wire_len() == 0 && pairs.payload() == 0);
    }

    #[test]
    fn groups_are_bounded_in_number_and_bytes_and_leave_nothing_out() {
        for (count, size, first) in
            [(250, 10, GROUP), (7, 10, 7), (9, GROUP_BYTES / 2, 2), (3, GROUP_BYTES, 1)]
        {
            let pairs = pairs(count, size);
            let groups: Vec<Range<usize>> = pairs.groups().collect();
            assert_eq!(groups[0].len(), first, "{count} of {size}");
            assert_eq!(groups.iter().map(ExactSizeIterator::len).sum::<usize>(), count);
        }
        assert_eq!(Pairs::default().groups().count(), 0);
    }

    #[test]
    fn commands_say_what_is_wanted() {
        let pairs = pairs(2, 1);
        let one = |over, ttl: Option<u64>| {
            let mut out = Vec::new();
            Form::of(How { over, ttl: ttl.map(Duration::from_millis) }, false)
                .single(&mut out, pairs.wire(0));
            let text = String::from_utf8(out).expect("ASCII");
            let words: Vec<&str> = text.split("\r\n").filter(|word| !word.starts_with('$')).collect();
            words.join(" ").trim_end().to_owned()
        };
        assert_eq!(one(true, None), "*3 SET k0 x");
        assert_eq!(one(false, None), "*3 SETNX k0 x");
        assert_eq!(one(true, Some(5)), "*5 SET k0 x PX 5");
        assert_eq!(one(false, Some(0)), "*6 SET k0 x PX 1 NX");

        let mut out = Vec::new();
        let form = Form::of(How { over: false, ttl: None }, false);
        form.group(&mut out, &pairs, &(0..2));
        assert_eq!(out, b"*5\r\n$6\r\nMSETNX\r\n$2\r\nk0\r\n$1\r\nx\r\n$2\r\nk1\r\n$1\r\nx\r\n");
        assert!(form.in_groups && !Form::of(How { over: true, ttl: None }, true).in_groups);
    }
}
