//! HTTP CONNECT in bytes (RFC 9110, 9.3.6; RFC 9112, 3.2.3): a strict reading of one request's head.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    reach::ReachError,
    target::{Target, TargetHost},
};
use crate::limits::MAX_HTTP_HEAD_BYTES;

/// The answer that begins the tunnel.
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpRefusal {
    /// Not HTTP/1.x, or not as RFC 9112 wants it.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// Anything but CONNECT.
    #[error("this is a proxy for CONNECT only; for plain http:// URLs use it as SOCKS5 (curl: socks5h://)")]
    Method,
    /// The head does not end within the bound.
    #[error("the request's head is longer than {MAX_HTTP_HEAD_BYTES} bytes")]
    TooLong,
    /// Another major version.
    #[error("HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// The target was not reached.
    #[error("{0}")]
    Reach(#[from] ReachError),
}

/// Reads the head of a CONNECT request: where to, and its length; `None` where more bytes are needed.
pub fn parse_connect(bytes: &[u8]) -> Result<Option<(Target, usize)>, HttpRefusal> {
    check_method(bytes)?;
    let within = &bytes[..bytes.len().min(MAX_HTTP_HEAD_BYTES)];
    let Some(end) = within.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() < MAX_HTTP_HEAD_BYTES { Ok(None) } else { Err(HttpRefusal::TooLong) };
    };
    let mut lines = Lines(&within[..end]);
    let (target, needs_host) = request_line(lines.next().unwrap_or_default())?;
    check_fields(lines, needs_host)?;
    Ok(Some((target, end + 4)))
}

/// Splits at CRLF and nowhere else.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.windows(2).position(|two| two == b"\r\n");
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 2..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        Some(line)
    }
}

/// Refuses another method as soon as it shows: whoever sends it need not finish.
fn check_method(bytes: &[u8]) -> Result<(), HttpRefusal> {
    let wanted = b"CONNECT ";
    let come = &bytes[..bytes.len().min(wanted.len())];
    if wanted.starts_with(come) {
        return Ok(());
    }
    match bytes.iter().position(|byte| !is_token(*byte)) {
        Some(at) if at > 0 && bytes[at] == b' ' => Err(HttpRefusal::Method),
        None if bytes.len() < MAX_HTTP_HEAD_BYTES => Ok(()),
        _ => Err(HttpRefusal::Malformed("no method")),
    }
}

/// The target of `CONNECT host:port HTTP/1.x`, and whether the version demands a Host field.
fn request_line(line: &[u8]) -> Result<(Target, bool), HttpRefusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (_method, target, version) = (words.next(), words.next(), words.next());
    let (Some(target), Some(version), None) = (target, version, words.next()) else {
        return Err(HttpRefusal::Malformed("the request line is not CONNECT host:port HTTP/1.1"));
    };
    let needs_host = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ if version.starts_with(b"HTTP/") => return Err(HttpRefusal::Version),
        _ => return Err(HttpRefusal::Malformed("the request line is not CONNECT host:port HTTP/1.1")),
    };
    Ok((authority(target).ok_or(HttpRefusal::Malformed("the target is not host:port"))?, needs_host))
}

/// Reads `host:port`, `[v6]:port`: both parts are needed (RFC 9112, 3.2.3).
fn authority(text: &[u8]) -> Option<Target> {
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    let (host, digits) = (&text[..colon], &text[colon + 1..]);
    let all_digits = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let port = str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()?;
    let host = match host.strip_prefix(b"[").map(|rest| rest.strip_suffix(b"]")) {
        Some(literal) => TargetHost::Ip(IpAddr::V6(str::from_utf8(literal?).ok()?.parse::<Ipv6Addr>().ok()?)),
        // A registered name (RFC 3986, 3.2.2) without what marks user names, paths or other ports.
        None if host.iter().any(|byte| b":@/?#[]\\".contains(byte)) => return None,
        None => TargetHost::name(host).ok()?,
    };
    Some(Target { host, port })
}

/// Field lines (RFC 9112, 5): their form, one Host where it is due, and no content, which CONNECT does not have.
fn check_fields(lines: Lines<'_>, needs_host: bool) -> Result<(), HttpRefusal> {
    let mut hosts = 0;
    for line in lines {
        let colon = line.iter().position(|byte| !is_token(*byte));
        let Some(colon) = colon.filter(|at| *at > 0 && line[*at] == b':') else {
            return Err(HttpRefusal::Malformed("a line that is no field"));
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(HttpRefusal::Malformed("a control character in a field"));
        }
        let length = name.eq_ignore_ascii_case(b"content-length") && value.trim_ascii() != b"0";
        if length || name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(HttpRefusal::Malformed("CONNECT has no content"));
        }
        hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
    }
    if hosts > 1 || (needs_host && hosts == 0) {
        return Err(HttpRefusal::Malformed("not one Host field"));
    }
    Ok(())
}

