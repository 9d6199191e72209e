//! `node/*`: who this node is, what it does, and stopping it.

use alknet_call::{CallError, Nothing, Operation, OperationContext, RegisterError, RegistryBuilder};
use alknet_core::{AccessRule, KeyPurpose, KeySigner};
use data_encoding::BASE64URL_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::{Foundation, scoped};

/// How long an identity statement that is handed out is valid.
const STATEMENT_VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Output of `node/identify`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeIdentification {
    /// The node id: z-base-32 of the node key.
    pub node_id: String,
    /// The node key, 64 hex digits.
    pub key: String,
    /// The identity statement (`docs/spec/vault.md`), base64url; absent while the node is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Its SSH host key as a `known_hosts` line without the host; absent while the node is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_host_key: Option<String>,
    /// The key that certifies its SSH host keys, 64 hex digits; absent while the node is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_host_authority: Option<String>,
    /// Who the node takes the caller for; absent for a stranger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub you: Option<String>,
}

/// Output of `node/status`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// The node id.
    pub node_id: String,
    /// The program's version.
    pub version: String,
    /// Where the node listens.
    pub listen: Vec<Listen>,
    /// How long it has been serving, in milliseconds.
    pub uptime_ms: u64,
    /// The ALPNs it serves.
    pub services: Vec<String>,
    /// How many connections and SSH logins of known and proven callers are open.
    pub sessions: usize,
    /// Its process id.
    pub pid: u32,
    /// Handlers that panicked so far; each cost one connection.
    pub panics: u64,
    /// What the kernel withholds from the UDP socket, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_warning: Option<String>,
    /// The ticket that another node pastes into `alknet peer add`.
    pub ticket: String,
}

/// One carrier and where it listens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Listen {
    /// `quic` or `tcp`.
    pub carrier: String,
    /// The address with its port.
    pub addr: String,
}

/// Output of `node/stop`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stopping {
    /// How long the node waits for what is open, in milliseconds.
    pub drain_ms: u64,
}

/// Registers `node/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let (node, identity, clock) = (foundation.node, foundation.identity.clone(), foundation.clock.clone());
    registry.register(
        Operation::query("node/identify")
            .title("Say who this node is")
            .description("Gives the node's key and a signed identity statement, and who the node takes the caller for.")
            .access(AccessRule::public())
            .handler(move |context: std::sync::Arc<OperationContext>, _: Nothing| {
                let statement = identity
                    .as_ref()
                    .map(|identity| identity.vault().statement(clock.now(), STATEMENT_VALIDITY))
                    .transpose();
                let ssh_host_key = identity.as_ref().map(|identity| identity.ssh_host_key().public_openssh());
                let ssh_host_authority =
                    identity.as_ref().map(|identity| identity.public_key(KeyPurpose::SshAuthority).to_hex());
                let answer = statement.map_err(CallError::internal).map(|statement| NodeIdentification {
                    node_id: node.to_string(),
                    key: node.to_hex(),
                    statement: statement.map(|statement| BASE64URL_NOPAD.encode(&statement.encode())),
                    ssh_host_key,
                    ssh_host_authority,
                    you: context.caller.id().map(str::to_owned),
                });
                async move { answer }
            }),
    )?;
    let (control, sessions) = (foundation.control.clone(), foundation.sessions.clone());
    registry.register(
        Operation::query("node/status").title("Say what this node does").access(scoped("node:read")).handler(
            move |_, _: Nothing| {
                let status = control.as_ref().ok_or_else(not_running).map(|control| control.status(node, &sessions));
                async move { status }
            },
        ),
    )?;
    let (control, config) = (foundation.control.clone(), foundation.config.clone());
    registry.register(
        Operation::mutation("node/stop")
            .title("Stop this node")
            .description("Accepts nothing new, waits for what is open for the drain time, and ends.")
            .access(scoped("node:stop"))
            .handler(move |_, _: Nothing| {
                let stopping = control.as_ref().ok_or_else(not_running).map(|control| {
                    control.stop();
                    let drain = config.current().config().node.drain_timeout;
                    Stopping { drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX) }
                });
                async move { stopping }
            }),
    )?;
    Ok(())
}

/// What an operation on the running node says when there is none.
pub fn not_running() -> CallError {
    CallError::unavailable("no node runs on this data folder")
}
