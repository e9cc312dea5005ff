//! DEBUG sub-commands that look at one key or one table.

use std::fmt::Write;

use crate::store::command::strings::string_of;
use crate::store::command::{Call, Failure, integer};
use crate::store::entry::{Entry, View};
use crate::store::hash::Hash;
use crate::store::table::Table;
use crate::store::value::{self, Object};

/// The entry of the key that is asked about.
fn entry<'c>(call: &'c mut Call<'_>) -> Result<&'c Entry, Failure> {
    let args = call.args;
    call.engine.keyspace.find(call.session.db, &args[2]).ok_or(Failure::NO_KEY)
}

pub fn object(call: &mut Call<'_>) -> Result<(), Failure> {
    let clock = call.engine.keyspace.clock();
    let found = entry(call)?;
    let text = format!(
        "Value at:{:p} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        found.inline(),
        value::references(found),
        value::encoding(found),
        serialized_len(found),
        found.touched().unwrap_or(clock),
        found.idle_s(clock),
    );
    call.session.out.simple(&text);
    Ok(())
}

/// Bytes of a string in a snapshot of Redis, without compression; about so many for another type.
fn serialized_len(entry: &Entry) -> usize {
    let Ok(bytes) = string_of(entry) else { return value::memory_usage(entry, 0) };
    if value::encoding(entry) == "int" {
        let number = crate::wire::resp::parse_integer(bytes).unwrap_or(i64::MAX);
        if i8::try_from(number).is_ok() {
            return 2;
        }
        if i16::try_from(number).is_ok() {
            return 3;
        }
        if i32::try_from(number).is_ok() {
            return 5;
        }
    }
    let prefix = match bytes.len() {
        0..64 => 1,
        64..16_384 => 2,
        _ => 5,
    };
    prefix + bytes.len()
}

pub fn sdslen(call: &mut Call<'_>) -> Result<(), Failure> {
    let found = entry(call)?;
    let bytes = match string_of(found) {
        Ok(bytes) if value::encoding(found) != "int" => bytes,
        _ => return Err(Failure::text("ERR Not an sds encoded string.")),
    };
    let available = match found.view() {
        View::Object(Object::Raw(bytes)) => bytes.capacity() - bytes.len(),
        _ => 0,
    };
    let key = found.key().len();
    let text = format!(
        "key_sds_len:{key}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{}, val_sds_avail:{available}, \
         val_zmalloc: {}",
        found.block_bytes(),
        bytes.len(),
        bytes.len() + available,
    );
    call.session.out.simple(&text);
    Ok(())
}

fn expect_encoding(call: &mut Call<'_>, encoding: &str, yes: &str, no: &'static str) -> Result<(), Failure> {
    if value::encoding(entry(call)?) != encoding {
        return Err(Failure::text(no));
    }
    call.session.out.simple(yes);
    Ok(())
}

pub fn listpack(call: &mut Call<'_>) -> Result<(), Failure> {
    let (yes, no) = ("Listpack structure printed on stdout", "ERR Not a listpack encoded object.");
    expect_encoding(call, "listpack", yes, no)
}

pub fn quicklist(call: &mut Call<'_>) -> Result<(), Failure> {
    let (yes, no) = ("Quicklist structure printed on stdout", "ERR Not a quicklist encoded object.");
    expect_encoding(call, "quicklist", yes, no)
}

pub fn htstats(call: &mut Call<'_>) -> Result<(), Failure> {
    let db = usize::try_from(integer(&call.args[2])?).unwrap_or(usize::MAX);
    if db >= call.engine.keyspace.databases() {
        return Err(Failure::text("ERR Out of range database"));
    }
    let table = call.engine.keyspace.table(db);
    let mut text = String::from("[Dictionary HT]\n");
    describe(&mut text, table.len(), table);
    text.push_str("[Expires HT]\n");
    describe(&mut text, table.volatile(), table);
    call.session.out.verbatim(&text);
    Ok(())
}

pub fn htstats_key(call: &mut Call<'_>) -> Result<(), Failure> {
    let found = entry(call)?;
    let mut text = String::new();
    match Hash::of(found) {
        Some(Hash::Table(table)) => describe(&mut text, table.len(), table),
        _ if matches!(value::encoding(found), "hashtable" | "skiplist") => {
            let _ = writeln!(text, "Hash table 0 stats (main hash table):");
        }
        _ => {
            return Err(Failure::text(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    }
    call.session.out.verbatim(&text);
    Ok(())
}

/// Writing to a string cannot fail.
fn describe(text: &mut String, elements: usize, table: &Table) {
    let _ = writeln!(text, "Hash table 0 stats (main hash table):");
    if elements == 0 {
        let _ = writeln!(text, "No stats available for empty dictionaries");
        return;
    }
    let _ = writeln!(text, " table size: {}", table.capacity());
    let _ = writeln!(text, " number of elements: {elements}");
    let _ = writeln!(text, " segments: {}", table.segments());
}
