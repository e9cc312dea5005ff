//! `--set PATH=VALUE`: values of the command line in their place in the tree.
//!
//! Rules:
//! 1. A path is keys with dots and positions in brackets: `load.stages[0].hold`, from 0.
//! 2. Sections that are missing on the way are made; items of a list are not.
//! 3. A value that begins with `[`, `{` or a quote is YAML; every other one is the text itself.
//! 4. Whether a key exists is checked with the file, so that a typo gets the same help.

use super::diagnostics::{Sink, Sources, Spot, quoted};
use super::schema::mask_password;
use super::tree::{self, Entry, Kind, Node, Scalar, Step, steps};

/// The section whose keys are paths themselves.
pub(crate) const MATRIX: &str = "matrix";

/// One `--set`, and which source it is.
pub(crate) struct Set {
    path: String,
    value: String,
    source: usize,
    /// Where the value begins in the flag.
    offset: usize,
}

/// Adds the flags to the sources.
pub(crate) fn flags_of(sets: &[(String, String)], sources: &mut Sources) -> Vec<Set> {
    let make = |(path, value): &(String, String)| {
        let source = sources.add_flag(format!("--set {path}={}", mask_password(value)));
        Set { path: path.clone(), value: value.clone(), source, offset: 6 + path.len() + 1 }
    };
    sets.iter().map(make).collect()
}

/// A flag that is a setting by another name, such as `--redis`.
pub(crate) fn named(flag: &str, path: &str, value: &str, sources: &mut Sources) -> Set {
    let source = sources.add_flag(format!("{flag} {}", mask_password(value)));
    Set { path: path.to_string(), value: value.to_string(), source, offset: flag.len() + 1 }
}

/// Puts the values into the tree. Problems go to the sink.
pub(crate) fn apply(root: &mut Node, sets: &[Set], sink: &mut Sink<'_>) {
    for set in sets {
        if let Some(value) = set.read(sink) {
            put(&Place { path: &set.path, spot: set.path_spot(), by: "--set" }, root, value, sink);
        }
    }
}

impl Set {
    fn read(&self, sink: &mut Sink<'_>) -> Option<Node> {
        if self.value.len() > tree::MAX_FILE {
            sink.error(&self.path_spot(), &tree::join("", &self.path), "the value is larger than 1 MiB", "");
            return None;
        }
        if self.value.trim_start().starts_with(['[', '{', '"', '\'']) {
            return tree::parse(&self.value, self.source, self.offset, sink);
        }
        let scalar = Scalar { text: self.value.clone(), plain: true, substituted: false };
        let spot = Spot { source: self.source, span: self.offset..self.offset + self.value.len() };
        Some(Node { kind: Kind::Scalar(scalar), spot })
    }

    /// Where it puts its value.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn path_spot(&self) -> Spot {
        Spot { source: self.source, span: 6..6 + self.path.len() }
    }
}

/// Where a value is to be put, and who says so.
pub(crate) struct Place<'p> {
    pub(crate) path: &'p str,
    pub(crate) spot: Spot,
    /// `--set` or `matrix`, for messages.
    pub(crate) by: &'static str,
}

/// Puts a value into the tree. Problems go to the sink.
pub(crate) fn put(place: &Place<'_>, root: &mut Node, value: Node, sink: &mut Sink<'_>) {
    let steps = steps_to(place.path);
    let mut done = String::new();
    let mut node = root;
    if steps.is_empty() || steps.len() > 16 {
        let help = "write a path such as connections.count or load.stages[0].hold";
        sink.error(&place.spot, "", format!("{} is no path", quoted(place.path)), help);
        return;
    }
    for step in steps {
        // An absent section, or one that was written as `section:` and nothing, is made.
        if node.is_null() {
            *node = Node { kind: Kind::Map(Vec::new()), spot: place.spot.clone() };
        }
        let next = match step {
            Step::Key(key) => {
                let next = place.enter(node, &key, &done, sink);
                done = tree::join(&done, &key);
                next
            }
            Step::Index(index) => {
                let next = place.item(node, index, &done, sink);
                done = format!("{done}[{index}]");
                next
            }
        };
        match next {
            Some(next) => node = next,
            None => return,
        }
    }
    *node = value;
}

/// The steps of a path; what stands behind `matrix.` is one key, which is a path itself.
fn steps_to(path: &str) -> Vec<Step> {
    match path.split_once('.') {
        Some((MATRIX, of_matrix)) if !of_matrix.is_empty() => {
            vec![Step::Key(MATRIX.to_string()), Step::Key(of_matrix.to_string())]
        }
        _ => steps(path),
    }
}

impl Place<'_> {
    fn enter<'n>(
        &self,
        node: &'n mut Node,
        key: &str,
        path: &str,
        sink: &mut Sink<'_>,
    ) -> Option<&'n mut Node> {
        let found = node.describe();
        let Kind::Map(entries) = &mut node.kind else {
            let message = format!("has no keys, it is {found}: {} cannot reach `{}`", self.by, self.path);
            let help = "a path has keys with dots and positions in brackets";
            sink.error(&self.spot, path, message, help);
            return None;
        };
        let at = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            let nothing = Scalar { text: String::new(), plain: true, substituted: false };
            let value = Node { kind: Kind::Scalar(nothing), spot: self.spot.clone() };
            entries.push(Entry { key: key.to_string(), key_spot: self.spot.clone(), value });
            entries.len() - 1
        });
        entries.get_mut(at).map(|entry| &mut entry.value)
    }

    fn item<'n>(
        &self,
        node: &'n mut Node,
        index: usize,
        path: &str,
        sink: &mut Sink<'_>,
    ) -> Option<&'n mut Node> {
        let found = node.describe();
        let message = match &mut node.kind {
            Kind::List(items) => {
                let count = items.len();
                match items.get_mut(index) {
                    Some(item) => return Some(item),
                    None => format!("has {count} items, from [0]: there is no [{index}]"),
                }
            }
            _ => format!("is no list, it is {found}: there is no [{index}]"),
        };
        sink.error(&self.spot, path, message, "set the whole list, or change the file");
        None
    }
}
