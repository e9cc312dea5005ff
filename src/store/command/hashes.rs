//! Hashes.

mod random;

use super::scan::{self, Scan};
use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE, integer};
use crate::store::entry::Entry;
use crate::store::hash::{self, Hash};
use crate::store::keyspace::Expiry;
use crate::store::long_double::{self, LongDouble};
use crate::store::notify::Class;
use crate::store::reply::Replies;
use crate::wire::resp::parse_integer;

const ONE: (i16, i16, i16) = (1, 1, 1);
const WF: u32 = WRITE | DENYOOM | FAST;
const RF: u32 = READONLY | FAST;
const G: &str = "hash";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("hset", -4, WF, ONE, G, "Sets fields of a hash", hset),
    Command::new("hmset", -4, WF, ONE, G, "Sets fields of a hash", hmset),
    Command::new("hsetnx", 4, WF, ONE, G, "Sets a field that does not exist", hsetnx),
    Command::new("hget", 3, RF, ONE, G, "Returns the value of a field", hget),
    Command::new("hmget", -3, RF, ONE, G, "Returns the values of several fields", hmget),
    Command::new("hgetall", 2, READONLY, ONE, G, "Returns all fields and values", hgetall),
    Command::new("hkeys", 2, READONLY, ONE, G, "Returns all fields", hkeys),
    Command::new("hvals", 2, READONLY, ONE, G, "Returns all values", hvals),
    Command::new("hexists", 3, RF, ONE, G, "Tells whether a field exists", hexists),
    Command::new("hdel", -3, WRITE | FAST, ONE, G, "Removes fields", hdel),
    Command::new("hlen", 2, RF, ONE, G, "Returns the number of fields", hlen),
    Command::new("hstrlen", 3, RF, ONE, G, "Returns the length of a field's value", hstrlen),
    Command::new("hincrby", 4, WF, ONE, G, "Adds to the integer in a field", hincrby),
    Command::new("hincrbyfloat", 4, WF, ONE, G, "Adds to the number in a field", hincrbyfloat),
    Command::new("hrandfield", -2, READONLY, ONE, G, "Returns random fields", random::hrandfield),
    Command::new("hscan", -3, READONLY, ONE, G, "Walks over the fields step by step", hscan),
];

/// The hash in an entry.
fn hash_of(entry: &Entry) -> Result<Hash<'_>, Failure> {
    Hash::of(entry).ok_or(Failure::WRONG_TYPE)
}

/// The hash of the call's key; `None` when there is no such key.
fn read<'c>(call: &'c mut Call<'_>) -> Result<(Option<Hash<'c>>, &'c mut Replies), Failure> {
    let args = call.args;
    let hash = call.engine.keyspace.read(call.session.db, &args[1]).map(hash_of).transpose()?;
    Ok((hash, &mut call.session.out))
}

/// The value of a field that a command is about to change.
fn old_value<'c>(call: &'c mut Call<'_>, field: &[u8]) -> Result<Option<&'c [u8]>, Failure> {
    let args = call.args;
    let hash = call.engine.keyspace.find(call.session.db, &args[1]).map(hash_of).transpose()?;
    Ok(hash.and_then(|hash| hash.get(field)))
}

/// Sets fields and notifies of `event`; how many fields are new.
fn set_pairs<'a>(
    call: &mut Call<'_>,
    pairs: impl ExactSizeIterator<Item = hash::Pair<'a>> + Clone,
    event: &'static str,
) -> Result<usize, Failure> {
    let (args, db) = (call.args, call.session.db);
    let engine = &mut *call.engine;
    let limits = engine.keyspace.encodings;
    let edited = engine.keyspace.edit(db, &args[1], |entry| {
        if let Err(failure) = hash_of(entry) {
            return (Err(failure), 0);
        }
        let changes = pairs.len() as u64;
        let added = pairs.clone().filter(|(field, value)| hash::set(entry, field, value, &limits)).count();
        (Ok(added), changes)
    });
    let added = match edited {
        Some(added) => added?,
        None => {
            let changes = pairs.len() as u64;
            let (content, len) = hash::build(pairs, &mut engine.scratch, &limits);
            engine.keyspace.put(db, &args[1], content, Expiry::Clear);
            engine.keyspace.count_changes(changes - 1);
            len
        }
    };
    engine.keyspace.notify(Class::HASH, event, db, &args[1]);
    Ok(added)
}

/// The fields and values of HSET and HMSET, set.
fn set_all(call: &mut Call<'_>) -> Result<usize, Failure> {
    let pairs = call.args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::arity(call.command.name));
    }
    set_pairs(call, pairs.pairs(), "hset")
}

