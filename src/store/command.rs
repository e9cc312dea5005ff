//! Hot path
//!
//! The table of commands, and the way from a name to its handler.
//!
//! A row holds what must be known about a command before it runs; what else COMMAND tells stands in
//! `facts.txt`. Families of commands have a file each.

mod acl;
mod clients;
mod cluster;
mod command_info;
mod config;
mod connection;
mod debug;
mod dispatch;
mod facts;
mod functions;
mod gate;
mod getkeys;
mod hashes;
mod help;
mod index;
mod info;
mod keys;
mod latency;
mod lists;
mod memory;
mod modules;
mod onlookers;
mod pubsub;
mod replication;
mod scan;
mod server;
mod sets;
mod slowlog;
mod sort;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

use std::borrow::Cow;

pub use dispatch::{Flow, resume, run};
pub use index::{Index, Row};
pub use info::used_bytes;

use super::blocking::{Blocked, Timeout, Wait};
use super::engine::Engine;
use super::session::{ReplyMode, Session};
use crate::wire::resp::{Args, OwnedArgs, parse_integer};

/// Changes keys.
pub const WRITE: u32 = 1;
/// Reads keys.
pub const READONLY: u32 = 1 << 1;
/// May need more memory.
pub const DENYOOM: u32 = 1 << 2;
/// For administrators.
pub const ADMIN: u32 = 1 << 3;
/// About channels.
pub const PUBSUB: u32 = 1 << 4;
/// Not for scripts.
pub const NOSCRIPT: u32 = 1 << 5;
/// May wait.
pub const BLOCKING: u32 = 1 << 6;
/// Runs while a data set is loaded.
pub const LOADING: u32 = 1 << 7;
/// Runs on a replica that has lost its master.
pub const STALE: u32 = 1 << 8;
/// Not shown by MONITOR.
pub const SKIP_MONITOR: u32 = 1 << 9;
/// Never in the slow log.
pub const SKIP_SLOWLOG: u32 = 1 << 10;
/// Takes constant or logarithmic time.
pub const FAST: u32 = 1 << 12;
/// Runs before the password is given.
pub const NO_AUTH: u32 = 1 << 13;
/// May come without any key.
pub const NO_MANDATORY_KEYS: u32 = 1 << 14;
/// Not while a data set is loaded beside the old one.
pub const NO_ASYNC_LOADING: u32 = 1 << 15;
/// Not in a transaction.
pub const NO_MULTI: u32 = 1 << 16;
/// Where its keys are depends on its arguments.
pub const MOVABLE_KEYS: u32 = 1 << 17;
/// Allowed while the server is busy.
pub const ALLOW_BUSY: u32 = 1 << 18;
/// Held up by CLIENT PAUSE WRITE although it changes no key.
pub const MAY_REPLICATE: u32 = 1 << 30;
/// Not shown by COMMAND.
pub const HIDDEN: u32 = 1 << 31;

/// The names of the flags, lowest bit first, in the order in which Redis shows them. No command here has
/// `asking`, which holds bit 11.
pub const FLAG_NAMES: [&str; 19] = [
    "write",
    "readonly",
    "denyoom",
    "admin",
    "pubsub",
    "noscript",
    "blocking",
    "loading",
    "stale",
    "skip_monitor",
    "skip_slowlog",
    "asking",
    "fast",
    "no_auth",
    "no_mandatory_keys",
    "no_async_loading",
    "no_multi",
    "movablekeys",
    "allow_busy",
];

