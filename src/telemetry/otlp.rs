//! OTLP: the metrics of a run, sent to an OpenTelemetry collector over HTTP.
//!
//! 1. A thread of its own sends, every few seconds. It takes the newest state and nobody waits for it.
//! 2. How each run has ended is sent too, as soon as it has. It cuts a message short that is on its way: it says the
//!    same and more.
//! 3. A collector that is away, slow or refuses is said once. Nothing is sent twice: sums are those since the start of
//!    the run, so the next message makes up for a lost one.
//! 4. When all is over what is left to be sent has as long as one message may take, and no longer.
//! 5. What is set is what OpenTelemetry names: see [`Settings::from`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    self as proto, AggregationTemporality, HistogramDataPoint, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{self, Stopwatch};
use crate::live::State;
use crate::telemetry::{Labels, Metric, Samples, bounds_s, of_run};

/// How often metrics are sent, unless OTEL_METRIC_EXPORT_INTERVAL says otherwise.
const EVERY: Duration = Duration::from_secs(10);

/// The shortest and the longest interval that is kept to.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// How long one message may take, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise; the last one holds up the end of the
/// program for so long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest such time.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// What tells those apart who send metrics of one name.
const INSTANCE: &str = "service.instance.id";

/// Runs of which it may still have to be sent how they ended.
const ENDINGS: usize = 64;

/// How often it is looked whether the last message is sent.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why metrics cannot be sent. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of the environment says nothing that can be used.
    #[error("use {name}={value}: {why}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// The system gives no thread or runtime.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Where metrics go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    host: String,
    port: u16,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    attributes: Vec<(String, String)>,
    every: Duration,
    timeout: Duration,
}

