//! How each section of the file is read: its keys, and what they become.

use std::collections::BTreeMap;

use super::decode::{Decode, Fields, later, list, mismatch, word};
use super::diagnostics::Sink;
use super::schema::{
    Address, Addresses, Arrivals, Compare, Condition, Connections, Correlate, Endian, Faults, Framing,
    LengthFraming, Load, MapInto, Mapping, Misread, MixKind, Model, NoData, OnExhausted, OnMissing,
    OnOverload, Order, Pacing, Part, Records, Redis, Report, ReportFile, Responder, Scenario, Script, Search,
    Source, Stage, Target, Think, Verify,
};
use super::tree::{Kind, Node};
use crate::units::{Bytes, Nanos, Share, Tps};

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
    ("compare_with", COMPARE),
    ("search", SEARCH),
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
    "compare_with",
    "matrix",
    "search",
    "responder",
    "script",
    "mapping",
    "thresholds",
    "report",
];
const SCRIPT: &[&str] = &["file", "timeout", "memory", "args"];
const LOAD: &[&str] = &[
    "model",
    "arrivals",
    "pacing",
    "on_overload",
    "max_lateness",
    "graceful_stop",
    "stages",
    "users",
    "requests",
    "duration",
    "think",
    "ramp_up",
    "mix",
];
/// The keys of `load` that only one model has.
const OPEN: &[&str] = &["arrivals", "on_overload", "stages"];
const CLOSED: &[&str] = &["users", "requests", "duration", "think", "ramp_up"];
const BETWEEN: &[&str] = &["from", "to"];
const KIND: &[&str] = &["name", "weight", "payload"];
const COMPARE: &[&str] = &["target", "rounds"];
const SEARCH: &[&str] = &["metric", "limit", "from", "to", "trial", "warmup", "resolution", "errors"];

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
section!(RECORDS = Records { source, key, range, order, on_exhausted, on_missing, template });
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
words!(ReportFile Source Verify);

