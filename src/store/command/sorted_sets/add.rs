//! ZADD and ZINCRBY.

use super::{Call, Class, Failure, Item, NOT_FLOAT, SortedSet, content, parse_double, set_mut};
use crate::store::encodings::Encodings;
use crate::wire::resp::Args;

const NAN: Failure = Failure::text("ERR resulting score is not a number (NaN)");

/// What ZADD is told between key and first score.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

/// What has come of a command.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    added: u64,
    updated: u64,
    /// The score of the last member that was not passed over.
    score: Option<f64>,
}

impl Options {
    /// Reads all words that are options; they, and the position of the first other one.
    fn parse(args: Args<'_>, incr: bool) -> (Options, usize) {
        let mut options = Options { incr, ..Options::default() };
        let mut index = 2;
        while let Some(word) = args.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            match () {
                () if is(b"NX") => options.nx = true,
                () if is(b"XX") => options.xx = true,
                () if is(b"GT") => options.gt = true,
                () if is(b"LT") => options.lt = true,
                () if is(b"CH") => options.ch = true,
                () if is(b"INCR") => options.incr = true,
                () => break,
            }
            index += 1;
        }
        (options, index)
    }

    fn check(self, pairs: usize) -> Result<(), Failure> {
        if self.nx && self.xx {
            return Err(Failure::text("ERR XX and NX options at the same time are not compatible"));
        }
        if [self.gt, self.lt, self.nx].into_iter().filter(|given| *given).count() > 1 {
            let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
            return Err(Failure::text(text));
        }
        if self.incr && pairs > 1 {
            return Err(Failure::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// Adds or changes one member.
    fn apply(
        self,
        set: &mut SortedSet,
        item: Item<'_>,
        limits: &Encodings,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let Some(old) = set.score(item.member) else {
            if !self.xx {
                set.insert_new(item, limits);
                outcome.added += 1;
                outcome.score = Some(item.score);
            }
            return Ok(());
        };
        if self.nx {
            return Ok(());
        }
        let score = if self.incr { old + item.score } else { item.score };
        if score.is_nan() {
            return Err(NAN);
        }
        if self.lt && score >= old || self.gt && score <= old {
            return Ok(());
        }
        outcome.score = Some(score);
        if score != old {
            set.change(old, Item { score, member: item.member });
            outcome.updated += 1;
        }
        Ok(())
    }
}

fn add(call: &mut Call<'_>, incr: bool) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let (options, first) = Options::parse(args, incr);
    let pairs = args.from(first);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(Failure::SYNTAX);
    }
    options.check(pairs.len() / 2)?;
    let pairs = pairs.pairs();
    let scores: Option<Vec<f64>> = pairs.clone().map(|(score, _)| parse_double(score)).collect();
    let scores = scores.ok_or(NOT_FLOAT)?;
    let key = &args[1];
    let keyspace = &mut call.engine.keyspace;
    let limits = keyspace.encodings;
    let edit = |entry: &mut _| {
        let mut outcome = Outcome::default();
        let done = set_mut(entry).and_then(|set| {
            scores.iter().zip(pairs.clone()).try_for_each(|(&score, (_, member))| {
                options.apply(set, Item { score, member }, &limits, &mut outcome)
            })
        });
        (done.map(|()| outcome), outcome.added + outcome.updated)
    };
    let outcome = if options.xx {
        keyspace.edit(db, key, edit).unwrap_or(Ok(Outcome::default()))
    } else {
        let member = args.get(first + 1).map_or(0, <[u8]>::len);
        keyspace.edit_or_insert(db, key, || content(SortedSet::for_members(1, member, &limits)), edit)
    }?;
    if outcome.added + outcome.updated > 0 {
        keyspace.notify(Class::SORTED_SET, if options.incr { "zincr" } else { "zadd" }, db, key);
    }
    let out = &mut call.session.out;
    match outcome.score {
        Some(score) if options.incr => out.double(score),
        None if options.incr => out.null(),
        _ if options.ch => out.integer((outcome.added + outcome.updated) as i64),
        _ => out.integer(outcome.added as i64),
    }
    Ok(())
}

/// ZADD
pub fn zadd(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, false)
}

/// ZINCRBY
pub fn zincrby(call: &mut Call<'_>) -> Result<(), Failure> {
    add(call, true)
}
