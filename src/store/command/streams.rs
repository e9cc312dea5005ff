//! Streams.

mod add;
mod claim;
mod groups;
mod info;
mod range;
mod read;

use super::{
    BLOCKING, Call, Command, DENYOOM, FAST, Failure, LOADING, MOVABLE_KEYS, READONLY, STALE, WRITE, shown,
};
use crate::store::entry::{Entry, View};
use crate::store::keyspace::Keyspace;
use crate::store::reply::Replies;
use crate::store::stream::Stream;
use crate::store::stream::groups::Group;
use crate::store::stream::ids::StreamId;
use crate::store::stream::node::Fields;
use crate::store::value::Object;

const ONE: (i16, i16, i16) = (1, 1, 1);
const TWO: (i16, i16, i16) = (2, 2, 1);
const NONE: (i16, i16, i16) = (0, 0, 0);
const WD: u32 = WRITE | DENYOOM;
const WF: u32 = WRITE | FAST;
const HELP: u32 = LOADING | STALE;
const MB: u32 = MOVABLE_KEYS | BLOCKING;
const G: &str = "stream";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("xadd", -5, WD | FAST, ONE, G, "Appends an entry to a stream", add::xadd),
    Command::new("xtrim", -4, WRITE, ONE, G, "Shortens a stream", add::xtrim),
    Command::new("xdel", -3, WF, ONE, G, "Removes entries", add::xdel),
    Command::new("xsetid", -3, WD | FAST, ONE, G, "Sets the last id of a stream", add::xsetid),
    Command::new("xlen", 2, READONLY | FAST, ONE, G, "Returns the number of entries", range::xlen),
    Command::new("xrange", -4, READONLY, ONE, G, "Returns the entries between two ids", range::xrange),
    Command::new("xrevrange", -4, READONLY, ONE, G, "The same from the last to the first", range::xrevrange),
    Command::new(
        "xread",
        -4,
        READONLY | MB,
        NONE,
        G,
        "Returns or awaits entries behind given ids",
        read::xread,
    ),
    Command::new(
        "xreadgroup",
        -7,
        WRITE | MB,
        NONE,
        G,
        "Takes or awaits entries for a consumer",
        read::xreadgroup,
    ),
    Command::new("xack", -4, WF, ONE, G, "Acknowledges entries", groups::xack),
    Command::new("xpending", -3, READONLY, ONE, G, "Returns what is not acknowledged", claim::xpending),
    Command::new("xclaim", -6, WF, ONE, G, "Gives pending entries to a consumer", claim::xclaim),
    Command::new(
        "xautoclaim",
        -6,
        WF,
        ONE,
        G,
        "Gives entries pending too long to a consumer",
        claim::xautoclaim,
    ),
    Command::container("xgroup", G, "Makes and changes consumer groups", XGROUP),
    Command::container("xinfo", G, "Looks into streams", XINFO),
];

const XGROUP: &[Command] = &[
    Command::new("xgroup|create", -5, WD, TWO, G, "Makes a group", groups::create),
    Command::new(
        "xgroup|createconsumer",
        5,
        WD,
        TWO,
        G,
        "Adds a consumer to a group",
        groups::create_consumer,
    ),
    Command::new("xgroup|delconsumer", 5, WRITE, TWO, G, "Removes a consumer", groups::delete_consumer),
    Command::new("xgroup|destroy", 4, WRITE, TWO, G, "Removes a group", groups::destroy),
    Command::new("xgroup|help", 2, HELP, NONE, G, "Tells what there is", groups::help),
    Command::new("xgroup|setid", -5, WRITE, TWO, G, "Sets what a group has read", groups::set_id),
];

const XINFO: &[Command] = &[
    Command::new("xinfo|consumers", 4, READONLY, TWO, G, "Lists the consumers of a group", info::consumers),
    Command::new("xinfo|groups", 3, READONLY, TWO, G, "Lists the groups of a stream", info::groups),
    Command::new("xinfo|help", 2, HELP, NONE, G, "Tells what there is", info::help),
    Command::new("xinfo|stream", -3, READONLY, TWO, G, "Describes a stream", info::stream),
];

