//! Keys that get another name or another database: RENAME, COPY, MOVE, SWAPDB.

use crate::store::command::{Call, Failure, integer};
use crate::store::entry::{Form, View};
use crate::store::notify::Class;
use crate::wire::resp::parse_integer;

const SAME: Failure = Failure::text("ERR source and destination objects are the same");
const NO_SUCH_DB: Failure = Failure::text("ERR DB index is out of range");

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
    if keyspace.contains(db, to) {
        if only_free {
            return Ok(false);
        }
        keyspace.delete(db, to);
    }
    if let Some(entry) = keyspace.remove(db, from) {
        keyspace.put_entry(db, entry.with_key(to));
        keyspace.notify(Class::GENERIC, "rename_from", db, from);
        keyspace.notify(Class::GENERIC, "rename_to", db, to);
    }
    Ok(true)
}

pub fn rename(call: &mut Call<'_>) -> Result<(), Failure> {
    move_key(call, false)?;
    call.session.out.ok();
    Ok(())
}

pub fn renamenx(call: &mut Call<'_>) -> Result<(), Failure> {
    let moved = move_key(call, true)?;
    call.session.out.integer(i64::from(moved));
    Ok(())
}

/// A number that names a database, or might.
fn int(text: &[u8]) -> Result<i32, Failure> {
    let out_of_range =
        Failure::text("ERR value is out of range, value must between -2147483648 and 2147483647");
    i32::try_from(integer(text)?).map_err(|_| out_of_range)
}

fn existing_db(call: &Call<'_>, number: i32) -> Result<usize, Failure> {
    let db = usize::try_from(number).map_err(|_| NO_SUCH_DB)?;
    if db < call.engine.keyspace.databases() { Ok(db) } else { Err(NO_SUCH_DB) }
}

/// The database that COPY copies to, and whether it replaces what is there.
fn copy_options(call: &Call<'_>) -> Result<(usize, bool), Failure> {
    let (mut db, mut replace, mut index) = (call.session.db, false, 3);
    while let Some(word) = call.args.get(index) {
        match call.args.get(index + 1) {
            _ if word.eq_ignore_ascii_case(b"REPLACE") => replace = true,
            Some(number) if word.eq_ignore_ascii_case(b"DB") => {
                db = existing_db(call, int(number)?)?;
                index += 1;
            }
            _ => return Err(Failure::SYNTAX),
        }
        index += 1;
    }
    Ok((db, replace))
}

pub fn copy(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let (to_db, replace) = copy_options(call)?;
    let (from, to) = (&args[1], &args[2]);
    if to_db == db && from == to {
        return Err(SAME);
    }
    let keyspace = &mut call.engine.keyspace;
    let there = keyspace.read(db, from).is_some();
    let copied = there && (replace || !keyspace.contains(to_db, to));
    if copied && let Some(mut copy) = keyspace.find(db, from).map(|entry| entry.duplicate(to)) {
        // A copied number is one of its own, never one of those that are shared.
        let is_integer = |bytes| parse_integer(bytes).is_some();
        if copy.form() == Form::Plain && matches!(copy.view(), View::String(bytes) if is_integer(bytes)) {
            copy.set_form(Form::Unshared);
        }
        keyspace.delete(to_db, to);
        keyspace.put_entry(to_db, copy);
        keyspace.notify(Class::GENERIC, "copy_to", to_db, to);
    }
    call.session.out.integer(i64::from(copied));
    Ok(())
}

pub fn move_to(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let to_db = existing_db(call, int(&args[2])?)?;
    if to_db == db {
        return Err(SAME);
    }
    let key = &args[1];
    let keyspace = &mut call.engine.keyspace;
    let moved = keyspace.contains(db, key) && !keyspace.contains(to_db, key);
    if moved && let Some(entry) = keyspace.remove(db, key) {
        keyspace.put_entry(to_db, entry);
        keyspace.notify(Class::GENERIC, "move_from", db, key);
        keyspace.notify(Class::GENERIC, "move_to", to_db, key);
    }
    call.session.out.integer(i64::from(moved));
    Ok(())
}

pub fn swapdb(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let one = int(&args[1]).map_err(|_| Failure::text("ERR invalid first DB index"))?;
    let other = int(&args[2]).map_err(|_| Failure::text("ERR invalid second DB index"))?;
    let (one, other) = (existing_db(call, one)?, existing_db(call, other)?);
    call.engine.keyspace.swap(one, other);
    call.session.out.ok();
    Ok(())
}
