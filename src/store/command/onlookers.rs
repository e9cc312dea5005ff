//! Who looks on while commands run: MONITOR, the slow log, latencies, and clients that keep copies of what they
//! have read.

use super::{Args, Command, FAST, HIDDEN, READONLY, Row, SKIP_MONITOR, SKIP_SLOWLOG, getkeys};
use crate::store::engine::Engine;
use crate::store::session::Session;
use crate::store::stats::{SlowCommand, SlowLog};

/// A command took so long that somebody wants to know.
#[cold]
pub(super) fn note_slow(
    engine: &mut Engine,
    session: &Session,
    command: &Command,
    args: Args<'_>,
    ticks: u64,
) {
    if ticks >= engine.slow_ticks && command.flags & SKIP_SLOWLOG == 0 {
        log_slow(engine, session, args, ticks);
    }
    engine.note_latency(if command.flags & FAST != 0 { "fast-command" } else { "command" }, ticks);
}

/// A client that keeps copies has run a command.
#[cold]
pub(super) fn remember_reads(
    engine: &mut Engine,
    session: &mut Session,
    command: &'static Command,
    args: Args<'_>,
) {
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

/// Shows a command to all who monitor, in the form that MONITOR has.
#[cold]
pub(super) fn show_monitors(engine: &mut Engine, session: &mut Session, row: &Row, args: Args<'_>) {
    if row.command.flags & (SKIP_MONITOR | super::ADMIN | HIDDEN) != 0 {
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
