//! INFO, section by section.

use std::fmt::Write;

use super::{Call, Failure};
use crate::clock;
use crate::store::VERSION;
use crate::store::pubsub::Scope;

type WriteSection = fn(&Call<'_>, &mut String);

const SECTIONS: &[(&str, WriteSection)] = &[
    ("server", info_server),
    ("clients", info_clients),
    ("memory", info_memory),
    ("persistence", info_persistence),
    ("stats", info_stats),
    ("replication", info_replication),
    ("cpu", info_cpu),
    ("modules", |_, text| text.push_str("# Modules\r\n")),
    ("errorstats", |_, text| text.push_str("# Errorstats\r\n")),
    ("cluster", |_, text| text.push_str("# Cluster\r\ncluster_enabled:0\r\n")),
    ("keyspace", info_keyspace),
];

/// INFO with the sections that are asked for, or all.
pub fn info(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = call.args.from(1);
    let all = wanted.is_empty()
        || wanted.iter().any(|word| {
            ["default", "all", "everything"].iter().any(|all| word.eq_ignore_ascii_case(all.as_bytes()))
        });
    let mut text = String::new();
    for (name, write_section) in SECTIONS {
        if all || wanted.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes())) {
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
fn section(text: &mut String, heading: &str, lines: &[(&str, &dyn std::fmt::Display)]) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# {heading}\r\n");
    for (name, value) in lines {
        let _ = write!(text, "{name}:{value}\r\n");
    }
}

fn info_server(call: &Call<'_>, text: &mut String) {
    let uptime = call.engine.uptime_s();
    section(
        text,
        "Server",
        &[
            ("redis_version", &VERSION),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &env!("CARGO_PKG_VERSION")),
            ("redis_mode", &"standalone"),
            ("os", &std::env::consts::OS),
            ("arch_bits", &usize::BITS),
            ("multiplexing_api", &"epoll"),
            ("process_id", &std::process::id()),
            ("run_id", &call.engine.run_id),
            ("tcp_port", &call.engine.port),
            ("server_time_usec", &call.engine.now_us()),
            ("uptime_in_seconds", &uptime),
            ("uptime_in_days", &(uptime / 86_400)),
            ("hz", &10),
            ("configured_hz", &10),
            ("executable", &""),
            ("config_file", &""),
            ("io_threads_active", &0),
        ],
    );
}

fn info_clients(call: &Call<'_>, text: &mut String) {
    let postponed = call.engine.clients.iter().flatten().filter(|client| client.postponed).count();
    section(
        text,
        "Clients",
        &[
            ("connected_clients", &call.engine.connected),
            ("cluster_connections", &0),
            ("maxclients", &call.engine.config.max_clients),
            ("blocked_clients", &(call.engine.blocked + postponed)),
            ("tracking_clients", &0),
            ("clients_in_timeout_table", &0),
        ],
    );
}

/// Bytes of the process in memory, as the kernel counts them; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn info_memory(call: &Call<'_>, text: &mut String) {
    let resident = resident_bytes();
    let human = format!("{:.2}M", resident as f64 / f64::from(1 << 20));
    section(
        text,
        "Memory",
        &[
            ("used_memory", &resident),
            ("used_memory_human", &human),
            ("used_memory_rss", &resident),
            ("used_memory_rss_human", &human),
            ("used_memory_peak", &resident),
            ("used_memory_peak_human", &human),
            ("used_memory_lua", &0),
            ("maxmemory", &0),
            ("maxmemory_human", &"0B"),
            ("maxmemory_policy", &"noeviction"),
            ("mem_fragmentation_ratio", &"1.00"),
            ("mem_allocator", &"mimalloc"),
            ("lazyfree_pending_objects", &call.engine.keyspace.reclaimer.pending()),
            ("lazyfreed_objects", &call.engine.keyspace.reclaimer.freed()),
        ],
    );
}

fn info_persistence(call: &Call<'_>, text: &mut String) {
    section(
        text,
        "Persistence",
        &[
            ("loading", &0),
            ("async_loading", &0),
            ("rdb_changes_since_last_save", &call.engine.keyspace.counters().dirty),
            ("rdb_bgsave_in_progress", &0),
            ("rdb_last_save_time", &(call.engine.now_us() / 1_000_000 - call.engine.uptime_s())),
            ("rdb_last_bgsave_status", &"ok"),
            ("aof_enabled", &0),
            ("aof_rewrite_in_progress", &0),
            ("aof_last_bgrewrite_status", &"ok"),
            ("aof_last_write_status", &"ok"),
        ],
    );
}

fn info_stats(call: &Call<'_>, text: &mut String) {
    let (stats, keys) = (call.engine.stats, call.engine.keyspace.counters());
    section(
        text,
        "Stats",
        &[
            ("total_connections_received", &stats.connections),
            ("total_commands_processed", &stats.commands),
            ("instantaneous_ops_per_sec", &0),
            ("total_net_input_bytes", &stats.bytes_in),
            ("total_net_output_bytes", &stats.bytes_out),
            ("rejected_connections", &stats.rejected),
            ("expired_keys", &keys.expired),
            ("evicted_keys", &0),
            ("keyspace_hits", &keys.hits),
            ("keyspace_misses", &keys.misses),
            ("pubsub_channels", &call.engine.pubsub.names(Scope::Channel).count()),
            ("pubsub_patterns", &call.engine.pubsub.pattern_count()),
            ("total_error_replies", &stats.errors),
        ],
    );
}

fn info_replication(call: &Call<'_>, text: &mut String) {
    section(
        text,
        "Replication",
        &[
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &call.engine.run_id),
            ("master_repl_offset", &0),
            ("repl_backlog_active", &0),
        ],
    );
}

fn info_cpu(_: &Call<'_>, text: &mut String) {
    let cpu = clock::process_cpu().as_secs_f64();
    section(text, "CPU", &[("used_cpu_sys", &"0.000000"), ("used_cpu_user", &format!("{cpu:.6}"))]);
}

fn info_keyspace(call: &Call<'_>, text: &mut String) {
    text.push_str("# Keyspace\r\n");
    for db in 0..call.engine.keyspace.databases() {
        let table = call.engine.keyspace.table(db);
        if !table.is_empty() {
            let (keys, expires) = (table.len(), table.volatile());
            let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl=0\r\n");
        }
    }
}
