//! The words of a scenario file as types, with every default. Types only: nothing here reads a file
//! and nothing computes.
//!
//! The doc comments are what an editor shows: they become the JSON Schema. Reading lives in
//! `decode.rs`, which names every key of these types once more and refuses all others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::units::{Bytes, IdRange, NANOS_PER_SEC, Nanos};

/// An enum that is written as one of a few words in the file.
pub trait Word: Sized + Copy + 'static {
    /// Every word that is accepted, in the order of the documentation.
    const WORDS: &'static [(&'static str, Self)];
    /// Words that the format knows and this version refuses as not supported yet.
    const LATER: &'static [&'static str];

    /// The word for this value.
    fn word(self) -> &'static str;
}

/// Declares an enum, its words and the words that come later.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ } later $later:expr
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $word)] $variant,)+
        }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$variant)),+];
            const LATER: &'static [&'static str] = &$later;

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

mod load;
mod search;
mod stage;
mod target;
mod threshold;

pub use load::{Arrivals, Load, MixKind, Model, OnOverload, Pacing, Think};
pub use search::Search;
pub use stage::{Stage, StageKind};
pub use target::{
    Address, AddressError, Addresses, Compare, Correlate, Endian, Framing, LengthFraming, Target,
};
pub use threshold::{Aggregate, Comparison, Condition, Metric, Misread, NoData, Part, Threshold};

/// A load scenario: which records to send, how fast, over how many connections.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = load_or_search)]
pub struct Scenario {
    /// Name of the run folder and of the report: letters, digits, `.`, `_` and `-`.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub name: String,
    /// What the scenario is for, in a sentence.
    #[schemars(default)]
    pub description: String,
    /// Every random choice of the run follows from this number.
    #[schemars(default = "default_seed")]
    pub seed: u64,
    /// Values for `${name}` in the rest of the file. `--var NAME=VALUE` overrides them.
    #[schemars(default, with = "BTreeMap<String, ScalarInFile>")]
    pub vars: BTreeMap<String, String>,
    /// The store that holds the records and receives the mappings.
    #[schemars(default)]
    pub redis: Redis,
    /// Which records are sent, and in which order.
    #[schemars(default)]
    pub records: Records,
    /// How many requests are sent when.
    pub load: Load,
    /// The connections that the requests share.
    #[schemars(default)]
    pub connections: Connections,
    /// The service that is loaded.
    #[schemars(default)]
    pub target: Target,
    /// A second target that gets the same load, in turns with the first; null for none.
    #[schemars(default)]
    pub compare_with: Option<Compare>,
    /// The same scenario several times: paths such as `connections.count` and the values that they take,
    /// one after the other. Several paths are combined, each value with each. Empty once a row was taken.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub matrix: BTreeMap<String, Vec<serde_json::Value>>,
    /// Finds the highest rate that keeps a limit, instead of sending `load.stages`; null for none.
    #[schemars(default)]
    pub search: Option<Search>,
    /// The built-in responder, which answers when `target.addresses` is null.
    #[schemars(default)]
    pub responder: Responder,
    /// The Lua hooks; null for none.
    #[schemars(default)]
    pub script: Option<Script>,
    /// How responses are written back next to their records.
    #[schemars(default)]
    pub mapping: Mapping,
    /// What must hold for the run to pass.
    #[schemars(default)]
    pub thresholds: Vec<Threshold>,
    /// The files that a run leaves behind.
    #[schemars(default)]
    pub report: Report,
}

/// Says in the schema that a scenario needs a load, or a search, which makes its own.
fn load_or_search(schema: &mut Schema) {
    if let Some(required) = schema.get_mut("required").and_then(|required| required.as_array_mut()) {
        required.retain(|key| key != "load");
    }
    let any_of = ["load", "search"].map(|key| serde_json::json!({ "required": [key] }));
    schema.insert("anyOf".to_string(), any_of.to_vec().into());
}

fn default_seed() -> u64 {
    Scenario::DEFAULT_SEED
}

impl Scenario {
    /// The seed when the file names none.
    pub const DEFAULT_SEED: u64 = 1;
}

/// The store that holds the records and receives the mappings.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Redis {
    /// `embedded` for the built-in store, or `redis://[user:password@]host:port[/db]`, `unix:///path` or
    /// `redis-cluster://[user:password@]host:port[,host:port]`.
    pub url: String,
    /// At least so many records are read ahead of their send time; raised to a tenth of a second of the
    /// plan's highest rate.
    #[schemars(range(min = 1))]
    pub prefetch: u32,
    /// The longest wait for one answer of the store.
    pub timeout: Nanos,
    /// Address of the embedded store, such as `127.0.0.1:6380`; null picks a free port.
    #[schemars(with = "Option<String>")]
    pub serve: Option<SocketAddr>,
}

