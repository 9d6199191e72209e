//! How a command reaches operations: the running node's control socket, this data folder in process, or another node.

use std::{collections::BTreeSet, time::Duration};

use alknet_call::{BYTES, CALL, CallClient, CallError, CallOptions, Client, ErrorCode, SubscribeOptions, Subscription};
use alknet_core::{Alpn, Connection, DialTarget, HostPort, NodeKey, Ticket};
use alknet_net::{CarrierPolicy, connect_local};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    cli::{Place, printable},
    dialling::{Ask, Dialling},
    failure::{Failure, Kind},
    in_process::InProcess,
    operations::{
        events::UNDECLARED,
        node::NodeStatus,
        peers::{AddPeer, OWN_NAME, PeerName, PeerView, Peers},
    },
};

/// The port that is meant when none is written.
pub const DEFAULT_PORT: u16 = 4433;
/// How long a call may take unless its command says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls operations somewhere.
pub struct NodeClient<'a> {
    client: Client,
    _in_process: Option<InProcess>,
    dialling: Option<Dialling<'a>>,
    place: &'a Place,
    /// The node, where it is another one.
    node: Option<String>,
}

impl<'a> NodeClient<'a> {
    /// The running node; fails if none runs.
    pub async fn running(place: &'a Place) -> Result<Self, Failure> {
        let connection = connect_local(&place.data.control_socket(), &CALL).await.map_err(|_| {
            Failure::new(Kind::Unavailable, format!("no node runs on {}", place.data.root().display()))
                .hint("start it with `alknet up`, or name its folder with --data")
        })?;
        let client = Client::Remote(CallClient::connect(connection).await?);
        Ok(Self { client, _in_process: None, dialling: None, place, node: None })
    }

    /// The running node, or the data folder itself while none runs.
    pub async fn local(place: &'a Place) -> Result<Self, Failure> {
        Self::local_with(place, Ask::Never).await
    }

    /// The same, for operations that need the node's secrets: asks for the passphrase when no node runs.
    pub async fn local_unlocked(place: &'a Place) -> Result<Self, Failure> {
        Self::local_with(place, Ask::May).await
    }

    async fn local_with(place: &'a Place, ask: Ask) -> Result<Self, Failure> {
        match Self::running(place).await {
            Ok(client) => Ok(client),
            Err(failure) if failure.kind() == Kind::Unavailable => match InProcess::open(place, ask).await {
                Ok(in_process) => {
                    let client = in_process.client();
                    Ok(Self { client, _in_process: Some(in_process), dialling: None, place, node: None })
                }
                // A node that was just starting held the folder: it answers now.
                Err(_) if place.data.is_serving() => Self::running(place).await,
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        }
    }

    /// The node that `@NODE` names, or the local one.
    pub async fn reach(place: &'a Place, node: Option<&str>, trust: Trust) -> Result<Self, Failure> {
        let Some(node) = node else {
            return Self::local(place).await;
        };
        let node = node.strip_prefix('@').unwrap_or(node);
        let dialling = Dialling::new(place, Ask::May, CarrierPolicy::Auto)?;
        let connection = dial(place, &dialling, node, &CALL, trust).await?;
        let client = Client::Remote(CallClient::connect(connection).await?);
        Ok(Self { client, _in_process: None, dialling: Some(dialling), place, node: Some(node.to_owned()) })
    }

    /// Calls an operation and reads its output.
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, input: &impl Serialize) -> Result<T, Failure> {
        self.call_within(operation, input, CALL_TIMEOUT).await
    }

