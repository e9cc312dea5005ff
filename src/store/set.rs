//! Sets: a sorted array while all members are integers and few, a table of members when not.
//!
//! A set leaves the first form with the first member that is no integer, or at the limit of
//! `set-max-intset-entries`, and never returns to it.

mod integers;

use integers::Integers;

use super::encodings::Encodings;
use super::entry::{Content, Entry};
use super::random::{Random, Selection};
use super::reply::Replies;
use super::table::{KeyHash, Table};
use crate::wire::resp::parse_integer;

/// A set.
#[derive(Debug, Clone)]
pub struct Set(Form);

#[derive(Debug, Clone)]
enum Form {
    Integers(Integers),
    /// The members are the keys; the values are empty.
    Table(Table),
}

impl Default for Set {
    fn default() -> Set {
        Set(Form::Integers(Integers::default()))
    }
}

/// A member as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    /// Of a set of integers.
    Integer(i64),
    /// Of any other set, whatever it looks like.
    Text(&'a [u8]),
}

impl Member<'_> {
    /// Hands its bytes to `see`.
    #[inline]
    pub fn with<R>(self, see: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Member::Integer(value) => see(itoa::Buffer::new().format(value).as_bytes()),
            Member::Text(text) => see(text),
        }
    }

    /// Answers with the member.
    #[inline]
    pub fn reply(self, out: &mut Replies) {
        self.with(|text| out.bulk(text));
    }
}

/// A member that has been taken out.
#[derive(Debug)]
pub enum Taken {
    /// Of a set of integers.
    Integer(i64),
    /// Of any other set: the key.
    Entry(Entry),
}

impl Taken {
    /// The member.
    #[inline]
    pub fn member(&self) -> Member<'_> {
        match self {
            Taken::Integer(value) => Member::Integer(*value),
            Taken::Entry(entry) => Member::Text(entry.key()),
        }
    }
}

