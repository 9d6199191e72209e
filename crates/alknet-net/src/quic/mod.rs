//! The QUIC carrier.

mod lazy_session;
mod link;
pub(crate) mod transport;

pub(crate) use lazy_session::LazyServerConfig;
pub(crate) use link::QuicLink;
