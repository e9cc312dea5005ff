//! SORT: the elements of a list, a set or a sorted set in another order.
//!
//! 1. The elements are copied, so that other keys can be read meanwhile.
//! 2. Each gets a weight: itself, or with BY what a key or field named after it holds.
//! 3. They are put in order. Elements of equal numeric weight are ordered as texts.
//! 4. Those within LIMIT are answered, or stored as a list: themselves, or with GET what keys or fields
//!    named after them hold.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Call, Command, DENYOOM, Failure, MOVABLE_KEYS, READONLY, WRITE, integer};
use crate::store::entry::{Content, Entry, View};
use crate::store::hash::Hash;
use crate::store::keyspace::{Expiry, Keyspace};
use crate::store::list::{End, Limits, List};
use crate::store::notify::Class;
use crate::store::number::strtod;
use crate::store::value::{self, Object, Type};
use crate::wire::resp::Args;

const ONE: (i16, i16, i16) = (1, 1, 1);
const G: &str = "generic";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new(
        "sort",
        -2,
        WRITE | DENYOOM | MOVABLE_KEYS,
        ONE,
        G,
        "Sorts elements, and may store them",
        sort,
    ),
    Command::new("sort_ro", -2, READONLY | MOVABLE_KEYS, ONE, G, "Sorts elements", sort),
];

/// The options of a call.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// First element and how many, as they were given.
    limit: Option<(i64, i64)>,
    by: Option<Pattern<'a>>,
    /// BY without a star: the elements stay as they are.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(words: Args<'a>, may_store: bool) -> Result<Options<'a>, Failure> {
        let mut options = Options::default();
        let mut index = 0;
        while let Some(word) = words.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            index += 1;
            if is(b"ASC") {
                options.descending = false;
            } else if is(b"DESC") {
                options.descending = true;
            } else if is(b"ALPHA") {
                options.alpha = true;
            } else {
                let value = words.get(index).ok_or(Failure::SYNTAX)?;
                index += 1;
                if is(b"LIMIT") {
                    let count = words.get(index).ok_or(Failure::SYNTAX)?;
                    options.limit = Some((integer(value)?, integer(count)?));
                    index += 1;
                } else if is(b"STORE") && may_store {
                    options.store = Some(value);
                } else if is(b"BY") {
                    let pattern = Pattern::new(value);
                    options.unsorted |= pattern.star.is_none();
                    options.by = Some(pattern);
                } else if is(b"GET") {
                    options.get.push(Pattern::new(value));
                } else {
                    return Err(Failure::SYNTAX);
                }
            }
        }
        Ok(options)
    }

    /// A set has no order of its own, and what is stored must not depend on chance.
    fn need_order(&mut self) {
        if self.unsorted {
            (self.unsorted, self.alpha, self.by) = (false, true, None);
        }
    }

    /// Which elements of `len` are answered.
    fn range(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(start).unwrap_or(0).min(len);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

/// What BY and GET name: `#` (the element), or a key with the element in place of the first star,
/// perhaps with the field of a hash behind `->`.
struct Pattern<'a> {
    itself: bool,
    /// What stands before and behind the star.
    star: Option<(&'a [u8], &'a [u8])>,
    field: Option<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    fn new(text: &'a [u8]) -> Pattern<'a> {
        let itself = text == b"#";
        let Some(at) = memchr::memchr(b'*', text) else { return Pattern { itself, star: None, field: None } };
        let (before, behind) = (&text[..at], &text[at + 1..]);
        let arrow = memchr::memmem::find(behind, b"->").filter(|arrow| arrow + 2 < behind.len());
        let field = arrow.map(|arrow| &behind[arrow + 2..]);
        let behind = &behind[..arrow.unwrap_or(behind.len())];
        Pattern { itself, star: Some((before, behind)), field }
    }

    /// What is found for an element. `key` is scratch space.
    fn look_up<'r>(
        &self,
        keyspace: &'r mut Keyspace,
        db: usize,
        element: &'r [u8],
        key: &mut Vec<u8>,
    ) -> Option<&'r [u8]> {
        if self.itself {
            return Some(element);
        }
        let (before, behind) = self.star?;
        key.clear();
        [before, element, behind].into_iter().for_each(|part| key.extend_from_slice(part));
        let entry = keyspace.read(db, key)?;
        match self.field {
            Some(field) => Hash::of(entry)?.get(field),
            None => value::string(entry),
        }
    }
}

/// Texts in one buffer.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The elements of a value; `None` for a type that has none. With BY nosort these are only those that
/// LIMIT leaves, in the order in which they are answered.
fn elements(entry: &Entry, options: &Options<'_>) -> Option<Texts> {
    let mut texts = Texts::default();
    match entry.view() {
        View::Object(Object::List(list)) if options.unsorted => {
            let range = options.range(list.len());
            if options.descending {
                let first = list.len().wrapping_sub(range.start + 1);
                list.iter_back_from(first).take(range.len()).for_each(|element| texts.push(element));
            } else {
                list.iter_from(range.start).take(range.len()).for_each(|element| texts.push(element));
            }
        }
        View::Object(Object::List(list)) => list.iter().for_each(|element| texts.push(element)),
        View::Object(Object::SortedSet(set)) if options.unsorted => {
            let range = options.range(set.len());
            let (start, end) = (set.len() - range.end, set.len() - range.start);
            let ranks = if options.descending { start..end } else { range };
            set.visit(ranks, options.descending, |item| texts.push(item.member));
        }
        View::Object(Object::SortedSet(set)) => set.for_each(|item| texts.push(item.member)),
        View::Object(Object::Set(set)) => {
            let range = if options.unsorted { options.range(set.len()) } else { 0..set.len() };
            let chosen = set.iter().skip(range.start).take(range.len());
            chosen.for_each(|member| member.with(|member| texts.push(member)));
        }
        _ => return None,
    }
    Some(texts)
}

