//! The words of the load: who sends, when, and what.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::{Stage, Word};
use crate::units::Nanos;

/// How many requests are sent when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "LoadInFile")]
pub struct Load {
    /// Where requests come from.
    pub model: Model,
    /// How the requests of a stage are spread over its time.
    pub arrivals: Arrivals,
    /// How exactly a request leaves at its due time.
    pub pacing: Pacing,
    /// What happens to a request that is due while every connection is full.
    pub on_overload: OnOverload,
    /// A request that would leave later than this is dropped and counted.
    pub max_lateness: Nanos,
    /// How long the run waits for responses after its last request.
    pub graceful_stop: Nanos,
    /// The stages of the open model, one after the other.
    pub stages: Vec<Stage>,
    /// The users of the closed model; None for as many as there are connections.
    pub users: Option<u32>,
    /// The requests of the closed model, over all users.
    pub requests: Option<u64>,
    /// How long the closed model lasts. Exactly one of this and `requests` is set.
    pub duration: Option<Nanos>,
    /// How long a user waits after a response.
    pub think: Think,
    /// The time over which the users begin.
    pub ramp_up: Nanos,
    /// The kinds of requests; empty where each request sends its record.
    pub mix: Vec<MixKind>,
}

impl Load {
    /// The given stages with every other key at its default.
    pub fn with_stages(stages: Vec<Stage>) -> Load {
        Load {
            model: Model::Open,
            arrivals: Arrivals::Uniform,
            pacing: Pacing::Auto,
            on_overload: OnOverload::Queue,
            max_lateness: default_max_lateness(),
            graceful_stop: default_graceful_stop(),
            stages,
            users: None,
            requests: None,
            duration: None,
            think: Think::default(),
            ramp_up: Nanos::ZERO,
            mix: Vec::new(),
        }
    }
}

fn default_max_lateness() -> Nanos {
    Nanos::from_secs(2)
}

fn default_graceful_stop() -> Nanos {
    Nanos::from_secs(10)
}

words! {
    /// Where requests come from.
    Model {
        /// Arrivals per second, whether or not earlier requests were answered.
        Open = "open",
        /// Users, each of whom waits for a response before the next request.
        Closed = "closed",
    } later []
}

words! {
    /// How the requests of a stage are spread over its time.
    Arrivals {
        /// Evenly: each request at the time the rate curve gives it.
        Uniform = "uniform",
        /// At random with the same planned total, as independent users would arrive.
        Poisson = "poisson",
    } later []
}

words! {
    /// How exactly a request leaves at its due time.
    Pacing {
        /// Exact where there is a core for it, relaxed otherwise.
        Auto = "auto",
        /// Spend processor time to be on time.
        Exact = "exact",
        /// Sleep until the due time; late by what the timers of the machine are late.
        Relaxed = "relaxed",
    } later []
}

words! {
    /// What happens to a request that is due while every connection is full.
    OnOverload {
        /// Send it late; its lateness is part of its response time.
        Queue = "queue",
        /// Do not send it; it is counted as dropped.
        Drop = "drop",
        /// End the run.
        Fail = "fail",
    } later []
}

/// How long a user thinks. `from` is not above `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(into = "ThinkInFile")]
pub struct Think {
    /// At least.
    pub from: Nanos,
    /// At most.
    pub to: Nanos,
}

/// A think time as it stands in the file: one duration, or from and to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Think")]
enum ThinkInFile {
    /// Always the same.
    Fixed(Nanos),
    /// Anything between, each as likely.
    Between(Between),
}

/// The shortest and the longest think time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Between {
    /// At least.
    from: Nanos,
    /// At most.
    to: Nanos,
}

impl From<Think> for ThinkInFile {
    fn from(Think { from, to }: Think) -> ThinkInFile {
        if from == to { ThinkInFile::Fixed(from) } else { ThinkInFile::Between(Between { from, to }) }
    }
}

/// One kind of request in a mix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct MixKind {
    /// Name in the reports; unique in the mix. The first word of the payload where it is not written.
    #[schemars(default, regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub name: String,
    /// How often it comes, relative to the others.
    #[schemars(default = "default_weight", range(min = 1))]
    pub weight: u32,
    /// Template of what is sent: `{key}`, `{value}` and `{id}` of the record, `{n}` of the request.
    pub payload: String,
}

impl MixKind {
    /// The weight of a kind that names none.
    pub const DEFAULT_WEIGHT: u32 = 1;
}

fn default_weight() -> u32 {
    MixKind::DEFAULT_WEIGHT
}

/// A load as it stands in the file: the keys of its model, and those of both.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Load")]
#[schemars(deny_unknown_fields, transform = one_end)]
struct LoadInFile {
    /// Where requests come from. `closed` where `users`, `requests` or `duration` stand here.
    #[schemars(default = "default_model")]
    model: Model,
    /// How the requests of a stage are spread over its time. Open model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrivals: Option<Arrivals>,
    /// How exactly a request leaves at its due time.
    #[schemars(default = "default_pacing")]
    pacing: Pacing,
    /// What happens to a request that is due while every connection is full. Open model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_overload: Option<OnOverload>,
    /// A request that would leave later than this is dropped and counted.
    #[schemars(default = "default_max_lateness")]
    max_lateness: Nanos,
    /// How long the run waits for responses after its last request.
    #[schemars(default = "default_graceful_stop")]
    graceful_stop: Nanos,
    /// The stages, one after the other. Open model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    stages: Option<Vec<Stage>>,
    /// Users who each wait for a response before the next request; as many as `connections.count` where
    /// it is not written. Closed model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    users: Option<u32>,
    /// Requests, over all users; or write `duration`. Closed model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    requests: Option<u64>,
    /// How long users begin requests; or write `requests`. Closed model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Nanos>,
    /// How long a user waits after a response. Closed model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<ThinkInFile>,
    /// The time over which the users begin, evenly; 0 lets all begin at once. Closed model only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ramp_up: Option<Nanos>,
    /// The kinds of requests, by weight; without them each request sends its record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    mix: Vec<MixKind>,
}

fn default_model() -> Model {
    Model::Open
}

fn default_pacing() -> Pacing {
    Pacing::Auto
}

impl From<Load> for LoadInFile {
    fn from(load: Load) -> LoadInFile {
        let open = load.model == Model::Open;
        LoadInFile {
            model: load.model,
            arrivals: open.then_some(load.arrivals),
            pacing: load.pacing,
            on_overload: open.then_some(load.on_overload),
            max_lateness: load.max_lateness,
            graceful_stop: load.graceful_stop,
            // None where a search makes them.
            stages: Some(load.stages).filter(|stages| open && !stages.is_empty()),
            users: load.users.filter(|_| !open),
            requests: load.requests.filter(|_| !open),
            duration: load.duration.filter(|_| !open),
            think: (!open).then(|| load.think.into()),
            ramp_up: (!open).then_some(load.ramp_up),
            mix: load.mix,
        }
    }
}

impl JsonSchema for Load {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Load".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        LoadInFile::json_schema(generator)
    }
}

impl JsonSchema for Think {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Think".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ThinkInFile::json_schema(generator)
    }
}

/// Adds to the schema of a load that exactly one of its three ends stands in it, or none beside a search,
/// which has an end of its own.
fn one_end(schema: &mut Schema) {
    let ends = ["stages", "requests", "duration"];
    let mut one_of: Vec<_> = ends.iter().map(|end| serde_json::json!({ "required": [end] })).collect();
    one_of.push(serde_json::json!({ "not": { "anyOf": one_of.clone() } }));
    schema.insert("oneOf".to_string(), one_of.into());
}
