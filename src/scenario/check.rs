//! What is readable but impossible, or probably not meant. Each problem is put at its key.

use std::collections::HashMap;

use super::diagnostics::{Severity, Sink, quoted, suggestion};
use super::schema::{
    Addresses, Correlate, Framing, Load, MapInto, Mapping, Model, Redis, Scenario, Source, StageKind,
    mask_password,
};
use super::stages::check_name;
use super::tree::{Kind, Node, find, locate};
use super::vars::is_name;
use crate::units::{Bytes, Nanos, Share, Tps};

/// Bounds that keep a mistyped number from taking the machine down.
const MAX_CONNECTIONS: u32 = 1_000_000;
const MAX_WINDOW: u32 = 65_536;
const MAX_PREFETCH: u32 = 1_000_000;
const MAX_STAGES: usize = 10_000;
const MAX_PORTS: u16 = 4096;
const MAX_RUN: Nanos = Nanos::from_secs(365 * 86_400);
const MAX_FRAME: Bytes = Bytes(1 << 30);
/// Placeholders that are looked at for typos, over all fields.
const MAX_PLACEHOLDERS: usize = 1000;
/// Kinds of requests in a mix, and how often one may come for each of another.
const MAX_KINDS: usize = 16;
const MAX_WEIGHT: u32 = 1_000_000;
const MAX_ROUNDS: u32 = 100;
/// How long a trial of a search may measure, and how near it may look.
const TRIAL: (Nanos, Nanos) = (Nanos::from_secs(1), Nanos::from_secs(86_400));
const RESOLUTION: (Share, Share) = (Share::from_millionths(100), Share::from_millionths(500_000));
const MIN_MEMORY: Bytes = Bytes(256 << 10);
const MAX_MEMORY: Bytes = Bytes(64 << 30);

/// The placeholders that `mapping.fields` knows; a test holds them against those of the mapping.
const FIELD_NAMES: &[&str] = &[
    "response.id",
    "response",
    "run",
    "key",
    "id",
    "n",
    "seq",
    "request.id",
    "port",
    "connection",
    "response_us",
    "service_us",
    "lag_us",
    "intended_us",
    "sent_us",
    "received_us",
];
/// Those that `mapping.key` knows: a key is known before there is a response, so that it can be read back.
const KEY_NAMES: &[&str] = &["key", "id", "run"];

struct Check<'c, 's> {
    root: &'c Node,
    sink: &'c mut Sink<'s>,
}

impl Check<'_, '_> {
    fn fail(&mut self, path: &str, message: impl std::convert::Into<String>, help: &str) {
        self.sink.error(locate(self.root, path), path, message, help);
    }

    fn warn(&mut self, path: &str, message: impl std::convert::Into<String>, help: &str) {
        self.sink.warning(locate(self.root, path), path, message, help);
    }

    fn within(&mut self, path: &str, value: u64, least: u64, most: u64) {
        if value < least {
            self.fail(path, format!("must be at least {least}"), "");
        } else if value > most {
            self.fail(path, format!("must be at most {most}"), "");
        }
    }

    fn not_zero(&mut self, path: &str, duration: Nanos) {
        if duration == Nanos::ZERO {
            self.fail(path, "a time limit of 0 lets nothing pass", "write a duration such as 500ms");
        }
    }

    fn written(&self, section: &str, key: &str) -> bool {
        section
            .split('.')
            .try_fold(self.root, |node, step| node.get(step))
            .is_some_and(|node| node.get(key).is_some())
    }
}