/// What runs a command. Its reply goes to `call.session.out`; an error is written by the caller.
pub type Handler = fn(&mut Call<'_>) -> Result<(), Failure>;

/// One row of the table.
#[derive(Debug)]
pub struct Command {
    /// Lower case; `config|get` for a sub-command.
    pub name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub arity: i16,
    /// A sum of [`WRITE`], [`READONLY`] …
    pub flags: u32,
    /// The first key, the last (negative: from the end) and the step; 0, 0, 0 without keys.
    pub keys: (i16, i16, i16),
    /// The family.
    pub group: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What runs it.
    pub handler: Handler,
    /// Its sub-commands.
    pub subcommands: &'static [Command],
}

impl Command {
    const fn new(
        name: &'static str,
        arity: i16,
        flags: u32,
        keys: (i16, i16, i16),
        group: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Command {
        Command { name, arity, flags, keys, group, summary, handler, subcommands: &[] }
    }

    /// A command that only holds others.
    const fn container(
        name: &'static str,
        group: &'static str,
        summary: &'static str,
        subcommands: &'static [Command],
    ) -> Command {
        fn unreached(call: &mut Call<'_>) -> Result<(), Failure> {
            Err(Failure::arity(call.command.name))
        }
        Command {
            name,
            arity: -2,
            flags: 0,
            keys: (0, 0, 0),
            group,
            summary,
            handler: unreached,
            subcommands,
        }
    }

    #[inline]
    fn accepts(&self, args: usize) -> bool {
        if self.arity >= 0 {
            args == self.arity as usize
        } else {
            args >= usize::from(self.arity.unsigned_abs())
        }
    }
}

/// A command as it runs.
#[derive(Debug)]
pub struct Call<'a> {
    /// The data and everything that clients share.
    pub engine: &'a mut Engine,
    /// Who has sent it, and where the reply goes.
    pub session: &'a mut Session,
    /// Its name and arguments.
    pub args: Args<'a>,
    /// Its row.
    pub command: &'static Command,
    /// It has waited, and runs again because one of its keys was written.
    pub resumed: bool,
    /// That key; empty when it has not waited.
    pub ready_key: &'a [u8],
    /// It has run again, and goes on waiting.
    waits_on: bool,
}

impl Call<'_> {
    /// Waits until one of the keys is written, then runs the handler again, with
    /// [`Call::resumed`]. In a transaction there is no waiting: the answer is the one of a time-out.
    ///
    /// # Errors
    /// None; a handler can end with it.
    pub fn block<'k>(&mut self, wait: Wait<'k, impl Iterator<Item = &'k [u8]>>) -> Result<(), Failure> {
        if self.resumed {
            self.waits_on = true;
            return Ok(());
        }
        if self.session.in_exec {
            wait.empty.answer(&mut self.session.out);
            return Ok(());
        }
        let deadline_us = match wait.timeout {
            Timeout::Never => None,
            Timeout::After(micros) => Some(self.engine.now_us().saturating_add(micros)),
        };
        let blocked = Blocked {
            command: wait.command.unwrap_or_else(|| OwnedArgs::from_args(self.args)),
            row: self.command,
            db: self.session.db,
            keys: wait.keys.map(Box::from).collect(),
            deadline_us,
            empty: wait.empty,
            when_gone: wait.when_gone,
            muted: self.session.reply_mode != ReplyMode::On,
        };
        self.engine.begin_wait(self.session, blocked);
        Ok(())
    }
}

/// An error reply, with its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub Cow<'static, str>);

impl Failure {
    /// The key holds another type.
    pub const WRONG_TYPE: Failure =
        Failure(Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value"));
    /// An option that does not exist, or stands in the wrong place.
    pub const SYNTAX: Failure = Failure(Cow::Borrowed("ERR syntax error"));
    /// An argument that must be an integer.
    pub const NOT_INTEGER: Failure = Failure(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// There is no such key.
    pub const NO_KEY: Failure = Failure(Cow::Borrowed("ERR no such key"));
    /// An increment that leaves the range.
    pub const OVERFLOW: Failure = Failure(Cow::Borrowed("ERR increment or decrement would overflow"));
    /// The client must give the password first.
    pub const NO_AUTH: Failure = Failure(Cow::Borrowed("NOAUTH Authentication required."));
    /// A string that would be longer than strings may be.
    pub const STRING_TOO_LONG: Failure =
        Failure(Cow::Borrowed("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));

    /// A fixed text.
    pub const fn text(text: &'static str) -> Failure {
        Failure(Cow::Borrowed(text))
    }

    /// Too few or too many arguments.
    pub fn arity(name: &str) -> Failure {
        Failure(format!("ERR wrong number of arguments for '{name}' command").into())
    }

    /// Too many arguments for a sub-command that checks them itself.
    pub fn sub_arity(name: &[u8], container: &str) -> Failure {
        let name = shown(name, 128);
        let text = format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
        );
        Failure(text.into())
    }

    /// An expiry outside of what can be.
    pub fn expire_time(name: &str) -> Failure {
        Failure(format!("ERR invalid expire time in '{name}' command").into())
    }
}

/// An argument that must be an integer.
pub fn integer(text: &[u8]) -> Result<i64, Failure> {
    parse_integer(text).ok_or(Failure::NOT_INTEGER)
}

/// Bytes for an error text: what a C string of at most `max` bytes would show.
pub fn shown(bytes: &[u8], max: usize) -> Cow<'_, str> {
    let bytes = &bytes[..bytes.len().min(max)];
    let bytes = &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())];
    String::from_utf8_lossy(bytes)
}
