//! Lists.

mod blocking;
mod search;

use super::{Call, Command, DENYOOM, FAST, Failure, MOVABLE_KEYS, READONLY, WRITE, integer};
use crate::store::entry::Content;
use crate::store::keyspace::Keyspace;
use crate::store::list::{End, Limits, List};
use crate::store::notify::Class;
use crate::store::reply::Replies;
use crate::store::value::Object;
use crate::wire::resp::{Args, parse_integer};

const ONE: (i16, i16, i16) = (1, 1, 1);
const TWO: (i16, i16, i16) = (1, 2, 1);
const NONE: (i16, i16, i16) = (0, 0, 0);
const WO: u32 = WRITE | DENYOOM;
const WOF: u32 = WRITE | DENYOOM | FAST;
const WF: u32 = WRITE | FAST;
const G: &str = "list";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("lpush", -3, WOF, ONE, G, "Adds elements at the head of a list", lpush),
    Command::new("rpush", -3, WOF, ONE, G, "Adds elements at the tail of a list", rpush),
    Command::new("lpushx", -3, WOF, ONE, G, "Adds elements at the head of a list that exists", lpushx),
    Command::new("rpushx", -3, WOF, ONE, G, "Adds elements at the tail of a list that exists", rpushx),
    Command::new("lpop", -2, WF, ONE, G, "Removes and returns elements at the head", lpop),
    Command::new("rpop", -2, WF, ONE, G, "Removes and returns elements at the tail", rpop),
    Command::new("lrange", 4, READONLY, ONE, G, "Returns a range of elements", lrange),
    Command::new("llen", 2, READONLY | FAST, ONE, G, "Returns the number of elements", llen),
    Command::new("lindex", 3, READONLY, ONE, G, "Returns an element by its index", lindex),
    Command::new("lset", 4, WO, ONE, G, "Replaces an element by its index", lset),
    Command::new("linsert", 5, WO, ONE, G, "Adds an element before or after another one", linsert),
    Command::new("lrem", 4, WRITE, ONE, G, "Removes elements that equal a value", lrem),
    Command::new("ltrim", 4, WRITE, ONE, G, "Removes elements outside of a range", ltrim),
    Command::new(
        "lpos",
        -3,
        READONLY,
        ONE,
        G,
        "Returns the index of elements that equal a value",
        search::lpos,
    ),
    Command::new("lmove", 5, WO, TWO, G, "Moves an element from one list to another", lmove),
    Command::new("rpoplpush", 3, WO, TWO, G, "Moves the last element to the head of another list", rpoplpush),
    Command::new("lmpop", -4, WRITE | MOVABLE_KEYS, NONE, G, "Pops from the first list with elements", lmpop),
];

pub use blocking::COMMANDS as BLOCKING_COMMANDS;

const OUT_OF_RANGE: Failure = Failure::text("ERR value is out of range, must be positive");

/// The list of the call's key; `None` when there is no such key.
fn read<'c>(call: &'c mut Call<'_>) -> Result<(Option<&'c List>, &'c mut Replies), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.read(call.session.db, &args[1]);
    let list = found.map(|entry| List::of(entry).ok_or(Failure::WRONG_TYPE)).transpose()?;
    Ok((list, &mut call.session.out))
}

/// Changes the list of a key; `change` says what to answer and how much it has changed. `None` when
/// there is no such key.
#[inline]
fn edit<R>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    change: impl FnOnce(&mut List) -> (R, u64),
) -> Result<Option<R>, Failure> {
    let changed = keyspace.edit(db, key, |entry| match List::of_mut(entry) {
        Some(list) => {
            let (result, changes) = change(list);
            (Ok(result), changes)
        }
        None => (Err(Failure::WRONG_TYPE), 0),
    });
    changed.transpose()
}

/// Like [`edit`], of a new list when there is no such key.
#[inline]
fn edit_or_new<R>(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    change: impl FnOnce(&mut List) -> (R, u64),
) -> Result<R, Failure> {
    let limits = Limits::of_setting(keyspace.encodings.list_size);
    let new = || Content::Object(Box::new(Object::List(List::new(limits))));
    keyspace.edit_or_insert(db, key, new, |entry| match List::of_mut(entry) {
        Some(list) => {
            let (result, changes) = change(list);
            (Ok(result), changes)
        }
        None => (Err(Failure::WRONG_TYPE), 0),
    })
}

