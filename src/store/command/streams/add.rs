//! Hot path
//!
//! XADD, and what makes streams shorter: XTRIM, XDEL. XSETID too.

use super::super::{Call, Failure, integer};
use super::{INVALID_ID, id, stream_mut, stream_of};
use crate::store::entry::Content;
use crate::store::notify::Class;
use crate::store::stream::Stream;
use crate::store::stream::entries::{Entries, Trim};
use crate::store::stream::ids::{NewId, StreamId};
use crate::store::stream::node::{MAX_BYTES, NodeLimits};
use crate::store::value::Object;
use crate::wire::resp::Args;

/// Nodes that a trim with `~` may remove unless LIMIT says otherwise.
const DEFAULT_LIMIT_NODES: usize = 100;
/// The limit in entries where a node has no limit of its own.
const DEFAULT_LIMIT: u64 = 10_000;
/// The highest limit in entries that is not given.
const MAX_DEFAULT_LIMIT: u64 = 1_000_000;

/// The options of XADD and XTRIM.
#[derive(Default)]
struct Options {
    trim: Option<Trim>,
    approximate: bool,
    limit: Option<u64>,
    no_create: bool,
    /// What XADD is to name the entry.
    id: Option<NewId>,
    /// Where they end.
    next: usize,
}

/// Reads options from the third argument on. With XADD (`add`), the first word that is none is the id and
/// ends them.
fn options(args: Args<'_>, add: bool) -> Result<Options, Failure> {
    let mut options = Options { next: 2, ..Options::default() };
    while let Some(word) = args.get(options.next) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let more = args.len() - options.next - 1;
        if add && word == b"*" {
            options.id = Some(NewId::Auto);
            break;
        }
        if (is(b"MAXLEN") || is(b"MINID")) && more > 0 {
            if options.trim.is_some() {
                return Err(Failure::text(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            trim_rule(args, &mut options, is(b"MAXLEN"), more)?;
        } else if is(b"LIMIT") && more > 0 {
            let limit = u64::try_from(integer(&args[options.next + 1])?);
            options.limit = Some(limit.map_err(|_| Failure::text("ERR The LIMIT argument must be >= 0."))?);
            options.next += 2;
        } else if add && is(b"NOMKSTREAM") {
            options.no_create = true;
            options.next += 1;
        } else if add {
            options.id = Some(NewId::parse(word).ok_or(INVALID_ID)?);
            break;
        } else {
            return Err(Failure::SYNTAX);
        }
    }
    options.check(add)?;
    Ok(options)
}

/// Reads `MAXLEN|MINID [~|=] threshold`.
fn trim_rule(args: Args<'_>, options: &mut Options, by_len: bool, more: usize) -> Result<(), Failure> {
    let mut at = options.next + 1;
    let marked = more >= 2 && matches!(&args[at], b"~" | b"=");
    options.approximate = marked && &args[at] == b"~";
    at += usize::from(marked);
    options.trim = Some(if by_len {
        let max = u64::try_from(integer(&args[at])?);
        Trim::MaxLen(max.map_err(|_| Failure::text("ERR The MAXLEN argument must be >= 0."))?)
    } else {
        Trim::MinId(id(&args[at])?)
    });
    options.next = at + 1;
    Ok(())
}

impl Options {
    /// Whether they go together.
    fn check(&self, add: bool) -> Result<(), Failure> {
        if self.limit.is_some_and(|limit| limit > 0) && self.trim.is_none() {
            return Err(Failure::text(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if !add && self.trim.is_none() {
            return Err(Failure::text("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        if self.limit.is_some() && !self.approximate {
            return Err(Failure::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        Ok(())
    }

    /// Trims; how many entries have gone.
    fn apply(&self, entries: &mut Entries, limits: NodeLimits) -> u64 {
        let Some(rule) = self.trim else { return 0 };
        let limit = match self.limit {
            Some(limit) => limit,
            None if !self.approximate => 0,
            None => match (limits.entries as u64).saturating_mul(DEFAULT_LIMIT_NODES as u64) {
                0 => DEFAULT_LIMIT,
                limit => limit.min(MAX_DEFAULT_LIMIT),
            },
        };
        entries.trim(rule, !self.approximate, limit)
    }
}

fn limits(call: &Call<'_>) -> NodeLimits {
    let encodings = &call.engine.keyspace.encodings;
    NodeLimits { entries: encodings.stream_node_entries, bytes: encodings.stream_node_bytes }
}

pub(super) fn new_stream() -> Content<'static> {
    Content::Object(Box::new(Object::Stream(Box::default())))
}

pub(super) fn xadd(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let options = options(args, true)?;
    let fields = args.from(options.next + 1);
    let Some(new_id) = options.id.filter(|_| fields.len() >= 2 && fields.len().is_multiple_of(2)) else {
        return Err(Failure::arity(call.command.name));
    };
    if new_id == NewId::Given(StreamId::MIN) {
        return Err(Failure::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let limits = limits(call);
    let keyspace = &mut call.engine.keyspace;
    if options.no_create && keyspace.find(db, &args[1]).is_none() {
        call.session.out.null();
        return Ok(());
    }
    let now_ms = keyspace.now_ms().max(0) as u64;
    let added = keyspace.edit_or_insert(db, &args[1], new_stream, |entry| {
        let added = stream_mut(entry).and_then(|stream| {
            let id = append(&mut stream.entries, new_id, fields, limits, now_ms)?;
            Ok((id, options.apply(&mut stream.entries, limits)))
        });
        let changes = u64::from(added.is_ok());
        (added, changes)
    });
    let (id, trimmed) = added?;
    keyspace.notify(Class::STREAM, "xadd", db, &args[1]);
    if trimmed > 0 {
        keyspace.notify(Class::STREAM, "xtrim", db, &args[1]);
    }
    super::write_id(&mut call.session.out, id);
    Ok(())
}

fn append(
    entries: &mut Entries,
    new_id: NewId,
    fields: Args<'_>,
    limits: NodeLimits,
    now_ms: u64,
) -> Result<StreamId, Failure> {
    if entries.last_id == StreamId::MAX {
        return Err(Failure::text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = new_id.resolve(entries.last_id, now_ms).ok_or(Failure::text(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))?;
    if fields.iter().map(<[u8]>::len).sum::<usize>() > MAX_BYTES {
        return Err(Failure::text("ERR Elements are too large to be stored"));
    }
    entries.append(id, fields.pairs(), limits);
    Ok(id)
}

pub(super) fn xtrim(call: &mut Call<'_>) -> Result<(), Failure> {
    let options = options(call.args, false)?;
    let limits = limits(call);
    remove(call, "xtrim", |stream| options.apply(&mut stream.entries, limits))
}

pub(super) fn xdel(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    // Without a key, or with one of another type, nobody looks at the ids.
    if call.engine.keyspace.find(call.session.db, &args[1]).map(stream_of).transpose()?.is_none() {
        call.session.out.integer(0);
        return Ok(());
    }
    let ids = args.from(2).iter().map(id).collect::<Result<Vec<_>, _>>()?;
    remove(call, "xdel", |stream| ids.iter().filter(|id| stream.entries.delete(**id)).count() as u64)
}

/// Removes entries of the stream and answers how many.
fn remove(
    call: &mut Call<'_>,
    event: &'static str,
    remove: impl FnOnce(&mut Stream) -> u64,
) -> Result<(), Failure> {
    let (key, db) = (&call.args[1], call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let removed = keyspace.edit(db, key, |entry| {
        let removed = stream_mut(entry).map(remove);
        let changes = *removed.as_ref().unwrap_or(&0);
        (removed, changes)
    });
    let removed = removed.unwrap_or(Ok(0))?;
    if removed > 0 {
        keyspace.notify(Class::STREAM, event, db, key);
    }
    call.session.out.integer(removed as i64);
    Ok(())
}

/// What XSETID sets.
struct Ids {
    last: StreamId,
    added: Option<u64>,
    max_deleted: Option<StreamId>,
}

impl Ids {
    fn parse(args: Args<'_>) -> Result<Ids, Failure> {
        let mut ids = Ids { last: id(&args[2])?, added: None, max_deleted: None };
        let mut index = 3;
        while let Some(word) = args.get(index) {
            let value = args.get(index + 1).ok_or(Failure::SYNTAX)?;
            if word.eq_ignore_ascii_case(b"ENTRIESADDED") {
                let added = u64::try_from(integer(value)?);
                ids.added = Some(added.map_err(|_| Failure::text("ERR entries_added must be positive"))?);
            } else if word.eq_ignore_ascii_case(b"MAXDELETEDID") {
                let max_deleted = id(value)?;
                if ids.last < max_deleted {
                    return Err(Failure::text(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
                ids.max_deleted = Some(max_deleted);
            } else {
                return Err(Failure::SYNTAX);
            }
            index += 2;
        }
        Ok(ids)
    }

    fn apply(&self, entries: &mut Entries) -> Result<(), Failure> {
        if entries.last().is_some_and(|top| self.last < top) {
            return Err(Failure::text(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if !entries.is_empty() && self.added.is_some_and(|added| entries.len() > added) {
            return Err(Failure::text(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
        entries.last_id = self.last;
        entries.added = self.added.unwrap_or(entries.added);
        if let Some(id) = self.max_deleted.filter(|id| *id != StreamId::MIN) {
            entries.max_deleted = id;
        }
        Ok(())
    }
}

pub(super) fn xsetid(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let ids = Ids::parse(args)?;
    let keyspace = &mut call.engine.keyspace;
    let set = super::edit_groups(keyspace, db, &args[1], |stream| {
        let set = ids.apply(&mut stream.entries);
        let changes = u64::from(set.is_ok());
        (set, changes)
    });
    set?.ok_or(Failure::NO_KEY)?;
    keyspace.notify(Class::STREAM, "xsetid", db, &args[1]);
    call.session.out.ok();
    Ok(())
}