impl Set {
    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Integers(integers) => integers.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Integers(_) => "intset",
            Form::Table(_) => "hashtable",
        }
    }

    /// Bytes that it takes beside its own place, as `samples` members let expect; with 0 all are looked at.
    pub fn bytes(&self, samples: usize) -> usize {
        match &self.0 {
            Form::Integers(integers) => integers.bytes(),
            Form::Table(table) => table.bytes(samples),
        }
    }

    /// Whether `member` is in it.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Integers(integers) => parse_integer(member).is_some_and(|value| integers.contains(value)),
            Form::Table(table) => table.get(KeyHash::of(member), member).is_some(),
        }
    }

    /// Whether a member of another set is in it.
    #[inline]
    pub fn has(&self, member: Member<'_>) -> bool {
        match (&self.0, member) {
            (Form::Integers(integers), Member::Integer(value)) => integers.contains(value),
            _ => member.with(|text| self.contains(text)),
        }
    }

    /// Adds a member; whether it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &Encodings) -> bool {
        if let Form::Integers(_) = &self.0 {
            if let Some(value) = parse_integer(member) {
                return self.add_integer(value, limits);
            }
            self.leave_integers();
        }
        self.add_text(member)
    }

    /// Adds a member of another set; whether it is new.
    pub fn add_member(&mut self, member: Member<'_>, limits: &Encodings) -> bool {
        match (&self.0, member) {
            (Form::Integers(_), Member::Integer(value)) => self.add_integer(value, limits),
            _ => member.with(|text| self.add(text, limits)),
        }
    }

    fn add_integer(&mut self, value: i64, limits: &Encodings) -> bool {
        let Form::Integers(integers) = &mut self.0 else { return false };
        let new = integers.insert(value);
        if new && integers.len() > limits.set_integers {
            self.leave_integers();
        }
        new
    }

    #[inline]
    fn add_text(&mut self, member: &[u8]) -> bool {
        let Form::Table(table) = &mut self.0 else { return false };
        let hash = KeyHash::of(member);
        if table.get(hash, member).is_some() {
            return false;
        }
        table.insert_new(hash, Entry::new(member, Content::String(b""), None));
        true
    }

    /// Turns a set of integers into a table.
    fn leave_integers(&mut self) {
        let Form::Integers(integers) = std::mem::replace(&mut self.0, Form::Table(Table::new())) else {
            return;
        };
        for value in integers.iter() {
            Member::Integer(value).with(|text| self.add_text(text));
        }
    }

    /// Removes a member; whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Integers(integers) => parse_integer(member).is_some_and(|value| integers.remove(value)),
            Form::Table(table) => table.remove(KeyHash::of(member), member).is_some(),
        }
    }

    /// All members: integers in order, others in none.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (integers, table) = match &self.0 {
            Form::Integers(integers) => (Some(integers), None),
            Form::Table(table) => (None, Some(table)),
        };
        let integers = integers.into_iter().flat_map(Integers::iter).map(Member::Integer);
        integers.chain(table.into_iter().flat_map(Table::iter).map(|entry| Member::Text(entry.key())))
    }

    /// A member by chance, all about equally likely.
    #[inline]
    pub fn pick(&self, random: &mut Random) -> Option<Member<'_>> {
        match &self.0 {
            Form::Integers(integers) => integers.get(random.below(integers.len())).map(Member::Integer),
            Form::Table(table) => table.pick(random.next()).map(|entry| Member::Text(entry.key())),
        }
    }

    /// Takes a member out by chance, all about equally likely.
    #[inline]
    pub fn take(&mut self, random: &mut Random) -> Option<Taken> {
        match &mut self.0 {
            Form::Integers(integers) => integers.take(random.below(integers.len())).map(Taken::Integer),
            Form::Table(table) => table.take(random.next()).map(Taken::Entry),
        }
    }

    /// Takes `count` members out by chance, or all when there are fewer.
    pub fn take_some(&mut self, count: usize, random: &mut Random, mut see: impl FnMut(Member<'_>)) {
        match &mut self.0 {
            Form::Integers(integers) => {
                let mut selection = Selection::new(integers.len(), count);
                integers.retain(|value| {
                    let taken = selection.takes(random);
                    if taken {
                        see(Member::Integer(value));
                    }
                    !taken
                });
            }
            Form::Table(table) => {
                for _ in 0..count.min(table.len()) {
                    if let Some(entry) = table.take(random.next()) {
                        see(Member::Text(entry.key()));
                    }
                }
            }
        }
    }

    /// One step of SSCAN: at least `count` members unless it is the end; gives back the next cursor.
    pub fn scan<'a>(&'a self, mut cursor: u64, count: usize, mut visit: impl FnMut(Member<'a>)) -> u64 {
        let Form::Table(table) = &self.0 else {
            self.iter().for_each(visit);
            return 0;
        };
        let mut seen = 0;
        loop {
            cursor = table.scan(cursor, |entry| {
                seen += 1;
                visit(Member::Text(entry.key()));
            });
            if cursor == 0 || seen >= count {
                return cursor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn text(member: Member<'_>) -> String {
        member.with(|text| String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn integers_stay_an_array_up_to_the_limit_and_anything_else_makes_a_table() {
        let limits = Encodings { set_integers: 3, ..Encodings::default() };
        let mut set = Set::default();
        for (member, encoding) in [("5", "intset"), ("-7", "intset"), ("70000", "intset"), ("5", "intset")] {
            set.add(member.as_bytes(), &limits);
            assert_eq!(set.encoding(), encoding);
        }
        assert_eq!(set.iter().map(text).collect::<Vec<_>>(), ["-7", "5", "70000"]);
        set.add(b"6", &limits);
        assert_eq!((set.encoding(), set.len()), ("hashtable", 4));
        for odd in ["05", "+5", "x", "", "9223372036854775808"] {
            let mut set = Set::default();
            assert!(set.add(b"5", &limits) && !set.contains(odd.as_bytes()) && !set.remove(odd.as_bytes()));
            assert!(set.add(odd.as_bytes(), &limits));
            assert_eq!((set.encoding(), set.len()), ("hashtable", 2));
        }
    }

    #[test]
    fn every_member_of_a_large_set_is_taken_out_once() {
        let mut set = Set::default();
        let limits = Encodings::default();
        (0..10_000).for_each(|n| assert!(set.add(format!("m{n}").as_bytes(), &limits)));
        let (mut random, mut seen) = (Random::new(3), BTreeSet::new());
        while let Some(taken) = set.take(&mut random) {
            assert!(seen.insert(text(taken.member())));
            assert_eq!(set.len() + seen.len(), 10_000);
        }
        assert!(set.is_empty() && seen.len() == 10_000);
    }

    #[test]
    fn members_are_picked_about_equally_often() {
        let limits = Encodings::default();
        for prefix in ["", "m"] {
            let mut set = Set::default();
            (0..50).for_each(|n| assert!(set.add(format!("{prefix}{n}").as_bytes(), &limits)));
            let mut random = Random::new(11);
            let mut times = std::collections::BTreeMap::new();
            for _ in 0..50_000 {
                *times.entry(set.pick(&mut random).map(text)).or_insert(0u32) += 1;
            }
            assert!(times.len() == 50 && times.values().all(|&n| n.abs_diff(1000) < 200), "{times:?}");
        }
    }

    proptest! {
        #[test]
        fn a_set_does_what_a_tree_would(
            limit in 0usize..20,
            edits in prop::collection::vec(
                (prop_oneof!["[0-9]{1,2}", "-?[1-9][0-9]{0,18}", "[a-z]{0,2}"], 0u8..8, 0usize..30), 0..150),
        ) {
            let limits = Encodings { set_integers: limit, ..Encodings::default() };
            let (mut set, mut model, mut random) = (Set::default(), BTreeSet::new(), Random::new(5));
            for (member, what, count) in edits {
                match what {
                    0 => {
                        let before = set.len();
                        let mut taken = Vec::new();
                        set.take_some(count, &mut random, |member| taken.push(text(member)));
                        prop_assert_eq!(taken.len(), count.min(before));
                        prop_assert!(taken.iter().all(|member| model.remove(member)));
                    }
                    1 | 2 => prop_assert_eq!(set.remove(member.as_bytes()), model.remove(&member)),
                    _ => {
                        prop_assert_eq!(set.add(member.as_bytes(), &limits), model.insert(member.clone()));
                        prop_assert!(set.contains(member.as_bytes()));
                    }
                }
                prop_assert_eq!(set.len(), model.len());
            }
            let all: BTreeSet<String> = set.iter().map(text).collect();
            prop_assert_eq!(&all, &model);
            let mut scanned = BTreeSet::new();
            prop_assert_eq!(set.scan(0, 10, |member| { scanned.insert(text(member)); }), 0);
            prop_assert_eq!(scanned, model);
        }
    }
}
