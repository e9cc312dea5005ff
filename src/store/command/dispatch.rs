//! Hot path
//!
//! From a command as it came in to its handler. What most commands never meet stands in `gate`, who looks
//! on in `onlookers`.

use super::gate::{self, Refusal};
use super::{Args, Blocked, Call, Failure, Row, onlookers};
use crate::clock;
use crate::store::engine::Engine;
use crate::store::session::Session;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It has run, or was refused.
    Done,
    /// It was not touched: the client must come again with the same bytes when it is no longer held.
    Held,
}

/// Runs one command, in this order, as Redis does:
///
/// 1. An unknown name, an unknown sub-command, a wrong number of arguments are errors.
/// 2. Without the password only what says so may run.
/// 3. A client that listens to channels in RESP2 may only do that.
/// 4. While clients are paused, it waits. A fault that was asked for happens.
/// 5. Between MULTI and EXEC it is queued.
/// 6. The handler runs; an error that it returns is the reply.
/// 7. Others are told of what was written.
#[inline]
pub fn run(engine: &mut Engine, session: &mut Session, args: Args<'_>) -> Flow {
    let resolved = resolve(engine, args);
    if session.is_special() || engine.is_special() {
        return gate::run_special(engine, session, args, resolved);
    }
    match resolved {
        Ok(row) => call(engine, session, row, args),
        Err(refusal) => gate::refuse(engine, session, &refusal),
    }
    if engine.keyspace.has_news() {
        engine.tell(Some(session));
    }
    Flow::Done
}

#[inline]
fn resolve(engine: &Engine, args: Args<'_>) -> Result<&'static Row, Refusal> {
    let Some(mut row) = engine.index.find(&args[0]) else { return Err(Refusal(gate::unknown(args), None)) };
    if !row.command.subcommands.is_empty() && args.len() >= 2 {
        row = match engine.index.find_sub(row, &args[1]) {
            Some(sub) => sub,
            None => return Err(Refusal(gate::unknown_sub(row, &args[1]), None)),
        };
    }
    if !row.command.accepts(args.len()) {
        return Err(Refusal(Failure::arity(row.command.name), Some(row)));
    }
    Ok(row)
}

/// Runs a command that may run, measures it, and counts it.
#[inline]
pub fn call(engine: &mut Engine, session: &mut Session, row: &'static Row, args: Args<'_>) {
    let command = row.command;
    session.last_command = command.name;
    session.active_ms = engine.keyspace.now_ms();
    let mut call = Call { engine, session, args, command, resumed: false, ready_key: &[], waits_on: false };
    let result = (command.handler)(&mut call);
    let failed = result.is_err();
    if let Err(failure) = result {
        engine.fail(session, &failure.0);
    }
    engine.stats.commands += 1;
    let now = clock::ticks();
    let took = now.wrapping_sub(engine.last_ticks);
    engine.last_ticks = now;
    let stats = &mut engine.command_stats[row.id];
    stats.calls += 1;
    stats.ticks = stats.ticks.wrapping_add(took);
    stats.failed += u64::from(failed);
    if engine.tracks_latency {
        stats.histogram.get_or_insert_default().add(took);
    }
    if took >= engine.slow_ticks.min(engine.latency_ticks) {
        onlookers::note_slow(engine, session, command, args, took);
    }
    if !engine.monitors.is_empty() {
        onlookers::show_monitors(engine, session, row, args);
    }
    if session.caching.is_some() {
        onlookers::remember_reads(engine, session, command, args);
    }
}

/// Runs the command of a client again that has waited for `key`; whether it waits no longer.
pub fn resume(engine: &mut Engine, session: &mut Session, blocked: &Blocked, key: &[u8]) -> bool {
    // SELECT cannot come in between, but SWAPDB and RESET must find the database of the wait.
    let db = std::mem::replace(&mut session.db, blocked.db);
    let args = blocked.command.args();
    let (command, resumed) = (blocked.row, true);
    let mut call = Call { engine, session, args, command, resumed, ready_key: key, waits_on: false };
    let result = (blocked.row.handler)(&mut call);
    let waits_on = call.waits_on;
    session.db = db;
    if let Err(failure) = result {
        engine.fail(session, &failure.0);
        let id = engine.index.find(&args[0]).map(|row| row.id);
        id.into_iter().for_each(|id| engine.command_stats[id].failed += 1);
        return true;
    }
    !waits_on
}
