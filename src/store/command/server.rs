//! The server itself: what it is, how it is set, and everything at once.

use super::info;
use super::{
    ADMIN, ALLOW_BUSY, BLOCKING, Call, Command, FAST, FLAG_NAMES, Failure, Index, LOADING, NO_MULTI,
    NOSCRIPT, PUBSUB, READONLY, STALE, WRITE, integer,
};
use crate::store::blocking::{self, Empty, Wait};
use crate::store::notify::Class;
use crate::store::reply::Replies;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const LS: u32 = LOADING | STALE;
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("info", -1, LS, NONE, G, "Describes the server", info::info),
    Command {
        subcommands: COMMAND,
        ..Command::new("command", -1, LS, NONE, G, "Describes all commands", command)
    },
    Command::container("config", G, "Looks at settings", CONFIG),
    Command::new("dbsize", 1, READONLY | FAST, NONE, G, "Counts the keys of the database", dbsize),
    Command::new("flushdb", -1, WRITE, NONE, G, "Removes all keys of the database", flushdb),
    Command::new("flushall", -1, WRITE, NONE, G, "Removes all keys of all databases", flushall),
    Command::new("time", 1, LS | FAST, NONE, G, "Returns seconds and microseconds of the clock", time),
    Command::new("wait", 3, NOSCRIPT, NONE, "generic", "Returns 0: there are no replicas", wait),
    Command::new("debug", -2, ADM, NONE, G, "Helps test suites", super::debug::debug),
    Command::new("shutdown", -1, ADM | ALLOW_BUSY | NO_MULTI, NONE, G, "Stops the server", shutdown),
    Command::container("memory", G, "Looks at memory", super::memory::COMMANDS),
];

const COMMAND: &[Command] = &[
    Command::new("command|count", 2, LS, NONE, G, "Counts the commands", command_count),
    Command::new("command|docs", -2, LS, NONE, G, "Returns what commands do", command_docs),
    Command::new("command|info", -2, LS, NONE, G, "Describes some commands", command_info),
    Command::new("command|list", -2, LS, NONE, G, "Lists the names of commands", command_list),
];

const CONFIG: &[Command] = &[
    Command::new("config|get", -3, ADM, NONE, G, "Returns settings", config_get),
    Command::new("config|set", -4, ADM, NONE, G, "Changes settings", config_set),
    Command::new("config|resetstat", 2, ADM, NONE, G, "Sets counters to zero", config_resetstat),
];

fn dbsize(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.keyspace.table(call.session.db).len());
    Ok(())
}

/// ASYNC and SYNC are the same here: what is large is freed in the background.
fn flush_mode(call: &Call<'_>) -> Result<(), Failure> {
    match call.args.get(1) {
        None => Ok(()),
        Some(word) if call.args.len() == 2 && is_flush_mode(word) => Ok(()),
        Some(_) => Err(Failure::SYNTAX),
    }
}

fn is_flush_mode(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC")
}

fn flushdb(call: &mut Call<'_>) -> Result<(), Failure> {
    flush_mode(call)?;
    call.engine.keyspace.flush(call.session.db);
    call.session.out.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_>) -> Result<(), Failure> {
    flush_mode(call)?;
    (0..call.engine.keyspace.databases()).for_each(|db| call.engine.keyspace.flush(db));
    call.session.out.ok();
    Ok(())
}

fn time(call: &mut Call<'_>) -> Result<(), Failure> {
    let now_us = call.engine.now_us();
    let mut digits = itoa::Buffer::new();
    call.session.out.array(2);
    call.session.out.text(digits.format(now_us / 1_000_000));
    call.session.out.text(digits.format(now_us % 1_000_000));
    Ok(())
}

/// There is no replica that could answer, so only 0 of them are there at once.
fn wait(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = integer(&call.args[1])?;
    let timeout = blocking::timeout_millis(&call.args[2], call.engine.keyspace.now_ms())?;
    if wanted <= 0 {
        call.session.out.integer(0);
        return Ok(());
    }
    let (keys, empty) = (std::iter::empty(), Empty::Integer(0));
    call.block(Wait { keys, timeout, empty, when_gone: false, command: None })
}

