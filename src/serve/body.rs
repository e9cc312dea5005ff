//! Body: JSON from a client that may lie about its length, send anything, or fall silent.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::clock;
use crate::serve::guard::Guarded;
use crate::serve::problem::Problem;

/// The longest body.
pub(super) const MAX_BODY: usize = 1 << 20;

/// How much of a body that is too long is read all the same, so that a client that is still sending hears why:
/// a connection that is closed on bytes that nobody read is reset, and the answer may be lost with it.
const MAX_DRAINED: usize = 16 << 20;

/// What to do with a field that is wrong.
const FIELDS_HELP: &str = "GET /openapi.json says which fields there are and what they may hold";

/// A JSON body of a known type.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Guarded> FromRequest<Arc<S>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Arc<S>) -> Result<JsonBody<T>, Problem> {
        is_json(request.headers())?;
        let announced = announced(request.headers());
        let limit = shared.patience();
        let read = clock::timeout(limit, read(request.into_body(), announced)).await;
        let bytes = read.unwrap_or_else(|| {
            let message = format!("the body did not arrive within {limit:?}");
            let help = "send the whole body at once";
            // The rest of it may still come, and would be taken for the next request.
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message, help)
                .with(header::CONNECTION, "close"))
        })?;
        parse(&bytes).map(JsonBody)
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("something unreadable"));
    let essence = given.and_then(|given| given.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let given = given.unwrap_or("nothing");
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        format!("the content type must be application/json, not {given}"),
        "send the header Content-Type: application/json",
    ))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body, announced: Option<usize>) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut seen) = (Vec::new(), 0);
    if announced.is_some_and(|announced| announced > MAX_DRAINED) {
        return Err(too_large());
    }
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("the body broke off: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "body_broke_off", message, "send it again")
        })?;
        seen += chunk.len();
        if seen <= MAX_BODY {
            bytes.extend_from_slice(&chunk);
        } else if seen > MAX_DRAINED {
            break;
        }
    }
    if seen > MAX_BODY { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> Problem {
    let message = format!("the body is longer than {MAX_BODY} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message, "every request fits into 1 MiB")
        .with(header::CONNECTION, "close")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => {
            Problem::unprocessable("bad_field", format!("the body is wrong: {error}"), FIELDS_HELP)
        }
        Category::Io | Category::Syntax | Category::Eof => {
            let what = if bytes.is_empty() {
                "the body is empty".to_owned()
            } else {
                format!("the body is no JSON: {error}")
            };
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_json",
                what,
                "send a JSON object, such as {\"count\": 500000}",
            )
        }
    })
}