    /// The same, giving up after `timeout`.
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let options = CallOptions { deadline: Some(timeout), ..CallOptions::default() };
        let operation = operation.trim_start_matches('/');
        let input = serde_json::to_value(input)?;
        let output = self.client.call(operation, input, options).await.map_err(|error| match error.code {
            ErrorCode::InvalidOperationType => explain(operation, &error)
                .hint(format_args!("it gives items until it ends: follow it with `alknet subscribe {operation}`")),
            _ => explain(operation, &error),
        })?;
        Ok(serde_json::from_value(output)?)
    }

    /// Calls an operation; what its error means is the caller's to say.
    pub async fn ask(&self, operation: &str, input: Value, timeout: Duration) -> Result<Value, CallError> {
        let options = CallOptions { deadline: Some(timeout), ..CallOptions::default() };
        self.client.call(operation, input, options).await
    }

    /// Opens a connection on which the bytes of tickets go.
    pub async fn bytes(&self) -> Result<Connection, Failure> {
        match (&self.node, &self.dialling) {
            (Some(node), Some(dialling)) => dial(self.place, dialling, node, &BYTES, Trust::Pinned).await,
            _ => Ok(connect_local(&self.place.data.control_socket(), &BYTES).await?),
        }
    }

    /// Subscribes to an operation. Its items come from [`Subscription`], until it ends or is dropped.
    pub async fn subscribe(
        &self,
        operation: &str,
        input: &impl Serialize,
        options: SubscribeOptions,
    ) -> Result<Subscription, Failure> {
        let operation = operation.trim_start_matches('/');
        let input = serde_json::to_value(input)?;
        self.client.subscribe(operation, input, options).await.map_err(|error| explain_subscription(operation, &error))
    }

    /// Says farewell to whoever was dialled.
    pub async fn finish(self) {
        let Self { client, dialling, .. } = self;
        drop(client);
        if let Some(dialling) = dialling {
            dialling.finish().await;
        }
    }
}

/// What to do about a node whose key nobody vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Refuse, and say the ways out.
    Pinned,
    /// Take the key that answers, and remember it as a peer.
    OnFirstUse,
}

impl Trust {
    /// What `--trust-on-first-use` says.
    pub const fn from_flag(trust_on_first_use: bool) -> Self {
        if trust_on_first_use { Self::OnFirstUse } else { Self::Pinned }
    }
}

/// Dials the node that a text names.
pub async fn dial(
    place: &Place,
    dialling: &Dialling<'_>,
    node: &str,
    alpn: &Alpn,
    trust: Trust,
) -> Result<Connection, Failure> {
    let target = resolve(place, node).await?;
    if trust == Trust::Pinned || target.key.is_some() {
        return dialling.dial(&target, alpn).await;
    }
    match dialling.dial_or_key(&target, alpn).await? {
        Ok(connection) => Ok(connection),
        Err(ticket) => {
            adopt(place, &ticket).await?;
            dialling.dial(&ticket.into(), alpn).await
        }
    }
}

/// Writes a key that was taken on trust down as a peer named after its host.
async fn adopt(place: &Place, ticket: &Ticket) -> Result<(), Failure> {
    crate::cli::ensure_identity(place).await?;
    let name = ticket.addresses().first().map_or_else(|| "host".to_owned(), name_of_host);
    let node = NodeClient::local(place).await?;
    let peer = AddPeer { name, key: None, ticket: Some(ticket.to_string()), role: "guest".to_owned() };
    let peer: PeerView = node.call("peers/add", &peer).await?;
    crate::cli::note(format!("{} is now pinned as the peer {}", ticket.key(), peer.name));
    Ok(())
}

/// A peer name for the node at an address: its host, with the port where that is not the usual one.
fn name_of_host(address: &HostPort) -> String {
    let text = match address.port() {
        DEFAULT_PORT => address.host().to_owned(),
        port => format!("{}-{port}", address.host()),
    };
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    name.trim_start_matches(['.', '-']).to_owned()
}

/// Finds out which node a text means: a ticket, a peer's name, a node id, or `host[:port]`.
pub async fn resolve(place: &Place, node: &str) -> Result<DialTarget, Failure> {
    if let Ok(ticket) = node.parse::<Ticket>() {
        return Ok(ticket.into());
    }
    if node == OWN_NAME {
        return own_target(place).await;
    }
    let key = node.parse::<NodeKey>().ok();
    if place.data.keystore().exists() {
        let local = NodeClient::local(place).await?;
        if let Some(key) = key {
            let Peers { peers } = local.call("peers/list", &serde_json::json!({})).await?;
            let id = key.to_string();
            let peer = peers.into_iter().find(|peer| peer.node_id.as_deref() == Some(id.as_str()));
            return target_of(Some(key), peer.map(|peer| peer.addresses).unwrap_or_default());
        }
        match local.call::<PeerView>("peers/show", &PeerName { name: node.to_owned() }).await {
            Ok(peer) if peer.node_id.is_some() => {
                let key = peer.node_id.and_then(|id| id.parse().ok());
                return target_of(key, peer.addresses);
            }
            Ok(_) => {
                return Err(Failure::new(Kind::NotFound, format!("the peer {node} has no node key"))
                    .hint("add it with the ticket that its `alknet up` printed"));
            }
            Err(failure) if matches!(failure.kind(), Kind::NotFound | Kind::Usage) => {}
            Err(failure) => return Err(failure),
        }
    }
    if key.is_some() {
        return target_of(key, Vec::new());
    }
    let looks_like_host = node.contains(['.', ':']) || node == "localhost";
    match HostPort::parse_with_default(node, DEFAULT_PORT) {
        Ok(address) if looks_like_host => {
            let key = key_at(place, &address).await?;
            Ok(DialTarget { key, addresses: vec![address] })
        }
        _ => Err(Failure::new(Kind::NotFound, format!("no peer is called {}", node.escape_debug()))
            .hint("`alknet peer list` shows the names; add one with `alknet peer add NAME --ticket TICKET`")
            .hint("an address is written host:port")),
    }
}