/// What can be checked on the tree alone, also when the scenario could not be read as a whole.
pub(crate) fn tree(root: &Node, sink: &mut Sink<'_>) {
    if let Some(node) = root.get("name")
        && let Kind::Scalar(scalar) = &node.kind
        && !scalar.is_null()
    {
        check_name(&scalar.text, node, "name", sink);
    }
    if let Some(Kind::Map(entries)) = root.get("vars").map(|node| &node.kind) {
        for entry in entries.iter().filter(|entry| !is_name(&entry.key)) {
            let path = super::tree::join("vars", &entry.key);
            let message = format!("{} cannot be the name of a variable", quoted(&entry.key));
            sink.error(&entry.key_spot, &path, message, "use letters, digits and `_`");
        }
    }
    if let Some(Kind::List(stages)) =
        root.get("load").and_then(|load| load.get("stages")).map(|node| &node.kind)
    {
        stage_list(root, stages, sink);
    }
}

fn stage_list(root: &Node, stages: &[Node], sink: &mut Sink<'_>) {
    let path = "load.stages";
    let spot = locate(root, path);
    let searches = root.get("search").is_some_and(|search| !search.is_null());
    if stages.is_empty() && !searches {
        sink.error(spot, path, "there are no stages", "write `stages: [ { hold: 100, duration: 10s } ]`");
    } else if stages.len() > MAX_STAGES {
        sink.error(spot, path, format!("more than {MAX_STAGES} stages"), "");
    } else if !searches && stages.iter().all(|stage| stage.get("pause").is_some()) {
        sink.error(
            spot,
            path,
            "every stage is a pause: the scenario never sends",
            "add a stage such as `hold: 100`",
        );
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, stage) in stages.iter().enumerate() {
        let Some(node) = stage.get("name") else { continue };
        let Kind::Scalar(name) = &node.kind else { continue };
        if name.is_null() {
            continue;
        }
        if let Some(first) = names.insert(&name.text, index) {
            let message = format!("the name {} is already that of load.stages[{first}]", quoted(&name.text));
            sink.error(
                &node.spot,
                &format!("load.stages[{index}].name"),
                message,
                "give each stage its own name",
            );
        }
    }
    let script_is_there = root.get("script").is_some_and(|script| !script.is_null());
    for (index, stage) in stages.iter().enumerate() {
        if let (Some(node), false) = (stage.get("lua"), script_is_there) {
            let path = format!("load.stages[{index}].lua");
            sink.error(
                &node.spot,
                &path,
                "a Lua stage needs a script",
                "write `script: { file: ../scripts/hook.lua }`",
            );
        }
    }
}

/// What is impossible in a scenario that could be read.
pub(crate) fn scenario(scenario: &Scenario, root: &Node, sink: &mut Sink<'_>) {
    let mut check = Check { root, sink };
    length_of_run(scenario, &mut check);
    closed(scenario, &mut check);
    mix(&scenario.load, &mut check);
    search(scenario, &mut check);
    redis(&scenario.redis, &mut check);
    records(scenario, &mut check);
    connections(scenario, &mut check);
    target(scenario, &mut check);
    responder(scenario, &mut check);
    script(scenario, &mut check);
    mapping(scenario, &mut check);
    report(scenario, &mut check);
}

/// Due times are nanoseconds in 64 bits; a bound far below that keeps every sum of them exact.
fn length_of_run(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let stages = scenario.load.stages.iter();
    let total: u128 = stages
        .map(|stage| match stage.kind {
            StageKind::Step { from, to, by, every } => {
                let levels = from.units().abs_diff(to.units()) / by.units().max(1) + 1;
                u128::from(every.0) * u128::from(levels)
            }
            _ => u128::from(stage.duration.unwrap_or_default().0),
        })
        .sum();
    if total > u128::from(MAX_RUN.0) {
        check.fail("load.stages", "the stages last longer than 365 days together", "make them shorter");
    }
}

