//! Hot path
//!
//! Sets.

mod algebra;

use super::scan::{self, Scan};
use super::{Call, Command, DENYOOM, FAST, Failure, MOVABLE_KEYS, READONLY, WRITE, integer};
use crate::store::entry::{Content, Entry, View};
use crate::store::keyspace::Keyspace;
use crate::store::notify::Class;
use crate::store::random::{self, Random};
use crate::store::reply::Replies;
use crate::store::set::{Member, Set};
use crate::store::value::Object;

const ONE: (i16, i16, i16) = (1, 1, 1);
const ALL: (i16, i16, i16) = (1, -1, 1);
const NONE: (i16, i16, i16) = (0, 0, 0);
const W: u32 = WRITE | DENYOOM;
const WF: u32 = WRITE | FAST;
const R: u32 = READONLY;
const RF: u32 = READONLY | FAST;
const RM: u32 = READONLY | MOVABLE_KEYS;
const G: &str = "set";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("sadd", -3, W | FAST, ONE, G, "Adds members to a set", sadd),
    Command::new("srem", -3, WF, ONE, G, "Removes members of a set", srem),
    Command::new("sismember", 3, RF, ONE, G, "Tells whether a member is in a set", sismember),
    Command::new("smismember", -3, RF, ONE, G, "Tells of each member whether it is in a set", smismember),
    Command::new("scard", 2, RF, ONE, G, "Returns the number of members", scard),
    Command::new("smembers", 2, R, ONE, G, "Returns all members of a set", smembers),
    Command::new("spop", -2, WF, ONE, G, "Takes random members out of a set", spop),
    Command::new("srandmember", -2, R, ONE, G, "Returns random members of a set", srandmember),
    Command::new("smove", 4, WF, (1, 2, 1), G, "Moves a member from one set to another", smove),
    Command::new("sscan", -3, R, ONE, G, "Walks over the members step by step", sscan),
    Command::new("sinter", -2, R, ALL, G, "Returns what several sets have in common", algebra::sinter),
    Command::new(
        "sinterstore",
        -3,
        W,
        ALL,
        G,
        "Keeps what several sets have in common",
        algebra::sinterstore,
    ),
    Command::new(
        "sintercard",
        -3,
        RM,
        NONE,
        G,
        "Counts what several sets have in common",
        algebra::sintercard,
    ),
    Command::new("sunion", -2, R, ALL, G, "Returns the members of several sets", algebra::sunion),
    Command::new("sunionstore", -3, W, ALL, G, "Keeps the members of several sets", algebra::sunionstore),
    Command::new("sdiff", -2, R, ALL, G, "Returns what only the first set has", algebra::sdiff),
    Command::new("sdiffstore", -3, W, ALL, G, "Keeps what only the first set has", algebra::sdiffstore),
];

/// The set in an entry.
#[inline]
fn set_of(entry: &Entry) -> Result<&Set, Failure> {
    match entry.view() {
        View::Object(Object::Set(set)) => Ok(set),
        _ => Err(Failure::WRONG_TYPE),
    }
}

/// The set in an entry, to change it.
#[inline]
fn set_in(entry: &mut Entry) -> Result<&mut Set, Failure> {
    match entry.object_mut() {
        Some(Object::Set(set)) => Ok(set),
        _ => Err(Failure::WRONG_TYPE),
    }
}

/// The content of a key that begins as an empty set.
fn new_set() -> Content<'static> {
    Content::Object(Box::new(Object::Set(Set::default())))
}

/// The set of the call's key; `None` when there is no such key.
#[inline]
fn read<'c>(call: &'c mut Call<'_>) -> Result<(Option<&'c Set>, &'c mut Replies), Failure> {
    let args = call.args;
    let set = call.engine.keyspace.read(call.session.db, &args[1]).map(set_of).transpose()?;
    Ok((set, &mut call.session.out))
}

/// Adds members to a set, which may be a new one; how many are new.
#[inline]
fn add<'m>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    members: impl Iterator<Item = &'m [u8]>,
) -> Result<usize, Failure> {
    let limits = keyspace.encodings;
    let added = keyspace.edit_or_insert(db, key, new_set, |entry| match set_in(entry) {
        Ok(set) => {
            let added = members.filter(|member| set.add(member, &limits)).count();
            (Ok(added), added as u64)
        }
        Err(failure) => (Err(failure), 0),
    })?;
    if added > 0 {
        keyspace.notify(Class::SET, "sadd", db, key);
    }
    Ok(added)
}

/// Members that have left a set.
struct Left<T> {
    result: T,
    /// How many.
    count: usize,
    /// None is left.
    empty: bool,
}

/// Lets `take` take members out of a set and notifies of `event`; a set that becomes empty goes away
/// with its key. `None` when there is no such key.
#[inline]
fn shrink<T>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    event: &'static str,
    take: impl FnOnce(&mut Set) -> (T, usize),
) -> Result<Option<T>, Failure> {
    let left = keyspace.edit(db, key, |entry| match set_in(entry) {
        Ok(set) => {
            let (result, count) = take(set);
            let empty = set.is_empty();
            // Removing the key will be one of the changes.
            (Ok(Left { result, count, empty }), (count - usize::from(empty)) as u64)
        }
        Err(failure) => (Err(failure), 0),
    });
    let Some(left) = left.transpose()? else { return Ok(None) };
    if left.count > 0 {
        keyspace.notify(Class::SET, event, db, key);
    }
    if left.empty {
        keyspace.remove(db, key);
        keyspace.notify(Class::GENERIC, "del", db, key);
    }
    Ok(Some(left.result))
}

