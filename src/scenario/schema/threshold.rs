//! The words of a threshold: what is measured, how it is summed up, and what it is held against.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::super::diagnostics::{listed, quoted, suggestion};
use super::Word;
use crate::units::{Nanos, Tps, Unit};

/// Characters of a condition.
const MAX_TEXT: usize = 300;

/// What must hold for the run to pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threshold {
    /// The condition, such as `response_time p(99) < 50ms`.
    pub check: Condition,
    /// The stage that is looked at; None for all but warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Time from the start, of the run or of the stage, before it is looked at.
    pub after: Nanos,
    /// How long it must be broken, second by second, before it counts.
    #[serde(rename = "for")]
    pub hold_for: Nanos,
    /// Whether the run ends as soon as it fails.
    pub abort: bool,
    /// The verdict when nothing was measured.
    pub no_data: NoData,
}

impl Threshold {
    /// A condition with every other key at its default.
    pub fn new(check: Condition) -> Threshold {
        let stage = check.stage.clone();
        Threshold {
            check,
            stage,
            after: Nanos::ZERO,
            hold_for: Nanos::ZERO,
            abort: false,
            no_data: NoData::Fail,
        }
    }

    /// What stands beside the condition, in words; empty where nothing does.
    pub fn terms(&self) -> String {
        let mut terms = Vec::new();
        // A stage that stands in the condition is seen there.
        if let Some(stage) = self.stage.as_ref().filter(|_| self.check.stage.is_none()) {
            terms.push(format!("stage {stage}"));
        }
        for (word, time) in [("after", self.after), ("for", self.hold_for)] {
            if time > Nanos::ZERO {
                terms.push(format!("{word} {time}"));
            }
        }
        if self.abort {
            terms.push("abort".to_string());
        }
        if self.no_data == NoData::Pass {
            terms.push("no_data pass".to_string());
        }
        terms.join(", ")
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.terms();
        if terms.is_empty() { write!(f, "{}", self.check) } else { write!(f, "{} ({terms})", self.check) }
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ThresholdInFile::json_schema(generator)
    }
}

words! {
    /// The verdict of a threshold for which nothing was measured.
    NoData {
        /// It passes.
        Pass = "pass",
        /// It fails.
        Fail = "fail",
    } later []
}

/// A threshold as it stands in the file.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Threshold")]
#[expect(dead_code, reason = "only its JSON Schema is used")]
enum ThresholdInFile {
    /// The condition alone, such as `response_time p(99) < 50ms`.
    Check(String),
    /// The condition with its terms.
    Full(ThresholdTerms),
}

/// A condition and its terms.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its JSON Schema is used")]
struct ThresholdTerms {
    /// The condition, such as `response_time p(99) < 50ms`.
    check: String,
    /// The stage that is looked at; null for all but warm-up.
    #[schemars(default)]
    stage: Option<String>,
    /// Time from the start, of the run or of the stage, before it is looked at.
    #[schemars(default)]
    after: Nanos,
    /// How long it must be broken, second by second, before it counts.
    #[schemars(default, rename = "for")]
    hold_for: Nanos,
    /// Whether the run ends as soon as it fails.
    #[schemars(default)]
    abort: bool,
    /// The verdict when nothing was measured: pass or fail.
    no_data: Option<NoData>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// Received minus intended, of matched requests.
    ResponseTime,
    /// Received minus sent, of matched requests.
    ServiceTime,
    /// Sent minus intended, of sent requests.
    Lag,
    /// How long opening a connection took.
    ConnectTime,
    /// How long calls of Lua hooks took.
    ScriptTime,
    /// Sent, and no answer came: the connection failed, or the time-out ended it.
    Failed,
    /// Sent, and the time-out ended it.
    TimedOut,
    /// Came due and was not sent.
    Dropped,
    /// Did not get the answer it wanted: dropped, failed, timed out, or answered with an error.
    Error,
    /// Answered, but the response is not where it should be.
    Lost,
    /// Answered twice.
    Duplicate,
    /// How far the rate that was sent lay from the one that was due.
    RateError,
    /// The share of a processor that a worker used.
    GeneratorCpu,
    /// A counter of the script.
    Counter(String),
    /// A check of the script.
    Check(String),
    /// All checks of the script.
    Checks,
}

