//! Whether a command runs at all, where a client or the server is in a state that most never are in: before
//! the password, between MULTI and EXEC, listening to channels, paused, or hit by a fault.

use super::dispatch::{self, Flow};
use super::{Args, Failure, MAY_REPLICATE, NO_AUTH, NO_MULTI, Row, WRITE, shown};
use crate::store::blocking::Due;
use crate::store::engine::Engine;
use crate::store::faults::Harm;
use crate::store::session::{ReplyMode, Session};

/// Why a command does not run, and which one it is, when that is known.
pub(super) struct Refusal(pub Failure, pub Option<&'static Row>);

#[cold]
pub(super) fn unknown(args: Args<'_>) -> Failure {
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
pub(super) fn unknown_sub(container: &Row, name: &[u8]) -> Failure {
    let container = container.command.name.to_ascii_uppercase();
    Failure(format!("ERR unknown subcommand '{}'. Try {container} HELP.", shown(name, 128)).into())
}

/// A command that does not run is an error, and spoils the transaction it was meant for.
#[cold]
pub(super) fn refuse(engine: &mut Engine, session: &mut Session, Refusal(failure, row): &Refusal) {
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
pub(super) fn run_special(
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
    let name = resolved.as_ref().map_or("", |row| row.command.name);
    match resolved.and_then(|row| admit(session, row).map(|()| row)) {
        Ok(row) => run_admitted(engine, session, row, args),
        Err(refusal) => refuse(engine, session, &refusal),
    }
    // What a command about channels says is no reply.
    let listens = name.ends_with("subscribe");
    if mode != ReplyMode::On && session.reply_mode != ReplyMode::On && !listens {
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
        _ => row.command.flags,
    };
    // Number 0 is the program itself, which nobody holds up.
    session.authenticated && session.id != 0 && (!pause.only_writes || flags & (WRITE | MAY_REPLICATE) != 0)
}

/// Whether the client may run this command in its present state.
fn admit(session: &Session, row: &'static Row) -> Result<(), Refusal> {
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
    dispatch::call(engine, session, row, args);
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
            engine.deadlines.add(at_us, session.waiter(), Due::Delay);
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