fn shutdown(call: &mut Call<'_>) -> Result<(), Failure> {
    for word in call.args.from(1).iter() {
        let known: [&[u8]; 4] = [b"NOSAVE", b"SAVE", b"NOW", b"FORCE"];
        if word.eq_ignore_ascii_case(b"ABORT") {
            return Err(Failure::text("ERR No shutdown in progress."));
        }
        if !known.iter().any(|known| word.eq_ignore_ascii_case(known)) {
            return Err(Failure::SYNTAX);
        }
    }
    call.engine.stopping = true;
    call.session.killed = true;
    Ok(())
}

fn config_get(call: &mut Call<'_>) -> Result<(), Failure> {
    let patterns = call.args.from(2);
    let found = call.engine.settings.matching(patterns.iter());
    call.session.out.map(found.len());
    for (name, value) in found {
        call.session.out.bulk(name);
        call.session.out.text(value);
    }
    Ok(())
}

/// Checks all, then sets all.
fn config_set(call: &mut Call<'_>) -> Result<(), Failure> {
    let pairs = call.args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::arity(call.command.name));
    }
    let engine = &mut *call.engine;
    let checked = pairs.pairs().map(|(name, value)| engine.settings.check(name, value));
    for (name, value) in checked.collect::<Result<Vec<_>, _>>()? {
        match name {
            "requirepass" => {
                engine.config.password = Some(value.clone().into_bytes()).filter(|value| !value.is_empty());
            }
            "notify-keyspace-events" => {
                let class = Class::parse(value.as_bytes()).unwrap_or_default();
                engine.keyspace.events.want(class);
                engine.settings.put(name, class.to_string());
                continue;
            }
            "slowlog-log-slower-than" => {
                let micros: i64 = value.parse().unwrap_or(-1);
                engine.slow_ticks = u64::try_from(micros).map_or(u64::MAX, |us| engine.tick_rate.ticks(us));
            }
            "slowlog-max-len" => engine.slow_log.set_max_len(value.parse().unwrap_or(0)),
            "stream-node-max-bytes" => {
                engine.keyspace.encodings.stream_node_bytes = value.parse().unwrap_or(usize::MAX);
            }
            "stream-node-max-entries" => {
                engine.keyspace.encodings.stream_node_entries = value.parse().unwrap_or(usize::MAX);
            }
            "maxclients" => engine.config.max_clients = value.parse().unwrap_or(usize::MAX),
            "proto-max-bulk-len" => {
                // Never above what one command may hold.
                engine.config.max_bulk = value.parse().unwrap_or(usize::MAX).clamp(1 << 20, 1 << 30);
            }
            _ => engine.keyspace.encodings.set(name, &value),
        }
        engine.settings.put(name, value);
    }
    call.session.out.ok();
    Ok(())
}

fn config_resetstat(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.keyspace.reset_counters();
    call.engine.stats = Default::default();
    call.engine.command_stats.fill(Default::default());
    call.engine.error_stats = Default::default();
    call.session.out.ok();
    Ok(())
}

fn command(call: &mut Call<'_>) -> Result<(), Failure> {
    let commands = call.engine.index.commands();
    call.session.out.array(commands.len());
    commands.iter().for_each(|command| describe(&mut call.session.out, command));
    Ok(())
}

fn command_count(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.index.commands().len());
    Ok(())
}

/// A command, or a sub-command by its full name (`config|get`).
fn find(index: &Index, name: &[u8]) -> Option<&'static Command> {
    let Some(bar) = memchr::memchr(b'|', name) else { return index.find(name).map(|row| row.command) };
    let container = index.find(&name[..bar])?.command;
    container.subcommands.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

fn command_info(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() == 2 {
        return command(call);
    }
    let names = call.args.from(2);
    call.session.out.array(names.len());
    for name in names.iter() {
        match find(call.engine.index, name) {
            Some(command) => describe(&mut call.session.out, command),
            None => call.session.out.null(),
        }
    }
    Ok(())
}

fn command_list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let mut names: Vec<&str> = call.engine.index.commands().iter().map(|command| command.name).collect();
    if args.len() > 2 {
        if args.len() != 5 || !args[2].eq_ignore_ascii_case(b"FILTERBY") {
            return Err(Failure::SYNTAX);
        }
        match args[3].to_ascii_lowercase().as_slice() {
            b"pattern" => names.retain(|name| crate::store::glob::matches(&args[4], name.as_bytes(), true)),
            b"module" => names.clear(),
            b"aclcat" => {
                let wanted = args[4].to_ascii_lowercase();
                let commands = call.engine.index.commands().iter();
                let in_category =
                    commands.filter(|c| categories(c).iter().any(|c| c.as_bytes()[1..] == wanted));
                names = in_category.map(|command| command.name).collect();
            }
            _ => return Err(Failure::SYNTAX),
        }
    }
    call.session.out.array(names.len());
    names.iter().for_each(|name| call.session.out.text(name));
    Ok(())
}

