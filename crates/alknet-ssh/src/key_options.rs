//! What stands before the key in its line (sshd(8), AUTHORIZED_KEYS FILE FORMAT), and what it forbids.

use crate::pattern::fits;

/// What a login with a key may be used for. The default is everything that its holder may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyOptions {
    /// Runs whatever the client asks for.
    pub(crate) command: Option<Vec<u8>>,
    /// Whether a terminal may be had.
    pub(crate) pty: bool,
    /// Whether the client's agent may be reached from here.
    pub(crate) agent_forwarding: bool,
    /// Whether anything may be forwarded: ports and sockets, in either direction.
    pub(crate) port_forwarding: bool,
    /// Where forwards may lead, if that is restricted; then no socket.
    pub(crate) permit_open: Option<Vec<PermittedHost>>,
    /// Where the node may listen for the client, if that is restricted; then no socket.
    pub(crate) permit_listen: Option<Vec<PermittedHost>>,
    /// Environment of every process, as far as the configuration lets clients set it.
    pub(crate) environment: Vec<(String, String)>,
}

/// One `host:port` of `permitopen` or `permitlisten`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PermittedHost {
    /// As it was written, without brackets; `*` for any.
    pub(crate) host: String,
    /// `None` for any.
    pub(crate) port: Option<u16>,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self {
            command: None,
            pty: true,
            agent_forwarding: true,
            port_forwarding: true,
            permit_open: None,
            permit_listen: None,
            environment: Vec::new(),
        }
    }
}

impl KeyOptions {
    /// Whether a forward may lead to `host` as the client wrote it. Names are compared as they are, without wildcards, and not resolved.
    pub(crate) fn may_open(&self, host: &str, port: u16) -> bool {
        let any_of = |list: &Vec<PermittedHost>| {
            list.iter().any(|it| it.has_port(port) && (it.host == "*" || it.host.eq_ignore_ascii_case(host)))
        };
        self.port_forwarding && self.permit_open.as_ref().is_none_or(any_of)
    }

    /// Whether the node may listen on `host` as the client wrote it.
    pub(crate) fn may_listen(&self, host: &str, port: u16) -> bool {
        let any_of = |list: &Vec<PermittedHost>| list.iter().any(|it| it.has_port(port) && fits(&it.host, host));
        self.port_forwarding && self.permit_listen.as_ref().is_none_or(any_of)
    }

    /// Whether a forward may lead to a unix socket: not where ports are restricted, for a socket would lead around that.
    pub(crate) fn may_open_sockets(&self) -> bool {
        self.port_forwarding && self.permit_open.is_none()
    }

    /// Whether the node may listen on a unix socket.
    pub(crate) fn may_listen_on_sockets(&self) -> bool {
        self.port_forwarding && self.permit_listen.is_none()
    }
}

impl PermittedHost {
    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|permitted| permitted == port)
    }
}
