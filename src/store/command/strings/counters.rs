//! Hot path
//!
//! Strings that count: INCR and its kin.

use super::string_of;
use crate::store::command::{Call, Failure, integer};
use crate::store::entry::{Content, Form, MAX_INLINE};
use crate::store::keyspace::{Expiry, string_content};
use crate::store::long_double::{self, LongDouble};
use crate::store::notify::Class;
use crate::wire::resp::parse_integer;

const _: () = assert!(MAX_INLINE >= 32, "an integer must fit in an entry");

fn add(call: &mut Call<'_>, by: i64) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let old = match keyspace.find(db, &args[1]) {
        Some(entry) => parse_integer(string_of(entry)?).ok_or(Failure::NOT_INTEGER)?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Failure::OVERFLOW)?;
    let mut digits = itoa::Buffer::new();
    let content = Content::String(digits.format(new).as_bytes());
    keyspace.put(db, &args[1], content, Expiry::Keep);
    keyspace.notify(Class::STRING, "incrby", db, &args[1]);
    call.session.out.integer(new);
    Ok(())
}

pub fn incr(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, 1)
}

pub fn decr(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, -1)
}

pub fn incrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let by = integer(&call.args[2])?;
    add(call, by)
}

pub fn decrby(call: &mut Call<'_>) -> Result<(), Failure> {
    let by = integer(&call.args[2])?;
    let by = by.checked_neg().ok_or(Failure::text("ERR decrement would overflow"))?;
    add(call, by)
}

/// Adds in the 80 bits of a C `long double`, so that `0.1` stays `0.1`.
pub fn incrbyfloat(call: &mut Call<'_>) -> Result<(), Failure> {
    const NOT_FLOAT: Failure = Failure::text("ERR value is not a valid float");
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let old = match keyspace.find(db, &args[1]) {
        Some(entry) => long_double::parse(string_of(entry)?).ok_or(NOT_FLOAT)?,
        None => LongDouble::from_integer(0),
    };
    let by = long_double::parse(&args[2]).ok_or(NOT_FLOAT)?;
    let new = long_double::add(old, by);
    let new = new.ok_or(Failure::text("ERR increment would produce NaN or Infinity"))?;
    let text = long_double::format(new);
    keyspace.put(db, &args[1], string_content(text.as_bytes()), Expiry::Keep);
    keyspace.edit(db, &args[1], |entry| (entry.set_form(Form::Text), 0));
    keyspace.notify(Class::STRING, "incrbyfloat", db, &args[1]);
    call.session.out.text(&text);
    Ok(())
}
