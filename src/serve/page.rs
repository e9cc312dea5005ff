//! Pages for people: HTML files that need nothing from elsewhere.
//!
//! The first is the API: it reads `/openapi.json` and shows every operation with a form to try it. The second shows a run
//! while it goes. They hold no data, so they need no token; they ask for one where the API does.

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::report::PAGE_STYLE;
use crate::serve::{Shared, live};

/// Where the first is.
pub(super) const PATHS: [&str; 2] = ["/", "/docs"];

/// Where a server that starts runs has the second. The name of the run stands behind `#`.
pub(super) const WATCH: &str = "/watch";

const PAGE: &str = include_str!("page.html");
const LIVE: &str = include_str!("live.html");

/// What stands in the second page where the style of the report belongs.
const STYLE_HERE: &str = "/* STYLE OF THE REPORT */";

/// Serves both.
pub(super) fn router() -> Router<Shared> {
    routed(&PATHS, PAGE.to_owned()).merge(routed(&[WATCH], live_page()))
}

/// Serves the page of a run alone.
pub(super) fn live_router() -> Router<live::Shared> {
    routed(&PATHS[..1], live_page())
}

fn live_page() -> String {
    LIVE.replacen(STYLE_HERE, PAGE_STYLE, 1)
}

fn routed<S: Clone + Send + Sync + 'static>(paths: &[&str], page: String) -> Router<S> {
    let policy = policy(&page);
    let answer = move || {
        let (policy, page) = (policy.clone(), page.clone());
        async move { shown(policy, page) }
    };
    paths.iter().fold(Router::new(), |router, path| router.route(path, get(answer.clone())))
}

fn shown(policy: String, page: String) -> Response {
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer".to_owned())];
    (headers, Html(page)).into_response()
}

/// A page runs its own script and nothing else, and speaks to this server and nobody else.
fn policy(page: &str) -> String {
    let hash = |tag: &str| {
        let inside = between(page, &format!("<{tag}>"), &format!("</{tag}>"));
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
    fn the_pages_need_nothing_from_elsewhere() {
        for page in [PAGE.to_owned(), live_page()] {
            for tag in ["script", "style"] {
                let found = page.matches(&format!("<{tag}")).count();
                assert_eq!(found, 1, "one {tag}, the one that the policy knows");
                assert!(!between(&page, &format!("<{tag}>"), &format!("</{tag}>")).is_empty());
            }
            for foreign in ["http://", "https://", "src=", "@import", "style=\"", "onclick=", "innerHTML"] {
                assert!(!page.contains(foreign), "{foreign}");
            }
            assert!(policy(&page).contains("script-src 'sha256-"));
        }
        assert!(!live_page().contains(STYLE_HERE));
    }
}
