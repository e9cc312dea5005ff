//! The text that Prometheus fetches, in the OpenMetrics format.
//!
//! What is counted carries the run in which it was counted: another run at the same address begins at nothing, and would
//! be taken for more of the one before as soon as it had counted further. Gauges are of the moment, whoever's it is.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::live::{LatencyCounts, State};
use crate::telemetry::{self, Labels, Metric, Samples, bounds_s};

/// What the text is, for those who fetch it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is told of a run. Nothing, where none has begun.
pub fn of_run(state: &State) -> Vec<Metric> {
    let mut metrics = telemetry::of_run(state);
    for metric in &mut metrics {
        let name = |labels: &mut Labels| labels.push(("run_id", state.facts.run_id.clone()));
        match &mut metric.samples {
            Samples::Counter(samples) => samples.iter_mut().for_each(|(labels, _)| name(labels)),
            Samples::Histogram(samples) => samples.iter_mut().for_each(|(labels, _)| name(labels)),
            Samples::Gauge(_) | Samples::Info(_) => {}
        }
    }
    metrics
}

/// Metrics as text.
pub fn text(metrics: Vec<Metric>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Listed(metrics)));
    let mut out = String::new();
    // Writing into memory does not fail, and no collector here does.
    let _ = encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Listed(Vec<Metric>);

impl Collector for Listed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for metric in &self.0 {
            let unit = metric.unit.map(|unit| match unit {
                "seconds" => Unit::Seconds,
                other => Unit::Other(other.to_string()),
            });
            let kind = metric.samples.kind();
            let at = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            metric.samples.encode(at)?;
        }
        Ok(())
    }
}

impl Samples {
    fn kind(&self) -> MetricType {
        match self {
            Samples::Counter(_) => MetricType::Counter,
            Samples::Gauge(_) => MetricType::Gauge,
            Samples::Histogram(_) => MetricType::Histogram,
            Samples::Info(_) => MetricType::Info,
        }
    }
}

impl EncodeMetric for Samples {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        match self {
            Samples::Counter(samples) => each(encoder, samples, |mut encoder, value| {
                encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
            }),
            Samples::Gauge(samples) => {
                each(encoder, samples, |mut encoder, value| encoder.encode_gauge(value))
            }
            Samples::Histogram(samples) => each(encoder, samples, |mut encoder, times: &LatencyCounts| {
                let bounds = bounds_s().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(times.buckets.iter().copied()).collect();
                encoder.encode_histogram::<NoLabelSet>(times.sum_s, times.count(), &buckets, None)
            }),
            Samples::Info(labels) => encoder.encode_info(labels),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind()
    }
}

fn each<T>(
    mut encoder: MetricEncoder,
    samples: &[(Labels, T)],
    mut one: impl FnMut(MetricEncoder, &T) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    if let [(labels, value)] = samples
        && labels.is_empty()
    {
        return one(encoder, value);
    }
    for (labels, value) in samples {
        one(encoder.encode_family(labels)?, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::typical;

    #[test]
    fn the_text_has_names_units_and_labels_as_prometheus_wants_them() {
        let text = text(of_run(&typical()));
        for line in [
            "# TYPE runner_run info",
            "# UNIT runner_response_time_seconds seconds",
            "# TYPE runner_response_time_seconds histogram",
            "runner_run_elapsed_seconds 2.25",
            "runner_connections_opened_total{run_id=\"a-1\"} 19",
            "runner_connections_ended_total{end=\"limit\",run_id=\"a-1\"} 9",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{line}:\n{text}");
        }
        let bucket = |le: &str| {
            let part = format!("le=\"{le}\"");
            let mut lines =
                text.lines().filter(|line| line.starts_with("runner_response_time_seconds_bucket"));
            lines
                .find(|line| line.contains(&part))
                .and_then(|line| line.rsplit(' ').next())
                .map(str::to_string)
        };
        assert_eq!(
            ["0.00005", "0.001", "10.0", "+Inf"].map(|le| bucket(le).expect(le)),
            ["2", "8", "8", "9"]
        );
        assert!(text.ends_with("# EOF\n"));
        // Whatever is counted would be taken for more of the run before, if it did not say of which run it is.
        let counted = |line: &&str| {
            ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|end| line.split(['{', ' ']).next().is_some_and(|name| name.ends_with(end)))
        };
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).filter(counted);
        assert!(lines.all(|line| line.contains("run_id=\"a-1\"")), "{text}");
    }
}
