//! `workers/*`: the nodes to which this one lends its operations, and those that lend it theirs.

use alknet_call::{CallError, HeadState, Nothing, Operation, RegisterError, RegistryBuilder, head_operations};
use alknet_core::PeerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, scoped};
use crate::heads::{Heads, JoinError};

/// Input of `workers/join` and `workers/leave`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadName {
    /// The peer name of the head.
    pub head: String,
}

/// Output of `workers/join`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The head.
    pub head: String,
    /// Whether this node serves now, and so dials it at once.
    pub dialled: bool,
}

/// Output of `workers/leave`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// Who is no head of this node any more.
    pub head: String,
}

/// How this node stands with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has what this node offers.
    Joined,
    /// It is being dialled.
    Connecting,
    /// It is connected, and may call nothing here.
    Idle,
    /// It does not take the offer.
    Refused,
    /// This node does not serve.
    Stopped,
}

impl Standing {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Connecting => "connecting",
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// A head of this node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Its peer name.
    pub name: String,
    /// How this node stands with it.
    pub state: Standing,
    /// How many operations it took.
    pub operations: usize,
    /// Why it took none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A worker of this node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// Its peer name.
    pub name: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it failed to take a call, or to answer in time, in the last second.
    pub ailing: bool,
    /// How many operations it offers, or offered last.
    pub operations: usize,
    /// Its calls in progress.
    pub in_flight: u32,
}

/// Output of `workers/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// The heads of this node, by name.
    pub heads: Vec<Head>,
    /// The workers of this node, by name.
    pub workers: Vec<Worker>,
}

/// Registers `workers/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    for operation in head_operations() {
        registry.register(operation)?;
    }
    let (heads, peers) = (foundation.heads.clone(), foundation.store.peers());
    let serves = foundation.control.is_some();
    registry.register(
        Operation::mutation("workers/join")
            .title("Lend operations to another node")
            .description(
                "This node dials the peer, now and after each start, and offers it what its role here lets it call.",
            )
            .access(scoped("workers:write"))
            .idempotent()
            .handler(move |_, input: HeadName| {
                let head = name(&input.head).and_then(|name| match peers.dial_target(&name) {
                    Some(target) if target.key.is_some() && !target.addresses.is_empty() => Ok(name),
                    Some(_) => Err(CallError::invalid_input("/head", "this peer is no node: add it with its ticket")),
                    None => Err(CallError::not_found(format!("no peer is called {name}"))),
                });
                let joined = head.and_then(|name| heads.join(name.clone()).map_err(not_done).map(|()| name));
                let joined = joined.map(|name| Joined { head: name.to_string(), dialled: serves });
                std::future::ready(joined)
            }),
    )?;
    let heads = foundation.heads.clone();
    registry.register(
        Operation::mutation("workers/leave")
            .title("Lend no operations to a node any more")
            .access(scoped("workers:write"))
            .handler(move |_, input: HeadName| {
                let left = name(&input.head).and_then(|name| match heads.leave(&name) {
                    Ok(true) => Ok(Left { head: name.to_string() }),
                    Ok(false) => Err(CallError::not_found(format!("{name} is no head of this node"))),
                    Err(error) => Err(not_done(error)),
                });
                std::future::ready(left)
            }),
    )?;
    let heads = foundation.heads.clone();
    registry.register(
        Operation::query("workers/list").title("List heads and workers").access(scoped("workers:read")).handler(
            move |context, _: Nothing| {
                let workers = context.routes().workers().into_iter().map(|worker| Worker {
                    name: worker.name,
                    connected: worker.connected,
                    ailing: worker.ailing,
                    operations: worker.operations,
                    in_flight: worker.in_flight,
                });
                let listed = Workers { heads: listed(&heads), workers: workers.collect() };
                std::future::ready(Ok::<_, CallError>(listed))
            },
        ),
    )?;
    Ok(())
}

fn listed(heads: &Heads) -> Vec<Head> {
    let view = |(name, state): (PeerName, Option<HeadState>)| {
        let (state, operations, refusal) = match state {
            None => (Standing::Stopped, 0, None),
            Some(HeadState::Connecting) => (Standing::Connecting, 0, None),
            Some(HeadState::Joined { offered }) => (Standing::Joined, offered, None),
            Some(HeadState::NothingToOffer) => (Standing::Idle, 0, None),
            Some(HeadState::Refused(error)) => (Standing::Refused, 0, Some(error.to_string())),
        };
        Head { name: name.to_string(), state, operations, refusal }
    };
    heads.list().into_iter().map(view).collect()
}

fn name(text: &str) -> Result<PeerName, CallError> {
    text.parse().map_err(|error: alknet_core::InvalidPeerName| CallError::invalid_input("/head", error.to_string()))
}

fn not_done(error: JoinError) -> CallError {
    match error {
        JoinError::TooMany => CallError::invalid_input("/head", error.to_string()),
        JoinError::File(error) => CallError::internal(error),
        JoinError::Text(error) => CallError::internal(error),
    }
}
