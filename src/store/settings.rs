//! What CONFIG GET and SET know: the names that clients ask for, and their values.

use std::borrow::Cow;

use super::command::{Failure, shown};
use super::glob;
use super::notify::Class;
use crate::wire::resp::parse_integer;

/// What a setting may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing else.
    Immutable,
    /// Any text.
    Text,
    /// `yes` or `no`.
    YesNo,
    /// A number from 0.
    Number,
    /// A number from -1.
    Signed,
    /// Classes of events.
    Events,
    /// Bytes, perhaps with a unit.
    Memory,
    /// A number between these two.
    Between(i64, i64),
    /// Bytes, perhaps with a unit, that fit in a signed number.
    Size,
}

#[derive(Debug, Clone)]
struct Setting {
    name: &'static str,
    rule: Rule,
    value: String,
}

/// The rule of what counts things.
const COUNT: Rule = Rule::Between(0, i64::MAX);

/// Names with their rule and the value that a server starts with.
const DEFAULTS: &[(&str, Rule, &str)] = &[
    ("activerehashing", Rule::YesNo, "yes"),
    ("appendfsync", Rule::Text, "everysec"),
    ("appendonly", Rule::Immutable, "no"),
    ("bind", Rule::Immutable, "127.0.0.1"),
    (
        "client-output-buffer-limit",
        Rule::Text,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    ),
    ("client-query-buffer-limit", Rule::Immutable, "1073741824"),
    ("cluster-enabled", Rule::Immutable, "no"),
    ("daemonize", Rule::Immutable, "no"),
    ("databases", Rule::Immutable, "16"),
    ("dbfilename", Rule::Text, "dump.rdb"),
    ("dir", Rule::Immutable, "/"),
    ("enable-debug-command", Rule::Immutable, "yes"),
    ("hash-max-listpack-entries", COUNT, "512"),
    ("hash-max-listpack-value", Rule::Size, "64"),
    ("hash-max-ziplist-entries", COUNT, "512"),
    ("hash-max-ziplist-value", Rule::Size, "64"),
    ("hz", Rule::Number, "10"),
    ("io-threads", Rule::Immutable, "1"),
    ("lazyfree-lazy-user-del", Rule::YesNo, "no"),
    ("lfu-decay-time", Rule::Number, "1"),
    ("lfu-log-factor", Rule::Number, "10"),
    ("list-max-listpack-size", Rule::Between(i32::MIN as i64, i32::MAX as i64), "-2"),
    ("list-max-ziplist-size", Rule::Between(i32::MIN as i64, i32::MAX as i64), "-2"),
    ("loglevel", Rule::Text, "notice"),
    ("lua-time-limit", Rule::Number, "5000"),
    ("maxclients", Rule::Number, "10000"),
    ("maxmemory", Rule::Memory, "0"),
    ("maxmemory-policy", Rule::Immutable, "noeviction"),
    ("maxmemory-samples", Rule::Number, "5"),
    ("notify-keyspace-events", Rule::Events, ""),
    ("port", Rule::Immutable, "6379"),
    ("proto-max-bulk-len", Rule::Memory, "536870912"),
    ("protected-mode", Rule::Immutable, "yes"),
    ("requirepass", Rule::Text, ""),
    ("save", Rule::Text, ""),
    ("set-max-intset-entries", COUNT, "512"),
    ("slowlog-log-slower-than", Rule::Signed, "10000"),
    ("slowlog-max-len", Rule::Number, "128"),
    ("stop-writes-on-bgsave-error", Rule::YesNo, "yes"),
    ("stream-node-max-bytes", Rule::Size, "4096"),
    ("stream-node-max-entries", COUNT, "100"),
    ("tcp-backlog", Rule::Immutable, "4096"),
    ("tcp-keepalive", Rule::Number, "300"),
    ("timeout", Rule::Number, "0"),
    ("zset-max-listpack-entries", COUNT, "128"),
    ("zset-max-listpack-value", Rule::Size, "64"),
    ("zset-max-ziplist-entries", COUNT, "128"),
    ("zset-max-ziplist-value", Rule::Size, "64"),
];

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings(Vec<Setting>);

