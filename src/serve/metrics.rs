//! Metrics: the text that Prometheus fetches.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::serve::{Shared, live};
use crate::telemetry::{Metric, prometheus};

/// Where they are.
const PATH: &str = "/metrics";

/// Those of a server that starts runs: its own, and those of the newest run.
pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(of_server))
}

/// Those of the server of a run.
pub(super) fn live_router() -> Router<live::Shared> {
    Router::new().route(PATH, get(of_run))
}

async fn of_run(State(shared): State<live::Shared>) -> Response {
    answer(prometheus::of_run(&shared.state()))
}

async fn of_server(State(shared): State<Shared>) -> Response {
    let alone = |value: f64| vec![(Vec::new(), value)];
    let mut metrics = vec![
        Metric::gauge(
            "runner_runs_active",
            "Runs that go on",
            alone(f64::from(u8::from(shared.runs.running().is_some()))),
        ),
        Metric::gauge(
            "runner_generations_active",
            "Generations of records that go on",
            alone(f64::from(u8::from(shared.generations.running().is_some()))),
        ),
    ];
    let ended = shared.runs.ended();
    if !ended.is_empty() {
        let samples =
            ended.into_iter().map(|(word, count)| (vec![("state", word.to_string())], count as f64));
        metrics.push(Metric::counter("runner_runs_ended", "Runs by how they ended", samples.collect()));
    }
    if let Some(state) = shared.runs.newest() {
        metrics.extend(prometheus::of_run(&state));
    }
    answer(metrics)
}

fn answer(metrics: Vec<Metric>) -> Response {
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], prometheus::text(metrics)).into_response()
}
