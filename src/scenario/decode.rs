//! From the tree to types, field by field, so that every field reports its own problem.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::diagnostics::{Sink, listed, quoted, suggestion};
use super::schema::{Address, Word};
use super::tree::{Entry, Kind, Node, Scalar, join};
use crate::units::{Bytes, IdRange, Nanos, Share, Tps};

/// A type that can be read from a value of the tree.
pub(crate) trait Decode: Sized {
    /// The value, or None when it is not of this type; the problem is then in the sink.
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Self>;
}

/// Reports that something else was expected here.
pub(crate) fn mismatch(node: &Node, path: &str, expected: &str, help: &str, sink: &mut Sink<'_>) {
    // A value that failed in substitution is already reported.
    if node.kind != Kind::Failed {
        sink.error(&node.spot, path, format!("expected {expected}, found {}", node.describe()), help);
    }
}

/// The scalar that stands here, not null.
fn scalar<'n>(
    node: &'n Node,
    path: &str,
    expected: &str,
    help: &str,
    sink: &mut Sink<'_>,
) -> Option<&'n Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
        _ => {
            mismatch(node, path, expected, help, sink);
            None
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Single values

/// Values that say themselves what is wrong with a text.
macro_rules! by_from_str {
    ($($type:ty: $expected:literal;)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<$type> {
                let text = &scalar(node, path, $expected, "", sink)?.text;
                if text.len() > 200 {
                    mismatch(node, path, $expected, "", sink);
                    return None;
                }
                match text.parse::<$type>() {
                    Ok(value) => Some(value),
                    Err(error) => {
                        // What follows the colon after the value says what to write.
                        let error = error.to_string();
                        let value_end = error.rfind('`').unwrap_or(0);
                        let (message, help) = match error[value_end..].find(": ") {
                            Some(colon) => (&error[..value_end + colon], &error[value_end + colon + 2..]),
                            None => (error.as_str(), ""),
                        };
                        sink.error(&node.spot, path, message, help);
                        None
                    }
                }
            }
        }
    )+};
}

by_from_str! {
    Tps: "a rate such as 100, 0.5 or \"6000/m\"";
    Nanos: "a duration such as 500ms, 10s or 2m";
    Share: "a share such as 1% or 0.01";
    Bytes: "a size such as 64KiB or 32MiB";
    IdRange: "a range such as 1..10000";
    Address: "an address such as 10.0.0.5:9000-9009";
}

/// Addresses of the standard library, whose own errors do not help.
macro_rules! by_address {
    ($($type:ty: $what:literal, $help:literal;)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<$type> {
                let text = &scalar(node, path, $what, $help, sink)?.text;
                let parsed = text.trim().parse().ok();
                if parsed.is_none() {
                    mismatch(node, path, $what, $help, sink);
                }
                parsed
            }
        }
    )+};
}

by_address! {
    IpAddr: "an IP address", "write an address such as 127.0.0.1 or ::1";
    SocketAddr: "an IP address and a port", "write an address such as 127.0.0.1:6380";
}

macro_rules! by_integer {
    ($($type:ty)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<$type> {
                let number = integer(node, path, sink)?;
                let value = <$type>::try_from(number).ok();
                if value.is_none() {
                    sink.error(&node.spot, path, format!("{number} is above the limit of {}", <$type>::MAX), "");
                }
                value
            }
        }
    )+};
}

by_integer!(u8 u16 u32 u64);

