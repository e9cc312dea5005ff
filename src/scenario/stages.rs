//! How a stage is read and what makes it impossible.
//!
//! Rules:
//! 1. Exactly one of the six kinds stands in a stage.
//! 2. Every kind but `step` has a duration, which is not zero.
//! 3. A stage that sends nothing is a `pause`, and says so.
//! 4. A rate never goes below zero: a wave swings no further than its mean.
//! 5. Stairs lead from one level to another, in at most 10,000 levels.

use super::decode::{Decode, Fields, mismatch};
use super::diagnostics::{Sink, Spot, listed};
use super::schema::{Stage, StageKind};
use super::tree::{Kind, Node};
use crate::units::{Nanos, Tps};

const KINDS: &[&str] = &["hold", "ramp", "step", "sine", "pause", "lua"];
const STAGE: &[&str] = &["name", "hold", "ramp", "step", "sine", "pause", "lua", "duration", "warmup"];
/// The most levels of one `step` stage.
const MAX_LEVELS: u64 = 10_000;
/// Names are written into file names and CSV columns.
pub(crate) const MAX_NAME: usize = 100;

impl Decode for Stage {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Stage> {
        let fields = Fields::open(node, path, STAGE, sink)?;
        let name: Option<Option<String>> = fields.optional("name", sink);
        let name = name.flatten();
        if let (Some(name), Some(node)) = (&name, fields.node("name")) {
            check_name(name, node, &fields.path("name"), sink);
        }
        let warmup = fields.or("warmup", false, sink);
        let kind = kind(node, &fields, path, sink);
        let duration = duration(node, &fields, path, sink);
        Some(Stage { name, kind: kind?, duration: duration?, warmup })
    }
}

/// Reports a name that cannot be a file name or a column.
pub(crate) fn check_name(name: &str, node: &Node, path: &str, sink: &mut Sink<'_>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() {
        sink.error(&node.spot, path, "the name is empty", "write letters, digits, `.`, `_` or `-`");
    } else if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        let message = format!("the character {bad:?} cannot stand in a name");
        sink.error(&node.spot, path, message, "use letters, digits, `.`, `_` and `-`");
    } else if name.len() > MAX_NAME {
        sink.error(&node.spot, path, format!("the name is longer than {MAX_NAME} characters"), "shorten it");
    }
}

fn kind(node: &Node, fields: &Fields<'_>, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let written: Vec<&str> = KINDS.iter().copied().filter(|kind| fields.node(kind).is_some()).collect();
    let (&word, more) = match written.split_first() {
        Some(split) => split,
        None if KINDS.iter().any(|kind| fields.misspelt(kind)) => return None,
        None => {
            let message = format!("the stage has no kind: one of {} is missing", listed(KINDS));
            sink.error(&node.spot, path, message, "write `hold: 100` for 100 requests per second");
            return None;
        }
    };
    for second in more {
        if let Some(node) = fields.node(second) {
            let message = format!("the stage has two kinds: `{word}` and `{second}`");
            sink.error(&node.spot, &fields.path(second), message, "make it two stages");
        }
    }
    // Each kind that is written is read, so that all problems show; the first one counts.
    let mut kinds = written.iter().filter_map(|word| {
        let node = fields.node(word)?;
        Some(read_kind(word, node, &fields.path(word), sink))
    });
    let first = kinds.next().flatten();
    kinds.for_each(drop);
    first
}

fn read_kind(word: &str, node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    match word {
        "hold" => hold(node, path, sink),
        "ramp" => ramp(node, path, sink),
        "step" => step(node, path, sink),
        "sine" => sine(node, path, sink),
        "pause" => pause(node, path, sink),
        _ => lua(node, path, sink),
    }
}

