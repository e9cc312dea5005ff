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
//! 4. In the closed model, in place of 1 and 2: users, requests or time, think time (with the seed where
//!    it varies) and ramp-up.
//! 5. The mix, where there is one: weights, payloads, and the seed.
//! 6. In a replay that changes the plan: the fingerprint of that plan, the speed, and the requests.
//! 7. In a run that was changed while it went: the fingerprint from before each change, its instant, and what it was.
//!
//! `undrawn` is the same with no seed in it: equal for plans that differ in what their seeds draw and in nothing else.
//!
//! Equal fingerprints mean equal due times and keys, but for the chance of one in 2^64. In the closed
//! model, whose times follow from the target, they mean equal requests under equal rules.

use crate::plan::closed::{Closed, Until};
use crate::plan::keys::Keys;
use crate::plan::mix::Mix;
use crate::plan::schedule::{Arrivals, Change, Piece, Schedule};
use crate::seeded::mix;
use crate::units::Nanos;

/// The version of the canonical form; it changes when due times or keys change their meaning.
const VERSION: u64 = 1;

/// Marks what only some plans have.
const CLOSED: u64 = 0x636c_6f73_6564;
const REPLAYED: u64 = 0x7265_706c_6179;
const MIXED: u64 = 0x6d69_7865_6400;
const CONTENT: u64 = 0x636f_6e74_656e;
const CHANGED: u64 = 0x6368_616e_6765;
const UNDRAWN: u64 = 0x756e_6472_6177;

/// What a fingerprint is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// When requests are due, in the open model.
    pub schedule: &'a Schedule,
    /// Who sends, in the closed one.
    pub closed: Option<&'a Closed>,
    /// Which records are sent.
    pub keys: &'a Keys,
    /// The template of their keys.
    pub key_template: &'a str,
    /// Of which kinds the requests are.
    pub kinds: &'a Mix,
    /// The scenario's seed.
    pub seed: u64,
}

/// The fingerprint in 16 hexadecimal digits.
pub fn of(plan: Of<'_>) -> String {
    taken(plan, Hash::new())
}

/// The fingerprint of what a plan is before its seed draws anything.
pub(super) fn undrawn(plan: Of<'_>) -> String {
    let mut hash = Hash { seeded: false, ..Hash::new() };
    hash.word(UNDRAWN);
    taken(plan, hash)
}

fn taken(plan: Of<'_>, mut hash: Hash) -> String {
    match plan.closed {
        None => {
            curve(plan.schedule, &mut hash);
            hash.word(plan.schedule.total());
        }
        Some(closed) => users(closed, plan.seed, &mut hash),
    }
    records(plan.keys, plan.key_template, &mut hash);
    kinds(plan.kinds, &mut hash);
    hash.digits()
}

/// The fingerprint of a plan that is replayed at another speed, or of which only some requests are.
pub(super) fn replayed(original: &str, speed: u64, only: Option<&[u64]>) -> String {
    let mut hash = Hash::new();
    hash.word(REPLAYED);
    hash.text(original);
    hash.word(speed);
    match only {
        None => hash.word(u64::MAX),
        Some(only) => {
            hash.word(only.len() as u64);
            only.iter().for_each(|&n| hash.word(n));
        }
    }
    hash.digits()
}

/// A fingerprint of texts that the bytes of requests follow from, in an order that the caller keeps to.
pub fn of_content(texts: &[&str]) -> String {
    let mut hash = Hash::new();
    hash.word(CONTENT);
    texts.iter().for_each(|text| hash.text(text));
    hash.digits()
}

/// The fingerprint of a plan that was changed while it ran.
pub(super) fn changed(before: &str, at: Nanos, change: Change) -> String {
    let mut hash = Hash::new();
    hash.word(CHANGED);
    hash.text(before);
    hash.word(at.0);
    let (which, how_much) = match change {
        Change::Rate(rate) => (1, rate.units()),
        Change::Pause(length) => (2, length.0),
    };
    hash.word(which);
    hash.word(how_much);
    hash.digits()
}

