//! What went wrong, for programs (RFC 9457) and for people.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::pages;

/// Nothing may be loaded, framed or run from such an answer.
pub(crate) const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// An error answer as `application/problem+json`.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (header::CONTENT_SECURITY_POLICY, NOTHING),
    ];
    (status, head, body.to_string()).into_response()
}

/// 404, as a page for who asks for pages and as a problem for everybody else.
pub(crate) fn not_found(request: &HeaderMap) -> Response {
    let mut response = if takes_pages(request) {
        pages::not_found()
    } else {
        problem(StatusCode::NOT_FOUND, "There is nothing at this address.")
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// 405 with what is allowed (RFC 9110, 15.5.6).
pub(crate) fn method_not_allowed() -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "This address can only be read: use GET or HEAD.");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Whether the client names HTML among what it takes, as browsers do.
fn takes_pages(request: &HeaderMap) -> bool {
    let mut accepted = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .any(|value| value.split(',').any(|item| item.split(';').next().is_some_and(|kind| kind.trim() == "text/html")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_pages_and_programs_problems() {
        let accept = |value: &'static str| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]);
        for pages in ["text/html", "application/xml, text/html;q=0.9,*/*;q=0.8"] {
            assert!(takes_pages(&accept(pages)), "{pages}");
        }
        for programs in ["*/*", "application/json", "application/problem+json", "text/*", "text/htmlx"] {
            assert!(!takes_pages(&accept(programs)), "{programs}");
        }
        assert!(!takes_pages(&HeaderMap::new()));
    }
}
