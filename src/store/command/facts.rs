//! What is known of each command of Redis 7.0 beyond its row: since when there is it, where its keys are,
//! what it takes. COMMAND answers from it.
//!
//! `facts.txt` has a line for each command and sub-command, with these fields between tabs:
//!
//! 1. its name,
//! 2. the version that has brought it,
//! 3. its group,
//! 4. its complexity,
//! 5. its categories of access control,
//! 6. tips for clients,
//! 7. where its keys are, see [`KeySpec`]: `<begin> <find> <flags> | <notes>`, several between `;`,
//! 8. marks (`deprecated`, `syscmd`), and the version since which it is deprecated,
//! 9. its arguments: `name:type#<key spec>@<since>~<deprecated since>?*+=<token> ( parts )`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Where the search for keys begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(i64),
    /// Behind this word, which is looked for from an argument on (negative: from the end backwards).
    Keyword(&'static str, i64),
    /// Nobody can tell: `?`.
    Unknown,
}

/// Which arguments from there on are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// `last/step/limit`: up to `last` behind the first, or so many before the end; of those the first
    /// `1/limit`.
    Range {
        /// The last one, from the first; negative: from the end.
        last: i64,
        /// From one key to the next.
        step: i64,
        /// The part of the arguments that are keys, as divisor; 0 for all.
        limit: i64,
    },
    /// `#count/first/step`: an argument says how many.
    KeyNumber {
        /// Where the number is.
        index: i64,
        /// Where the first key is.
        first: i64,
        /// From one key to the next.
        step: i64,
    },
    /// Nobody can tell: `?`.
    Unknown,
}

/// Some of the keys of a command.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: Begin,
    /// Which arguments are keys.
    pub find: Find,
    /// What happens to them: words.
    pub flags: &'static str,
    /// What a reader should know.
    pub notes: Option<&'static str>,
}

impl KeySpec {
    /// Whether one of its flags is this one.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|own| own == flag)
    }
}

/// What is known of one command.
#[derive(Debug, Default)]
pub struct Facts {
    /// The version that has brought it.
    pub since: &'static str,
    /// Its group.
    pub group: &'static str,
    /// A formula; empty when there is none.
    pub complexity: &'static str,
    /// Its categories of access control, without `@`, in Redis's order.
    pub categories: &'static str,
    /// Tips for clients.
    pub tips: &'static str,
    /// Where its keys are.
    pub keys: Vec<KeySpec>,
    /// Marks.
    pub marks: &'static str,
    /// Since when it is deprecated.
    pub deprecated_since: Option<&'static str>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

/// One argument of a command.
#[derive(Debug, Default)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Which of the [`KeySpec`]s it belongs to.
    pub key: Option<i64>,
    /// The word that stands before it, or that it is.
    pub token: Option<&'static str>,
    /// The version that has brought it.
    pub since: Option<&'static str>,
    /// Since when it is deprecated.
    pub deprecated_since: Option<&'static str>,
    /// `?` optional, `*` several, `+` several, each with its token.
    pub marks: &'static str,
    /// What it is made of.
    pub parts: Vec<Argument>,
}

static FACTS: LazyLock<HashMap<&'static str, Facts>> =
    LazyLock::new(|| include_str!("facts.txt").lines().filter_map(parse).collect());
static UNKNOWN: LazyLock<Facts> = LazyLock::new(Facts::default);

/// What is known of a command, by its full name in lower case.
pub fn of(name: &str) -> &'static Facts {
    FACTS.get(name).unwrap_or(&UNKNOWN)
}

