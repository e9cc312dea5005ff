//! How each section of the file is read: its keys, and what they become.

use std::collections::BTreeMap;

use super::decode::{Decode, Fields, later, list, mismatch, word};
use super::diagnostics::Sink;
use super::schema::{
    Arrivals, Connections, Correlate, Endian, Faults, Framing, LengthFraming, Load, MapInto, Mapping, Model,
    NoData, OnExhausted, OnMissing, OnOverload, Order, Pacing, Records, Redis, Report, ReportFile, Responder,
    Scenario, Script, Stage, Target, Threshold, Verify,
};
use super::tree::{Kind, Node};
use crate::units::{Bytes, Nanos};

/// Every section and its keys, also to say where a key belongs.
pub(crate) const KEYS: &[(&str, &[&str])] = &[
    ("", SCENARIO),
    ("redis", REDIS),
    ("records", RECORDS),
    ("load", LOAD),
    ("connections", CONNECTIONS),
    ("target", TARGET),
    ("target.length", LENGTH),
    ("responder", RESPONDER),
    ("script", SCRIPT),
    ("mapping", MAPPING),
    ("report", REPORT),
];

const SCENARIO: &[&str] = &[
    "name",
    "description",
    "seed",
    "vars",
    "redis",
    "records",
    "load",
    "connections",
    "target",
    "responder",
    "script",
    "mapping",
    "thresholds",
    "report",
];
const SCRIPT: &[&str] = &["file", "timeout", "memory", "args"];
/// The keys of the open model.
const LOAD: &[&str] =
    &["model", "arrivals", "pacing", "on_overload", "max_lateness", "graceful_stop", "stages"];
/// The keys of the closed model, which comes later.
const CLOSED: &[&str] = &["users", "requests", "duration"];
const THRESHOLD: &[&str] = &["check", "after", "for", "abort", "no_data"];

/// A section whose keys all have a default, each of them read by itself.
macro_rules! section {
    ($keys:ident = $type:ident { $($field:ident),+ }) => {
        const $keys: &[&str] = &[$(stringify!($field)),+];

        impl Decode for $type {
            fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<$type> {
                let fields = Fields::open(node, path, $keys, sink)?;
                let default = <$type>::default();
                Some($type { $($field: fields.or(stringify!($field), default.$field, sink)),+ })
            }
        }
    };
}

section!(REDIS = Redis { url, prefetch, timeout, serve });
section!(RECORDS = Records { key, range, order, on_exhausted, on_missing, template });
section!(
    CONNECTIONS = Connections {
        count,
        limit,
        window,
        stagger,
        connect_timeout,
        request_timeout,
        source_addresses,
        tls
    }
);
section!(TARGET = Target { addresses, framing, correlate, length });
section!(LENGTH = LengthFraming { bytes, endian, includes_header, max, id });
section!(RESPONDER = Responder { ports, bind, first_port, delay, faults });
section!(MAPPING = Mapping { into, key, fields, ttl, verify });
section!(REPORT = Report { dir, files, requests });

macro_rules! words {
    ($($type:ident)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<$type> {
                word(node, path, sink)
            }
        }
    )+};
}

words!(Arrivals Correlate Endian Framing MapInto Model NoData OnExhausted OnMissing OnOverload Order Pacing);
words!(ReportFile Verify);

/// Reads the whole file. What is missing or wrong is in the sink, and at its default in the result, so
/// that the checks that follow see all the rest. None only when the root is no mapping.
pub(crate) fn scenario(root: &Node, sink: &mut Sink<'_>) -> Option<Scenario> {
    let fields = Fields::open(root, "", SCENARIO, sink)?;
    let name = fields.required("name", "write `name: my-scenario`", sink);
    let load = fields.required("load", "write `load: { stages: [ { hold: 100, duration: 10s } ] }`", sink);
    let description = fields.or("description", String::new(), sink);
    let seed = fields.or("seed", Scenario::DEFAULT_SEED, sink);
    let vars = fields.or("vars", BTreeMap::new(), sink);
    let redis = fields.or("redis", Redis::default(), sink);
    let records = fields.or("records", Records::default(), sink);
    let connections = fields.or("connections", Connections::default(), sink);
    let mut target = fields.or("target", Target::default(), sink);
    let responder = fields.or("responder", Responder::default(), sink);
    let script = fields.or("script", None, sink);
    let mapping = fields.or("mapping", Mapping::default(), sink);
    let thresholds = fields.or("thresholds", Vec::new(), sink);
    let report = fields.or("report", Report::default(), sink);
    let mut connections = connections;
    follow_framing(root, &mut target, &mut connections);
    Some(Scenario {
        name: name.unwrap_or_default(),
        load: load.unwrap_or_else(|| Load::with_stages(Vec::new())),
        description,
        seed,
        vars,
        redis,
        records,
        connections,
        target,
        responder,
        script,
        mapping,
        thresholds,
        report,
    })
}

