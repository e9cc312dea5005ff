//! Streams.

use super::{Call, Command, DENYOOM, FAST, Failure, READONLY, WRITE, integer};
use crate::store::entry::{Content, Entry, View};
use crate::store::keyspace::Expiry;
use crate::store::stream::{Stream, StreamId, Trim, parse_u64};
use crate::store::value::Object;
use crate::wire::resp::Args;

const ONE: (i16, i16, i16) = (1, 1, 1);
const G: &str = "stream";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("xadd", -5, WRITE | DENYOOM | FAST, ONE, G, "Appends an entry to a stream", xadd),
    Command::new("xlen", 2, READONLY | FAST, ONE, G, "Returns the number of entries", xlen),
    Command::new("xrange", -4, READONLY, ONE, G, "Returns the entries between two ids", xrange),
    Command::new(
        "xrevrange",
        -4,
        READONLY,
        ONE,
        G,
        "Returns the entries between two ids backwards",
        xrevrange,
    ),
    Command::new("xdel", -3, WRITE | FAST, ONE, G, "Removes entries", xdel),
    Command::new("xtrim", -4, WRITE, ONE, G, "Shortens a stream", xtrim),
];

const INVALID_ID: Failure = Failure::text("ERR Invalid stream ID specified as stream command argument");

/// Entries that a trim with `~` may remove unless LIMIT says otherwise: a hundred nodes.
const DEFAULT_LIMIT: u64 = 100 * 100;

