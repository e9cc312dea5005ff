//! When keys expire: the EXPIRE family, TTL and its kin.

use crate::store::command::{Call, Failure, integer, shown};
use crate::store::entry::Entry;
use crate::store::notify::Class;

pub fn expire(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_ms = call.engine.keyspace.now_ms();
    expire_from(call, now_ms, 1000)
}

pub fn pexpire(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_ms = call.engine.keyspace.now_ms();
    expire_from(call, now_ms, 1)
}

pub fn expireat(call: &mut Call<'_>) -> Result<(), Failure> {
    expire_from(call, 0, 1000)
}

pub fn pexpireat(call: &mut Call<'_>) -> Result<(), Failure> {
    expire_from(call, 0, 1)
}

/// When an expiry may be set.
#[derive(Default)]
struct Condition {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    fn parse(call: &Call<'_>) -> Result<Condition, Failure> {
        let mut condition = Condition::default();
        for word in call.args.from(3).iter() {
            match () {
                () if word.eq_ignore_ascii_case(b"NX") => condition.none = true,
                () if word.eq_ignore_ascii_case(b"XX") => condition.some = true,
                () if word.eq_ignore_ascii_case(b"GT") => condition.later = true,
                () if word.eq_ignore_ascii_case(b"LT") => condition.earlier = true,
                () => {
                    let word = shown(word, usize::MAX);
                    return Err(Failure(format!("ERR Unsupported option {word}").into()));
                }
            }
        }
        if condition.none && (condition.some || condition.later || condition.earlier) {
            return Err(Failure::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if condition.later && condition.earlier {
            return Err(Failure::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// No expiry counts as one that never comes.
    fn holds(&self, old: Option<i64>, new: i64) -> bool {
        !(self.none && old.is_some()
            || self.some && old.is_none()
            || self.later && old.is_none_or(|old| new <= old)
            || self.earlier && old.is_some_and(|old| new >= old))
    }
}

fn expire_from(call: &mut Call<'_>, base_ms: i64, unit_ms: i64) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let condition = Condition::parse(call)?;
    let at = integer(&args[2])?;
    let at = at.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
    let at = at.ok_or_else(|| Failure::expire_time(call.command.name))?;
    let keyspace = &mut call.engine.keyspace;
    let old = keyspace.find(db, &args[1]).map(Entry::expiry);
    let set = old.is_some_and(|old| condition.holds(old, at));
    if set && at <= keyspace.now_ms() {
        keyspace.delete(db, &args[1]);
        keyspace.notify(Class::GENERIC, "del", db, &args[1]);
    } else if set {
        keyspace.set_expiry(db, &args[1], Some(at));
        keyspace.notify(Class::GENERIC, "expire", db, &args[1]);
    }
    call.session.out.integer(i64::from(set));
    Ok(())
}

/// Answers -2 without the key, -1 without an expiry, else what `answer` makes of expiry and now.
fn expiry_of(call: &mut Call<'_>, answer: fn(i64, i64) -> i64) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    let found = call.engine.keyspace.read_untouched(call.session.db, &args[1]).map(Entry::expiry);
    call.session.out.integer(match found {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => answer(at, now_ms),
    });
    Ok(())
}

/// Milliseconds, not negative ones, as whole seconds.
fn rounded_s(ms: i64) -> i64 {
    ((ms.max(0) as u64 + 500) / 1000) as i64
}

pub fn ttl(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, now_ms| rounded_s(at - now_ms))
}

pub fn pttl(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, now_ms| at - now_ms)
}

pub fn expiretime(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, _| rounded_s(at))
}

pub fn pexpiretime(call: &mut Call<'_>) -> Result<(), Failure> {
    expiry_of(call, |at, _| at)
}

pub fn persist(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let had_one = keyspace.find(db, &args[1]).is_some_and(|entry| entry.expiry().is_some());
    if had_one {
        keyspace.set_expiry(db, &args[1], None);
        keyspace.notify(Class::GENERIC, "persist", db, &args[1]);
    }
    call.session.out.integer(i64::from(had_one));
    Ok(())
}
