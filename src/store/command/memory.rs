//! MEMORY: what is used, and by what.

use super::{Call, Command, Failure, LOADING, READONLY, STALE, help, integer};
use crate::store::reply::Replies;
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

/// Elements that MEMORY USAGE looks at unless it is told otherwise.
const SAMPLES: usize = 5;

fn usage(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, mut samples, mut index) = (call.args, SAMPLES, 3);
    while let Some(word) = args.get(index) {
        let number = args.get(index + 1).filter(|_| word.eq_ignore_ascii_case(b"SAMPLES"));
        let number = integer(number.ok_or(Failure::SYNTAX)?)?;
        samples = usize::try_from(number).map_err(|_| Failure::SYNTAX)?;
        index += 2;
    }
    let found = call.engine.keyspace.find(call.session.db, &args[2]);
    match found.map(|entry| value::memory_usage(entry, samples)) {
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

/// Numbers that Redis has and nobody here needs (a backlog for replicas, caches of scripts) are 0. The
/// allocator tells nothing, so that what is resident stands for what is allocated.
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
    let percent = |part: usize| if resident == 0 { 0.0 } else { part as f64 * 100.0 / resident as f64 };
    let out = &mut call.session.out;
    out.map(27 + tables.len());
    counts(out, &[("peak.allocated", resident), ("total.allocated", resident), ("startup.allocated", 0)]);
    counts(out, &[("replication.backlog", 0), ("clients.slaves", 0), ("clients.normal", waiting)]);
    counts(out, &[("cluster.links", 0), ("aof.buffer", 0), ("lua.caches", 0), ("functions.caches", 0)]);
    for (db, own) in &tables {
        out.text(&format!("db.{db}"));
        out.map(3);
        let slots = ("overhead.hashtable.slot-to-keys", 0);
        counts(out, &[("overhead.hashtable.main", *own), ("overhead.hashtable.expires", 0), slots]);
    }
    let per_key = dataset.checked_div(keys).unwrap_or(0);
    counts(out, &[("overhead.total", overhead), ("keys.count", keys), ("keys.bytes-per-key", per_key)]);
    counts(out, &[("dataset.bytes", dataset)]);
    ratio(out, "dataset.percentage", percent(dataset));
    ratio(out, "peak.percentage", percent(resident));
    counts(out, &[("allocator.allocated", resident), ("allocator.active", resident)]);
    counts(out, &[("allocator.resident", resident)]);
    for name in ["allocator-fragmentation", "allocator-rss", "rss-overhead"] {
        ratio(out, &format!("{name}.ratio"), 1.0);
        counts(out, &[(&format!("{name}.bytes"), 0)]);
    }
    ratio(out, "fragmentation", 1.0);
    counts(out, &[("fragmentation.bytes", 0)]);
    Ok(())
}

fn counts(out: &mut Replies, counts: &[(&str, usize)]) {
    for (name, count) in counts {
        out.text(name);
        out.count(*count);
    }
}

fn ratio(out: &mut Replies, name: &str, value: f64) {
    out.text(name);
    out.double(value);
}

fn show_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("DOCTOR", &["Says whether memory is used well."]),
            ("MALLOC-STATS", &["What the allocator tells about itself."]),
            ("PURGE", &["Asks the allocator to give memory back."]),
            ("STATS", &["What memory is used for."]),
            (
                "USAGE <key> [SAMPLES <count>]",
                &["Bytes of a key and its value, from <count> of its elements (0: all)."],
            ),
        ],
    )
}
