//! Problem: the one shape of every error answer, and what it says to do.

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorDetail,
}

/// What is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// A word for programs; it stays the same where the message changes.
    #[schema(example = "count_out_of_range")]
    pub code: String,
    /// What is wrong, for people.
    #[schema(example = "count is 0, and it must be a whole number from 1 to 100000000")]
    pub message: String,
    /// What to do about it.
    #[schema(example = "send {\"count\": 500000}")]
    pub help: String,
    /// Everything that is wrong with a scenario, where the error is about one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub problems: Vec<Finding>,
}

/// Something that is wrong with a scenario, and where.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Finding {
    /// `error`: the scenario cannot be run; `warning`: it runs, but probably not as meant.
    pub severity: Severity,
    /// The key it is about; empty for the file as a whole.
    #[schema(example = "load.stages[0].hold")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line from 1; 0 where it has no place in the file.
    pub line: usize,
    /// The column from 1; 0 where it has no place in the file.
    pub column: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The scenario cannot be run.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

/// An error answer. Small to pass around, since almost every function here may return one.
#[derive(Debug, Clone)]
pub struct Problem(Box<Answer>);

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: ErrorBody,
}

impl Problem {
    /// An error with its status, its word, what is wrong, and what to do.
    pub fn new(
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let error = ErrorDetail {
            code: code.to_owned(),
            message: message.into(),
            help: help.into(),
            problems: Vec::new(),
        };
        Problem(Box::new(Answer { status, headers: Vec::new(), body: ErrorBody { error } }))
    }

    /// With a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Problem {
        self.0.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// With what is wrong with a scenario.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Problem {
        self.0.body.error.problems = findings;
        self
    }

    /// What it says.
    pub fn detail(&self) -> &ErrorDetail {
        &self.0.body.error
    }

    /// 422: the body is JSON, but does not say what is needed.
    pub fn unprocessable(code: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, message, help)
    }

    /// 409: not now.
    pub fn conflict(code: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, code, message, help)
    }

    /// 404: there is no such thing.
    pub fn not_found(code: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, message, help)
    }

    /// 503: come again.
    pub fn unavailable(code: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message, help).with(header::RETRY_AFTER, "1")
    }

    /// 503: nothing begins any more.
    pub fn shutting_down() -> Problem {
        Problem::unavailable("shutting_down", "the server is shutting down", "ask again when it is back")
    }

    /// For an answer that was made by a library and has no body of ours.
    pub fn of_status(status: StatusCode, method: &Method, path: &str) -> Problem {
        // A path may be as long as a request line.
        let path: String = path.chars().take(200).collect();
        match status {
            StatusCode::NOT_FOUND => Problem::not_found(
                "no_such_path",
                format!("there is nothing at {path}"),
                "GET /openapi.json lists all paths, / shows them",
            ),
            StatusCode::METHOD_NOT_ALLOWED => Problem::new(
                status,
                "method_not_allowed",
                format!("{path} does not know {method}"),
                "the Allow header names the methods that it knows",
            ),
            _ => Problem::new(
                status,
                "bad_request",
                format!("{path} cannot be answered: {status}"),
                "GET /openapi.json says what can be asked",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Answer { status, headers, body } = *self.0;
        let mut response = (status, axum::Json(body)).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