fn hset(call: &mut Call<'_>) -> Result<(), Failure> {
    let added = set_all(call)?;
    call.session.out.count(added);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Result<(), Failure> {
    set_all(call)?;
    call.session.out.ok();
    Ok(())
}

fn hsetnx(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let exists = old_value(call, &args[2])?.is_some();
    if !exists {
        set_all(call)?;
    }
    call.session.out.integer(i64::from(!exists));
    Ok(())
}

fn hget(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (hash, out) = read(call)?;
    out.optional(hash.and_then(|hash| hash.get(&args[2])));
    Ok(())
}

fn hmget(call: &mut Call<'_>) -> Result<(), Failure> {
    let fields = call.args.from(2);
    let (hash, out) = read(call)?;
    out.array(fields.len());
    fields.iter().for_each(|field| out.optional(hash.and_then(|hash| hash.get(field))));
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Result<(), Failure> {
    let (hash, out) = read(call)?;
    out.map(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|(field, value)| {
            out.bulk(field);
            out.bulk(value);
        });
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_>) -> Result<(), Failure> {
    let (hash, out) = read(call)?;
    out.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|(field, _)| out.bulk(field));
    }
    Ok(())
}

fn hvals(call: &mut Call<'_>) -> Result<(), Failure> {
    let (hash, out) = read(call)?;
    out.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|(_, value)| out.bulk(value));
    }
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (hash, out) = read(call)?;
    out.integer(i64::from(hash.is_some_and(|hash| hash.get(&args[2]).is_some())));
    Ok(())
}

fn hlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let (hash, out) = read(call)?;
    out.count(hash.map_or(0, Hash::len));
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (hash, out) = read(call)?;
    out.count(hash.and_then(|hash| hash.get(&args[2])).map_or(0, <[u8]>::len));
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let outcome = keyspace.edit(db, &args[1], |entry| {
        if let Err(failure) = hash_of(entry) {
            return (Err(failure), 0);
        }
        let removed = args.from(2).iter().filter(|field| hash::remove(entry, field)).count();
        let empty = removed > 0 && Hash::of(entry).is_some_and(|hash| hash.len() == 0);
        // Removing the key will be one of the changes.
        (Ok((removed, empty)), (removed - usize::from(empty)) as u64)
    });
    let (removed, empty) = outcome.unwrap_or(Ok((0, false)))?;
    if removed > 0 {
        keyspace.notify(Class::HASH, "hdel", db, &args[1]);
    }
    if empty {
        keyspace.remove(db, &args[1]);
        keyspace.notify(Class::GENERIC, "del", db, &args[1]);
    }
    call.session.out.count(removed);
    Ok(())
}

fn hincrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let by = integer(&args[3])?;
    let old = match old_value(call, &args[2])? {
        Some(text) => parse_integer(text).ok_or(Failure::text("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Failure::OVERFLOW)?;
    let mut digits = itoa::Buffer::new();
    let text = digits.format(new).as_bytes();
    set_pairs(call, std::iter::once((&args[2], text)), "hincrby")?;
    call.session.out.integer(new);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let by = long_double::parse(&args[3]).ok_or(Failure::text("ERR value is not a valid float"))?;
    if by.is_infinite() {
        return Err(Failure::text("ERR value is NaN or Infinity"));
    }
    let old = match old_value(call, &args[2])? {
        Some(text) => long_double::parse(text).ok_or(Failure::text("ERR hash value is not a float"))?,
        None => LongDouble::from_integer(0),
    };
    let new = long_double::add(old, by);
    let new = new.ok_or(Failure::text("ERR increment would produce NaN or Infinity"))?;
    let text = long_double::format(new);
    set_pairs(call, std::iter::once((&args[2], text.as_bytes())), "hincrbyfloat")?;
    call.session.out.text(&text);
    Ok(())
}

fn hscan(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let cursor = scan::cursor(&args[2])?;
    let (hash, out) = read(call)?;
    let Some(hash) = hash else {
        out.raw(scan::NOTHING);
        return Ok(());
    };
    let scan = Scan::parse(cursor, args.from(3), false)?;
    let mut found = Vec::new();
    let next = hash.scan(scan.cursor, scan.count, |(field, value)| {
        if scan.wants(field) {
            found.push((field, value));
        }
    });
    out.array(2);
    out.text(itoa::Buffer::new().format(next));
    out.array(found.len() * 2);
    for (field, value) in found {
        out.bulk(field);
        out.bulk(value);
    }
    Ok(())
}
