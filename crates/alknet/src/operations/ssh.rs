//! `ssh/*`: who is logged in over SSH.

use std::time::{SystemTime, UNIX_EPOCH};

use alknet_call::{CallError, ErrorCode, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_core::PermitError;
use alknet_ssh::{KILL_SCOPE, LiveSession, SESSIONS_SCOPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, scoped};

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
    Ok(())
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
