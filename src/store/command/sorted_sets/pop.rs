//! ZPOPMIN, ZPOPMAX, ZMPOP, and their kin that wait.

use super::{Call, Failure, at_least, member, remove_members, set_of};
use crate::store::blocking::{Empty, Wait, timeout_seconds};
use crate::store::reply::Replies;
use crate::wire::resp::Args;

/// Which members are taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

/// How members are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Members and scores by turns.
    Flat,
    /// The key, a member and its score.
    KeyFlat,
    /// An array of two for each member.
    Nested,
    /// The key, and an array of arrays of two.
    KeyNested,
}

impl Shape {
    fn begin(self, out: &mut Replies, key: &[u8], len: usize) {
        match self {
            Shape::Flat => out.array(len * 2),
            Shape::Nested => out.array(len),
            Shape::KeyFlat => {
                out.array(len * 2 + 1);
                out.bulk(key);
            }
            Shape::KeyNested => {
                out.array(2);
                out.bulk(key);
                out.array(len);
            }
        }
    }
}

/// Takes up to `count` (at least one) members of a key; whether there is such a key.
fn pop(call: &mut Call<'_>, key: &[u8], end: End, count: usize, shape: Shape) -> Result<bool, Failure> {
    let (event, reverse) = match end {
        End::Min => ("zpopmin", false),
        End::Max => ("zpopmax", true),
    };
    let popped = remove_members(call, key, event, |set, out| {
        let count = count.min(set.len());
        shape.begin(out, key, count);
        let range = if reverse { set.len() - count..set.len() } else { 0..count };
        set.visit(range.clone(), reverse, |item| {
            if matches!(shape, Shape::Nested | Shape::KeyNested) {
                out.array(2);
            }
            member(out, item, false);
            out.double(item.score);
        });
        set.remove_range(range, |_| {});
        count
    })?;
    Ok(popped > 0)
}

/// The first of the keys that is there and, when it must be, a sorted set.
fn first_key<'k>(
    call: &mut Call<'_>,
    mut keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Option<&'k [u8]>, Failure> {
    let (db, passes_over) = (call.session.db, call.resumed);
    let keyspace = &mut call.engine.keyspace;
    let found = keys.find_map(|key| match set_of(keyspace.find(db, key)?) {
        Ok(_) => Some(Ok(key)),
        Err(_) if passes_over => None,
        Err(failure) => Some(Err(failure)),
    });
    found.transpose()
}

fn pop_of_one(call: &mut Call<'_>, end: End) -> Result<(), Failure> {
    let args = call.args;
    if args.len() > 3 {
        return Err(Failure::SYNTAX);
    }
    let count = match args.get(2) {
        Some(text) => Some(at_least(0, text, "ERR value is out of range, must be positive")?),
        None => None,
    };
    let nested = count.is_some() && call.session.out.is_resp3();
    let shape = if nested { Shape::Nested } else { Shape::Flat };
    let (key, count) = (&args[1], count.unwrap_or(1) as usize);
    let popped = match count {
        // Nothing is taken, but the type must be right.
        0 => first_key(call, std::iter::once(key)).map(|_| false)?,
        _ => pop(call, key, end, count, shape)?,
    };
    if !popped {
        call.session.out.array(0);
    }
    Ok(())
}

/// ZPOPMIN
pub fn zpopmin(call: &mut Call<'_>) -> Result<(), Failure> {
    pop_of_one(call, End::Min)
}

/// ZPOPMAX
pub fn zpopmax(call: &mut Call<'_>) -> Result<(), Failure> {
    pop_of_one(call, End::Max)
}

/// Takes members of the first key that has some, or waits for one.
fn pop_or_wait(
    call: &mut Call<'_>,
    keys: Args<'_>,
    timeout: &[u8],
    end: End,
    count: usize,
    shape: Shape,
) -> Result<(), Failure> {
    let timeout = timeout_seconds(timeout, call.engine.keyspace.now_ms())?;
    if let Some(key) = first_key(call, keys.iter())? {
        pop(call, key, end, count, shape)?;
        return Ok(());
    }
    call.block(Wait { keys: keys.iter(), timeout, empty: Empty::NullArray, when_gone: false, command: None })
}

fn wait_for_one(call: &mut Call<'_>, end: End) -> Result<(), Failure> {
    let last = call.args.len() - 1;
    let (keys, timeout) = (call.args.from(1), call.args.from(last));
    pop_or_wait(call, keys.first(keys.len() - 1), &timeout[0], end, 1, Shape::KeyFlat)
}

/// BZPOPMIN
pub fn bzpopmin(call: &mut Call<'_>) -> Result<(), Failure> {
    wait_for_one(call, End::Min)
}

/// BZPOPMAX
pub fn bzpopmax(call: &mut Call<'_>) -> Result<(), Failure> {
    wait_for_one(call, End::Max)
}

/// What ZMPOP and BZMPOP are told, from the number of keys on.
struct Several<'a> {
    keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> Several<'a> {
    fn parse(args: Args<'a>) -> Result<Several<'a>, Failure> {
        let number = at_least(1, &args[0], "ERR numkeys should be greater than 0")?;
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let end = match args.get(number.saturating_add(1)) {
            Some(word) if word.eq_ignore_ascii_case(b"MIN") => End::Min,
            Some(word) if word.eq_ignore_ascii_case(b"MAX") => End::Max,
            _ => return Err(Failure::SYNTAX),
        };
        let options = args.from(number + 2);
        let count = match (options.len(), options.get(0), options.get(1)) {
            (0, ..) => 1,
            (_, Some(word), Some(count)) if word.eq_ignore_ascii_case(b"COUNT") => {
                let count = at_least(1, count, "ERR count should be greater than 0")?;
                if options.len() > 2 {
                    return Err(Failure::SYNTAX);
                }
                usize::try_from(count).unwrap_or(usize::MAX)
            }
            _ => return Err(Failure::SYNTAX),
        };
        Ok(Several { keys: args.from(1).first(number), end, count })
    }
}

/// ZMPOP
pub fn zmpop(call: &mut Call<'_>) -> Result<(), Failure> {
    let several = Several::parse(call.args.from(1))?;
    match first_key(call, several.keys.iter())? {
        Some(key) => drop(pop(call, key, several.end, several.count, Shape::KeyNested)?),
        None => call.session.out.null_array(),
    }
    Ok(())
}

/// BZMPOP
pub fn bzmpop(call: &mut Call<'_>) -> Result<(), Failure> {
    let several = Several::parse(call.args.from(2))?;
    let timeout = call.args.from(1);
    pop_or_wait(call, several.keys, &timeout[0], several.end, several.count, Shape::KeyNested)
}
