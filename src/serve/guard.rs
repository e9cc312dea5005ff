//! Guard: who may ask. Every request passes here before anything else looks at it.
//!
//! 1. `Host` must be a name of ours: a page from elsewhere whose own name has been made to point here (DNS
//!    rebinding) is told so by its browser. An IP address cannot be rebound.
//! 2. `Origin`, which browsers send with what could change something, must be that of our own page; and a browser
//!    that says that another site asks (`Sec-Fetch-Site`) is refused, unless a person follows a link.
//! 3. Where a token is set, every request must carry it, except for those in [`OPEN`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::serve::problem::Problem;
use crate::serve::{Error, page};

/// What may be asked without a token: a sign of life for probes, and the pages, which hold nothing but themselves and
/// ask for the token.
pub(super) const OPEN: [&str; 4] = ["/ping", page::PATHS[0], page::PATHS[1], page::WATCH];

/// What every server has that lets nobody else ask.
pub(super) trait Guarded: Send + Sync + 'static {
    /// Who may ask.
    fn guard(&self) -> &Guard;

    /// How long a client may take for the body of a request.
    fn patience(&self) -> Duration;
}

/// Who may ask.
#[derive(Debug)]
pub(super) struct Guard {
    /// The digest of the token: comparing digests tells nothing about the token, not even its length.
    token: Option<[u8; 32]>,
    listen: IpAddr,
    /// Names in small letters.
    hosts: Vec<String>,
}

impl Guard {
    /// # Errors
    /// When everybody on the network could ask, or the token cannot stand in a header.
    pub(super) fn new(addr: SocketAddr, token: Option<&str>, hosts: &[String]) -> Result<Guard, Error> {
        if token.is_none() && !addr.ip().is_loopback() {
            return Err(Error::Unprotected { addr });
        }
        if token.is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::Token);
        }
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Guard { token: token.map(digest), listen: addr.ip(), hosts })
    }

    /// Whether requests must carry a token.
    pub(super) fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    fn admit(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let host = self.host(request)?;
        same_site(request.method(), headers, &host)?;
        if OPEN.contains(&request.uri().path()) { Ok(()) } else { self.token(headers) }
    }

    fn host(&self, request: &Request) -> Result<Authority, Problem> {
        let mut given = request.headers().get_all(header::HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
            _ => None,
        };
        let host = host.ok_or_else(|| {
            let message = "the request needs one Host header that is a name or an address";
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_host",
                message,
                "send it, as every HTTP/1.1 client does",
            )
        })?;
        // `GET http://elsewhere/ HTTP/1.1` names its host twice.
        for name in [Some(&host), request.uri().authority()].into_iter().flatten() {
            if !self.knows(name.host()) {
                let message = format!("this is not {}", name.host());
                let help = "use the address that it listens on, or start it with --allowed-host NAME";
                return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message, help));
            }
        }
        Ok(host)
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.listen || self.listen.is_unspecified(),
            Err(_) => {
                let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                name == "localhost" || self.hosts.contains(&name)
            }
        }
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (message, challenge) = match given.and_then(bearer) {
            Some(given) if bool::from(digest(given).ct_eq(token)) => return Ok(()),
            Some(_) => ("the token is wrong", r#"Bearer realm="runner", error="invalid_token""#),
            None => ("a token is needed", r#"Bearer realm="runner""#),
        };
        let help =
            "send the header Authorization: Bearer TOKEN with the token that the server was started with";
        Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message, help)
            .with(header::WWW_AUTHENTICATE, challenge))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn same_site(method: &Method, headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
    let foreign = |from: &str| {
        let message = format!("a page from {from} may not ask here");
        Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            message,
            "only the page of this server may: open /",
        )
    };
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("somewhere unreadable");
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !place.is_some_and(|place| place.eq_ignore_ascii_case(host.as_str())) {
            return Err(foreign(origin));
        }
    }
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let follows_a_link = method == Method::GET && said("sec-fetch-mode") == Some("navigate");
    match said("sec-fetch-site") {
        Some("cross-site" | "same-site") if !follows_a_link => Err(foreign("another site")),
        _ => Ok(()),
    }
}

/// The layer around all routes: refuses, and gives every error the same shape.
pub(super) async fn layer<S: Guarded>(
    State(shared): State<Arc<S>>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match shared.guard().admit(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let mut response = shaped(response, &method, &path);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a library has refused gets a body of ours and keeps its headers, such as Allow.
fn shaped(response: Response, method: &Method, path: &str) -> Response {
    let status = response.status();
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut shaped = Problem::of_status(status, method, path).into_response();
    for (name, value) in response.headers() {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    shaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn guard(listen: &str, token: Option<&str>) -> Guard {
        let hosts = ["Load.Example".to_string()];
        Guard::new(listen.parse().expect("an address"), token, &hosts).expect("a guard")
    }

    fn status(guard: &Guard, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method("POST").uri("/count");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        guard.admit(&request).map_or_else(|problem| problem.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_ours_are_answered() {
        let local = guard("127.0.0.1:3030", None);
        for host in
            ["127.0.0.1:3030", "localhost", "LOCALHOST.:1", "[::1]:3030", "127.9.9.9", "load.example:80"]
        {
            assert_eq!(status(&local, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "10.0.0.5", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]"]
        {
            assert_eq!(status(&local, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&local, &[]), 400);
        assert_eq!(status(&local, &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(status(&local, &[("host", "a b")]), 400);
        let auth = ("authorization", "Bearer secret");
        let open = guard("0.0.0.0:3030", Some("secret"));
        assert_eq!(status(&open, &[("host", "10.0.0.5:3030"), auth]), 200);
        assert_eq!(status(&open, &[("host", "evil.example"), auth]), 421);
        let one = guard("10.0.0.5:3030", Some("secret"));
        assert_eq!(status(&one, &[("host", "10.0.0.5:3030"), auth]), 200);
        assert_eq!(status(&one, &[("host", "10.0.0.6:3030"), auth]), 421);
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let guard = guard("127.0.0.1:3030", None);
        let host = ("host", "127.0.0.1:3030");
        for (origin, expected) in [
            ("http://127.0.0.1:3030", 200),
            ("https://127.0.0.1:3030", 200),
            ("http://127.0.0.1:8080", 403),
            ("http://evil.example", 403),
            ("null", 403),
            ("", 403),
        ] {
            assert_eq!(status(&guard, &[host, ("origin", origin)]), expected, "{origin}");
        }
        for (site, expected) in [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
        {
            assert_eq!(status(&guard, &[host, ("sec-fetch-site", site)]), expected, "{site}");
        }
    }

    #[test]
    fn a_token_must_be_exact() {
        let guard = guard("127.0.0.1:3030", Some("secret"));
        let host = ("host", "localhost");
        for (given, expected) in [
            ("Bearer secret", 200),
            ("bearer secret", 200),
            ("Bearer secret2", 401),
            ("Bearer secre", 401),
            ("Bearer", 401),
            ("Basic secret", 401),
            ("secret", 401),
        ] {
            assert_eq!(status(&guard, &[host, ("authorization", given)]), expected, "{given}");
        }
        assert_eq!(status(&guard, &[host]), 401);
    }

    #[test]
    fn the_network_is_not_served_without_a_token() {
        let addr = "0.0.0.0:3030".parse().expect("an address");
        assert!(matches!(Guard::new(addr, None, &[]), Err(Error::Unprotected { .. })));
        for token in ["", "a b", "ü"] {
            assert!(matches!(Guard::new(addr, Some(token), &[]), Err(Error::Token)), "{token}");
        }
    }
}
