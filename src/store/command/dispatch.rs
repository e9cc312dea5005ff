//! Hot path
//!
//! From a command as it came in to its handler, with everything that may stand in between.

use super::{
    Args, Blocked, Call, Command, FAST, Failure, HIDDEN, MAY_REPLICATE, NO_AUTH, NO_MULTI, READONLY, Row,
    SKIP_MONITOR, SKIP_SLOWLOG, WRITE, getkeys, shown,
};
use crate::clock;
use crate::store::engine::Engine;
use crate::store::faults::Harm;
use crate::store::observers::Waiter;
use crate::store::session::{ReplyMode, Session};
use crate::store::stats::{SlowCommand, SlowLog};

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
        return run_special(engine, session, args, resolved);
    }
    match resolved {
        Ok(row) => call(engine, session, row, args),
        Err(refusal) => refuse(engine, session, &refusal),
    }
    if engine.keyspace.has_news() {
        engine.tell(Some(session));
    }
    Flow::Done
}

/// Why a command does not run, and which one it is, when that is known.
struct Refusal(Failure, Option<&'static Row>);

#[inline]
fn resolve(engine: &Engine, args: Args<'_>) -> Result<&'static Row, Refusal> {
    let Some(mut row) = engine.index.find(&args[0]) else { return Err(Refusal(unknown(args), None)) };
    if !row.command.subcommands.is_empty() && args.len() >= 2 {
        row = match engine.index.find_sub(row, &args[1]) {
            Some(sub) => sub,
            None => return Err(Refusal(unknown_sub(row, &args[1]), None)),
        };
    }
    if !row.command.accepts(args.len()) {
        return Err(Refusal(Failure::arity(row.command.name), Some(row)));
    }
    Ok(row)
}

#[cold]
fn unknown(args: Args<'_>) -> Failure {
    let mut shown_args = String::new();
    for arg in args.from(1).iter() {
        if shown_args.len() >= 128 {
            break;
        }
        shown_args.push_str(&format!("'{}' ", shown(arg, 128 - shown_args.len())));
    }
    let name = shown(&args[0], 128);
    Failure(format!("ERR unknown command '{name}', with args beginning with: {shown_args}").into())
}

#[cold]
fn unknown_sub(container: &Row, name: &[u8]) -> Failure {
    let container = container.command.name.to_ascii_uppercase();
    Failure(format!("ERR unknown subcommand '{}'. Try {container} HELP.", shown(name, 128)).into())
}

/// A command that does not run is an error, and spoils the transaction it was meant for.
#[cold]
fn refuse(engine: &mut Engine, session: &mut Session, Refusal(failure, row): &Refusal) {
    if let Some(transaction) = &mut session.transaction {
        transaction.aborted = true;
    }
    if let Some(row) = row {
        engine.command_stats[row.id].rejected += 1;
    }
    engine.fail(session, &failure.0);
}

/// The same as [`run`], where a client or the server is in a state that most never are in.
#[cold]
fn run_special(
    engine: &mut Engine,
    session: &mut Session,
    args: Args<'_>,
    resolved: Result<&'static Row, Refusal>,
) -> Flow {
    if let Ok(row) = resolved
        && is_paused(engine, session, row)
    {
        session.postponed = true;
        return Flow::Held;
    }
    let (mark, mode) = (session.out.mark(), session.reply_mode);
    match resolved.and_then(|row| admit(engine, session, row).map(|()| row)) {
        Ok(row) => run_admitted(engine, session, row, args),
        Err(refusal) => refuse(engine, session, &refusal),
    }
    if matches!(mode, ReplyMode::Off | ReplyMode::Skip) && session.reply_mode != ReplyMode::On {
        session.out.cut(mark);
    }
    if mode == ReplyMode::Skip && session.reply_mode == ReplyMode::Skip {
        session.reply_mode = ReplyMode::On;
    }
    if engine.keyspace.has_news() {
        engine.tell(Some(session));
    }
    Flow::Done
}

fn is_paused(engine: &Engine, session: &Session, row: &Row) -> bool {
    let Some(pause) = engine.pause else { return false };
    let queued = session.transaction.as_ref();
    let flags = match row.command.name {
        "exec" => queued.map_or(0, |queued| queued.flags()),
        // Commands that are only queued change nothing yet.
        _ if queued.is_some() && pause.only_writes => 0,
        _ => row.command.flags,
    };
    // Number 0 is the program itself, which nobody holds up.
    session.authenticated && session.id != 0 && (!pause.only_writes || flags & (WRITE | MAY_REPLICATE) != 0)
}

/// Whether the client may run this command in its present state.
fn admit(engine: &Engine, session: &Session, row: &'static Row) -> Result<(), Refusal> {
    let command = row.command;
    if !session.authenticated && command.flags & NO_AUTH == 0 {
        return Err(Refusal(Failure::NO_AUTH, Some(row)));
    }
    if session.transaction.is_some() && command.flags & NO_MULTI != 0 {
        let failure = Failure::text("ERR Command not allowed inside a transaction");
        return Err(Refusal(failure, Some(row)));
    }
    if session.subscriptions.is_some() && !session.out.is_resp3() && !is_for_listeners(command.name) {
        let text = format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
             in this context",
            command.name
        );
        return Err(Refusal(Failure(text.into()), Some(row)));
    }
    debug_assert!(row.id < engine.command_stats.len());
    Ok(())
}

fn is_for_listeners(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "quit"
            | "reset"
            | "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
    )
}