/// The characters of methods and field names (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl HttpRefusal {
    /// What the client is answered, before the connection ends.
    pub fn reply(self) -> Vec<u8> {
        let status = match self {
            Self::Malformed(_) => "400 Bad Request",
            Self::Method => "405 Method Not Allowed\r\nAllow: CONNECT",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Version => "505 HTTP Version Not Supported",
            Self::Reach(ReachError::Denied) => "403 Forbidden",
            Self::Reach(ReachError::Refused | ReachError::Unreachable) => "502 Bad Gateway",
            Self::Reach(ReachError::TimedOut) => "504 Gateway Timeout",
            Self::Reach(ReachError::Full | ReachError::NoTunnel) => "503 Service Unavailable",
        };
        let words = format!("{self}\n");
        let length = words.len();
        let fields =
            format!("Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close");
        format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{words}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(line: &str, fields: &str) -> Vec<u8> {
        format!("{line}\r\n{fields}\r\n").into_bytes()
    }

    fn target(text: &str) -> Result<String, HttpRefusal> {
        let bytes = head(&format!("CONNECT {text} HTTP/1.1"), "Host: x\r\n");
        parse_connect(&bytes).map(|parsed| parsed.expect("a whole head").0.to_string())
    }

    #[test]
    fn a_head_is_read_to_its_end_and_no_further() {
        // SOCKS-08
        let whole = head("CONNECT example.org:443 HTTP/1.1", "Host: example.org:443\r\nUser-Agent: curl/8\r\n");
        for cut in 0..whole.len() {
            assert_eq!(parse_connect(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        let (to, length) = parse_connect(&[&whole[..], b"\x16\x03"].concat()).unwrap().unwrap();
        assert_eq!((to.to_string().as_str(), length), ("example.org:443", whole.len()));
        assert!(parse_connect(&head("CONNECT a:1 HTTP/1.0", "")).unwrap().is_some());
    }

    #[test]
    fn the_target_is_a_host_and_a_port() {
        // SOCKS-08
        for (text, read) in [
            ("a.b:1", "a.b:1"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0::1]:1", "[::1]:1"),
        ] {
            assert_eq!(target(text).as_deref(), Ok(read));
        }
        let bad = [
            "a",
            "a:",
            ":1",
            "a:x",
            "a:+1",
            "a:65536",
            "a:000001",
            "::1:80",
            "[::1]",
            "[::1%lo]:1",
            "[127.0.0.1]:1",
            "http://a:1",
            "u@a:1",
            "a:1/",
            "a?b:1",
            "[a:1",
            "a]:1",
            "a\t:1",
            "é:1",
        ];
        for text in bad {
            assert_eq!(target(text), Err(HttpRefusal::Malformed("the target is not host:port")), "{text}");
        }
    }

    #[test]
    fn other_methods_are_told_what_this_is_as_soon_as_they_show() {
        // SOCKS-09
        for method in ["GET / HTTP/1.1", "POST http://a/ HTTP/1.1", "connect a:1", "CONNECTED a", "M-SEARCH *"] {
            assert_eq!(parse_connect(method.as_bytes()), Err(HttpRefusal::Method), "{method}");
        }
        let answer = String::from_utf8(HttpRefusal::Method.reply()).unwrap();
        let (fields, words) = answer.split_once("\r\n\r\n").unwrap();
        assert!(fields.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n"), "{fields}");
        assert!(fields.contains(&format!("Content-Length: {}\r\n", words.len())), "{fields}");
    }

    #[test]
    fn bad_heads_are_named_after_their_defect() {
        // SOCKS-08
        let long = format!("Host: a\r\nX: {}\r\n", "x".repeat(MAX_HTTP_HEAD_BYTES));
        let line = "CONNECT a:1 HTTP/1.1";
        let fields = |fields: &str| head(line, fields);
        let table = [
            ("no-host", fields("")),
            ("two-hosts", fields("Host: a\r\nhost: b\r\n")),
            ("content", fields("Host: a\r\nContent-Length: 1\r\n")),
            ("chunked", fields("Host: a\r\nTransfer-Encoding: chunked\r\n")),
            ("folded-field", fields("Host: a\r\n b\r\n")),
            ("space-before-colon", fields("Host : a\r\n")),
            ("no-colon", fields("Host: a\r\nhello\r\n")),
            ("nul-in-field", fields("Host: a\0\r\n")),
            ("bare-cr-in-field", fields("Host: a\rb\r\n")),
            ("bare-lf-in-field", fields("Host: a\nb\r\n")),
            ("two-spaces", head("CONNECT  a:1 HTTP/1.1", "Host: a\r\n")),
            ("four-words", head("CONNECT a:1 HTTP/1.1 x", "Host: a\r\n")),
            ("no-version", head("CONNECT a:1", "Host: a\r\n")),
            ("version-in-lower-case", head("CONNECT a:1 http/1.1", "Host: a\r\n")),
            ("not-a-method", b"CONN\0".to_vec()),
        ];
        for (name, bytes) in table {
            let refused = parse_connect(&bytes).expect_err(name);
            assert!(refused.reply().starts_with(b"HTTP/1.1 400 "), "{name}");
        }
        assert_eq!(parse_connect(&fields(&long)), Err(HttpRefusal::TooLong));
        assert_eq!(parse_connect(&[b'A'; MAX_HTTP_HEAD_BYTES]), Err(HttpRefusal::Malformed("no method")));
        assert_eq!(parse_connect(&head("CONNECT a:1 HTTP/2.0", "")), Err(HttpRefusal::Version));
    }
}
