//! `peers/*`: who may use this node, and which nodes it knows.

use std::{collections::BTreeSet, sync::Arc};

use alknet_call::{CallError, ErrorCode, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_core::{Fingerprint, HostPort, NodeKey, Ticket};
use alknet_ssh::{PublicKeyLine, parse_authorized_keys, parse_public_key};
use alknet_store::{NewPeer, PeerError, PeerKey, PeerRecord, Peers as PeerStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, not_stored, scoped};

/// What this node is called where a peer's name could stand.
pub const OWN_NAME: &str = "node";

/// Input of `peers/add`: a name, and either a key or a ticket.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AddPeer {
    /// Its name: a-z 0-9 . -
    pub name: String,
    /// A public key: a line as in `authorized_keys`, with its options, a node id, or a fingerprint. With the option
    /// `cert-authority` it is a key that signs SSH certificates for the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The ticket of a node: its key and addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What it may do.
    pub role: String,
}

/// Input of `peers/show`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerName {
    /// The peer's name.
    pub name: String,
}

/// Input of `peers/remove`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RemovePeer {
    /// The peer's name.
    pub name: String,
    /// Only this key of it, or key that signs for it; written as in `peers/add`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A key with what SSH allows with it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyOptionsView {
    /// Its fingerprint.
    pub key: String,
    /// The options, as in an `authorized_keys` line.
    pub options: String,
}

/// One peer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The fingerprints of its keys.
    pub keys: Vec<String>,
    /// Those of the keys that are for SSH only, with their options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restricted: Vec<KeyOptionsView>,
    /// The keys that sign SSH certificates for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<KeyOptionsView>,
    /// Its node id, when one of the keys is a node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Where to find it, best first, as `host:port`.
    pub addresses: Vec<String>,
    /// When it was added, in seconds since 1970.
    pub created_at: u64,
}

/// Output of `peers/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Peers {
    /// The peers by name.
    pub peers: Vec<PeerView>,
}

/// Output of `peers/remove`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Who is no peer any more, or who has the key no more.
    pub name: String,
    /// The key, when it was only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Input of `peers/import`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ImportPeers {
    /// The content of an `authorized_keys` file.
    pub authorized_keys: String,
    /// What the new peers may do.
    pub role: String,
}

/// Output of `peers/import`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The peers that were added.
    pub peers: Vec<PeerView>,
}

/// Registers `peers/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let peers = Arc::new(foundation.store.peers());
    let (store, own) = (peers.clone(), Fingerprint::from(foundation.node));
    registry.register(
        Operation::mutation("peers/add")
            .title("Add a peer, or another key to one that is there")
            .access(scoped("peers:write"))
            .handler(move |context, input: AddPeer| {
                let (store, own) = (store.clone(), own.clone());
                async move { add(&store, &own, &context.permit, input).await }
            }),
    )?;
    let store = peers.clone();
    registry.register(
        Operation::mutation("peers/import")
            .title("Add the keys of an authorized_keys file")
            .description("All of them or, when one line is refused, none.")
            .access(scoped("peers:write"))
            .max_input_bytes(1024 * 1024)
            .handler(move |context, input: ImportPeers| {
                let store = store.clone();
                async move { import(&store, &context.permit, input).await }
            }),
    )?;
    let store = peers.clone();
    registry.register(Operation::query("peers/list").title("List the peers").access(scoped("peers:read")).handler(
        move |context, _: Nothing| {
            let store = store.clone();
            async move {
                let peers = store.list(&context.permit).map_err(refusal)?;
                Ok(Peers { peers: peers.into_iter().map(view).collect() })
            }
        },
    ))?;
    let store = peers.clone();
    registry.register(Operation::query("peers/show").title("Show a peer").access(scoped("peers:read")).handler(
        move |context, input: PeerName| {
            let store = store.clone();
            async move { Ok(view(store.show(&context.permit, &name(&input.name)?).map_err(refusal)?)) }
        },
    ))?;
    let store = peers;
    registry.register(
        Operation::mutation("peers/remove")
            .title("Remove a peer, or one of its keys")
            .description("Its live sessions end at once.")
            .access(scoped("peers:write"))
            .handler(move |context, input: RemovePeer| {
                let store = store.clone();
                async move { remove(&store, &context.permit, input).await }
            }),
    )?;
    Ok(())
}