fn parse(line: &'static str) -> Option<(&'static str, Facts)> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let name = next()?;
    let (since, group, complexity, categories, tips) = (next()?, next()?, next()?, next()?, next()?);
    let keys = next()?.split("; ").filter(|spec| !spec.is_empty()).map(key_spec).collect::<Option<_>>()?;
    let marks = next()?;
    let (marks, version) = marks.rsplit_once(' ').unwrap_or((marks, ""));
    let is_version = version.starts_with(|c: char| c.is_ascii_digit());
    let mut words = next()?.split_ascii_whitespace().peekable();
    let arguments = arguments(&mut words)?;
    let deprecated_since = is_version.then_some(version);
    let facts =
        Facts { since, group, complexity, categories, tips, keys, marks, deprecated_since, arguments };
    Some((name, facts))
}

fn key_spec(text: &'static str) -> Option<KeySpec> {
    let (place, notes) = match text.split_once(" | ") {
        Some((place, notes)) => (place, Some(notes)),
        None => (text, None),
    };
    let (begin, rest) = place.split_once(' ')?;
    let (find, flags) = rest.split_once(' ')?;
    let begin = match begin.split_once(':') {
        Some((word, from)) => Begin::Keyword(word, from.parse().ok()?),
        None if begin == "?" => Begin::Unknown,
        None => Begin::Index(begin.parse().ok()?),
    };
    let three = |text: &str| {
        let mut numbers = text.split('/').map(|number| number.parse::<i64>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    let find = match find.strip_prefix('#') {
        Some(numbers) => {
            let (index, first, step) = three(numbers)?;
            Find::KeyNumber { index, first, step }
        }
        None if find == "?" => Find::Unknown,
        None => {
            let (last, step, limit) = three(find)?;
            Find::Range { last, step, limit }
        }
    };
    Some(KeySpec { begin, find, flags, notes })
}

type Words = std::iter::Peekable<std::str::SplitAsciiWhitespace<'static>>;

/// Arguments up to a closing bracket, or the end.
fn arguments(words: &mut Words) -> Option<Vec<Argument>> {
    let mut found: Vec<Argument> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            ")" => break,
            "(" => found.last_mut()?.parts = arguments(words)?,
            word => found.push(argument(word)?),
        }
    }
    Some(found)
}

fn argument(word: &'static str) -> Option<Argument> {
    let (head, token) = match word.split_once('=') {
        Some((head, token)) => (head, Some(token)),
        None => (word, None),
    };
    let (name, rest) = head.rsplit_once(':')?;
    let (rest, marks) = rest.split_at(rest.find(['?', '*', '+']).unwrap_or(rest.len()));
    let (rest, deprecated_since) = split(rest, '~');
    let (rest, since) = split(rest, '@');
    let (kind, key) = split(rest, '#');
    let key = key.and_then(|key| key.parse().ok());
    Some(Argument { name, kind, key, token, since, deprecated_since, marks, parts: Vec::new() })
}

fn split(text: &'static str, at: char) -> (&'static str, Option<&'static str>) {
    text.split_once(at).map_or((text, None), |(text, rest)| (text, Some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        for line in include_str!("facts.txt").lines() {
            assert!(parse(line).is_some(), "{line}");
        }
        assert!(FACTS.len() > 350);
    }

    #[test]
    fn keys_and_arguments_are_read_from_their_short_form() {
        let migrate = of("migrate");
        assert_eq!(migrate.keys[1].begin, Begin::Keyword("KEYS", -2));
        assert_eq!(migrate.keys[1].find, Find::Range { last: -1, step: 1, limit: 0 });
        assert!(migrate.keys[1].has("incomplete") && !migrate.keys[0].has("incomplete"));
        assert_eq!(of("eval").keys[0].find, Find::KeyNumber { index: 0, first: 1, step: 1 });
        let set = of("set");
        assert!(set.keys[0].notes.is_some());
        let expiration = &set.arguments[4];
        assert_eq!((expiration.kind, expiration.marks, expiration.parts.len()), ("oneof", "?", 5));
        assert_eq!((expiration.parts[2].token, expiration.parts[2].since), (Some("EXAT"), Some("6.2.0")));
        assert_eq!(of("client|kill").arguments[0].parts[0].name, "ip:port");
        assert_eq!(of("substr").deprecated_since, Some("2.0.0"));
    }
}
