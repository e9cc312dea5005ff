//! What a server's commands are called and take, as its `COMMAND DOCS` says.
//!
//! A server may say anything: nothing in it can steer the terminal, and what is kept of it is bounded.

use std::borrow::Cow;

use super::paint;
use crate::wire::resp::Value;

/// Commands and sub-commands that are kept; Redis 7 has 370.
const MAX_COMMANDS: usize = 4096;
/// Arguments that are kept of a command.
const MAX_ARGUMENTS: usize = 64;
/// Bytes of a text.
const MAX_TEXT: usize = 1024;
/// Levels of arguments in arguments; Redis 7 has four.
const MAX_NESTING: usize = 6;

/// A command, or a command with its sub-command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// In capitals: `GET`, `CONFIG GET`.
    pub name: String,
    /// What it takes, each as it is shown.
    pub arguments: Vec<Argument>,
    /// What it does.
    pub summary: String,
    /// Since which version.
    pub since: String,
    /// Its family.
    pub group: String,
}

/// What a command takes in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// `key`, `[EX seconds]`, `member [member ...]`
    pub shown: String,
    /// It may stand there any number of times.
    pub repeats: bool,
}

impl Command {
    /// The name and all that it takes.
    pub fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| argument.shown.as_str());
        joined(std::iter::once(self.name.as_str()).chain(arguments), " ")
    }

    /// What can still follow `given` arguments.
    pub fn rest(&self, given: usize) -> String {
        let mut left = given;
        let rest = self.arguments.iter().skip_while(|argument| {
            let is_past = left > 0 && !argument.repeats;
            left = left.saturating_sub(1);
            is_past
        });
        joined(rest.map(|argument| argument.shown.as_str()), " ")
    }
}

/// All commands, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Docs(Vec<Command>);

impl Docs {
    /// Reads the reply to COMMAND DOCS; what cannot be understood is left out.
    pub fn read(reply: &Value) -> Docs {
        let mut commands = Vec::new();
        for (name, facts) in reply.pairs() {
            read_command(name, facts, &mut commands);
        }
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        Docs(commands)
    }

    /// The commands of the text dialect.
    pub fn of_text_dialect() -> Docs {
        let takes = |name: &str| match name {
            "SET" => &["key", "value"][..],
            "GET" | "DELETE" => &["key"],
            _ => &[],
        };
        let argument = |shown: &&str| Argument { shown: (*shown).to_string(), repeats: *shown == "value" };
        let mut names = crate::wire::text::COMMANDS;
        names.sort_unstable();
        let commands = names.iter().map(|name| Command {
            name: (*name).to_string(),
            arguments: takes(name).iter().map(argument).collect(),
            ..Command::default()
        });
        Docs(commands.collect())
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The command that `words` begin with, a sub-command before its container, and how many words name it.
    pub fn find(&self, words: &[impl AsRef<str>]) -> Option<(&Command, usize)> {
        (1..=words.len().min(2)).rev().find_map(|count| {
            let name: Vec<&str> = words[..count].iter().map(AsRef::as_ref).collect();
            let name = name.join(" ").to_ascii_uppercase();
            let at = self.0.binary_search_by(|command| command.name.as_str().cmp(&name)).ok()?;
            Some((&self.0[at], count))
        })
    }

    /// The names that begin with `prefix`, of as many words as it.
    pub fn beginning_with(&self, prefix: &str) -> Vec<&str> {
        let prefix = prefix.to_ascii_uppercase();
        let words = prefix.matches(' ').count();
        let names = self.0.iter().map(|command| command.name.as_str());
        names.filter(|name| name.starts_with(&prefix) && name.matches(' ').count() == words).collect()
    }
}

fn text(value: &Value) -> String {
    let text = value.text().unwrap_or_default();
    cut(paint::visible(&text[..text.len().min(MAX_TEXT)]))
}

/// The beginning of a text that is too long.
fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The parts with something between them, as far as they are shown.
fn joined<'a>(parts: impl Iterator<Item = impl Into<Cow<'a, str>>>, between: &str) -> String {
    let mut all = String::new();
    for (index, part) in parts.enumerate() {
        if all.len() >= MAX_TEXT {
            break;
        }
        if index > 0 {
            all.push_str(between);
        }
        all.push_str(&part.into());
    }
    cut(all)
}

fn field<'a>(facts: &'a Value, name: &str) -> Option<&'a Value> {
    facts.pairs().into_iter().find(|(key, _)| key.text() == Some(name.as_bytes())).map(|(_, value)| value)
}

fn read_command(name: &Value, facts: &Value, commands: &mut Vec<Command>) {
    let of = |name| field(facts, name).map(text).unwrap_or_default();
    let name = text(name).replace('|', " ").to_ascii_uppercase();
    if name.is_empty() || commands.len() == MAX_COMMANDS {
        return;
    }
    let arguments = field(facts, "arguments").and_then(Value::items).unwrap_or_default();
    commands.push(Command {
        name,
        arguments: arguments.iter().take(MAX_ARGUMENTS).map(|facts| read_argument(facts, 1)).collect(),
        summary: of("summary"),
        since: of("since"),
        group: of("group"),
    });
    for (name, facts) in field(facts, "subcommands").map(Value::pairs).unwrap_or_default() {
        read_command(name, facts, commands);
    }
}

