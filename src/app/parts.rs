//! From a scenario to the settings of each part: engine, responder, store, feed, mapping.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use crate::app::error::Error;
use crate::mapping::form;
use crate::mapping::verify::Extent;
use crate::plan::Plan;
use crate::plan::preflight::{Machine, Target};
use crate::recorder::shard::Stage;
use crate::report::{counts, hdr, junit, saved};
use crate::scenario::schema::{self, Addresses, MapInto, ReportFile, Scenario, Word};
use crate::units::{Nanos, Tps};
use crate::wire::{Codec, Correlate, Framing, length};
use crate::{engine, feed, responder, store};

/// Records are read ahead for at least this long, in milliseconds, whatever `redis.prefetch` says.
const PREFETCH_MS: u64 = 100;

/// The most records that are read ahead.
const MAX_PREFETCH: u64 = 200_000;

/// How a target is spoken to.
pub(super) fn codec(target: &schema::Target) -> Codec {
    let correlate = match target.correlate {
        schema::Correlate::Id => Correlate::Id,
        schema::Correlate::Order => Correlate::Order,
    };
    let limit = target.length.max.0;
    let framing = match target.framing {
        schema::Framing::Length => Framing::Length(length::Header {
            width: target.length.bytes,
            endian: match target.length.endian {
                schema::Endian::Big => length::Endian::Big,
                schema::Endian::Little => length::Endian::Little,
            },
            includes_header: target.length.includes_header,
            limit,
            id: target.length.id,
        }),
        schema::Framing::Line => Framing::Line { limit },
        schema::Framing::Raw => Framing::Raw,
        schema::Framing::Resp => Framing::Resp { limit },
    };
    Codec { framing, correlate }
}

/// Where the target listens, names resolved.
pub(super) fn addresses(typed: &[schema::Address]) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::new();
    for address in typed {
        let failed = |source| Error::Resolve { address: address.to_string(), source };
        let nothing = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        let first = (address.host.as_str(), address.first_port).to_socket_addrs().map_err(failed)?.next();
        let mut resolved = first.ok_or_else(nothing).map_err(failed)?;
        for port in address.first_port..=address.last_port {
            resolved.set_port(port);
            addresses.push(resolved);
        }
    }
    Ok(addresses)
}

