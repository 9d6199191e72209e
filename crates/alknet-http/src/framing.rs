//! Notices HTTP/1.1 requests whose length is stated twice: `Content-Length` beside `Transfer-Encoding` (RFC 9112, 6.3).
//!
//! hyper serves such a request by its `Transfer-Encoding`, hides the other field and closes. That is allowed, but a proxy
//! in front may have believed the other field, so the request is refused. This only watches: hyper parses.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is kept of one line, in bytes: enough for the two fields that matter.
const KEPT_LINE_BYTES: usize = 64;

/// Set once a request with two lengths arrived; hyper takes no further request on that connection.
#[derive(Clone, Default)]
pub(crate) struct TwoLengths(Arc<AtomicBool>);

impl TwoLengths {
    pub(crate) fn seen(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream whose incoming bytes are watched.
pub(crate) struct Watched<S> {
    inner: S,
    framing: Framing,
    verdict: TwoLengths,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, verdict: TwoLengths) -> Self {
        Self { inner, framing: Framing::default(), verdict }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if self.framing.feed(&buf.filled()[before..]) {
            self.verdict.0.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Where in the requests of a connection the next byte lies.
#[derive(Default)]
struct Framing {
    state: State,
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    /// A line of this head was not empty: before the request line empty ones are skipped.
    begun: bool,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Head,
    Body(u64),
    ChunkSize,
    /// The chunk's data with the line end after them.
    Chunk(u64),
    Trailer,
    /// Something hyper will refuse, or has: nothing is watched any more.
    Lost,
}

impl Framing {
    /// Takes what arrived; answers whether a head with two lengths ended in it.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.state {
                State::Lost => return false,
                State::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Chunk(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 { State::ChunkSize } else { State::Chunk(left) };
                }
                State::Head | State::ChunkSize | State::Trailer => {
                    let Some(rest) = self.take_line(bytes) else { return false };
                    bytes = rest;
                    let line = std::mem::take(&mut self.line);
                    if self.end_of_line(line.trim_ascii_end()) {
                        self.state = State::Lost;
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Moves bytes up to the line end into `line`; what follows it, or `None` while the line goes on.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (part, rest) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
            None => (bytes, None),
        };
        let room = KEPT_LINE_BYTES - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        rest
    }

    fn end_of_line(&mut self, line: &[u8]) -> bool {
        match self.state {
            State::Head if line.is_empty() => return self.end_of_head(),
            State::Head => self.field(line),
            State::Trailer if line.is_empty() => self.state = State::Head,
            State::ChunkSize => {
                self.state = match chunk_size(line) {
                    Some(0) => State::Trailer,
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    None => State::Lost,
                }
            }
            _ => {}
        }
        false
    }

    fn field(&mut self, line: &[u8]) {
        self.begun = true;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            // A number that is none loses the track, after hyper has refused it.
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.length = Some(number.unwrap_or(u64::MAX));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        }
    }

    fn end_of_head(&mut self) -> bool {
        let (length, chunked) = (self.length.take(), std::mem::take(&mut self.chunked));
        if !std::mem::take(&mut self.begun) {
            return false;
        }
        self.state = match length {
            _ if chunked => State::ChunkSize,
            Some(length) if length > 0 => State::Body(length),
            _ => State::Head,
        };
        length.is_some() && chunked
    }
}

fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (&bytes[here..], left - here as u64)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn notices(text: &str, step: usize) -> bool {
        let mut framing = Framing::default();
        text.as_bytes().chunks(step).any(|part| framing.feed(part))
    }

    #[test]
    fn two_lengths_are_noticed_wherever_they_stand() {
        let both = "POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let swapped = "POST / HTTP/1.1\nTransfer-Encoding:chunked\nX: y\nContent-Length:5\n\n";
        let get = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let sized = "PUT / HTTP/1.1\r\nContent-Length: 30\r\n\r\n\r\nTransfer-Encoding: chunked\r\n";
        let chunked = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n14;x=y\r\n\nContent-Length: 9\r\n\r\n0\r\nContent-Length: 1\r\n\r\n";
        let long = format!("GET / HTTP/1.1\r\nX: {}Content-Length: 1\r\n\r\n", "a".repeat(200));
        for step in [1, 2, 7, 4096] {
            for harmless in [get, sized, chunked, &long] {
                assert!(!notices(&harmless.repeat(3), step), "{harmless}");
                for bad in [both, swapped] {
                    assert!(notices(&format!("{harmless}{bad}"), step), "{harmless}{bad}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe_to_watch(bytes: Vec<u8>, step in 1usize..50) {
            let mut framing = Framing::default();
            for part in bytes.chunks(step) {
                framing.feed(part);
                prop_assert!(framing.line.len() <= KEPT_LINE_BYTES);
            }
        }
    }
}
