//! ZRANDMEMBER.

use std::collections::HashSet;

use super::{Call, Failure, SortedSet, begin_members, integer, member, read, set_of};

/// ZRANDMEMBER
pub fn zrandmember(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let Some(count) = args.get(2) else { return one(call) };
    let count = integer(count)?;
    if count == i64::MIN {
        let text =
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        return Err(Failure::text(text));
    }
    let with_scores = match (args.len(), args.get(3)) {
        (3, _) => false,
        (4, Some(word)) if word.eq_ignore_ascii_case(b"WITHSCORES") => true,
        _ => return Err(Failure::SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Failure::text("ERR value is out of range"));
    }
    several(call, count, with_scores)
}

fn one(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, random) = (call.args, call.engine.random());
    let (set, out) = read(call, &args[1])?;
    out.optional(set.and_then(|set| set.at(below(random, set.len()))).map(|item| item.member));
    Ok(())
}

/// A random number as one below `len`; 0 when there is none.
fn below(random: u64, len: usize) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

fn several(call: &mut Call<'_>, count: i64, with_scores: bool) -> Result<(), Failure> {
    let args = call.args;
    let key = &args[1];
    let len = read(call, key)?.0.map_or(0, SortedSet::len);
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if len == 0 || wanted == 0 {
        call.session.out.array(0);
        return Ok(());
    }
    // Ranks first, as far as they are few: the generator and the set belong to the same engine.
    let mut pick = {
        let mut state = call.engine.random();
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }
    };
    let out = &mut call.session.out;
    let Some(set) = call.engine.keyspace.find(call.session.db, key).map(set_of).transpose()? else {
        return Ok(());
    };
    if count < 0 {
        begin_members(out, wanted, with_scores);
        for _ in 0..wanted {
            if let Some(item) = set.at(below(pick(), len)) {
                member(out, item, with_scores);
            }
            // A reply beyond the limit closes the connection; nobody reads the rest.
            if out.overflowed() {
                break;
            }
        }
        return Ok(());
    }
    begin_members(out, wanted.min(len), with_scores);
    if wanted >= len {
        set.visit(0..len, true, |item| member(out, item, with_scores));
        return Ok(());
    }
    // Each set of ranks is equally likely (Floyd): a rank that is taken stands for the last one.
    let mut taken = HashSet::new();
    for last in len - wanted..len {
        let rank = below(pick(), last + 1);
        let rank = if taken.insert(rank) { rank } else { last };
        taken.insert(rank);
        if let Some(item) = set.at(rank) {
            member(out, item, with_scores);
        }
    }
    Ok(())
}
