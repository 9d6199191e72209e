//! What a person is asked before a key with confirmation signs.

use std::fmt::Write as _;

use alknet_core::BoxFuture;

use super::{bindings::Way, signed_data::SignedData};
use crate::limits::MAX_LOGGED_CHARS;

/// Asks the person whose keys these are.
pub trait AskPermission: Send + Sync + 'static {
    /// Whether the person says yes. Dropping the future withdraws the question.
    fn ask(&self, question: String) -> BoxFuture<'_, bool>;
}

/// A program that is connected to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) pid: i32,
    /// As the kernel calls it; anybody may choose the name of a program.
    pub(super) name: String,
}

impl Client {
    /// Looks a process up by its number.
    pub(super) fn of(pid: i32) -> Self {
        let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self { pid, name: shown(name.trim_ascii_end()) }
    }
}

/// The question, with everything that is known of the request.
pub(super) fn question(
    comment: &str,
    fingerprint: &str,
    client: &Client,
    data: &SignedData<'_>,
    way: &Way<'_>,
) -> String {
    let mut text = format!("Let {} (process {}) use the key {comment} ({fingerprint})", client.name, client.pid);
    let what = match data {
        SignedData::Login { user, .. } => format!(" to log in as {}", shown(user)),
        SignedData::Statement { namespace } => format!(" to sign for `{}`", shown(namespace)),
        SignedData::Other(data) => format!(" to sign {} bytes of unknown meaning", data.len()),
    };
    text.push_str(&what);
    let through = match way {
        Way::Bound { host, through } => {
            let _ = write!(text, " at the host {host}");
            through
        }
        Way::Unbound { through } => through,
        Way::OtherSession => &None,
    };
    if let Some(host) = through {
        let _ = write!(text, ", asked for from the host {host}, to which this agent is forwarded");
    }
    text.push('?');
    text
}

/// A piece of a request, without whatever would steer a terminal or fill it.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_LOGGED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { pid: 7, name: "ssh".to_owned() }
    }

    /// AGENT-23.
    #[test]
    fn the_question_says_who_asks_for_what_and_from_where() {
        let data = SignedData::Login { session: b"s", user: b"al\x1b[2Jice", key: b"k" };
        let way = Way::Bound { host: "SHA256:host", through: Some("SHA256:hop") };
        assert_eq!(
            question("alknet-ssh", "SHA256:key", &client(), &data, &way),
            "Let ssh (process 7) use the key alknet-ssh (SHA256:key) to log in as al\\u{1b}[2Jice at the host \
             SHA256:host, asked for from the host SHA256:hop, to which this agent is forwarded?"
        );
        let data = SignedData::Statement { namespace: b"git" };
        let text = question("alknet-git", "SHA256:key", &client(), &data, &Way::Unbound { through: None });
        assert_eq!(text, "Let ssh (process 7) use the key alknet-git (SHA256:key) to sign for `git`?");
        let long = [b'x'; 1000];
        let data = SignedData::Statement { namespace: &long };
        let text = question("alknet-git", "SHA256:key", &client(), &data, &Way::Unbound { through: None });
        assert!(text.len() < 200 && text.contains("x…`"), "{text}");
    }

    #[test]
    fn this_process_has_a_name() {
        assert!(!Client::of(i32::try_from(std::process::id()).unwrap()).name.is_empty());
        assert_eq!(Client::of(-1).name, "");
    }
}
