//! Page: the API for people, one HTML file that needs nothing from elsewhere.
//!
//! It reads `/openapi.json` and shows every operation with a form to try it. It holds no data, so it needs no token; it
//! asks for one where the API does.

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::serve::Shared;

/// Where it is.
pub(super) const PATHS: [&str; 2] = ["/", "/docs"];

const PAGE: &str = include_str!("page.html");

/// Serves the page.
pub(super) fn router() -> Router<Shared> {
    let policy = policy();
    let answer = move || {
        let policy = policy.clone();
        async move { page(policy) }
    };
    PATHS.iter().fold(Router::new(), |router, path| router.route(path, get(answer.clone())))
}

fn page(policy: String) -> Response {
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer".to_owned())];
    (headers, Html(PAGE)).into_response()
}

/// The page runs its own script and nothing else, and speaks to this server and nobody else.
fn policy() -> String {
    let hash = |tag: &str| {
        let inside = between(PAGE, &format!("<{tag}>"), &format!("</{tag}>"));
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside.as_bytes())))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// What stands between the first `start` and the `end` after it; empty where there is none.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let inside = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    inside.map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for tag in ["script", "style"] {
            assert_eq!(
                PAGE.matches(&format!("<{tag}")).count(),
                1,
                "one {tag}, the one that the policy knows"
            );
            assert!(!between(PAGE, &format!("<{tag}>"), &format!("</{tag}>")).is_empty());
        }
        for foreign in ["http://", "https://", "src=", "@import", "style=\"", "onclick=", "innerHTML"] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        assert!(policy().contains("script-src 'sha256-"));
    }
}
