//! `policy/*`: what may be forwarded, and why.

use std::sync::Arc;

use alknet_call::{CallError, Operation, RegisterError, RegistryBuilder};
use alknet_core::{LOCAL_OWNER, OWNER_ROLE, Permit};
use alknet_ssh::{Direction, Explained, Explanation, ForwardPolicy, ForwardTarget};
use alknet_store::Peers as PeerStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, peers};
use crate::shared_config::SharedConfig;

/// How a role is asked about instead of a peer.
const ROLE: &str = "role:";

/// Input of `policy/test`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestPolicy {
    /// A peer's name, or `role:NAME` for anybody of that role.
    pub identity: String,
    /// `host:port` or the absolute path of a Unix socket.
    pub to: String,
    /// `local`, `remote`, `dynamic` or `socket`; without it `local` for a host and `socket` for a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
}

/// Output of `policy/test`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PolicyVerdict {
    /// Whether the forward is allowed.
    pub allowed: bool,
    /// Who was asked about.
    pub identity: String,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Which way.
    pub direction: String,
    /// Where to, in the form that rules see.
    pub target: String,
    /// Why nothing was judged: it names no place, or a name that has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was judged: every address of the host, or the socket. Of a host all must be allowed; the node listens on those that are.
    pub judged: Vec<JudgedPlace>,
}

/// One thing that was judged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JudgedPlace {
    /// The address with its port, or the path that the socket really has.
    pub place: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The number of the rule in `ssh.forward` that decided, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// What decided: the rule's text, or why none did.
    pub because: String,
}

/// Registers `policy/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let (policy, config) = (foundation.forward.clone(), foundation.config.clone());
    let peers = Arc::new(foundation.store.peers());
    let scopes = ["config:read", "peers:read"].map(|scope| scope.parse().expect("because these two are scopes"));
    registry.register(
        Operation::query("policy/test")
            .title("Explain what would become of a forward")
            .description("Names are looked up; nothing is connected to. The options of a key may take away more.")
            .access(alknet_core::AccessRule::scoped(scopes))
            .handler(move |context, input: TestPolicy| {
                let (policy, config, peers) = (policy.clone(), config.clone(), peers.clone());
                async move { test(&policy, &config, &peers, &context.permit, input).await }
            }),
    )?;
    Ok(())
}

async fn test(
    policy: &ForwardPolicy,
    config: &SharedConfig,
    peers: &PeerStore,
    permit: &Permit,
    input: TestPolicy,
) -> Result<PolicyVerdict, CallError> {
    let target: ForwardTarget =
        input.to.parse().map_err(|error| CallError::invalid_input("/to", format!("{error}")))?;
    let direction = match &input.direction {
        Some(text) => text.parse().map_err(|error| CallError::invalid_input("/direction", format!("{error}")))?,
        None => target.usual_direction(),
    };
    let (name, role) = match input.identity.strip_prefix(ROLE) {
        Some(role) => (String::new(), role.to_owned()),
        None if input.identity == LOCAL_OWNER => (LOCAL_OWNER.to_owned(), OWNER_ROLE.to_owned()),
        None => {
            let peer = peers.show(permit, &peers::name(&input.identity)?).map_err(peers::refusal)?;
            (peer.name.to_string(), peer.role)
        }
    };
    let roles = config.current().config().roles().map_err(CallError::internal)?;
    let known = roles.names().any(|known| known == role);
    if !known && name.is_empty() {
        return Err(CallError::not_found(format!("there is no role `{}`", role.escape_debug())));
    }
    // Who has a role that is not configured has none.
    let role = known.then_some(role);
    let explained = policy.explain(&name, role.as_deref(), direction, &target).await;
    Ok(verdict(input.identity, role, explained))
}

fn verdict(identity: String, role: Option<String>, explained: Explanation) -> PolicyVerdict {
    let Explanation { direction, target, allowed, problem, judged } = explained;
    let judged = judged.into_iter().map(place).collect();
    PolicyVerdict {
        allowed,
        identity,
        role,
        direction: Direction::as_str(direction).to_owned(),
        target,
        problem,
        judged,
    }
}

fn place(Explained { place, allowed, rule, reason }: Explained) -> JudgedPlace {
    let (rule, because) = match rule {
        Some((number, text)) => (u64::try_from(number).ok(), text),
        None => (None, reason),
    };
    JudgedPlace { place, allowed, rule, because }
}
