//! The names of this crate's services.

use alknet_core::Alpn;

/// Calls.
pub const CALL: Alpn = Alpn::from_static(b"alknet/call");
/// The byte streams that operations hand out tickets for.
pub const BYTES: Alpn = Alpn::from_static(b"alknet/bytes");