fn closed(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let (load, connections) = (&scenario.load, &scenario.connections);
    if load.model != Model::Closed {
        return;
    }
    let users = load.users.unwrap_or(connections.count);
    check.within("load.users", users.into(), 1, MAX_CONNECTIONS.into());
    if load.requests == Some(0) {
        check.fail("load.requests", "must be at least 1", "");
    }
    if let Some(duration) = load.duration {
        if load.requests.is_some() {
            let help = "keep one of them";
            check.fail("load.duration", "stands beside `requests`: one of them ends the load", help);
        } else if duration == Nanos::ZERO || duration > MAX_RUN {
            check.fail("load.duration", "a load lasts from 1ns to 365 days", "write a duration such as 30s");
        } else if load.ramp_up >= duration {
            let message = "some users begin when the load is over";
            check.warn("load.ramp_up", message, "write less than the duration");
        }
    }
    if load.think.from > load.think.to {
        check.fail("load.think", "`from` is above `to`", "write the shorter time first");
    }
    let (count, window) = (u64::from(connections.count), u64::from(connections.window));
    if count > 0 && u64::from(users).div_ceil(count) > window {
        let message = format!("{users} users do not fit {count} connections with {window} in flight on each");
        let help = match scenario.target.framing {
            Framing::Raw => "raise connections.count to the number of users",
            _ => "leave it out, or raise connections.count",
        };
        check.fail("connections.window", message, help);
    } else if users > 0 && u64::from(users) < count && check.written("load", "users") {
        let message = format!("{users} users need no more than {users} connections: the others stay closed");
        check.warn("connections.count", message, "lower it, or raise load.users");
    }
}

/// A search of one trial a second to a millionth would never end.
fn search(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let Some(search) = &scenario.search else { return };
    if scenario.load.model == Model::Closed {
        let help = "remove `search`, or write the open model";
        check.fail("search", "the closed model has no rate that could be searched for", help);
    } else if check.written("load", "stages") {
        let message = "are not used: each trial of the search has its own stages";
        check.warn("load.stages", message, "remove them, or the search");
    }
    if scenario.compare_with.is_some() {
        let help = "search against one target, then the other";
        check.fail("search", "one search loads one target, and compare_with names a second", help);
    }
    if search.from == Tps::ZERO {
        check.fail(
            "search.from",
            "a rate of 0 sends nothing",
            "write the rate of the first trial, such as 100",
        );
    } else if search.to < search.from {
        check.fail("search.to", "lies below `from`", "write the highest rate that is to be tried");
    }
    let (least, most) = TRIAL;
    if search.trial < least || search.trial > most {
        check.fail("search.trial", format!("a trial measures from {least} to {most}"), "write 15s");
    }
    if search.warmup > most {
        check.fail("search.warmup", format!("must be at most {most}"), "write 2s");
    }
    let (least, most) = RESOLUTION;
    if search.resolution < least || search.resolution > most {
        check.fail("search.resolution", format!("must be from {least} to {most}"), "write 2%");
    }
}

fn mix(load: &Load, check: &mut Check<'_, '_>) {
    if load.mix.len() > MAX_KINDS {
        check.fail("load.mix", format!("more than {MAX_KINDS} kinds of requests"), "");
    }
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, kind) in load.mix.iter().enumerate() {
        let path = format!("load.mix[{index}]");
        check.within(&format!("{path}.weight"), kind.weight.into(), 1, MAX_WEIGHT.into());
        if kind.payload.trim().is_empty() {
            check.fail(&format!("{path}.payload"), "the payload is empty", "write one such as \"GET {key}\"");
            continue;
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if kind.name.is_empty() || kind.name.len() > 100 || !kind.name.chars().all(allowed) {
            let message = format!("{} cannot be the name of a kind of requests", quoted(&kind.name));
            check.fail(
                &format!("{path}.name"),
                message,
                "write a `name` of letters, digits, `.`, `_` and `-`",
            );
        } else if let Some(first) = names.insert(&kind.name, index) {
            let message = format!("the name {} is already that of load.mix[{first}]", quoted(&kind.name));
            check.fail(&format!("{path}.name"), message, "give each kind its own `name`");
        }
    }
}

fn redis(redis: &Redis, check: &mut Check<'_, '_>) {
    redis_url(&redis.url, check);
    check.within("redis.prefetch", redis.prefetch.into(), 1, MAX_PREFETCH.into());
    check.not_zero("redis.timeout", redis.timeout);
    if redis.serve.is_some() && !redis.is_embedded() {
        check.warn(
            "redis.serve",
            "is not used: the store is not the embedded one",
            "remove it, or write `url: embedded`",
        );
    }
}