/// What follows when elements have been removed: a list without elements goes.
#[inline]
fn removed(keyspace: &mut Keyspace, db: usize, key: &[u8], event: &'static str, empty: bool) {
    keyspace.notify(Class::LIST, event, db, key);
    if empty {
        keyspace.remove(db, key);
        keyspace.notify(Class::GENERIC, "del", db, key);
    }
}

fn push_event(end: End) -> &'static str {
    if end == End::Head { "lpush" } else { "rpush" }
}

fn pop_event(end: End) -> &'static str {
    if end == End::Head { "lpop" } else { "rpop" }
}

/// LEFT or RIGHT.
fn end_of(word: &[u8]) -> Result<End, Failure> {
    if word.eq_ignore_ascii_case(b"LEFT") {
        Ok(End::Head)
    } else if word.eq_ignore_ascii_case(b"RIGHT") {
        Ok(End::Tail)
    } else {
        Err(Failure::SYNTAX)
    }
}

fn lpush(call: &mut Call<'_>) -> Result<(), Failure> {
    push(call, End::Head, false)
}

fn rpush(call: &mut Call<'_>) -> Result<(), Failure> {
    push(call, End::Tail, false)
}

fn lpushx(call: &mut Call<'_>) -> Result<(), Failure> {
    push(call, End::Head, true)
}

fn rpushx(call: &mut Call<'_>) -> Result<(), Failure> {
    push(call, End::Tail, true)
}

fn push(call: &mut Call<'_>, end: End, only_existing: bool) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let elements = args.from(2);
    let push_all = |list: &mut List| {
        elements.iter().for_each(|element| list.push(end, element));
        (list.len(), elements.len() as u64)
    };
    let len = if only_existing {
        edit(keyspace, db, &args[1], push_all)?
    } else {
        Some(edit_or_new(keyspace, db, &args[1], push_all)?)
    };
    let Some(len) = len else {
        call.session.out.integer(0);
        return Ok(());
    };
    keyspace.notify(Class::LIST, push_event(end), db, &args[1]);
    call.session.out.count(len);
    Ok(())
}

fn lpop(call: &mut Call<'_>) -> Result<(), Failure> {
    pop(call, End::Head)
}

fn rpop(call: &mut Call<'_>) -> Result<(), Failure> {
    pop(call, End::Tail)
}

/// Removes up to `count` elements and answers each; how many.
fn pop_each(list: &mut List, end: End, count: usize, out: &mut Replies) -> usize {
    for popped in 0..count {
        let Some(element) = list.peek(end) else { return popped };
        out.bulk(element);
        list.drop_one(end);
    }
    count
}

fn pop(call: &mut Call<'_>, end: End) -> Result<(), Failure> {
    if call.args.len() > 2 {
        return pop_count(call, end);
    }
    let (args, db) = (call.args, call.session.db);
    let (keyspace, out) = (&mut call.engine.keyspace, &mut call.session.out);
    let empty = edit(keyspace, db, &args[1], |list| {
        pop_each(list, end, 1, out);
        (list.is_empty(), 1)
    })?;
    match empty {
        Some(empty) => removed(keyspace, db, &args[1], pop_event(end), empty),
        None => out.null(),
    }
    Ok(())
}

fn pop_count(call: &mut Call<'_>, end: End) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    if args.len() > 3 {
        return Err(Failure::arity(call.command.name));
    }
    let count = parse_integer(&args[2]).and_then(|count| usize::try_from(count).ok()).ok_or(OUT_OF_RANGE)?;
    let (keyspace, out) = (&mut call.engine.keyspace, &mut call.session.out);
    let popped = edit(keyspace, db, &args[1], |list| {
        let count = count.min(list.len());
        out.array(count);
        let popped = pop_each(list, end, count, out);
        ((popped, list.is_empty()), popped as u64)
    })?;
    match popped {
        None => out.null_array(),
        Some((0, _)) => {}
        Some((_, empty)) => removed(keyspace, db, &args[1], pop_event(end), empty),
    }
    Ok(())
}

