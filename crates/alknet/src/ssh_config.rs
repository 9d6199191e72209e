//! The stanza for stock SSH clients, and its place in `~/.ssh/config`. Pure: text in, text out.
//!
//! Each node becomes a `Host` whose connection is a pipe through `alknet connect`, pinned to the host key that its node key vouches for, or to the authority that
//! certifies its host keys.

use std::path::{Path, PathBuf};

use alknet_core::NodeKey;
use alknet_ssh::known_hosts_line;

/// The line above the managed block.
const BEGIN: &str = "# >>> alknet >>>";
/// The line below the managed block.
const END: &str = "# <<< alknet <<<";
/// Ends the last stanza, so that settings which stood at the top of the file hold for every host again.
const FOR_ALL_AGAIN: &str = "\n# What follows holds for every host again.\nHost *\n";
/// The user name that every node takes: the key decides who it is.
const USER: &str = "alknet";

/// A node that `ssh NAME` should reach.
#[derive(Debug, Clone)]
pub struct NodeStanza {
    /// What follows `ssh` on the command line, and how `alknet connect` knows it: a peer's name, or `node` for the local node.
    pub name: String,
    /// Its node key; the host key is remembered under it, so a renamed node keeps its entry.
    pub key: NodeKey,
    /// Its SSH host key, `ssh-ed25519 AAAA…`, when it is known.
    pub host_key_line: Option<String>,
    /// The key that signs certificates of its SSH host key, when it is known.
    pub host_authority: Option<NodeKey>,
}

/// What all stanzas share.
#[derive(Debug, Clone)]
pub struct Client {
    /// Absolute path of the `alknet` program.
    pub program: PathBuf,
    /// The data folder, where it is not the default one.
    pub data: Option<PathBuf>,
    /// Where the nodes' host keys are remembered.
    pub known_hosts: PathBuf,
    /// The cipher to try first.
    pub cipher: FirstCipher,
}

/// Which cipher this machine is best at. The client's order decides (RFC 4253, 7.1), and that of stock clients does not look at the
/// processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstCipher {
    /// With instructions for AES.
    Aes128Gcm,
    /// Without.
    ChaCha20Poly1305,
}

impl FirstCipher {
    /// The one for the processor that this runs on.
    pub fn of_this_machine() -> Self {
        if alknet_ssh::prefers_aes() { Self::Aes128Gcm } else { Self::ChaCha20Poly1305 }
    }
    const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
            Self::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
        }
    }
}

/// A client configuration: the block for `~/.ssh/config`, and the host keys it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The stanzas, without the markers.
    pub block: String,
    /// Lines for the `known_hosts` file, one for each known host key and each known authority over one.
    pub known_hosts: String,
}

/// A path that cannot stand in an SSH client configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RenderError {
    /// `ssh_config` has no way to write it.
    #[error(
        "{0}: a path with a line break, a double quote, a backslash or bytes that are not UTF-8 cannot stand in ssh's configuration"
    )]
    Path(PathBuf),
    /// It would not be one word, or not one line.
    #[error("`{}` cannot be the name of a host in ssh's configuration", .0.escape_debug())]
    Name(String),
    /// It is no key.
    #[error("the host key of `{0}` is not one line of `known_hosts` without the host")]
    HostKey(String),
}

/// Why a block cannot be put into a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InstallError {
    /// A begin without an end, an end without a begin, or more than one pair.
    #[error(
        "line {line}: the marker `{marker}` has no partner; remove what is left of the managed block and try again"
    )]
    BrokenMarkers {
        /// The line, from 1.
        line: usize,
        /// The lonely marker.
        marker: &'static str,
    },
    /// Two managed blocks.
    #[error("line {line}: a second managed block begins; remove one of them and try again")]
    SecondBlock {
        /// The line, from 1.
        line: usize,
    },
}

/// Under which name clients remember a node's host key, and find it in its certificate.
pub fn host_key_alias(node: NodeKey) -> String {
    format!("alknet-{node}")
}

