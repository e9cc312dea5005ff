//! What several sets have in common, have together, or do not share.

use std::cmp::Reverse;

use super::{Member, Set, set_of};
use crate::store::command::{Call, Failure, integer};
use crate::store::encodings::Encodings;
use crate::store::entry::Content;
use crate::store::keyspace::{Expiry, Keyspace};
use crate::store::notify::Class;
use crate::store::reply::Replies;
use crate::store::table::KeyHash;
use crate::store::value::Object;
use crate::wire::resp::Args;

/// The sets of `keys`; none for a key that is not there.
fn operands<'e, 'k>(
    keyspace: &'e mut Keyspace,
    db: usize,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
) -> Result<Vec<Option<&'e Set>>, Failure> {
    // Reading removes what has expired, after which all can be looked at together.
    for key in keys.clone() {
        keyspace.read(db, key).map(set_of).transpose()?;
    }
    let table = keyspace.table(db);
    Ok(keys.map(|key| table.get(KeyHash::of(key), key).and_then(|entry| set_of(entry).ok())).collect())
}

/// What all sets have: the members of the smallest that are in all others. Nothing when one is not there.
fn intersection<'s>(sets: &[Option<&'s Set>]) -> impl Iterator<Item = Member<'s>> + use<'s> {
    let mut sets: Vec<&Set> = sets.iter().copied().collect::<Option<_>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let smallest = (!sets.is_empty()).then(|| sets.remove(0));
    let members = smallest.into_iter().flat_map(Set::iter);
    members.filter(move |member| sets.iter().all(|set| set.has(*member)))
}

fn gather<'s>(members: impl Iterator<Item = Member<'s>>, limits: &Encodings) -> Set {
    let mut set = Set::default();
    members.for_each(|member| {
        set.add_member(member, limits);
    });
    set
}

/// What at least one set has.
fn union(sets: &[Option<&Set>], limits: &Encodings) -> Set {
    gather(sets.iter().flatten().flat_map(|set| set.iter()), limits)
}

/// What the first set has and no other.
fn difference(sets: &[Option<&Set>], limits: &Encodings) -> Set {
    let Some((Some(first), rest)) = sets.split_first() else { return Set::default() };
    let mut rest: Vec<&Set> = rest.iter().flatten().copied().collect();
    // Asking each of many small sets for every member of a large one would cost more than to gather
    // first what is to be left out.
    let members: usize = rest.iter().map(|set| set.len()).sum();
    let (asking, gathering) = (first.len().saturating_mul(rest.len()), first.len() + members * 4);
    if asking > gathering {
        let others = gather(rest.iter().flat_map(|set| set.iter()), limits);
        return gather(first.iter().filter(|member| !others.has(*member)), limits);
    }
    rest.sort_by_key(|set| Reverse(set.len()));
    gather(first.iter().filter(|member| !rest.iter().any(|set| set.has(*member))), limits)
}

fn reply(set: &Set, out: &mut Replies) {
    out.set(set.len());
    set.iter().for_each(|member| member.reply(out));
}

/// Sets the call's key to a set, or removes it when the set is empty.
fn store(call: &mut Call<'_>, set: Set, event: &'static str) {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    call.session.out.count(set.len());
    if !set.is_empty() {
        keyspace.put(db, &args[1], Content::Object(Box::new(Object::Set(set))), Expiry::Clear);
        keyspace.notify(Class::SET, event, db, &args[1]);
    } else if keyspace.remove(db, &args[1]).is_some() {
        keyspace.notify(Class::GENERIC, "del", db, &args[1]);
    }
}

pub fn sinter(call: &mut Call<'_>) -> Result<(), Failure> {
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(1).iter())?;
    let members: Vec<Member<'_>> = intersection(&sets).collect();
    call.session.out.set(members.len());
    members.into_iter().for_each(|member| member.reply(&mut call.session.out));
    Ok(())
}

pub fn sinterstore(call: &mut Call<'_>) -> Result<(), Failure> {
    let limits = call.engine.keyspace.encodings;
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(2).iter())?;
    let set = gather(intersection(&sets), &limits);
    store(call, set, "sinterstore");
    Ok(())
}

/// How many keys SINTERCARD has, and its LIMIT; no limit is `usize::MAX`.
fn counted(args: Args<'_>) -> Result<(usize, usize), Failure> {
    let keys = integer(&args[1]).ok().and_then(|keys| usize::try_from(keys).ok()).filter(|&keys| keys > 0);
    let keys = keys.ok_or(Failure::text("ERR numkeys should be greater than 0"))?;
    if keys > args.len() - 2 {
        return Err(Failure::text("ERR Number of keys can't be greater than number of args"));
    }
    let (mut limit, mut index) = (0, keys + 2);
    while let Some(word) = args.get(index) {
        let value =
            args.get(index + 1).filter(|_| word.eq_ignore_ascii_case(b"LIMIT")).ok_or(Failure::SYNTAX)?;
        let number = integer(value).ok().and_then(|number| usize::try_from(number).ok());
        limit = number.ok_or(Failure::text("ERR LIMIT can't be negative"))?;
        index += 2;
    }
    Ok((keys, if limit == 0 { usize::MAX } else { limit }))
}

pub fn sintercard(call: &mut Call<'_>) -> Result<(), Failure> {
    let (keys, limit) = counted(call.args)?;
    let keys = call.args.from(2).iter().take(keys);
    let sets = operands(&mut call.engine.keyspace, call.session.db, keys)?;
    call.session.out.count(intersection(&sets).take(limit).count());
    Ok(())
}

pub fn sunion(call: &mut Call<'_>) -> Result<(), Failure> {
    let limits = call.engine.keyspace.encodings;
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(1).iter())?;
    reply(&union(&sets, &limits), &mut call.session.out);
    Ok(())
}

pub fn sunionstore(call: &mut Call<'_>) -> Result<(), Failure> {
    let limits = call.engine.keyspace.encodings;
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(2).iter())?;
    let set = union(&sets, &limits);
    store(call, set, "sunionstore");
    Ok(())
}

pub fn sdiff(call: &mut Call<'_>) -> Result<(), Failure> {
    let limits = call.engine.keyspace.encodings;
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(1).iter())?;
    reply(&difference(&sets, &limits), &mut call.session.out);
    Ok(())
}

pub fn sdiffstore(call: &mut Call<'_>) -> Result<(), Failure> {
    let limits = call.engine.keyspace.encodings;
    let sets = operands(&mut call.engine.keyspace, call.session.db, call.args.from(2).iter())?;
    let set = difference(&sets, &limits);
    store(call, set, "sdiffstore");
    Ok(())
}