/// The metrics that are one word. A second word for one stands behind it.
static METRICS: [(&str, Metric); 15] = [
    ("response_time", Metric::ResponseTime),
    ("service_time", Metric::ServiceTime),
    ("lag", Metric::Lag),
    ("connect_time", Metric::ConnectTime),
    ("script_time", Metric::ScriptTime),
    ("failed", Metric::Failed),
    ("timed_out", Metric::TimedOut),
    ("dropped", Metric::Dropped),
    ("error", Metric::Error),
    ("errors", Metric::Error),
    ("lost", Metric::Lost),
    ("duplicate", Metric::Duplicate),
    ("rate_error", Metric::RateError),
    ("generator.cpu", Metric::GeneratorCpu),
    ("checks", Metric::Checks),
];

impl Metric {
    /// Whether it is known for each second and stage; the others are known when the run is over.
    pub fn is_windowed(&self) -> bool {
        match self {
            Metric::ResponseTime
            | Metric::ServiceTime
            | Metric::Lag
            | Metric::Failed
            | Metric::TimedOut
            | Metric::Dropped
            | Metric::Error
            | Metric::RateError => true,
            Metric::ConnectTime
            | Metric::ScriptTime
            | Metric::Lost
            | Metric::Duplicate
            | Metric::GeneratorCpu
            | Metric::Counter(_)
            | Metric::Check(_)
            | Metric::Checks => false,
        }
    }

    /// How it can be summed up: the words, and the one that is meant where none stands there.
    fn ways(&self) -> (&'static [&'static str], Option<Aggregate>) {
        match self {
            Metric::ResponseTime | Metric::ServiceTime | Metric::Lag | Metric::ConnectTime => {
                (&["p(99)", "min", "max", "mean", "count", "rate"], None)
            }
            Metric::ScriptTime => (&["max", "mean", "count", "rate"], None),
            Metric::Failed
            | Metric::TimedOut
            | Metric::Dropped
            | Metric::Error
            | Metric::Lost
            | Metric::Duplicate
            | Metric::Check(_)
            | Metric::Checks => (&["rate", "count"], None),
            Metric::RateError => (&["max", "mean"], Some(Aggregate::Max)),
            Metric::GeneratorCpu => (&["max", "mean", "min"], Some(Aggregate::Max)),
            Metric::Counter(_) => (&["count", "rate"], Some(Aggregate::Count)),
        }
    }

    /// Whether more of it is worse, at the same rate.
    fn is_worse_higher(&self, aggregate: Aggregate) -> bool {
        match self {
            Metric::ResponseTime
            | Metric::ServiceTime
            | Metric::Lag
            | Metric::ConnectTime
            | Metric::ScriptTime => !matches!(aggregate, Aggregate::Count | Aggregate::Rate),
            Metric::Failed
            | Metric::TimedOut
            | Metric::Dropped
            | Metric::Error
            | Metric::Lost
            | Metric::Duplicate
            | Metric::RateError
            | Metric::GeneratorCpu
            | Metric::Counter(_) => true,
            Metric::Check(_) | Metric::Checks => false,
        }
    }

    fn unit(&self, aggregate: Aggregate) -> Unit {
        let is_time = matches!(
            self,
            Metric::ResponseTime
                | Metric::ServiceTime
                | Metric::Lag
                | Metric::ConnectTime
                | Metric::ScriptTime
        );
        match aggregate {
            Aggregate::Count => Unit::Count,
            Aggregate::Rate if is_time || matches!(self, Metric::Counter(_)) => Unit::PerSecond,
            _ if is_time => Unit::Time,
            _ => Unit::Share,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Counter(name) => write!(f, "counter.{name}"),
            Metric::Check(name) => write!(f, "check.{name}"),
            plain => {
                let word = METRICS.iter().find(|(_, metric)| metric == plain).map_or("", |(word, _)| *word);
                f.write_str(word)
            }
        }
    }
}

