//! SSH on any stream Alknet hands it: server, client, forwarding, a local SOCKS5 proxy, an ssh-agent.
//!
//! One [`SshServer`] serves SSH-2 (RFC 4251–4254) over QUIC, TLS and bare TCP alike: every stream of a connection is one SSH connection. It
//! knows who somebody is from the public key that was *proven*, asks the gate, and runs commands and login shells under the node's own uid
//! for holders of `owner`, and as a user of the machine for peers that are mapped to one. [`SshClient`] and [`Tunnel`] are the other end;
//! [`ForwardPolicy`] says what may be reached through a node.
//!
//! Not here: the TLS handshake, dialling, storage of peers, SFTP. This is the only crate that names russh, and none of russh's types appears
//! in its interface.
//!
//! ```
//! use alknet_ssh::parse_public_key;
//! let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS alice@box";
//! assert_eq!(parse_public_key(line)?.comment, "alice@box");
//! # Ok::<(), alknet_ssh::PublicKeyError>(())
//! ```

mod account;
mod address_list;
mod agent;
mod algorithms;
mod authorized_keys;
mod certificate;
mod channel;
mod client;
mod config;
mod environment;
mod expiry;
mod fingerprint;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod greeting;
mod handler;
mod host_certificate;
mod host_key;
mod inbox;
mod key_options;
mod krl;
pub mod limits;
mod line_options;
mod live;
mod login;
mod parting;
mod pattern;
mod policy;
mod pressure;
mod process;
mod pty;
mod recording;
mod relay;
mod revocation;
mod session;
mod socks;
mod subsystem;
mod system_user;
mod terminal_modes;
mod udp;
mod waiting_room;
mod watched;
mod wire;

pub use agent::{Agent, AgentKey, AskPermission};
pub use authorized_keys::{
    AuthorizedKeysError, PublicKeyError, PublicKeyLine, parse_authorized_keys, parse_public_key,
};
pub use client::{
    Backoff, ClientLogin, ConnectError, ForwardStream, ListenError, OpenError, Origin, ProcessError, ProcessRequest,
    RemoteEvent, RemoteExit, RemoteInput, RemoteListener, RemoteOutput, RemotePiece, RemoteProcess, SshClient,
    TerminalSpec, Tunnel, TunnelError, prefers_aes,
};
pub use config::{SshConfig, SshLimits};
pub use handler::{PEER_CONTROLLED_LOG_TARGETS, SSH, SSH_ALIAS, SshServer};
pub use host_certificate::{HostCertificate, HostCertificateError, known_hosts_line};
pub use host_key::HostKey;
pub use line_options::KeyOptionError;
pub use live::{KILL_SCOPE, LiveSession, LiveSessions, SESSIONS_SCOPE};
pub use policy::{
    Direction, Explained, Explanation, ForwardPolicy, ForwardRule, ForwardTarget, InvalidDirection,
    InvalidForwardTarget, InvalidRule,
};
pub use recording::{
    Page, RECORDINGS_SCOPE, Recorded, RecordedSession, RecordingError, RecordingLimits, RecordingPolicy, Recordings,
};
pub use socks::{OnRefusal, Proxy, Reach, ReachError, Target, TargetHost};
pub use subsystem::{Served, Subsystem, SubsystemError, Subsystems};
pub use system_user::SystemUser;
pub use udp::{UDP, UdpService, UdpTunnels};
