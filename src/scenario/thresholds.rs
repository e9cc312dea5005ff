//! How thresholds are read, and which of their terms fit together.

use super::decode::{Decode, Fields, list, mismatch};
use super::diagnostics::{Sink, quoted};
use super::schema::{Condition, Misread, NoData, Threshold};
use super::tree::{Kind, Node};
use crate::units::Nanos;

/// Thresholds of one scenario: each keeps figures of its own while the run goes.
const MAX_THRESHOLDS: usize = 100;

const KEYS: &[&str] = &["check", "stage", "after", "for", "abort", "no_data"];

impl Decode for Vec<Threshold> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<Threshold>> {
        if let Kind::List(items) = &node.kind
            && items.len() > MAX_THRESHOLDS
        {
            sink.error(&node.spot, path, format!("more than {MAX_THRESHOLDS} thresholds"), "");
            return None;
        }
        list(node, path, "a list of thresholds", sink)
    }
}

impl Decode for Condition {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Condition> {
        let text = match &node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => &scalar.text,
            _ => {
                let help = "write one such as \"response_time p(99) < 50ms\"";
                mismatch(node, path, "a condition", help, sink);
                return None;
            }
        };
        match Condition::parse(text) {
            Ok(condition) => Some(condition),
            Err(Misread { message, help }) => {
                sink.error(&node.spot, path, message, help);
                None
            }
        }
    }
}

impl Decode for Threshold {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Threshold> {
        if let Kind::Scalar(_) = node.kind {
            return Condition::decode(node, path, sink).map(Threshold::new);
        }
        let fields = Fields::open(node, path, KEYS, sink)?;
        let check: Option<Condition> = fields.required("check", "write `check: \"failed rate < 1%\"`", sink);
        let stage: Option<String> = fields.or("stage", None, sink);
        let after = fields.or("after", Nanos::ZERO, sink);
        let hold_for = fields.or("for", Nanos::ZERO, sink);
        let abort = fields.or("abort", false, sink);
        let no_data = fields.or("no_data", NoData::Fail, sink);
        let check = check?;
        let before = sink.list.len();
        if let (Some(stage), Some(named)) = (&stage, &check.stage)
            && stage != named
        {
            let message = format!("the condition names another stage: {}", quoted(named));
            sink.error(&fields.node("stage")?.spot, &fields.path("stage"), message, "name one of them");
        }
        let terms = [
            ("stage", stage.is_some()),
            ("after", after > Nanos::ZERO),
            ("for", hold_for > Nanos::ZERO),
            ("abort", abort),
        ];
        for (key, _) in terms.into_iter().filter(|(_, asked)| *asked && !check.metric.is_windowed()) {
            let Some(node) = fields.node(key) else { continue };
            let message = format!("{} is known when the run is over, and for all of it", check.metric);
            sink.error(&node.spot, &fields.path(key), message, "remove it");
        }
        if let Some(node) = fields.node("abort").filter(|_| abort)
            && hold_for == Nanos::ZERO
            && check.waits_for_the_end()
        {
            let message = "a number that is still to be reached is known when the run is over";
            sink.error(&node.spot, &fields.path("abort"), message, "remove it, or write `rate`");
        }
        let threshold =
            Threshold { stage: stage.or(check.stage.clone()), check, after, hold_for, abort, no_data };
        (sink.list.len() == before).then_some(threshold)
    }
}