/// A whole number from 0, not yet held against the size of its type.
fn integer(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<u128> {
    const EXPECTED: &str = "a whole number";
    let scalar = scalar(node, path, EXPECTED, "", sink)?;
    let digits: String = scalar.text.trim().chars().filter(|&c| c != '_').collect();
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if digits.strip_prefix('-').is_some_and(is_number) {
        sink.error(&node.spot, path, format!("{} is negative", quoted(&scalar.text)), "write 0 or more");
        return None;
    }
    if !is_number(&digits) {
        let help =
            if digits.parse::<f64>().is_ok_and(f64::is_finite) { "write it without a fraction" } else { "" };
        mismatch(node, path, EXPECTED, help, sink);
        return None;
    }
    if !scalar.plain && !scalar.substituted {
        mismatch(node, path, EXPECTED, "remove the quotes", sink);
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some(0),
        digits => digits.parse().ok().or_else(|| {
            sink.error(&node.spot, path, format!("{} is too large", quoted(&scalar.text)), "");
            None
        }),
    }
}

impl Decode for bool {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<bool> {
        let scalar = scalar(node, path, "true or false", "", sink)?;
        match scalar.text.as_str() {
            "true" if scalar.plain || scalar.substituted => Some(true),
            "false" if scalar.plain || scalar.substituted => Some(false),
            "true" | "false" => {
                mismatch(node, path, "true or false", "remove the quotes", sink);
                None
            }
            _ => {
                mismatch(node, path, "true or false", "write true or false", sink);
                None
            }
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<String> {
        let help = match node.kind {
            Kind::Map(_) | Kind::List(_) => "quote a text that begins with a brace or a bracket",
            _ => "write \"\" for an empty text",
        };
        scalar(node, path, "text", help, sink).map(|scalar| scalar.text.clone())
    }
}

impl Decode for PathBuf {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<PathBuf> {
        let text = &scalar(node, path, "a path", "", sink)?.text;
        if text.is_empty() || text.contains('\0') {
            sink.error(&node.spot, path, "is not a path", "write a path such as ../scripts/hook.lua");
            return None;
        }
        Some(PathBuf::from(text))
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Option<T>> {
        if node.is_null() { Some(None) } else { T::decode(node, path, sink).map(Some) }
    }
}

/// Reads one of a few words.
pub(crate) fn word<W: Word>(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<W> {
    let words: Vec<&str> = W::WORDS.iter().map(|&(word, _)| word).collect();
    // A word that means nothing to YAML: `none` is text, `null` is not.
    let text = &scalar(node, path, &listed(&words), "", sink)?.text;
    if let Some(&(_, value)) = W::WORDS.iter().find(|(word, _)| word == text) {
        return Some(value);
    }
    if W::LATER.contains(&text.as_str()) {
        later(node, path, &format!("`{text}`"), &format!("write {}", listed(&words)), sink);
        return None;
    }
    let help = match suggestion(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => String::new(),
    };
    sink.error(&node.spot, path, format!("expected {}, found {}", listed(&words), node.describe()), help);
    None
}

/// Reports something that the format knows and this version does not do.
pub(crate) fn later(node: &Node, path: &str, what: &str, help: &str, sink: &mut Sink<'_>) {
    sink.error(&node.spot, path, format!("{what} is not supported yet"), help);
}

// ---------------------------------------------------------------------------------------------
// Lists and mappings

/// Every item of a list; None when any of them is wrong.
pub(crate) fn list<T: Decode>(
    node: &Node,
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<Vec<T>> {
    let Kind::List(items) = &node.kind else {
        mismatch(node, path, expected, "write [first, second]", sink);
        return None;
    };
    let read: Vec<Option<T>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| T::decode(item, &format!("{path}[{index}]"), sink))
        .collect();
    read.into_iter().collect()
}

impl Decode for Vec<IdRange> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<IdRange>> {
        match node.kind {
            Kind::List(_) => list(node, path, "a range or a list of ranges", sink),
            _ => IdRange::decode(node, path, sink).map(|range| vec![range]),
        }
    }
}

impl Decode for Vec<IpAddr> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<IpAddr>> {
        list(node, path, "a list of IP addresses", sink)
    }
}

impl Decode for Vec<Address> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<Vec<Address>> {
        list(node, path, "a list of addresses", sink)
    }
}

/// The entries of a mapping with names that the user chose.
fn entries<'n>(node: &'n Node, path: &str, sink: &mut Sink<'_>) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        _ => {
            mismatch(node, path, "a mapping", "write { name: value }", sink);
            None
        }
    }
}

impl Decode for BTreeMap<String, String> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<BTreeMap<String, String>> {
        let mut map = BTreeMap::new();
        for entry in entries(node, path, sink)? {
            if let Some(text) = String::decode(&entry.value, &join(path, &entry.key), sink) {
                map.insert(entry.key.clone(), text);
            }
        }
        Some(map)
    }
}

impl Decode for BTreeMap<String, serde_json::Value> {
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<BTreeMap<String, serde_json::Value>> {
        let mut map = BTreeMap::new();
        for entry in entries(node, path, sink)? {
            if let Some(value) = serde_json::Value::decode(&entry.value, &join(path, &entry.key), sink) {
                map.insert(entry.key.clone(), value);
            }
        }
        Some(map)
    }
}

