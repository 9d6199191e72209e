//! The one-byte gate: what a TCP client is, by the first byte that it sends. Pure.

/// What the first byte of a TCP connection announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstByte {
    /// A TLS handshake record.
    Tls,
    /// An SSH client's version line, `SSH-2.0-…`.
    Ssh,
    /// The first letter of an HTTP verb, without TLS.
    Http,
    /// Nothing that is served here.
    Other,
}

/// Judges the first byte.
pub(crate) fn classify(byte: u8) -> FirstByte {
    match byte {
        0x16 => FirstByte::Tls,
        b'S' => FirstByte::Ssh,
        // CONNECT, DELETE, GET, HEAD, OPTIONS, POST and PUT and PATCH, TRACE.
        b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => FirstByte::Http,
        _ => FirstByte::Other,
    }
}

/// The TLS record that refuses a hello whose ALPNs are all unknown: a fatal `no_application_protocol` (RFC 7301, 3.2).
pub(crate) const NO_APPLICATION_PROTOCOL: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 120];

/// An `https` URL to which HTTP clients without TLS are sent. Nothing that they sent is in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// A text that cannot stand in a `Location` header as an `https` URL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a public URL begins with https:// and has visible ASCII characters only")]
pub struct InvalidPublicUrl;

impl std::str::FromStr for PublicUrl {
    type Err = InvalidPublicUrl;
    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let host = text.strip_prefix("https://").ok_or(InvalidPublicUrl)?;
        let visible = host.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !visible { Err(InvalidPublicUrl) } else { Ok(Self(text.to_owned())) }
    }
}

/// The whole answer to HTTP without TLS.
pub(crate) fn http_answer(public_url: Option<&PublicUrl>) -> String {
    let (status, location, body) = match public_url {
        Some(PublicUrl(url)) => ("301 Moved Permanently", format!("Location: {url}\r\n"), "Use https.\n"),
        None => ("400 Bad Request", String::new(), "This port speaks https: use a https:// address.\n"),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{location}Content-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // NET-15
    #[test]
    fn every_byte_has_one_verdict() {
        let by_verdict =
            |verdict| (0..=u8::MAX).filter(|byte| classify(*byte) == verdict).map(char::from).collect::<String>();
        assert_eq!(by_verdict(FirstByte::Tls), "\u{16}");
        assert_eq!(by_verdict(FirstByte::Ssh), "S");
        assert_eq!(by_verdict(FirstByte::Http), "CDGHOPT");
        assert_eq!(by_verdict(FirstByte::Other).chars().count(), 256 - 9);
        for verb in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"] {
            assert_eq!(classify(verb.as_bytes()[0]), FirstByte::Http, "{verb}");
        }
    }

    // NET-17
    #[test]
    fn the_answer_names_https_or_sends_to_the_configured_url_only() {
        let plain = http_answer(None);
        assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("https") && !plain.contains("Location"));
        let url = "https://node.example/".parse().unwrap();
        let moved = http_answer(Some(&url));
        assert!(moved.starts_with("HTTP/1.1 301 ") && moved.contains("\r\nLocation: https://node.example/\r\n"));
        for answer in [plain, moved] {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
    }

    #[test]
    fn a_url_that_could_split_the_header_is_refused() {
        for bad in ["", "https://", "http://a", "https://a\r\nX: y", "https://a b", "https://ä"] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(InvalidPublicUrl), "{bad}");
        }
    }
}
