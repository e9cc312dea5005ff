//! What the server has done: counters, commands, errors.

use std::fmt::Write;

use super::{channels, section};
use crate::store::command::Call;
use crate::store::pubsub::Scope;

pub fn stats(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    let (stats, keys) = (engine.stats, engine.keyspace.counters());
    let now = engine.rates.now(engine.totals(), engine.now_us());
    let kilobytes = |bytes: f64| format!("{:.2}", bytes / 1024.0);
    section(
        text,
        "Stats",
        &[
            ("total_connections_received", &stats.connections),
            ("total_commands_processed", &stats.commands),
            ("instantaneous_ops_per_sec", &(now[0] as u64)),
            ("total_net_input_bytes", &stats.bytes_in),
            ("total_net_output_bytes", &stats.bytes_out),
            ("total_net_repl_input_bytes", &0),
            ("total_net_repl_output_bytes", &0),
            ("instantaneous_input_kbps", &kilobytes(now[1])),
            ("instantaneous_output_kbps", &kilobytes(now[2])),
            ("instantaneous_input_repl_kbps", &"0.00"),
            ("instantaneous_output_repl_kbps", &"0.00"),
            ("rejected_connections", &stats.rejected),
            ("sync_full", &0),
            ("sync_partial_ok", &0),
            ("sync_partial_err", &0),
            ("expired_keys", &keys.expired),
            ("expired_stale_perc", &"0.00"),
            ("expired_time_cap_reached_count", &0),
            ("expire_cycle_cpu_milliseconds", &(stats.expire_us / 1000)),
            ("evicted_keys", &0),
            ("evicted_clients", &0),
            ("total_eviction_exceeded_time", &0),
            ("current_eviction_exceeded_time", &0),
            ("keyspace_hits", &keys.hits),
            ("keyspace_misses", &keys.misses),
            ("pubsub_channels", &channels(call, Scope::Channel)),
            ("pubsub_patterns", &engine.pubsub.pattern_count()),
            ("pubsubshard_channels", &channels(call, Scope::Shard)),
            ("latest_fork_usec", &0),
            ("total_forks", &0),
            ("migrate_cached_sockets", &0),
            ("slave_expires_tracked_keys", &0),
            ("active_defrag_hits", &0),
            ("active_defrag_misses", &0),
            ("active_defrag_key_hits", &0),
            ("active_defrag_key_misses", &0),
            ("total_active_defrag_time", &0),
            ("current_active_defrag_time", &0),
            ("tracking_total_keys", &engine.tracking.keys()),
            ("tracking_total_items", &engine.tracking.items()),
            ("tracking_total_prefixes", &engine.tracking.prefixes()),
            ("unexpected_error_replies", &0),
            ("total_error_replies", &stats.errors),
            ("dump_payload_sanitizations", &0),
            ("total_reads_processed", &stats.reads),
            ("total_writes_processed", &stats.writes),
            ("io_threaded_reads_processed", &0),
            ("io_threaded_writes_processed", &0),
            ("reply_buffer_shrinks", &0),
            ("reply_buffer_expands", &0),
        ],
    );
}

pub fn commands(call: &Call<'_>, text: &mut String) {
    section(text, "Commandstats", &[]);
    let engine = &*call.engine;
    for (row, stats) in engine.index.rows().iter().zip(&engine.command_stats) {
        if stats.calls + stats.rejected + stats.failed == 0 {
            continue;
        }
        let micros = engine.tick_rate.micros(stats.ticks);
        let each = micros / stats.calls.max(1) as f64;
        let _ = write!(
            text,
            "cmdstat_{}:calls={},usec={},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            row.command.name, stats.calls, micros as u64, stats.rejected, stats.failed
        );
    }
}

pub fn errors(call: &Call<'_>, text: &mut String) {
    section(text, "Errorstats", &[]);
    for (word, count) in call.engine.error_stats.iter() {
        let _ = write!(text, "errorstat_{word}:count={count}\r\n");
    }
}

pub fn latencies(call: &Call<'_>, text: &mut String) {
    section(text, "Latencystats", &[]);
    let engine = &*call.engine;
    let wanted = engine.settings.get("latency-tracking-info-percentiles");
    let wanted: Vec<f64> = wanted.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect();
    if !engine.tracks_latency {
        return;
    }
    for (row, stats) in engine.index.rows().iter().zip(&engine.command_stats) {
        let Some(histogram) = &stats.histogram else { continue };
        let told = |percent: &f64| {
            let micros = engine.tick_rate.micros(histogram.percentile(*percent));
            format!("p{percent}={micros:.3}")
        };
        let told: Vec<String> = wanted.iter().map(told).collect();
        let _ = write!(text, "latency_percentiles_usec_{}:{}\r\n", row.command.name, told.join(","));
    }
}