fn redis_url(url: &str, check: &mut Check<'_, '_>) {
    let path = "redis.url";
    let choices =
        "write embedded, redis://host:6379, unix:///path/to/socket or redis-cluster://host:7000,host:7001";
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    match scheme {
        "embedded" if url == Redis::EMBEDDED => {}
        "redis" | "unix" | "redis-cluster" if !rest.is_empty() => {}
        "redis" | "unix" | "redis-cluster" => {
            check.fail(path, format!("the address is missing behind {}", quoted(url)), choices)
        }
        "rediss" => check.fail(
            path,
            "a store over TLS (`rediss://`) is not supported yet",
            "write redis:// with a port without TLS",
        ),
        _ => {
            let near = suggestion(scheme, ["embedded", "redis", "unix", "redis-cluster"])
                .filter(|near| *near != scheme);
            let help = match near {
                Some("embedded") => "did you mean `embedded`?".to_string(),
                Some(near) => format!("did you mean `{near}://`?"),
                None => choices.to_string(),
            };
            check.fail(
                path,
                format!("expected the URL of a store, found {}", quoted(&mask_password(url))),
                &help,
            );
        }
    }
}

fn records(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let records = &scenario.records;
    if records.key.is_empty() {
        check.fail("records.key", "the key is empty", "write a template such as \"record:{id}\"");
    } else if !has_placeholder(&records.key, &["id"]) && records.range.iter().any(|range| range.count() > 1) {
        check.warn(
            "records.key",
            "all records have the same key: it holds no {id}",
            "write a template such as \"record:{id}\"",
        );
    }
    if records.range.is_empty() {
        check.fail("records.range", "there are no ranges", "write first..last, such as 1..10000");
        return;
    }
    if records.source == Source::Template && check.written("records", "on_missing") {
        check.warn("records.on_missing", "is not used: no record is looked for", "remove it");
    }
    let total = records.range.iter().try_fold(0u64, |total, range| total.checked_add(range.count()));
    if total.is_none() {
        check.fail("records.range", "the ranges hold more records than can be counted", "make them smaller");
    }
    let mut sorted: Vec<_> = records.range.iter().enumerate().collect();
    sorted.sort_by_key(|(_, range)| range.first());
    for pair in sorted.windows(2) {
        if let [(_, lower), (index, upper)] = pair
            && upper.first() <= lower.last()
        {
            let message =
                format!("the ranges {lower} and {upper} overlap: their records are sent twice as often");
            check.warn(&format!("records.range[{index}]"), message, "");
        }
    }
}

fn connections(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let connections = &scenario.connections;
    check.within("connections.count", connections.count.into(), 1, MAX_CONNECTIONS.into());
    let users = scenario.load.users.filter(|_| scenario.load.model == Model::Closed);
    match users {
        // The window follows the users where it is not written.
        Some(users) if connections.window > MAX_WINDOW && !check.written("connections", "window") => {
            let least = users.div_ceil(MAX_WINDOW);
            check.fail(
                "load.users",
                format!(
                    "{users} users on {} connections are more than {MAX_WINDOW} on one",
                    connections.count
                ),
                &format!("raise connections.count to {least} at least"),
            );
        }
        _ => check.within("connections.window", connections.window.into(), 1, MAX_WINDOW.into()),
    }
    check.not_zero("connections.connect_timeout", connections.connect_timeout);
    check.not_zero("connections.request_timeout", connections.request_timeout);
}

