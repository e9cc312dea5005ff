//! Unions, intersections and differences of sorted sets.

use std::borrow::Cow;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;

use super::{Call, Failure, Item, SortedSet, at_least, begin_members, integer, member, parse_double, store};
use crate::store::entry::{Entry, View};
use crate::store::keyspace::Keyspace;
use crate::store::set::{Member, Set};
use crate::store::table::KeyHash;
use crate::store::value::Object;
use crate::wire::resp::Args;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store(&'static str),
    Count,
}

/// How two scores of one member become one.
#[derive(Debug, Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min => {
                if other < one {
                    other
                } else {
                    one
                }
            }
            Aggregate::Max => {
                if other > one {
                    other
                } else {
                    one
                }
            }
        }
    }
}

/// Infinities that cancel each other out, or meet a weight of zero, count as zero.
fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// What a key can give.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Nothing,
    SortedSet(&'a SortedSet),
    /// Each member counts with a score of one.
    Set(&'a Set),
}

impl<'a> Source<'a> {
    fn of(entry: &'a Entry) -> Option<Source<'a>> {
        match entry.view() {
            View::Object(Object::SortedSet(set)) => Some(Source::SortedSet(set)),
            View::Object(Object::Set(set)) => Some(Source::Set(set)),
            _ => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::SortedSet(set) => set.len(),
            Source::Set(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Nothing => None,
            Source::SortedSet(set) => set.score(member),
            Source::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    fn for_each(self, mut visit: impl FnMut(Cow<'a, [u8]>, f64)) {
        match self {
            Source::Nothing => {}
            Source::SortedSet(set) => set.for_each(|item| visit(Cow::Borrowed(item.member), item.score)),
            Source::Set(set) => set.iter().for_each(|member| match member {
                Member::Text(text) => visit(Cow::Borrowed(text), 1.0),
                integer => visit(Cow::Owned(integer.with(<[u8]>::to_vec)), 1.0),
            }),
        }
    }
}

/// A source with its weight.
type Weighted<'a> = (Source<'a>, f64);

/// Members with their scores.
type Members<'a> = Vec<(f64, Cow<'a, [u8]>)>;

/// What a command is told.
#[derive(Debug)]
struct Request<'a> {
    keys: Args<'a>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Members to be counted at most; 0 for all.
    limit: usize,
}

/// The keys, whose number stands first in `args`, and the options behind them.
fn split_keys<'a>(call: &Call<'_>, args: Args<'a>) -> Result<(Args<'a>, Args<'a>), Failure> {
    let number = integer(&args[0])?;
    if number < 1 {
        let text = format!("ERR at least 1 input key is needed for '{}' command", call.command.name);
        return Err(Failure(text.into()));
    }
    match usize::try_from(number) {
        Ok(number) if number < args.len() => Ok((args.from(1).first(number), args.from(number + 1))),
        _ => Err(Failure::SYNTAX),
    }
}

impl<'a> Request<'a> {
    fn parse(
        keys: Args<'a>,
        options: Args<'a>,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Request<'a>, Failure> {
        let weights = vec![1.0; keys.len()];
        let mut request = Request { keys, weights, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let scores = operation != Operation::Diff && purpose != Purpose::Count;
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let values = options.from(index + 1);
            index += match values.get(0) {
                Some(_) if scores && is(b"WEIGHTS") && values.len() >= keys.len() => {
                    request.read_weights(values)?
                }
                Some(value) if scores && is(b"AGGREGATE") => request.read_aggregate(value)?,
                Some(value) if purpose == Purpose::Count && is(b"LIMIT") => {
                    let limit = at_least(0, value, "ERR LIMIT can't be negative")?;
                    request.limit = usize::try_from(limit).unwrap_or(usize::MAX);
                    2
                }
                _ if purpose == Purpose::Reply && is(b"WITHSCORES") => {
                    request.with_scores = true;
                    1
                }
                _ => return Err(Failure::SYNTAX),
            };
        }
        Ok(request)
    }

    fn read_weights(&mut self, values: Args<'a>) -> Result<usize, Failure> {
        for (weight, text) in self.weights.iter_mut().zip(values.iter()) {
            *weight = parse_double(text).ok_or(Failure::text("ERR weight value is not a float"))?;
        }
        Ok(1 + self.weights.len())
    }

    fn read_aggregate(&mut self, value: &[u8]) -> Result<usize, Failure> {
        self.aggregate = match () {
            () if value.eq_ignore_ascii_case(b"SUM") => Aggregate::Sum,
            () if value.eq_ignore_ascii_case(b"MIN") => Aggregate::Min,
            () if value.eq_ignore_ascii_case(b"MAX") => Aggregate::Max,
            () => return Err(Failure::SYNTAX),
        };
        Ok(2)
    }

    /// The sources with their weights; for all but differences the smallest first.
    fn sources<'k>(&self, keyspace: &'k Keyspace, db: usize, operation: Operation) -> Vec<Weighted<'k>> {
        let table = keyspace.table(db);
        let source =
            |key: &[u8]| table.get(KeyHash::of(key), key).and_then(Source::of).unwrap_or(Source::Nothing);
        let mut sources: Vec<Weighted<'k>> =
            self.keys.iter().map(source).zip(self.weights.iter().copied()).collect();
        if operation != Operation::Diff {
            sources.sort_by_key(|(source, _)| source.len());
        }
        sources
    }
}

fn union<'a>(sources: &[Weighted<'a>], aggregate: Aggregate) -> Members<'a> {
    let mut scores: HashMap<Cow<'a, [u8]>, f64> = HashMap::new();
    for &(source, weight) in sources {
        source.for_each(|member, score| {
            let score = number_or_zero(weight * score);
            match scores.entry(member) {
                Slot::Occupied(mut slot) => *slot.get_mut() = aggregate.join(*slot.get(), score),
                Slot::Vacant(slot) => drop(slot.insert(score)),
            }
        });
    }
    scores.into_iter().map(|(member, score)| (score, member)).collect()
}

