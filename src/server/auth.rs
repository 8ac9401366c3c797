//! Who may ask: API keys, and pages of other origins.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::anthropic;
use super::caps::Caps;
use super::error::ApiError;

/// Paths that need no key: health for orchestrators, metrics for collectors, and the page, which
/// asks for the key itself.
const OPEN: &[&str] = &["/", "/health", "/ping", "/metrics"];

/// The keys that open the server, as digests, so that comparing takes the same time for all.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// These keys; none opens the server to everyone.
    pub fn new<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Self {
        Self(keys.into_iter().map(|key| digest(key.as_ref())).collect())
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn open(&self, headers: &HeaderMap) -> bool {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim());
        let given = [bearer, text(header::HeaderName::from_static("x-api-key"))];
        // Some clients send a key of their own in one header whatever is set for the other.
        given
            .into_iter()
            .flatten()
            .map(digest)
            .fold(false, |open, given| self.0.iter().fold(open, |open, key| open | (*key == given)))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Keys, if any is needed.
    pub keys: Keys,
    /// Origins of other pages that may ask: `*` for all.
    pub origins: Vec<String>,
    /// Under which names, beside addresses and localhost, the server may be asked; none where any is right.
    pub hosts: Option<Vec<String>>,
    /// How large a request's headers may be.
    pub caps: Caps,
}

impl Guard {
    fn judge(&self, request: &Request<Body>) -> Result<(), ApiError> {
        let headers = request.headers();
        self.caps.check_headers(request.uri(), headers)?;
        if headers.get_all(header::HOST).iter().count() > 1 {
            return Err(ApiError::bad("two Host headers: expected one"));
        }
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let plain = |coding: &[u8]| {
            coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity")
        };
        if !codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).all(plain) {
            let message = "the body is compressed: expected it as it is, without Content-Encoding";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        // A request's own authority stands above the header (RFC 9112, 3.2.2).
        let authority = request.uri().authority().and_then(|authority| authority.as_str().rsplit('@').next());
        let host = authority.map(str::as_bytes).or(headers.get(header::HOST).map(HeaderValue::as_bytes));
        if !self.knows_host(host) {
            let message =
                "this name does not lead here: start the server with --allowed-hosts NAME, or with a key";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message).code("unknown_host"));
        }
        if !self.admits(headers, host) {
            let message = "pages of this origin may not ask: start the server with --allowed-origins";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        let asks = self.asks_for_a_key(request.uri().path()) && request.method() != Method::OPTIONS;
        if !asks || self.keys.open(headers) {
            return Ok(());
        }
        let message = "expected the server's API key, as 'Authorization: Bearer KEY' or 'x-api-key: KEY'";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
    }

    /// Whether a path is for those who have a key.
    pub fn asks_for_a_key(&self, path: &str) -> bool {
        !self.keys.is_empty() && !OPEN.contains(&path)
    }

    /// A page whose name is made to lead to this machine has the same origin as the server, for a browser:
    /// only the name in `Host` tells (DNS rebinding). Addresses and localhost are no such names.
    fn knows_host(&self, host: Option<&[u8]>) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        // Without the header it is no browser.
        let Some(host) = host else { return true };
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || hosts.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(&name))
    }

    /// A page of another origin could otherwise make a visitor's browser use a server on the
    /// visitor's machine.
    fn admits(&self, headers: &HeaderMap, host: Option<&[u8]>) -> bool {
        let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else {
            return true;
        };
        let own = origin.split_once("://").map(|(_, host)| host.as_bytes());
        self.origins.iter().any(|o| o == "*" || o == origin) || (own.is_some() && own == host)
    }
}