impl Redis {
    /// The URL that means the built-in store.
    pub const EMBEDDED: &'static str = "embedded";

    /// Whether the run starts its own store.
    pub fn is_embedded(&self) -> bool {
        self.url == Self::EMBEDDED
    }

    /// The URL with its password, if any, shown as `***`.
    pub fn masked_url(&self) -> Cow<'_, str> {
        mask_password(&self.url)
    }
}

impl Default for Redis {
    fn default() -> Redis {
        Redis {
            url: Redis::EMBEDDED.to_string(),
            prefetch: 2000,
            timeout: Nanos::from_millis(500),
            serve: None,
        }
    }
}

/// A URL with the password between `:` and `@` replaced by `***`.
pub(crate) fn mask_password(url: &str) -> Cow<'_, str> {
    let Some(start) = url.find("://").map(|at| at + 3) else { return Cow::Borrowed(url) };
    let authority = url[start..].find('/').map_or(url.len(), |at| start + at);
    // The last `@` ends the user part: a password may hold one itself, also behind a `/`.
    let end = url[start..authority].rfind('@').or_else(|| url[start..].rfind('@'));
    let Some(end) = end.map(|at| start + at) else { return Cow::Borrowed(url) };
    match url[start..end].find(':') {
        Some(colon) => Cow::Owned(format!("{}***{}", &url[..start + colon + 1], &url[end..])),
        None => Cow::Borrowed(url),
    }
}

/// Which records are sent, and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Records {
    /// Where the records are: in the store, or nowhere, made from the template as they are needed.
    pub source: Source,
    /// Template of the record's key; `{id}` is the record id.
    pub key: String,
    /// The record ids, both ends included: one range, or a list of ranges.
    #[serde(serialize_with = "one_or_list")]
    #[schemars(with = "OneOrList<IdRange>")]
    pub range: Vec<IdRange>,
    /// The order in which records are taken.
    pub order: Order,
    /// What happens when every record has been taken once.
    pub on_exhausted: OnExhausted,
    /// What happens when the store has no record under a key.
    pub on_missing: OnMissing,
    /// The body of a generated record; `{id}` and `{id:04}` are placeholders.
    pub template: String,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            source: Source::Store,
            key: "record:{id}".to_string(),
            range: IdRange::new(1, 500_000).into_iter().collect(),
            order: Order::Sequential,
            on_exhausted: OnExhausted::Loop,
            on_missing: OnMissing::Generate,
            template: r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending"}"#
                .to_string(),
        }
    }
}

words! {
    /// Where the records are.
    Source {
        /// In the store, from which they are read ahead.
        Store = "store",
        /// Nowhere: each is made from `records.template` when it is needed, and no store is asked.
        Template = "template",
    } later []
}

words! {
    /// The order in which records are taken.
    Order {
        /// From the first id to the last.
        Sequential = "sequential",
        /// Every record once in a seeded random order.
        Shuffle = "shuffle",
        /// Any record at any time, all equally likely.
        Random = "random",
        /// Any record at any time, a few far more likely than the rest.
        Zipf = "zipf",
    } later []
}

words! {
    /// What happens when every record has been taken once.
    OnExhausted {
        /// Start again from the first.
        Loop = "loop",
        /// End the run.
        Stop = "stop",
        /// Refuse to start a run that needs more records than there are.
        Fail = "fail",
    } later []
}

words! {
    /// What happens when the store has no record under a key.
    OnMissing {
        /// Make the record from `records.template`.
        Generate = "generate",
        /// Do not send the request; it is counted as dropped.
        Drop = "drop",
        /// End the run.
        Fail = "fail",
    } later []
}

/// The connections that the requests share.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Connections {
    /// How many connections are open at a time, over all threads and machines.
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Requests on one connection before it is closed and replaced; 0 for no limit.
    pub limit: u64,
    /// Requests in flight on one connection; 1 waits for each response.
    #[schemars(range(min = 1))]
    pub window: u32,
    /// Whether first limits differ, so that the connections do not all reconnect at once.
    pub stagger: bool,
    /// The longest wait for a connection.
    pub connect_timeout: Nanos,
    /// The longest wait for a response.
    pub request_timeout: Nanos,
    /// Local addresses to connect from, used in turn; empty lets the system choose.
    #[schemars(with = "Vec<String>")]
    pub source_addresses: Vec<IpAddr>,
    /// TLS settings. Not supported yet: must be null.
    pub tls: (),
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            count: 10,
            limit: 100,
            window: 16,
            stagger: true,
            connect_timeout: Nanos(NANOS_PER_SEC),
            request_timeout: Nanos::from_secs(2),
            source_addresses: Vec::new(),
            tls: (),
        }
    }
}

