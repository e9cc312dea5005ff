//! Variables: `${NAME}` in the values of a scenario.
//!
//! Rules:
//! 1. `${NAME}` is the value of NAME; unset is an error.
//! 2. `${NAME:-default}` is the default when NAME is unset or empty; a default may hold variables.
//! 3. `${NAME:?message}` is an error with that message when NAME is unset or empty.
//! 4. `$${...}` is the text `${...}`. A `$` before anything else is itself.
//! 5. Substitution happens in values after parsing, so that a value cannot become YAML.
//! 6. `--var` wins over `vars`, `vars` over the environment. Values of `vars` see the environment only.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostics::{Sink, Sources, quoted, suggestion};
use super::tree::{Entry, Kind, Node, Scalar, balanced, join};

/// The most text that all substitutions of one scenario may produce, in bytes.
const MAX_SUBSTITUTED: usize = 8 << 20;
/// How deep defaults may hold further variables.
const MAX_NESTED: usize = 8;

/// Why a value could not be substituted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The braces do not end.
    #[error("`${{` is never closed")]
    Unclosed,
    /// Not a variable.
    #[error("invalid variable `${{{0}}}`")]
    Malformed(String),
    /// A variable without value and default.
    #[error("the variable `{0}` is not set")]
    Unset(String),
    /// A variable that must be set, and what the scenario says about it.
    #[error("the variable `{name}` is not set: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What stands behind `:?`.
        message: String,
    },
    /// Defaults inside defaults.
    #[error("variables stand more than {MAX_NESTED} deep in each other")]
    TooDeep,
    /// A variable of `vars` whose own value is already reported.
    #[error("the value of the variable `{0}` cannot be read")]
    Broken(String),
    /// The values are too large.
    #[error("the values of variables add up to more than 8 MiB")]
    TooLarge,
}

/// Where values come from, and which names were asked for.
pub(crate) struct Lookup<'v> {
    vars: &'v BTreeMap<String, String>,
    env: &'v BTreeMap<String, String>,
    used: BTreeSet<String>,
    /// Names of `vars` whose own value is already reported.
    broken: BTreeSet<String>,
    produced: usize,
}