/// Renders the stanzas of these nodes, in their order.
///
/// # Errors
/// When a path or a name cannot be written in `ssh_config(5)`.
pub fn render(client: &Client, nodes: &[NodeStanza]) -> Result<Rendered, RenderError> {
    let mut rendered = Rendered { block: String::new(), known_hosts: String::new() };
    let known_hosts = setting_path(&client.known_hosts)?;
    let program = command_path(&client.program)?;
    let data = client.data.as_deref().map(command_path).transpose()?.map(|data| format!(" --data {data}"));
    let data = data.unwrap_or_default();
    for node in nodes {
        check_name(&node.name)?;
        let (name, alias) = (&node.name, host_key_alias(node.key));
        let known = node.host_key_line.is_some() || node.host_authority.is_some();
        let checking = if known { "yes" } else { "accept-new" };
        let gap = if rendered.block.is_empty() { "" } else { "\n" };
        rendered.block.push_str(&format!(
            "{gap}Host {name}\n    ProxyCommand {program} connect{data} {name} alknet/ssh\n    User {USER}\n    \
             HostKeyAlias {alias}\n    UserKnownHostsFile {known_hosts}\n    StrictHostKeyChecking {checking}\n    \
             Ciphers ^{}\n",
            client.cipher.name()
        ));
        if let Some(key) = &node.host_key_line {
            rendered.known_hosts.push_str(&format!("{alias} {}\n", host_key(name, key)?));
        }
        if let Some(authority) = node.host_authority {
            rendered.known_hosts.push_str(&format!("{}\n", known_hosts_line(&alias, authority)));
        }
    }
    Ok(rendered)
}

/// Puts the block between markers at the top of the file, where it comes first (`ssh` takes the first value it finds), and
/// takes an older block out. Everything else stays as it was. Doing it twice is doing it once.
///
/// # Errors
/// When the markers in the file do not pair up.
pub fn install(existing: &str, block: &str) -> Result<String, InstallError> {
    let rest = without_block(existing)?;
    let rest = rest.strip_prefix('\n').unwrap_or(&rest);
    let gap = if rest.is_empty() { "" } else { "\n" };
    let note = "# Written by `alknet ssh-config --install`; changes here are lost.";
    Ok(format!("{BEGIN}\n{note}\n{block}{FOR_ALL_AGAIN}{END}\n{gap}{rest}"))
}

/// The file without the managed block and its markers.
fn without_block(existing: &str) -> Result<String, InstallError> {
    let mut kept = String::new();
    let mut begun = None;
    let mut seen = false;
    for (index, line) in existing.split_inclusive('\n').enumerate() {
        let number = index + 1;
        match line.trim() {
            BEGIN if let Some(line) = begun => return Err(InstallError::BrokenMarkers { line, marker: BEGIN }),
            BEGIN if seen => return Err(InstallError::SecondBlock { line: number }),
            BEGIN => begun = Some(number),
            END if begun.take().is_some() => seen = true,
            END => return Err(InstallError::BrokenMarkers { line: number, marker: END }),
            _ if begun.is_some() => {}
            _ => kept.push_str(line),
        }
    }
    match begun {
        Some(line) => Err(InstallError::BrokenMarkers { line, marker: BEGIN }),
        None => Ok(kept),
    }
}

/// A name that is one plain word to `ssh` and to the shell that runs the ProxyCommand.
fn check_name(name: &str) -> Result<(), RenderError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let good = !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain);
    if good { Ok(()) } else { Err(RenderError::Name(name.to_owned())) }
}

fn host_key(name: &str, line: &str) -> Result<String, RenderError> {
    let mut words = line.split_ascii_whitespace();
    let (kind, key) = (words.next(), words.next());
    let one_line = !line.trim().contains(['\n', '\r']);
    match (kind, key) {
        (Some(kind), Some(key)) if one_line && kind.starts_with("ssh-") => Ok(format!("{kind} {key}")),
        _ => Err(RenderError::HostKey(name.to_owned())),
    }
}

/// The text of a path, if `ssh_config(5)` can hold it at all.
fn writable(path: &Path) -> Result<&str, RenderError> {
    let unwritable = |text: &str| text.is_empty() || text.contains(['"', '\\']) || text.contains(char::is_control);
    match path.to_str() {
        Some(text) if path.is_absolute() && !unwritable(text) => Ok(text),
        _ => Err(RenderError::Path(path.to_owned())),
    }
}

/// A path as the value of a setting: in double quotes, with `%` doubled.
///
/// `${` would name an environment variable there, and cannot be escaped.
fn setting_path(path: &Path) -> Result<String, RenderError> {
    match writable(path)? {
        text if text.contains("${") => Err(RenderError::Path(path.to_owned())),
        text => Ok(format!("\"{}\"", text.replace('%', "%%"))),
    }
}

/// A path as a word of a command that a shell runs after `ssh` has replaced its `%` tokens.
fn command_path(path: &Path) -> Result<String, RenderError> {
    Ok(format!("'{}'", writable(path)?.replace('\'', r"'\''").replace('%', "%%")))
}

#[cfg(test)]
mod tests;
