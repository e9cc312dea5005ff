//! Parts of strings: APPEND, GETRANGE, SETRANGE.

use super::string_of;
use crate::store::command::{Call, Failure, integer};
use crate::store::entry::{Content, Entry};
use crate::store::keyspace::{Expiry, string_content};
use crate::store::notify::Class;
use crate::store::value::Object;

/// A string may be as long as the longest argument.
fn check_len(call: &Call<'_>, len: usize, more: usize) -> Result<(), Failure> {
    let fits = len.checked_add(more).is_some_and(|len| len <= call.engine.config.max_bulk);
    if fits { Ok(()) } else { Err(Failure::STRING_TOO_LONG) }
}

pub fn append(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let (key, tail) = (&args[1], &args[2]);
    let old = call.engine.keyspace.find(db, key).map(string_of).transpose()?.map(<[u8]>::len);
    if let Some(len) = old {
        check_len(call, len, tail.len())?;
        call.engine.keyspace.edit(db, key, |entry| {
            edit_raw(entry, tail.len(), |bytes| bytes.extend_from_slice(tail));
            ((), 1)
        });
    } else {
        call.engine.keyspace.put(db, key, string_content(tail), Expiry::Clear);
    }
    call.engine.keyspace.notify(Class::STRING, "append", db, key);
    call.session.out.count(old.unwrap_or(0) + tail.len());
    Ok(())
}

/// Changes the string in `entry`, which from now on has its own allocation and can grow without moving
/// each time. `more` bytes will be added.
fn edit_raw(entry: &mut Entry, more: usize, edit: impl FnOnce(&mut Vec<u8>)) {
    if let Some(Object::Raw(bytes)) = entry.object_mut() {
        return edit(bytes);
    }
    let mut bytes = Vec::with_capacity((entry.inline().len() + more) * 2);
    bytes.extend_from_slice(entry.inline());
    edit(&mut bytes);
    let expiry = entry.expiry();
    entry.replace(Content::Object(Box::new(Object::Raw(bytes))), expiry);
}

pub fn getrange(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let bytes = found.map(string_of).transpose()?.unwrap_or_default();
    call.session.out.bulk(part(bytes, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let len = bytes.len() as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end { &[] } else { &bytes[start as usize..=end as usize] }
}

pub fn setrange(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let offset =
        usize::try_from(integer(&args[2])?).map_err(|_| Failure::text("ERR offset is out of range"))?;
    let (key, with) = (&args[1], &args[3]);
    let old = call.engine.keyspace.find(db, key).map(string_of).transpose()?.map(<[u8]>::len);
    if with.is_empty() {
        call.session.out.count(old.unwrap_or(0));
        return Ok(());
    }
    check_len(call, offset, with.len())?;
    let keyspace = &mut call.engine.keyspace;
    if old.is_some() {
        keyspace.edit(db, key, |entry| {
            edit_raw(entry, 0, |bytes| write_at(bytes, offset, with));
            ((), 1)
        });
    } else {
        let mut bytes = vec![0; offset + with.len()];
        bytes[offset..].copy_from_slice(with);
        keyspace.put(db, key, Content::Object(Box::new(Object::Raw(bytes))), Expiry::Clear);
    }
    keyspace.notify(Class::STRING, "setrange", db, key);
    call.session.out.count(old.unwrap_or(0).max(offset + with.len()));
    Ok(())
}

/// Writes over what is there, after zeros where nothing is.
fn write_at(bytes: &mut Vec<u8>, offset: usize, with: &[u8]) {
    let end = offset + with.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(with);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_from_either_end() {
        for (start, end, expected) in [
            (0, -1, "hello"),
            (1, 3, "ell"),
            (-3, -2, "ll"),
            (-100, 100, "hello"),
            (3, 1, ""),
            (-1, -3, ""),
            (5, 9, ""),
            (0, -9, "h"),
            (i64::MIN, i64::MAX, "hello"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(part(b"hello", start, end), expected.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }
}
