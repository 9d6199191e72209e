//! What a session on a terminal is told before its first prompt.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;

use crate::{account::Account, limits::MAX_MOTD_BYTES, login::Right, process::Launch, relay::STDERR};

/// Silences the message of the day when it is there, in the user's home (sshd(8), FILES).
const HUSH_FILE: &str = ".hushlogin";
/// Nobody is recorded without being told.
const RECORDED: &str = "This session is recorded.\r\n";

/// Text for the client, and on which of a channel's streams it goes: a command's output stays its own.
pub(crate) struct Greeting {
    pub(crate) text: Bytes,
    pub(crate) stream: Option<u32>,
}

impl Greeting {
    /// The message of the day for a login shell, and that the session is recorded if it is. Blocks.
    pub(crate) fn of(launch: &Launch, account: &Account, recorded: bool) -> Option<Self> {
        let is_shell = launch.right == Right::Shell && launch.command.is_none() && launch.terminal.is_some();
        let mut text = String::new();
        if let Some(motd) = launch.config.motd.as_deref().filter(|_| is_shell && !account.home.join(HUSH_FILE).exists())
        {
            match message(motd) {
                Ok(message) => text.push_str(&message),
                Err(error) => tracing::warn!(%error, file = %motd.display(), "the message of the day cannot be read"),
            }
        }
        if recorded {
            text.push_str(RECORDED);
        }
        let stream = if is_shell { None } else { Some(STDERR) };
        (!text.is_empty()).then(|| Self { text: text.into(), stream })
    }
}

fn message(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_MOTD_BYTES).read_to_end(&mut bytes)?;
    Ok(as_sent(&String::from_utf8_lossy(&bytes)))
}

/// Text with the ends of lines that clients and terminals want, the last line's too.
pub(crate) fn as_sent(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_terminals_want_it() {
        assert_eq!(as_sent("a\nb\r\n\nc"), "a\r\nb\r\n\r\nc\r\n");
        assert_eq!(as_sent(""), "");
    }
}
