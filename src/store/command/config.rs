//! CONFIG: settings are read and changed, and what means something here takes effect.

use super::{ADMIN, Call, Command, Failure, LOADING, NOSCRIPT, STALE, help};
use crate::store::engine::Engine;
use crate::store::notify::Class;
use crate::store::settings::{OutputLimits, Setting, Settings};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("config", G, "Looks at settings", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("config|get", -3, ADM, NONE, G, "Returns settings", config_get),
    Command::new("config|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", config_help),
    Command::new("config|resetstat", 2, ADM, NONE, G, "Sets counters to zero", config_resetstat),
    Command::new("config|rewrite", 2, ADM, NONE, G, "Writes the settings to their file", config_rewrite),
    Command::new("config|set", -4, ADM, NONE, G, "Changes settings", config_set),
];

/// The most that one argument may hold, whatever is set.
const LARGEST_BULK: usize = 1 << 30;

fn config_get(call: &mut Call<'_>) -> Result<(), Failure> {
    let patterns = call.args.from(2);
    let found = call.engine.settings.matching(patterns.iter());
    call.session.out.map(found.len());
    for (name, value) in found {
        call.session.out.bulk(name);
        call.session.out.text(&value);
    }
    Ok(())
}

/// All or nothing:
///
/// 1. Every name is looked up; unknown, fixed and repeated ones are refused.
/// 2. Every value is read.
/// 3. What this server cannot do is refused.
/// 4. The values are kept and take effect.
fn config_set(call: &mut Call<'_>) -> Result<(), Failure> {
    let pairs = call.args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(Failure::SYNTAX);
    }
    let engine = &mut *call.engine;
    let found = Settings::find(pairs.pairs().map(|(name, _)| name))?;
    let mut values = Vec::with_capacity(found.len());
    for (setting, (_, value)) in found.iter().zip(pairs.pairs()) {
        values.push(engine.settings.check(setting, value)?);
    }
    for (setting, value) in found.iter().zip(&values) {
        refuse(engine, setting, value)?;
    }
    for (setting, value) in found.iter().zip(values) {
        engine.settings.put(setting.name(), value);
        apply(engine, setting.name());
    }
    call.session.out.ok();
    Ok(())
}

/// What Redis can and this server cannot do, in the words of a Redis that fails to.
fn refuse(engine: &Engine, setting: &Setting, value: &str) -> Result<(), Failure> {
    const TLS: &str = "Unable to update TLS configuration. Check server logs.";
    let name = setting.name();
    if value == engine.settings.get(name) {
        return Ok(());
    }
    let why = match name {
        "appendonly" => "Unable to turn on AOF. Check server logs.",
        "activedefrag" => {
            "Active defragmentation cannot be enabled: there is no support for it in this server"
        }
        "tls-port" | "tls-cluster" | "tls-replication" => TLS,
        _ => return Ok(()),
    };
    Err(setting.refused(why))
}

/// Lets a setting take effect.
pub fn apply(engine: &mut Engine, name: &'static str) {
    let value = engine.settings.get(name).to_string();
    let count = || value.parse::<usize>().unwrap_or(usize::MAX);
    match name {
        "requirepass" => engine.config.password = Some(value.into_bytes()).filter(|value| !value.is_empty()),
        "notify-keyspace-events" => {
            engine.keyspace.witnesses.events.want(Class::parse(value.as_bytes()).unwrap_or_default());
        }
        "slowlog-log-slower-than" => {
            let micros: i64 = value.parse().unwrap_or(-1);
            engine.slow_ticks = u64::try_from(micros).map_or(u64::MAX, |us| engine.tick_rate.ticks(us));
        }
        "slowlog-max-len" => engine.slow_log.set_max_len(count()),
        "latency-monitor-threshold" => engine.watch_latency(value.parse().unwrap_or(0)),
        "latency-tracking" => engine.tracks_latency = value == "yes",
        "maxclients" => engine.config.max_clients = count(),
        // Never above what one command may hold.
        "proto-max-bulk-len" => engine.config.max_bulk = count().min(LARGEST_BULK),
        "client-query-buffer-limit" => engine.config.max_query = count(),
        "client-output-buffer-limit" => {
            let limits = OutputLimits::read(&value).unwrap_or_default();
            (engine.config.normal, engine.config.subscriber) = (limits.normal, limits.subscriber);
        }
        "timeout" => engine.config.idle_s = value.parse().unwrap_or(0),
        "tcp-keepalive" => engine.config.keepalive_s = value.parse().unwrap_or(0),
        "tracking-table-max-keys" => engine.tracking.set_max_keys(count()),
        "hz" => {
            let hz = value.parse::<i64>().unwrap_or(10).clamp(1, 500);
            engine.settings.put("hz", hz.to_string());
        }
        name => engine.keyspace.encodings.set(name, &value),
    }
}

fn config_resetstat(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.reset_stats();
    call.session.out.ok();
    Ok(())
}

fn config_rewrite(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR The server is running without a config file"))
}

fn config_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("GET <pattern>", &["Shows the settings whose names match a glob-like <pattern>."]),
            ("SET <directive> <value>", &["Gives the setting <directive> a new value."]),
            ("RESETSTAT", &["Sets the counters that INFO shows back to zero."]),
            ("REWRITE", &["Writes the settings to the file they came from."]),
        ],
    )
}
