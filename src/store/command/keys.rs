//! Keys of any type.

mod expiry;
mod moves;
mod object;

use super::scan::{self, Scan};
use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE};
use crate::store::entry::Entry;
use crate::store::glob;
use crate::store::notify::Class;
use crate::store::value::Type;

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
    Command::new("touch", -2, RF, ALL, G, "Counts which of the keys exist, and uses them", touch),
    Command::new("type", 2, RF, ONE, G, "Returns the type of a value", type_of),
    Command::new("expire", -3, WF, ONE, G, "Sets an expiry in seconds from now", expiry::expire),
    Command::new("pexpire", -3, WF, ONE, G, "Sets an expiry in milliseconds from now", expiry::pexpire),
    Command::new("expireat", -3, WF, ONE, G, "Sets an expiry as a time in seconds", expiry::expireat),
    Command::new("pexpireat", -3, WF, ONE, G, "Sets an expiry as a time in milliseconds", expiry::pexpireat),
    Command::new("ttl", 2, RF, ONE, G, "Returns the seconds until a key expires", expiry::ttl),
    Command::new("pttl", 2, RF, ONE, G, "Returns the milliseconds until a key expires", expiry::pttl),
    Command::new("expiretime", 2, RF, ONE, G, "Returns when a key expires, in seconds", expiry::expiretime),
    Command::new(
        "pexpiretime",
        2,
        RF,
        ONE,
        G,
        "Returns when a key expires, in milliseconds",
        expiry::pexpiretime,
    ),
    Command::new("persist", 2, WF, ONE, G, "Removes the expiry of a key", expiry::persist),
    Command::new("scan", -2, READONLY, NONE, G, "Walks over the keys step by step", scan),
    Command::new("keys", 2, READONLY, NONE, G, "Returns all keys that match a pattern", keys),
    Command::new("randomkey", 1, READONLY, NONE, G, "Returns a key chosen at random", randomkey),
    Command::new("rename", 3, WRITE, TWO_KEYS, G, "Gives a key another name", moves::rename),
    Command::new("renamenx", 3, WF, TWO_KEYS, G, "Gives a key another name that is free", moves::renamenx),
    Command::new("copy", -3, WRITE | DENYOOM, TWO_KEYS, G, "Copies a value to another key", moves::copy),
    Command::new("move", 3, WF, ONE, G, "Moves a key to another database", moves::move_to),
    Command::new("swapdb", 3, WF, NONE, "server", "Exchanges two databases", moves::swapdb),
    Command::container("object", G, "Looks at how a value is held", object::COMMANDS),
];

/// What is large is freed in the background, whichever of DEL and UNLINK it was.
fn del(call: &mut Call<'_>) -> Result<(), Failure> {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let mut removed = 0;
    for key in call.args.from(1).iter() {
        if keyspace.delete(db, key) {
            keyspace.notify(Class::GENERIC, "del", db, key);
            removed += 1;
        }
    }
    call.session.out.count(removed);
    Ok(())
}

fn exists(call: &mut Call<'_>) -> Result<(), Failure> {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let found = call.args.from(1).iter().filter(|key| keyspace.read_untouched(db, key).is_some()).count();
    call.session.out.count(found);
    Ok(())
}

fn touch(call: &mut Call<'_>) -> Result<(), Failure> {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let found = call.args.from(1).iter().filter(|key| keyspace.read(db, key).is_some()).count();
    call.session.out.count(found);
    Ok(())
}

fn type_of(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read_untouched(call.session.db, &args[1]);
    let name = found.map_or("none", |entry| Type::of(entry).name());
    call.session.out.simple(name);
    Ok(())
}

/// Keys that are wanted and have expired are removed on the way.
fn scan(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let scan = Scan::parse(scan::cursor(&args[1])?, args.from(2), true)?;
    let table = call.engine.keyspace.table(db);
    let now_ms = call.engine.keyspace.now_ms();
    let (mut found, mut expired, mut seen, mut cursor) = (Vec::new(), Vec::new(), 0, scan.cursor);
    loop {
        cursor = table.scan(cursor, |entry| {
            seen += 1;
            let of_type = |name: &[u8]| Type::of(entry).name().as_bytes().eq_ignore_ascii_case(name);
            if scan.wants(entry.key()) && scan.of_type.is_none_or(of_type) {
                match entry.is_expired(now_ms) {
                    false => found.push(entry.key()),
                    true => expired.push(entry.key().to_vec()),
                }
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
    expired.iter().for_each(|key| call.engine.keyspace.expire(db, key));
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
