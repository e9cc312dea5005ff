//! What a server's commands are called and take, as its `COMMAND DOCS` says.

use crate::wire::resp::Value;

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
        let arguments: Vec<&str> = self.arguments.iter().map(|argument| argument.shown.as_str()).collect();
        [&[self.name.as_str()], &arguments[..]].concat().join(" ")
    }

    /// What can still follow `given` arguments.
    pub fn rest(&self, given: usize) -> String {
        let mut left = given;
        let rest = self.arguments.iter().skip_while(|argument| {
            let is_past = left > 0 && !argument.repeats;
            left = left.saturating_sub(1);
            is_past
        });
        rest.map(|argument| argument.shown.as_str()).collect::<Vec<_>>().join(" ")
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
    value.text().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

fn field<'a>(facts: &'a Value, name: &str) -> Option<&'a Value> {
    facts.pairs().into_iter().find(|(key, _)| key.text() == Some(name.as_bytes())).map(|(_, value)| value)
}

fn read_command(name: &Value, facts: &Value, commands: &mut Vec<Command>) {
    let of = |name| field(facts, name).map(text).unwrap_or_default();
    let name = text(name).replace('|', " ").to_ascii_uppercase();
    if name.is_empty() {
        return;
    }
    let arguments = field(facts, "arguments").and_then(Value::items).unwrap_or_default();
    commands.push(Command {
        name,
        arguments: arguments.iter().map(read_argument).collect(),
        summary: of("summary"),
        since: of("since"),
        group: of("group"),
    });
    for (name, facts) in field(facts, "subcommands").map(Value::pairs).unwrap_or_default() {
        read_command(name, facts, commands);
    }
}

fn read_argument(facts: &Value) -> Argument {
    let of = |name| field(facts, name).map(text).filter(|text| !text.is_empty());
    let flags = field(facts, "flags").and_then(Value::items).unwrap_or_default();
    let is = |flag: &str| flags.iter().any(|value| value.text() == Some(flag.as_bytes()));
    let parts = || field(facts, "arguments").and_then(Value::items).unwrap_or_default();
    let joined = |between: &str| {
        parts().iter().map(|part| read_argument(part).shown).collect::<Vec<_>>().join(between)
    };
    let token = of("token");
    let kind = of("type").unwrap_or_default();
    let inner = match kind.as_str() {
        "pure-token" => String::new(),
        "oneof" => joined("|"),
        "block" => joined(" "),
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
    Argument { shown: if is("optional") { format!("[{shown}]") } else { shown }, repeats }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::Decoder;

    /// Commands as a server describes them, in RESP3; in RESP2 with arrays in place of maps.
    fn described(resp3: bool) -> Docs {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
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
        let (_, value) = Decoder::default().decode(bytes.as_bytes()).expect("valid");
        Docs::read(&value.expect("whole"))
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

    #[test]
    fn the_text_dialect_has_six_commands() {
        let docs = Docs::of_text_dialect();
        assert_eq!(docs.beginning_with(""), ["DELETE", "GET", "LIST", "PING", "QUIT", "SET"]);
        assert_eq!(docs.find(&["set"]).map(|(set, _)| set.rest(1)), Some("value".to_string()));
        assert_eq!(docs.find(&["list"]).map(|(list, _)| list.rest(0)), Some(String::new()));
    }
}