/// The key that is pinned for an address: that of the one peer which was added with it.
async fn key_at(place: &Place, address: &HostPort) -> Result<Option<NodeKey>, Failure> {
    if !place.data.keystore().exists() {
        return Ok(None);
    }
    let text = address.to_string();
    let Peers { peers } = NodeClient::local(place).await?.call("peers/list", &serde_json::json!({})).await?;
    let there = peers.into_iter().filter(|peer| peer.addresses.contains(&text));
    let keys: BTreeSet<String> = there.filter_map(|peer| peer.node_id).collect();
    match keys.len() {
        1 => Ok(keys.first().and_then(|id| id.parse().ok())),
        _ => Ok(None),
    }
}

/// The node of this data folder, where its ticket says that it is.
async fn own_target(place: &Place) -> Result<DialTarget, Failure> {
    let status: NodeStatus = NodeClient::running(place).await?.call("node/status", &serde_json::json!({})).await?;
    let mut ticket = DialTarget::from(status.ticket.parse::<Ticket>()?);
    // From here the loopback addresses, which stand last, are the nearest.
    ticket.addresses.reverse();
    Ok(ticket)
}

fn target_of(key: Option<NodeKey>, addresses: Vec<String>) -> Result<DialTarget, Failure> {
    let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<Vec<_>, _>>()?;
    Ok(DialTarget { key, addresses })
}

/// What a failed subscription means to the person who made it.
pub fn explain_subscription(operation: &str, error: &CallError) -> Failure {
    let failure = explain(operation, error);
    let oldest = error.details.as_ref().and_then(|details| details["oldest"].as_u64());
    match (&error.code, oldest) {
        (ErrorCode::InvalidOperationType, _) => {
            failure.hint(format_args!("it gives one output: `alknet call {operation}`"))
        }
        (ErrorCode::Declared(code), Some(oldest)) if code == "TRIMMED" => {
            failure.hint(format_args!("to take what is left: --after {}", oldest.saturating_sub(1)))
        }
        _ if failure.kind() == Kind::NotFound => failure.hint("`alknet services` lists what you may call"),
        _ => failure,
    }
}

/// What a failed call means to the person who made it.
pub fn explain(operation: &str, error: &CallError) -> Failure {
    let kind = match &error.code {
        ErrorCode::NotFound => Kind::NotFound,
        ErrorCode::Unauthenticated | ErrorCode::Forbidden => Kind::Denied,
        ErrorCode::InvalidInput => Kind::Usage,
        ErrorCode::Timeout | ErrorCode::Overloaded | ErrorCode::Unavailable => Kind::Unavailable,
        _ => Kind::Failed,
    };
    let pointer = error.details.as_ref().and_then(|details| details["pointer"].as_str());
    let place = pointer.filter(|pointer| !pointer.is_empty()).map(|pointer| format!(" at {}", printable(pointer)));
    let message: Vec<_> = error.message.lines().map(printable).collect();
    let said = format!("{}{}: {}", error.code, place.unwrap_or_default(), message.join("\n"));
    let failure = Failure::new(kind, format!("{operation}: {said}"));
    if error.code.as_str() == UNDECLARED {
        return failure.hint("`alknet events topics` lists what is declared; `alknet events declare` declares more");
    }
    if error.code == ErrorCode::Unauthenticated {
        return failure.hint("that node does not know this node's key: add it there with `alknet peer add`");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adopted_node_is_named_after_its_address() {
        let table = [("box.lan:4433", "box.lan"), ("box.lan:1", "box.lan-1"), ("[::1]:2", "1-2"), ("a_b:4433", "a-b")];
        for (address, name) in table {
            assert_eq!(name_of_host(&address.parse().unwrap()), name);
        }
    }
}