/// The categories of access control that a command is in, in Redis's order. Most follow from its flags and
/// its family.
fn categories(command: &Command) -> Vec<&'static str> {
    if !command.subcommands.is_empty() && command.arity == -2 {
        return vec!["@slow"];
    }
    let (name, group, flags) = (command.name, command.group, command.flags);
    let is = |names: &[&str]| names.contains(&name);
    let sorts = is(&["sort", "sort_ro"]);
    let about_commands = name == "command" || name.starts_with("command|");
    let about_keys = is(&["dbsize", "flushdb", "flushall", "swapdb"]);
    let dangerous = is(&["keys", "flushdb", "flushall", "info", "swapdb", "role"]) || sorts;
    let categories = [
        (group == "generic" && !sorts && !is(&["wait"]) || about_keys, "@keyspace"),
        (flags & READONLY != 0, "@read"),
        (flags & WRITE != 0, "@write"),
        (group == "set" || sorts, "@set"),
        (group == "sorted-set" || sorts, "@sortedset"),
        (group == "list" || sorts, "@list"),
        (group == "hash", "@hash"),
        (group == "string", "@string"),
        (group == "stream", "@stream"),
        (flags & PUBSUB != 0, "@pubsub"),
        (flags & ADMIN != 0, "@admin"),
        (flags & FAST != 0, "@fast"),
        (flags & FAST == 0, "@slow"),
        (flags & BLOCKING != 0, "@blocking"),
        (flags & ADMIN != 0 || dangerous, "@dangerous"),
        (group == "connection" || is(&["wait"]) || about_commands, "@connection"),
        (group == "transactions", "@transaction"),
    ];
    categories.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect()
}

fn describe(out: &mut Replies, command: &Command) {
    out.array(10);
    out.text(command.name);
    out.integer(i64::from(command.arity));
    let flags = FLAG_NAMES.iter().enumerate().filter(|(bit, _)| command.flags & 1 << bit != 0);
    out.set(flags.clone().count());
    flags.for_each(|(_, name)| out.simple(name));
    let (first, last, step) = command.keys;
    [first, last, step].into_iter().for_each(|number| out.integer(i64::from(number)));
    let categories = categories(command);
    out.set(categories.len());
    categories.iter().for_each(|name| out.simple(name));
    out.array(0);
    describe_keys(out, command);
    out.array(command.subcommands.len());
    command.subcommands.iter().for_each(|sub| describe(out, sub));
}

/// Where the keys are, in the form that takes the place of first, last and step.
fn describe_keys(out: &mut Replies, command: &Command) {
    let (first, last, step) = command.keys;
    if first == 0 {
        out.set(0);
        return;
    }
    out.set(1);
    out.map(3);
    out.text("flags");
    out.set(1);
    out.simple(if command.flags & WRITE != 0 { "RW" } else { "RO" });
    out.text("begin_search");
    out.map(2);
    out.text("type");
    out.text("index");
    out.text("spec");
    out.map(1);
    out.text("index");
    out.integer(i64::from(first));
    out.text("find_keys");
    out.map(2);
    out.text("type");
    out.text("range");
    out.text("spec");
    out.map(3);
    out.text("lastkey");
    out.integer(i64::from(if last >= 0 { last - first } else { last }));
    out.text("keystep");
    out.integer(i64::from(step));
    out.text("limit");
    out.integer(0);
}

fn command_docs(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let index = call.engine.index;
    let commands: Vec<&Command> = if names.is_empty() {
        index.commands().to_vec()
    } else {
        names.iter().filter_map(|name| find(index, name)).collect()
    };
    let out = &mut call.session.out;
    out.map(commands.len());
    commands.iter().for_each(|command| document(out, command));
    Ok(())
}

fn document(out: &mut Replies, command: &Command) {
    out.text(command.name);
    out.map(if command.subcommands.is_empty() { 3 } else { 4 });
    for (name, value) in [("summary", command.summary), ("since", "1.0.0"), ("group", command.group)] {
        out.text(name);
        out.text(value);
    }
    if !command.subcommands.is_empty() {
        out.text("subcommands");
        out.map(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| document(out, sub));
    }
}