fn run_admitted(engine: &mut Engine, session: &mut Session, row: &'static Row, args: Args<'_>) {
    if !engine.faults.is_empty() && is_harmed(engine, session, row) {
        return;
    }
    let is_queued = !matches!(row.command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset");
    if is_queued && let Some(transaction) = &mut session.transaction {
        transaction.push(row, args);
        session.out.simple("QUEUED");
        return;
    }
    call(engine, session, row, args);
    show_monitors(engine, session, row, args);
}

/// Lets a fault happen; whether the command must not run.
fn is_harmed(engine: &mut Engine, session: &mut Session, row: &Row) -> bool {
    let mut faults = std::mem::take(&mut engine.faults);
    let harm = faults.hit(row.command.name, || engine.random());
    engine.faults = faults;
    match harm {
        None => false,
        Some(Harm::Latency(delay)) => {
            let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            let at_us = engine.now_us().saturating_add(delay_us);
            session.delayed_until_us = Some(at_us);
            engine.deadlines.add(at_us, session.waiter());
            false
        }
        Some(Harm::Error(text)) => {
            engine.fail(session, &text);
            true
        }
        Some(Harm::Disconnect) => {
            session.killed = true;
            true
        }
    }
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
        note_slow(engine, session, command, args, took);
    }
    if session.caching.is_some() {
        remember_reads(engine, session, command, args);
    }
}

/// A command took so long that somebody wants to know.
#[cold]
fn note_slow(engine: &mut Engine, session: &Session, command: &Command, args: Args<'_>, ticks: u64) {
    if ticks >= engine.slow_ticks && command.flags & SKIP_SLOWLOG == 0 {
        log_slow(engine, session, args, ticks);
    }
    engine.note_latency(if command.flags & FAST != 0 { "fast-command" } else { "command" }, ticks);
}

/// A client that keeps copies has run a command.
#[cold]
fn remember_reads(engine: &mut Engine, session: &mut Session, command: &'static Command, args: Args<'_>) {
    let remembers = session.caching.as_ref().is_some_and(|caching| caching.remembers());
    if remembers && command.flags & READONLY != 0 {
        let keys = getkeys::positions(command, args);
        engine.remember_reads(session, keys.iter().map(|position| &args[*position]));
    }
    let is_over = session.transaction.is_none() && !session.in_exec && !command.name.starts_with("client|");
    if is_over && let Some(caching) = session.caching.as_mut() {
        caching.next = false;
    }
}

fn log_slow(engine: &mut Engine, session: &Session, args: Args<'_>, ticks: u64) {
    engine.slow_log.add(SlowCommand {
        id: 0,
        at_s: engine.now_us() / 1_000_000,
        micros: engine.tick_rate.micros(ticks) as u64,
        args: SlowLog::shown(args),
        client: session.peer.to_string(),
        client_name: session.name.clone(),
    });
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
        return true;
    }
    !waits_on
}

/// Shows a command to all who monitor, in the form that MONITOR has.
pub fn show_monitors(engine: &mut Engine, session: &mut Session, row: &Row, args: Args<'_>) {
    if engine.monitors.is_empty() || row.command.flags & (SKIP_MONITOR | super::ADMIN | HIDDEN) != 0 {
        return;
    }
    let now_us = engine.now_us();
    let mut line =
        format!("{}.{:06} [{} {}]", now_us / 1_000_000, now_us % 1_000_000, session.db, session.peer);
    for (position, arg) in args.iter().enumerate() {
        line.push(' ');
        push_quoted(&mut line, if is_secret(row, args, position) { b"(redacted)" } else { arg });
    }
    engine.show_monitors(&line, session);
}

/// Whether an argument is a password, or says whose it is.
fn is_secret(row: &Row, args: Args<'_>, position: usize) -> bool {
    let follows_auth = |back: usize| {
        position.checked_sub(back).is_some_and(|at| at >= 2 && args[at].eq_ignore_ascii_case(b"AUTH"))
    };
    match row.command.name {
        "auth" => position > 0 && args.len() <= 3,
        "hello" => follows_auth(1) || follows_auth(2),
        _ => false,
    }
}

/// Appends an argument in double quotes, everything that cannot be shown escaped.
fn push_quoted(line: &mut String, arg: &[u8]) {
    line.push('"');
    for &byte in arg {
        match byte {
            b'\\' | b'"' => line.extend(['\\', char::from(byte)]),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(byte)),
            other => line.push_str(&format!("\\x{other:02x}")),
        }
    }
    line.push('"');
}

/// How CLIENT UNBLOCK ends a wait.
pub fn unblock_with_error(engine: &mut Engine, waiter: Waiter) -> bool {
    engine.unblock(waiter.slot, |engine, session, _| {
        engine.fail(session, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    })
}
