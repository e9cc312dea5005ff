//! Hot path
//!
//! Response ids: unique over all ports, connections, runs and restarts.
//!
//! An id is `<instance>-<port>-<count>`: 64 random bits of this start of the responder, the port, and
//! a count that never repeats on that port. Threads count in stripes, so they share no counter.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The random part of all ids of one start, in 16 hexadecimal digits.
pub fn new_instance() -> String {
    // Each RandomState is keyed by the system's source of randomness.
    let random = RandomState::new().build_hasher().finish() ^ RandomState::new().build_hasher().finish();
    format!("{random:016x}")
}

/// Makes the ids of one port on one thread.
#[derive(Debug)]
pub struct Issuer {
    /// `<instance>-<port>-`, then the digits of the last count.
    text: Vec<u8>,
    prefix: usize,
    next: u64,
    stripes: u64,
}

impl Issuer {
    /// Ids of `port`, counted from `stripe` in steps of `stripes`.
    pub fn new(instance: &str, port: u16, stripe: u64, stripes: u64) -> Issuer {
        let text = format!("{instance}-{port}-").into_bytes();
        Issuer { prefix: text.len(), text, next: stripe, stripes }
    }

    /// The next id.
    #[inline]
    pub fn issue(&mut self) -> &[u8] {
        self.text.truncate(self.prefix);
        self.text.extend_from_slice(itoa::Buffer::new().format(self.next).as_bytes());
        self.next += self.stripes;
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_issuers_give_the_same_id() {
        let (a, b) = (new_instance(), new_instance());
        assert_ne!(a, b);
        let mut seen = HashSet::new();
        for instance in [&a, &b] {
            for port in [9000, 9001] {
                for stripe in 0..3 {
                    let mut issuer = Issuer::new(instance, port, stripe, 3);
                    assert!((0..100).all(|_| seen.insert(issuer.issue().to_vec())));
                }
            }
        }
        assert_eq!(seen.len(), 2 * 2 * 3 * 100);
    }
}