const INVALID_ID: Failure = Failure::text("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: Failure = Failure::text("ERR invalid start ID for the interval");
const INVALID_END: Failure = Failure::text("ERR invalid end ID for the interval");

fn stream_of(entry: &Entry) -> Result<&Stream, Failure> {
    match entry.view() {
        View::Object(Object::Stream(stream)) => Ok(stream),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn stream_mut(entry: &mut Entry) -> Result<&mut Stream, Failure> {
    match entry.object_mut() {
        Some(Object::Stream(stream)) => Ok(stream),
        _ => Err(Failure::WRONG_TYPE),
    }
}

/// Reads a stream, and counts the read.
fn read<'k>(keyspace: &'k mut Keyspace, db: usize, key: &[u8]) -> Result<Option<&'k Stream>, Failure> {
    keyspace.read(db, key).map(stream_of).transpose()
}

/// Changes what groups know of a stream that is there. Nobody who watches the key or waits for it is told,
/// as in Redis; `changes` are counted.
fn edit_groups<R>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    edit: impl FnOnce(&mut Stream) -> (Result<R, Failure>, u64),
) -> Result<Option<R>, Failure> {
    let edit = |entry: &mut Entry| match stream_mut(entry) {
        Ok(stream) => edit(stream),
        Err(failure) => (Err(failure), 0),
    };
    keyspace.edit_unseen(db, key, edit).transpose()
}

/// An id: `ms-seq`, or `ms` for `ms-0`.
fn id(text: &[u8]) -> Result<StreamId, Failure> {
    StreamId::parse(text, 0).ok_or(INVALID_ID)
}

/// Where an interval begins: an id, `-`, or `(` and an id for "behind this one".
fn start(text: &[u8]) -> Result<StreamId, Failure> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => id(rest)?.next().ok_or(INVALID_START),
        _ => StreamId::parse_or_end(text, 0).ok_or(INVALID_ID),
    }
}

/// Where an interval ends: an id, `+`, or `(` and an id for "before this one".
fn end(text: &[u8]) -> Result<StreamId, Failure> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            StreamId::parse(rest, u64::MAX).ok_or(INVALID_ID)?.previous().ok_or(INVALID_END)
        }
        _ => StreamId::parse_or_end(text, u64::MAX).ok_or(INVALID_ID),
    }
}

/// The group of that name.
fn group<'s>(stream: Option<&'s Stream>, name: &[u8]) -> Option<&'s Group> {
    stream?.groups.get(name)
}

/// Neither the key nor the group is sure to be there.
fn no_group(key: &[u8], group: &[u8]) -> Failure {
    let (key, group) = (shown(key, usize::MAX), shown(group, usize::MAX));
    Failure(format!("NOGROUP No such key '{key}' or consumer group '{group}'").into())
}

/// The key is there, the group is not.
fn no_group_in(key: &[u8], group: &[u8]) -> Failure {
    let (key, group) = (shown(key, usize::MAX), shown(group, usize::MAX));
    Failure(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}

fn write_id(out: &mut Replies, id: StreamId) {
    out.bulk(id.write(&mut [0; StreamId::TEXT]));
}

fn write_entry(out: &mut Replies, id: StreamId, fields: Fields<'_>) {
    out.array(2);
    write_id(out, id);
    out.array(fields.len() * 2);
    for (field, value) in fields {
        out.bulk(field);
        out.bulk(value);
    }
}

/// Writes `count` entries, which must be as many.
fn write_entries<'s>(out: &mut Replies, count: usize, entries: impl Iterator<Item = (StreamId, Fields<'s>)>) {
    out.array(count);
    for (id, fields) in entries.take(count) {
        if out.overflowed() {
            return;
        }
        write_entry(out, id, fields);
    }
}

fn write_help(call: &mut Call<'_>, lines: &[&str]) -> Result<(), Failure> {
    call.session.out.array(lines.len());
    lines.iter().for_each(|line| call.session.out.simple(line));
    Ok(())
}