/// How what is measured becomes one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregate {
    /// A percentile, from 0 to 100.
    Percentile(f64),
    /// The least.
    Min,
    /// The most.
    Max,
    /// The mean.
    Mean,
    /// How many.
    Count,
    /// How many of all, or how many in a second.
    Rate,
}

impl Aggregate {
    /// Reads `p(99)`, `p99.9`, `max` and so on.
    fn parse(text: &str) -> Option<Aggregate> {
        Some(match text {
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "mean" | "avg" => Aggregate::Mean,
            "med" | "median" => Aggregate::Percentile(50.0),
            "count" => Aggregate::Count,
            "rate" => Aggregate::Rate,
            _ => {
                let number = text.strip_prefix('p')?;
                let inside = number.strip_prefix('(').map(|rest| rest.strip_suffix(')'));
                let number = inside.unwrap_or(Some(number))?.trim();
                let is_number = |c: char| c.is_ascii_digit() || c == '.';
                if !number.chars().all(is_number) {
                    return None;
                }
                Aggregate::Percentile(number.parse().ok()?)
            }
        })
    }

    /// The word among those of [`Metric::ways`].
    fn word(self) -> &'static str {
        match self {
            Aggregate::Percentile(_) => "p(99)",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Mean => "mean",
            Aggregate::Count => "count",
            Aggregate::Rate => "rate",
        }
    }
}

/// How a value is held against its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

impl Comparison {
    const WORDS: [(&str, Comparison); 6] = [
        ("<", Comparison::Below),
        ("<=", Comparison::AtMost),
        (">", Comparison::Above),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("!=", Comparison::Unequal),
    ];

    /// Whether a value keeps to the bound.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Comparison::Below => value < bound,
            Comparison::AtMost => value <= bound,
            Comparison::Above => value > bound,
            Comparison::AtLeast => value >= bound,
            Comparison::Equal => value == bound,
            Comparison::Unequal => value != bound,
        }
    }
}

/// A condition such as `response_time p(99) < 50ms`, as it was written and as it is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: String,
    /// What is measured.
    pub metric: Metric,
    /// The stage, where the condition names it: `lag{stage:up} p(99) < 1ms`.
    pub stage: Option<String>,
    /// How it becomes one number.
    pub aggregate: Aggregate,
    /// How that is held against the bound.
    pub comparison: Comparison,
    /// The bound: nanoseconds, a share from 0 to 1, a number, or a number per second.
    pub bound: f64,
}

/// What is wrong with a condition, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// The parts of a condition that are written apart in a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is measured.
    Metric,
    /// What it is held against.
    Bound,
}

fn misread<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Misread> {
    Err(Misread { message: message.into(), help: help.into() })
}

const EXAMPLE: &str = "write one such as \"response_time p(99) < 50ms\" or \"failed rate < 1%\"";

