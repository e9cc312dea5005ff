//! OpenAPI: the description of all paths, made from the types and functions that answer them.
//!
//! What an operation can answer by itself stands next to it. What every operation can answer, because it passes the
//! guard and maybe reads a body, is added here, once.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::serve::problem::ErrorBody;
use crate::serve::{self, Shared, generations, guard, live, runs, scenarios};

/// Where the description is.
const PATH: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "runner",
        description = "Records in Redis, and runs of scenarios. Every error has the same shape: a word for programs, \
                       what is wrong, and what to do about it."
    ),
    tags(
        (name = "records", description = "The three paths of the record generator, and what goes on"),
        (name = "generations", description = "Records: begin to write them, follow, cancel"),
        (name = "runs", description = "Scenarios of a folder: run one, follow, stop, get its files"),
    ),
    components(schemas(ErrorBody))
)]
struct Document;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "runner run",
        description = "One run while it goes. Every error has the same shape: a word for programs, what is wrong, and \
                       what to do about it."
    ),
    tags((name = "live", description = "How the run stands, and what is changed in it")),
    components(schemas(ErrorBody))
)]
struct LiveDocument;

/// An answer that operations have in common.
struct Common {
    name: &'static str,
    status: &'static str,
    description: &'static str,
    code: &'static str,
    message: &'static str,
    help: &'static str,
}

/// Of every operation.
const ANY: &[Common] = &[
    Common {
        name: "BadRequest",
        status: "400",
        description: "No HTTP that can be answered, or a body that is no JSON",
        code: "bad_json",
        message: "the body is no JSON: expected value at line 1 column 1",
        help: "send a JSON object, such as {\"count\": 500000}",
    },
    Common {
        name: "ForeignOrigin",
        status: "403",
        description: "A page of another site asks",
        code: "foreign_origin",
        message: "a page from http://example.com may not ask here",
        help: "only the page of this server may: open /",
    },
    Common {
        name: "WrongHost",
        status: "421",
        description: "The request is for another host",
        code: "wrong_host",
        message: "this is not example.com",
        help: "use the address that it listens on, or start it with --allowed-host NAME",
    },
];

/// Of every operation that is behind the token.
const GUARDED: &[Common] = &[Common {
    name: "Unauthorized",
    status: "401",
    description: "The server wants a token, and this is not it",
    code: "unauthorized",
    message: "a token is needed",
    help: "send the header Authorization: Bearer TOKEN with the token that the server was started with",
}];

/// Of every operation that reads a body.
const READING: &[Common] = &[
    Common {
        name: "BodyTooSlow",
        status: "408",
        description: "The body did not arrive in time",
        code: "body_too_slow",
        message: "the body did not arrive within 10s",
        help: "send the whole body at once",
    },
    Common {
        name: "BodyTooLarge",
        status: "413",
        description: "The body is longer than 1 MiB",
        code: "body_too_large",
        message: "the body is longer than 1048576 bytes",
        help: "every request fits into 1 MiB",
    },
    Common {
        name: "NotJson",
        status: "415",
        description: "The content type is not application/json",
        code: "not_json",
        message: "the content type must be application/json, not text/plain",
        help: "send the header Content-Type: application/json",
    },
    Common {
        name: "Unprocessable",
        status: "422",
        description: "JSON, but a field is missing, unknown, or cannot have this value",
        code: "count_out_of_range",
        message: "count is 0, and it must be a whole number from 1 to 100000000",
        help: "send a whole number without quotes, such as \"count\": 500000",
    },
];

/// The paths of the API and their description, as JSON.
pub(super) fn described(shared: &Shared) -> (Router<Shared>, String) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(generations::generate))
        .routes(routes!(serve::count))
        .routes(routes!(serve::ping))
        .routes(routes!(serve::status))
        .routes(routes!(generations::list, generations::start))
        .routes(routes!(generations::get))
        .routes(routes!(generations::events))
        .routes(routes!(generations::cancel))
        .routes(routes!(scenarios::list))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::get))
        .routes(routes!(runs::events))
        .routes(routes!(runs::file))
        .routes(routes!(runs::stop))
        .routes(routes!(runs::live))
        .routes(routes!(runs::live_events))
        .routes(routes!(runs::control))
        .split_for_parts();
    complete(&mut document, shared.guard.wants_token());
    bound(&mut document, shared.config.max_count);
    (router, printed(document))
}

