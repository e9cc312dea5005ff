//! What CONFIG GET and SET know: every setting of Redis 7.0, whether it means something here or not.

mod table;

use std::borrow::Cow;

use super::command::{Failure, shown};
use super::engine::OutputLimit;
use super::glob;
use super::notify::Class;
use crate::wire::resp::parse_integer;

/// What a setting may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing else.
    Immutable,
    /// Nothing else, because it could do harm.
    Protected,
    /// `yes` or `no`.
    YesNo,
    /// A number from the first to the second.
    Integer(i64, i64),
    /// Bytes from the first to the second, perhaps with a unit.
    Memory(u64, u64),
    /// Bytes, or a part of all memory.
    Percent,
    /// One of these words.
    One(&'static [&'static str]),
    /// Some of these words.
    Several(&'static [&'static str]),
    /// Any text.
    Text,
    /// Classes of events.
    Events,
    /// How much output may wait.
    OutputLimits,
    /// After how many seconds and changes to save.
    Save,
    /// Three numbers for the kernel.
    OomScores,
    /// Numbers from 0 to 100.
    Percentiles,
    /// The name of a host.
    Hostname,
    /// Text with places for the title of the process.
    Title,
    /// Where the server listens: only what it is already.
    Listening,
}

/// A setting.
#[derive(Debug)]
struct Row {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    /// It is an older name of this one.
    newer: Option<&'static str>,
}

/// The values of all settings.
#[derive(Debug, Clone)]
pub struct Settings(Vec<String>);

impl Default for Settings {
    fn default() -> Settings {
        Settings(table::ROWS.iter().map(|row| row.default.to_string()).collect())
    }
}

/// A setting that may be set.
pub struct Setting {
    row: &'static Row,
}

impl Setting {
    /// Its name; the newer one where it has two.
    pub fn name(&self) -> &'static str {
        self.row.newer.unwrap_or(self.row.name)
    }

    /// Why it cannot be set to what was wanted.
    pub fn refused(&self, why: impl std::fmt::Display) -> Failure {
        let name = self.row.name;
        Failure(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into())
    }
}

fn position(name: &str) -> Option<usize> {
    table::ROWS.binary_search_by(|row| row.name.cmp(name)).ok()
}

impl Settings {
    /// Sets a value without asking whether it may be set.
    pub fn put(&mut self, name: &str, value: String) {
        if let Some(value_of) = position(newer_name(name)).and_then(|position| self.0.get_mut(position)) {
            *value_of = value;
        }
    }

    /// The value of a setting; empty when there is no such setting.
    pub fn get(&self, name: &str) -> &str {
        position(newer_name(name)).and_then(|position| self.0.get(position)).map_or("", String::as_str)
    }

