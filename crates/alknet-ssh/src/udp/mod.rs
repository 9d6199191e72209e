//! `alknet/udp`: datagrams that leave from a node (docs/spec/socks.md, 4).

mod accounts;
mod allowance;
mod association;
mod clearance;
mod demux;
mod destinations;
mod frame;
mod frame_stream;
mod service;
mod sockets;
mod stream_queue;
mod tunnels;

pub(crate) use frame::{FrameError, decode_datagram, decode_frame, encode_datagram, encode_frame};
pub use service::UdpService;
pub(crate) use tunnels::{Association, UdpEvent};
pub use tunnels::{UDP, UdpTunnels};
