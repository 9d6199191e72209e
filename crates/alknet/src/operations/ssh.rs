//! `ssh/*`: who is logged in over SSH, and what was recorded of it.

use std::time::{SystemTime, UNIX_EPOCH};

use alknet_call::{CallError, ErrorCode, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_core::PermitError;
use alknet_ssh::{
    KILL_SCOPE, LiveSession, RECORDINGS_SCOPE, RecordedSession, RecordingError, Recordings, SESSIONS_SCOPE,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, scoped};

/// Most recordings in one answer.
pub const MAX_LISTED: u32 = 500;

/// Names a live session.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionId {
    /// Its number, as listed.
    pub id: u64,
}

/// One live session.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Its number; none has the same while the node runs.
    pub id: u64,
    /// Which peer it is.
    pub identity: String,
    /// What proved it: a fingerprint, or what a certificate calls itself.
    pub credential: String,
    /// From where.
    pub address: String,
    /// When the key was proven, in seconds since 1970.
    pub since: u64,
    /// Channels that are open: commands, shells, forwards.
    pub channels: u64,
    /// Bytes that came from the client, as they are on the wire.
    pub received_bytes: u64,
    /// Bytes that went to the client, as they are on the wire.
    pub sent_bytes: u64,
}

/// Output of `ssh/sessions`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SshSessions {
    /// The sessions, oldest first.
    pub sessions: Vec<SessionView>,
}

/// One recording.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordingView {
    /// What it is called.
    pub id: String,
    /// Whose session it was.
    pub identity: String,
    /// The user of the system that it ran as.
    pub user: String,
    /// From where.
    pub address: String,
    /// The command, or its beginning; absent for a login shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it began, in seconds since 1970.
    pub began_at: u64,
    /// When something was last written, in seconds since 1970.
    pub written_at: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Whether the session still goes on.
    pub live: bool,
}

/// Input of `ssh/recordings`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListRecordings {
    /// Only those before this one: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// At most so many.
    #[serde(default = "super::default_limit")]
    #[schemars(range(min = 1, max = MAX_LISTED))]
    pub limit: u32,
}

/// Output of `ssh/recordings`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SshRecordings {
    /// The recordings, newest first.
    pub recordings: Vec<RecordingView>,
}

/// Input of `ssh/recording.read`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadRecording {
    /// What it is called.
    pub id: String,
    /// Where to begin: 0, or `next` of the page before.
    #[serde(default)]
    pub offset: u64,
}

/// Output of `ssh/recording.read`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordingPage {
    /// Whole lines of the file, which is an asciicast of version 2.
    pub text: String,
    /// Where the next page begins; absent at the end of what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Registers `ssh/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let live = foundation.ssh_sessions.clone();
    registry.register(
        Operation::query("ssh/sessions").title("List the live SSH sessions").access(scoped(SESSIONS_SCOPE)).handler(
            move |context, _: Nothing| {
                let sessions = live.list(&context.permit).map_err(denied);
                async move { Ok(SshSessions { sessions: sessions?.into_iter().map(view).collect() }) }
            },
        ),
    )?;
    let live = foundation.ssh_sessions.clone();
    registry.register(
        Operation::mutation("ssh/kill")
            .title("End a live SSH session")
            .description("Its connection, processes and forwards end within seconds. Its peer may log in again.")
            .access(scoped(KILL_SCOPE))
            .handler(move |context, input: SessionId| {
                let ended = live.end(&context.permit, input.id).map_err(denied);
                async move {
                    let ended = ended?;
                    ended.map(view).ok_or_else(|| CallError::not_found(format!("there is no SSH session {}", input.id)))
                }
            }),
    )?;
    recordings(registry, Recordings::at(foundation.data.recordings()))
}

fn recordings(registry: &mut RegistryBuilder, recordings: Recordings) -> Result<(), RegisterError> {
    let archive = recordings.clone();
    registry.register(
        Operation::query("ssh/recordings")
            .title("List the recordings of SSH sessions")
            .access(scoped(RECORDINGS_SCOPE))
            .handler(move |context, input: ListRecordings| {
                let archive = archive.clone();
                async move {
                    let ListRecordings { before, limit } = input;
                    let list = move || archive.list(&context.permit, before.as_deref(), limit as usize);
                    let found = block(list).await?;
                    Ok(SshRecordings { recordings: found.into_iter().map(recording).collect() })
                }
            }),
    )?;
    registry.register(
        Operation::query("ssh/recording.read")
            .title("Read a recording, page by page")
            .access(scoped(RECORDINGS_SCOPE))
            .handler(move |context, input: ReadRecording| {
                let archive = recordings.clone();
                async move {
                    let page = block(move || archive.read(&context.permit, &input.id, input.offset)).await?;
                    Ok(RecordingPage { text: page.text, next: page.next })
                }
            }),
    )?;
    Ok(())
}

/// Reads files where it holds nobody up.
async fn block<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, RecordingError> + Send + 'static,
) -> Result<T, CallError> {
    let done = tokio::task::spawn_blocking(read).await.map_err(CallError::internal)?;
    done.map_err(|error| match error {
        RecordingError::Unknown(_) => CallError::not_found(error.to_string()),
        RecordingError::Permit(error) => denied(error),
        RecordingError::Unreadable { .. } => CallError::internal(error),
    })
}

fn recording(found: RecordedSession) -> RecordingView {
    let RecordedSession { id, identity, user, address, command, began_at, written_at, bytes, live } = found;
    RecordingView { id, identity, user, address, command, began_at, written_at, bytes, live }
}

fn view(session: LiveSession) -> SessionView {
    let LiveSession { info, since, channels, received, sent } = session;
    SessionView {
        id: info.id,
        identity: info.identity.unwrap_or_default(),
        credential: info.credential.unwrap_or_default(),
        address: info.addr,
        since: unix_seconds(since),
        channels: channels as u64,
        received_bytes: received,
        sent_bytes: sent,
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn denied(error: PermitError) -> CallError {
    CallError::new(ErrorCode::Forbidden, error.to_string())
}