fn target(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let target = &scenario.target;
    if matches!(&target.addresses, Addresses::Given(list) if list.is_empty()) {
        check.fail(
            "target.addresses",
            "there are no addresses",
            "write [\"10.0.0.5:9000-9009\"], or null for the built-in responder",
        );
    }
    if target.addresses == Addresses::Store {
        store_as_target(scenario, check);
    }
    if let Some(compare) = &scenario.compare_with {
        check.within("compare_with.rounds", compare.rounds.into(), 1, MAX_ROUNDS.into());
        if matches!(&target.addresses, Addresses::Given(list) if list.as_slice() == [compare.target.clone()])
        {
            let message = format!("{} is the first target already", compare.target);
            check.fail("compare_with", message, "name another, or leave it out");
        }
        let names_redis = ["compare_with", "compare_with.target"].iter().any(|path| {
            let node = find(check.root, path).map(|node| &node.kind);
            matches!(node, Some(Kind::Scalar(scalar)) if scalar.text.trim().starts_with("redis://"))
        });
        if names_redis && target.framing != Framing::Resp {
            let message = format!("a Redis does not speak framing `{}`", target.framing);
            check.fail("compare_with", message, "write `framing: resp`, or host:port for another service");
        }
    }
    if matches!(target.framing, Framing::Raw | Framing::Resp) && target.correlate == Correlate::Id {
        let message = format!("framing `{}` carries no id", target.framing);
        check.fail("target.correlate", message, "write `correlate: order`, or leave it out");
    }
    if target.framing == Framing::Raw && scenario.connections.window > 1 {
        check.fail(
            "connections.window",
            "framing `raw` has one request in flight",
            "write `window: 1`, or leave it out",
        );
    }
    length(scenario, check);
}

/// The store is loaded as it is: over TCP, in its own protocol, without a password.
fn store_as_target(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let (target, redis) = (&scenario.target, &scenario.redis);
    if target.framing != Framing::Resp {
        let message = format!("the store speaks Redis, not framing `{}`", target.framing);
        check.fail("target.framing", message, "write `framing: resp`");
    }
    let rest = redis.url.split_once("://").map_or("", |(_, rest)| rest);
    // What is sent goes to database 0, as nobody selects another.
    let database = rest.split_once('/').map_or("", |(_, database)| database);
    let is_plain =
        redis.url.starts_with("redis://") && !rest.contains(['@', '?']) && matches!(database, "" | "0");
    if !redis.is_embedded() && !is_plain {
        check.fail(
            "target.addresses",
            "a store that wants a password or another database, or has no TCP port, cannot be the target",
            "write redis.url as embedded or redis://host:port",
        );
    }
}

fn length(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let (framing, length) = (scenario.target.framing, &scenario.target.length);
    if framing != Framing::Length && check.written("target", "length") {
        check.warn(
            "target.length",
            format!("is not used by framing `{framing}`"),
            "remove it, or write `framing: length`",
        );
        return;
    }
    if !matches!(length.bytes, 2 | 4) {
        check.fail("target.length.bytes", "a length header has 2 or 4 bytes", "write 2 or 4");
        return;
    }
    let least = if length.id { 9 } else { 1 };
    let most = Bytes(length.largest().min(MAX_FRAME.0));
    if length.max.0 < least {
        check.fail(
            "target.length.max",
            format!("a frame of {} holds nothing", length.max),
            &format!("write at least {least}B"),
        );
    } else if length.max > most {
        check.fail(
            "target.length.max",
            format!("a frame is at most {most} here"),
            &format!("write {most} or less"),
        );
    }
    if framing == Framing::Length && !length.id && scenario.target.correlate == Correlate::Id {
        check.fail(
            "target.correlate",
            "frames without an id (`length.id: false`) cannot be matched by id",
            "write `correlate: order`, or leave it out",
        );
    }
}

fn responder(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let responder = &scenario.responder;
    check.within("responder.ports", responder.ports.into(), 1, MAX_PORTS.into());
    let last = u32::from(responder.first_port) + u32::from(responder.ports).max(1) - 1;
    if responder.first_port > 0 && last > u32::from(u16::MAX) {
        let message = format!(
            "{} ports from {} end at {last}; the highest port is 65535",
            responder.ports, responder.first_port
        );
        check.fail("responder.first_port", message, "start lower, or write 0 for free ports");
    }
}

