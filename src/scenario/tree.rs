//! The file as a tree of values, each with its place: what lets every problem be reported at once.
//!
//! Rules, each a limit on what a file may cost:
//! 1. A file is at most 1 MiB, 64 levels deep and 100,000 values, aliases expanded.
//! 2. Aliases may repeat at most 8 MiB of text.
//! 3. One document, without tags; keys are text and stand once in their mapping.
//! 4. `<<` merges mappings; keys that stand beside it win.
//! 5. `${...}` never ends a value: its braces are hidden from the parser and put back, so that
//!    `{ to: ${peak} }` reads as it looks. Substitution comes later, in `vars.rs`.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_yaml::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span};

use super::diagnostics::{Sink, Spot, quoted};

/// The largest file that is read.
pub(crate) const MAX_FILE: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;
const MAX_ALIASED: usize = 8 << 20;
/// Characters of `${...}` are hidden from the parser this far up, in a private-use plane.
const HIDDEN: u32 = 0xF_0000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// What to underline: the value, or the key of a list or mapping.
    pub(crate) spot: Spot,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value whose problem is already reported.
    Failed,
}

/// A single value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that `null`, `true` and numbers mean what they say.
    pub(crate) plain: bool,
    /// Holds a value of a variable, so that a number is a number even between quotes.
    pub(crate) substituted: bool,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_spot: Spot,
    pub(crate) value: Node,
}

impl Scalar {
    pub(crate) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The value of a key, when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// What this is, for "expected ..., found ...".
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_string(),
            Kind::Scalar(scalar) if scalar.plain => quoted(&scalar.text),
            Kind::Scalar(scalar) => format!("the text {}", quoted(&scalar.text)),
            Kind::List(_) => "a list".to_string(),
            Kind::Map(_) => "a mapping".to_string(),
            Kind::Failed => "nothing".to_string(),
        }
    }

    /// How many values it holds, and how many bytes of text.
    pub(crate) fn cost(&self) -> (usize, usize) {
        let sum = |costs: &mut dyn Iterator<Item = (usize, usize)>| {
            costs.fold((1, 0), |total, cost| (total.0 + cost.0, total.1 + cost.1))
        };
        match &self.kind {
            Kind::Scalar(scalar) => (1, scalar.text.len()),
            Kind::Failed => (1, 0),
            Kind::List(items) => sum(&mut items.iter().map(Node::cost)),
            Kind::Map(entries) => sum(&mut entries.iter().map(|entry| {
                let (nodes, bytes) = entry.value.cost();
                (nodes, bytes + entry.key.len())
            })),
        }
    }
}

/// Where a path such as `load.stages[2].ramp` leads: the spot of the value, or of its nearest
/// ancestor that stands in the tree.
pub(crate) fn locate<'n>(root: &'n Node, path: &str) -> &'n Spot {
    let mut node = root;
    for step in steps(path) {
        let next = match (step, &node.kind) {
            (Step::Key(key), _) => node.get(&key),
            (Step::Index(index), Kind::List(items)) => items.get(index),
            // `range: 1..5` stands for a list of one.
            (Step::Index(0), Kind::Scalar(_)) => Some(node),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    &node.spot
}

/// The value that a path leads to, if it stands in the tree.
pub(crate) fn find<'n>(root: &'n Node, path: &str) -> Option<&'n Node> {
    steps(path).into_iter().try_fold(root, |node, step| match (step, &node.kind) {
        (Step::Key(key), _) => node.get(&key),
        (Step::Index(index), Kind::List(items)) => items.get(index),
        (Step::Index(_), _) => None,
    })
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The steps of a path; an index that is no number is read as a key, which then leads nowhere.
pub(crate) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        if !key.is_empty() {
            steps.push(Step::Key(key.to_string()));
        }
        for index in indices.split('[').filter(|index| !index.is_empty()) {
            match index.strip_suffix(']').and_then(|index| index.parse().ok()) {
                Some(index) => steps.push(Step::Index(index)),
                None => steps.push(Step::Key(format!("[{index}"))),
            }
        }
    }
    steps
}

/// Reads `text` as one YAML document. `source` and `base` say which text it is and where in it this
/// piece begins.
///
/// # Errors
/// `None` when the text is no YAML, holds nothing or is over a limit; the problem is in the sink.
pub(crate) fn parse(text: &str, source: usize, base: usize, sink: &mut Sink<'_>) -> Option<Node> {
    let hidden = match hide_variables(text) {
        Ok(hidden) => hidden,
        Err(at) => {
            let spot = Spot { source, span: base + at..base + at };
            sink.error(
                &spot,
                "",
                "a private-use character (U+F0000 to U+F007F) stands in the file",
                "remove it",
            );
            return None;
        }
    };
    let offsets = Offsets::new(text);
    let builder = Builder {
        text,
        source,
        base,
        offsets,
        sink,
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        nodes: 0,
        aliased: 0,
    };
    builder.run(&hidden)
}

/// Byte offset of each character, or nothing when every character is one byte.
struct Offsets(Option<Vec<u32>>);