/// The score of a member that all sources have.
fn common_score(sources: &[Weighted<'_>], aggregate: Aggregate, member: &[u8], first: f64) -> Option<f64> {
    sources.iter().try_fold(first, |joined, (source, weight)| {
        Some(aggregate.join(joined, source.score(member)? * weight))
    })
}

fn inter<'a>(sources: &[Weighted<'a>], aggregate: Aggregate) -> Members<'a> {
    let mut members = Vec::new();
    let Some(((smallest, weight), others)) = sources.split_first() else { return members };
    smallest.for_each(|member, score| {
        if let Some(score) = common_score(others, aggregate, &member, number_or_zero(weight * score)) {
            members.push((score, member));
        }
    });
    members
}

fn diff<'a>(sources: &[Weighted<'a>]) -> Members<'a> {
    let mut members = Vec::new();
    let Some(((first, _), others)) = sources.split_first() else { return members };
    first.for_each(|member, score| {
        if others.iter().all(|(other, _)| other.score(&member).is_none()) {
            members.push((score, member));
        }
    });
    members
}

/// How many members all sources have, at most `limit` of them unless that is 0.
fn count_common(sources: &[Weighted<'_>], limit: usize) -> usize {
    let Some(((smallest, _), others)) = sources.split_first() else { return 0 };
    let mut count = 0;
    smallest.for_each(|member, _| {
        let wanted = limit == 0 || count < limit;
        if wanted && others.iter().all(|(other, _)| other.score(&member).is_some()) {
            count += 1;
        }
    });
    count
}

fn run(call: &mut Call<'_>, operation: Operation, purpose: Purpose) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let first = if matches!(purpose, Purpose::Store(_)) { 2 } else { 1 };
    let (keys, options) = split_keys(call, args.from(first))?;
    let keyspace = &mut call.engine.keyspace;
    for key in keys.iter() {
        if keyspace.read(db, key).is_some_and(|entry| Source::of(entry).is_none()) {
            return Err(Failure::WRONG_TYPE);
        }
    }
    let request = Request::parse(keys, options, operation, purpose)?;
    let sources = request.sources(keyspace, db, operation);
    if purpose == Purpose::Count {
        call.session.out.count(count_common(&sources, request.limit));
        return Ok(());
    }
    let mut members = match operation {
        Operation::Union => union(&sources, request.aggregate),
        Operation::Inter => inter(&sources, request.aggregate),
        Operation::Diff => diff(&sources),
    };
    members.sort_unstable_by(|one, other| as_item(one).order(&as_item(other)));
    if let Purpose::Store(event) = purpose {
        let limits = keyspace.encodings;
        let longest = members.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
        let mut set = SortedSet::for_members(members.len(), longest, &limits);
        members.iter().for_each(|one| set.insert_new(as_item(one), &limits));
        store(call, &args[1], set, event);
        return Ok(());
    }
    let out = &mut call.session.out;
    begin_members(out, members.len(), request.with_scores);
    members.iter().for_each(|one| member(out, as_item(one), request.with_scores));
    Ok(())
}

fn as_item<'m>((score, member): &'m (f64, Cow<'_, [u8]>)) -> Item<'m> {
    Item { score: *score, member }
}

/// ZUNION
pub fn zunion(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Union, Purpose::Reply)
}

/// ZINTER
pub fn zinter(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Inter, Purpose::Reply)
}

/// ZDIFF
pub fn zdiff(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Diff, Purpose::Reply)
}

/// ZUNIONSTORE
pub fn zunionstore(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Union, Purpose::Store("zunionstore"))
}

/// ZINTERSTORE
pub fn zinterstore(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Inter, Purpose::Store("zinterstore"))
}

/// ZDIFFSTORE
pub fn zdiffstore(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Diff, Purpose::Store("zdiffstore"))
}

/// ZINTERCARD
pub fn zintercard(call: &mut Call<'_>) -> Result<(), Failure> {
    run(call, Operation::Inter, Purpose::Count)
}