/// The duration, None inside for a step.
fn duration(node: &Node, fields: &Fields<'_>, path: &str, sink: &mut Sink<'_>) -> Option<Option<Nanos>> {
    let is_step = fields.node("step").is_some();
    if let (true, Some(node)) = (is_step, fields.node("duration")) {
        let help = "remove it: every level lasts `every`";
        sink.error(&node.spot, &fields.path("duration"), "a step has no duration of its own", help);
    }
    if is_step {
        return Some(None);
    }
    let has_kind = KINDS.iter().any(|kind| fields.node(kind).is_some());
    if !has_kind && fields.node("duration").is_none() {
        return None;
    }
    if fields.node("duration").is_none() {
        if fields.misspelt("duration") {
            return None;
        }
        sink.error(
            &node.spot,
            path,
            "the key `duration` is missing",
            "write how long the stage lasts, such as `duration: 10s`",
        );
        return None;
    }
    let duration: Nanos = fields.optional("duration", sink)?;
    if duration == Nanos::ZERO {
        if let Some(node) = fields.node("duration") {
            sink.error(
                &node.spot,
                &fields.path("duration"),
                "the stage lasts no time",
                "write a duration such as 10s, or remove the stage",
            );
        }
        return None;
    }
    Some(Some(duration))
}

fn hold(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let rate = Tps::decode(node, path, sink)?;
    if rate == Tps::ZERO {
        sink.error(
            &node.spot,
            path,
            "a hold of 0 never sends",
            "write `pause: {}` for a stage without requests",
        );
        return None;
    }
    Some(StageKind::Hold(rate))
}

fn ramp(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let fields = Fields::open(node, path, &["from", "to"], sink)?;
    let from = fields.required("from", "write the rate at the start, such as `from: 0`", sink);
    let to = fields.required("to", "write the rate at the end, such as `to: 1000`", sink);
    let (from, to): (Tps, Tps) = (from?, to?);
    if from == Tps::ZERO && to == Tps::ZERO {
        sink.error(
            &node.spot,
            path,
            "a ramp from 0 to 0 never sends",
            "give it a rate, or write `pause: {}`",
        );
        return None;
    }
    Some(StageKind::Ramp { from, to })
}

fn step(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let fields = Fields::open(node, path, &["from", "to", "by", "every"], sink)?;
    let from = fields.required("from", "write the first level, such as `from: 100`", sink);
    let to = fields.required("to", "write the last level, such as `to: 500`", sink);
    let every = fields.required("every", "write how long each level lasts, such as `every: 10s`", sink);
    if fields.node("by").is_none() && !fields.misspelt("by") {
        sink.error(
            &node.spot,
            path,
            "the key `by` is missing",
            "write the height of a step, such as `by: 100`",
        );
    }
    let by = fields.node("by").and_then(|by| step_height(by, &fields.path("by"), from, to, sink));
    let (from, to, by, every): (Tps, Tps, Tps, Nanos) = (from?, to?, by?, every?);
    let (spot, at) = (fields.node("every").map_or(&node.spot, |node| &node.spot), fields.path("every"));
    if every == Nanos::ZERO {
        sink.error(spot, &at, "a level lasts no time", "write a duration such as 10s");
        return None;
    }
    if from == to {
        sink.error(
            &node.spot,
            path,
            "the stairs lead nowhere: `from` and `to` are equal",
            "write `hold` instead",
        );
        return None;
    }
    let (spot, at) = (fields.node("by").map_or(&node.spot, |node| &node.spot), fields.path("by"));
    let stairs = Stairs { from, to, by, every };
    stairs.are_possible(spot, &at, sink).then_some(StageKind::Step { from, to, by, every })
}

/// The numbers of a step stage.
struct Stairs {
    from: Tps,
    to: Tps,
    by: Tps,
    every: Nanos,
}