    /// The value of a setting that is a number.
    pub fn number(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Names and values that match one of `patterns`. A name that is no pattern comes back as it was
    /// written.
    pub fn matching<'a>(
        &'a self,
        patterns: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<(&'a [u8], Cow<'a, str>)> {
        let found = table::ROWS.iter().filter_map(|row| {
            let name = row.name.as_bytes();
            let pattern = patterns.clone().find(|pattern| glob::matches(pattern, name, true))?;
            let is_name = memchr::memchr3(b'*', b'?', b'[', pattern).is_none();
            let value = self.get(row.name);
            let value = match row.kind {
                Kind::Events => Class::parse(value.as_bytes()).unwrap_or_default().to_string().into(),
                _ => Cow::from(value),
            };
            Some((if is_name { pattern } else { name }, value))
        });
        found.collect()
    }

    /// Finds the settings that are to be set.
    ///
    /// # Errors
    /// The texts of CONFIG SET: one of them is unknown, must stay as it is, or is named twice.
    pub fn find<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Setting>, Failure> {
        let mut found: Vec<Setting> = Vec::new();
        for name in names {
            let lower = name.to_ascii_lowercase();
            let row = std::str::from_utf8(&lower).ok().and_then(position).and_then(|at| table::ROWS.get(at));
            let Some(row) = row else {
                let name = shown(name, usize::MAX);
                let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
                return Err(Failure(text.into()));
            };
            let setting = Setting { row };
            match kind_of(row) {
                Kind::Immutable => return Err(setting.refused("can't set immutable config")),
                Kind::Protected => return Err(setting.refused("can't set protected config")),
                _ if found.iter().any(|other| std::ptr::eq(other.row, row)) => {
                    return Err(setting.refused("duplicate parameter"));
                }
                _ => found.push(setting),
            }
        }
        Ok(found)
    }

    /// Reads the new value of a setting, as it is kept and shown.
    ///
    /// # Errors
    /// The texts of CONFIG SET.
    pub fn check(&self, setting: &Setting, value: &[u8]) -> Result<String, Failure> {
        let text = String::from_utf8_lossy(value).into_owned();
        let old = self.get(setting.row.name);
        check(kind_of(setting.row), setting.name(), old, &text).map_err(|why| setting.refused(why))
    }
}

fn kind_of(row: &Row) -> Kind {
    let newer = row.newer.and_then(position).and_then(|position| table::ROWS.get(position));
    newer.unwrap_or(row).kind
}

type Checked = Result<String, Cow<'static, str>>;

fn check(kind: Kind, name: &str, old: &str, text: &str) -> Checked {
    match kind {
        Kind::Immutable | Kind::Protected => Err("can't set immutable config".into()),
        Kind::Text => Ok(text.into()),
        Kind::YesNo => match text.to_ascii_lowercase() {
            text if text == "yes" || text == "no" => Ok(text),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Kind::Integer(min, max) => match parse_integer(text.as_bytes()) {
            Some(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            Some(_) => Err(outside(min, max)),
            None => Err("argument couldn't be parsed into an integer".into()),
        },
        Kind::Memory(min, max) => match memory(text) {
            Some(bytes) if (min..=max).contains(&bytes) => Ok(bytes.to_string()),
            Some(_) => Err(outside(min, max)),
            None => Err("argument must be a memory value".into()),
        },
        Kind::Percent => percent(text),
        Kind::One(words) => word(words, text).map(str::to_string).ok_or_else(|| not_among(words)),
        Kind::Several(words) => several(words, text),
        Kind::Events => match Class::parse(text.as_bytes()) {
            Some(_) => Ok(text.into()),
            None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        },
        Kind::OutputLimits => OutputLimits::read(old)
            .unwrap_or_default()
            .changed(text)
            .map(|limits| limits.to_string())
            .map_err(Cow::from),
        Kind::Save => save(text),
        Kind::OomScores => oom_scores(text),
        Kind::Percentiles => percentiles(text),
        Kind::Hostname if text.len() >= 256 => Err("Hostnames must be less than 256 characters".into()),
        Kind::Hostname => match text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
            true => Ok(text.into()),
            false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into()),
        },
        Kind::Title => title(text),
        // The socket of a running store stays where it is.
        Kind::Listening if text == old => Ok(text.into()),
        Kind::Listening if name == "bind" => Err("Failed to bind to specified addresses.".into()),
        Kind::Listening => match check(Kind::Integer(0, 65535), name, old, text) {
            Ok(_) => Err("Unable to listen on this port. Check server logs.".into()),
            refused => refused,
        },
    }
}

fn outside(min: impl std::fmt::Display, max: impl std::fmt::Display) -> Cow<'static, str> {
    format!("argument must be between {min} and {max} inclusive").into()
}

fn not_among(words: &[&str]) -> Cow<'static, str> {
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

