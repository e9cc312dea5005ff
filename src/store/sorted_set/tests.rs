//! A sorted set does what a sorted vector would, in either form.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn limits(entries: usize, value: usize) -> Encodings {
    Encodings { sorted_set_entries: entries, sorted_set_value: value, ..Encodings::default() }
}

/// Never large, and always.
fn both() -> [Encodings; 2] {
    [limits(usize::MAX, usize::MAX), limits(0, 0)]
}

fn large() -> SortedSet {
    SortedSet::for_members(1, 0, &limits(0, 0))
}

type Model = Vec<(f64, Vec<u8>)>;

fn sort(model: &mut Model) {
    model.sort_by(|a, b| Item { score: a.0, member: &a.1 }.order(&Item { score: b.0, member: &b.1 }));
}

fn all(set: &SortedSet, range: Range<usize>, reverse: bool) -> Model {
    let mut seen = Vec::new();
    set.visit(range, reverse, |item| seen.push((item.score, item.member.to_vec())));
    seen
}

fn set(sets: &mut [SortedSet; 2], model: &mut Model, score: f64, member: &[u8]) {
    let old = model.iter().position(|(_, other)| other == member);
    for (set, limits) in sets.iter_mut().zip(both()) {
        match old {
            Some(at) => set.change(model[at].0, Item { score, member }),
            None => set.insert_new(Item { score, member }, &limits),
        }
    }
    match old {
        Some(at) => model[at].0 = score,
        None => model.push((score, member.to_vec())),
    }
    sort(model);
}

