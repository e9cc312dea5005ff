//! Fingerprint: a hash by which two plans can be told apart.
//!
//! It is taken over what all due times and keys follow from, in one canonical form, and not over the
//! due times one by one, so it costs the same for a thousand and for a billion requests:
//!
//! 1. The rate curve as linear pieces; neighbours on one straight line count as one piece, so a
//!    stage that is cut in two leaves the fingerprint as it is. With Poisson arrivals stages are kept
//!    apart, because each keeps its own total, and the seed counts.
//! 2. The number of requests, which `on_exhausted: stop` may have cut.
//! 3. The records: key template, ranges (neighbours joined), order, and the seed where it matters.
//!
//! Equal fingerprints mean equal due times and keys, but for the chance of one in 2^64.

use crate::plan::keys::Keys;
use crate::plan::schedule::{Arrivals, Piece, Schedule};
use crate::seeded::mix;

/// The version of the canonical form; it changes when due times or keys change their meaning.
const VERSION: u64 = 1;

/// The fingerprint in 16 hexadecimal digits.
pub fn of(schedule: &Schedule, keys: &Keys, key_template: &str) -> String {
    let mut hash = Hash(mix(VERSION));
    curve(schedule, &mut hash);
    hash.word(schedule.total());
    records(keys, key_template, &mut hash);
    format!("{:016x}", hash.0)
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ mix(word)).wrapping_add(self.0.rotate_left(23));
    }

    fn piece(&mut self, piece: &Piece) {
        self.word(piece.duration_ns);
        self.word(piece.from);
        self.word(piece.to);
    }
}

fn curve(schedule: &Schedule, hash: &mut Hash) {
    let by_stage = match schedule.arrivals() {
        Arrivals::Uniform => false,
        Arrivals::Poisson { seed } => {
            hash.word(seed);
            true
        }
    };
    let mut open: Option<Piece> = None;
    for shape in schedule.shapes() {
        for piece in shape.pieces() {
            open = Some(match open {
                Some(before) => match joined(&before, &piece) {
                    Some(one) => one,
                    None => {
                        hash.piece(&before);
                        piece
                    }
                },
                None => piece,
            });
        }
        if by_stage && let Some(last) = open.take() {
            hash.piece(&last);
            hash.word(u64::MAX);
        }
    }
    if let Some(last) = open {
        hash.piece(&last);
    }
}

/// Two pieces as one, if they lie on one straight line.
fn joined(a: &Piece, b: &Piece) -> Option<Piece> {
    let slope = |p: &Piece, d: u64| (i128::from(p.to) - i128::from(p.from)) * i128::from(d);
    let straight = a.to == b.from && slope(a, b.duration_ns) == slope(b, a.duration_ns);
    straight.then_some(Piece { duration_ns: a.duration_ns + b.duration_ns, from: a.from, to: b.to })
}

fn records(keys: &Keys, key_template: &str, hash: &mut Hash) {
    hash.word(key_template.len() as u64);
    for bytes in key_template.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        hash.word(u64::from_le_bytes(word));
    }
    hash.word(keys.order() as u64);
    if let Some(seed) = keys.seed() {
        hash.word(seed);
    }
    let mut open: Option<(u64, u64)> = None;
    for range in keys.ranges() {
        open = Some(match open {
            Some((first, last)) if last.checked_add(1) == Some(range.first()) => (first, range.last()),
            Some((first, last)) => {
                hash.word(first);
                hash.word(last);
                (range.first(), range.last())
            }
            None => (range.first(), range.last()),
        });
    }
    if let Some((first, last)) = open {
        hash.word(first);
        hash.word(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::keys::Order;
    use crate::plan::schedule::Shape;
    use crate::units::{IdRange, NANOS_PER_SEC, Tps};

    fn hold(tps: u64, secs: u64) -> Shape {
        let rate = Tps::per_second(tps).units();
        Shape::Pieces(vec![Piece { duration_ns: secs * NANOS_PER_SEC, from: rate, to: rate }])
    }

    fn print(
        shapes: Vec<Shape>,
        arrivals: Arrivals,
        ranges: &[(u64, u64)],
        order: Order,
        seed: u64,
    ) -> String {
        let ranges = ranges.iter().map(|&(a, b)| IdRange::new(a, b).expect("a range")).collect();
        of(&Schedule::new(shapes, arrivals), &Keys::new(ranges, order, seed), "record:{id}")
    }

    #[test]
    fn what_makes_no_difference_leaves_it_and_what_makes_one_changes_it() {
        let even = Arrivals::Uniform;
        let base = print(vec![hold(100, 10)], even, &[(1, 100)], Order::Sequential, 1);
        let same = print(vec![hold(100, 4), hold(100, 6)], even, &[(1, 40), (41, 100)], Order::Sequential, 2);
        assert_eq!(base, same);
        for other in [
            print(vec![hold(101, 10)], even, &[(1, 100)], Order::Sequential, 1),
            print(vec![hold(100, 11)], even, &[(1, 100)], Order::Sequential, 1),
            print(vec![hold(100, 10)], even, &[(1, 101)], Order::Sequential, 1),
            print(vec![hold(100, 10)], even, &[(1, 100)], Order::Random, 1),
            print(vec![hold(100, 10)], Arrivals::Poisson { seed: 1 }, &[(1, 100)], Order::Sequential, 1),
        ] {
            assert_ne!(base, other);
        }
        let poisson =
            |seed| print(vec![hold(9, 9)], Arrivals::Poisson { seed }, &[(1, 9)], Order::Sequential, 1);
        assert_ne!(poisson(1), poisson(2));
        let random = |seed| print(vec![hold(9, 9)], even, &[(1, 9)], Order::Random, seed);
        assert_ne!(random(1), random(2));
    }
}
