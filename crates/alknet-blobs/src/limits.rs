//! Every bound of this crate, with its unit.

use std::time::Duration;

/// How long a peer may take to send its whole request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take nothing of what it asked for.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last bytes may take to be delivered before the stream is let go.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Transfers that run at a time for one identity.
pub const MAX_TRANSFERS: usize = 16;
/// Hashes in one request for many.
pub const MAX_HASHES: usize = 1024;
/// Contents of a sequence of hashes that one request goes through, asked for or left out.
pub const MAX_CHILDREN: usize = 1 << 20;
/// Bytes of a range that are read at a time.
pub const READ_BYTES: usize = 64 * 1024;