/// The built-in responder.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Responder {
    /// How many ports it listens on.
    #[schemars(range(min = 1))]
    pub ports: u16,
    /// The local address it listens on.
    #[schemars(with = "String")]
    pub bind: IpAddr,
    /// The first port; the others follow it. 0 picks free ports.
    pub first_port: u16,
    /// How long it waits before it answers.
    pub delay: Nanos,
    /// How it misbehaves. Not supported yet: must be empty.
    pub faults: Faults,
}

impl Default for Responder {
    fn default() -> Responder {
        Responder {
            ports: 10,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            first_port: 0,
            delay: Nanos::ZERO,
            faults: Faults {},
        }
    }
}

/// How the responder misbehaves. Not supported yet: must be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Faults {}

/// The Lua hooks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Script {
    /// The script, relative to the scenario file.
    #[schemars(with = "String")]
    pub file: PathBuf,
    /// The longest time that one call of a hook may take.
    #[schemars(default = "default_script_timeout")]
    pub timeout: Nanos,
    /// The most memory that the script may hold, per worker.
    #[schemars(default = "default_script_memory")]
    pub memory: Bytes,
    /// Values handed to `setup` as `ctx.args`.
    #[schemars(default)]
    pub args: BTreeMap<String, serde_json::Value>,
}

impl Script {
    /// A script with every other key at its default.
    pub fn new(file: PathBuf) -> Script {
        Script {
            file,
            timeout: default_script_timeout(),
            memory: default_script_memory(),
            args: BTreeMap::new(),
        }
    }
}

fn default_script_timeout() -> Nanos {
    Nanos::from_millis(50)
}

fn default_script_memory() -> Bytes {
    Bytes(32 << 20)
}

/// How responses are written back next to their records.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Mapping {
    /// What a mapping is in the store.
    pub into: MapInto,
    /// Template of the mapping's key; `{key}` is the record's key, `{id}` its id.
    pub key: String,
    /// Field names and templates of their values.
    pub fields: BTreeMap<String, String>,
    /// How long a mapping lives; 0 for ever.
    pub ttl: Nanos,
    /// How much is read back and compared at the end.
    pub verify: Verify,
}

impl Default for Mapping {
    fn default() -> Mapping {
        let fields = [("response_id", "{response.id}"), ("service_us", "{service_us}"), ("run", "{run}")];
        Mapping {
            into: MapInto::Hash,
            key: "response:{key}".to_string(),
            fields: fields.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ttl: Nanos::ZERO,
            verify: Verify::Full,
        }
    }
}

words! {
    /// What a mapping is in the store.
    MapInto {
        /// A hash with the fields of `mapping.fields`.
        Hash = "hash",
        /// A string: the response id.
        String = "string",
        /// The record itself: the fields are merged into its JSON.
        Record = "record",
        /// An entry of a stream.
        Stream = "stream",
        /// Nothing is written.
        None = "none",
    } later []
}

words! {
    /// How much is read back and compared at the end.
    Verify {
        /// Every mapping.
        Full = "full",
        /// A seeded sample.
        Sample = "sample",
        /// Nothing.
        None = "none",
    } later []
}

/// The files that a run leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Report {
    /// Where run folders are made, relative to the working directory.
    #[schemars(with = "String")]
    pub dir: PathBuf,
    /// Which files are written.
    pub files: Vec<ReportFile>,
    /// Whether `requests.csv`, a row per request, is written too.
    pub requests: bool,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            dir: PathBuf::from("runs"),
            files: ReportFile::WORDS.iter().map(|&(_, file)| file).collect(),
            requests: false,
        }
    }
}

words! {
    /// A file of the run folder.
    ReportFile {
        /// `summary.csv`: one row for the run.
        Summary = "summary",
        /// `stages.csv`: a row per stage.
        Stages = "stages",
        /// `seconds.csv`: a row per second.
        Seconds = "seconds",
        /// `connections.csv`: a row per connection.
        Connections = "connections",
        /// `errors.csv`: a row per kind of error.
        Errors = "errors",
        /// `latency.hlog`: the three latencies, as an HDR interval log.
        Latency = "latency",
        /// `summary.json`: everything that is known of the run.
        Json = "json",
        /// `report.html`: the report, in one file.
        Html = "html",
        /// `junit.xml`: the run and its thresholds as test cases.
        Junit = "junit",
    } later []
}

/// A value or a list of values, in the schema only.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its JSON Schema is used")]
enum OneOrList<T> {
    /// One.
    One(T),
    /// Several.
    List(Vec<T>),
}

fn one_or_list<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        [one] => one.serialize(serializer),
        _ => list.serialize(serializer),
    }
}

/// Any scalar, in the schema only.
struct ScalarInFile;

impl JsonSchema for ScalarInFile {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}
