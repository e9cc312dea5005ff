//! INFO, section by section, in the order of Redis.

mod activity;
mod process;

use std::fmt::{Display, Write};

use super::{Call, Failure};
use crate::store::pubsub::Scope;

pub use process::{resident_bytes, used_bytes};

type WriteSection = fn(&Call<'_>, &mut String);

/// When a section is shown that is not asked for by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Always.
    Default,
    /// With `all` and `everything`.
    All,
}

const SECTIONS: &[(&str, Shown, WriteSection)] = &[
    ("server", Shown::Default, process::server),
    ("clients", Shown::Default, clients),
    ("memory", Shown::Default, process::memory),
    ("persistence", Shown::Default, persistence),
    ("stats", Shown::Default, activity::stats),
    ("replication", Shown::Default, replication),
    ("cpu", Shown::Default, process::cpu),
    ("modules", Shown::Default, |_, text| section(text, "Modules", &[])),
    ("commandstats", Shown::All, activity::commands),
    ("errorstats", Shown::Default, activity::errors),
    ("latencystats", Shown::All, activity::latencies),
    ("cluster", Shown::Default, |_, text| section(text, "Cluster", &[("cluster_enabled", &0)])),
    ("keyspace", Shown::Default, keyspace),
];

/// INFO with the sections that are asked for, or those that are shown without a name.
pub fn info(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = call.args.from(1);
    let has = |name: &str| wanted.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let all = has("all") || has("everything");
    let default = wanted.is_empty() || has("default");
    let mut text = String::new();
    for (name, shown, write_section) in SECTIONS {
        let is_wanted = match shown {
            Shown::Default => default || all,
            Shown::All => all,
        };
        if is_wanted || has(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write_section(call, &mut text);
        }
    }
    call.session.out.verbatim(&text);
    Ok(())
}

/// Appends `name:value` lines under a heading.
fn section(text: &mut String, heading: &str, lines: &[(&str, &dyn Display)]) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# {heading}\r\n");
    for (name, value) in lines {
        let _ = write!(text, "{name}:{value}\r\n");
    }
}

fn clients(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    let postponed = engine.clients.iter().flatten().filter(|client| client.postponed).count();
    section(
        text,
        "Clients",
        &[
            ("connected_clients", &engine.connected),
            ("cluster_connections", &0),
            ("maxclients", &engine.config.max_clients),
            ("client_recent_max_input_buffer", &0),
            ("client_recent_max_output_buffer", &0),
            ("blocked_clients", &(engine.blocked + postponed)),
            ("tracking_clients", &engine.tracking.clients()),
            ("clients_in_timeout_table", &engine.deadlines.len()),
        ],
    );
}

fn persistence(call: &Call<'_>, text: &mut String) {
    section(
        text,
        "Persistence",
        &[
            ("loading", &0),
            ("async_loading", &0),
            ("current_cow_peak", &0),
            ("current_cow_size", &0),
            ("current_cow_size_age", &0),
            ("current_fork_perc", &"0.00"),
            ("current_save_keys_processed", &0),
            ("current_save_keys_total", &0),
            ("rdb_changes_since_last_save", &call.engine.keyspace.counters().dirty),
            ("rdb_bgsave_in_progress", &0),
            ("rdb_last_save_time", &call.engine.started_s()),
            ("rdb_last_bgsave_status", &"ok"),
            ("rdb_last_bgsave_time_sec", &-1),
            ("rdb_current_bgsave_time_sec", &-1),
            ("rdb_saves", &0),
            ("rdb_last_cow_size", &0),
            ("rdb_last_load_keys_expired", &0),
            ("rdb_last_load_keys_loaded", &0),
            ("aof_enabled", &0),
            ("aof_rewrite_in_progress", &0),
            ("aof_rewrite_scheduled", &0),
            ("aof_last_rewrite_time_sec", &-1),
            ("aof_current_rewrite_time_sec", &-1),
            ("aof_last_bgrewrite_status", &"ok"),
            ("aof_rewrites", &0),
            ("aof_rewrites_consecutive_failures", &0),
            ("aof_last_write_status", &"ok"),
            ("aof_last_cow_size", &0),
            ("module_fork_in_progress", &0),
            ("module_fork_last_cow_size", &0),
        ],
    );
}

fn replication(call: &Call<'_>, text: &mut String) {
    section(
        text,
        "Replication",
        &[
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &call.engine.run_id),
            ("master_replid2", &"0".repeat(40)),
            ("master_repl_offset", &0),
            ("second_repl_offset", &-1),
            ("repl_backlog_active", &0),
            ("repl_backlog_size", &call.engine.settings.get("repl-backlog-size")),
            ("repl_backlog_first_byte_offset", &0),
            ("repl_backlog_histlen", &0),
        ],
    );
}

/// Segments that are looked at for the average time to live.
const SAMPLED_SEGMENTS: usize = 64;

fn keyspace(call: &Call<'_>, text: &mut String) {
    section(text, "Keyspace", &[]);
    let keyspace = &call.engine.keyspace;
    for db in 0..keyspace.databases() {
        let table = keyspace.table(db);
        if table.is_empty() {
            continue;
        }
        let (mut sum, mut seen) = (0, 0);
        if table.volatile() > 0 {
            table.scan_volatile(0, SAMPLED_SEGMENTS, |entry| {
                let left = entry.expiry().map_or(0, |at| (at - keyspace.now_ms()).max(0));
                (sum, seen) = (sum + i128::from(left), seen + 1);
            });
        }
        let (keys, expires, mean) = (table.len(), table.volatile(), sum / seen.max(1));
        let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={mean}\r\n");
    }
}

/// Channels that somebody listens to.
fn channels(call: &Call<'_>, scope: Scope) -> usize {
    call.engine.pubsub.names(scope).count()
}
