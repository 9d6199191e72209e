//! The side of a web server in a test of an HTTP/1.1 client: what was asked, and what to answer.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads one request of which the length is said: its head and its body.
///
/// # Panics
///
/// When the client ends in the middle of it, and when it is no such request.
pub async fn read_request(io: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let mut seen = Vec::new();
    loop {
        if let Some((head, body)) = std::str::from_utf8(&seen).ok().and_then(|text| text.split_once("\r\n\r\n")) {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() == length.unwrap_or_else(|| panic!("no length is in {head}")) {
                return (head.to_owned(), body.to_owned());
            }
        }
        let read = io.read_buf(&mut seen).await.unwrap_or_else(|error| panic!("a request cannot be read: {error}"));
        assert!(read > 0, "a request ended in its middle");
    }
}

/// An answer; `headers` are lines, each with its end.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}
