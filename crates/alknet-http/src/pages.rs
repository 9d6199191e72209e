//! The two pages for people: self-contained, no script, readable without styles, dark or light as the reader prefers.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

const STYLE: &str = include_str!("pages/style.css");
const FRONT: &str = include_str!("pages/front.html");
const NOT_FOUND: &str = include_str!("pages/not_found.html");

/// Only the one style sheet above, by its SHA-256; no script, no frame, no form, no network.
const POLICY: &str = "default-src 'none'; style-src 'sha256-wdMsgS23NfxqDc0mkdeRlEHgsATM6LKjCreyspHLiwg='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What this is, for who came by address.
pub(crate) fn front() -> Response {
    page(StatusCode::OK, "Alknet node", FRONT)
}

/// 404. Does not say what this is: it is also what a decoy shows.
pub(crate) fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, "Not found", NOT_FOUND)
}

fn page(status: StatusCode, title: &str, main: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n"
    );
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (status, head, html).into_response()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_style_sheet() {
        let hash = data_encoding::BASE64.encode(&Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
    }

    /// HTTP-09: pages load nothing, and tell strangers no version.
    #[test]
    fn pages_are_self_contained_and_tell_no_version() {
        for text in [STYLE, FRONT, NOT_FOUND] {
            for word in ["<script", "http:", "https:", "//", "url(", "@import", env!("CARGO_PKG_VERSION")] {
                assert!(!text.contains(word), "{word}");
            }
        }
        assert!(!NOT_FOUND.to_lowercase().contains("alknet"));
    }
}
