//! Hot path
//!
//! Strings: GET, SET and their kin.

use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE, integer};
use crate::store::entry::{Content, Entry, MAX_INLINE, View};
use crate::store::keyspace::{Expiry, string_content};
use crate::store::value::Object;
use crate::wire::resp::parse_integer;

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
    Command::new("append", 3, WF, ONE, G, "Appends to a string", append),
    Command::new("incr", 2, WF, ONE, G, "Adds one to an integer", incr),
    Command::new("decr", 2, WF, ONE, G, "Takes one from an integer", decr),
    Command::new("incrby", 3, WF, ONE, G, "Adds to an integer", incrby),
    Command::new("decrby", 3, WF, ONE, G, "Takes from an integer", decrby),
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

/// The options of SET.
struct SetOptions {
    only_new: bool,
    only_existing: bool,
    get: bool,
    expiry: Expiry,
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    if args.len() == 3 {
        call.engine.keyspace.put(call.session.db, &args[1], string_content(&args[2]), Expiry::Clear);
        call.session.out.ok();
        return Ok(());
    }
    let options = set_options(call)?;
    let (db, key) = (call.session.db, &args[1]);
    let found = call.engine.keyspace.find(db, key);
    let exists = found.is_some();
    if options.get {
        let old = found.map(string_of).transpose()?;
        call.session.out.optional(old);
    }
    if options.only_new && exists || options.only_existing && !exists {
        if !options.get {
            call.session.out.null();
        }
        return Ok(());
    }
    call.engine.keyspace.put(db, key, string_content(&args[2]), options.expiry);
    if !options.get {
        call.session.out.ok();
    }
    Ok(())
}

fn set_options(call: &Call<'_>) -> Result<SetOptions, Failure> {
    let args = call.args;
    let mut options = SetOptions { only_new: false, only_existing: false, get: false, expiry: Expiry::Clear };
    let mut time: Option<(&[u8], i64, bool)> = None;
    let mut index = 3;
    while let Some(word) = args.get(index) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let free = options.expiry == Expiry::Clear && time.is_none();
        if is("NX") && !options.only_existing {
            options.only_new = true;
        } else if is("XX") && !options.only_new {
            options.only_existing = true;
        } else if is("GET") {
            options.get = true;
        } else if is("KEEPTTL") && time.is_none() {
            options.expiry = Expiry::Keep;
        } else if let (Some((unit_ms, absolute)), true, Some(value)) =
            (time_unit(word), free, args.get(index + 1))
        {
            time = Some((value, unit_ms, absolute));
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    if let Some((value, unit_ms, absolute)) = time {
        let now_ms = call.engine.keyspace.now_ms();
        options.expiry = Expiry::At(expire_at(value, unit_ms, absolute, now_ms, call.command.name)?);
    }
    Ok(options)
}

/// Milliseconds in the unit of an expiry option, and whether it is a time rather than a duration.
fn time_unit(word: &[u8]) -> Option<(i64, bool)> {
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("EX") => Some((1000, false)),
        () if is("PX") => Some((1, false)),
        () if is("EXAT") => Some((1000, true)),
        () if is("PXAT") => Some((1, true)),
        () => None,
    }
}

/// A time for a new value to expire: above zero, and within what can be counted.
fn expire_at(value: &[u8], unit_ms: i64, absolute: bool, now_ms: i64, name: &str) -> Result<i64, Failure> {
    let value = integer(value)?;
    let at = (value > 0).then(|| value.checked_mul(unit_ms)).flatten();
    let at = at.and_then(|ms| if absolute { Some(ms) } else { ms.checked_add(now_ms) });
    at.ok_or_else(|| Failure::expire_time(name))
}

fn set_with_expiry(call: &mut Call<'_>, unit_ms: i64) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    let at = expire_at(&args[2], unit_ms, false, now_ms, call.command.name)?;
    call.engine.keyspace.put(call.session.db, &args[1], string_content(&args[3]), Expiry::At(at));
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
        call.engine.keyspace.put(db, &args[1], string_content(&args[2]), Expiry::Clear);
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
        call.engine.keyspace.put(call.session.db, key, string_content(value), Expiry::Clear);
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
        call.engine.keyspace.put(db, key, string_content(value), Expiry::Clear);
    }
    call.session.out.integer(1);
    Ok(())
}

fn getdel(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let found = call.engine.keyspace.read(db, &args[1]);
    let value = found.map(string_of).transpose()?;
    call.session.out.optional(value);
    call.engine.keyspace.remove(db, &args[1]);
    Ok(())
}

fn getset(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let found = call.engine.keyspace.read(db, &args[1]);
    let value = found.map(string_of).transpose()?;
    call.session.out.optional(value);
    call.engine.keyspace.put(db, &args[1], string_content(&args[2]), Expiry::Clear);
    Ok(())
}

fn strlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let len = found.map(string_of).transpose()?.map_or(0, <[u8]>::len);
    call.session.out.count(len);
    Ok(())
}

fn append(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db, max) = (call.args, call.session.db, call.engine.config.max_bulk);
    let (key, tail) = (&args[1], &args[2]);
    let old_len = call.engine.keyspace.find(db, key).map(string_of).transpose()?.map(<[u8]>::len);
    let Some(old_len) = old_len else {
        call.engine.keyspace.put(db, key, string_content(tail), Expiry::Clear);
        call.session.out.count(tail.len());
        return Ok(());
    };
    if old_len + tail.len() > max {
        return Err(Failure::STRING_TOO_LONG);
    }
    call.engine.keyspace.edit(db, key, |entry| (extend(entry, tail), 1));
    call.session.out.count(old_len + tail.len());
    Ok(())
}

/// Appends to the string in `entry`, which from now on can grow without moving each time.
fn extend(entry: &mut Entry, tail: &[u8]) {
    if let Some(Object::Raw(bytes)) = entry.object_mut() {
        bytes.extend_from_slice(tail);
        return;
    }
    let mut bytes = Vec::with_capacity((entry.inline().len() + tail.len()) * 2);
    bytes.extend_from_slice(entry.inline());
    bytes.extend_from_slice(tail);
    let expiry = entry.expiry();
    entry.replace(Content::Object(Box::new(Object::Raw(bytes))), expiry);
}

fn add(call: &mut Call<'_>, by: i64) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let key = &args[1];
    let Some(entry) = call.engine.keyspace.find(db, key) else {
        put_integer(call, by, Expiry::Clear);
        return Ok(());
    };
    let old = parse_integer(string_of(entry)?).ok_or(Failure::NOT_INTEGER)?;
    let new = old.checked_add(by).ok_or(Failure::OVERFLOW)?;
    put_integer(call, new, Expiry::Keep);
    Ok(())
}

fn put_integer(call: &mut Call<'_>, value: i64, expiry: Expiry) {
    let args = call.args;
    let mut digits = itoa::Buffer::new();
    let content = Content::String(digits.format(value).as_bytes());
    call.engine.keyspace.put(call.session.db, &args[1], content, expiry);
    call.session.out.integer(value);
}

fn incr(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, 1)
}

fn decr(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, -1)
}

fn incrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let by = integer(&call.args[2])?;
    add(call, by)
}

fn decrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let by = integer(&call.args[2])?;
    let by = by.checked_neg().ok_or(Failure::text("ERR decrement would overflow"))?;
    add(call, by)
}

const _: () = assert!(MAX_INLINE >= 32, "an integer must fit in an entry");
