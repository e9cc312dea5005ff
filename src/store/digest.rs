//! Digests of what is stored, the same as those of Redis: two servers with equal data answer DEBUG DIGEST
//! alike, in whatever order and form they hold it.
//!
//! Where the order counts, an item is mixed in (`digest = H(digest ^ H(item))`); where it does
//! not, it is laid over (`digest ^= H(item)`). H is SHA-1.

use super::entry::{Entry, View};
use super::hash::Hash;
use super::keyspace::Keyspace;
use super::stream::{Stream, StreamId};
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
                    hash.for_each(|field, value| self.lay(&Digest::of(&[field, value]).0));
                });
            }
            View::Object(Object::List(list)) => list.iter().for_each(|element| self.mix(element)),
            View::Object(Object::Stream(stream)) => self.mix_stream(stream),
        }
        if entry.expiry().is_some() {
            self.lay(b"!!expire!!");
        }
    }

    fn mix_stream(&mut self, stream: &Stream) {
        stream.range(StreamId::MIN, StreamId::MAX, false, usize::MAX, &mut |id, fields| {
            self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
            fields.for_each(|item| self.mix(item));
        });
    }
}

/// The number of a type in Redis' objects.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::String => 0,
        Type::List => 1,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// SHA-1. Good for comparing, not against forgery.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut blocks = message.chunks_exact(64);
    blocks.by_ref().for_each(|block| compress(&mut state, block));
    // The rest, a bit of one, zeros, and the length in bits, in one or two blocks.
    let rest = blocks.remainder();
    let mut end = [0u8; 128];
    end[..rest.len()].copy_from_slice(rest);
    end[rest.len()] = 0x80;
    let len = if rest.len() < 56 { 64 } else { 128 };
    end[len - 8..len].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    end[..len].chunks_exact(64).for_each(|block| compress(&mut state, block));
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn compress(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..80 {
        words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (at, word) in words.iter().enumerate() {
        let (mixed, constant) = match at / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next =
            a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (own, new) in state.iter_mut().zip([a, b, c, d, e]) {
        *own = own.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha1_gives_the_digests_of_its_standard() {
        for (message, digest) in [
            (&b""[..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (&[b'a'; 1_000_000], "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ] {
            assert_eq!(Digest(sha1(message)).to_string(), digest);
        }
    }

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
