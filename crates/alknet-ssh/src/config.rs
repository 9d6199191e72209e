//! What the server is told when it is made.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use russh::{Limits, MethodKind, MethodSet, SshId, server};

use crate::{ForwardPolicy, HostCertificate, HostKey, RecordingPolicy, algorithms, limits};

/// How the server presents itself and whom its processes run as.
#[derive(Debug, Clone)]
pub struct SshConfig {
    /// The host key.
    pub host_key: HostKey,
    /// What vouches for it to clients that trust the node's authority.
    pub host_certificate: Option<HostCertificate>,
    /// Name of the user that the node runs as; accepted as a login name, and `USER` of the owners' processes.
    pub system_user: String,
    /// Login shell of that user.
    pub shell: PathBuf,
    /// Home folder of that user: where processes start.
    pub home: PathBuf,
    /// Whose processes run as another user of the system instead, by peer name. The node must run as root.
    pub users: BTreeMap<String, String>,
    /// What clients are shown before they log in.
    pub banner: Option<String>,
    /// The file with the message of the day, for login shells on a terminal.
    pub motd: Option<PathBuf>,
    /// Whose terminal sessions are recorded.
    pub recording: Option<RecordingPolicy>,
    /// Variables that a client may set: names, or beginnings of names followed by `*`.
    pub env_allow: Vec<String>,
    /// What may be forwarded. Nothing, until there are rules.
    pub forward: Arc<ForwardPolicy>,
    /// Absolute path of the keys that are not accepted any more: OpenSSH's key revocation list, or public keys in text. It is read
    /// again when it changes; while it cannot be read nobody logs in.
    pub revoked_keys: Option<PathBuf>,
    /// What tells the time, in seconds since 1970, for keys and certificates that end. Only the first configuration's counts.
    pub clock: fn() -> u64,
    /// Times and numbers.
    pub limits: SshLimits,
}

impl SshConfig {
    /// Makes a configuration with the usual environment patterns and limits.
    pub fn new(
        host_key: HostKey,
        system_user: impl Into<String>,
        shell: impl Into<PathBuf>,
        home: impl Into<PathBuf>,
    ) -> Self {
        Self {
            host_key,
            host_certificate: None,
            system_user: system_user.into(),
            shell: shell.into(),
            home: home.into(),
            users: BTreeMap::new(),
            banner: None,
            motd: None,
            recording: None,
            env_allow: ["LANG", "LC_*", "TERM", "COLORTERM", "TZ"].map(str::to_owned).to_vec(),
            forward: Arc::default(),
            revoked_keys: None,
            clock: system_clock,
            limits: SshLimits::default(),
        }
    }
}

fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Times and numbers that an operator may change.
#[derive(Debug, Clone)]
pub struct SshLimits {
    /// Time to prove a key.
    pub login_grace: Duration,
    /// Connections that have not proven a key yet; one more displaces the oldest of them.
    pub max_unauthenticated: usize,
    /// Sessions open at a time on one connection.
    pub max_channels: usize,
    /// Forwarded connections at a time on one connection.
    pub max_forwards: usize,
    /// How long a channel whose process takes no input may hold up the others of its connection.
    pub stall_timeout: Duration,
    /// Between SIGHUP and SIGKILL to the processes of a session that ends.
    pub hangup_grace: Duration,
    /// Silence after which the client is asked whether it is still there.
    pub keepalive_interval: Duration,
}

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            login_grace: limits::LOGIN_GRACE,
            max_unauthenticated: limits::MAX_UNAUTHENTICATED,
            max_channels: limits::MAX_CHANNELS,
            max_forwards: limits::MAX_FORWARDS,
            stall_timeout: limits::STALL_TIMEOUT,
            hangup_grace: limits::HANGUP_GRACE,
            keepalive_interval: limits::KEEPALIVE_INTERVAL,
        }
    }
}

/// The library's settings.
pub(crate) fn library_config(config: &SshConfig) -> server::Config {
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Alknet_", env!("CARGO_PKG_VERSION")))),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: limits::REJECTION_TIME,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![config.host_key.private()],
        certificates: config.host_certificate.iter().map(HostCertificate::certificate).collect(),
        limits: Limits::new(limits::REKEY_BYTES, limits::REKEY_BYTES, limits::REKEY_AGE),
        window_size: limits::WINDOW_BYTES,
        maximum_packet_size: limits::MAX_PACKET_BYTES,
        channel_buffer_size: limits::CHANNEL_QUEUE_PACKETS,
        event_buffer_size: limits::OUTGOING_QUEUE_PACKETS,
        preferred: algorithms::ours(),
        max_auth_attempts: limits::MAX_AUTH_ATTEMPTS,
        inactivity_timeout: Some(limits::INACTIVITY_TIMEOUT),
        keepalive_interval: Some(config.limits.keepalive_interval),
        keepalive_max: limits::MAX_UNANSWERED_KEEPALIVES,
        // Sockets are the carriers' business: they set it on theirs.
        nodelay: true,
    }
}