/// Defaults that follow from the framing, where the file says nothing:
/// 1. A framing without an id correlates by order.
/// 2. `raw` has one request in flight.
/// 3. A two-byte header bounds the frame.
fn follow_framing(root: &Node, target: &mut Target, connections: &mut Connections) {
    let section = root.get("target");
    let written = |key: &str| section.and_then(|target| target.get(key)).is_some();
    let has_id = match target.framing {
        Framing::Length => target.length.id,
        Framing::Line => true,
        Framing::Raw | Framing::Resp => false,
    };
    if !has_id && !written("correlate") {
        target.correlate = Correlate::Order;
    }
    let window = root.get("connections").and_then(|connections| connections.get("window"));
    if target.framing == Framing::Raw && window.is_none() {
        connections.window = 1;
    }
    let max = section.and_then(|target| target.get("length")).and_then(|length| length.get("max"));
    if max.is_none() {
        target.length.max = Bytes(target.length.max.0.min(target.length.largest()));
    }
}

impl Decode for Load {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Load> {
        let known: Vec<&'static str> = LOAD.iter().chain(CLOSED).copied().collect();
        let fields = Fields::open(node, path, &known, sink)?;
        for key in CLOSED {
            if let Some(node) = fields.node(key) {
                let help = "it belongs to the closed model; describe the load as `stages`";
                later(node, &fields.path(key), &format!("`{key}`"), help, sink);
            }
        }
        let default = Load::with_stages(Vec::new());
        let closed = CLOSED.iter().any(|key| fields.node(key).is_some());
        let help = "write `stages: [ { hold: 100, duration: 10s } ]`";
        let stages =
            if closed { fields.optional("stages", sink) } else { fields.required("stages", help, sink) };
        Some(Load {
            model: fields.or("model", default.model, sink),
            arrivals: fields.or("arrivals", default.arrivals, sink),
            pacing: fields.or("pacing", default.pacing, sink),
            on_overload: fields.or("on_overload", default.on_overload, sink),
            max_lateness: fields.or("max_lateness", default.max_lateness, sink),
            graceful_stop: fields.or("graceful_stop", default.graceful_stop, sink),
            stages: stages.unwrap_or_default(),
        })
    }
}

impl Decode for Vec<Stage> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<Stage>> {
        list(node, path, "a list of stages", sink)
    }
}

impl Decode for Script {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Script> {
        let fields = Fields::open(node, path, SCRIPT, sink)?;
        let file = fields.required("file", "write `file: ../scripts/hook.lua`", sink);
        let default = Script::new(file.unwrap_or_default());
        Some(Script {
            timeout: fields.or("timeout", default.timeout, sink),
            memory: fields.or("memory", default.memory, sink),
            args: fields.or("args", default.args, sink),
            file: default.file,
        })
    }
}

impl Decode for () {
    /// TLS: only null for now.
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<()> {
        if !node.is_null() && node.kind != Kind::Failed {
            later(node, path, "TLS", "remove `tls`, and load a port without TLS", sink);
        }
        Some(())
    }
}

impl Decode for Faults {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Faults> {
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    let path = super::tree::join(path, &entry.key);
                    sink.error(
                        &entry.key_spot,
                        &path,
                        "a fault of the responder is not supported yet",
                        "remove it",
                    );
                }
            }
            _ => mismatch(node, path, "a mapping", "write {}", sink),
        }
        Some(Faults {})
    }
}

impl Decode for Vec<ReportFile> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<ReportFile>> {
        list(node, path, "a list of files", sink)
    }
}

impl Decode for Vec<Threshold> {
    /// Thresholds are read, so that what is wrong with them shows, and refused as not supported yet.
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<Threshold>> {
        let thresholds: Option<Vec<Threshold>> = list(node, path, "a list of thresholds", sink);
        if matches!(&node.kind, Kind::List(items) if !items.is_empty()) {
            later(node, path, "`thresholds`", "remove them, or leave the list empty", sink);
        }
        thresholds
    }
}

impl Decode for Threshold {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Threshold> {
        let (after, hold_for, abort, no_data) = (Nanos::ZERO, Nanos::ZERO, false, NoData::Fail);
        if let Kind::Scalar(_) = node.kind {
            let check = String::decode(node, path, sink)?;
            return Some(Threshold { check, after, hold_for, abort, no_data });
        }
        let fields = Fields::open(node, path, THRESHOLD, sink)?;
        let check = fields.required("check", "write `check: \"failed rate < 1%\"`", sink);
        let threshold = Threshold {
            check: String::new(),
            after: fields.or("after", after, sink),
            hold_for: fields.or("for", hold_for, sink),
            abort: fields.or("abort", abort, sink),
            no_data: fields.or("no_data", no_data, sink),
        };
        Some(Threshold { check: check?, ..threshold })
    }
}
