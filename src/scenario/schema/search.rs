//! The words of a search for the highest rate that keeps a limit.

use schemars::JsonSchema;
use serde::Serialize;

use super::stage::RateInFile;
use super::threshold::Condition;
use crate::units::{Nanos, Share, Tps};

/// A search for the highest rate that keeps a limit. Its trials are runs with a warm-up and one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "SearchInFile")]
pub struct Search {
    /// What is measured in a trial, as in a threshold: `response_time p(99)`.
    pub metric: String,
    /// What it has to stay below, as it was written.
    pub limit: String,
    /// Metric and limit as they are meant.
    pub condition: Condition,
    /// The rate of the first trial.
    pub from: Tps,
    /// The highest rate that is tried.
    pub to: Tps,
    /// How long each trial measures.
    pub trial: Nanos,
    /// How long each trial sends before it measures.
    pub warmup: Nanos,
    /// How near the limit is found: the search ends when the lowest rate that breaks it lies no further above
    /// the highest that holds.
    pub resolution: Share,
    /// The share of requests that may go without the answer they wanted in a trial that holds.
    pub errors: Share,
}

impl Search {
    /// The warm-up where none is written.
    pub const DEFAULT_WARMUP: Nanos = Nanos::from_secs(2);
    /// The trial where none is written.
    pub const DEFAULT_TRIAL: Nanos = Nanos::from_secs(15);
    /// The resolution where none is written: 2 %.
    pub const DEFAULT_RESOLUTION: Share = Share::from_millionths(20_000);
    /// The stage of a trial that is measured.
    pub const TRIAL: &'static str = "trial";
    /// The stage before it.
    pub const WARMUP: &'static str = "warmup";
}

/// A search as it stands in the file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Search")]
#[schemars(deny_unknown_fields)]
struct SearchInFile {
    /// What is measured in a trial, as in a threshold: `response_time p(99)`, `failed rate`.
    metric: String,
    /// What it has to stay below: a time, a share or a number, as the metric is.
    #[schemars(with = "LimitInFile")]
    limit: String,
    /// The rate of the first trial.
    from: RateInFile,
    /// The highest rate that is tried.
    to: RateInFile,
    /// How long each trial measures.
    #[schemars(default = "default_trial")]
    trial: Nanos,
    /// How long each trial sends before it measures.
    #[schemars(default = "default_warmup")]
    warmup: Nanos,
    /// How near the limit is found, as a share of the rate.
    #[schemars(default = "default_resolution")]
    resolution: Share,
    /// The share of requests that may fail, time out, be dropped or be answered with an error in a trial that
    /// holds.
    #[schemars(default)]
    errors: Share,
}

fn default_trial() -> Nanos {
    Search::DEFAULT_TRIAL
}

fn default_warmup() -> Nanos {
    Search::DEFAULT_WARMUP
}

fn default_resolution() -> Share {
    Search::DEFAULT_RESOLUTION
}

/// A limit, in the schema only.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its JSON Schema is used")]
enum LimitInFile {
    /// With its unit, such as 50ms or 1%.
    Text(String),
    /// A plain number.
    Number(f64),
}

impl From<Search> for SearchInFile {
    fn from(search: Search) -> SearchInFile {
        SearchInFile {
            metric: search.metric,
            limit: search.limit,
            from: RateInFile(search.from),
            to: RateInFile(search.to),
            trial: search.trial,
            warmup: search.warmup,
            resolution: search.resolution,
            errors: search.errors,
        }
    }
}

impl JsonSchema for Search {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Search".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        SearchInFile::json_schema(generator)
    }
}
