//! Ranges of ranks, scores and members: returned, counted, stored and removed.

use std::ops::Range;

use super::{Call, Failure, Item, SortedSet, begin_members, integer, member, read, remove_members, store};
use crate::store::number::strtod;
use crate::wire::resp::Args;

/// What the two borders of a range are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A score that is a border.
#[derive(Debug, Clone, Copy)]
struct ScoreBorder {
    score: f64,
    exclusive: bool,
}

impl ScoreBorder {
    /// Reads `5`, `(5`, `-inf`: as C does, up to a zero byte and with nothing for 0.
    fn parse(text: &[u8]) -> Result<ScoreBorder, Failure> {
        let (exclusive, text) = match text {
            [b'(', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let number = strtod(text);
        if number.value.is_nan() || text.get(number.len).is_some_and(|&next| next != 0) {
            return Err(Failure::text("ERR min or max is not a float"));
        }
        Ok(ScoreBorder { score: number.value, exclusive })
    }
}

/// A member that is a border.
#[derive(Debug, Clone, Copy)]
enum LexBorder<'a> {
    BeforeAll,
    BehindAll,
    Inclusive(&'a [u8]),
    Exclusive(&'a [u8]),
}

impl<'a> LexBorder<'a> {
    /// Reads `-`, `+`, `[member`, `(member`.
    fn parse(text: &'a [u8]) -> Result<LexBorder<'a>, Failure> {
        match text {
            [b'-'] | [b'-', 0, ..] => Ok(LexBorder::BeforeAll),
            [b'+'] | [b'+', 0, ..] => Ok(LexBorder::BehindAll),
            [b'[', member @ ..] => Ok(LexBorder::Inclusive(member)),
            [b'(', member @ ..] => Ok(LexBorder::Exclusive(member)),
            _ => Err(Failure::text("ERR min or max not valid string range item")),
        }
    }
}

/// A range that can be looked for.
#[derive(Debug, Clone, Copy)]
enum Span<'a> {
    Rank(i64, i64),
    Score(ScoreBorder, ScoreBorder),
    Lex(LexBorder<'a>, LexBorder<'a>),
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Span<'a>, Failure> {
        Ok(match by {
            By::Rank => Span::Rank(integer(min)?, integer(max)?),
            By::Score => Span::Score(ScoreBorder::parse(min)?, ScoreBorder::parse(max)?),
            By::Lex => Span::Lex(LexBorder::parse(min)?, LexBorder::parse(max)?),
        })
    }

    /// The ranks of the members in it. With `reverse`, ranks of the range count from the last member.
    fn find(self, set: &SortedSet, reverse: bool) -> Range<usize> {
        match self {
            Span::Rank(start, end) => ranks(start, end, set.len(), reverse),
            Span::Score(min, max) => {
                let above = |item: Item<'_>| match min.exclusive {
                    true => item.score > min.score,
                    false => item.score >= min.score,
                };
                let below = |item: Item<'_>| match max.exclusive {
                    true => item.score < max.score,
                    false => item.score <= max.score,
                };
                set.span(above, below, reverse)
            }
            Span::Lex(min, max) => {
                let above = |item: Item<'_>| match min {
                    LexBorder::BeforeAll => true,
                    LexBorder::BehindAll => false,
                    LexBorder::Inclusive(border) => item.member >= border,
                    LexBorder::Exclusive(border) => item.member > border,
                };
                let below = |item: Item<'_>| match max {
                    LexBorder::BeforeAll => false,
                    LexBorder::BehindAll => true,
                    LexBorder::Inclusive(border) => item.member <= border,
                    LexBorder::Exclusive(border) => item.member < border,
                };
                set.span(above, below, reverse)
            }
        }
    }
}

/// Ranks from `start` to `end`, negative ones counted from the end.
fn ranks(start: i64, end: i64, len: usize, reverse: bool) -> Range<usize> {
    let signed = len as i64;
    let from_front = |rank: i64| if rank < 0 { rank.saturating_add(signed) } else { rank };
    let (start, end) = (from_front(start).max(0), from_front(end).min(signed - 1));
    if start > end {
        return 0..0;
    }
    let (start, end) = (start as usize, end as usize + 1);
    if reverse { len - end..len - start } else { start..end }
}