fn script(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let Some(script) = &scenario.script else { return };
    check.not_zero("script.timeout", script.timeout);
    if script.memory < MIN_MEMORY || script.memory > MAX_MEMORY {
        let message = format!("a script has from {MIN_MEMORY} to {MAX_MEMORY} of memory");
        check.fail("script.memory", message, "write a size such as 32MiB");
    }
}

fn mapping(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let mapping = &scenario.mapping;
    if mapping.into == MapInto::None {
        return;
    }
    mapping_key(mapping, check);
    if mapping.fields.is_empty() && mapping.into != MapInto::String {
        check.fail(
            "mapping.fields",
            format!("a mapping into a {} needs a field", mapping.into),
            "write { response_id: \"{response.id}\" }",
        );
    }
    let mut looked_at = 0;
    for (name, template) in &mapping.fields {
        let path = super::tree::join("mapping.fields", name);
        if name.is_empty() {
            check.fail(&path, "the name of a field is empty", "");
        }
        for placeholder in placeholders(template).filter(|name| !FIELD_NAMES.contains(name)) {
            looked_at += 1;
            if looked_at > MAX_PLACEHOLDERS {
                return;
            }
            if let Some(near) = suggestion(placeholder, FIELD_NAMES.iter().copied()) {
                unknown_name(&path, placeholder, &format!("did you mean {{{near}}}?"), check);
            }
        }
    }
}

fn mapping_key(mapping: &Mapping, check: &mut Check<'_, '_>) {
    let path = "mapping.key";
    if mapping.into == MapInto::Record {
        return;
    }
    if mapping.key.trim().is_empty() {
        check.fail(path, "the key is empty", "write a template such as \"response:{key}\"");
    } else if mapping.into != MapInto::Stream && !has_placeholder(&mapping.key, &["key", "id"]) {
        check.warn(
            path,
            "all mappings have the same key: each overwrites the one before",
            "write a template such as \"response:{key}\"",
        );
    }
    let unknown = placeholders(&mapping.key).filter(|name| !KEY_NAMES.contains(name));
    for placeholder in unknown.take(MAX_PLACEHOLDERS) {
        // A field's name is no slip of the pen: it is known, but only where there is a response.
        if FIELD_NAMES.contains(&placeholder) {
            unknown_name(path, placeholder, "a key knows {key}, {id} and {run}", check);
        } else if let Some(near) = suggestion(placeholder, KEY_NAMES.iter().copied()) {
            unknown_name(path, placeholder, &format!("did you mean {{{near}}}?"), check);
        }
    }
}

fn unknown_name(path: &str, placeholder: &str, help: &str, check: &mut Check<'_, '_>) {
    check.warn(path, format!("{{{placeholder}}} is no known name here and stays as it is"), help);
}

fn report(scenario: &Scenario, check: &mut Check<'_, '_>) {
    let mut seen = Vec::new();
    for (index, file) in scenario.report.files.iter().enumerate() {
        if seen.contains(file) {
            check.warn(
                &format!("report.files[{index}]"),
                format!("`{file}` stands in the list twice"),
                "remove it",
            );
        } else {
            seen.push(*file);
        }
    }
}

/// Whether one of the names stands in a template as `{name}` or `{name:spec}`.
fn has_placeholder(template: &str, names: &[&str]) -> bool {
    placeholders(template).any(|name| names.contains(&name))
}

/// The names in braces of a template, known or not.
fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| {
        let inside = rest.split_once('}')?.0;
        let name = inside.split(':').next().unwrap_or(inside);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        (!name.is_empty() && name.chars().all(is_name)).then_some(name)
    })
}

/// Whether any problem refuses the scenario.
pub(crate) fn has_errors(sink: &Sink<'_>) -> bool {
    sink.list.iter().any(|problem| problem.severity == Severity::Error)
}
