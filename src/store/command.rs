//! Hot path
//!
//! The table of commands, and the way from a name to its handler.
//!
//! A row holds everything that is known about a command before it runs; COMMAND answers from the same
//! rows. Families of commands have a file each.

mod connection;
mod hashes;
mod info;
mod keys;
mod scan;
mod server;
mod streams;
mod strings;

use std::borrow::Cow;
use std::sync::LazyLock;

use super::engine::Engine;
use super::session::Session;
use crate::wire::resp::{Args, parse_integer};

/// Changes keys.
pub const WRITE: u32 = 1;
/// Reads keys.
pub const READONLY: u32 = 1 << 1;
/// May need more memory.
pub const DENYOOM: u32 = 1 << 2;
/// For administrators.
pub const ADMIN: u32 = 1 << 3;
/// Not for scripts.
pub const NOSCRIPT: u32 = 1 << 4;
/// Runs while a data set is loaded.
pub const LOADING: u32 = 1 << 5;
/// Runs on a replica that has lost its master.
pub const STALE: u32 = 1 << 6;
/// Takes constant or logarithmic time.
pub const FAST: u32 = 1 << 7;
/// Runs before the password is given.
pub const NO_AUTH: u32 = 1 << 8;
/// Not in a transaction.
pub const NO_MULTI: u32 = 1 << 9;
/// Allowed while the server is busy.
pub const ALLOW_BUSY: u32 = 1 << 10;
/// Not shown by COMMAND.
pub const HIDDEN: u32 = 1 << 31;

/// The names of the flags, lowest bit first, in the order in which Redis shows them.
pub const FLAG_NAMES: [&str; 11] = [
    "write",
    "readonly",
    "denyoom",
    "admin",
    "noscript",
    "loading",
    "stale",
    "fast",
    "no_auth",
    "no_multi",
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

/// All commands.
#[derive(Debug)]
pub struct Index {
    rows: Vec<&'static Command>,
    /// Those that are not hidden.
    commands: Vec<&'static Command>,
    /// Open addressing by the hash of the name: position in `rows` plus one, 0 for none.
    slots: Vec<u16>,
}

const SLOTS: usize = 1024;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let families = [
        connection::COMMANDS,
        server::COMMANDS,
        keys::COMMANDS,
        strings::COMMANDS,
        hashes::COMMANDS,
        streams::COMMANDS,
    ];
    let rows: Vec<&'static Command> = families.into_iter().flatten().collect();
    let mut slots = vec![0; SLOTS];
    for (position, command) in rows.iter().enumerate() {
        let mut slot = slot_of(command.name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = position as u16 + 1;
    }
    let commands = rows.iter().copied().filter(|command| command.flags & HIDDEN == 0).collect();
    Index { rows, commands, slots }
});

/// Where the search for a name begins. Upper and lower case begin at the same place.
#[inline]
fn slot_of(name: &[u8]) -> usize {
    let mut mixed = name.len() as u64;
    for &byte in name.iter().take(12) {
        mixed = mixed.rotate_left(7) ^ u64::from(byte | 0x20);
    }
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

impl Index {
    /// The one of this process.
    pub fn shared() -> &'static Index {
        &INDEX
    }

    /// All rows that COMMAND shows.
    pub fn commands(&self) -> &[&'static Command] {
        &self.commands
    }

    /// The row of a command, in whatever case its name is written.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let mut slot = slot_of(name);
        while let Some(position) = usize::from(self.slots[slot]).checked_sub(1) {
            let command = self.rows[position];
            if command.name.len() == name.len() && command.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

/// Runs one command, in this order, as Redis does:
///
/// 1. An unknown name, an unknown sub-command, a wrong number of arguments are errors.
/// 2. Without the password only what says so may run.
/// 3. The handler runs; an error that it returns is the reply.
#[inline]
pub fn run(engine: &mut Engine, session: &mut Session, args: Args<'_>) {
    engine.stats.commands += 1;
    if let Err(failure) = resolve_and_run(engine, session, args) {
        engine.stats.errors += 1;
        session.out.error(&failure.0);
    }
}

#[inline]
fn resolve_and_run(engine: &mut Engine, session: &mut Session, args: Args<'_>) -> Result<(), Failure> {
    let Some(mut command) = engine.index.find(&args[0]) else { return Err(unknown(args)) };
    if !command.subcommands.is_empty() && args.len() >= 2 {
        command = subcommand(command, &args[1])?;
    }
    if !command.accepts(args.len()) {
        return Err(Failure::arity(command.name));
    }
    if !session.authenticated && command.flags & NO_AUTH == 0 {
        return Err(Failure::NO_AUTH);
    }
    session.last_command = command.name;
    session.active_ms = engine.keyspace.now_ms();
    (command.handler)(&mut Call { engine, session, args, command })
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

fn subcommand(container: &'static Command, name: &[u8]) -> Result<&'static Command, Failure> {
    let matches = |command: &&Command| {
        let own = command.name.split_once('|').map_or(command.name, |(_, own)| own);
        own.as_bytes().eq_ignore_ascii_case(name)
    };
    container.subcommands.iter().find(matches).ok_or_else(|| {
        let container = container.name.to_ascii_uppercase();
        let text = format!("ERR unknown subcommand '{}'. Try {container} HELP.", shown(name, 128));
        Failure(text.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        let index = Index::shared();
        for command in &index.rows {
            let upper = command.name.to_ascii_uppercase();
            for name in [command.name, &upper] {
                assert_eq!(index.find(name.as_bytes()).map(|c| c.name), Some(command.name));
            }
        }
        assert!(index.find(b"").is_none() && index.find(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let mut names: Vec<&str> = Index::shared().rows.iter().map(|c| c.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(names.len() * 2 < SLOTS);
    }
}