async fn add(
    store: &PeerStore,
    own: &Fingerprint,
    permit: &alknet_core::Permit,
    input: AddPeer,
) -> Result<PeerView, CallError> {
    let name = name(&input.name)?;
    if name.as_str() == OWN_NAME {
        return Err(CallError::invalid_input("/name", "`node` means this node; choose another name"));
    }
    let (key, addresses) = match (&input.key, &input.ticket) {
        (Some(key), None) => (given_key(key)?, Vec::new()),
        (None, Some(ticket)) => {
            let ticket: Ticket =
                ticket.parse().map_err(|error: alknet_core::InvalidTicket| invalid("/ticket", error))?;
            (GivenKey::Own(Fingerprint::from(ticket.key()).into()), ticket.addresses().to_vec())
        }
        _ => return Err(CallError::invalid_input("", "give either a key or a ticket")),
    };
    if matches!(&key, GivenKey::Own(key) if key.fingerprint == *own) {
        return Err(CallError::invalid_input("", "this is the key of this node itself"));
    }
    let (keys, authorities) = key.sorted();
    let peer = NewPeer { name, role: input.role, keys, authorities, addresses };
    match store.add(permit, peer.clone()).await {
        // The name is there with the same role: the key is another one of that peer.
        Err(PeerError::NameTaken(name))
            if peer.addresses.is_empty() && store.role_of(&name).as_ref() == Some(&peer.role) =>
        {
            store.add_keys(permit, &name, peer.keys, peer.authorities).await.map(view).map_err(refusal)
        }
        outcome => outcome.map(view).map_err(refusal),
    }
}

async fn import(store: &PeerStore, permit: &alknet_core::Permit, input: ImportPeers) -> Result<Imported, CallError> {
    let lines = parse_authorized_keys(&input.authorized_keys).map_err(|error| invalid("/authorized_keys", error))?;
    if lines.is_empty() {
        return Err(CallError::invalid_input("/authorized_keys", "there is no key in it"));
    }
    let mut taken = BTreeSet::new();
    let mut new = Vec::new();
    for line in lines {
        let name = free_name(&line.comment, &mut taken, |name| store.role_of(name).is_some())?;
        let (keys, authorities) = GivenKey::from(line).sorted();
        new.push(NewPeer { name, role: input.role.clone(), keys, authorities, addresses: Vec::new() });
    }
    let peers = store.add_all(permit, new).await.map_err(refusal)?;
    Ok(Imported { peers: peers.into_iter().map(view).collect() })
}

async fn remove(store: &PeerStore, permit: &alknet_core::Permit, input: RemovePeer) -> Result<Removed, CallError> {
    let name = name(&input.name)?;
    let key = input.key.as_deref().map(fingerprint).transpose()?;
    match key.clone() {
        Some(key) => store.remove_keys(permit, &name, vec![key]).await.map_err(refusal)?,
        None => store.remove(permit, &name).await.map_err(refusal)?,
    };
    Ok(Removed { name: input.name, key: key.map(|key| key.to_string()) })
}

/// A key as it was given: one that the peer has, or one that signs certificates for it.
enum GivenKey {
    Own(PeerKey),
    Authority(PeerKey),
}

impl From<PublicKeyLine> for GivenKey {
    fn from(line: PublicKeyLine) -> Self {
        let key = PeerKey { fingerprint: line.fingerprint, options: line.options };
        if line.authority { Self::Authority(key) } else { Self::Own(key) }
    }
}

impl GivenKey {
    /// The peer's keys, and those of its authorities.
    fn sorted(self) -> (Vec<PeerKey>, Vec<PeerKey>) {
        match self {
            Self::Own(key) => (vec![key], Vec::new()),
            Self::Authority(key) => (Vec::new(), vec![key]),
        }
    }
}

