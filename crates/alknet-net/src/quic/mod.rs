//! The QUIC carrier.

mod congestion;
mod lazy_session;
mod link;
mod listener;
pub(crate) mod transport;

pub(crate) use lazy_session::LazyServerConfig;
pub(crate) use link::QuicLink;
pub(crate) use listener::{QuicAcceptor, facts};
pub use transport::Patience;