/// `level`: 1 for what stands behind the name, 2 for what that consists of.
fn read_argument(facts: &Value, level: usize) -> Argument {
    let of = |name| field(facts, name).map(text).filter(|text| !text.is_empty());
    let flags = field(facts, "flags").and_then(Value::items).unwrap_or_default();
    let is = |flag: &str| flags.iter().any(|value| value.text() == Some(flag.as_bytes()));
    let parts = |between: &str| {
        let parts = field(facts, "arguments").and_then(Value::items).unwrap_or_default();
        let parts = if level < MAX_NESTING { parts } else { &[] };
        joined(parts.iter().map(|part| read_argument(part, level + 1).shown), between)
    };
    let token = of("token");
    let kind = of("type").unwrap_or_default();
    let inner = match kind.as_str() {
        "pure-token" => String::new(),
        "oneof" => parts("|"),
        "block" => parts(" "),
        _ => of("display_text").or_else(|| of("name")).unwrap_or_default(),
    };
    let with_token = |inner: &str| match &token {
        Some(token) if inner.is_empty() => token.clone(),
        Some(token) => format!("{token} {inner}"),
        None => inner.to_string(),
    };
    let repeats = is("multiple");
    let shown = match (repeats, is("multiple_token")) {
        (false, _) => with_token(&inner),
        (true, false) => with_token(&format!("{inner} [{inner} ...]")),
        (true, true) => format!("{0} [{0} ...]", with_token(&inner)),
    };
    // Each level may double what it holds, so each is cut.
    Argument { shown: cut(if is("optional") { format!("[{shown}]") } else { shown }), repeats }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::Decoder;

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn read(bytes: &str) -> Docs {
        let (_, value) = Decoder::default().decode(bytes.as_bytes()).expect("valid");
        Docs::read(&value.expect("whole"))
    }

    /// Commands as a server describes them, in RESP3; in RESP2 with arrays in place of maps.
    fn described(resp3: bool) -> Docs {
        let map = |pairs: &[(&str, String)]| {
            let head =
                if resp3 { format!("%{}\r\n", pairs.len()) } else { format!("*{}\r\n", pairs.len() * 2) };
            head + &pairs.iter().map(|(name, value)| bulk(name) + value).collect::<String>()
        };
        let array = |items: &[String]| format!("*{}\r\n", items.len()) + &items.concat();
        let argument = |name: &str, kind: &str, more: &[(&str, String)]| {
            map(&[&[("name", bulk(name)), ("type", bulk(kind))], more].concat())
        };
        let flags = |names: &[&str]| {
            let items: Vec<String> = names.iter().map(|name| format!("+{name}\r\n")).collect();
            ("flags", array(&items))
        };
        let token = |text: &str| ("token", bulk(text));
        let set = array(&[
            argument("key", "key", &[]),
            argument("value", "string", &[]),
            argument(
                "condition",
                "oneof",
                &[
                    flags(&["optional"]),
                    (
                        "arguments",
                        array(&[
                            argument("nx", "pure-token", &[token("NX")]),
                            argument("xx", "pure-token", &[token("XX")]),
                        ]),
                    ),
                ],
            ),
            argument("seconds", "integer", &[token("EX"), flags(&["optional"])]),
        ]);
        let del = array(&[argument("key", "key", &[flags(&["multiple"])])]);
        let get = map(&[("arguments", array(&[argument("parameter", "string", &[flags(&["multiple"])])]))]);
        let bytes = map(&[
            ("set", map(&[("summary", bulk("Sets a key")), ("since", bulk("1.0.0")), ("arguments", set)])),
            ("del", map(&[("arguments", del)])),
            ("config", map(&[("subcommands", map(&[("config|get", get)]))])),
        ]);
        read(&bytes)
    }

    #[test]
    fn both_protocols_describe_the_same() {
        assert_eq!(described(true), described(false));
        assert!(!described(true).is_empty() && Docs::read(&Value::Null).is_empty());
    }

    #[test]
    fn what_a_command_takes_is_shown_as_people_write_it() {
        let docs = described(true);
        let (set, _) = docs.find(&["set"]).expect("known");
        assert_eq!(set.usage(), "SET key value [NX|XX] [EX seconds]");
        assert_eq!((set.summary.as_str(), set.since.as_str()), ("Sets a key", "1.0.0"));
        assert_eq!(set.rest(1), "value [NX|XX] [EX seconds]");
        assert_eq!(set.rest(9), "");
        let (del, _) = docs.find(&["DEL"]).expect("known");
        assert_eq!((del.rest(0), del.rest(5)), ("key [key ...]".to_string(), "key [key ...]".to_string()));
    }

    #[test]
    fn sub_commands_are_found_before_their_container() {
        let docs = described(true);
        let found = |words: &[&str]| docs.find(words).map(|(command, count)| (command.name.as_str(), count));
        assert_eq!(found(&["config", "get", "x"]), Some(("CONFIG GET", 2)));
        assert_eq!(found(&["config", "nothing"]), Some(("CONFIG", 1)));
        assert_eq!(found(&["nothing"]), None);
        assert_eq!(docs.beginning_with("con"), ["CONFIG"]);
        assert_eq!(docs.beginning_with("config g"), ["CONFIG GET"]);
        assert_eq!(docs.beginning_with(""), ["CONFIG", "DEL", "SET"]);
    }

    /// One command `x` whose only argument consists of another, and so on, each of any number.
    fn nested(levels: usize) -> Docs {
        let flags = format!("{}*1\r\n+multiple\r\n", bulk("flags"));
        let kind = |kind: &str| bulk("type") + &bulk(kind);
        let mut argument = format!("%3\r\n{}{}{flags}", bulk("name") + &bulk("n"), kind("string"));
        for _ in 1..levels {
            let inner = format!("{}*1\r\n{argument}", bulk("arguments"));
            argument = format!("%3\r\n{}{flags}{inner}", kind("block"));
        }
        read(&format!("%1\r\n{}%1\r\n{}*1\r\n{argument}", bulk("x"), bulk("arguments")))
    }

    #[test]
    fn what_a_server_says_cannot_grow_without_bound() {
        let usage = |docs: &Docs| docs.find(&["x"]).map(|(x, _)| x.usage()).expect("known");
        assert_eq!(usage(&nested(1)), "X n [n ...]");
        assert_eq!(usage(&nested(2)), "X n [n ...] [n [n ...] ...]");
        let names = |levels| usage(&nested(levels)).matches('n').count();
        assert_eq!((names(MAX_NESTING), names(MAX_NESTING + 1)), (1 << MAX_NESTING, 0));
        // A long name is cut, and so is what is made of it.
        let long = |len: usize| {
            let argument = format!("%1\r\n{}{}", bulk("name"), bulk(&"é".repeat(len / 2)));
            read(&format!("%1\r\n{}%1\r\n{}*1\r\n{argument}", bulk("x"), bulk("arguments")))
        };
        let shown = |docs: &Docs| docs.find(&["x"]).map(|(x, _)| x.arguments[0].shown.len());
        assert_eq!(shown(&long(MAX_TEXT)), Some(MAX_TEXT));
        assert_eq!(shown(&long(MAX_TEXT + 2)), Some(MAX_TEXT));
        assert!(usage(&long(MAX_TEXT)).len() <= MAX_TEXT);
        // So are lists of arguments, and of commands.
        let arguments = |count: usize| {
            let all = format!("%1\r\n{}{}", bulk("name"), bulk("n")).repeat(count);
            let docs = read(&format!("%1\r\n{}%1\r\n{}*{count}\r\n{all}", bulk("x"), bulk("arguments")));
            docs.find(&["x"]).map(|(x, _)| x.arguments.len())
        };
        assert_eq!(arguments(MAX_ARGUMENTS), Some(MAX_ARGUMENTS));
        assert_eq!(arguments(MAX_ARGUMENTS + 1), Some(MAX_ARGUMENTS));
        let commands = |count: usize| {
            let all: String = (0..count).map(|n| bulk(&format!("c{n}")) + "%0\r\n").collect();
            read(&format!("%{count}\r\n{all}")).0.len()
        };
        assert_eq!((commands(MAX_COMMANDS), commands(MAX_COMMANDS + 1)), (MAX_COMMANDS, MAX_COMMANDS));
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let steering = "\x1b]0;x\x07\r\u{9b}2J";
        let argument = format!("%2\r\n{}{}", bulk("name") + &bulk(steering), bulk("token") + &bulk(steering));
        let facts =
            format!("%2\r\n{}{}*1\r\n{argument}", bulk("summary") + &bulk(steering), bulk("arguments"));
        let docs = read(&format!("%2\r\n{}{facts}{}%0\r\n", bulk("x"), bulk(&format!("y{steering}"))));
        let (x, _) = docs.find(&["x"]).expect("known");
        let shown = [x.usage(), x.rest(0), x.summary.clone(), docs.beginning_with("").join(" ")].concat();
        assert!(shown.contains("]0;x") && !shown.contains(char::is_control), "{shown:?}");
    }

    #[test]
    fn the_text_dialect_has_six_commands() {
        let docs = Docs::of_text_dialect();
        assert_eq!(docs.beginning_with(""), ["DELETE", "GET", "LIST", "PING", "QUIT", "SET"]);
        assert_eq!(docs.find(&["set"]).map(|(set, _)| set.rest(1)), Some("value".to_string()));
        assert_eq!(docs.find(&["list"]).map(|(list, _)| list.rest(0)), Some(String::new()));
    }
}