impl Condition {
    /// Reads `METRIC[{stage:NAME}] [AGGREGATE] COMPARISON BOUND`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Condition, Misread> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return misread(format!("a condition of {} characters", text.len()), EXAMPLE);
        }
        // The bound holds none of these, so the last one ends the comparison; names may hold them.
        let is_comparison = |c: char| "<>=!".contains(c);
        let Some(end) = text.rfind(is_comparison) else {
            return misread(format!("{} compares nothing", quoted(text)), EXAMPLE);
        };
        let left = text[..=end].trim_end_matches(is_comparison);
        let comparison = comparison(&text[left.len()..=end])?;
        let (metric, stage, aggregate) = measured(left.trim())?;
        let bound = bound(&metric, metric.unit(aggregate), text[end + 1..].trim())?;
        Ok(Condition { text: text.to_string(), metric, stage, aggregate, comparison, bound })
    }

    /// `METRIC [AGGREGATE] < BOUND`, of which metric and bound are written apart: a figure that is worse
    /// the higher it is.
    ///
    /// # Errors
    /// What is wrong with the metric or, where that is right, with the bound.
    pub fn below(metric: &str, bound: &str) -> Result<Condition, (Part, Misread)> {
        let metric = metric.trim();
        let of_metric = |misread| (Part::Metric, misread);
        let (what, stage, aggregate) = measured(metric).map_err(of_metric)?;
        if stage.is_some() || !what.is_worse_higher(aggregate) {
            let message = match stage {
                Some(_) => "a stage cannot be named here".to_string(),
                None => format!("{} is not worse the higher it is", quoted(metric)),
            };
            let help = "write one such as \"response_time p(99)\" or \"failed rate\"; whatever else is to hold \
                        in each trial is a threshold";
            return Err(of_metric(Misread { message, help: help.to_string() }));
        }
        let whole = format!("{metric} < {}", bound.trim());
        Condition::parse(&whole).map_err(|misread| (Part::Bound, misread))
    }

    /// What its values and its bound are.
    pub fn unit(&self) -> Unit {
        self.metric.unit(self.aggregate)
    }

    /// Whether a value keeps to it.
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.bound)
    }

    /// Whether it cannot be broken before the run is over: a number that is still to be reached.
    pub fn waits_for_the_end(&self) -> bool {
        let must_be_reached = matches!(self.comparison, Comparison::Above | Comparison::AtLeast);
        let may_be_passed = matches!(self.comparison, Comparison::Equal | Comparison::Unequal);
        self.aggregate == Aggregate::Count && (must_be_reached || may_be_passed && self.bound > 0.0)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn comparison(word: &str) -> Result<Comparison, Misread> {
    if let Some((_, comparison)) = Comparison::WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(*comparison);
    }
    let words = Comparison::WORDS.map(|(word, _)| word);
    let help = if word == "=" { "write ==".to_string() } else { format!("write {}", listed(&words)) };
    misread(format!("{} is no comparison", quoted(word)), help)
}