/// Who is loaded, for people.
pub(super) fn target_in_words(scenario: &Scenario) -> String {
    match &scenario.target.addresses {
        Addresses::Responder => format!("built-in responder on {} ports", scenario.responder.ports),
        Addresses::Store if scenario.redis.is_embedded() => "the embedded store".to_string(),
        Addresses::Store => scenario.redis.masked_url().into_owned(),
        Addresses::Given(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Where a store listens that its URL names: `redis://host[:port][/db]`, as the scenario was checked.
pub(super) fn store_address(url: &str) -> Result<Vec<SocketAddr>, Error> {
    let rest = url.strip_prefix("redis://").unwrap_or(url);
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    let parsed = host.parse::<schema::Address>().or_else(|_| format!("{host}:6379").parse());
    let address = parsed.map_err(|error| Error::Resolve {
        address: host.to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()),
    })?;
    addresses(&[address])
}

/// The built-in responder.
pub(super) fn responder(scenario: &Scenario, cores: usize) -> responder::Config {
    responder::Config {
        bind: scenario.responder.bind,
        first_port: scenario.responder.first_port,
        ports: scenario.responder.ports,
        codec: codec(&scenario.target),
        limit: scenario.connections.limit,
        delay: scenario.responder.delay.as_duration(),
        threads: (cores / 4).clamp(1, 8),
    }
}

/// The embedded store.
pub(super) fn store(scenario: &Scenario) -> store::Config {
    match scenario.redis.serve {
        Some(address) => {
            store::Config { bind: address.ip(), port: address.port(), ..store::Config::default() }
        }
        None => store::Config::default(),
    }
}

/// How many workers send, when nothing is said: as many as leave the rest of the parts room.
pub(super) fn workers(asked: Option<u64>, cores: usize, slots: u64) -> u64 {
    let of_machine = (cores as u64 / 3).clamp(1, 8);
    asked.unwrap_or(of_machine).clamp(1, slots.max(1))
}

/// One worker of the engine.
pub(super) fn worker(
    plan: &Plan,
    scenario: &Scenario,
    addresses: Arc<[SocketAddr]>,
    worker: u64,
    workers: u64,
) -> engine::Config {
    let load = &scenario.load;
    let users = plan.closed.as_ref().map_or(0, |closed| closed.users as usize);
    engine::Config {
        worker,
        workers,
        segment: plan.segment,
        total: plan.closed.as_ref().map_or(plan.schedule.total(), |closed| closed.below()),
        only: plan.only.clone(),
        closed: plan.closed,
        stages: plan.stages.iter().map(|stage| stage_of(plan, stage)).collect(),
        kinds: plan.mix.kinds().len(),
        connections: plan.connections.clone(),
        addresses,
        codec: codec(&scenario.target),
        pacing: match load.pacing {
            schema::Pacing::Auto => engine::Pacing::Auto,
            schema::Pacing::Exact => engine::Pacing::Exact,
            schema::Pacing::Relaxed => engine::Pacing::Relaxed,
        },
        stamps: is_sparse(plan, workers),
        on_overload: match load.on_overload {
            schema::OnOverload::Queue => engine::OnOverload::Queue,
            schema::OnOverload::Drop => engine::OnOverload::Drop,
            schema::OnOverload::Fail => engine::OnOverload::Fail,
        },
        max_lateness: load.max_lateness,
        graceful_stop: load.graceful_stop,
        queue_limit: engine::QueueLimit::of(plan.peak(), load.max_lateness, users),
        all_completions: scenario.report.requests || scenario.script.is_some(),
        seed: plan.seed,
    }
}

/// Whether every worker has time between requests, even at the peak. Users are then never faster than they think.
fn is_sparse(plan: &Plan, workers: u64) -> bool {
    match &plan.closed {
        Some(closed) => {
            let users = plan.segment.count(closed.users).max(1);
            let gap_ns = (closed.think.from.0 / 2 + closed.think.to.0 / 2) / users;
            gap_ns.saturating_mul(workers) >= engine::SPARSE_NS
        }
        None => engine::is_sparse(Tps::from_units(plan.peak().units() / plan.segment.of()), workers),
    }
}

/// A stage as the recorder sees it. When a closed load with a number of requests ends, nobody knows.
fn stage_of(plan: &Plan, stage: &crate::plan::Stage) -> Stage {
    let end_ns = if plan.end().is_some() { stage.totals.end.0 } else { u64::MAX };
    Stage { end_ns, warmup: stage.warmup }
}

/// What to do without a record.
pub(super) fn on_missing(scenario: &Scenario) -> feed::OnMissing {
    match scenario.records.on_missing {
        schema::OnMissing::Generate => feed::OnMissing::Generate,
        schema::OnMissing::Drop => feed::OnMissing::Drop,
        schema::OnMissing::Fail => feed::OnMissing::Fail,
    }
}

/// Records that one worker reads ahead.
pub(super) fn prefetch(plan: &Plan, scenario: &Scenario, workers: u64) -> u64 {
    let peak = plan.peak().units() / Tps::UNITS_PER_TPS / plan.segment.of();
    // Users without a pause take what there is: as much again for each of them.
    let users = plan.closed.as_ref().map_or(0, |closed| plan.segment.count(closed.users) * 2);
    let peak = peak.max(users * 1000 / PREFETCH_MS);
    let asked = u64::from(scenario.redis.prefetch);
    (asked.max(peak * PREFETCH_MS / 1000).min(MAX_PREFETCH.max(asked)) / workers).max(1)
}

/// How mappings look; `None` when the scenario maps nothing.
pub(super) fn mapping(scenario: &Scenario, run_id: &str) -> Option<form::Config> {
    let into = match scenario.mapping.into {
        MapInto::Hash => form::Into::Hash,
        MapInto::String => form::Into::String,
        MapInto::Record => form::Into::Record,
        MapInto::Stream => form::Into::Stream,
        MapInto::None => return None,
    };
    Some(form::Config {
        into,
        key: scenario.mapping.key.clone(),
        fields: scenario.mapping.fields.clone(),
        ttl_ms: scenario.mapping.ttl.0.div_ceil(1_000_000),
        run: run_id.to_string(),
        record_key: scenario.records.key.clone(),
    })
}

/// How much is read back at the end.
pub(super) fn extent(scenario: &Scenario) -> Extent {
    match scenario.mapping.verify {
        schema::Verify::Full => Extent::Full,
        schema::Verify::Sample => Extent::Sample,
        schema::Verify::None => Extent::None,
    }
}

/// Who answers, for the preflight.
pub(super) fn target(scenario: &Scenario) -> Target {
    match &scenario.target.addresses {
        Addresses::Responder => Target {
            addresses: scenario.responder.ports.into(),
            built_in: true,
            delay: scenario.responder.delay,
        },
        Addresses::Store => {
            Target { addresses: 1, built_in: scenario.redis.is_embedded(), delay: Nanos::ZERO }
        }
        Addresses::Given(addresses) => Target {
            addresses: addresses.iter().map(|a| u64::from(a.last_port - a.first_port) + 1).sum(),
            built_in: false,
            delay: Nanos::ZERO,
        },
    }
}

/// Raises the limit of file descriptors as far as is allowed, and says what the machine has.
pub(super) fn machine() -> Machine {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() => hard,
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    };
    Machine {
        ephemeral_ports: ephemeral_ports().unwrap_or(28_232),
        descriptors,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

fn ephemeral_ports() -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/net/ipv4/ip_local_port_range")).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>().ok());
    let (first, last) = (numbers.next()??, numbers.next()??);
    Some(last.saturating_sub(first) + 1)
}

fn file_name(word: &str, file: ReportFile) -> String {
    match file {
        ReportFile::Latency => hdr::NAME.to_string(),
        ReportFile::Json => saved::NAME.to_string(),
        ReportFile::Html => "report.html".to_string(),
        ReportFile::Junit => junit::NAME.to_string(),
        _ => format!("{word}.csv"),
    }
}

/// Whether the latencies are kept as counts, from which reports are made.
pub(super) fn keeps_counts(scenario: &Scenario) -> bool {
    let files = &scenario.report.files;
    files.contains(&ReportFile::Json) || files.contains(&ReportFile::Html)
}

/// The machine, for a report. What it does not tell is empty.
pub(super) fn machine_facts() -> saved::Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_string())
    };
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    saved::Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        processor: after(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        memory: kib.unwrap_or(0) * 1024,
        system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
        runner: env!("CARGO_PKG_VERSION").to_string(),
    }
}

/// The files that a run of this scenario leaves behind.
pub(super) fn file_names(scenario: &Scenario) -> Vec<String> {
    let report = &scenario.report;
    let always = ["effective.yaml", "plan.json"].map(str::to_string);
    let asked = ReportFile::WORDS.iter().filter(|(_, file)| report.files.contains(file));
    let mut files: Vec<String> =
        always.into_iter().chain(asked.map(|&(word, file)| file_name(word, file))).collect();
    if scenario.script.is_some() {
        files.push(crate::app::prepare::SCRIPT_COPY.to_string());
    }
    if keeps_counts(scenario) {
        files.push(counts::NAME.to_string());
    }
    if !scenario.load.mix.is_empty() {
        files.push("mix.csv".to_string());
    }
    if report.requests {
        files.push("requests.csv".to_string());
    }
    files
}
