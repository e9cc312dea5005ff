//! MEMORY: what is used, and by what.

use super::{Call, Command, Failure, LOADING, READONLY, STALE, help, integer};
use crate::store::value;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";

/// The rows of the container.
pub const COMMANDS: &[Command] = &[
    Command::new("memory|doctor", 2, 0, NONE, G, "Says whether memory is used well", doctor),
    Command::new("memory|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", show_help),
    Command::new("memory|malloc-stats", 2, 0, NONE, G, "Returns what the allocator tells", malloc_stats),
    Command::new("memory|purge", 2, 0, NONE, G, "Asks the allocator to give memory back", purge),
    Command::new("memory|stats", 2, 0, NONE, G, "Returns what memory is used for", stats),
    Command::new("memory|usage", -3, READONLY, (2, 2, 1), G, "Returns the bytes of a key", usage),
];

/// SAMPLES is read and changes nothing: all of a value is counted.
fn usage(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, mut index) = (call.args, 3);
    while let Some(word) = args.get(index) {
        let samples = args.get(index + 1).filter(|_| word.eq_ignore_ascii_case(b"SAMPLES"));
        if integer(samples.ok_or(Failure::SYNTAX)?)? < 0 {
            return Err(Failure::SYNTAX);
        }
        index += 2;
    }
    match call.engine.keyspace.find(call.session.db, &args[2]).map(value::memory_usage) {
        Some(bytes) => call.session.out.count(bytes),
        None => call.session.out.null(),
    }
    Ok(())
}

fn doctor(call: &mut Call<'_>) -> Result<(), Failure> {
    let pending = call.engine.keyspace.reclaimer.pending();
    let keys = call.engine.keyspace.key_count();
    let text = match (keys, pending) {
        (0, _) => "There is no data, so there is nothing to look at.\n".to_string(),
        (_, 0) => format!("{keys} keys, and nothing to complain about.\n"),
        _ => format!("{keys} keys, and {pending} values that wait to be freed: look again in a moment.\n"),
    };
    call.session.out.verbatim(&text);
    Ok(())
}

/// The allocator offers no figures that could be handed on.
fn malloc_stats(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.text("Stats not supported for the current allocator");
    Ok(())
}

fn purge(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.ok();
    Ok(())
}

fn stats(call: &mut Call<'_>) -> Result<(), Failure> {
    let engine = &*call.engine;
    let resident = super::info::resident_bytes() as usize;
    let tables: Vec<(usize, usize)> = (0..engine.keyspace.databases())
        .map(|db| (db, engine.keyspace.table(db)))
        .filter(|(_, table)| !table.is_empty())
        .map(|(db, table)| (db, table.own_bytes()))
        .collect();
    let waiting: usize = engine.clients.iter().flatten().map(|client| client.out.len()).sum();
    let keys = engine.keyspace.key_count();
    let overhead = tables.iter().map(|(_, bytes)| bytes).sum::<usize>() + waiting;
    let dataset = resident.saturating_sub(overhead);
    let out = &mut call.session.out;
    out.map(16 + tables.len());
    let mut number = |name: &str, value: usize| {
        out.text(name);
        out.count(value);
    };
    for (name, value) in [
        ("peak.allocated", resident),
        ("total.allocated", resident),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", waiting),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ] {
        number(name, value);
    }
    for (db, own) in &tables {
        out.text(&format!("db.{db}"));
        out.map(3);
        for (name, value) in [("main", *own), ("expires", 0), ("slot-to-keys", 0)] {
            out.text(&format!("overhead.hashtable.{name}"));
            out.count(value);
        }
    }
    for (name, value) in [
        ("overhead.total", overhead),
        ("keys.count", keys),
        ("keys.bytes-per-key", dataset.checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", dataset),
    ] {
        out.text(name);
        out.count(value);
    }
    for (name, part) in [("dataset.percentage", dataset), ("peak.percentage", resident)] {
        out.text(name);
        out.double(if resident == 0 { 0.0 } else { part as f64 * 100.0 / resident as f64 });
    }
    Ok(())
}

fn show_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("DOCTOR", &["Says whether memory is used well."]),
            ("MALLOC-STATS", &["What the allocator tells about itself."]),
            ("PURGE", &["Asks the allocator to give memory back."]),
            ("STATS", &["What memory is used for."]),
            ("USAGE <key> [SAMPLES <count>]", &["Bytes of a key and its value. All of it is counted."]),
        ],
    )
}
