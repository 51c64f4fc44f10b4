//! Who may ask for what, and what a browser may do with the answer.
//!
//! Everything is read-only. Where there is a token, everything needs it but [`OPEN`], which platforms ask for
//! without; a path that does not exist answers as one that does, so that nobody learns which there are.

use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// What needs no token: it tells nothing of a lead or a person.
pub const OPEN: &[&str] = &["/livez", "/readyz", "/metrics"];

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing is loaded, framed, kept, or told to other sites.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// What must be shown to see more than [`OPEN`]; only its hash is kept.
#[derive(Debug, Clone, Copy)]
pub struct Token(blake3::Hash);

impl Token {
    /// The token of this text.
    pub fn new(text: &str) -> Token {
        Token(blake3::hash(text.as_bytes()))
    }

    /// Whether a request shows it. Hashes compare in constant time, so the time taken tells nothing of it.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        shown.is_some_and(|(scheme, text)| {
            scheme.eq_ignore_ascii_case("bearer") && blake3::hash(text.trim().as_bytes()) == self.0
        })
    }
}

/// The same pages, behind the guard.
pub fn guarded(pages: Router, token: Option<Token>) -> Router {
    let pages = pages.fallback(nothing_here);
    let pages = pages.layer(from_fn(in_time)).layer(from_fn_with_state(token, admit));
    pages.layer(from_fn(read_only)).layer(from_fn(with_headers))
}

async fn nothing_here() -> Response {
    say(StatusCode::NOT_FOUND, "there is nothing here")
}

async fn admit(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let is_open = OPEN.contains(&request.uri().path());
    if is_open || token.is_none_or(|token| token.is_shown(request.headers())) {
        return next.run(request).await;
    }
    let wanted = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (wanted, say(StatusCode::UNAUTHORIZED, "a bearer token is needed")).into_response()
}

async fn read_only(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allowed = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return (allowed, say(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here")).into_response();
    }
    if !request.body().is_end_stream() {
        return say(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body");
    }
    next.run(request).await
}

async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    answered.unwrap_or_else(|_| say(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long"))
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn say(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::Token;

    #[test]
    fn only_the_whole_token_opens() {
        let token = Token::new("a-token-of-some-length");
        for (shown, opens) in [
            ("Bearer a-token-of-some-length", true),
            ("bearer a-token-of-some-length", true),
            ("Bearer a-token-of-some-lengt", false),
            ("Bearer a-token-of-some-lengthh", false),
            ("Bearer", false),
            ("Bearer ", false),
            ("Basic a-token-of-some-length", false),
            ("a-token-of-some-length", false),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(shown))]);
            assert_eq!(token.is_shown(&headers), opens, "{shown}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
    }

    #[test]
    fn a_token_is_not_printed() {
        assert!(!format!("{:?}", Token::new("hunter2")).contains("hunter2"));
    }
}
