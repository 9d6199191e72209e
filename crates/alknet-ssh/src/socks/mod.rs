//! The proxy on this machine whose connections leave from a node: SOCKS5, HTTP CONNECT, and SOCKS5's datagrams.

mod associate;
mod client;
mod http_connect;
mod proxy;
mod reach;
mod request;
mod target;
mod udp_header;

pub(crate) use http_connect::parse_connect;
pub use proxy::{OnRefusal, Proxy};
pub use reach::{Reach, ReachError};
pub(crate) use request::{Request, parse_greeting, parse_request};
pub(crate) use target::InvalidTarget;
pub use target::{Target, TargetHost};
pub(crate) use udp_header::{parse_udp_header, write_udp_header};