/// A peer name made of a key's comment (`alice@laptop` is `alice-laptop`), numbered if it is taken.
fn free_name(
    comment: &str,
    chosen: &mut BTreeSet<String>,
    is_taken: impl Fn(&alknet_core::PeerName) -> bool,
) -> Result<alknet_core::PeerName, CallError> {
    let kept =
        comment.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' });
    let mut base: String = kept.take(48).collect::<String>().trim_matches(['-', '.']).to_owned();
    if base.is_empty() {
        "imported".clone_into(&mut base);
    }
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    for candidate in std::iter::once(base.clone()).chain(numbered) {
        let name = name(&candidate)?;
        if !is_taken(&name) && chosen.insert(candidate) {
            return Ok(name);
        }
    }
    Err(CallError::internal("the numbers ran out"))
}

/// Reads a peer's name.
pub fn name(text: &str) -> Result<alknet_core::PeerName, CallError> {
    text.parse().map_err(|error| invalid("/name", error))
}

/// Reads which key is meant, however it is written.
pub fn fingerprint(text: &str) -> Result<Fingerprint, CallError> {
    match given_key(text)? {
        GivenKey::Own(key) | GivenKey::Authority(key) => Ok(key.fingerprint),
    }
}

/// Reads a key however it is written, with the options of its line.
fn given_key(text: &str) -> Result<GivenKey, CallError> {
    let text = text.trim();
    if let Ok(key) = text.parse::<NodeKey>() {
        return Ok(GivenKey::Own(Fingerprint::from(key).into()));
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        return Ok(GivenKey::Own(fingerprint.into()));
    }
    if !text.contains(char::is_whitespace) {
        let forms = "a line of OpenSSH's, a node id, or `ed25519:` and 64 hex digits";
        return Err(invalid("/key", format_args!("this is no public key: it is written as {forms}")));
    }
    parse_public_key(text).map(GivenKey::from).map_err(|error| invalid("/key", error))
}

fn invalid(pointer: &str, error: impl std::fmt::Display) -> CallError {
    CallError::invalid_input(pointer, error.to_string())
}

fn view(peer: PeerRecord) -> PeerView {
    // A peer with addresses is a node; its Ed25519 key is the node's.
    let node_key = peer.node_key().filter(|_| !peer.addresses.is_empty());
    PeerView {
        name: peer.name.to_string(),
        role: peer.role,
        keys: peer.keys.iter().map(|key| key.fingerprint.to_string()).collect(),
        restricted: peer.keys.iter().filter(|key| key.options.is_some()).map(options_view).collect(),
        authorities: peer.authorities.iter().map(options_view).collect(),
        node_id: node_key.map(|key| key.to_string()),
        addresses: peer.addresses.iter().map(HostPort::to_string).collect(),
        created_at: peer.created_at,
    }
}

fn options_view(key: &PeerKey) -> KeyOptionsView {
    KeyOptionsView { key: key.fingerprint.to_string(), options: key.options.clone().unwrap_or_default() }
}

/// What a caller learns of it.
pub fn refusal(error: PeerError) -> CallError {
    match error {
        PeerError::Unknown(_) => CallError::not_found(error.to_string()),
        PeerError::Permit(_) | PeerError::OwnersOnly(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        PeerError::Store(error) => not_stored(&error),
        _ => CallError::invalid_input("", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_comments_and_are_never_taken_twice() {
        let mut chosen = BTreeSet::new();
        let mut free =
            |comment: &str| free_name(comment, &mut chosen, |name| name.as_str() == "bob").unwrap().to_string();
        assert_eq!(free("Alice@laptop"), "alice-laptop");
        assert_eq!(free("alice@laptop"), "alice-laptop-2");
        assert_eq!(free("bob"), "bob-2");
        assert_eq!(free("ünï"), "n");
        assert_eq!(free("@"), "imported");
        assert_eq!(free(&"x".repeat(200)).len(), 48);
    }
}
