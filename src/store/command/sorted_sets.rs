//! Sorted sets.

use super::scan::{self, Scan};
use super::{
    BLOCKING, Call, Command, DENYOOM, FAST, Failure, MOVABLE_KEYS, NOSCRIPT, READONLY, WRITE, integer,
};
use crate::store::entry::{Content, Entry, View};
use crate::store::keyspace::Expiry;
use crate::store::notify::Class;
use crate::store::number::{format_double, parse_double};
use crate::store::reply::Replies;
use crate::store::sorted_set::{Item, SortedSet};
use crate::store::value::Object;

mod add;
mod algebra;
mod pop;
mod random;
mod range;

const ONE: (i16, i16, i16) = (1, 1, 1);
const NO_KEYS: (i16, i16, i16) = (0, 0, 0);
const WF: u32 = WRITE | FAST;
const RF: u32 = READONLY | FAST;
const R: u32 = READONLY;
const MOVABLE: u32 = READONLY | MOVABLE_KEYS;
const STORE: u32 = WRITE | DENYOOM | MOVABLE_KEYS;
const WAITING: u32 = WF | NOSCRIPT | BLOCKING;
const G: &str = "sorted-set";

/// The rows of this family.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("zadd", -4, WF | DENYOOM, ONE, G, "Adds members, or changes their scores", add::zadd),
    Command::new("zincrby", 4, WF | DENYOOM, ONE, G, "Adds to the score of a member", add::zincrby),
    Command::new("zrem", -3, WF, ONE, G, "Removes members", zrem),
    Command::new("zcard", 2, RF, ONE, G, "Returns the number of members", zcard),
    Command::new("zscore", 3, RF, ONE, G, "Returns the score of a member", zscore),
    Command::new("zmscore", -3, RF, ONE, G, "Returns the scores of several members", zmscore),
    Command::new("zrank", 3, RF, ONE, G, "Returns how many members stand before one", zrank),
    Command::new("zrevrank", 3, RF, ONE, G, "Returns how many members stand behind one", zrevrank),
    Command::new("zcount", 4, RF, ONE, G, "Counts the members in a range of scores", range::zcount),
    Command::new("zlexcount", 4, RF, ONE, G, "Counts the members in a range of members", range::zlexcount),
    Command::new("zrange", -4, R, ONE, G, "Returns a range of members", range::zrange),
    Command::new("zrangestore", -5, WRITE | DENYOOM, (1, 2, 1), G, "Stores a range of members", range::zrangestore),
    Command::new("zrevrange", -4, R, ONE, G, "Returns a range of ranks backwards", range::zrevrange),
    Command::new("zrangebyscore", -4, R, ONE, G, "Returns a range of scores", range::zrangebyscore),
    Command::new("zrevrangebyscore", -4, R, ONE, G, "Returns a range of scores backwards", range::zrevrangebyscore),
    Command::new("zrangebylex", -4, R, ONE, G, "Returns a range of members in their order", range::zrangebylex),
    Command::new("zrevrangebylex", -4, R, ONE, G, "Returns a range of members backwards", range::zrevrangebylex),
    Command::new("zremrangebyrank", 4, WRITE, ONE, G, "Removes a range of ranks", range::zremrangebyrank),
    Command::new("zremrangebyscore", 4, WRITE, ONE, G, "Removes a range of scores", range::zremrangebyscore),
    Command::new("zremrangebylex", 4, WRITE, ONE, G, "Removes a range of members", range::zremrangebylex),
    Command::new("zpopmin", -2, WF, ONE, G, "Removes and returns the first members", pop::zpopmin),
    Command::new("zpopmax", -2, WF, ONE, G, "Removes and returns the last members", pop::zpopmax),
    Command::new("bzpopmin", -3, WAITING, (1, -2, 1), G, "Waits for a first member, and removes it", pop::bzpopmin),
    Command::new("bzpopmax", -3, WAITING, (1, -2, 1), G, "Waits for a last member, and removes it", pop::bzpopmax),
    Command::new("zmpop", -4, WRITE | MOVABLE_KEYS, NO_KEYS, G, "Removes members of the first key that has some", pop::zmpop),
    Command::new("bzmpop", -5, WRITE | BLOCKING | MOVABLE_KEYS, NO_KEYS, G, "Waits for members of one of several keys", pop::bzmpop),
    Command::new("zrandmember", -2, R, ONE, G, "Returns members chosen at random", random::zrandmember),
    Command::new("zunion", -3, MOVABLE, NO_KEYS, G, "Returns the members that any key has", algebra::zunion),
    Command::new("zinter", -3, MOVABLE, NO_KEYS, G, "Returns the members that all keys have", algebra::zinter),
    Command::new("zdiff", -3, MOVABLE, NO_KEYS, G, "Returns the members that only the first key has", algebra::zdiff),
    Command::new("zunionstore", -4, STORE, ONE, G, "Stores the members that any key has", algebra::zunionstore),
    Command::new("zinterstore", -4, STORE, ONE, G, "Stores the members that all keys have", algebra::zinterstore),
    Command::new("zdiffstore", -4, STORE, ONE, G, "Stores the members that only the first key has", algebra::zdiffstore),
    Command::new("zintercard", -3, MOVABLE, NO_KEYS, G, "Counts the members that all keys have", algebra::zintercard),
    Command::new("zscan", -3, R, ONE, G, "Walks over the members step by step", zscan),
];

const NOT_FLOAT: Failure = Failure::text("ERR value is not a valid float");

