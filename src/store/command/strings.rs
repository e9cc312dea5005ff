//! Hot path
//!
//! Strings: GET, SET and their kin.

mod counters;
mod lcs;
mod options;
mod ranges;

use self::options::{Options, Verb};
use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE};
use crate::store::entry::{Entry, View};
use crate::store::keyspace::{Expiry, string_content};
use crate::store::notify::Class;
use crate::store::value::Object;

const ONE: (i16, i16, i16) = (1, 1, 1);
const W: u32 = WRITE | DENYOOM;
const WF: u32 = WRITE | DENYOOM | FAST;
const RF: u32 = READONLY | FAST;
const G: &str = "string";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("get", 2, RF, ONE, G, "Returns the value of a string key", get),
    Command::new("set", -3, W, ONE, G, "Sets a key to a string, whatever it held", set),
    Command::new("setnx", 3, WF, ONE, G, "Sets a string only when there is no such key", setnx),
    Command::new("setex", 4, W, ONE, G, "Sets a string and its expiry in seconds", setex),
    Command::new("psetex", 4, W, ONE, G, "Sets a string and its expiry in milliseconds", psetex),
    Command::new("mget", -2, RF, (1, -1, 1), G, "Returns the values of several keys", mget),
    Command::new("mset", -3, W, (1, -1, 2), G, "Sets several keys", mset),
    Command::new("msetnx", -3, W, (1, -1, 2), G, "Sets several keys when none of them exists", msetnx),
    Command::new("getdel", 2, WRITE | FAST, ONE, G, "Returns a string and removes its key", getdel),
    Command::new("getset", 3, WF, ONE, G, "Sets a string and returns the old one", getset),
    Command::new("strlen", 2, RF, ONE, G, "Returns the length of a string", strlen),
    Command::new("getex", -2, WRITE | FAST, ONE, G, "Returns a string and changes its expiry", getex),
    Command::new("append", 3, WF, ONE, G, "Appends to a string", ranges::append),
    Command::new("getrange", 4, READONLY, ONE, G, "Returns a part of a string", ranges::getrange),
    Command::new("substr", 4, READONLY, ONE, G, "Returns a part of a string", ranges::getrange),
    Command::new("setrange", 4, W, ONE, G, "Writes over a part of a string", ranges::setrange),
    Command::new("incr", 2, WF, ONE, G, "Adds one to an integer", counters::incr),
    Command::new("decr", 2, WF, ONE, G, "Takes one from an integer", counters::decr),
    Command::new("incrby", 3, WF, ONE, G, "Adds to an integer", counters::incrby),
    Command::new("decrby", 3, WF, ONE, G, "Takes from an integer", counters::decrby),
    Command::new("incrbyfloat", 3, WF, ONE, G, "Adds to a number", counters::incrbyfloat),
    Command::new("lcs", -3, READONLY, (1, 2, 1), G, "Finds the longest common subsequence", lcs::lcs),
];