/// The same of the server of a run.
pub(super) fn described_live(shared: &live::Shared) -> (Router<live::Shared>, String) {
    use guard::Guarded;
    let (router, mut document) = OpenApiRouter::with_openapi(LiveDocument::openapi())
        .routes(routes!(live::get))
        .routes(routes!(live::events))
        .routes(routes!(live::control))
        .routes(routes!(live::ping))
        .split_for_parts();
    complete(&mut document, shared.guard().wants_token());
    (router, printed(document))
}

fn printed(document: utoipa::openapi::OpenApi) -> String {
    // A description is made of JSON values: it always prints.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    for (event, of) in [("GenerationEvent", "Generation"), ("RunEvent", "Run"), ("LiveEvent", "Live")] {
        // The package has no word for what the data of an event holds.
        if let Some(data) = document.pointer_mut(&format!("/components/schemas/{event}/properties/data")) {
            data["contentSchema"] = json!({ "$ref": format!("#/components/schemas/{of}") });
        }
    }
    format!("{document:#}")
}

/// Serves the description.
pub(super) fn router<S: Clone + Send + Sync + 'static>(description: &str) -> Router<S> {
    let description: Arc<str> = description.into();
    let answer = move || {
        let description = description.to_string();
        async move { ([(header::CONTENT_TYPE, "application/json")], description) }
    };
    Router::new().route(PATH, get(answer))
}

/// Adds what operations have in common.
fn complete(document: &mut utoipa::openapi::OpenApi, wants_token: bool) {
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token that the server was started with (RUNNER_TOKEN)"))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    for common in ANY.iter().chain(GUARDED).chain(READING) {
        components.responses.insert(common.name.to_owned(), RefOr::T(response(common)));
    }
    if wants_token {
        document.security = Some(vec![SecurityRequirement::new::<_, _, String>("token", [])]);
    }
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            add(operation, ANY);
            if wants_token && !guard::OPEN.contains(&path.as_str()) {
                add(operation, GUARDED);
            }
            if operation.request_body.is_some() {
                add(operation, READING);
            }
        }
    }
}

fn add(operation: &mut Operation, common: &[Common]) {
    for common in common {
        let place = Ref::from_response_name(common.name);
        operation.responses.responses.entry(common.status.to_owned()).or_insert(RefOr::Ref(place));
    }
}

fn response(common: &Common) -> Response {
    let example = json!({
        "error": { "code": common.code, "message": common.message, "help": common.help }
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).example(Some(example)).build();
    ResponseBuilder::new().description(common.description).content("application/json", content).build()
}

/// The highest count is a setting, so no type knows it.
fn bound(document: &mut utoipa::openapi::OpenApi, max_count: u64) {
    let Some(components) = &mut document.components else { return };
    for name in ["GenerateRequest", "NewGeneration"] {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name)
            && let Some(RefOr::T(Schema::Object(count))) = object.properties.get_mut("count")
        {
            count.maximum = Some(whole(max_count));
            count.example = Some(json!(max_count.min(500_000)));
        }
    }
}

fn whole(number: u64) -> utoipa::Number {
    usize::try_from(number).map_or(utoipa::Number::Float(number as f64), utoipa::Number::UInt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(wants_token: bool) -> utoipa::openapi::OpenApi {
        let mut document = Document::openapi();
        document.paths.paths.extend(
            OpenApiRouter::<Shared>::new()
                .routes(routes!(generations::generate))
                .routes(routes!(serve::ping))
                .to_openapi()
                .paths
                .paths,
        );
        complete(&mut document, wants_token);
        document
    }

    #[test]
    fn every_operation_says_what_the_guard_and_the_body_may_answer() {
        let document = serde_json::to_value(document(true)).expect("JSON");
        let generate = &document["paths"]["/generate"]["post"]["responses"];
        for status in ["200", "400", "401", "403", "408", "409", "413", "415", "421", "422", "503"] {
            assert!(generate[status].is_object(), "{status}");
        }
        let ping = &document["paths"]["/ping"]["get"];
        assert!(ping["responses"]["401"].is_null() && ping["responses"]["421"].is_object());
        assert_eq!(document["security"], json!([{ "token": [] }]));
    }

    #[test]
    fn without_a_token_none_is_asked_for() {
        let document = serde_json::to_value(document(false)).expect("JSON");
        assert!(document["security"].is_null());
        assert!(document["paths"]["/generate"]["post"]["responses"]["401"].is_null());
        assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    }
}
