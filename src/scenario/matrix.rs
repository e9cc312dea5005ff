//! `matrix`: one file, several runs. Each row is the file with some values in their place, read and
//! checked like a file of its own.
//!
//! Rules:
//! 1. Each key is a path as in `--set`, each value a list of what stands there, row by row.
//! 2. Several paths are combined, each value with each; the last path changes fastest.
//! 3. `--set` of such a path takes it out of the matrix: the command line has the last word.
//! 4. Values are put in their place before variables are replaced, so that they may hold some.

use super::diagnostics::{Sink, Spot};
use super::schema::mask_password;
use super::sets::{MATRIX, Place, Set, put};
use super::tree::{Kind, Node, find, steps};

/// The most rows.
pub(crate) const MAX_ROWS: usize = 100;

/// The most values in all rows together: each is a file of its own.
const MAX_NODES: usize = 1_000_000;

/// The longest description of a value, in characters.
const MAX_LABEL: usize = 60;

/// A path and the values that stand there, one after the other.
pub(crate) struct Axis {
    path: String,
    spot: Spot,
    values: Vec<Node>,
}

/// Takes the matrix out of the tree. Empty where there is none.
pub(crate) fn axes(root: &mut Node, sets: &[Set], sink: &mut Sink<'_>) -> Vec<Axis> {
    let Kind::Map(entries) = &mut root.kind else { return Vec::new() };
    let Some(at) = entries.iter().position(|entry| entry.key == MATRIX) else { return Vec::new() };
    let matrix = entries.remove(at).value;
    let spot = matrix.spot.clone();
    let help = "write `matrix: { connections.count: [100, 200] }`";
    let entries = match matrix.kind {
        Kind::Map(entries) => entries,
        _ if matrix.is_null() => return Vec::new(),
        _ => {
            let message = format!("expected paths and their values, found {}", matrix.describe());
            sink.error(&spot, MATRIX, message, help);
            return Vec::new();
        }
    };
    let mut axes: Vec<Axis> = Vec::new();
    for entry in entries {
        let path = entry.key.trim().to_string();
        let shown = super::tree::join(MATRIX, &path);
        if path.split(['.', '[']).next() == Some(MATRIX) {
            sink.error(&entry.key_spot, &shown, "a matrix does not change itself", "name another path");
            continue;
        }
        let axis = steps(&path);
        if sets.iter().any(|set| steps(set.path()) == axis) {
            continue;
        }
        // One of them would overwrite what the other says.
        let within = |set: &&Set| {
            let set = steps(set.path());
            set.len() != axis.len() && set.iter().zip(&axis).all(|(a, b)| a == b)
        };
        if let Some(set) = sets.iter().find(within) {
            let message = format!("--set {} is a part of it, or it of that", set.path());
            sink.error(
                &entry.key_spot,
                &shown,
                message,
                "set the same path, which takes it out of the matrix",
            );
            continue;
        }
        let values = match entry.value.kind {
            Kind::List(values) => values,
            _ => vec![entry.value],
        };
        if values.is_empty() {
            sink.error(&entry.key_spot, &shown, "there are no values", "write a list such as [100, 200]");
            continue;
        }
        axes.push(Axis { path, spot: entry.key_spot, values });
    }
    let rows = axes.iter().try_fold(1usize, |rows, axis| rows.checked_mul(axis.values.len()));
    if rows.is_none_or(|rows| rows > MAX_ROWS) {
        let rows = rows.map_or_else(|| "too many".to_string(), |rows| rows.to_string());
        sink.error(&spot, MATRIX, format!("{rows} rows, the limit is {MAX_ROWS}"), "name fewer values");
        return Vec::new();
    }
    let (rows, nodes) = (rows.unwrap_or(1), root.cost().0);
    if rows > 1 && nodes.saturating_mul(rows) > MAX_NODES {
        let message =
            format!("{rows} rows of a file with {nodes} values, the limit is {MAX_NODES} values in all");
        sink.error(&spot, MATRIX, message, "name fewer rows, or make the file smaller");
        return Vec::new();
    }
    axes
}

/// How many rows there are; one without axes.
pub(crate) fn rows(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.values.len()).product()
}

/// The tree of a row.
pub(crate) fn tree_of(base: &Node, axes: &[Axis], row: usize, sink: &mut Sink<'_>) -> Node {
    let mut root = base.clone();
    let mut rest = row;
    let mut chosen = Vec::with_capacity(axes.len());
    for axis in axes.iter().rev() {
        chosen.push((axis, rest % axis.values.len()));
        rest /= axis.values.len();
    }
    for (axis, value) in chosen.into_iter().rev() {
        let place = Place { path: &axis.path, spot: axis.spot.clone(), by: MATRIX };
        put(&place, &mut root, axis.values[value].clone(), sink);
    }
    root
}

/// What stands at the paths of the axes, in words.
pub(crate) fn values_of(root: &Node, axes: &[Axis]) -> Vec<(String, String)> {
    let label = |axis: &Axis| find(root, &axis.path).map(brief).unwrap_or_default();
    axes.iter().map(|axis| (axis.path.clone(), label(axis))).collect()
}

/// A value in a few words: a scalar itself, a mapping by its `name` or its first value, a list by its
/// items.
fn brief(node: &Node) -> String {
    let text = match &node.kind {
        Kind::Scalar(scalar) => mask_password(scalar.text.trim()).into_owned(),
        Kind::List(items) => items.iter().map(brief).collect::<Vec<_>>().join("+"),
        Kind::Map(entries) => {
            let named = entries.iter().find(|entry| entry.key == "name").or(entries.first());
            named.map(|entry| brief(&entry.value)).unwrap_or_default()
        }
        Kind::Failed => String::new(),
    };
    match text.char_indices().nth(MAX_LABEL) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