/// The string in an entry.
#[inline]
pub fn string_of(entry: &Entry) -> Result<&[u8], Failure> {
    match entry.view() {
        View::String(bytes) => Ok(bytes),
        View::Object(Object::Raw(bytes)) => Ok(bytes),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let value = found.map(string_of).transpose()?;
    call.session.out.optional(value);
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    if args.len() == 3 {
        store(call, &args[1], &args[2], Expiry::Clear);
        call.session.out.ok();
        return Ok(());
    }
    set_with_options(call)
}

/// Puts a string and tells of it.
#[inline]
fn store(call: &mut Call<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    keyspace.put(db, key, string_content(value), expiry);
    keyspace.notify(Class::STRING, "set", db, key);
    if matches!(expiry, Expiry::At(_)) {
        keyspace.notify(Class::GENERIC, "expire", db, key);
    }
}

fn set_with_options(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let options = Options::parse(args.from(3), Verb::Set)?;
    let at = options.expires_at(call.engine.keyspace.now_ms(), call.command.name)?;
    let (db, key) = (call.session.db, &args[1]);
    if options.get {
        let old = call.engine.keyspace.read(db, key).map(string_of).transpose()?;
        call.session.out.optional(old);
    }
    if options.only_new || options.only_existing {
        let exists = call.engine.keyspace.contains(db, key);
        if exists == options.only_new {
            if !options.get {
                call.session.out.null();
            }
            return Ok(());
        }
    }
    let expiry = match at {
        Some(at) => Expiry::At(at),
        None if options.keep => Expiry::Keep,
        None => Expiry::Clear,
    };
    store(call, key, &args[2], expiry);
    if !options.get {
        call.session.out.ok();
    }
    Ok(())
}

/// In this order: without the key null; another type is refused; then the expiry is looked at. A time
/// that has passed removes the key.
fn getex(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let options = Options::parse(args.from(2), Verb::GetEx)?;
    let (db, key, now_ms) = (call.session.db, &args[1], call.engine.keyspace.now_ms());
    let Some(entry) = call.engine.keyspace.read(db, key) else {
        call.session.out.null();
        return Ok(());
    };
    let (value, had_expiry) = (string_of(entry)?, entry.expiry().is_some());
    let at = options.expires_at(now_ms, call.command.name)?;
    call.session.out.bulk(value);
    let keyspace = &mut call.engine.keyspace;
    match at {
        Some(at) if options.is_absolute() && at <= now_ms => {
            keyspace.delete(db, key);
            keyspace.notify(Class::GENERIC, "del", db, key);
        }
        Some(at) => {
            keyspace.set_expiry(db, key, Some(at));
            keyspace.notify(Class::GENERIC, "expire", db, key);
        }
        None if options.persist && had_expiry => {
            keyspace.set_expiry(db, key, None);
            keyspace.notify(Class::GENERIC, "persist", db, key);
        }
        None => {}
    }
    Ok(())
}

fn set_with_expiry(call: &mut Call<'_>, unit_ms: i64) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    let at = options::expires_at(&args[2], unit_ms, Some(now_ms), call.command.name)?;
    store(call, &args[1], &args[3], Expiry::At(at));
    call.session.out.ok();
    Ok(())
}

fn setex(call: &mut Call<'_>) -> Result<(), Failure> {
    set_with_expiry(call, 1000)
}

fn psetex(call: &mut Call<'_>) -> Result<(), Failure> {
    set_with_expiry(call, 1)
}

fn setnx(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let new = !call.engine.keyspace.contains(db, &args[1]);
    if new {
        store(call, &args[1], &args[2], Expiry::Clear);
    }
    call.session.out.integer(i64::from(new));
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Result<(), Failure> {
    let keys = call.args.from(1);
    let db = call.session.db;
    call.session.out.array(keys.len());
    // In steps, so that the processor fetches the next entries while one is copied.
    let mut start = 0;
    while start < keys.len() {
        let end = (start + 16).min(keys.len());
        if end - start > 1 {
            (start..end).for_each(|index| call.engine.prefetch(db, &keys[index]));
        }
        for index in start..end {
            let found = call.engine.keyspace.read(db, &keys[index]);
            call.session.out.optional(found.and_then(|entry| string_of(entry).ok()));
        }
        start = end;
    }
    Ok(())
}

fn mset(call: &mut Call<'_>) -> Result<(), Failure> {
    let pairs = call.args.from(1);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::arity(call.command.name));
    }
    for (key, value) in pairs.pairs() {
        store(call, key, value, Expiry::Clear);
    }
    call.session.out.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_>) -> Result<(), Failure> {
    let pairs = call.args.from(1);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::arity(call.command.name));
    }
    let db = call.session.db;
    if pairs.pairs().any(|(key, _)| call.engine.keyspace.contains(db, key)) {
        call.session.out.integer(0);
        return Ok(());
    }
    for (key, value) in pairs.pairs() {
        store(call, key, value, Expiry::Clear);
    }
    call.session.out.integer(1);
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let found = call.engine.keyspace.read(db, &args[1]);
    let value = found.map(string_of).transpose()?;
    call.session.out.optional(value);
    if value.is_some() {
        call.engine.keyspace.delete(db, &args[1]);
        call.engine.keyspace.notify(Class::GENERIC, "del", db, &args[1]);
    }
    Ok(())
}

fn getset(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let found = call.engine.keyspace.read(db, &args[1]);
    let value = found.map(string_of).transpose()?;
    call.session.out.optional(value);
    store(call, &args[1], &args[2], Expiry::Clear);
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let len = found.map(string_of).transpose()?.map_or(0, <[u8]>::len);
    call.session.out.count(len);
    Ok(())
}
