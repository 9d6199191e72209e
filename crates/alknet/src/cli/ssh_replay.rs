//! `alknet ssh replay`.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Args;

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::ssh::{ListRecordings, MAX_LISTED, ReadRecording, RecordingPage, RecordingView, SshRecordings},
};

/// What gives a terminal back its looks: colours off, the cursor shown, the other screen left, no mouse, plain paste.
const SANE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l\r\n";

/// Play the recording of a session in the terminal, as it went
///
/// A session is recorded where `ssh.record` says so. `--json` prints the recording itself, an asciinema file.
///
/// Examples:
///   alknet ssh replay --list
///   alknet ssh replay 1795320000-alice --speed 4 --idle-limit 1
///   alknet ssh replay 1795320000-alice --json > session.cast
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Replay {
    /// What it is called in the list
    #[arg(required_unless_present = "list")]
    id: Option<String>,
    /// List the recordings, newest first
    #[arg(long, conflicts_with_all = ["id", "speed", "idle_limit"])]
    list: bool,
    /// How many times as fast
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    speed: f64,
    /// Longest pause, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = factor)]
    idle_limit: Option<f64>,
}

fn factor(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (0.01..=10_000.0).contains(number)).ok_or_else(|| "from 0.01 to 10000".to_owned())
}

impl Replay {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        match self.id {
            Some(ref id) => self.play(&node, id, place.json).await,
            None => list(&node, place).await,
        }
    }

    async fn play(&self, node: &NodeClient<'_>, id: &str, raw: bool) -> Result<(), Failure> {
        let mut player = Player::new(self.speed, self.idle_limit);
        let playing = async {
            let mut offset = 0;
            loop {
                let input = ReadRecording { id: id.to_owned(), offset };
                let page: RecordingPage = node.call("ssh/recording.read", &input).await?;
                let Some(next) = page.next else { return Ok(()) };
                match raw {
                    true => output::line(page.text.trim_end_matches('\n'))?,
                    false => player.play(&page.text).await?,
                }
                offset = next;
            }
        };
        let outcome = tokio::select! {
            outcome = playing => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        if player.is_paced && !raw {
            show(SANE)?;
        }
        outcome
    }
}

/// Puts on the terminal what a recording says, when it says so.
struct Player {
    speed: f64,
    idle_limit: f64,
    /// Whether pauses are kept: somebody watches.
    is_paced: bool,
    /// Seconds since the beginning, as the recording counts.
    at: f64,
}

impl Player {
    fn new(speed: f64, idle_limit: Option<f64>) -> Self {
        Self { speed, idle_limit: idle_limit.unwrap_or(f64::MAX), is_paced: io::stdout().is_terminal(), at: 0.0 }
    }

    /// Plays the events in a page.
    async fn play(&mut self, page: &str) -> Result<(), Failure> {
        for line in page.lines() {
            // The first line, which is about the session, is none, and what other programs may have added is skipped.
            let Ok((at, kind, data)) = serde_json::from_str::<(f64, String, String)>(line) else { continue };
            if self.is_paced {
                tokio::time::sleep(self.pause(at)).await;
            }
            self.at = at;
            if kind == "o" {
                show(&data)?;
            }
        }
        Ok(())
    }

    fn pause(&self, until: f64) -> Duration {
        let pause = (until - self.at).clamp(0.0, self.idle_limit) / self.speed;
        Duration::try_from_secs_f64(pause).unwrap_or(Duration::ZERO)
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

async fn list(node: &NodeClient<'_>, place: &Place) -> Result<(), Failure> {
    let mut found = SshRecordings { recordings: Vec::new() };
    loop {
        let before = found.recordings.last().map(|last| last.id.clone());
        let input = ListRecordings { before, limit: MAX_LISTED };
        let page: SshRecordings = node.call("ssh/recordings", &input).await?;
        if page.recordings.is_empty() {
            break;
        }
        found.recordings.extend(page.recordings);
    }
    if place.json {
        return output::json(&found);
    }
    let rows: Vec<_> = found.recordings.iter().map(row).collect();
    output::table(["ID", "IDENTITY", "USER", "ADDRESS", "BEGAN", "LENGTH", "SIZE", "COMMAND"], &rows)
}

fn row(recording: &RecordingView) -> [String; 8] {
    let length = recording.written_at.saturating_sub(recording.began_at);
    [
        recording.id.clone(),
        recording.identity.clone(),
        recording.user.clone(),
        recording.address.clone(),
        output::utc(recording.began_at),
        if recording.live { "live".to_owned() } else { output::duration(length.saturating_mul(1000)) },
        output::bytes(recording.bytes),
        recording.command.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_scaled_and_bounded() {
        let mut player = Player::new(2.0, Some(3.0));
        player.at = 10.0;
        for (until, seconds) in [(12.0, 1.0), (100.0, 1.5), (9.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, 1.5)] {
            assert_eq!(player.pause(until), Duration::from_secs_f64(seconds), "{until}");
        }
        assert!(factor("0").is_err() && factor("nan").is_err() && factor("-1").is_err() && factor("0.5") == Ok(0.5));
    }
}