fn sort(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let mut options = Options::parse(args.from(2), call.command.name == "sort")?;
    let keyspace = &mut call.engine.keyspace;
    // As Redis does, which OBJECT ENCODING shows.
    keyspace.edit_unseen(db, &args[1], |entry| {
        if let Some(Object::SortedSet(set)) = entry.object_mut() {
            set.enlarge();
        }
        ((), 0)
    });
    let texts = match keyspace.read(db, &args[1]) {
        Some(entry) => {
            if Type::of(entry) == Type::Set && options.store.is_some() {
                options.need_order();
            }
            elements(entry, &options).ok_or(Failure::WRONG_TYPE)?
        }
        None => Texts::default(),
    };
    let chosen = if options.unsorted {
        (0..texts.len()).collect()
    } else {
        let order = order(keyspace, db, &texts, &options)?;
        order[options.range(order.len())].to_vec()
    };
    match options.store {
        Some(key) => store(call, key, &texts, &chosen, &options),
        None => answer(call, &texts, &chosen, &options),
    }
    Ok(())
}

fn order(
    keyspace: &mut Keyspace,
    db: usize,
    texts: &Texts,
    options: &Options<'_>,
) -> Result<Vec<usize>, Failure> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    let direct = |ordering: Ordering| if options.descending { ordering.reverse() } else { ordering };
    if !options.alpha {
        let weights = numbers(keyspace, db, texts, options.by.as_ref())?;
        order.sort_by(|&a, &b| {
            let numeric = weights[a].total_cmp(&weights[b]);
            direct(numeric.then_with(|| texts.get(a).cmp(texts.get(b))))
        });
    } else if let Some(by) = &options.by {
        let weights = names(keyspace, db, texts, by);
        let weight = |index: usize| weights[index].as_deref().map(|text| collated(text, options));
        order.sort_by(|&a, &b| direct(weight(a).cmp(&weight(b))));
    } else {
        let weight = |index: usize| collated(texts.get(index), options);
        order.sort_by(|&a, &b| direct(weight(a).cmp(weight(b))));
    }
    Ok(order)
}

/// What of a text is compared: as C strings they end at a zero byte, unless the result is stored.
fn collated<'t>(text: &'t [u8], options: &Options<'_>) -> &'t [u8] {
    let zero = if options.store.is_none() { memchr::memchr(0, text) } else { None };
    &text[..zero.unwrap_or(text.len())]
}

/// Numeric weights; 0 where there is none.
fn numbers(
    keyspace: &mut Keyspace,
    db: usize,
    texts: &Texts,
    by: Option<&Pattern<'_>>,
) -> Result<Vec<f64>, Failure> {
    let mut key = Vec::new();
    let weights = (0..texts.len()).map(|index| {
        let text = match by {
            Some(by) => by.look_up(keyspace, db, texts.get(index), &mut key),
            None => Some(texts.get(index)),
        };
        // Adding zero makes -0 equal to 0.
        text.map_or(Some(0.0), c_double).map(|weight| weight + 0.0)
    });
    let weights: Option<Vec<f64>> = weights.collect();
    weights.ok_or(Failure::text("ERR One or more scores can't be converted into double"))
}

/// Weights that are texts.
fn names(keyspace: &mut Keyspace, db: usize, texts: &Texts, by: &Pattern<'_>) -> Vec<Option<Box<[u8]>>> {
    let mut key = Vec::new();
    let weight = |index| by.look_up(keyspace, db, texts.get(index), &mut key).map(Box::from);
    (0..texts.len()).map(weight).collect()
}

/// A number as C's `strtod` reads it, which must take the whole text up to a zero byte. The empty text
/// is 0. `None` also for what is not a number or too large.
fn c_double(text: &[u8]) -> Option<f64> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    let number = strtod(text);
    (number.len == text.len() && !number.out_of_range && !number.value.is_nan()).then_some(number.value)
}

fn answer(call: &mut Call<'_>, texts: &Texts, chosen: &[usize], options: &Options<'_>) {
    let (keyspace, db, out) = (&mut call.engine.keyspace, call.session.db, &mut call.session.out);
    let mut key = Vec::new();
    out.array(chosen.len() * options.get.len().max(1));
    for &index in chosen {
        let element = texts.get(index);
        if options.get.is_empty() {
            out.bulk(element);
        }
        for pattern in &options.get {
            out.optional(pattern.look_up(keyspace, db, element, &mut key));
        }
    }
}

fn store(call: &mut Call<'_>, target: &[u8], texts: &Texts, chosen: &[usize], options: &Options<'_>) {
    let (keyspace, db) = (&mut call.engine.keyspace, call.session.db);
    let mut key = Vec::new();
    let mut list = List::new(Limits::of_setting(keyspace.encodings.list_size));
    for &index in chosen {
        let element = texts.get(index);
        if options.get.is_empty() {
            list.push(End::Tail, element);
        }
        for pattern in &options.get {
            let found = pattern.look_up(keyspace, db, element, &mut key);
            list.push(End::Tail, found.unwrap_or_default());
        }
    }
    let len = list.len();
    if len > 0 {
        keyspace.put(db, target, Content::Object(Box::new(Object::List(list))), Expiry::Clear);
        keyspace.notify(Class::LIST, "sortstore", db, target);
    } else if keyspace.remove(db, target).is_some() {
        keyspace.notify(Class::GENERIC, "del", db, target);
    }
    call.session.out.count(len);
}