fn users(closed: &Closed, seed: u64, hash: &mut Hash) {
    hash.word(CLOSED);
    hash.word(closed.users);
    match closed.until {
        Until::Requests(requests) => hash.word(requests),
        Until::Time(end) => {
            hash.word(u64::MAX);
            hash.word(end.0);
        }
    }
    hash.word(closed.at_most.map_or(u64::MAX, |most| most));
    hash.word(closed.think.from.0);
    hash.word(closed.think.to.0);
    if closed.think.from != closed.think.to {
        hash.seed(seed);
    }
    hash.word(closed.ramp_up.0);
}

fn kinds(mix: &Mix, hash: &mut Hash) {
    if mix.is_empty() {
        return;
    }
    hash.word(MIXED);
    for kind in mix.kinds() {
        hash.word(kind.weight);
        hash.text(&kind.payload);
    }
    if let Some(seed) = mix.seed() {
        hash.seed(seed);
    }
}

struct Hash {
    state: u64,
    /// Whether seeds count.
    seeded: bool,
}

impl Hash {
    fn new() -> Hash {
        Hash { state: mix(VERSION), seeded: true }
    }

    fn word(&mut self, word: u64) {
        self.state = mix(self.state ^ mix(word)).wrapping_add(self.state.rotate_left(23));
    }

    /// A seed from which something is drawn; that something is drawn counts in any case.
    fn seed(&mut self, seed: u64) {
        self.word(if self.seeded { seed } else { UNDRAWN });
    }

    fn digits(&self) -> String {
        format!("{:016x}", self.state)
    }

    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for bytes in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.word(u64::from_le_bytes(word));
        }
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
            hash.seed(seed);
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
    hash.text(key_template);
    hash.word(keys.order() as u64);
    if let Some(seed) = keys.seed() {
        hash.seed(seed);
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
    use crate::plan::closed::Think;
    use crate::plan::keys::Order;
    use crate::plan::mix::Kind;
    use crate::plan::schedule::Shape;
    use crate::units::{IdRange, NANOS_PER_SEC, Nanos, Tps};

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
        of(Of {
            schedule: &Schedule::new(shapes, arrivals),
            closed: None,
            keys: &Keys::new(ranges, order, seed),
            key_template: "record:{id}",
            kinds: &Mix::default(),
            seed,
        })
    }

    fn closed_print(closed: Closed, kinds: Vec<Kind>, seed: u64) -> String {
        of(Of {
            schedule: &Schedule::new(Vec::new(), Arrivals::Uniform),
            closed: Some(&closed),
            keys: &Keys::new(vec![IdRange::new(1, 9).expect("a range")], Order::Sequential, seed),
            key_template: "record:{id}",
            kinds: &Mix::new(kinds, seed),
            seed,
        })
    }

    #[test]
    fn a_closed_plan_is_known_by_its_users_its_end_its_thinking_and_its_mix() {
        let think = |from, to| Think { from: Nanos(from), to: Nanos(to) };
        let base = Closed {
            users: 5,
            until: Until::Requests(100),
            at_most: None,
            think: think(1, 1),
            ramp_up: Nanos::ZERO,
        };
        let kind = |weight, payload: &str| Kind { name: "k".into(), weight, payload: payload.into() };
        let first = closed_print(base, vec![], 1);
        assert_eq!(first, closed_print(base, vec![], 2), "nothing here depends on the seed");
        for other in [
            closed_print(Closed { users: 6, ..base }, vec![], 1),
            closed_print(Closed { until: Until::Requests(101), ..base }, vec![], 1),
            closed_print(Closed { until: Until::Time(Nanos(100)), ..base }, vec![], 1),
            closed_print(Closed { think: think(1, 2), ..base }, vec![], 1),
            closed_print(Closed { ramp_up: Nanos(1), ..base }, vec![], 1),
            closed_print(base, vec![kind(1, "GET {key}")], 1),
        ] {
            assert_ne!(first, other);
        }
        let mixed = |seed| closed_print(base, vec![kind(1, "GET {key}"), kind(2, "PING")], seed);
        assert_ne!(mixed(1), mixed(2));
        let varied = |seed| closed_print(Closed { think: think(1, 2), ..base }, vec![], seed);
        assert_ne!(varied(1), varied(2));
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