fn check(sets: &[SortedSet; 2], model: &Model) {
    for set in sets {
        assert_eq!(set.len(), model.len());
        assert_eq!(&all(set, 0..model.len(), false), model);
        let backwards: Model = model.iter().rev().cloned().collect();
        assert_eq!(all(set, 0..model.len(), true), backwards);
        for (rank, (score, member)) in model.iter().enumerate().step_by(7) {
            assert_eq!(set.rank(member), Some((rank, *score)));
            assert_eq!(set.score(member), Some(*score));
            assert_eq!(set.at(rank), Some(Item { score: *score, member }));
        }
        assert_eq!(set.at(model.len()), None);
        assert!(set.score(b"not there").is_none() && set.rank(b"not there").is_none());
        let mut scanned = HashSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 10, |item| {
                scanned.insert(item.member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned.len(), model.len());
    }
}

fn empty() -> [SortedSet; 2] {
    let sets = both().map(|limits| SortedSet::for_members(1, 0, &limits));
    assert_eq!([sets[0].encoding(), sets[1].encoding()], ["listpack", "skiplist"]);
    sets
}

#[derive(Debug, Clone)]
enum Step {
    Set(f64, Vec<u8>),
    Run { first: u32, count: u32, down: bool, one_score: bool },
    Remove(prop::sample::Index),
    RemoveRange(prop::sample::Index, prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Step> {
    let score = prop_oneof![
        (-5i32..5).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        -1e3..1e3f64
    ];
    let member = prop_oneof![
        8 => "[ab]{0,6}".prop_map(String::into_bytes),
        4 => prop::collection::vec(any::<u8>(), 0..6),
        2 => ("[ab]", 100usize..6000).prop_map(|(text, len)| text.repeat(len).into_bytes()),
    ];
    prop_oneof![
        12 => (score, member).prop_map(|(score, member)| Step::Set(score, member)),
        3 => (0u32..3000, 1u32..400, any::<bool>(), any::<bool>())
            .prop_map(|(first, count, down, one_score)| Step::Run { first, count, down, one_score }),
        4 => any::<prop::sample::Index>().prop_map(Step::Remove),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Step::RemoveRange(a, b)),
    ]
}

fn run(step: Step, sets: &mut [SortedSet; 2], model: &mut Model) {
    match step {
        Step::Set(score, member) => set(sets, model, score, &member),
        Step::Run { first, count, down, one_score } => {
            for n in 0..count {
                let n = if down { first + count - n } else { first + n };
                let score = if one_score { 0.0 } else { f64::from(n) };
                set(sets, model, score, format!("{n:06}").as_bytes());
            }
        }
        Step::Remove(index) if !model.is_empty() => {
            let (score, member) = model.remove(index.index(model.len()));
            sets.iter_mut().for_each(|set| assert_eq!(set.remove(&member), Some(score)));
        }
        Step::RemoveRange(a, b) => {
            let (a, b) = (a.index(model.len() + 1), b.index(model.len() + 1));
            let removed: Model = model.drain(a.min(b)..a.max(b)).collect();
            for set in sets {
                let mut seen = Vec::new();
                set.remove_range(a.min(b)..a.max(b), |item| seen.push((item.score, item.member.to_vec())));
                assert_eq!(seen, removed);
            }
        }
        Step::Remove(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_sorted_set_does_what_a_sorted_vector_would(steps in prop::collection::vec(steps(), 0..60)) {
        let (mut sets, mut model) = (empty(), Model::new());
        for step in steps {
            run(step, &mut sets, &mut model);
        }
        check(&sets, &model);
    }

    #[test]
    fn the_border_of_a_range_is_found(scores in prop::collection::vec(-50i32..50, 0..1500), border in -60i32..60) {
        let (mut sets, mut model) = (empty(), Model::new());
        for (n, score) in scores.iter().enumerate() {
            sets.iter_mut().zip(both()).for_each(|(set, limits)| {
                set.insert_new(Item { score: f64::from(*score), member: n.to_string().as_bytes() }, &limits);
            });
            model.push((f64::from(*score), n.to_string().into_bytes()));
        }
        let border = f64::from(border);
        let below = model.iter().filter(|(score, _)| *score < border).count();
        for set in &sets {
            let end = model.iter().filter(|(score, _)| *score <= border + 5.0).count();
            for reverse in [false, true] {
                let span = set.span(|item| item.score >= border, |item| item.score <= border + 5.0, reverse);
                prop_assert_eq!(span.len(), end - below);
                prop_assert!(span.is_empty() || span == (below..end));
            }
        }
    }
}

#[test]
fn the_small_form_is_left_at_its_limits_and_not_before() {
    let limits = limits(3, 4);
    let mut set = SortedSet::for_members(1, 4, &limits);
    for member in [b"aaaa", b"bbbb", b"cccc"] {
        set.insert_new(Item { score: 1.0, member }, &limits);
        assert!(set.is_packed());
    }
    set.change(1.0, Item { score: 2.0, member: b"aaaa" });
    assert!(set.is_packed());
    set.insert_new(Item { score: 1.0, member: b"d" }, &limits);
    assert_eq!((set.encoding(), set.len()), ("skiplist", 4));
    assert!(!SortedSet::for_members(1, 5, &limits).is_packed());
}

#[test]
fn zero_keeps_its_sign_in_the_large_form_only() {
    let mut sets = empty();
    for (set, sign) in sets.iter_mut().zip([false, true]) {
        let limits = if sign { limits(0, 0) } else { limits(9, 9) };
        set.insert_new(Item { score: -0.0, member: b"a" }, &limits);
        assert_eq!(set.score(b"a").map(f64::is_sign_negative), Some(sign));
        set.change(0.0, Item { score: 1.0, member: b"a" });
        set.change(1.0, Item { score: -0.0, member: b"a" });
        assert_eq!(set.at(0).map(|item| item.score.is_sign_negative()), Some(sign));
    }
}

#[test]
fn a_hundred_thousand_members_in_any_order_take_less_memory_than_in_redis() {
    // What redis-server 7.0 takes for such a set is 107 bytes a member and more.
    let count = 100_000u64;
    let orders: [fn(u64) -> u64; 3] = [|n| n, |n| 100_000 - n, |n| n.wrapping_mul(7919) % 100_003];
    for order in orders {
        let mut set = large();
        for n in 0..count {
            let member = format!("element:{:012}", order(n));
            set.insert_new(Item { score: 0.0, member: member.as_bytes() }, &limits(0, 0));
        }
        let each = set.bytes() as f64 / count as f64;
        assert_eq!(set.len() as u64, count);
        assert!(each < 95.0, "{each} bytes a member");
        for n in 0..count {
            let last = set.len() - 1;
            let rank = if n % 2 == 0 { 0 } else { last };
            set.remove_range(rank..rank + 1, |_| {});
        }
        assert!(set.is_empty() && set.bytes() < 200_000, "{}", set.bytes());
    }
}

#[test]
fn members_that_come_down_into_a_gap_share_chunks() {
    let mut set = large();
    let giant = vec![b'g'; 100_000];
    set.insert_new(Item { score: 0.0, member: &giant }, &limits(0, 0));
    set.insert_new(Item { score: 1e6, member: b"end" }, &limits(0, 0));
    for n in (0..10_000).rev() {
        set.insert_new(Item { score: f64::from(n), member: format!("h{n:05}").as_bytes() }, &limits(0, 0));
        set.insert_new(Item { score: 0.0, member: format!("h{n:05}b").as_bytes() }, &limits(0, 0));
    }
    let Form::Large(large) = &set.0 else { panic!("not large") };
    let bytes = large.tree.bytes() - giant.len();
    assert!(bytes < 20_000 * 30, "{bytes} bytes");
}