/// The elements from `start` to `stop`, both included, where negative ones count from the end.
fn range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index + len } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

fn lrange(call: &mut Call<'_>) -> Result<(), Failure> {
    let (start, stop) = (integer(&call.args[2])?, integer(&call.args[3])?);
    let (list, out) = read(call)?;
    let range = range(start, stop, list.map_or(0, List::len));
    out.array(range.len());
    if let Some(list) = list {
        list.iter_from(range.start).take(range.len()).for_each(|element| out.bulk(element));
    }
    Ok(())
}

fn llen(call: &mut Call<'_>) -> Result<(), Failure> {
    let (list, out) = read(call)?;
    out.count(list.map_or(0, List::len));
    Ok(())
}

/// The place of an index, where negative ones count from the end.
fn place(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        index as usize
    };
    (place < len).then_some(place)
}

fn lindex(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (list, out) = read(call)?;
    let Some(list) = list else {
        out.null();
        return Ok(());
    };
    let index = integer(&args[2])?;
    out.optional(place(index, list.len()).and_then(|place| list.get(place)));
    Ok(())
}

fn lset(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let changed = edit(keyspace, db, &args[1], |list| match integer(&args[2]) {
        Ok(index) => {
            let changed = place(index, list.len()).is_some_and(|place| list.set(place, &args[3]));
            (Ok(changed), u64::from(changed))
        }
        Err(failure) => (Err(failure), 0),
    })?;
    if !changed.ok_or(Failure::NO_KEY)?? {
        return Err(Failure::text("ERR index out of range"));
    }
    keyspace.notify(Class::LIST, "lset", db, &args[1]);
    call.session.out.ok();
    Ok(())
}

fn linsert(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let after = match &args[2] {
        word if word.eq_ignore_ascii_case(b"AFTER") => true,
        word if word.eq_ignore_ascii_case(b"BEFORE") => false,
        _ => return Err(Failure::SYNTAX),
    };
    let keyspace = &mut call.engine.keyspace;
    let outcome = edit(keyspace, db, &args[1], |list| {
        let Some(pivot) = list.iter().position(|element| element == &args[3]) else { return (None, 0) };
        list.insert(pivot + usize::from(after), &args[4]);
        (Some(list.len()), 1)
    })?;
    let out = &mut call.session.out;
    match outcome {
        None => out.integer(0),
        Some(None) => out.integer(-1),
        Some(Some(len)) => {
            keyspace.notify(Class::LIST, "linsert", db, &args[1]);
            out.count(len);
        }
    }
    Ok(())
}

fn lrem(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let count = integer(&args[2])?;
    let max =
        if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let end = if count < 0 { End::Tail } else { End::Head };
    let keyspace = &mut call.engine.keyspace;
    let outcome = edit(keyspace, db, &args[1], |list| {
        let gone = list.remove_equal(end, &args[3], max);
        ((gone, list.is_empty()), gone as u64)
    })?;
    let (gone, empty) = outcome.unwrap_or((0, false));
    if gone > 0 {
        removed(keyspace, db, &args[1], "lrem", empty);
    }
    call.session.out.count(gone);
    Ok(())
}

fn ltrim(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let keyspace = &mut call.engine.keyspace;
    let outcome = edit(keyspace, db, &args[1], |list| {
        let before = list.len();
        list.keep(range(start, stop, before));
        // It counts as a write although all elements stay.
        (list.is_empty(), (before - list.len()).max(1) as u64)
    })?;
    if let Some(empty) = outcome {
        removed(keyspace, db, &args[1], "ltrim", empty);
    }
    call.session.out.ok();
    Ok(())
}

fn lmove(call: &mut Call<'_>) -> Result<(), Failure> {
    let (from, to) = (end_of(&call.args[3])?, end_of(&call.args[4])?);
    if !move_element(call, from, to)? {
        call.session.out.null();
    }
    Ok(())
}

fn rpoplpush(call: &mut Call<'_>) -> Result<(), Failure> {
    if !move_element(call, End::Tail, End::Head)? {
        call.session.out.null();
    }
    Ok(())
}

/// A buffer above this is given back.
const KEPT_SCRATCH: usize = 64 * 1024;

