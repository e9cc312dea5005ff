//! Hashes.

use super::scan::{self, Scan};
use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE, integer};
use crate::store::hash::{self, Hash};
use crate::store::keyspace::Expiry;
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
    Command::new("hscan", -3, READONLY, ONE, G, "Walks over the fields step by step", hscan),
];

/// The hash of the call's key; `None` when there is no such key.
fn read<'c>(call: &'c mut Call<'_>) -> Result<(Option<Hash<'c>>, &'c mut Replies), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let hash = found.map(|entry| Hash::of(entry).ok_or(Failure::WRONG_TYPE)).transpose()?;
    Ok((hash, &mut call.session.out))
}

/// Sets the pairs; how many fields are new.
fn set_pairs(call: &mut Call<'_>) -> Result<usize, Failure> {
    let (args, db) = (call.args, call.session.db);
    let pairs = args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::arity(call.command.name));
    }
    let engine = &mut *call.engine;
    let added = engine.keyspace.edit(db, &args[1], |entry| {
        if Hash::of(entry).is_none() {
            return (Err(Failure::WRONG_TYPE), 0);
        }
        let added = pairs.pairs().filter(|(field, value)| hash::set(entry, field, value)).count();
        (Ok(added), pairs.len() as u64 / 2)
    });
    if let Some(added) = added {
        return added;
    }
    let pairs: Vec<(&[u8], &[u8])> = pairs.pairs().collect();
    let (content, len) = hash::build(pairs.iter().copied(), &mut engine.scratch);
    engine.keyspace.put(db, &args[1], content, Expiry::Clear);
    Ok(len)
}

fn hset(call: &mut Call<'_>) -> Result<(), Failure> {
    let added = set_pairs(call)?;
    call.session.out.count(added);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Result<(), Failure> {
    set_pairs(call)?;
    call.session.out.ok();
    Ok(())
}

fn hsetnx(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let exists = read(call)?.0.is_some_and(|hash| hash.get(&args[2]).is_some());
    if !exists {
        set_pairs(call)?;
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
        hash.for_each(|field, value| {
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
        hash.for_each(|field, _| out.bulk(field));
    }
    Ok(())
}

fn hvals(call: &mut Call<'_>) -> Result<(), Failure> {
    let (hash, out) = read(call)?;
    out.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|_, value| out.bulk(value));
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
        if Hash::of(entry).is_none() {
            return (Err(Failure::WRONG_TYPE), 0);
        }
        let removed = args.from(2).iter().filter(|field| hash::remove(entry, field)).count();
        let empty = removed > 0 && Hash::of(entry).is_some_and(|hash| hash.len() == 0);
        (Ok((removed, empty)), removed as u64)
    });
    let (removed, empty) = outcome.unwrap_or(Ok((0, false)))?;
    if empty {
        keyspace.remove(db, &args[1]);
    }
    call.session.out.count(removed);
    Ok(())
}

fn hincrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let by = integer(&args[3])?;
    let old = match read(call)?.0.and_then(|hash| hash.get(&args[2])) {
        Some(text) => parse_integer(text).ok_or(Failure::text("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Failure::OVERFLOW)?;
    let mut digits = itoa::Buffer::new();
    let text = digits.format(new).as_bytes();
    let engine = &mut *call.engine;
    let there = engine.keyspace.edit(db, &args[1], |entry| {
        hash::set(entry, &args[2], text);
        ((), 1)
    });
    if there.is_none() {
        let (content, _) = hash::build([(&args[2], text)].into_iter(), &mut engine.scratch);
        engine.keyspace.put(db, &args[1], content, Expiry::Clear);
    }
    call.session.out.integer(new);
    Ok(())
}

fn hscan(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let cursor = scan::cursor(&args[2])?;
    let (hash, out) = read(call)?;
    let Some(hash) = hash else {
        out.raw(b"*2\r\n$1\r\n0\r\n*0\r\n");
        return Ok(());
    };
    let scan = Scan::parse(cursor, args.from(3), false)?;
    let mut found = Vec::new();
    let next = hash.scan(scan.cursor, scan.count, |field, value| {
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