/// Removes members of a set; how many were there.
fn remove<'m>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    members: impl Iterator<Item = &'m [u8]>,
) -> Result<usize, Failure> {
    let removed = shrink(keyspace, db, key, "srem", |set| {
        let removed = members.filter(|member| set.remove(member)).count();
        (removed, removed)
    })?;
    Ok(removed.unwrap_or(0))
}

fn sadd(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let added = add(&mut call.engine.keyspace, call.session.db, &args[1], args.from(2).iter())?;
    call.session.out.count(added);
    Ok(())
}

fn srem(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let removed = remove(&mut call.engine.keyspace, call.session.db, &args[1], args.from(2).iter())?;
    call.session.out.count(removed);
    Ok(())
}

fn sismember(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (set, out) = read(call)?;
    out.integer(i64::from(set.is_some_and(|set| set.contains(&args[2]))));
    Ok(())
}

fn smismember(call: &mut Call<'_>) -> Result<(), Failure> {
    let members = call.args.from(2);
    let (set, out) = read(call)?;
    out.array(members.len());
    for member in members.iter() {
        out.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(call: &mut Call<'_>) -> Result<(), Failure> {
    let (set, out) = read(call)?;
    out.count(set.map_or(0, Set::len));
    Ok(())
}

fn smembers(call: &mut Call<'_>) -> Result<(), Failure> {
    let (set, out) = read(call)?;
    out.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| member.reply(out));
    Ok(())
}

fn spop(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let mut random = Random::new(call.engine.random());
    let (keyspace, out) = (&mut call.engine.keyspace, &mut call.session.out);
    match args.len() {
        2 => {
            let popped = shrink(keyspace, db, &args[1], "spop", |set| {
                let taken = set.take(&mut random);
                if let Some(taken) = &taken {
                    taken.member().reply(out);
                }
                ((), usize::from(taken.is_some()))
            })?;
            if popped.is_none() {
                out.null();
            }
        }
        3 => {
            let count = integer(&args[2]).ok().and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or(Failure::text("ERR value is out of range, must be positive"))?;
            let popped = shrink(keyspace, db, &args[1], "spop", |set| {
                let taken = count.min(set.len());
                out.set(taken);
                set.take_some(taken, &mut random, |member| member.reply(out));
                ((), taken)
            })?;
            if popped.is_none() {
                out.set(0);
            }
        }
        _ => return Err(Failure::SYNTAX),
    }
    Ok(())
}

/// The count of SRANDMEMBER and HRANDFIELD: how many, and whether one may come more than once.
pub(super) fn random_count(text: &[u8]) -> Result<(usize, bool), Failure> {
    let count = integer(text)?;
    if count == i64::MIN {
        return Err(Failure::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    Ok((usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), count < 0))
}

fn srandmember(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let mut random = Random::new(call.engine.random());
    match args.len() {
        2 => {
            let (set, out) = read(call)?;
            match set.and_then(|set| set.pick(&mut random)) {
                Some(member) => member.reply(out),
                None => out.null(),
            }
        }
        3 => {
            let (count, repeated) = random_count(&args[2])?;
            let (set, out) = read(call)?;
            match set {
                Some(set) if repeated => repeated_members(set, count, &mut random, out),
                Some(set) => {
                    let found = some_members(set, count, &mut random);
                    out.array(found.len());
                    found.into_iter().for_each(|member| member.reply(out));
                }
                None => out.array(0),
            }
        }
        _ => return Err(Failure::SYNTAX),
    }
    Ok(())
}

fn some_members<'s>(set: &'s Set, count: usize, random: &mut Random) -> Vec<Member<'s>> {
    random::distinct(random, (set.len(), count), set.iter(), |random| set.pick(random))
}

fn repeated_members(set: &Set, count: usize, random: &mut Random, out: &mut Replies) {
    out.array(count);
    for _ in 0..count {
        // Far more than a client may ask for: it will be disconnected.
        if out.overflowed() {
            break;
        }
        if let Some(member) = set.pick(random) {
            member.reply(out);
        }
    }
}

fn smove(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let (source, target, member) = (&args[1], &args[2], &args[3]);
    let keyspace = &mut call.engine.keyspace;
    let held = keyspace.find(db, source).map(set_of);
    let moved = match held {
        None => false,
        Some(set) => {
            let held = set?.contains(member);
            keyspace.find(db, target).map(set_of).transpose()?;
            if held && source != target {
                remove(keyspace, db, source, std::iter::once(member))?;
                add(keyspace, db, target, std::iter::once(member))?;
            }
            held
        }
    };
    call.session.out.integer(i64::from(moved));
    Ok(())
}

fn sscan(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let cursor = scan::cursor(&args[2])?;
    let (set, out) = read(call)?;
    let Some(set) = set else {
        out.raw(scan::NOTHING);
        return Ok(());
    };
    let scan = Scan::parse(cursor, args.from(3), false)?;
    let mut found = Vec::new();
    let next = set.scan(scan.cursor, scan.count, |member| {
        if member.with(|text| scan.wants(text)) {
            found.push(member);
        }
    });
    out.array(2);
    out.text(itoa::Buffer::new().format(next));
    out.array(found.len());
    found.into_iter().for_each(|member| member.reply(out));
    Ok(())
}