/// Reads the whole file. What is missing or wrong is in the sink, and at its default in the result, so
/// that the checks that follow see all the rest. None only when the root is no mapping.
pub(crate) fn scenario(root: &Node, sink: &mut Sink<'_>) -> Option<Scenario> {
    let fields = Fields::open(root, "", SCENARIO, sink)?;
    let name = fields.required("name", "write `name: my-scenario`", sink);
    let search: Option<Search> = fields.or("search", None, sink);
    // A search makes its own stages.
    let searches = fields.node("search").is_some_and(|node| !node.is_null());
    let load = match fields.node("load") {
        Some(node) => load(node, "load", !searches, sink),
        None if searches => Some(Load::with_stages(Vec::new())),
        None => fields.required("load", "write `load: { stages: [ { hold: 100, duration: 10s } ] }`", sink),
    };
    let description = fields.or("description", String::new(), sink);
    let seed = fields.or("seed", Scenario::DEFAULT_SEED, sink);
    let vars = fields.or("vars", BTreeMap::new(), sink);
    let redis = fields.or("redis", Redis::default(), sink);
    let records = fields.or("records", Records::default(), sink);
    let connections = fields.or("connections", Connections::default(), sink);
    let mut target = fields.or("target", Target::default(), sink);
    let compare_with = fields.or("compare_with", None, sink);
    let responder = fields.or("responder", Responder::default(), sink);
    let script = fields.or("script", None, sink);
    let mapping = fields.or("mapping", Mapping::default(), sink);
    let thresholds = fields.or("thresholds", Vec::new(), sink);
    let report = fields.or("report", Report::default(), sink);
    let mut connections = connections;
    let mut load = load.unwrap_or_else(|| Load::with_stages(Vec::new()));
    follow_framing(root, &mut target, &mut connections);
    follow_users(root, &mut load, &mut connections, target.framing, sink);
    Some(Scenario {
        name: name.unwrap_or_default(),
        load,
        description,
        seed,
        vars,
        redis,
        records,
        connections,
        target,
        compare_with,
        matrix: BTreeMap::new(),
        search,
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

/// In the closed model, what is not written follows:
/// 1. Connections and users from each other.
/// 2. The window from the users of a connection.
fn follow_users(
    root: &Node,
    load: &mut Load,
    connections: &mut Connections,
    framing: Framing,
    sink: &mut Sink<'_>,
) {
    if load.model != Model::Closed {
        return;
    }
    let written = |section: &str, key: &str| root.get(section).and_then(|section| section.get(key)).is_some();
    match (load.users, written("connections", "count")) {
        // A user of none is reported where it stands.
        (Some(users), false) => connections.count = users.max(1),
        (None, true) => load.users = Some(connections.count),
        // What was written and is wrong is reported already.
        (None, false) if !written("load", "users") => {
            let help = "write `users: 50`, or `connections: { count: 50 }` for a user on each connection";
            sink.error(super::tree::locate(root, "load"), "load", "there are no users", help);
        }
        _ => {}
    }
    if framing != Framing::Raw && !written("connections", "window") {
        let of_connection = load.users.unwrap_or(1).div_ceil(connections.count.max(1));
        connections.window = connections.window.max(of_connection);
    }
}

impl Decode for Load {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Load> {
        load(node, path, true, sink)
    }
}

/// Reads a load. Its stages may be missing where a search makes them.
fn load(node: &Node, path: &str, needs_stages: bool, sink: &mut Sink<'_>) -> Option<Load> {
    let fields = Fields::open(node, path, LOAD, sink)?;
    let default = Load::with_stages(Vec::new());
    let is_there = |key: &&str| fields.node(key).is_some();
    let users_stand_there = CLOSED.iter().any(is_there) && !is_there(&"stages");
    let meant = if users_stand_there { Model::Closed } else { Model::Open };
    let model = fields.or("model", meant, sink);
    let (foreign, its_model, own) = match model {
        Model::Open => (CLOSED, "closed", "write `model: closed` without stages, or remove it"),
        Model::Closed => (OPEN, "open", "remove it, or write `model: open` with stages"),
    };
    for key in foreign {
        if let Some(node) = fields.node(key) {
            let message = format!("belongs to the {its_model} model");
            sink.error(&node.spot, &fields.path(key), message, own);
        }
    }
    let stages = match model {
        Model::Open if !needs_stages => fields.optional("stages", sink),
        Model::Open => fields.required("stages", "write `stages: [ { hold: 100, duration: 10s } ]`", sink),
        Model::Closed => None,
    };
    let closed = model == Model::Closed;
    if closed && !is_there(&"requests") && !is_there(&"duration") {
        let help = "write `requests: 100000` or `duration: 30s`";
        sink.error(&node.spot, path, "a closed load has no end", help);
    }
    Some(Load {
        model,
        arrivals: fields.or("arrivals", default.arrivals, sink),
        pacing: fields.or("pacing", default.pacing, sink),
        on_overload: fields.or("on_overload", default.on_overload, sink),
        max_lateness: fields.or("max_lateness", default.max_lateness, sink),
        graceful_stop: fields.or("graceful_stop", default.graceful_stop, sink),
        stages: stages.unwrap_or_default(),
        users: fields.or("users", None, sink),
        requests: fields.or("requests", None, sink),
        duration: fields.or("duration", None, sink),
        think: fields.or("think", default.think, sink),
        ramp_up: fields.or("ramp_up", default.ramp_up, sink),
        mix: fields.or("mix", default.mix, sink),
    })
}

impl Decode for Think {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Think> {
        if !matches!(node.kind, Kind::Map(_)) {
            let always = Nanos::decode(node, path, sink)?;
            return Some(Think { from: always, to: always });
        }
        let fields = Fields::open(node, path, BETWEEN, sink)?;
        let help = "write `think: { from: 5ms, to: 20ms }`";
        let from = fields.required("from", help, sink);
        let to = fields.required("to", help, sink);
        Some(Think { from: from?, to: to? })
    }
}

impl Decode for Vec<MixKind> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<MixKind>> {
        list(node, path, "a list of kinds", sink)
    }
}

impl Decode for MixKind {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<MixKind> {
        let fields = Fields::open(node, path, KIND, sink)?;
        let payload: Option<String> = fields.required("payload", "write `payload: \"GET {key}\"`", sink);
        let first = payload.as_deref().and_then(|payload| payload.split_whitespace().next()).unwrap_or("");
        let kind = MixKind {
            name: fields.or("name", first.to_string(), sink),
            weight: fields.or("weight", MixKind::DEFAULT_WEIGHT, sink),
            payload: String::new(),
        };
        Some(MixKind { payload: payload?, ..kind })
    }
}

impl Decode for Addresses {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Addresses> {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => Some(Addresses::Responder),
            Kind::Scalar(scalar) if scalar.text == Addresses::STORE => Some(Addresses::Store),
            _ => Vec::<Address>::decode(node, path, sink).map(Addresses::Given),
        }
    }
}

impl Decode for Option<Compare> {
    /// An address, or one with its rounds; an empty one is none, so that a variable may decide.
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Option<Compare>> {
        let (target, rounds) = match &node.kind {
            Kind::Map(_) => {
                let fields = Fields::open(node, path, COMPARE, sink)?;
                let rounds = fields.or("rounds", Compare::DEFAULT_ROUNDS, sink);
                let help = "write `target: redis://127.0.0.1:6379`";
                if fields.node("target").is_none() {
                    fields.required::<String>("target", help, sink);
                }
                (fields.node("target")?, rounds)
            }
            _ => (node, Compare::DEFAULT_ROUNDS),
        };
        match &target.kind {
            Kind::Scalar(scalar) if scalar.is_null() || scalar.text.trim().is_empty() => Some(None),
            Kind::Scalar(scalar) => {
                second_target(target, &scalar.text, path, sink).map(|target| Some(Compare { target, rounds }))
            }
            _ => Address::decode(target, path, sink).map(|target| Some(Compare { target, rounds })),
        }
    }
}

impl Decode for Search {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Search> {
        let fields = Fields::open(node, path, SEARCH, sink)?;
        let metric: Option<String> = fields.required("metric", "write `metric: response_time p(99)`", sink);
        let limit: Option<String> = fields.required("limit", "write `limit: 50ms`", sink);
        let from: Option<Tps> = fields.required("from", "write `from: 100`", sink);
        let to: Option<Tps> = fields.required("to", "write `to: 20000`", sink);
        let trial = fields.or("trial", Search::DEFAULT_TRIAL, sink);
        let warmup = fields.or("warmup", Search::DEFAULT_WARMUP, sink);
        let resolution = fields.or("resolution", Search::DEFAULT_RESOLUTION, sink);
        let errors = fields.or("errors", Share::default(), sink);
        let (metric, limit) = (metric?, limit?);
        let condition = match Condition::below(&metric, &limit) {
            Ok(condition) => condition,
            Err((part, Misread { message, help })) => {
                let key = match part {
                    Part::Metric => "metric",
                    Part::Bound => "limit",
                };
                sink.error(&fields.node(key)?.spot, &fields.path(key), message, help);
                return None;
            }
        };
        Some(Search { metric, limit, condition, from: from?, to: to?, trial, warmup, resolution, errors })
    }
}

/// `host:port`, or the same as a URL of a Redis, whose port may be left out.
fn second_target(node: &Node, text: &str, path: &str, sink: &mut Sink<'_>) -> Option<Address> {
    let Some(rest) = text.trim().strip_prefix("redis://") else { return Address::decode(node, path, sink) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['@', '/', '?']) {
        let message = "a second target is loaded as it is: without password, database or options";
        sink.error(&node.spot, path, message, "write redis://host:port");
        return None;
    }
    let parsed = rest.parse::<Address>().or_else(|_| format!("{rest}:6379").parse());
    if parsed.is_err() {
        mismatch(node, path, "the address of a second target", "write redis://host:port", sink);
    }
    parsed.ok()
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
