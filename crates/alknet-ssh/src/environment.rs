//! The environment that a session's processes start with: built here, nothing of the node's own.

use std::{ffi::OsString, net::SocketAddr, path::Path};

use alknet_core::PeerAddr;

use crate::{
    account::Account,
    limits::{MAX_ENV_BYTES, MAX_ENV_VARS},
};

/// What a client asked to be set, as far as it is allowed.
#[derive(Debug, Default)]
pub(crate) struct ClientEnv(Vec<(String, String)>);

impl ClientEnv {
    /// Takes a variable when a pattern allows it; answers whether it was taken.
    pub(crate) fn set(&mut self, allow: &[String], name: &str, value: &str) -> bool {
        let small = name.len() + value.len() <= MAX_ENV_BYTES && !value.contains('\0');
        if !small || !is_name(name) || !allow.iter().any(|pattern| matches(pattern, name)) {
            return false;
        }
        self.0.retain(|(known, _)| known != name);
        if self.0.len() >= MAX_ENV_VARS {
            return false;
        }
        self.0.push((name.to_owned(), value.to_owned()));
        true
    }

    /// Takes what the key's line says instead of what the client says of the same names, as far as the patterns allow it.
    pub(crate) fn prefer(&mut self, allow: &[String], of_key: &[(String, String)]) {
        for (name, value) in of_key {
            self.0.retain(|(known, _)| known != name);
            if self.0.len() >= MAX_ENV_VARS {
                self.0.remove(0);
            }
            if !self.set(allow, name, value) {
                tracing::debug!("a variable of a key's line is outside of ssh.env_allow");
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A pattern is a name, or the beginning of one and `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// The terminal a session runs on.
pub(crate) struct Terminal<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
}

/// Everything a session's process starts with. What the node sets comes last, so a client cannot override it.
pub(crate) fn build(
    account: &Account,
    client: &ClientEnv,
    addr: PeerAddr,
    local: Option<SocketAddr>,
    terminal: Option<&Terminal<'_>>,
    agent: Option<&Path>,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = client.0.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut set = |name: &str, value: OsString| {
        env.retain(|(known, _)| known != name);
        env.push((name.into(), value));
    };
    set("PATH", search_path(&account.name).into());
    set("HOME", account.home.clone().into());
    set("USER", account.name.clone().into());
    set("LOGNAME", account.name.clone().into());
    set("SHELL", account.shell.clone().into());
    let (client_text, connection_text) = connection(addr, local);
    set("SSH_CLIENT", client_text.into());
    set("SSH_CONNECTION", connection_text.into());
    if let Some(terminal) = terminal {
        set("TERM", terminal.name.into());
        set("SSH_TTY", terminal.path.into());
    }
    if let Some(agent) = agent {
        set("SSH_AUTH_SOCK", agent.into());
    }
    env
}

fn search_path(user: &str) -> &'static str {
    match user {
        "root" => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        _ => "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    }
}

/// `SSH_CLIENT` and `SSH_CONNECTION` (ssh(1), ENVIRONMENT). Where the carrier does not know its local address, the words are those that
/// OpenSSH writes then.
fn connection(addr: PeerAddr, local: Option<SocketAddr>) -> (String, String) {
    let client = match addr {
        PeerAddr::Ip(addr) => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
        PeerAddr::LocalOwner { .. } => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let (ip, port) = (client.ip(), client.port());
    match local.map(|local| (local.ip().to_canonical(), local.port())) {
        Some((here, at)) => (format!("{ip} {port} {at}"), format!("{ip} {port} {here} {at}")),
        None => (format!("{ip} {port} 65535"), format!("{ip} {port} UNKNOWN 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow() -> Vec<String> {
        ["LANG", "LC_*"].map(str::to_owned).to_vec()
    }

    #[test]
    fn only_allowed_well_formed_small_variables_are_taken() {
        let mut env = ClientEnv::default();
        assert!(env.set(&allow(), "LANG", "de_DE.UTF-8"));
        assert!(env.set(&allow(), "LC_ALL", "C"));
        let long = "x".repeat(MAX_ENV_BYTES);
        for (name, value) in [
            ("LD_PRELOAD", "/tmp/x.so"),
            ("LANGUAGE", "de"),
            ("", "x"),
            ("LC_A=B", "x"),
            ("LC_ ", "x"),
            ("LC_X", "a\0b"),
            ("LC_Y", &long),
        ] {
            assert!(!env.set(&allow(), name, value), "{name}");
        }
        for n in 0..2 * MAX_ENV_VARS {
            env.set(&allow(), &format!("LC_{n}"), "x");
        }
        assert_eq!(env.0.len(), MAX_ENV_VARS);
    }

    /// SES-21.
    #[test]
    fn the_keys_own_variables_win_within_the_allow_list() {
        let mut env = ClientEnv::default();
        env.set(&allow(), "LANG", "client");
        for n in 0..MAX_ENV_VARS {
            env.set(&allow(), &format!("LC_{n}"), "x");
        }
        let of_key =
            [("LANG", "key"), ("LD_PRELOAD", "/x"), ("LC_NEW", "y")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        env.prefer(&allow(), &of_key);
        let value = |name: &str| env.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((value("LANG"), value("LC_NEW"), value("LD_PRELOAD")), (Some("key"), Some("y"), None));
        assert!(env.0.len() <= MAX_ENV_VARS);
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let addr = PeerAddr::Ip("[::ffff:192.0.2.7]:5000".parse().unwrap());
        assert_eq!(connection(addr, None).1, "192.0.2.7 5000 UNKNOWN 65535");
        let local = "[::ffff:192.0.2.1]:22".parse().ok();
        assert_eq!(connection(addr, local), ("192.0.2.7 5000 22".into(), "192.0.2.7 5000 192.0.2.1 22".into()));
    }
}
