//! OBJECT: how a value is held.

use crate::store::command::{Call, Command, Failure, LOADING, READONLY, STALE, help};
use crate::store::entry::Entry;
use crate::store::value;

const KEY: (i16, i16, i16) = (2, 2, 1);
const G: &str = "generic";

/// The rows of the container.
pub const COMMANDS: &[Command] = &[
    Command::new("object|encoding", 3, READONLY, KEY, G, "Returns how a value is held", encoding),
    Command::new("object|freq", 3, READONLY, KEY, G, "Refuses: frequencies are not kept", freq),
    Command::new("object|help", 2, LOADING | STALE, (0, 0, 0), G, "Shows the sub-commands", show_help),
    Command::new("object|idletime", 3, READONLY, KEY, G, "Returns seconds since the last use", idletime),
    Command::new("object|refcount", 3, READONLY, KEY, G, "Returns how many share a value", refcount),
];

/// The entry that is asked about; null is already answered when there is none.
fn entry<'c>(call: &'c mut Call<'_>) -> Option<&'c Entry> {
    let args = call.args;
    let found = call.engine.keyspace.find(call.session.db, &args[2]);
    if found.is_none() {
        call.session.out.null();
    }
    found
}

fn encoding(call: &mut Call<'_>) -> Result<(), Failure> {
    if let Some(name) = entry(call).map(value::encoding) {
        call.session.out.text(name);
    }
    Ok(())
}

fn refcount(call: &mut Call<'_>) -> Result<(), Failure> {
    if let Some(count) = entry(call).map(value::references) {
        call.session.out.integer(count);
    }
    Ok(())
}

fn idletime(call: &mut Call<'_>) -> Result<(), Failure> {
    let clock = call.engine.keyspace.clock();
    if let Some(idle_s) = entry(call).map(|entry| entry.idle_s(clock)) {
        call.session.out.integer(i64::from(idle_s));
    }
    Ok(())
}

fn freq(call: &mut Call<'_>) -> Result<(), Failure> {
    if entry(call).is_some() {
        return Err(Failure::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
             when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(())
}

fn show_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("ENCODING <key>", &["How the value is held."]),
            ("FREQ <key>", &["How often the key is used. Needs an LFU policy, which is not kept here."]),
            ("IDLETIME <key>", &["Seconds since the key was used last."]),
            ("REFCOUNT <key>", &["How many references to the value there are."]),
        ],
    )
}