impl Offsets {
    fn new(text: &str) -> Offsets {
        if text.is_ascii() {
            return Offsets(None);
        }
        Offsets(Some(text.char_indices().map(|(at, _)| at as u32).collect()))
    }

    fn byte(&self, character: usize, length: usize) -> usize {
        match &self.0 {
            None => character.min(length),
            Some(offsets) => offsets.get(character).map_or(length, |&at| at as usize),
        }
    }
}

/// A collection that is being read.
struct Frame {
    start: usize,
    anchor: usize,
    kind: Kind,
    /// The key whose value comes next.
    key: Option<(String, Spot, bool)>,
    seen: HashSet<String>,
    merged: Vec<Node>,
}

struct Builder<'t, 'k, 's> {
    text: &'t str,
    source: usize,
    base: usize,
    offsets: Offsets,
    sink: &'k mut Sink<'s>,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, (usize, usize))>,
    nodes: usize,
    aliased: usize,
}

impl Builder<'_, '_, '_> {
    fn run(mut self, hidden: &str) -> Option<Node> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        for next in Parser::new_from_str_with_options(hidden, options) {
            match next {
                Ok((event, span)) => self.event(event, &span)?,
                Err(error) => {
                    let at = self.offsets.byte(error.marker().index(), self.text.len());
                    self.syntax_error(at, error.kind());
                    return None;
                }
            }
        }
        if self.root.is_none() {
            self.fail(0..0, "the scenario is empty", "start with `name:` and `load:`, or run `runner init`");
        }
        self.root
    }

    /// Takes one event; None when reading must end.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        let range = self.range(span);
        if event.tag().is_some() {
            self.fail(
                range.clone(),
                "tags are not used in a scenario",
                "remove the word that begins with `!`",
            );
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.fail(range, "a scenario is one document", "remove the second `---` and what follows it");
                None
            }
            Event::Scalar(text, style, anchor, _) => {
                let text = show_variables(&text);
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar(Scalar { text, plain, substituted: false });
                self.add(kind, self.first_line(range), anchor)
            }
            Event::Alias(id) => self.alias(id, range),
            Event::SequenceStart(_, anchor, _) => self.open(Kind::List(Vec::new()), range, anchor),
            Event::MappingStart(_, anchor, _) => self.open(Kind::Map(Vec::new()), range, anchor),
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            _ => Some(()),
        }
    }

    fn open(&mut self, kind: Kind, range: Range<usize>, anchor: usize) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            self.fail(range, message, "a scenario needs five levels; a bracket is probably not closed");
            return None;
        }
        let (seen, merged) = (HashSet::new(), Vec::new());
        self.stack.push(Frame { start: range.start, anchor, kind, key: None, seen, merged });
        Some(())
    }

    fn close(&mut self, end: usize) -> Option<()> {
        let Some(mut frame) = self.stack.pop() else { return Some(()) };
        if let Kind::Map(entries) = &mut frame.kind {
            for merged in frame.merged {
                let Kind::Map(others) = merged.kind else { continue };
                entries.extend(others.into_iter().filter(|entry| frame.seen.insert(entry.key.clone())));
            }
        }
        let range = self.first_line(frame.start..end);
        self.add(frame.kind, range, frame.anchor)
    }

    fn alias(&mut self, id: usize, range: Range<usize>) -> Option<()> {
        let Some((node, (nodes, bytes))) = self.anchors.get(&id) else {
            self.fail(range, "an alias refers to a value that is not complete yet", "write the value out");
            return None;
        };
        self.nodes += nodes;
        self.aliased += bytes;
        if self.nodes > MAX_NODES || self.aliased > MAX_ALIASED {
            self.fail(range, "aliases repeat too much", "write fewer aliases of aliases");
            return None;
        }
        let node = node.clone();
        self.attach(node)
    }

    fn add(&mut self, kind: Kind, range: Range<usize>, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.fail(range, format!("more than {MAX_NODES} values"), "split the scenario");
            return None;
        }
        let node = Node { kind, spot: self.spot(range.clone()) };
        if anchor != 0 {
            let cost = node.cost();
            // A copy is kept for the aliases: what it holds counts like repeated text.
            self.aliased += cost.1 + cost.0 * 16;
            if self.aliased > MAX_ALIASED {
                self.fail(range, "anchors repeat too much", "write fewer anchors inside anchors");
                return None;
            }
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        self.attach(node)
    }

    /// Puts a complete value where it belongs: key, value, item or root.
    fn attach(&mut self, mut node: Node) -> Option<()> {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        let entries = match &mut frame.kind {
            Kind::List(items) => {
                items.push(node);
                return Some(());
            }
            Kind::Map(entries) => entries,
            Kind::Scalar(_) | Kind::Failed => return Some(()),
        };
        let Some((key, key_spot, duplicate)) = frame.key.take() else {
            return self.take_key(node);
        };
        if !matches!(node.kind, Kind::Scalar(_)) || node.is_null() {
            node.spot = key_spot.clone();
        }
        if key == "<<" {
            return self.merge(node);
        }
        if !duplicate {
            entries.push(Entry { key, key_spot, value: node });
        }
        Some(())
    }

    fn take_key(&mut self, node: Node) -> Option<()> {
        let Kind::Scalar(scalar) = node.kind else {
            let help = "quote a text that begins with a bracket or a brace";
            self.sink.error(&node.spot, &self.path(), "a key must be text, not a list or a mapping", help);
            return None;
        };
        let path = join(&self.path(), &scalar.text);
        let Some(frame) = self.stack.last_mut() else { return Some(()) };
        let duplicate = !frame.seen.insert(scalar.text.clone());
        if duplicate {
            let message = format!("the key {} stands here twice", quoted(&scalar.text));
            self.sink.error(&node.spot, &path, message, "keep one of them");
        }
        frame.key = Some((scalar.text, node.spot, duplicate));
        Some(())
    }

    fn merge(&mut self, node: Node) -> Option<()> {
        let mappings = match node.kind {
            Kind::List(items) => items,
            kind => vec![Node { kind, spot: node.spot }],
        };
        for mapping in mappings {
            if !matches!(mapping.kind, Kind::Map(_)) {
                let path = join(&self.path(), "<<");
                let message = format!("expected a mapping to merge, found {}", mapping.describe());
                self.sink.error(
                    &mapping.spot,
                    &path,
                    message,
                    "write `<<: *name` with the anchor of a mapping",
                );
            } else if let Some(frame) = self.stack.last_mut() {
                frame.merged.push(mapping);
            }
        }
        Some(())
    }

    /// The path of the collection that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match (&frame.kind, &frame.key) {
                (Kind::List(items), _) => path = format!("{path}[{}]", items.len()),
                (_, Some((key, ..))) => path = join(&path, key),
                _ => {}
            }
        }
        path
    }

    fn syntax_error(&mut self, at: usize, kind: &ErrorKind) {
        let line_start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(tab) = indent.find('\t') {
            let at = line_start + tab;
            self.fail(
                at..at + 1,
                "a tab stands in the indentation",
                "indent with spaces: YAML allows no tabs there",
            );
            return;
        }
        let help = match kind {
            ErrorKind::UnknownAnchor => "an alias `*name` needs an anchor `&name` before it",
            _ => {
                "check the indentation, and quote a value that holds `: `, ` #`, or begins with one of {[*&!%@"
            }
        };
        let at = at.min(self.text.trim_end().len());
        self.fail(at..at, format!("this is not valid YAML: {kind}"), help);
    }

    fn fail(&mut self, range: Range<usize>, message: impl std::convert::Into<String>, help: &str) {
        let spot = self.spot(range);
        self.sink.error(&spot, "", message, help);
    }

    fn spot(&self, range: Range<usize>) -> Spot {
        Spot { source: self.source, span: self.base + range.start..self.base + range.end }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let byte = |character| self.offsets.byte(character, self.text.len());
        let start = byte(span.start.index());
        start..byte(span.end.index()).max(start)
    }

    /// The part of a range that stands on its first line, without the space after it.
    fn first_line(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let line = text.lines().next().unwrap_or("").trim_end();
        range.start..range.start + line.len()
    }
}