/// What the commands of this file are told.
#[derive(Debug)]
struct Request<'a> {
    span: Span<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Request<'a> {
    /// Reads min, max and options. What a command's name says already, its options may not say.
    fn parse(
        args: Args<'a>,
        by: Option<By>,
        reverse: Option<bool>,
        stores: bool,
    ) -> Result<Request<'a>, Failure> {
        let (named_by, named_reverse) = (by, reverse);
        let (mut by, mut reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut index = 2;
        while let Some(word) = args.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if !stores && is(b"WITHSCORES") {
                with_scores = true;
            } else if let (true, Some(skip), Some(count)) =
                (is(b"LIMIT"), args.get(index + 1), args.get(index + 2))
            {
                (offset, limit) = (integer(skip)?, integer(count)?);
                index += 2;
            } else if named_reverse.is_none() && !reverse && is(b"REV") {
                reverse = true;
            } else if named_by.is_none() && by == By::Rank && is(b"BYLEX") {
                by = By::Lex;
            } else if named_by.is_none() && by == By::Rank && is(b"BYSCORE") {
                by = By::Score;
            } else {
                return Err(Failure::SYNTAX);
            }
            index += 1;
        }
        if limit != -1 && by == By::Rank {
            let text =
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(Failure::text(text));
        }
        if with_scores && by == By::Lex {
            let text = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
            return Err(Failure::text(text));
        }
        // Backwards, a range of scores or members is given from its higher border.
        let swapped = reverse && by != By::Rank;
        let (Some(first), Some(second)) = (args.get(0), args.get(1)) else { return Err(Failure::SYNTAX) };
        let (min, max) = if swapped { (second, first) } else { (first, second) };
        Ok(Request { span: Span::parse(by, min, max)?, reverse, with_scores, offset, limit })
    }

    /// The ranks of the members that are wanted.
    fn find(&self, set: &SortedSet) -> Range<usize> {
        let found = self.span.find(set, self.reverse);
        if matches!(self.span, Span::Rank(..)) {
            return found;
        }
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let offset = offset.min(found.len());
        // A negative limit is none.
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX).min(found.len() - offset);
        if self.reverse {
            let end = found.end - offset;
            end - limit..end
        } else {
            let start = found.start + offset;
            start..start + limit
        }
    }
}

fn range(call: &mut Call<'_>, by: Option<By>, reverse: Option<bool>) -> Result<(), Failure> {
    let args = call.args;
    let request = Request::parse(args.from(2), by, reverse, false)?;
    let (set, out) = read(call, &args[1])?;
    let Some(set) = set else {
        out.array(0);
        return Ok(());
    };
    let found = request.find(set);
    begin_members(out, found.len(), request.with_scores);
    set.visit(found, request.reverse, |item| member(out, item, request.with_scores));
    Ok(())
}

/// ZRANGE
pub fn zrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, None, None)
}

/// ZREVRANGE
pub fn zrevrange(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE
pub fn zrangebyscore(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE
pub fn zrevrangebyscore(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX
pub fn zrangebylex(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX
pub fn zrevrangebylex(call: &mut Call<'_>) -> Result<(), Failure> {
    range(call, Some(By::Lex), Some(true))
}

/// ZRANGESTORE
pub fn zrangestore(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let request = Request::parse(args.from(3), None, None, true)?;
    let limits = call.engine.keyspace.encodings;
    let mut result = SortedSet::default();
    if let Some(set) = read(call, &args[2])?.0 {
        // In the order of the range: it decides which members the small form has seen, and that shows
        // in the sign of their zeros.
        set.visit(request.find(set), request.reverse, |item| result.insert_new(item, &limits));
    }
    store(call, &args[1], result, "zrangestore");
    Ok(())
}

fn count(call: &mut Call<'_>, by: By) -> Result<(), Failure> {
    let args = call.args;
    let span = Span::parse(by, &args[2], &args[3])?;
    let (set, out) = read(call, &args[1])?;
    out.count(set.map_or(0, |set| span.find(set, false).len()));
    Ok(())
}

/// ZCOUNT
pub fn zcount(call: &mut Call<'_>) -> Result<(), Failure> {
    count(call, By::Score)
}

/// ZLEXCOUNT
pub fn zlexcount(call: &mut Call<'_>) -> Result<(), Failure> {
    count(call, By::Lex)
}

fn remove(call: &mut Call<'_>, by: By, event: &'static str) -> Result<(), Failure> {
    let args = call.args;
    let span = Span::parse(by, &args[2], &args[3])?;
    let removed = remove_members(call, &args[1], event, |set, _| {
        let found = span.find(set, false);
        set.remove_range(found.clone(), |_| {});
        found.len()
    })?;
    call.session.out.count(removed);
    Ok(())
}

/// ZREMRANGEBYRANK
pub fn zremrangebyrank(call: &mut Call<'_>) -> Result<(), Failure> {
    remove(call, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE
pub fn zremrangebyscore(call: &mut Call<'_>) -> Result<(), Failure> {
    remove(call, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX
pub fn zremrangebylex(call: &mut Call<'_>) -> Result<(), Failure> {
    remove(call, By::Lex, "zremrangebylex")
}
