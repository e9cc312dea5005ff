//! Keys of any type, and when they expire.

use super::scan::{self, Scan};
use super::{Call, Command, FAST, Failure, READONLY, WRITE, integer, shown};
use crate::store::entry::Entry;
use crate::store::glob;
use crate::store::value::{self, Type};

const ONE: (i16, i16, i16) = (1, 1, 1);
const ALL: (i16, i16, i16) = (1, -1, 1);
const NONE: (i16, i16, i16) = (0, 0, 0);
const TWO_KEYS: (i16, i16, i16) = (1, 2, 1);
const RF: u32 = READONLY | FAST;
const WF: u32 = WRITE | FAST;
const G: &str = "generic";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("del", -2, WRITE, ALL, G, "Removes keys", del),
    Command::new("unlink", -2, WF, ALL, G, "Removes keys", del),
    Command::new("exists", -2, RF, ALL, G, "Counts which of the keys exist", exists),
    Command::new("touch", -2, RF, ALL, G, "Counts which of the keys exist", exists),
    Command::new("type", 2, RF, ONE, G, "Returns the type of a value", type_of),
    Command::new("expire", -3, WF, ONE, G, "Sets an expiry in seconds from now", expire),
    Command::new("pexpire", -3, WF, ONE, G, "Sets an expiry in milliseconds from now", pexpire),
    Command::new("expireat", -3, WF, ONE, G, "Sets an expiry as a time in seconds", expireat),
    Command::new("pexpireat", -3, WF, ONE, G, "Sets an expiry as a time in milliseconds", pexpireat),
    Command::new("ttl", 2, RF, ONE, G, "Returns the seconds until a key expires", ttl),
    Command::new("pttl", 2, RF, ONE, G, "Returns the milliseconds until a key expires", pttl),
    Command::new("expiretime", 2, RF, ONE, G, "Returns when a key expires, in seconds", expiretime),
    Command::new("pexpiretime", 2, RF, ONE, G, "Returns when a key expires, in milliseconds", pexpiretime),
    Command::new("persist", 2, WF, ONE, G, "Removes the expiry of a key", persist),
    Command::new("scan", -2, READONLY, NONE, G, "Walks over the keys step by step", scan),
    Command::new("keys", 2, READONLY, NONE, G, "Returns all keys that match a pattern", keys),
    Command::new("randomkey", 1, READONLY, NONE, G, "Returns a key chosen at random", randomkey),
    Command::new("rename", 3, WRITE, TWO_KEYS, G, "Gives a key another name", rename),
    Command::new("renamenx", 3, WF, TWO_KEYS, G, "Gives a key another name that is free", renamenx),
    Command::container("object", G, "Looks at how a value is held", OBJECT),
];

const OBJECT: &[Command] = &[
    Command::new(
        "object|encoding",
        3,
        READONLY,
        (2, 2, 1),
        G,
        "Returns how a value is held",
        object_encoding,
    ),
    Command::new("object|refcount", 3, READONLY, (2, 2, 1), G, "Returns 1", object_refcount),
    Command::new(
        "object|idletime",
        3,
        READONLY,
        (2, 2, 1),
        G,
        "Returns 0: idle times are not kept",
        object_idletime,
    ),
    Command::new("object|freq", 3, READONLY, (2, 2, 1), G, "Refuses: frequencies are not kept", object_freq),
];

fn del(call: &mut Call<'_>) -> Result<(), Failure> {
    let (engine, db) = (&mut *call.engine, call.session.db);
    let removed = call.args.from(1).iter().filter(|key| engine.keyspace.remove(db, key).is_some()).count();
    call.session.out.count(removed);
    Ok(())
}

fn exists(call: &mut Call<'_>) -> Result<(), Failure> {
    let (engine, db) = (&mut *call.engine, call.session.db);
    let found = call.args.from(1).iter().filter(|key| engine.keyspace.read(db, key).is_some()).count();
    call.session.out.count(found);
    Ok(())
}

fn type_of(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.find(call.session.db, &args[1]);
    let name = found.map_or("none", |entry| Type::of(entry).name());
    call.session.out.simple(name);
    Ok(())
}

fn expire(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_ms = call.engine.keyspace.now_ms();
    expire_from(call, now_ms, 1000)
}

fn pexpire(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_ms = call.engine.keyspace.now_ms();
    expire_from(call, now_ms, 1)
}

fn expireat(call: &mut Call<'_>) -> Result<(), Failure> {
    expire_from(call, 0, 1000)
}

fn pexpireat(call: &mut Call<'_>) -> Result<(), Failure> {
    expire_from(call, 0, 1)
}