impl Settings {
    /// What the variables of the environment say; `None` where nothing is to be sent.
    ///
    /// 1. `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` is taken as it stands, `OTEL_EXPORTER_OTLP_ENDPOINT` with
    ///    `/v1/metrics` behind it. `OTEL_SDK_DISABLED=true` turns both off.
    /// 2. `OTEL_EXPORTER_OTLP_[METRICS_]PROTOCOL` must be `http/protobuf`, where it is set.
    /// 3. `OTEL_EXPORTER_OTLP_[METRICS_]HEADERS` and `OTEL_RESOURCE_ATTRIBUTES` are `name=value,name=value` with `%`
    ///    escapes, `OTEL_SERVICE_NAME` is a name; times are in milliseconds.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn from(env: &BTreeMap<String, String>) -> Result<Option<Settings>, Error> {
        let get = |name: &'static str| {
            env.get(name)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
                .map(|value| (name, value))
        };
        if get("OTEL_SDK_DISABLED").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let exact = get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let Some((name, endpoint)) = exact.or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT")) else {
            return Ok(None);
        };
        let wrong = |(name, value): (&'static str, &str), why: &str| Error::Setting {
            name,
            value: value.to_string(),
            why: why.to_string(),
        };
        let protocol =
            get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(given) = protocol.filter(|(_, value)| *value != "http/protobuf") {
            return Err(wrong(
                given,
                "metrics are sent as http/protobuf only; collectors take that on port 4318",
            ));
        }
        let uri: Uri = endpoint
            .parse()
            .map_err(|_| wrong((name, endpoint), "write an address, such as http://127.0.0.1:4318"))?;
        if uri.scheme_str() != Some("http") {
            let why = "write http://HOST:PORT; for a collector behind TLS, run one nearby that passes it on";
            return Err(wrong((name, endpoint), why));
        }
        let Some(host) = uri.host().map(|host| host.trim_matches(['[', ']']).to_string()) else {
            return Err(wrong((name, endpoint), "it names no host; write http://127.0.0.1:4318"));
        };
        let path = match exact {
            Some(_) => uri.path_and_query().map_or("/", |path| path.as_str()).to_string(),
            None => format!("{}/v1/metrics", uri.path().trim_end_matches('/')),
        };
        let given = get("OTEL_EXPORTER_OTLP_METRICS_HEADERS").or_else(|| get("OTEL_EXPORTER_OTLP_HEADERS"));
        let mut headers = Vec::new();
        if let Some(given) = given {
            for (name, value) in pairs(given.1) {
                let header = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(&value).ok());
                // What is in it may be a secret.
                let hidden = (given.0, "…");
                headers.push(header.ok_or_else(|| wrong(hidden, "write name=value,name=value"))?);
            }
        }
        let mut attributes = vec![("service.name".to_string(), "runner".to_string())];
        attributes.extend(get("OTEL_RESOURCE_ATTRIBUTES").map(|(_, text)| pairs(text)).unwrap_or_default());
        attributes
            .extend(get("OTEL_SERVICE_NAME").map(|(_, name)| ("service.name".to_string(), name.to_string())));
        let millis = |given: Option<(&'static str, &str)>| {
            given
                .map(|given| {
                    let millis = given.1.parse().map(Duration::from_millis);
                    millis.map_err(|_| wrong(given, "write whole milliseconds, such as 10000"))
                })
                .transpose()
        };
        let every = millis(get("OTEL_METRIC_EXPORT_INTERVAL"))?.unwrap_or(EVERY);
        let timeout = get("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT").or_else(|| get("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let timeout = millis(timeout)?.unwrap_or(TIMEOUT);
        Ok(Some(Settings {
            host,
            port: uri.port_u16().unwrap_or(80),
            path,
            headers,
            // The last of a name counts.
            attributes: attributes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
            every: every.clamp(INTERVALS.0, INTERVALS.1),
            timeout: timeout.clamp(INTERVALS.0, MAX_TIMEOUT),
        }))
    }

    /// Where metrics go, in words.
    pub fn place(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// `name=value,name=value` with `%` escapes; what has no `=` is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split(',').filter_map(|part| part.split_once('='));
    parts.map(|(name, value)| (name.trim().to_string(), unescaped(value.trim()))).collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends the metrics of runs while they go, one after the other.
#[derive(Debug)]
pub struct Pusher {
    thread: JoinHandle<()>,
    endings: mpsc::Sender<State>,
    cut: oneshot::Sender<()>,
    timeout: Duration,
}

impl Pusher {
    /// Begins on a thread of its own. `warn` is told the first thing that goes wrong.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn start(
        settings: Settings,
        states: watch::Receiver<State>,
        warn: impl Fn(&str) + Send + 'static,
    ) -> Result<Pusher, Error> {
        let failed = |what| move |source| Error::System { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let (endings, ended) = mpsc::channel(ENDINGS);
        let (cut, is_cut) = oneshot::channel();
        let timeout = settings.timeout;
        let push = move || {
            let complaints = Complaints { place: settings.place(), warn, said: Cell::new(false) };
            runtime.block_on(async {
                tokio::select! {
                    () = push(&settings, states, ended, &complaints) => {}
                    // A pusher that was dropped is not listened to any more.
                    _ = is_cut => complaints.hear("it takes too long", ""),
                }
            });
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("otlp".to_string()).spawn(push);
        Ok(Pusher { thread: thread.map_err(failed("start a thread"))?, endings, cut, timeout })
    }

    /// A run has ended, and this is how. Says whether there was room to remember it; nobody waits for that.
    #[must_use]
    pub fn ended(&self, state: State) -> bool {
        self.endings.try_send(state).is_ok()
    }

    /// Waits until it has been sent how all runs ended, for as long as one message may take, and until somebody
    /// `hurries`. What has not been sent by then is given up.
    pub fn finish(self, hurries: impl Fn() -> bool) {
        let Pusher { thread, endings, cut, timeout } = self;
        drop(endings);
        let since = Stopwatch::start();
        while !thread.is_finished() && since.elapsed() < timeout && !hurries() {
            clock::sleep_thread(LOOK_EVERY);
        }
        // One that has ended needs no word.
        let _ = cut.send(());
        // A thread that panicked has said so on stderr.
        let _ = thread.join();
    }
}

/// What goes wrong: the first is said.
struct Complaints<F> {
    place: String,
    warn: F,
    said: Cell<bool>,
}

impl<F: Fn(&str)> Complaints<F> {
    fn hear(&self, why: &str, but: &str) {
        if !self.said.replace(true) {
            (self.warn)(&format!("metrics could not be sent to {}: {why}{but}", self.place));
        }
    }
}

/// Sends until nobody tells any more how runs end.
async fn push(
    settings: &Settings,
    states: watch::Receiver<State>,
    mut endings: mpsc::Receiver<State>,
    complaints: &Complaints<impl Fn(&str)>,
) {
    // What came while a message was on its way.
    let mut next: Option<State> = None;
    loop {
        let ended = match next.take() {
            Some(state) => Some(state),
            None => match clock::timeout(settings.every, endings.recv()).await {
                Some(None) => return,
                Some(ended) => ended,
                None => None,
            },
        };
        if let Some(state) = ended {
            if let Err(why) = deliver(settings, &state).await {
                complaints.hear(&why, "");
            }
            continue;
        }
        let state = states.borrow().clone();
        if state.facts.run_id.is_empty() {
            // Nothing has begun, and maybe never will.
            continue;
        }
        tokio::select! {
            sent = deliver(settings, &state) => {
                if let Err(why) = sent {
                    complaints.hear(&why, "; the run goes on");
                }
            }
            ended = endings.recv() => match ended {
                Some(state) => next = Some(state),
                None => return,
            },
        }
    }
}

/// Sends how a run stands, within the time that one message may take.
async fn deliver(settings: &Settings, state: &State) -> Result<(), String> {
    let body = message(settings, state, now_ns());
    let sent = clock::timeout(settings.timeout, send(settings, body)).await;
    sent.unwrap_or_else(|| Err(format!("no answer within {:?}", settings.timeout)))
}

fn now_ns() -> u64 {
    clock::wall_micros().saturating_mul(1000)
}

/// One message over a connection of its own.
async fn send(settings: &Settings, body: Vec<u8>) -> Result<(), String> {
    let words = |error: hyper::Error| error.to_string();
    let found = tokio::net::lookup_host((settings.host.as_str(), settings.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
    let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&settings.path)
        .header(header::HOST, authority(settings))
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::USER_AGENT, concat!("runner/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    let request = request.body(Whole(Some(Bytes::from(body)))).map_err(|error| error.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(words)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    };
    // The connection is done when the answer is there and nobody can ask any more; what breaks it, the answer says too.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn authority(settings: &Settings) -> String {
    match settings.host.contains(':') {
        true => format!("[{}]:{}", settings.host, settings.port),
        false => format!("{}:{}", settings.host, settings.port),
    }
}

/// A body of one piece.
struct Whole(Option<Bytes>);

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// The state of a run as one message.
fn message(settings: &Settings, state: &State, now_ns: u64) -> Vec<u8> {
    let times = (state.facts.started_ns, now_ns);
    let metrics = of_run(state).into_iter().filter_map(|metric| encoded(metric, times)).collect();
    let facts = &state.facts;
    let mut attributes: Vec<KeyValue> =
        settings.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    // Segments of one plan may have begun in the same millisecond, and so have one name.
    if !settings.attributes.iter().any(|(name, _)| name == INSTANCE) {
        let whole = facts.segment == "0/1";
        let instance =
            if whole { facts.run_id.clone() } else { format!("{} {}", facts.run_id, facts.segment) };
        attributes.push(attribute(INSTANCE, &instance));
    }
    attributes.push(attribute("runner.run_id", &facts.run_id));
    attributes.push(attribute("runner.scenario", &facts.scenario));
    // A resource is the same as long as it is there; a plan that was changed is another.
    attributes.push(attribute("runner.plan", &facts.plan_at_start));
    attributes.push(attribute("runner.segment", &facts.segment));
    let scope = InstrumentationScope {
        name: "runner".to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        ..InstrumentationScope::default()
    };
    let of_scope = ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() };
    let resource = Resource { attributes, ..Resource::default() };
    let all = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![of_scope],
        schema_url: String::new(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }.encode_to_vec()
}

/// A metric under the name that OpenTelemetry would give it: `runner.response_time` in `s`. Facts are attributes of the
/// resource instead.
fn encoded(metric: Metric, times: (u64, u64)) -> Option<proto::Metric> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match metric.samples {
        Samples::Counter(samples) => Data::Sum(proto::Sum {
            data_points: samples.into_iter().map(|sample| number(sample, times)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Samples::Gauge(samples) => {
            // A gauge is of the moment: it has no beginning.
            let points = samples.into_iter().map(|sample| number(sample, (0, times.1)));
            Data::Gauge(proto::Gauge { data_points: points.collect() })
        }
        Samples::Histogram(samples) => Data::Histogram(proto::Histogram {
            data_points: samples
                .into_iter()
                .map(|(labels, counts)| HistogramDataPoint {
                    attributes: attributes(labels),
                    start_time_unix_nano: times.0,
                    time_unix_nano: times.1,
                    count: counts.count(),
                    sum: Some(counts.sum_s),
                    bucket_counts: counts.buckets,
                    explicit_bounds: bounds_s().collect(),
                    ..HistogramDataPoint::default()
                })
                .collect(),
            aggregation_temporality: cumulative,
        }),
        Samples::Info(_) => return None,
    };
    Some(proto::Metric {
        name: metric.name.replacen('_', ".", 1),
        description: metric.help.to_string(),
        unit: metric.unit.map_or("", |_| "s").to_string(),
        data: Some(data),
        ..proto::Metric::default()
    })
}

fn number((labels, value): (Labels, f64), (start, now): (u64, u64)) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_string())) };
    KeyValue { key: name.to_string(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(all: &[(&str, &str)]) -> Result<Option<Settings>, Error> {
        Settings::from(&all.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    fn to(endpoint: &str) -> Settings {
        settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).expect("usable").expect("sends")
    }

    #[test]
    fn the_environment_says_where_metrics_go() {
        assert_eq!(settings(&[]).expect("nothing"), None);
        assert_eq!(to("http://127.0.0.1:4318").place(), "http://127.0.0.1:4318/v1/metrics");
        assert_eq!(to("http://collector/otlp/").place(), "http://collector:80/otlp/v1/metrics");
        assert_eq!(authority(&to("http://[::1]:4318")), "[::1]:4318");
        let all = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://here:1/as?it=stands"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%20b, other=1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=one,team=a%2Cb"),
            ("OTEL_SERVICE_NAME", "two"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
        ]);
        let all = all.expect("usable").expect("sends");
        assert_eq!(all.place(), "http://here:1/as?it=stands");
        assert_eq!((all.headers.len(), all.headers[0].1.as_bytes()), (2, &b"a b"[..]));
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(all.attributes, [pair("service.name", "two"), pair("team", "a,b")]);
        assert_eq!(all.every, INTERVALS.0);
        let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(settings(&off).expect("nothing"), None);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_says_what_to_write() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http:// a"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "10s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=swordfish"),
        ] {
            let error = settings(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a"), (name, value)]);
            let error = match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => settings(&[(name, value)]),
                _ => error,
            };
            let text = error.expect_err(value).to_string();
            assert!(text.contains(name) && !text.contains("swordfish"), "{text}");
        }
        assert_eq!(unescaped("%zz%4"), "%zz%4");
    }

    #[test]
    fn segments_are_told_apart_unless_somebody_has_said_who_they_are() {
        let mut state = crate::telemetry::typical();
        std::sync::Arc::make_mut(&mut state.facts).segment = "1/3".to_string();
        let instances = |settings: &Settings| -> Vec<KeyValue> {
            let bytes = message(settings, &state, 5);
            let read = ExportMetricsServiceRequest::decode(&bytes[..]).expect("decoded");
            let resource = read.resource_metrics[0].resource.clone().expect("a resource");
            resource.attributes.into_iter().filter(|attribute| attribute.key == INSTANCE).collect()
        };
        assert_eq!(instances(&to("http://a")), [attribute(INSTANCE, "a-1 1/3")]);
        let own = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=mine"),
        ]);
        assert_eq!(instances(&own.expect("usable").expect("sends")), [attribute(INSTANCE, "mine")]);
    }

    #[test]
    fn a_message_has_the_sums_since_the_start_and_the_run_as_resource() {
        let bytes = message(&to("http://a"), &crate::telemetry::typical(), 5);
        let read = ExportMetricsServiceRequest::decode(&bytes[..]).expect("decoded");
        let all = &read.resource_metrics[0];
        let resource = all.resource.as_ref().expect("a resource");
        assert!(resource.attributes.contains(&attribute("service.name", "runner")));
        assert!(resource.attributes.contains(&attribute("runner.run_id", "a-1")));
        assert!(resource.attributes.contains(&attribute("runner.plan", "0123")), "the plan as it began");
        assert!(resource.attributes.contains(&attribute("runner.segment", "0/1")));
        assert!(resource.attributes.contains(&attribute(INSTANCE, "a-1")));
        let metrics = &all.scope_metrics[0].metrics;
        let of = |name: &str| metrics.iter().find(|metric| metric.name == name).expect("the metric");
        let Some(Data::Histogram(times)) = &of("runner.response_time").data else { panic!("a histogram") };
        let point = &times.data_points[0];
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (9, 9));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1_000_000_000, 5));
        let Some(Data::Sum(sent)) = &of("runner.requests_sent").data else { panic!("a sum") };
        assert!(sent.is_monotonic && sent.data_points.len() == 2);
    }
}