/// Moves an element between the lists of the call's first two keys and answers it; whether the first
/// list is there.
fn move_element(call: &mut Call<'_>, from: End, to: End) -> Result<bool, Failure> {
    let (args, db) = (call.args, call.session.db);
    let (source, target) = (&args[1], &args[2]);
    let keyspace = &mut call.engine.keyspace;
    let Some(entry) = keyspace.find(db, source) else { return Ok(false) };
    let list = List::of(entry).ok_or(Failure::WRONG_TYPE)?;
    let Some(element) = list.peek(from) else { return Ok(false) };
    let scratch = &mut call.engine.scratch;
    scratch.clear();
    scratch.extend_from_slice(element);
    push_moved(keyspace, db, target, to, scratch, (source == target).then_some(from))?;
    call.session.out.bulk(scratch);
    if scratch.capacity() > KEPT_SCRATCH {
        *scratch = Vec::new();
    }
    let empty = source != target
        && edit(keyspace, db, source, |list| {
            list.drop_one(from);
            (list.is_empty(), 1)
        })?
        .unwrap_or(false);
    removed(keyspace, db, source, pop_event(from), empty);
    Ok(true)
}

/// Pushes an element, which first leaves the same list when `leaves` says at which end.
fn push_moved(
    keyspace: &mut Keyspace,
    db: usize,
    key: &[u8],
    end: End,
    element: &[u8],
    leaves: Option<End>,
) -> Result<(), Failure> {
    edit_or_new(keyspace, db, key, |list| {
        if let Some(from) = leaves {
            list.drop_one(from);
        }
        list.push(end, element);
        ((), 1)
    })?;
    keyspace.notify(Class::LIST, push_event(end), db, key);
    Ok(())
}

/// The arguments of LMPOP and BLMPOP from the number of keys on.
struct MultiPop<'a> {
    keys: Args<'a>,
    key_count: usize,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: Args<'a>) -> Result<MultiPop<'a>, Failure> {
        let positive = |index: usize, text: &'static str| {
            let value = args.get(index).and_then(parse_integer).filter(|value| *value > 0);
            value.and_then(|value| usize::try_from(value).ok()).ok_or(Failure::text(text))
        };
        let key_count = positive(0, "ERR numkeys should be greater than 0")?;
        let place = key_count.saturating_add(1);
        let end = end_of(args.get(place).ok_or(Failure::SYNTAX)?)?;
        let count = match args.get(place + 1) {
            None => 1,
            Some(word) if word.eq_ignore_ascii_case(b"COUNT") && args.len() > place + 2 => {
                let count = positive(place + 2, "ERR count should be greater than 0")?;
                if args.len() > place + 3 {
                    return Err(Failure::SYNTAX);
                }
                count
            }
            Some(_) => return Err(Failure::SYNTAX),
        };
        Ok(MultiPop { keys: args.from(1), key_count, end, count })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.keys.iter().take(self.key_count)
    }
}

/// Answers the name of the first key that is there and up to `count` elements of its list; whether
/// there is one.
fn pop_named(call: &mut Call<'_>, pop: &MultiPop<'_>) -> Result<bool, Failure> {
    let db = call.session.db;
    let (keyspace, out) = (&mut call.engine.keyspace, &mut call.session.out);
    let (resumed, ready) = (call.resumed, call.ready_key);
    for key in pop.keys().filter(|key| !resumed || *key == ready) {
        let popped = edit(keyspace, db, key, |list| {
            out.array(2);
            out.bulk(key);
            out.array(pop.count.min(list.len()));
            let popped = pop_each(list, pop.end, pop.count.min(list.len()), out);
            (list.is_empty(), popped as u64)
        });
        match popped {
            Ok(Some(empty)) => {
                removed(keyspace, db, key, pop_event(pop.end), empty);
                return Ok(true);
            }
            Ok(None) => {}
            // Whoever waits is not told that a key has become something else.
            Err(_) if resumed => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(false)
}

fn lmpop(call: &mut Call<'_>) -> Result<(), Failure> {
    let pop = MultiPop::parse(call.args.from(1))?;
    if !pop_named(call, &pop)? {
        call.session.out.null_array();
    }
    Ok(())
}
