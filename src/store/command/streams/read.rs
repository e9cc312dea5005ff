//! XREAD and XREADGROUP: entries behind an id, now or when they come.

use super::super::{Call, Failure, integer, shown};
use super::{edit_groups, group, id, read, stream_of, write_entries, write_entry, write_id};
use crate::store::blocking::{self, Empty, Timeout, Wait};
use crate::store::keyspace::Keyspace;
use crate::store::notify::Class;
use crate::store::reply::Replies;
use crate::store::stream::Stream;
use crate::store::stream::groups::Delivery;
use crate::store::stream::ids::StreamId;
use crate::wire::resp::{Args, OwnedArgs};

/// How many entries a client gets that has waited and has not said how many it wants.
const WAITED_COUNT: usize = 1000;

/// What `>` stands for: what was never given to anybody.
const NEW: StreamId = StreamId::MAX;

/// Redis says this of XREADGROUP too.
const UNBALANCED: Failure = Failure::text(
    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
);

/// The arguments of both commands.
struct Request<'a> {
    /// 0 for all.
    count: usize,
    block: Option<Timeout>,
    /// A group and a consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// Where the keys begin; as many ids follow.
    first_key: usize,
    keys: usize,
}

impl<'a> Request<'a> {
    fn parse(args: Args<'a>, takes_group: bool, now_ms: i64) -> Result<Request<'a>, Failure> {
        let mut request =
            Request { count: 0, block: None, group: None, no_ack: false, first_key: 0, keys: 0 };
        let only_group = |option: &str| {
            let text =
                format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.");
            Err(Failure(text.into()))
        };
        let mut index = 1;
        while let Some(word) = args.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let more = args.from(index + 1);
            if is(b"BLOCK") && !more.is_empty() {
                request.block = Some(blocking::timeout_millis(&more[0], now_ms)?);
                index += 1;
            } else if is(b"COUNT") && !more.is_empty() {
                request.count = usize::try_from(integer(&more[0])?.max(0)).unwrap_or(usize::MAX);
                index += 1;
            } else if is(b"STREAMS") && !more.is_empty() {
                if !more.len().is_multiple_of(2) {
                    return Err(UNBALANCED);
                }
                (request.first_key, request.keys) = (index + 1, more.len() / 2);
                break;
            } else if is(b"GROUP") && more.len() >= 2 {
                if !takes_group {
                    return only_group("GROUP");
                }
                request.group = more.get(0).zip(more.get(1));
                index += 2;
            } else if is(b"NOACK") {
                if !takes_group {
                    return only_group("NOACK");
                }
                request.no_ack = true;
            } else {
                return Err(Failure::SYNTAX);
            }
            index += 1;
        }
        if request.keys == 0 {
            return Err(Failure::SYNTAX);
        }
        if takes_group && request.group.is_none() {
            return Err(Failure::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    fn keys(&self, args: Args<'a>) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        args.from(self.first_key).iter().take(self.keys)
    }

    fn id_index(&self, index: usize) -> usize {
        self.first_key + self.keys + index
    }

    /// How many entries of each stream.
    fn limit(&self) -> usize {
        if self.count == 0 { usize::MAX } else { self.count }
    }

    fn limit_waited(&self) -> usize {
        if self.count == 0 { WAITED_COUNT } else { self.count }
    }

    /// Waits for entries; what is run again then has `after` in the place of the ids.
    fn wait(&self, call: &mut Call<'_>, after: &[StreamId]) -> Result<(), Failure> {
        let args = call.args;
        let Some(timeout) = self.block else {
            call.session.out.null_array();
            return Ok(());
        };
        let mut command = None;
        if !call.resumed && self.group.is_none() {
            let rewritten = command.insert(OwnedArgs::from_args(args));
            for (index, id) in after.iter().enumerate() {
                rewritten.set(self.id_index(index), id.write(&mut [0; StreamId::TEXT]));
            }
        }
        let keys = args.from(self.first_key).iter().take(self.keys);
        let when_gone = self.group.is_some();
        call.block(Wait { keys, timeout, empty: Empty::NullArray, when_gone, command })
    }
}

pub(super) fn xread(call: &mut Call<'_>) -> Result<(), Failure> {
    let request = Request::parse(call.args, false, call.engine.keyspace.now_ms())?;
    if call.resumed {
        return xread_ready(call, &request);
    }
    let after = positions(call, &request)?;
    let (args, db) = (call.args, call.session.db);
    let mut found = Vec::new();
    for (key, after) in request.keys(args).zip(&after) {
        let Some(stream) = read(&mut call.engine.keyspace, db, key)? else { continue };
        if stream.entries.last().is_some_and(|last| last > *after) {
            let from = after.next().unwrap_or(StreamId::MAX);
            found.push((key, from, stream.entries.count(from, StreamId::MAX, request.limit())));
        }
    }
    if found.is_empty() {
        return request.wait(call, &after);
    }
    let out = &mut call.session.out;
    write_head(out, found.len());
    for (key, from, count) in found {
        write_stream(out, &mut call.engine.keyspace, db, key, &Found::Behind(from, count))?;
    }
    Ok(())
}

/// The ids behind which to read. Every key and every id is looked at before anything is read.
fn positions(call: &mut Call<'_>, request: &Request<'_>) -> Result<Vec<StreamId>, Failure> {
    let (args, db) = (call.args, call.session.db);
    let mut after = Vec::with_capacity(request.keys);
    for (index, key) in request.keys(args).enumerate() {
        let stream = read(&mut call.engine.keyspace, db, key)?;
        if let Some((name, _)) = request.group
            && group(stream, name).is_none()
        {
            let (key, name) = (shown(key, usize::MAX), shown(name, usize::MAX));
            let text = format!(
                "NOGROUP No such key '{key}' or consumer group '{name}' in XREADGROUP with GROUP option"
            );
            return Err(Failure(text.into()));
        }
        after.push(match (&args[request.id_index(index)], request.group.is_some()) {
            (b"$", false) => stream.map_or(StreamId::MIN, |stream| stream.entries.last_id),
            (b"$", true) => {
                return Err(Failure::text(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
                     this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
                     would just return an empty result set.",
                ));
            }
            (b">", true) => NEW,
            (b">", false) => {
                return Err(Failure::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                     <consumer> option.",
                ));
            }
            (text, _) => id(text)?,
        });
    }
    Ok(after)
}

/// One of the keys was written for which the client waits. Only that stream is looked at. What was added
/// may be gone again already, then the client is told of nothing.
fn xread_ready(call: &mut Call<'_>, request: &Request<'_>) -> Result<(), Failure> {
    let (args, db, key) = (call.args, call.session.db, call.ready_key);
    // A key that was named twice waits for the first id.
    let Some(index) = request.keys(args).position(|own| own == key) else { return request.wait(call, &[]) };
    let after = id(&args[request.id_index(index)])?;
    let stream = call.engine.keyspace.find(db, key).and_then(|entry| stream_of(entry).ok());
    let Some(stream) = stream.filter(|stream| stream.entries.last_id > after) else {
        return request.wait(call, &[]);
    };
    let from = after.next().unwrap_or(StreamId::MAX);
    let found = Found::Behind(from, stream.entries.count(from, StreamId::MAX, request.limit_waited()));
    write_head(&mut call.session.out, 1);
    write_stream(&mut call.session.out, &mut call.engine.keyspace, db, key, &found)
}

pub(super) fn xreadgroup(call: &mut Call<'_>) -> Result<(), Failure> {
    let request = Request::parse(call.args, true, call.engine.keyspace.now_ms())?;
    if call.resumed {
        return xreadgroup_ready(call, &request);
    }
    let after = positions(call, &request)?;
    let mut given = Vec::new();
    for (key, after) in request.keys(call.args).zip(&after) {
        if let Some(found) = give(call, &request, key, *after, request.limit())? {
            given.push((key, found));
        }
    }
    if given.is_empty() {
        return request.wait(call, &after);
    }
    let (out, keyspace) = (&mut call.session.out, &mut call.engine.keyspace);
    write_head(out, given.len());
    for (key, found) in given {
        write_stream(out, keyspace, call.session.db, key, &found)?;
    }
    Ok(())
}

/// One of the keys was written, or is gone, for which the client waits.
fn xreadgroup_ready(call: &mut Call<'_>, request: &Request<'_>) -> Result<(), Failure> {
    let (db, key) = (call.session.db, call.ready_key);
    let stream = call.engine.keyspace.find(db, key).and_then(|entry| stream_of(entry).ok());
    let Some(stream) = stream else {
        return Err(Failure::text("UNBLOCKED the stream key no longer exists"));
    };
    let Some(group) = request.group.and_then(|(name, _)| group(Some(stream), name)) else {
        return Err(Failure::text("NOGROUP the consumer group this client was blocked on no longer exists"));
    };
    if stream.entries.last_id <= group.last_id {
        return request.wait(call, &[]);
    }
    let found = give_anyway(call, request, key, NEW, request.limit_waited())?;
    write_head(&mut call.session.out, 1);
    write_stream(&mut call.session.out, &mut call.engine.keyspace, db, key, &found)
}

/// What a client gets of one stream.
enum Found {
    /// So many entries from this id on.
    Behind(StreamId, usize),
    /// Entries that it was given before, those that are deleted too.
    History(Vec<StreamId>),
}

/// Gives the consumer what it asks for, if there is something, or if it asks for its history.
fn give(
    call: &mut Call<'_>,
    request: &Request<'_>,
    key: &[u8],
    after: StreamId,
    limit: usize,
) -> Result<Option<Found>, Failure> {
    let stream = read(&mut call.engine.keyspace, call.session.db, key)?;
    let read = request.group.and_then(|(name, _)| group(stream, name)).map(|group| group.last_id);
    let last = stream.and_then(|stream| stream.entries.last());
    if after == NEW && last <= read {
        return Ok(None);
    }
    give_anyway(call, request, key, after, limit).map(Some)
}

/// Gives the consumer what it asks for, be it nothing.
fn give_anyway(
    call: &mut Call<'_>,
    request: &Request<'_>,
    key: &[u8],
    after: StreamId,
    limit: usize,
) -> Result<Found, Failure> {
    let nothing = Found::History(Vec::new());
    let Some((name, consumer)) = request.group else { return Ok(nothing) };
    let (db, keyspace) = (call.session.db, &mut call.engine.keyspace);
    let now_ms = keyspace.now_ms();
    let given = edit_groups(keyspace, db, key, |stream| {
        let Stream { entries, groups } = stream;
        let Some(group) = groups.get_mut(name) else { return (Ok((nothing, false)), 0) };
        let known = group.heard(consumer, now_ms);
        let reader = known.unwrap_or_else(|| group.add(consumer, now_ms));
        let found = if after == NEW {
            let from = group.last_id.next().unwrap_or(StreamId::MAX);
            let count = entries.count(from, StreamId::MAX, limit);
            for (id, _) in entries.range(from, StreamId::MAX).take(count) {
                group.read_up_to(id, entries);
                if !request.no_ack {
                    group.give(id, Delivery { consumer: reader, at_ms: now_ms, count: 1 });
                }
            }
            Found::Behind(from, count)
        } else {
            let from = after.next().unwrap_or(StreamId::MAX);
            let pending = group.consumer(reader).map(|consumer| consumer.pending().range(from..));
            let ids: Vec<StreamId> = pending.into_iter().flatten().take(limit).copied().collect();
            for id in ids.iter().filter(|id| entries.contains(**id)) {
                group.give_again(*id, now_ms);
            }
            Found::History(ids)
        };
        (Ok((found, known.is_none())), 1 + u64::from(known.is_none()))
    })?;
    let Some((found, is_new)) = given else { return Ok(Found::History(Vec::new())) };
    if is_new {
        keyspace.notify(Class::STREAM, "xgroup-createconsumer", db, key);
    }
    Ok(found)
}

fn write_head(out: &mut Replies, streams: usize) {
    if out.is_resp3() { out.map(streams) } else { out.array(streams) }
}

fn write_stream(
    out: &mut Replies,
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    found: &Found,
) -> Result<(), Failure> {
    if !out.is_resp3() {
        out.array(2);
    }
    out.bulk(key);
    let Some(stream) = keyspace.find(db, key).map(stream_of).transpose()? else {
        out.array(0);
        return Ok(());
    };
    match found {
        Found::Behind(from, count) => {
            write_entries(out, *count, stream.entries.range(*from, StreamId::MAX));
        }
        Found::History(ids) => {
            out.array(ids.len());
            for id in ids {
                match stream.entries.get(*id) {
                    Some(fields) => write_entry(out, *id, fields),
                    None => {
                        out.array(2);
                        write_id(out, *id);
                        out.null_array();
                    }
                }
            }
        }
    }
    Ok(())
}