impl<'v> Lookup<'v> {
    pub(crate) fn new(vars: &'v BTreeMap<String, String>, env: &'v BTreeMap<String, String>) -> Lookup<'v> {
        Lookup { vars, env, used: BTreeSet::new(), broken: BTreeSet::new(), produced: 0 }
    }

    fn value(&mut self, name: &str) -> Option<&'v str> {
        self.used.insert(name.to_string());
        self.vars.get(name).or_else(|| self.env.get(name)).map(String::as_str)
    }

    /// The text with its variables replaced.
    ///
    /// # Errors
    /// Every variable that has no value, up to one that cannot be read.
    pub(crate) fn substitute(&mut self, text: &str) -> Result<String, Vec<Error>> {
        let mut errors = Vec::new();
        match self.expand(text, 0, &mut errors) {
            Ok(text) if errors.is_empty() => return Ok(text),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
        Err(errors)
    }

    /// Errors that leave the rest of the text readable are collected in `errors`.
    fn expand(&mut self, text: &str, depth: usize, errors: &mut Vec<Error>) -> Result<String, Error> {
        if depth > MAX_NESTED {
            return Err(Error::TooDeep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 && rest.as_bytes()[at - 1] == b'$' {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let length = balanced(&rest[at + 1..]).ok_or(Error::Unclosed)?;
            let inside = &rest[at + 2..at + length];
            let value = match self.variable(inside, depth, errors) {
                Err(error @ (Error::TooDeep | Error::TooLarge)) => return Err(error),
                Err(error) => {
                    errors.push(error);
                    String::new()
                }
                Ok(value) => value,
            };
            self.produced += value.len();
            if self.produced > MAX_SUBSTITUTED {
                return Err(Error::TooLarge);
            }
            out.push_str(&value);
            rest = &rest[at + 1 + length..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn variable(&mut self, inside: &str, depth: usize, errors: &mut Vec<Error>) -> Result<String, Error> {
        let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
        let (name, rest) = inside.split_at(end);
        if !is_name(name) {
            return Err(Error::Malformed(clip(inside)));
        }
        if self.broken.contains(name) {
            self.used.insert(name.to_string());
            return Err(Error::Broken(clip(name)));
        }
        let value = self.value(name);
        if rest.is_empty() {
            return value.map(str::to_string).ok_or_else(|| Error::Unset(clip(name)));
        }
        let filled = value.filter(|value| !value.is_empty()).map(str::to_string);
        if let Some(default) = rest.strip_prefix(":-") {
            return filled.map_or_else(|| self.expand(default, depth + 1, errors), Ok);
        }
        match rest.strip_prefix(":?") {
            Some(message) => {
                let required = || Error::Required { name: clip(name), message: clip(message) };
                filled.ok_or_else(required)
            }
            None => Err(Error::Malformed(clip(inside))),
        }
    }
}

/// Whether a name can stand in `${...}`.
pub(crate) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

/// What the command line says about variables.
pub(crate) struct Given<'g> {
    /// Name, value and the flag as a source.
    pub(crate) vars: &'g [(String, String, usize)],
    pub(crate) env: &'g BTreeMap<String, String>,
}

/// Replaces every variable of the tree, `vars` first. Problems go to the sink.
pub(crate) fn apply(root: &mut Node, given: &Given<'_>, sink: &mut Sink<'_>) {
    let (vars, broken) = resolve_vars(root, given, sink);
    let declared = root.get("vars").cloned();
    let mut lookup = Lookup::new(&vars, given.env);
    lookup.broken = broken;
    if let Kind::Map(entries) = &mut root.kind {
        for entry in entries.iter_mut().filter(|entry| entry.key != "vars") {
            let path = join("", &entry.key);
            replace_all(&mut entry.value, &path, &mut lookup, sink);
        }
    }
    let used = lookup.used;
    for (name, _, flag) in given.vars {
        let is_declared = declared.as_ref().is_some_and(|vars| vars.get(name).is_some());
        if !is_declared && !used.contains(name) {
            let known = used.iter().map(String::as_str).chain(vars.keys().map(String::as_str));
            let help = suggestion(name, known.filter(|known| known != name))
                .map(|word| format!("did you mean `{word}`?"))
                .unwrap_or_else(|| "the scenario uses no variable of that name".to_string());
            let spot = super::diagnostics::Spot { source: *flag, span: 6..6 + name.len() };
            sink.error(&spot, "vars", format!("unknown variable {}", quoted(name)), help);
        }
    }
    write_vars(root, given, &vars);
}

/// The values of `vars`, with those of `--var` in their place, and the names that have none.
fn resolve_vars(
    root: &mut Node,
    given: &Given<'_>,
    sink: &mut Sink<'_>,
) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let flags: BTreeMap<String, String> =
        given.vars.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
    let none = BTreeMap::new();
    let mut lookup = Lookup::new(&none, given.env);
    let (mut vars, mut broken) = (flags.clone(), BTreeSet::new());
    let Kind::Map(entries) = &mut root.kind else { return (vars, broken) };
    let Some(Kind::Map(entries)) =
        entries.iter_mut().find(|entry| entry.key == "vars").map(|entry| &mut entry.value.kind)
    else {
        return (vars, broken);
    };
    for entry in entries.iter_mut().filter(|entry| !flags.contains_key(&entry.key)) {
        if let Kind::Scalar(_) = entry.value.kind {
            let path = join("vars", &entry.key);
            replace_all(&mut entry.value, &path, &mut lookup, sink);
        }
        match &entry.value.kind {
            Kind::Scalar(scalar) => {
                vars.insert(entry.key.clone(), scalar.text.clone());
            }
            // One mistake, one problem: whoever uses the variable stays silent.
            _ => {
                broken.insert(entry.key.clone());
            }
        }
    }
    (vars, broken)
}

/// Puts the values of `--var` into the tree, where the reader and `effective.yaml` see them.
fn write_vars(root: &mut Node, given: &Given<'_>, vars: &BTreeMap<String, String>) {
    let Kind::Map(entries) = &mut root.kind else { return };
    for (name, _, flag) in given.vars {
        let Some(text) = vars.get(name).cloned() else { continue };
        let spot = super::diagnostics::Spot { source: *flag, span: 6..6 + name.len() };
        let scalar = Scalar { text, plain: false, substituted: true };
        let value = Node { kind: Kind::Scalar(scalar), spot: spot.clone() };
        if !entries.iter().any(|entry| entry.key == "vars") {
            let value = Node { kind: Kind::Map(Vec::new()), spot: spot.clone() };
            entries.push(Entry { key: "vars".to_string(), key_spot: spot.clone(), value });
        }
        let Some(section) = entries.iter_mut().find(|entry| entry.key == "vars") else { continue };
        let Kind::Map(values) = &mut section.value.kind else { continue };
        match values.iter_mut().find(|entry| entry.key == *name) {
            Some(entry) => entry.value = value,
            None => values.push(Entry { key: name.clone(), key_spot: spot, value }),
        }
    }
}

fn replace_all(node: &mut Node, path: &str, lookup: &mut Lookup<'_>, sink: &mut Sink<'_>) {
    match &mut node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                replace_all(item, &format!("{path}[{index}]"), lookup, sink);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let path = join(path, &entry.key);
                if entry.key.contains("${") {
                    let message = "variables are not replaced in keys";
                    sink.error(&entry.key_spot, &path, message, "write the key out");
                }
                replace_all(&mut entry.value, &path, lookup, sink);
            }
        }
        Kind::Scalar(scalar) if !scalar.text.contains("${") => {}
        Kind::Scalar(scalar) => match lookup.substitute(&scalar.text) {
            Ok(text) => {
                scalar.substituted = true;
                scalar.text = text;
            }
            Err(errors) => {
                for error in errors.iter().filter(|error| !matches!(error, Error::Broken(_))) {
                    let help = help_for(error, lookup);
                    sink.error(&node.spot, path, error.to_string(), help);
                }
                node.kind = Kind::Failed;
            }
        },
        Kind::Failed => {}
    }
}

