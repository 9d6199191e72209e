//! `alknet ssh sessions`, `alknet ssh kill` and `alknet ssh replay`.

use clap::Subcommand;
use serde_json::json;

use super::{Place, output, ssh_replay::Replay};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::ssh::{SessionId, SessionView, SshSessions},
};

/// What can be done about the SSH sessions of this node.
#[derive(Subcommand)]
pub enum SessionsVerb {
    /// List who is logged in to this node over SSH
    Sessions,
    /// End a session: its connection, processes and forwards
    Kill {
        /// Its number in `alknet ssh sessions`
        id: u64,
    },
    Replay(Replay),
}

impl SessionsVerb {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self {
            Self::Replay(verb) => verb.run(place).await,
            Self::Sessions => {
                let node = NodeClient::running(place).await?;
                let sessions: SshSessions = node.call("ssh/sessions", &json!({})).await?;
                if place.json {
                    return output::json(&sessions);
                }
                let rows: Vec<_> = sessions.sessions.iter().map(row).collect();
                output::table(["ID", "IDENTITY", "ADDRESS", "SINCE", "CHANNELS", "IN", "OUT", "CREDENTIAL"], &rows)
            }
            Self::Kill { id } => {
                let node = NodeClient::running(place).await?;
                let ended: SessionView = node.call("ssh/kill", &SessionId { id }).await?;
                if place.json {
                    return output::json(&ended);
                }
                output::line(format!("session {id} of {} at {} was ended", ended.identity, ended.address))
            }
        }
    }
}

fn row(session: &SessionView) -> [String; 8] {
    [
        session.id.to_string(),
        session.identity.clone(),
        session.address.clone(),
        output::utc(session.since),
        session.channels.to_string(),
        output::bytes(session.received_bytes),
        output::bytes(session.sent_bytes),
        session.credential.clone(),
    ]
}