fn word(words: &[&'static str], text: &str) -> Option<&'static str> {
    words.iter().copied().find(|word| word.eq_ignore_ascii_case(text))
}

fn several(words: &[&'static str], text: &str) -> Checked {
    let found: Option<Vec<_>> = text.split(' ').map(|text| word(words, text)).collect();
    let mut found = found.ok_or_else(|| not_among(words))?;
    if found.contains(&"save") && found.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    found.sort_by_key(|word| words.iter().position(|other| other == word));
    found.dedup();
    Ok(found.join(" "))
}

fn percent(text: &str) -> Checked {
    let invalid = "argument must be a memory or percent value";
    let Some(number) = text.strip_suffix('%') else {
        return memory(text).map(|bytes| bytes.to_string()).ok_or(invalid.into());
    };
    match number.parse::<u64>() {
        Ok(0..=100) => Ok(text.to_string()),
        Ok(_) => Err("percentage argument must be less or equal to 100".into()),
        Err(_) => Err(invalid.into()),
    }
}

/// Pairs of seconds and changes.
fn save(text: &str) -> Checked {
    let invalid = || Cow::from("Invalid save parameters");
    let numbers: Option<Vec<i64>> =
        text.split(' ').filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect();
    let numbers = numbers.ok_or_else(invalid)?;
    let are_valid =
        numbers.chunks(2).all(|pair| matches!(*pair, [seconds, changes] if seconds >= 1 && changes >= 0));
    if !are_valid {
        return Err(invalid());
    }
    Ok(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
}

fn oom_scores(text: &str) -> Checked {
    let words: Vec<&str> = text.split(' ').collect();
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let are_valid = words.iter().all(|word| matches!(word.parse::<i64>(), Ok(-2000..=2000)));
    match are_valid {
        true => Ok(text.into()),
        false => Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into()),
    }
}

fn percentiles(text: &str) -> Checked {
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match word.parse::<f64>() {
            Ok(number) if (0.0..=100.0).contains(&number) => {}
            Ok(_) => {
                let why = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
                return Err(why.into());
            }
            Err(_) => return Err("Invalid latency-tracking-info-percentiles parameters".into()),
        }
    }
    Ok(text.into())
}

fn title(text: &str) -> Checked {
    const PLACES: [&str; 6] =
        ["{title}", "{listen-addr}", "{server-mode}", "{port}", "{tls-port}", "{unixsocket}"];
    let mut rest = text.to_string();
    for place in PLACES.iter().chain(&["{config-file}"]) {
        rest = rest.replace(place, "");
    }
    match !text.is_empty() && !rest.contains(['{', '}']) {
        true => Ok(text.into()),
        false => Err("template format is invalid or contains unknown variables".into()),
    }
}

/// `client-output-buffer-limit`, for each kind of client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that ask and are answered.
    pub normal: OutputLimit,
    /// Replicas.
    replica: OutputLimit,
    /// Clients that listen to channels.
    pub subscriber: OutputLimit,
}

impl OutputLimits {
    /// Reads the value of the setting; `None` when it is none.
    pub fn read(text: &str) -> Option<OutputLimits> {
        OutputLimits::default().changed(text).ok()
    }

    /// Takes over the limits of the kinds of clients that are named.
    fn changed(mut self, text: &str) -> Result<OutputLimits, &'static str> {
        let words: Vec<&str> = text.split(' ').collect();
        if text.is_empty() {
            return Ok(self);
        }
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.");
        }
        for limit in words.chunks(4) {
            let [class, hard, soft, seconds] = *limit else { continue };
            let place = match class.to_ascii_lowercase().as_str() {
                "normal" => &mut self.normal,
                "slave" | "replica" => &mut self.replica,
                "pubsub" => &mut self.subscriber,
                _ => return Err("Invalid client class specified in buffer limit configuration."),
            };
            let numbers = (memory(hard), memory(soft), seconds.parse::<u32>());
            let (Some(hard), Some(soft), Ok(soft_seconds)) = numbers else {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
            };
            *place = OutputLimit { hard: hard as usize, soft: soft as usize, soft_seconds };
        }
        Ok(self)
    }
}

impl std::fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |limit: OutputLimit| format!("{} {} {}", limit.hard, limit.soft, limit.soft_seconds);
        let (normal, replica, subscriber) = (shown(self.normal), shown(self.replica), shown(self.subscriber));
        write!(f, "normal {normal} slave {replica} pubsub {subscriber}")
    }
}

/// The newer name of a setting that has two.
pub fn newer_name(name: &str) -> &str {
    let row = position(name).and_then(|position| table::ROWS.get(position));
    row.and_then(|row| row.newer).unwrap_or(name)
}

/// Bytes with a unit as Redis writes them: `k` is 1000, `kb` 1024. What is too large is the largest number.
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
    let number = if number.is_empty() { 0 } else { number.parse::<u64>().unwrap_or(u64::MAX) };
    Some(number.wrapping_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_default_may_be_set() {
        assert!(table::ROWS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(table::ROWS.len(), 192);
        let settings = Settings::default();
        for row in table::ROWS {
            let kind = kind_of(row);
            if kind == Kind::Immutable || kind == Kind::Protected {
                continue;
            }
            let name = newer_name(row.name);
            let (row, value) = (&table::ROWS[position(name).expect("its row")], settings.get(name));
            let kept = settings.check(&Setting { row }, value.as_bytes());
            assert_eq!(kept.as_deref(), Ok(value), "{name}");
        }
    }

    #[test]
    fn both_names_of_a_setting_are_one() {
        let mut settings = Settings::default();
        settings.put("slave-priority", "7".into());
        assert_eq!((settings.get("replica-priority"), settings.number("slave-priority")), ("7", 7));
        assert_eq!(newer_name("zset-max-ziplist-value"), "zset-max-listpack-value");
    }

    #[test]
    fn limits_of_output_are_changed_one_by_one() {
        let limits = OutputLimits::default().changed("pubsub 1mb 2k 5").expect("a limit");
        assert_eq!(limits.subscriber, OutputLimit { hard: 1 << 20, soft: 2000, soft_seconds: 5 });
        assert_eq!(limits.to_string(), "normal 0 0 0 slave 0 0 0 pubsub 1048576 2000 5");
        assert!(limits.changed("master 1 2 3").is_err() && limits.changed("normal 1 2").is_err());
    }
}