fn help_for(error: &Error, lookup: &Lookup<'_>) -> String {
    match error {
        Error::Unclosed => "close it with `}`, or write `$${` for the text `${`".to_string(),
        Error::Malformed(_) => {
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${...} for the text itself".to_string()
        }
        Error::Unset(name) => {
            let near = suggestion(name, lookup.vars.keys().map(String::as_str));
            let near = near.map(|near| format!("did you mean `{near}`? Else ")).unwrap_or_default();
            format!(
                "{near}set it in `vars`, with --var {name}=... or in the environment, or write ${{{name}:-default}}"
            )
        }
        Error::Required { name, .. } => {
            format!("set it in the environment, or with --var {name}=...")
        }
        Error::TooDeep | Error::TooLarge | Error::Broken(_) => "write the value out".to_string(),
    }
}

/// Adds the flags of `--var` to the sources and returns them with their number.
pub(crate) fn flags_of(vars: &[(String, String)], sources: &mut Sources) -> Vec<(String, String, usize)> {
    let mut flags = Vec::with_capacity(vars.len());
    for (name, value) in vars {
        let flag = sources.add_flag(format!("--var {name}={}", super::schema::mask_password(value)));
        flags.push((name.clone(), value.clone(), flag));
    }
    flags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Result<String, Error> {
        let vars = BTreeMap::from([("peak".to_string(), "500".to_string())]);
        let env = BTreeMap::from([
            ("peak".to_string(), "1".to_string()),
            ("HOST".to_string(), "h".to_string()),
            ("EMPTY".to_string(), String::new()),
        ]);
        Lookup::new(&vars, &env).substitute(text).map_err(|mut errors| errors.remove(0))
    }

    #[test]
    fn every_variable_without_a_value_is_named() {
        let none = BTreeMap::new();
        let errors = Lookup::new(&none, &none).substitute("${A} ${B:-${C}} ${D:-d}").expect_err("unset");
        assert_eq!(errors, ["A", "C"].map(|name| Error::Unset(name.into())));
    }

    #[test]
    fn vars_win_over_the_environment() {
        assert_eq!(expand("${peak} on ${HOST}").as_deref(), Ok("500 on h"));
    }

    #[test]
    fn a_default_stands_in_for_unset_and_empty_and_may_hold_variables() {
        assert_eq!(expand("${NO:-7}${EMPTY:-8}${EMPTY}").as_deref(), Ok("78"));
        assert_eq!(expand("${NO:-a${HOST}b}c").as_deref(), Ok("ahbc"));
        assert_eq!(expand("${NO:-{\"a\":1}}").as_deref(), Ok("{\"a\":1}"));
    }

    #[test]
    fn a_missing_variable_is_named_with_the_message_of_the_scenario() {
        assert_eq!(expand("${NO}"), Err(Error::Unset("NO".into())));
        let error = expand("${NO:?where is it}").expect_err("unset");
        assert_eq!(error.to_string(), "the variable `NO` is not set: where is it");
    }

    #[test]
    fn a_doubled_dollar_and_single_braces_are_themselves() {
        assert_eq!(expand("$${peak} {id} $5 $").as_deref(), Ok("${peak} {id} $5 $"));
        assert_eq!(expand("${"), Err(Error::Unclosed));
        assert_eq!(expand("${a b}"), Err(Error::Malformed("a b".into())));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}x{}", "${A:-".repeat(50_000), "}".repeat(50_000));
        assert_eq!(expand(&deep), Err(Error::TooDeep));
    }

    proptest! {
        #[test]
        fn escaping_every_opening_gives_the_text_back(text in "[${}a:-]{0,40}") {
            prop_assert_eq!(expand(&text.replace("${", "$${")), Ok(text));
        }
    }
}