impl Default for Settings {
    fn default() -> Settings {
        let setting = |&(name, rule, value): &(_, _, &str)| Setting { name, rule, value: value.to_string() };
        Settings(DEFAULTS.iter().map(setting).collect())
    }
}

impl Settings {
    /// Sets a value without asking whether it may be set, under both names of those that have two.
    pub fn put(&mut self, name: &str, value: String) {
        let name = newer_name(name);
        for setting in self.0.iter_mut().filter(|setting| newer_name(setting.name) == name) {
            setting.value.clone_from(&value);
        }
    }

    /// Names and values that match one of `patterns`. A name that is no pattern comes back as it was
    /// written.
    pub fn matching<'a>(
        &'a self,
        patterns: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<(&'a [u8], &'a str)> {
        let found = self.0.iter().filter_map(|setting| {
            let name = setting.name.as_bytes();
            let pattern = patterns.clone().find(|pattern| glob::matches(pattern, name, true))?;
            let is_name = memchr::memchr3(b'*', b'?', b'[', pattern).is_none();
            Some((if is_name { pattern } else { name }, setting.value.as_str()))
        });
        found.collect()
    }

    /// Checks that a setting may be set to a value; its own name and the value as it is kept.
    ///
    /// # Errors
    /// The texts of CONFIG SET.
    pub fn check(&self, name: &[u8], value: &[u8]) -> Result<(&'static str, String), Failure> {
        let setting = self.0.iter().find(|setting| setting.name.as_bytes().eq_ignore_ascii_case(name));
        let Some(setting) = setting else {
            let name = shown(name, 128);
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return Err(Failure(text.into()));
        };
        let refused = |why: &str| {
            let name = setting.name;
            let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
            Failure(text.into())
        };
        let text = String::from_utf8_lossy(value).into_owned();
        let value = match setting.rule {
            Rule::Immutable => Err("can't set immutable config"),
            Rule::Text => Ok(text),
            Rule::YesNo => match text.to_ascii_lowercase() {
                text if text == "yes" || text == "no" => Ok(text),
                _ => Err("argument must be 'yes' or 'no'"),
            },
            Rule::Number => match parse_integer(value) {
                Some(number) if number >= 0 => Ok(text),
                _ => Err("argument couldn't be parsed into an integer"),
            },
            Rule::Signed => match parse_integer(value) {
                Some(number) if number >= -1 => Ok(text),
                _ => Err("argument couldn't be parsed into an integer"),
            },
            Rule::Events => match Class::parse(value) {
                Some(_) => Ok(text),
                None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
            },
            Rule::Memory => match memory(&text) {
                Some(bytes) => Ok(bytes.to_string()),
                None => Err("argument must be a memory value"),
            },
            Rule::Size => match memory(&text) {
                Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes.to_string()),
                Some(_) => return Err(refused(&outside(0, i64::MAX))),
                None => Err("argument must be a memory value"),
            },
            Rule::Between(min, max) => match parse_integer(value) {
                Some(number) if (min..=max).contains(&number) => Ok(text),
                Some(_) => return Err(refused(&outside(min, max))),
                None => Err("argument couldn't be parsed into an integer"),
            },
        };
        value.map(|value| (setting.name, value)).map_err(refused)
    }
}

fn outside(min: i64, max: i64) -> String {
    format!("argument must be between {min} and {max} inclusive")
}

/// The name that a setting has had since the small forms are listpacks.
pub fn newer_name(name: &str) -> Cow<'_, str> {
    match name.contains("-ziplist-") {
        true => name.replace("-ziplist-", "-listpack-").into(),
        false => name.into(),
    }
}

/// Bytes with a unit as Redis writes them: `k` is 1000, `kb` 1024.
pub fn memory(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    // Without digits it is nothing.
    let number: u64 = if number.is_empty() { 0 } else { number.parse().ok()? };
    number.checked_mul(factor)
}
