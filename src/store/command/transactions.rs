//! MULTI, EXEC and what belongs to them.

use super::{ALLOW_BUSY, Call, Command, FAST, Failure, LOADING, NOSCRIPT, SKIP_SLOWLOG, STALE, dispatch};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "transactions";
const BASE: u32 = NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("multi", 1, BASE | FAST | ALLOW_BUSY, NONE, G, "Begins a transaction", multi),
    Command::new("exec", 1, BASE | SKIP_SLOWLOG, NONE, G, "Runs the commands of a transaction", exec),
    Command::new("discard", 1, BASE | FAST | ALLOW_BUSY, NONE, G, "Forgets a transaction", discard),
    Command::new(
        "watch",
        -2,
        BASE | FAST | ALLOW_BUSY,
        (1, -1, 1),
        G,
        "Lets the next EXEC fail if one of the keys changes before it",
        watch,
    ),
    Command::new("unwatch", 1, BASE | FAST | ALLOW_BUSY, NONE, G, "Forgets the watched keys", unwatch),
];

fn multi(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.session.transaction.is_some() {
        return Err(Failure::text("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    call.session.out.ok();
    Ok(())
}

fn discard(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.session.transaction.take().is_none() {
        return Err(Failure::text("ERR DISCARD without MULTI"));
    }
    call.engine.unwatch(call.session);
    call.session.out.ok();
    Ok(())
}

/// 1. A transaction in which a command was refused is not run.
/// 2. Nor is one of whose watched keys one has changed, or has expired.
/// 3. Else all commands run, one after the other and nothing in between; each has its reply.
fn exec(call: &mut Call<'_>) -> Result<(), Failure> {
    let (engine, session) = (&mut *call.engine, &mut *call.session);
    let Some(transaction) = session.transaction.take() else {
        return Err(Failure::text("ERR EXEC without MULTI"));
    };
    for (db, key) in &session.watched {
        // A key that has expired is removed when it is met, and that is a change.
        engine.keyspace.contains(*db, key);
    }
    let changed = engine.keyspace.witnesses.observers.is_dirty(session.id);
    engine.unwatch(session);
    if transaction.aborted {
        return Err(Failure::text("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed {
        session.out.null_array();
        return Ok(());
    }
    session.in_exec = true;
    session.out.array(transaction.len());
    for (row, args) in transaction.into_commands() {
        dispatch::call(engine, session, row, args.args());
    }
    session.in_exec = false;
    session.last_command = call.command.name;
    Ok(())
}

fn watch(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.session.transaction.is_some() {
        return Err(Failure::text("ERR WATCH inside MULTI is not allowed"));
    }
    let (db, id) = (call.session.db, call.session.id);
    for key in call.args.from(1).iter() {
        if call.session.watched.iter().any(|(other, watched)| *other == db && **watched == *key) {
            continue;
        }
        // One that has expired already is removed now, which is no change to this watcher.
        call.engine.keyspace.contains(db, key);
        call.engine.keyspace.witnesses.observers.watch(db, key, id);
        call.session.watched.push((db, key.into()));
    }
    call.session.out.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.unwatch(call.session);
    call.session.out.ok();
    Ok(())
}