/// Turns away who may not ask.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request<Body>, next: Next) -> Response {
    match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => anthropic::respond_at(request.uri().path(), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter().map(|(n, v)| (header::HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn keys_open_by_either_header() {
        let keys = Keys::new(["a", "b"]);
        for (name, value, open) in [
            ("authorization", "Bearer b", true),
            ("authorization", "bearer a", true),
            ("x-api-key", "a", true),
            ("authorization", "Bearer c", false),
            ("authorization", "a", false),
            ("x-api-key", "", false),
        ] {
            assert_eq!(keys.open(&headers(&[(name, value)])), open, "{name}: {value}");
        }
        assert!(!keys.open(&HeaderMap::new()));
        for (bearer, own) in [("Bearer wrong", "a"), ("Bearer a", "wrong")] {
            assert!(keys.open(&headers(&[("authorization", bearer), ("x-api-key", own)])), "{bearer}, {own}");
        }
        assert!(!keys.open(&headers(&[("authorization", "Bearer wrong"), ("x-api-key", "wrong")])));
    }

    #[test]
    fn names_that_others_gave_this_machine_are_turned_away() {
        let guard = Guard { hosts: Some(vec!["llm.home.example".into()]), ..Guard::default() };
        for (host, known) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("192.168.1.7", true),
            ("localhost:8080", true),
            ("LOCALHOST.", true),
            ("app.localhost:1", true),
            ("LLM.home.example:443", true),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:80", false),
            ("", false),
        ] {
            assert_eq!(guard.knows_host(Some(host.as_bytes())), known, "{host}");
        }
        assert!(guard.knows_host(None));
        assert!(Guard::default().knows_host(Some(b"any.example")));
        let any = Guard { hosts: Some(vec!["*".into()]), ..Guard::default() };
        assert!(any.knows_host(Some(b"any.example")));
    }

    #[test]
    fn a_request_has_one_host_and_a_plain_body() {
        let guard = Guard { hosts: Some(Vec::new()), ..Guard::default() };
        let status = |uri: &str, rows: &[(&str, &str)]| {
            let mut request = Request::builder().uri(uri);
            for (name, value) in rows {
                request = request.header(*name, *value);
            }
            guard.judge(&request.body(Body::empty()).unwrap()).map_err(|error| error.status.as_u16()).err()
        };
        let host = ("host", "localhost");
        assert_eq!(status("/v1/models", &[host]), None);
        assert_eq!(status("/v1/models", &[host, ("host", "evil.example")]), Some(400));
        assert_eq!(status("http://evil.example/v1/models", &[host]), Some(403));
        assert_eq!(status("http://localhost/v1/models", &[("host", "evil.example")]), None);
        assert_eq!(status("/v1/models", &[host, ("content-encoding", "gzip")]), Some(415));
        assert_eq!(status("/v1/models", &[host, ("content-encoding", "Identity, ")]), None);
        let twice = [host, ("content-encoding", "identity"), ("content-encoding", "gzip")];
        assert_eq!(status("/v1/models", &twice), Some(415));
        assert_eq!(status("http://localhost:x@evil.example/v1/models", &[host]), Some(403));
        let own = [("host", "evil.example"), ("origin", "http://localhost:1")];
        assert_eq!(status("http://localhost:1/v1/models", &own), None);
        let other = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(status("http://localhost/v1/models", &other), Some(403));
    }

    #[test]
    fn foreign_pages_are_turned_away() {
        let guard = Guard { origins: vec!["https://ui.example".into()], ..Guard::default() };
        let host = ("host", "127.0.0.1:8080");
        assert!(guard.admits(&headers(&[host]), Some(b"127.0.0.1:8080")));
        assert!(
            guard.admits(&headers(&[host, ("origin", "http://127.0.0.1:8080")]), Some(b"127.0.0.1:8080"))
        );
        assert!(guard.admits(&headers(&[host, ("origin", "https://ui.example")]), Some(b"127.0.0.1:8080")));
        assert!(
            !guard.admits(&headers(&[host, ("origin", "https://evil.example")]), Some(b"127.0.0.1:8080"))
        );
        assert!(!guard.admits(&headers(&[host, ("origin", "null")]), Some(b"127.0.0.1:8080")));
    }
}