/// When an expiry may be set.
#[derive(Default)]
struct Condition {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    fn parse(call: &Call<'_>) -> Result<Condition, Failure> {
        let mut condition = Condition::default();
        for word in call.args.from(3).iter() {
            match () {
                () if word.eq_ignore_ascii_case(b"NX") => condition.none = true,
                () if word.eq_ignore_ascii_case(b"XX") => condition.some = true,
                () if word.eq_ignore_ascii_case(b"GT") => condition.later = true,
                () if word.eq_ignore_ascii_case(b"LT") => condition.earlier = true,
                () => {
                    let word = shown(word, usize::MAX);
                    return Err(Failure(format!("ERR Unsupported option {word}").into()));
                }
            }
        }
        if condition.none && (condition.some || condition.later || condition.earlier) {
            return Err(Failure::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if condition.later && condition.earlier {
            return Err(Failure::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// No expiry counts as one that never comes.
    fn holds(&self, old: Option<i64>, new: i64) -> bool {
        !(self.none && old.is_some()
            || self.some && old.is_none()
            || self.later && old.is_none_or(|old| new <= old)
            || self.earlier && old.is_some_and(|old| new >= old))
    }
}

fn expire_from(call: &mut Call<'_>, base_ms: i64, unit_ms: i64) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let condition = Condition::parse(call)?;
    let at = integer(&args[2])?;
    let at = at.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
    let at = at.ok_or_else(|| Failure::expire_time(call.command.name))?;
    let keyspace = &mut call.engine.keyspace;
    let old = keyspace.find(db, &args[1]).map(Entry::expiry);
    let set = old.is_some_and(|old| condition.holds(old, at));
    if set && at <= keyspace.now_ms() {
        keyspace.remove(db, &args[1]);
    } else if set {
        keyspace.set_expiry(db, &args[1], Some(at));
    }
    call.session.out.integer(i64::from(set));
    Ok(())
}

/// Answers -2 without the key, -1 without an expiry, else what `answer` makes of expiry and now.
fn expiry_of(call: &mut Call<'_>, answer: fn(i64, i64) -> i64) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    let found = call.engine.keyspace.find(call.session.db, &args[1]).map(Entry::expiry);
    call.session.out.integer(match found {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => answer(at, now_ms),
    });
    Ok(())
}

fn ttl(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, now_ms| (at - now_ms + 500) / 1000)
}

fn pttl(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, now_ms| at - now_ms)
}

fn expiretime(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, _| at.saturating_add(500) / 1000)
}

fn pexpiretime(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, _| at)
}

fn persist(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let had_one = keyspace.find(db, &args[1]).is_some_and(|entry| entry.expiry().is_some());
    if had_one {
        keyspace.set_expiry(db, &args[1], None);
    }
    call.session.out.integer(i64::from(had_one));
    Ok(())
}

fn scan(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let scan = Scan::parse(scan::cursor(&args[1])?, args.from(2), true)?;
    let table = call.engine.keyspace.table(call.session.db);
    let now_ms = call.engine.keyspace.now_ms();
    let (mut found, mut seen, mut cursor) = (Vec::new(), 0, scan.cursor);
    loop {
        cursor = table.scan(cursor, |entry| {
            seen += 1;
            let of_type = |name: &[u8]| Type::of(entry).name().as_bytes().eq_ignore_ascii_case(name);
            if scan.wants(entry.key()) && !entry.is_expired(now_ms) && scan.of_type.is_none_or(of_type) {
                found.push(entry.key());
            }
        });
        if cursor == 0 || seen >= scan.count {
            break;
        }
    }
    let out = &mut call.session.out;
    out.array(2);
    out.text(itoa::Buffer::new().format(cursor));
    out.array(found.len());
    found.iter().for_each(|key| out.bulk(key));
    Ok(())
}

fn keys(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (pattern, now_ms) = (&args[1], call.engine.keyspace.now_ms());
    let all = pattern == b"*";
    let entries = call.engine.keyspace.table(call.session.db).iter();
    let wanted =
        |entry: &&Entry| !entry.is_expired(now_ms) && (all || glob::matches(pattern, entry.key(), false));
    let found: Vec<&[u8]> = entries.filter(wanted).map(Entry::key).collect();
    call.session.out.array(found.len());
    found.iter().for_each(|key| call.session.out.bulk(key));
    Ok(())
}

fn randomkey(call: &mut Call<'_>) -> Result<(), Failure> {
    let db = call.session.db;
    // Where nearly all keys have expired and wait to be removed, some tries may meet only those.
    for _ in 0..100 {
        let random = call.engine.random();
        let keyspace = &mut call.engine.keyspace;
        let Some(entry) = keyspace.table(db).pick(random) else { break };
        if !entry.is_expired(keyspace.now_ms()) {
            call.session.out.bulk(entry.key());
            return Ok(());
        }
        let key = entry.key().to_vec();
        keyspace.expire(db, &key);
    }
    call.session.out.null();
    Ok(())
}

/// Moves a value to another key; whether it did.
fn move_key(call: &mut Call<'_>, only_free: bool) -> Result<bool, Failure> {
    let (args, db) = (call.args, call.session.db);
    let (from, to) = (&args[1], &args[2]);
    let keyspace = &mut call.engine.keyspace;
    if !keyspace.contains(db, from) {
        return Err(Failure::NO_KEY);
    }
    if from == to {
        return Ok(!only_free);
    }
    if only_free && keyspace.contains(db, to) {
        return Ok(false);
    }
    if let Some(entry) = keyspace.remove(db, from) {
        keyspace.put_entry(db, entry.with_key(to));
    }
    Ok(true)
}

fn rename(call: &mut Call<'_>) -> Result<(), Failure> {
    move_key(call, false)?;
    call.session.out.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_>) -> Result<(), Failure> {
    let moved = move_key(call, true)?;
    call.session.out.integer(i64::from(moved));
    Ok(())
}

/// The entry that OBJECT asks about; null is already answered when there is none.
fn object<'c>(call: &'c mut Call<'_>) -> Option<&'c Entry> {
    let args = call.args;
    let found = call.engine.keyspace.find(call.session.db, &args[2]);
    if found.is_none() {
        call.session.out.null();
    }
    found
}

fn object_encoding(call: &mut Call<'_>) -> Result<(), Failure> {
    if let Some(name) = object(call).map(value::encoding) {
        call.session.out.text(name);
    }
    Ok(())
}

fn object_refcount(call: &mut Call<'_>) -> Result<(), Failure> {
    if object(call).is_some() {
        call.session.out.integer(1);
    }
    Ok(())
}

fn object_idletime(call: &mut Call<'_>) -> Result<(), Failure> {
    if object(call).is_some() {
        call.session.out.integer(0);
    }
    Ok(())
}

fn object_freq(call: &mut Call<'_>) -> Result<(), Failure> {
    if object(call).is_some() {
        return Err(Failure::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
             when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(())
}
