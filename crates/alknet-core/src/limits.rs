//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Longest ALPN, in bytes (RFC 7301: one length byte).
pub const MAX_ALPN_BYTES: usize = 255;
/// Longest peer name, in bytes.
pub const MAX_PEER_NAME_BYTES: usize = 64;
/// Longest scope or resource name, in bytes.
pub const MAX_SCOPE_BYTES: usize = 128;
/// Longest resource id, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 512;
/// Longest host name in a `host:port`, in bytes (RFC 1035).
pub const MAX_HOST_BYTES: usize = 253;
/// Most addresses in one node ticket.
pub const MAX_TICKET_ADDRESSES: usize = 16;
/// Longest node ticket in its text form, in bytes.
pub const MAX_TICKET_TEXT_BYTES: usize = 8 * 1024;
/// Longest auth token in its text form, in bytes.
pub const MAX_TOKEN_TEXT_BYTES: usize = 2 * 1024;
/// Clock difference between two nodes that is forgiven, both ways.
pub const TOKEN_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Longest life of an auth token unless the configuration says otherwise.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Connections of one ALPN at a time, unless its service says otherwise.
pub const DEFAULT_CONNECTIONS_PER_ALPN: usize = 4096;
/// One in so many connection slots is kept for the owner.
pub const OWNER_SHARE: usize = 8;
/// Longest stretch of a peer-controlled string that reaches a log, in bytes.
pub const MAX_LOGGED_BYTES: usize = 96;
/// Identities whose allowed queries one gate counts without asking the audit for a counter again.
pub const MAX_GATE_COUNTERS: usize = 256;
/// Streams of one connection on which the peer may misbehave before the connection ends.
pub const MAX_STREAM_FAULTS: usize = 3;
/// Longest stretch of a certificate's name that reaches its label, in characters.
pub const MAX_LABEL_CHARS: usize = 64;