impl Stairs {
    /// Whether the levels fit between the ends and into the limits; reported at the step's height.
    fn are_possible(&self, spot: &Spot, at: &str, sink: &mut Sink<'_>) -> bool {
        let Stairs { from, to, by, every } = *self;
        let distance = from.units().abs_diff(to.units());
        if by.units() > distance {
            sink.error(
                spot,
                at,
                format!("a step of {by} leads past `to`, which is {} away", Tps::from_units(distance)),
                "make the step smaller",
            );
            return false;
        }
        let levels = distance / by.units() + 1;
        if levels > MAX_LEVELS {
            sink.error(
                spot,
                at,
                format!("the stairs have {levels} levels; the limit is {MAX_LEVELS}"),
                "make the step larger, or write a `ramp`",
            );
            return false;
        }
        if every.0.checked_mul(levels).is_none_or(|total| total > Nanos::MAX_DURATION.0) {
            sink.error(
                spot,
                at,
                "the stairs last longer than 30 days",
                "make the step larger or `every` shorter",
            );
            return false;
        }
        if distance % by.units() != 0 {
            let message =
                format!("steps of {by} from {from} do not meet {to}: the last level falls short of it");
            sink.warning(spot, at, message, "choose a step that divides the distance");
        }
        true
    }
}

/// The height of a step: a magnitude, whose sign, if written, must agree with the direction.
fn step_height(
    node: &Node,
    path: &str,
    from: Option<Tps>,
    to: Option<Tps>,
    sink: &mut Sink<'_>,
) -> Option<Tps> {
    let mut positive = node.clone();
    let mut negative = false;
    if let Kind::Scalar(scalar) = &mut positive.kind
        && let Some(rest) = scalar.text.trim().strip_prefix('-')
    {
        (scalar.text, negative) = (rest.to_string(), true);
    }
    let by = Tps::decode(&positive, path, sink)?;
    if by == Tps::ZERO {
        sink.error(&node.spot, path, "a step of 0 leads nowhere", "write the height of a step, such as 100");
        return None;
    }
    if let (Some(from), Some(to), true) = (from, to, negative)
        && from < to
    {
        sink.error(
            &node.spot,
            path,
            format!("a step of -{by} leads down, but the stairs go up from {from} to {to}"),
            format!("write {by}"),
        );
        return None;
    }
    Some(by)
}

fn sine(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let fields = Fields::open(node, path, &["mean", "amplitude", "period"], sink)?;
    let mean = fields.required("mean", "write the rate in the middle, such as `mean: 300`", sink);
    let amplitude = fields.required("amplitude", "write how far it swings, such as `amplitude: 100`", sink);
    let period = fields.required("period", "write how long one wave lasts, such as `period: 20s`", sink);
    if let (Some(Nanos::ZERO), Some(node)) = (period, fields.node("period")) {
        sink.error(
            &node.spot,
            &fields.path("period"),
            "a wave lasts no time",
            "write a duration such as 20s",
        );
        return None;
    }
    let (mean, amplitude, period): (Tps, Tps, Nanos) = (mean?, amplitude?, period?);
    if mean == Tps::ZERO {
        sink.error(&node.spot, path, "a wave around 0 never sends", "give it a mean, or write `pause: {}`");
        return None;
    }
    if amplitude > mean {
        let spot = fields.node("amplitude").map_or(&node.spot, |node| &node.spot);
        let message =
            format!("the rate would go below 0: the amplitude {amplitude} is above the mean {mean}");
        sink.error(spot, &fields.path("amplitude"), message, format!("write at most {mean}"));
        return None;
    }
    Some(StageKind::Sine { mean, amplitude, period })
}

fn pause(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    if node.is_null() {
        return Some(StageKind::Pause);
    }
    if matches!(node.kind, Kind::Scalar(_) | Kind::List(_)) {
        mismatch(node, path, "{}", "write `pause: {}`, and how long in `duration`", sink);
        return None;
    }
    Fields::open(node, path, &[], sink).map(|_| StageKind::Pause)
}

fn lua(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<StageKind> {
    let function = String::decode(node, path, sink)?;
    if !super::vars::is_name(&function) {
        mismatch(node, path, "the name of a Lua function", "write a name such as `tps_at`", sink);
        return None;
    }
    Some(StageKind::Lua(function))
}
