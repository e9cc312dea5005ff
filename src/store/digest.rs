//! Digests of what is stored, the same as those of Redis: two servers with equal data answer DEBUG DIGEST
//! alike, in whatever order and form they hold it.
//!
//! Where the order counts, an item is mixed in (`digest = H(digest ^ H(item))`); where it does
//! not, it is laid over (`digest ^= H(item)`). H is SHA-1.

use super::entry::{Entry, View};
use super::hash::Hash;
use super::keyspace::Keyspace;
use super::number;
use super::stream::Stream;
use super::stream::ids::StreamId;
use super::value::{Object, Type};

/// Twenty bytes, all zero for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest([u8; 20]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Lays an item over what is there.
    pub fn lay(&mut self, item: &[u8]) {
        self.0.iter_mut().zip(sha1(item)).for_each(|(own, other)| *own ^= other);
    }

    /// Mixes an item in.
    pub fn mix(&mut self, item: &[u8]) {
        self.lay(item);
        self.0 = sha1(&self.0);
    }

    /// The digest of several items that belong together.
    fn of(items: &[&[u8]]) -> Digest {
        let mut digest = Digest::default();
        items.iter().for_each(|item| digest.mix(item));
        digest
    }

    /// All keys of all databases, those included that have expired and are not yet removed.
    pub fn of_all(keyspace: &Keyspace) -> Digest {
        let mut all = Digest::default();
        for db in (0..keyspace.databases()).filter(|db| !keyspace.table(*db).is_empty()) {
            all.mix(&(db as u32).to_be_bytes());
            for entry in keyspace.table(db).iter() {
                let mut key = Digest::of(&[entry.key()]);
                key.mix_value(entry);
                all.lay(&key.0);
            }
        }
        all
    }

    /// The value of one key, and that it has an expiry.
    pub fn of_value(entry: &Entry) -> Digest {
        let mut digest = Digest::default();
        digest.mix_value(entry);
        digest
    }

    fn mix_value(&mut self, entry: &Entry) {
        self.mix(&type_number(Type::of(entry)).to_be_bytes());
        match entry.view() {
            View::String(bytes) => self.mix(bytes),
            View::Object(Object::Raw(bytes)) => self.mix(bytes),
            View::PackedHash(_) | View::Object(Object::Hash(_)) => {
                let hash = Hash::of(entry);
                hash.into_iter().for_each(|hash| {
                    hash.for_each(|(field, value)| self.lay(&Digest::of(&[field, value]).0));
                });
            }
            View::Object(Object::List(list)) => list.iter().for_each(|item| self.mix(item)),
            View::Object(Object::SortedSet(set)) => set.for_each(|item| {
                let mut score = Vec::new();
                number::format_double(item.score, &mut score);
                self.lay(&Digest::of(&[item.member, &score]).0);
            }),
            View::Object(Object::Set(set)) => {
                set.iter().for_each(|member| member.with(|text| self.lay(text)));
            }
            View::Object(Object::Stream(stream)) => self.mix_stream(stream),
        }
        if entry.expiry().is_some() {
            self.lay(b"!!expire!!");
        }
    }

    fn mix_stream(&mut self, stream: &Stream) {
        for (id, fields) in stream.entries.range(StreamId::MIN, StreamId::MAX) {
            self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
            for (field, value) in fields {
                self.mix(field);
                self.mix(value);
            }
        }
    }
}

/// The number of a type in Redis' objects.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::String => 0,
        Type::List => 1,
        Type::SortedSet => 3,
        Type::Set => 2,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// SHA-1. Good for comparing, not against forgery.
fn sha1(message: &[u8]) -> [u8; 20] {
    sha1_smol::Sha1::from(message).digest().bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laying_forgets_the_order_and_mixing_does_not() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.lay(b"a");
        one.lay(b"b");
        other.lay(b"b");
        other.lay(b"a");
        assert_eq!(one, other);
        assert_ne!(Digest::of(&[b"a", b"b"]), Digest::of(&[b"b", b"a"]));
    }
}