impl Decode for serde_json::Value {
    /// Any value. Plain scalars are what YAML says they are, all others text.
    fn decode(node: &Node, path: &str, sink: &mut Sink<'_>) -> Option<serde_json::Value> {
        match &node.kind {
            Kind::Failed => None,
            Kind::List(_) => list(node, path, "a list", sink).map(serde_json::Value::Array),
            Kind::Map(_) => BTreeMap::<String, serde_json::Value>::decode(node, path, sink)
                .map(|map| serde_json::Value::Object(map.into_iter().collect())),
            Kind::Scalar(scalar) if scalar.is_null() => Some(serde_json::Value::Null),
            Kind::Scalar(scalar) if !scalar.plain => Some(scalar.text.clone().into()),
            Kind::Scalar(scalar) => plain_value(node, &scalar.text, path, sink),
        }
    }
}

fn plain_value(node: &Node, text: &str, path: &str, sink: &mut Sink<'_>) -> Option<serde_json::Value> {
    let first = text.trim_start_matches(['-', '+']).bytes().next();
    let leading_zero = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    match text {
        "true" => return Some(true.into()),
        "false" => return Some(false.into()),
        ".nan" | ".NaN" | ".inf" | "-.inf" | "+.inf" => {
            mismatch(node, path, "a number that is finite", "quote it if it is a text", sink);
            return None;
        }
        _ => {}
    }
    // `012` and `1e5x` are text: a number is what prints back as one.
    if !first.is_some_and(|b| b.is_ascii_digit()) || leading_zero {
        return Some(text.into());
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        Some(number) => Some(number.into()),
        None => Some(text.into()),
    }
}

// ---------------------------------------------------------------------------------------------
// Sections

/// A mapping with known keys.
pub(crate) struct Fields<'n> {
    node: &'n Node,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    path: String,
}

impl<'n> Fields<'n> {
    /// Opens a mapping and reports every key that is not among `known`. None when it is no mapping.
    pub(crate) fn open(
        node: &'n Node,
        path: &str,
        known: &[&'static str],
        sink: &mut Sink<'_>,
    ) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else {
            let help = format!("keys here: {}", known.join(", "));
            mismatch(node, path, "a mapping", if known.is_empty() { "write {}" } else { &help }, sink);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let path = join(path, &entry.key);
            sink.error(&entry.key_spot, &path, "unknown key", help_for_key(&entry.key, known));
        }
        Some(Fields { node, entries, known: known.to_vec(), path: path.to_string() })
    }

    /// The value of a key, if the key stands here.
    pub(crate) fn node(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The path of a key of this mapping.
    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The value of a key, or the default when it is absent or wrong.
    pub(crate) fn or<T: Decode>(&self, key: &str, default: T, sink: &mut Sink<'_>) -> T {
        self.optional(key, sink).unwrap_or(default)
    }

    /// The value of a key, if it is there and right.
    pub(crate) fn optional<T: Decode>(&self, key: &str, sink: &mut Sink<'_>) -> Option<T> {
        self.node(key).and_then(|node| T::decode(node, &self.path(key), sink))
    }

    /// Whether an unknown key, which is reported, was probably meant to be this one.
    pub(crate) fn misspelt(&self, key: &str) -> bool {
        let unknown = self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str()));
        let mut meant = unknown.filter_map(|entry| suggestion(&entry.key, self.known.iter().copied()));
        meant.any(|meant| meant == key)
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T: Decode>(&self, key: &str, help: &str, sink: &mut Sink<'_>) -> Option<T> {
        if self.node(key).is_none() && !self.misspelt(key) {
            sink.error(&self.node.spot, &self.path, format!("the key `{key}` is missing"), help);
        }
        self.optional(key, sink)
    }
}

/// What to say about a key that is not known here.
fn help_for_key(key: &str, known: &[&'static str]) -> String {
    if let Some(near) = suggestion(key, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if let Some((section, _)) = super::sections::KEYS.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("`{key}` is a key of `{section}`");
    }
    if known.is_empty() {
        "there are no keys here".to_string()
    } else {
        format!("keys here: {}", known.join(", "))
    }
}
