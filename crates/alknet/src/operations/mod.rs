//! The operations that belong to no subsystem: the node itself, its peers, keys, tokens, configuration, audit and vault.
//!
//! One file a service; each holds the input and output types that the command line uses too.

pub mod audit;
pub mod backup;
pub mod calls;
pub mod config;
pub mod credentials;
pub mod events;
pub mod gate;
pub mod keys;
pub mod node;
pub mod peers;
pub mod policy;
pub mod queues;
#[cfg(test)]
mod specification;
pub mod ssh;
pub mod tokens;
pub mod vault;
pub mod workers;

use std::sync::Arc;

use alknet_call::{ByteTickets, CallError, RegisterError, Registry};
use alknet_core::{AccessRule, Authorizer, NodeKey, Sessions};
use alknet_net::AbuseGate;
use alknet_ssh::{ForwardPolicy, LiveSessions};
use alknet_store::{Clock, Store, StoreError};

use crate::{
    control::NodeControl, credentials::CredentialResolver, data_folder::DataFolder, heads::Heads,
    identity::NodeIdentity, shared_config::SharedConfig,
};

/// What the operations work on.
pub struct Foundation {
    /// The node's key.
    pub node: NodeKey,
    /// The unlocked identity; without it whatever needs a secret is not offered.
    pub identity: Option<NodeIdentity>,
    /// What opens credentials, where the identity is unlocked.
    pub credentials: Option<CredentialResolver>,
    /// The database.
    pub store: Store,
    /// The gate.
    pub authorizer: Authorizer,
    /// What is alive.
    pub sessions: Sessions,
    /// Who is logged in over SSH.
    pub ssh_sessions: LiveSessions,
    /// The configuration in force.
    pub config: SharedConfig,
    /// Where operations leave bytes to be fetched.
    pub tickets: ByteTickets,
    /// The data folder.
    pub data: DataFolder,
    /// The running node; `None` in a command that works on the data folder itself.
    pub control: Option<NodeControl>,
    /// To whom this node lends its operations.
    pub heads: Heads,
    /// Who misbehaves.
    pub gate: AbuseGate,
    /// What may be forwarded.
    pub forward: Arc<ForwardPolicy>,
    /// The files.
    pub files: alknet_fs::operations::Service,
    /// The time.
    pub clock: Clock,
}

/// Registers everything that this node can be asked for.
pub fn registry(foundation: &Foundation) -> Result<Arc<Registry>, RegisterError> {
    let mut registry = Registry::builder(foundation.authorizer.clone(), foundation.sessions.clone());
    registry.journal(Arc::new(foundation.store.outcomes())).node(foundation.node);
    node::register(&mut registry, foundation)?;
    if foundation.control.is_some() {
        backup::register(&mut registry, foundation)?;
    }
    peers::register(&mut registry, foundation)?;
    keys::register(&mut registry, foundation)?;
    tokens::register(&mut registry, foundation)?;
    config::register(&mut registry, foundation)?;
    policy::register(&mut registry, foundation)?;
    audit::register(&mut registry, foundation)?;
    gate::register(&mut registry, foundation)?;
    calls::register(&mut registry, foundation)?;
    events::register(&mut registry, foundation)?;
    queues::register(&mut registry, foundation)?;
    if let Some(resolver) = &foundation.credentials {
        registry.capabilities(Arc::new(resolver.clone()));
    }
    credentials::register(&mut registry, foundation)?;
    workers::register(&mut registry, foundation)?;
    ssh::register(&mut registry, foundation)?;
    alknet_fs::operations::register(&mut registry, &foundation.files)?;
    if let Some(identity) = &foundation.identity {
        vault::register(&mut registry, identity)?;
    }
    registry.build()
}

/// How much an answer lists when it was not said.
const fn default_limit() -> u32 {
    100
}

/// The rule of an operation that needs one scope.
fn scoped(scope: &str) -> AccessRule {
    AccessRule::scoped([scope.parse().expect("because the scopes of this folder are written as service:action")])
}

/// What a caller learns when the database did not do it: what passes is said, the rest goes to the log.
fn not_stored(error: &StoreError) -> CallError {
    match error {
        StoreError::Full | StoreError::RolledBack | StoreError::Closed => CallError::unavailable(error.to_string()),
        StoreError::Failed(_) | StoreError::Unknown(_) | StoreError::Panicked => CallError::internal(error),
    }
}
