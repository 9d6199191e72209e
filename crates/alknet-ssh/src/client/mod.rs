//! The SSH client: one connection to a node over a stream that its carrier opened.

mod callbacks;
mod channel;
mod client_config;
mod connection;
mod forward_stream;
mod login;
mod process;
mod relay;
mod remote_listener;
mod tunnel;

pub use client_config::prefers_aes;
pub use connection::{ConnectError, OpenError, Origin, SshClient};
pub use forward_stream::ForwardStream;
pub use login::ClientLogin;
pub use process::{
    ProcessError, ProcessRequest, RemoteEvent, RemoteExit, RemoteInput, RemoteOutput, RemotePiece, RemoteProcess,
    TerminalSpec,
};
pub use remote_listener::{ListenError, RemoteListener};
pub use tunnel::{Backoff, Tunnel, TunnelError};
