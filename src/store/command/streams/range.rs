//! XLEN, XRANGE and XREVRANGE.

use super::super::{Call, Failure, integer};
use super::{end, read, start, write_entries};
use crate::wire::resp::Args;

pub(super) fn xlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let stream = read(&mut call.engine.keyspace, call.session.db, &call.args[1])?;
    call.session.out.integer(stream.map_or(0, |stream| stream.entries.len() as i64));
    Ok(())
}

pub(super) fn xrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, false)
}

pub(super) fn xrevrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, true)
}

/// Reads `[COUNT n] ...`, of which the last counts.
fn count(args: Args<'_>) -> Result<Option<usize>, Failure> {
    let mut count = None;
    let mut index = 4;
    while let Some(word) = args.get(index) {
        match args.get(index + 1) {
            Some(value) if word.eq_ignore_ascii_case(b"COUNT") => {
                count = Some(usize::try_from(integer(value)?.max(0)).unwrap_or(usize::MAX));
            }
            _ => return Err(Failure::SYNTAX),
        }
        index += 2;
    }
    Ok(count)
}

fn range(call: &mut Call<'_>, reverse: bool) -> Result<(), Failure> {
    let args = call.args;
    // The argument that stands first is looked at last when it is the end.
    let (first, last) = if reverse { (3, 2) } else { (2, 3) };
    let (first, last) = (start(&args[first])?, end(&args[last])?);
    let count = count(args)?;
    let stream = read(&mut call.engine.keyspace, call.session.db, &args[1])?;
    let out = &mut call.session.out;
    match stream {
        None => out.array(0),
        Some(_) if count == Some(0) => out.null_array(),
        Some(stream) => {
            let entries = &stream.entries;
            let count = entries.count(first, last, count.unwrap_or(usize::MAX));
            if reverse {
                write_entries(out, count, entries.range(first, last).rev());
            } else {
                write_entries(out, count, entries.range(first, last));
            }
        }
    }
    Ok(())
}