fn stream_of(entry: &Entry) -> Result<&Stream, Failure> {
    match entry.view() {
        View::Object(Object::Stream(stream)) => Ok(stream),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn stream_mut(entry: &mut Entry) -> Result<&mut Stream, Failure> {
    match entry.object_mut() {
        Some(Object::Stream(stream)) => Ok(stream),
        _ => Err(Failure::WRONG_TYPE),
    }
}

fn read<'c>(call: &'c mut Call<'_>) -> Result<Option<&'c Stream>, Failure> {
    let args = call.args;
    call.engine.keyspace.read(call.session.db, &args[1]).map(stream_of).transpose()
}

/// The options of XADD and XTRIM.
#[derive(Default)]
struct Options {
    trim: Option<Trim>,
    approximate: bool,
    limit: Option<u64>,
    no_create: bool,
    /// Where they end.
    next: usize,
}

/// Reads options from the third argument on. With XADD (`add`), the first word that is none ends them.
fn options(args: Args<'_>, add: bool) -> Result<Options, Failure> {
    let mut options = Options { next: 2, ..Options::default() };
    while let Some(word) = args.get(options.next) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let more = args.len() - options.next - 1;
        if add && is(b"*") {
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
            let limit = integer(&args[options.next + 1])?;
            let limit = u64::try_from(limit);
            options.limit = Some(limit.map_err(|_| Failure::text("ERR The LIMIT argument must be >= 0."))?);
            options.next += 2;
        } else if add && is(b"NOMKSTREAM") {
            options.no_create = true;
            options.next += 1;
        } else if add {
            break;
        } else {
            return Err(Failure::SYNTAX);
        }
    }
    if options.limit.is_some() && options.trim.is_none() {
        return Err(Failure::text(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ));
    }
    if !add && options.trim.is_none() {
        return Err(Failure::text("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if options.limit.is_some() && !options.approximate {
        return Err(Failure::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
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
        Trim::MinId(StreamId::parse(&args[at], 0).ok_or(INVALID_ID)?)
    });
    options.next = at + 1;
    Ok(())
}

impl Options {
    fn apply(&self, stream: &mut Stream) -> u64 {
        let Some(rule) = self.trim else { return 0 };
        let limit = self.limit.unwrap_or(if self.approximate { DEFAULT_LIMIT } else { 0 });
        stream.trim(rule, !self.approximate, limit)
    }
}

/// The id that XADD is given.
enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    AutoSeq(u64),
    /// `ms-seq`
    Given(StreamId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<NewId, Failure> {
        if text == b"*" {
            return Ok(NewId::Auto);
        }
        if let Some(ms) = text.strip_suffix(b"-*") {
            return parse_u64(ms).map(NewId::AutoSeq).ok_or(INVALID_ID);
        }
        let id = StreamId::parse(text, 0).ok_or(INVALID_ID)?;
        if id == StreamId::MIN {
            return Err(Failure::text("ERR The ID specified in XADD must be greater than 0-0"));
        }
        Ok(NewId::Given(id))
    }

    /// The id of the entry, above `last`.
    fn resolve(self, last: StreamId, now_ms: u64) -> Result<StreamId, Failure> {
        let id = match self {
            NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
            NewId::Auto => last.next(),
            NewId::AutoSeq(ms) if ms == last.ms => last.next().filter(|next| next.ms == ms),
            NewId::AutoSeq(ms) => Some(StreamId { ms, seq: 0 }).filter(|id| *id > last),
            NewId::Given(id) => Some(id).filter(|id| *id > last),
        };
        id.ok_or(Failure::text(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ))
    }
}

fn xadd(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let options = options(args, true)?;
    let fields = args.from(options.next + 1);
    if fields.len() < 2 || fields.len() % 2 != 0 {
        return Err(Failure::arity(call.command.name));
    }
    let id = NewId::parse(&args[options.next])?;
    let keyspace = &mut call.engine.keyspace;
    let last = keyspace.find(db, &args[1]).map(stream_of).transpose()?.map(Stream::last_id);
    if last.is_none() && options.no_create {
        call.session.out.null();
        return Ok(());
    }
    if last == Some(StreamId::MAX) {
        return Err(Failure::text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = id.resolve(last.unwrap_or_default(), keyspace.now_ms().max(0) as u64)?;
    if last.is_none() {
        let stream = Content::Object(Box::new(Object::Stream(Stream::default())));
        keyspace.put(db, &args[1], stream, Expiry::Clear);
    }
    let added = keyspace.edit(db, &args[1], |entry| {
        let added = stream_mut(entry).map(|stream| {
            stream.append(id, fields);
            options.apply(stream);
        });
        (added, 1)
    });
    added.unwrap_or(Ok(()))?;
    call.session.out.text(&id.to_string());
    Ok(())
}

fn xlen(call: &mut Call<'_>) -> Result<(), Failure> {
    let len = read(call)?.map_or(0, Stream::len);
    call.session.out.integer(len as i64);
    Ok(())
}

/// One end of an interval: `-`, `+`, `ms`, `ms-seq`, `(` before it for "not this one".
fn bound(text: &[u8], is_start: bool) -> Result<StreamId, Failure> {
    match text {
        b"-" => return Ok(StreamId::MIN),
        b"+" => return Ok(StreamId::MAX),
        _ => {}
    }
    let (exclusive, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let id = StreamId::parse(text, if is_start { 0 } else { u64::MAX }).ok_or(INVALID_ID)?;
    match (exclusive, is_start) {
        (false, _) => Ok(id),
        (true, true) => id.next().ok_or(Failure::text("ERR invalid start ID for the interval")),
        (true, false) => id.previous().ok_or(Failure::text("ERR invalid end ID for the interval")),
    }
}

fn xrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, false)
}

fn xrevrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, true)
}

fn range(call: &mut Call<'_>, reverse: bool) -> Result<(), Failure> {
    let args = call.args;
    let (start, end) = if reverse { (3, 2) } else { (2, 3) };
    let (first, last) = (bound(&args[start], true)?, bound(&args[end], false)?);
    let mut count = None;
    let mut index = 4;
    while let Some(word) = args.get(index) {
        match args.get(index + 1) {
            Some(value) if word.eq_ignore_ascii_case(b"COUNT") => count = Some(integer(value)?.max(0)),
            _ => return Err(Failure::SYNTAX),
        }
        index += 2;
    }
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let Some(stream) = found.map(stream_of).transpose()? else {
        call.session.out.array(0);
        return Ok(());
    };
    if count == Some(0) {
        call.session.out.null_array();
        return Ok(());
    }
    let count = count.map_or(usize::MAX, |count| count as usize);
    let mut entries = Vec::new();
    stream.range(first, last, reverse, count, &mut |id, fields| entries.push((id, fields)));
    let out = &mut call.session.out;
    out.array(entries.len());
    for (id, fields) in entries {
        out.array(2);
        out.text(&id.to_string());
        out.array(fields.len());
        fields.for_each(|item| out.bulk(item));
    }
    Ok(())
}

fn xdel(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    read(call)?;
    let ids = args.from(2).iter().map(|text| StreamId::parse(text, 0).ok_or(INVALID_ID));
    let ids: Vec<StreamId> = ids.collect::<Result<_, _>>()?;
    let removed = call.engine.keyspace.edit(db, &args[1], |entry| {
        let removed = stream_mut(entry).map(|stream| ids.iter().filter(|id| stream.delete(**id)).count());
        let changes = removed.as_ref().map_or(0, |removed| *removed as u64);
        (removed, changes)
    });
    call.session.out.count(removed.unwrap_or(Ok(0))?);
    Ok(())
}

fn xtrim(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let options = options(args, false)?;
    let removed = call.engine.keyspace.edit(db, &args[1], |entry| {
        let removed = stream_mut(entry).map(|stream| options.apply(stream));
        let changes = *removed.as_ref().unwrap_or(&0);
        (removed, changes)
    });
    call.session.out.integer(removed.unwrap_or(Ok(0))? as i64);
    Ok(())
}
