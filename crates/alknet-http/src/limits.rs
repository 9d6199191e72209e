//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Head of a request (request line and header fields, or the decoded HTTP/2 field list), in bytes.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Header fields of an HTTP/1.1 request.
pub const MAX_HEADER_FIELDS: usize = 100;
/// What is read ahead on an HTTP/1.1 connection, in bytes.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// From the end of one HTTP/1.1 request to the end of the next one's head: the idle timeout of such a connection too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Requests at a time on one HTTP/2 connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 100;
/// Unread body of one HTTP/2 request, in bytes.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Unread bodies of one HTTP/2 connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Largest HTTP/2 frame taken, in bytes (the smallest that RFC 9113, 4.2 allows).
pub const MAX_FRAME_BYTES: u32 = 16 * 1024;
/// Unsent answer of one HTTP/2 request, in bytes.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Requests that a client took back and that were not yet looked at (CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 20;
/// How often a silent HTTP/2 connection is probed.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer to such a probe may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection without a request for so long is ended.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection takes no further request after so long; clients connect again.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60 * 60);
/// How long the requests of an ending connection may still take.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long an ending connection without requests may still take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest host name, in bytes (RFC 1035, 2.3.4).
pub const MAX_HOST_BYTES: usize = 253;
/// Longest URL to redirect to, in bytes.
pub const MAX_REDIRECT_BYTES: usize = 2048;
/// Segments of a path that may name a file of the decoy's folder.
pub const MAX_PATH_SEGMENTS: usize = 32;

/// Longest URL of a token endpoint, in bytes.
pub const MAX_TOKEN_ENDPOINT_BYTES: usize = 2048;
/// Head of a provider's answer, in bytes.
pub const MAX_TOKEN_HEAD_BYTES: usize = 16 * 1024;
/// Body of a provider's answer, in bytes.
pub const MAX_TOKEN_ANSWER_BYTES: usize = 64 * 1024;
/// Longest token that is taken, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How long a provider may take to answer.
pub const TOKEN_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Shortest secret that signs what a webhook is sent, in bytes.
pub const MIN_WEBHOOK_SECRET_BYTES: usize = 16;
/// Head of a webhook's answer, in bytes.
pub const MAX_WEBHOOK_HEAD_BYTES: usize = 16 * 1024;
/// What is read, and thrown away, of the body of a webhook's answer, in bytes.
pub const MAX_WEBHOOK_ANSWER_BYTES: usize = 64 * 1024;
/// How long a webhook may take to answer.
pub const WEBHOOK_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the body of its answer is read.
pub const WEBHOOK_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
