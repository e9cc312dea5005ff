//! The server itself: everything at once, its clock and its end.

use super::{
    ADMIN, ALLOW_BUSY, Call, Command, FAST, Failure, LOADING, NO_MULTI, NOSCRIPT, READONLY, STALE, WRITE,
    debug, info, integer, memory,
};
use crate::store::VERSION;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const LS: u32 = LOADING | STALE;
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("info", -1, LS, NONE, G, "Describes the server", info::info),
    Command::new("dbsize", 1, READONLY | FAST, NONE, G, "Counts the keys of the database", dbsize),
    Command::new("flushdb", -1, WRITE, NONE, G, "Removes all keys of the database", flushdb),
    Command::new("flushall", -1, WRITE, NONE, G, "Removes all keys of all databases", flushall),
    Command::new("time", 1, LS | FAST, NONE, G, "Returns seconds and microseconds of the clock", time),
    Command::new("debug", -2, ADM, NONE, G, "Helps test suites", debug::debug),
    Command::new("shutdown", -1, ADM | ALLOW_BUSY | NO_MULTI, NONE, G, "Stops the server", shutdown),
    Command::new("lastsave", 1, LS | FAST, NONE, G, "Returns when the data was last saved", lastsave),
    Command::new("lolwut", -1, READONLY | FAST, NONE, G, "Returns the version", lolwut),
    Command::container("memory", G, "Looks at memory", memory::COMMANDS),
];

fn dbsize(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.keyspace.table(call.session.db).len());
    Ok(())
}

/// ASYNC and SYNC are the same here: what is large is freed in the background.
fn flush_mode(call: &Call<'_>) -> Result<(), Failure> {
    match call.args.get(1) {
        None => Ok(()),
        Some(word) if call.args.len() == 2 && is_flush_mode(word) => Ok(()),
        Some(_) => Err(Failure::SYNTAX),
    }
}

fn is_flush_mode(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC")
}

fn flushdb(call: &mut Call<'_>) -> Result<(), Failure> {
    flush_mode(call)?;
    call.engine.keyspace.flush(call.session.db);
    call.session.out.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_>) -> Result<(), Failure> {
    flush_mode(call)?;
    (0..call.engine.keyspace.databases()).for_each(|db| call.engine.keyspace.flush(db));
    call.session.out.ok();
    Ok(())
}

fn time(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_us = call.engine.now_us();
    let mut digits = itoa::Buffer::new();
    call.session.out.array(2);
    call.session.out.text(digits.format(now_us / 1_000_000));
    call.session.out.text(digits.format(now_us % 1_000_000));
    Ok(())
}

fn shutdown(call: &mut Call<'_>) -> Result<(), Failure> {
    let words = call.args.from(1);
    let has = |name: &[u8]| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    let known: [&[u8]; 5] = [b"NOSAVE", b"SAVE", b"NOW", b"FORCE", b"ABORT"];
    let are_known = words.iter().all(|word| known.iter().any(|known| word.eq_ignore_ascii_case(known)));
    let abort = has(b"ABORT");
    if !are_known || abort && words.len() > 1 || has(b"SAVE") && has(b"NOSAVE") {
        return Err(Failure::SYNTAX);
    }
    if abort {
        return Err(Failure::text("ERR No shutdown in progress."));
    }
    call.engine.stopping = true;
    call.session.killed = true;
    Ok(())
}

/// Nothing is saved, so it is the time of the start, as in a server that has not saved yet.
fn lastsave(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.integer(call.engine.started_s() as i64);
    Ok(())
}

/// Redis draws for some versions; here it is only ever said which one this is.
fn lolwut(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    if args.len() >= 3 && args[1].eq_ignore_ascii_case(b"VERSION") {
        integer(&args[2])?;
    }
    call.session.out.verbatim(&format!("Redis ver. {VERSION}\n"));
    Ok(())
}
