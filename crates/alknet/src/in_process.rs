//! The same operations as a running node's, on the data folder itself, while none runs.

use std::sync::Arc;

use alknet_call::{ByteTickets, Client, LocalClient};
use alknet_core::{Authorizer, Caller, Credential, IdentityProvider, Maintenance, NodeKey, PeerAddr, Sessions};
use alknet_ssh::LiveSessions;
use alknet_store::{Clock, Store};

use crate::{
    cli::Place,
    credentials::CredentialResolver,
    data_folder::Lock,
    dialling::Ask,
    failure::Failure,
    heads::Heads,
    identity::NodeIdentity,
    operations::{self, Foundation},
    settings,
    shared_config::SharedConfig,
};

/// The data folder, opened for one command.
pub struct InProcess {
    client: Client,
    store: Store,
    _lock: Lock,
}

impl InProcess {
    /// Takes the folder's lock and assembles the registry. Without a passphrase at hand, and unless somebody may be
    /// asked for it, what needs a secret is not offered.
    pub async fn open(place: &Place, ask: Ask) -> Result<Self, Failure> {
        let node = NodeKey::from_bytes(NodeIdentity::keystore(&place.data)?.node_key())?;
        let lock = place.data.lock()?;
        let opens = NodeIdentity::opens_unattended(&place.data) || place.passphrase.is_given() || ask == Ask::May;
        let identity = if opens { Some(NodeIdentity::open(&place.data, &place.passphrase)?) } else { None };
        let sources = place.sources(Vec::new())?;
        let loaded = place.config(Vec::new())?;
        let sessions = Sessions::default();
        let store = Store::open(&place.data.database(), loaded.config().roles()?, sessions.clone())?;
        store.bind_node_key(&Maintenance::of("command"), node).await?;
        let gate = settings::gate(loaded.config(), &store).await?;
        let forward = Arc::new(settings::forward(loaded.config(), &place.data));
        let tickets = ByteTickets::default();
        let authorizer = Authorizer::new(store.audit_log());
        let files = settings::files(loaded.config(), &place.data, &store, authorizer.clone(), tickets.clone()).await?;
        let resolver = |identity| CredentialResolver::new(identity, store.clone(), Clock::system());
        let registry = operations::registry(&Foundation {
            node,
            credentials: identity.clone().map(resolver),
            identity,
            store: store.clone(),
            authorizer,
            sessions,
            ssh_sessions: LiveSessions::default(),
            config: SharedConfig::new(sources, loaded),
            control: None,
            tickets,
            data: place.data.clone(),
            heads: Heads::of(&place.data)?,
            gate,
            forward,
            files,
            clock: Clock::system(),
        })?;
        // Whoever can take the lock runs under the folder's own uid, as whoever can open the control socket.
        let caller = Caller {
            identity: store.directory().identify(&Credential::LocalOwner),
            credential: Some(Credential::LocalOwner.label()),
            addr: PeerAddr::LocalOwner { pid: i32::try_from(std::process::id()).unwrap_or_default() },
        };
        Ok(Self { client: Client::Local(LocalClient::new(registry, caller)), store, _lock: lock })
    }

    /// Calls the operations.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.store.close();
    }
}
