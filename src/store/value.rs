//! Values that have their own allocation, and what all values have in common.

use super::entry::{Entry, View};
use super::set::Set;
use super::stream::Stream;
use super::table::Table;

/// A value that does not stand in its entry.
#[derive(Debug, Clone)]
pub enum Object {
    /// A string that is large, or has been changed in place.
    Raw(Vec<u8>),
    /// A hash that is no longer small: its fields are the keys of the table.
    Hash(Table),
    /// A set.
    Set(Set),
    /// A stream.
    Stream(Stream),
}

impl Default for Object {
    /// The empty string, which takes no memory.
    fn default() -> Object {
        Object::Raw(Vec::new())
    }
}

/// What TYPE answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `string`
    String,
    /// `hash`
    Hash,
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
            Type::Set => "set",
            Type::Stream => "stream",
        }
    }

    /// The type of an entry's value.
    pub fn of(entry: &Entry) -> Type {
        match entry.view() {
            View::String(_) | View::Object(Object::Raw(_)) => Type::String,
            View::PackedHash(_) | View::Object(Object::Hash(_)) => Type::Hash,
            View::Object(Object::Set(_)) => Type::Set,
            View::Object(Object::Stream(_)) => Type::Stream,
        }
    }
}

/// What OBJECT ENCODING answers.
pub fn encoding(entry: &Entry) -> &'static str {
    match entry.view() {
        View::String(bytes) if crate::wire::resp::parse_integer(bytes).is_some() => "int",
        View::String(bytes) if bytes.len() <= 44 => "embstr",
        View::String(_) | View::Object(Object::Raw(_)) => "raw",
        View::PackedHash(_) => "listpack",
        View::Object(Object::Hash(_)) => "hashtable",
        View::Object(Object::Set(set)) => set.encoding(),
        View::Object(Object::Stream(_)) => "stream",
    }
}

/// What MEMORY USAGE answers: all bytes of the entry, and nine for its place in the table.
pub fn memory_usage(entry: &Entry) -> usize {
    let object = match entry.view() {
        View::String(_) | View::PackedHash(_) => 0,
        View::Object(Object::Raw(bytes)) => size_of::<Object>() + bytes.capacity(),
        View::Object(Object::Hash(table)) => {
            size_of::<Object>() + table.own_bytes() + table.iter().map(Entry::block_bytes).sum::<usize>()
        }
        View::Object(Object::Set(set)) => size_of::<Object>() + set.bytes(),
        View::Object(Object::Stream(stream)) => size_of::<Object>() + stream.bytes(),
    };
    entry.block_bytes() + 9 + object
}