/// A path and one more key; a key that is long or odd is clipped.
pub(crate) fn join(path: &str, key: &str) -> String {
    let end = key.char_indices().nth(40).map_or(key.len(), |(at, _)| at);
    let dots = if end < key.len() { "..." } else { "" };
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{}{dots}", &key[..end])
}

/// Hides the characters of `${...}` that mean something to YAML, character for character.
/// Err is the offset of a character that is already in the hidden range.
fn hide_variables(text: &str) -> Result<String, usize> {
    if let Some((at, _)) = text.char_indices().find(|&(_, c)| (HIDDEN..HIDDEN + 0x80).contains(&(c as u32))) {
        return Err(at);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(start) = rest.find("${") {
            if !begins_variable(&rest[start + 2..]) {
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                continue;
            }
            let Some(length) = balanced(&rest[start + 1..]) else { break };
            let end = start + 1 + length;
            out.push_str(&rest[..start]);
            out.extend(rest[start..end].chars().map(hidden));
            rest = &rest[end..];
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// Whether what stands behind `${` is a variable, and not a text that only looks like one.
fn begins_variable(text: &str) -> bool {
    let name = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    name.len() < text.len() && (name.starts_with('}') || name.starts_with(":-") || name.starts_with(":?"))
}

/// How many bytes the braces at the start of `text` span, closing brace included.
pub(crate) fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn hidden(c: char) -> char {
    match c {
        '{' | '}' | '[' | ']' | ',' | ':' | '#' => char::from_u32(HIDDEN + c as u32).unwrap_or(c),
        _ => c,
    }
}

fn show_variables(text: &str) -> String {
    let shown = |c: char| match (c as u32).checked_sub(HIDDEN) {
        Some(low) if low < 0x80 => char::from_u32(low).unwrap_or(c),
        _ => c,
    };
    text.chars().map(shown).collect()
}
