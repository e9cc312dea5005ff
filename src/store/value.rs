//! Values that have their own allocation, and what all values have in common.

use super::entry::{Entry, Form, View};
use super::list::List;
use super::set::Set;
use super::sorted_set::SortedSet;
use super::stream::Stream;
use super::table::Table;

/// A value that does not stand in its entry.
#[derive(Debug, Clone)]
pub enum Object {
    /// A string that is large, or has been changed in place.
    Raw(Vec<u8>),
    /// A hash that is no longer small: its fields are the keys of the table.
    Hash(Table),
    /// A list.
    List(List),
    /// A sorted set.
    SortedSet(SortedSet),
    /// A set.
    Set(Set),
    /// A stream.
    Stream(Box<Stream>),
}

impl Default for Object {
    /// The empty string, which takes no memory.
    fn default() -> Object {
        Object::Raw(Vec::new())
    }
}

/// The string in an entry; `None` when it holds another type.
pub fn string(entry: &Entry) -> Option<&[u8]> {
    match entry.view() {
        View::String(bytes) => Some(bytes),
        View::Object(Object::Raw(bytes)) => Some(bytes),
        _ => None,
    }
}

/// What TYPE answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `string`
    String,
    /// `hash`
    Hash,
    /// `list`
    List,
    /// `zset`
    SortedSet,
    /// `set`
    Set,
    /// `stream`
    Stream,
}

impl Type {
    /// The name that TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Hash => "hash",
            Type::List => "list",
            Type::SortedSet => "zset",
            Type::Set => "set",
            Type::Stream => "stream",
        }
    }

    /// The type of an entry's value.
    pub fn of(entry: &Entry) -> Type {
        match entry.view() {
            View::String(_) | View::Object(Object::Raw(_)) => Type::String,
            View::PackedHash(_) | View::Object(Object::Hash(_)) => Type::Hash,
            View::Object(Object::List(_)) => Type::List,
            View::Object(Object::SortedSet(_)) => Type::SortedSet,
            View::Object(Object::Set(_)) => Type::Set,
            View::Object(Object::Stream(_)) => Type::Stream,
        }
    }
}

/// What OBJECT ENCODING answers.
pub fn encoding(entry: &Entry) -> &'static str {
    match entry.view() {
        View::String(_) if integer(entry).is_some() => "int",
        View::String(bytes) if bytes.len() <= 44 => "embstr",
        View::String(_) | View::Object(Object::Raw(_)) => "raw",
        View::PackedHash(_) => "listpack",
        View::Object(Object::Hash(_)) => "hashtable",
        View::Object(Object::List(_)) => "quicklist",
        View::Object(Object::SortedSet(set)) => set.encoding(),
        View::Object(Object::Set(set)) => set.encoding(),
        View::Object(Object::Stream(_)) => "stream",
    }
}

/// The integer in a string that Redis would keep as one.
fn integer(entry: &Entry) -> Option<i64> {
    match entry.view() {
        View::String(bytes) if entry.form() != Form::Text => crate::wire::resp::parse_integer(bytes),
        _ => None,
    }
}

/// What OBJECT REFCOUNT answers. Redis shares the integers below 10,000 between all keys, and gives the
/// largest count for them.
pub fn references(entry: &Entry) -> i64 {
    let is_shared = integer(entry).is_some_and(|number| (0..10_000).contains(&number));
    if is_shared && entry.form() == Form::Plain { i64::from(i32::MAX) } else { 1 }
}

/// What MEMORY USAGE answers: all bytes of the entry, and nine for its place in the table. The fields of a
/// large hash are estimated from `samples` of them; 0 counts them all.
pub fn memory_usage(entry: &Entry, samples: usize) -> usize {
    let object = match entry.view() {
        View::String(_) | View::PackedHash(_) => 0,
        View::Object(Object::Raw(bytes)) => size_of::<Object>() + bytes.capacity(),
        View::Object(Object::List(list)) => size_of::<Object>() + list.bytes(),
        View::Object(Object::SortedSet(set)) => size_of::<Object>() + set.bytes(),
        View::Object(Object::Hash(table)) => size_of::<Object>() + table.bytes(samples),
        View::Object(Object::Set(set)) => size_of::<Object>() + set.bytes(samples),
        View::Object(Object::Stream(stream)) => size_of::<Object>() + stream.bytes(),
    };
    entry.block_bytes() + 9 + object
}
