//! What the line editor is told: how a command goes on, what it takes, and which lines are not kept.

use std::borrow::Cow;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::docs::Docs;
use crate::wire::resp::split_words;

/// Completion and hints from what the server says about its commands.
#[derive(Debug, Default)]
pub struct Assist {
    /// The commands.
    pub docs: Docs,
    /// Hints have a colour; without, there would be no telling them from what was typed, so there are none.
    pub colour: bool,
}

/// What a command still takes: shown, and never put into the line.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Hint for Shown {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Assist {
    fn names(&self, line: &str) -> Vec<String> {
        self.docs.beginning_with(line).into_iter().map(str::to_string).collect()
    }

    /// What can follow a line; with a blank before it where the line does not end with one.
    fn what_follows(&self, line: &str) -> Option<Shown> {
        let words = split_words(line.as_bytes()).ok()?;
        let words: Vec<String> =
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let (command, named_by) = self.docs.find(&words)?;
        let rest = command.rest(words.len() - named_by);
        let blank = if line.ends_with([' ', '\t']) { "" } else { " " };
        (!rest.is_empty()).then(|| Shown(format!("{blank}{rest}")))
    }
}

impl Helper for Assist {}

impl Validator for Assist {}

impl Completer for Assist {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, self.names(line.get(..pos).unwrap_or_default().trim_start())))
    }
}

impl Hinter for Assist {
    type Hint = Shown;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Shown> {
        if pos < line.len() || !self.colour { None } else { self.what_follows(line) }
    }
}

impl Highlighter for Assist {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.colour { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }
}

/// Whether a line may hold a password, and is better not kept.
pub fn is_secret(line: &str) -> bool {
    let line: String = line.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    // `-pass` as in `SENTINEL SET m auth-pass` and `CONFIG SET tls-key-file-pass`.
    let words = [
        " auth ",
        " auth2 ",
        "password",
        "requirepass",
        "masterauth",
        "acl setuser",
        "primaryauth",
        "-pass ",
    ];
    line == "auth" || line.starts_with("auth ") || words.iter().any(|word| line.contains(word))
}

/// Where lines are kept: `$XDG_STATE_HOME/runner/history`, or below `~/.local/state`.
pub fn history_file(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("runner/history"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::history::DefaultHistory;

    fn assist() -> Assist {
        Assist { docs: Docs::of_text_dialect(), colour: true }
    }

    #[test]
    fn commands_are_completed_from_any_case() {
        let history = DefaultHistory::new();
        let context = Context::new(&history);
        let complete = |line: &str| assist().complete(line, line.len(), &context).expect("it completes");
        assert_eq!(complete("de"), (0, vec!["DELETE".to_string()]));
        assert_eq!(complete("").1.len(), 6);
        assert!(complete("de ").1.is_empty() && complete("x").1.is_empty());
    }

    #[test]
    fn what_a_command_still_takes_is_shown_and_not_typed() {
        let hint = |line: &str| assist().what_follows(line).map(|shown| shown.0);
        assert_eq!(hint("set"), Some(" key value".to_string()));
        assert_eq!(hint("SET "), Some("key value".to_string()));
        assert_eq!(hint("SET user1 "), Some("value".to_string()));
        assert_eq!(hint("GET user1"), None);
        assert_eq!(hint("nothing "), None);
        assert_eq!(hint("SET \"open"), None);
        assert_eq!(Shown("key".to_string()).completion(), None);
        let history = DefaultHistory::new();
        let plain = Assist { colour: false, ..assist() };
        assert_eq!(plain.hint("set ", 4, &Context::new(&history)), None);
    }

    #[test]
    fn passwords_are_not_kept() {
        for line in [
            "AUTH secret",
            "auth user secret",
            " \"auth\" secret",
            "HELLO 3 AUTH default secret",
            "CONFIG SET requirepass secret",
            "config  set masterauth x",
            "ACL SETUSER ann on >secret",
            "MIGRATE h 1 k 0 1 AUTH secret",
            "SET password 1234",
            "SENTINEL SET m auth-pass secret",
            "SENTINEL CONFIG SET sentinel-pass secret",
            "CONFIG SET tls-key-file-pass secret",
            "config set tls-client-key-file-pass\tsecret",
        ] {
            assert!(is_secret(line), "{line}");
        }
        for line in ["GET a", "SET author me", "HELLO 3", "GET by-passes"] {
            assert!(!is_secret(line), "{line}");
        }
    }

    #[test]
    fn lines_are_kept_where_state_belongs() {
        let file = |state: Option<&str>, home: Option<&str>| {
            history_file(|name| if name == "HOME" { home.map(Into::into) } else { state.map(Into::into) })
        };
        assert_eq!(file(Some("/s"), Some("/h")), Some("/s/runner/history".into()));
        assert_eq!(file(None, Some("/h")), Some("/h/.local/state/runner/history".into()));
        assert_eq!(file(Some("relative"), None), None);
    }
}