/// What stands left of the comparison.
fn measured(left: &str) -> Result<(Metric, Option<String>, Aggregate), Misread> {
    for (prefix, of_name) in [
        ("counter.", Metric::Counter as fn(String) -> Metric),
        ("check.", Metric::Check as fn(String) -> Metric),
    ] {
        let Some(rest) = left.strip_prefix(prefix) else { continue };
        // A name is whatever the script calls it, so only a last word that sums up is none of it.
        let (name, way) = match rest.rsplit_once(char::is_whitespace) {
            Some((name, way)) if Aggregate::parse(way).is_some() => (name.trim(), way),
            _ => (rest.trim(), ""),
        };
        if name.is_empty() {
            return misread(format!("{} names nothing", quoted(left)), format!("write {prefix}NAME"));
        }
        let metric = of_name(name.to_string());
        let aggregate = aggregate(&metric, way)?;
        return Ok((metric, None, aggregate));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let word = &left[..left.find(|c: char| !is_word(c)).unwrap_or(left.len())];
    let Some((_, metric)) = METRICS.iter().find(|(known, _)| *known == word) else {
        return unknown_metric(word);
    };
    let rest = left[word.len()..].trim_start();
    let (stage, way) = match rest.strip_prefix('{') {
        None => (None, rest),
        Some(inside) => {
            let Some((label, rest)) = inside.split_once('}') else {
                return misread("a brace is open", "write {stage:NAME}");
            };
            let name = label.split_once(':').filter(|(key, _)| key.trim() == "stage").map(|(_, name)| name);
            match name.map(str::trim).filter(|name| !name.is_empty()) {
                Some(name) => (Some(name.to_string()), rest.trim()),
                None => {
                    return misread(format!("{{{label}}} says nothing here"), "write {stage:NAME}");
                }
            }
        }
    };
    Ok((metric.clone(), stage, aggregate(metric, way)?))
}

fn unknown_metric<T>(word: &str) -> Result<T, Misread> {
    let mut words: Vec<&str> =
        METRICS.iter().map(|(word, _)| *word).filter(|word| *word != "errors").collect();
    words.extend(["counter.NAME", "check.NAME"]);
    let help = match suggestion(word, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", listed(&words)),
    };
    let message = match word {
        "" => "nothing is measured".to_string(),
        word => format!("{} is nothing that is measured", quoted(word)),
    };
    misread(message, help)
}

fn aggregate(metric: &Metric, way: &str) -> Result<Aggregate, Misread> {
    let (words, default) = metric.ways();
    let help = format!("{metric} has {}", listed(words).replace(" or ", " and "));
    if way.is_empty() {
        return default.map_or_else(|| misread(format!("which figure of {metric} is not said"), help), Ok);
    }
    let Some(aggregate) = Aggregate::parse(way) else {
        return misread(format!("{} is no figure of {metric}", quoted(way)), help);
    };
    match aggregate {
        Aggregate::Percentile(p) if !(0.0..=100.0).contains(&p) => {
            misread(format!("{} is no percentile", quoted(way)), "write a number from 0 to 100")
        }
        _ if words.contains(&aggregate.word()) => Ok(aggregate),
        _ => misread(format!("{metric} has no {}", quoted(way)), help),
    }
}

fn bound(metric: &Metric, unit: Unit, text: &str) -> Result<f64, Misread> {
    let wrong = |what: &str, help: &str| misread(format!("{} is no {what}", quoted(text)), help);
    let number = |text: &str| text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    match unit {
        Unit::Time => {
            time_ns(text).map_or_else(|| wrong("time", "write a time with a unit, such as 50ms or 800us"), Ok)
        }
        Unit::Share => {
            let share = match text.strip_suffix('%') {
                Some(percent) => number(percent.trim_end()).map(|percent| percent / 100.0),
                None => number(text),
            };
            match share {
                Some(share) if (0.0..=1.0).contains(&share) => Ok(share),
                _ => wrong("share", "write a share such as 1% or 0.01, at most 100%"),
            }
        }
        Unit::PerSecond => {
            let of_counter = matches!(metric, Metric::Counter(_)).then(|| number(text)).flatten();
            let rate = of_counter.or_else(|| text.parse::<Tps>().ok().map(Tps::as_f64));
            rate.map_or_else(|| wrong("rate", "write a number per second, such as 950 or \"6000/m\""), Ok)
        }
        Unit::Count => match number(text) {
            Some(count) if count >= 0.0 || matches!(metric, Metric::Counter(_)) => Ok(count),
            _ => wrong("number", "write a number such as 0 or 1000"),
        },
    }
}

/// A time such as `50ms` or `1.5ms`, in nanoseconds.
fn time_ns(text: &str) -> Option<f64> {
    if let Ok(Nanos(ns)) = text.parse::<Nanos>() {
        return Some(ns as f64);
    }
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic() || c == 'µ')?);
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return None,
    };
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let number = number.trim_end();
    number.chars().all(is_number).then(|| number.parse::<f64>().ok()).flatten().map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Condition {
        Condition::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    #[test]
    fn every_metric_is_read_with_every_figure_that_it_has() {
        let names = METRICS.iter().map(|(word, _)| (*word).to_string());
        for name in names.chain(["counter.retries".to_string(), "check.has an id".to_string()]) {
            let metric = measured(&format!("{name} count")).or_else(|_| measured(&name)).expect("known").0;
            for way in metric.ways().0 {
                let aggregate = Aggregate::parse(way).expect("a figure");
                let bound = match metric.unit(aggregate) {
                    Unit::Time => "1ms",
                    Unit::Share => "1%",
                    Unit::Count | Unit::PerSecond => "1",
                };
                let condition = read(&format!("{name} {way} <= {bound}"));
                assert_eq!((&condition.metric, condition.aggregate), (&metric, aggregate), "{name} {way}");
            }
        }
    }

    #[test]
    fn spaces_are_free_and_bounds_have_the_unit_of_their_figure() {
        let bounds = [
            ("response_time p(99)<50ms", 50e6),
            ("response_time p99.9 < 1.5ms", 1.5e6),
            ("lag max <= 800us", 8e5),
            ("lag max < 0", 0.0),
            ("failed rate < 1%", 0.01),
            ("failed rate < 0.5 %", 0.005),
            ("error rate == 0", 0.0),
            ("response_time rate >= 6000/m", 100.0),
            ("lost count == 0", 0.0),
            ("response_time count > 10_000", 1e4),
            ("counter.retries < -1.5", -1.5),
            ("generator.cpu < 85%", 0.85),
        ];
        for (text, bound) in bounds {
            assert_eq!(read(text).bound, bound, "{text}");
        }
        let staged = read("response_time { stage : up } p(50) < 1s");
        assert_eq!((staged.stage.as_deref(), staged.aggregate), (Some("up"), Aggregate::Percentile(50.0)));
        assert_eq!(read("check.a < b rate > 99%").metric, Metric::Check("a < b".to_string()));
    }

    #[test]
    fn what_cannot_be_meant_says_what_to_write() {
        let wrong = [
            ("", "compares nothing"),
            ("response_time p(99)", "compares nothing"),
            ("response_tiem p(99) < 50ms", "nothing that is measured"),
            ("< 5", "nothing is measured"),
            ("response_time < 50ms", "which figure"),
            ("response_time p(101) < 50ms", "no percentile"),
            ("response_time p(-1) < 50ms", "no figure"),
            ("response_time p(nan) < 50ms", "no figure"),
            ("failed p(99) < 5", "has no `p(99)`"),
            ("script_time p(99) < 5ms", "has no `p(99)`"),
            ("response_time p(99) = 50ms", "no comparison"),
            ("response_time p(99) <> 50ms", "no comparison"),
            ("response_time p(99) < 50", "no time"),
            ("response_time p(99) < -5ms", "no time"),
            ("response_time p(99) < infms", "no time"),
            ("failed rate < 5", "no share"),
            ("failed rate < 101%", "no share"),
            ("failed rate < nan", "no share"),
            ("failed count < -1", "no number"),
            ("response_time rate > -5", "no rate"),
            ("lag{phase:up} max < 1s", "says nothing"),
            ("lag{stage:up max < 1s", "brace is open"),
            ("counter. > 5", "names nothing"),
        ];
        for (text, expected) in wrong {
            let found = Condition::parse(text).expect_err(text);
            assert!(found.message.contains(expected) && !found.help.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn metric_and_bound_may_be_written_apart_where_less_is_better() {
        let condition = Condition::below("response_time p(99)", "50ms").expect("read");
        assert_eq!((condition.to_string().as_str(), condition.bound), ("response_time p(99) < 50ms", 50e6));
        assert!(Condition::below("failed rate", "1%").is_ok() && Condition::below("lag max", "1ms").is_ok());
        for metric in
            ["response_time", "response_time count", "checks rate", "lag{stage:up} max", "p(99)", ""]
        {
            let wrong = Condition::below(metric, "50ms").expect_err(metric);
            assert!(wrong.0 == Part::Metric && !wrong.1.help.is_empty(), "{metric}");
        }
        for bound in ["50", "5%", "", "< 5ms"] {
            let wrong = Condition::below("response_time p(99)", bound).expect_err(bound);
            assert_eq!(wrong.0, Part::Bound, "{bound}");
        }
    }

    #[test]
    fn a_number_that_is_still_to_be_reached_is_known_at_the_end() {
        let waits = ["response_time count > 5", "failed count == 3", "error count != 3"];
        let does_not = ["failed count == 0", "failed count < 5", "response_time rate > 5", "lag p(50) > 1us"];
        assert!(waits.iter().all(|text| read(text).waits_for_the_end()));
        assert!(!does_not.iter().any(|text| read(text).waits_for_the_end()));
    }
}