fn set_of(entry: &Entry) -> Result<&SortedSet, Failure> {
    match entry.view() {
        View::Object(Object::SortedSet(set)) => Ok(set),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn set_mut(entry: &mut Entry) -> Result<&mut SortedSet, Failure> {
    match entry.object_mut() {
        Some(Object::SortedSet(set)) => Ok(set),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn content(set: SortedSet) -> Content<'static> {
    Content::Object(Box::new(Object::SortedSet(set)))
}

/// The sorted set of a key; `None` when there is no such key.
fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<(Option<&'c SortedSet>, &'c mut Replies), Failure> {
    let found = call.engine.keyspace.read(call.session.db, key);
    Ok((found.map(set_of).transpose()?, &mut call.session.out))
}

/// An argument that must be a number from `min` on, with the text of what is said otherwise.
fn at_least(min: i64, text: &[u8], otherwise: &'static str) -> Result<i64, Failure> {
    integer(text).ok().filter(|number| *number >= min).ok_or(Failure::text(otherwise))
}

/// The start of `len` members: in RESP2 scores stand beside them, in RESP3 each has an array of its own.
fn begin_members(out: &mut Replies, len: usize, with_scores: bool) {
    out.array(if with_scores && !out.is_resp3() { len.saturating_mul(2) } else { len });
}

fn member(out: &mut Replies, item: Item<'_>, with_scores: bool) {
    if with_scores && out.is_resp3() {
        out.array(2);
    }
    out.bulk(item.member);
    if with_scores {
        out.double(item.score);
    }
}

/// Changes the sorted set of a key. When `edit`, which counts what it removes, leaves nothing, the key is
/// removed too. Tells of both. How many were removed; 0 when there is no such key.
fn remove_members(
    call: &mut Call<'_>,
    key: &[u8],
    event: &'static str,
    edit: impl FnOnce(&mut SortedSet, &mut Replies) -> usize,
) -> Result<usize, Failure> {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let out = &mut call.session.out;
    let outcome = keyspace.edit(db, key, |entry| match set_mut(entry) {
        Ok(set) => {
            let removed = edit(set, out);
            (Ok((removed, set.is_empty())), removed as u64)
        }
        Err(failure) => (Err(failure), 0),
    });
    let (removed, empty) = outcome.unwrap_or(Ok((0, false)))?;
    if removed > 0 {
        keyspace.notify(Class::SORTED_SET, event, db, key);
    }
    if empty {
        keyspace.remove(db, key);
        keyspace.notify(Class::GENERIC, "del", db, key);
    }
    Ok(removed)
}

/// Sets a key to a sorted set, or removes it when that is empty; the reply is the number of members.
fn store(call: &mut Call<'_>, key: &[u8], set: SortedSet, event: &'static str) {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let len = set.len();
    if len > 0 {
        keyspace.put(db, key, content(set), Expiry::Clear);
        keyspace.notify(Class::SORTED_SET, event, db, key);
    } else if keyspace.remove(db, key).is_some() {
        keyspace.notify(Class::GENERIC, "del", db, key);
    }
    call.session.out.count(len);
}

fn zrem(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let removed = remove_members(call, &args[1], "zrem", |set, _| {
        args.from(2).iter().filter(|member| set.remove(member).is_some()).count()
    })?;
    call.session.out.count(removed);
    Ok(())
}

fn zcard(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (set, out) = read(call, &args[1])?;
    out.count(set.map_or(0, SortedSet::len));
    Ok(())
}

fn score_reply(out: &mut Replies, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

fn zscore(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (set, out) = read(call, &args[1])?;
    score_reply(out, set.and_then(|set| set.score(&args[2])));
    Ok(())
}

fn zmscore(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let members = args.from(2);
    let (set, out) = read(call, &args[1])?;
    out.array(members.len());
    members.iter().for_each(|member| score_reply(out, set.and_then(|set| set.score(member))));
    Ok(())
}

fn rank(call: &mut Call<'_>, reverse: bool) -> Result<(), Failure> {
    let args = call.args;
    let (set, out) = read(call, &args[1])?;
    match set.and_then(|set| Some((set.rank(&args[2])?.0, set.len()))) {
        Some((rank, len)) => out.count(if reverse { len - 1 - rank } else { rank }),
        None => out.null(),
    }
    Ok(())
}

fn zrank(call: &mut Call<'_>) -> Result<(), Failure> {
    rank(call, false)
}

fn zrevrank(call: &mut Call<'_>) -> Result<(), Failure> {
    rank(call, true)
}

fn zscan(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let cursor = scan::cursor(&args[2])?;
    let (set, out) = read(call, &args[1])?;
    let Some(set) = set else {
        out.raw(b"*2\r\n$1\r\n0\r\n*0\r\n");
        return Ok(());
    };
    let scan = Scan::parse(cursor, args.from(3), false)?;
    let mut found = Vec::new();
    let next = set.scan(scan.cursor, scan.count, |item| {
        if scan.wants(item.member) {
            found.push(item);
        }
    });
    out.array(2);
    out.text(itoa::Buffer::new().format(next));
    out.array(found.len() * 2);
    let (mut score, packed) = (Vec::new(), set.is_packed());
    for item in found {
        score.clear();
        scanned_score(item.score, packed, &mut score);
        out.bulk(item.member);
        out.bulk(&score);
    }
    Ok(())
}

/// A score as ZSCAN shows it: in the small form, Redis keeps whole numbers up to 2^62 as integers.
fn scanned_score(score: f64, packed: bool, out: &mut Vec<u8>) {
    const LARGEST: f64 = (1i64 << 62) as f64;
    if packed && score.abs() <= LARGEST && score.trunc() == score {
        out.extend_from_slice(itoa::Buffer::new().format(score as i64).as_bytes());
    } else {
        format_double(score, out);
    }
}
