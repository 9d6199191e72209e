//! The heads of this node: nodes to which it lends its operations, over connections that it dials and keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use alknet_call::{Authenticator, CALL, CallClient, CallError, HeadState, ReconnectingClient, Registry, stay};
use alknet_core::{Caller, Credential, DialTarget, Dialer, IdentityProvider, PeerAddr, PeerName};
use alknet_net::NetDialer;
use alknet_store::Store;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    data_folder::{DataFolder, DataFolderError},
    failure::Failure,
};

/// Most heads of a node.
pub const MAX_HEADS: usize = 16;
/// Longest list of heads that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The heads of this node. Clones share them.
#[derive(Clone)]
pub struct Heads(Arc<Inner>);

struct Inner {
    data: DataFolder,
    /// By name; those without a connection are only remembered.
    heads: Mutex<BTreeMap<PeerName, Option<Connected>>>,
    running: OnceLock<Running>,
}

/// What a node that serves dials with.
struct Running {
    dialer: Arc<NetDialer>,
    registry: Arc<Registry>,
    authenticator: Authenticator,
    identities: Arc<dyn IdentityProvider>,
    store: Store,
}

/// A head that is dialled until this is dropped.
struct Connected {
    task: JoinHandle<()>,
    state: watch::Receiver<HeadState>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    heads: BTreeSet<String>,
}

impl Heads {
    /// The heads that the data folder remembers; dials nobody yet.
    pub fn of(data: &DataFolder) -> Result<Self, Failure> {
        let content = data.read_bounded(&data.heads(), MAX_FILE_BYTES)?;
        let file: File = content.map_or_else(|| Ok(File::default()), |content| serde_json::from_slice(&content))?;
        let heads = file.heads.iter().take(MAX_HEADS).map(|name| Ok((name.parse()?, None)));
        let heads = heads.collect::<Result<_, alknet_core::InvalidPeerName>>()?;
        Ok(Self(Arc::new(Inner { data: data.clone(), heads: Mutex::new(heads), running: OnceLock::new() })))
    }

    /// Dials all of them from now on, and whoever joins; only the first time.
    pub fn begin(
        &self,
        dialer: Arc<NetDialer>,
        registry: Arc<Registry>,
        authenticator: Authenticator,
        identities: Arc<dyn IdentityProvider>,
        store: Store,
    ) {
        let _begun = self.0.running.set(Running { dialer, registry, authenticator, identities, store });
        for (name, connected) in self.lock().iter_mut() {
            *connected = self.connect(name);
        }
    }

    /// Ends all connections, and lets the last words out. The list stays.
    pub async fn stop(&self) {
        self.lock().values_mut().for_each(|connected| *connected = None);
        if let Some(running) = self.0.running.get() {
            running.dialer.finish().await;
        }
    }

    /// Adds a head, for good.
    ///
    /// # Errors
    /// When it cannot be written down, or there are too many.
    pub fn join(&self, name: PeerName) -> Result<(), JoinError> {
        let mut heads = self.lock();
        if !heads.contains_key(&name) {
            if heads.len() >= MAX_HEADS {
                return Err(JoinError::TooMany);
            }
            let names = heads.keys().chain([&name]).map(ToString::to_string).collect();
            self.write(names)?;
        }
        let connected = self.connect(&name);
        heads.insert(name, connected);
        Ok(())
    }

    /// Takes a head away, for good; whether there was one.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn leave(&self, name: &PeerName) -> Result<bool, JoinError> {
        let mut heads = self.lock();
        if !heads.contains_key(name) {
            return Ok(false);
        }
        self.write(heads.keys().filter(|other| *other != name).map(ToString::to_string).collect())?;
        Ok(heads.remove(name).is_some())
    }

    /// Each with how this node stands with it; `None` while the node does not serve.
    pub fn list(&self) -> Vec<(PeerName, Option<HeadState>)> {
        let state = |connected: &Option<Connected>| connected.as_ref().map(|it| it.state.borrow().clone());
        self.lock().iter().map(|(name, connected)| (name.clone(), state(connected))).collect()
    }

    fn connect(&self, name: &PeerName) -> Option<Connected> {
        let running = self.0.running.get()?;
        let (told, state) = watch::channel(HeadState::default());
        let (inner, head) = (Arc::downgrade(&self.0), name.clone());
        let client = ReconnectingClient::new(move || {
            let (inner, head) = (inner.clone(), head.clone());
            async move {
                let inner = inner.upgrade().ok_or_else(|| CallError::unavailable("the node is stopping"))?;
                inner.running.get().ok_or_else(|| CallError::unavailable("the node does not serve"))?.dial(&head).await
            }
        });
        let (registry, identities, store) =
            (running.registry.clone(), running.identities.clone(), running.store.clone());
        let name = name.clone();
        let caller = move || caller(&*identities, store.peers().dial_target(&name).as_ref());
        let task = tokio::spawn(async move { stay(client, registry, caller, told).await });
        Some(Connected { task, state })
    }

    fn write(&self, heads: BTreeSet<String>) -> Result<(), JoinError> {
        let content = serde_json::to_vec_pretty(&File { heads }).map_err(JoinError::Text)?;
        Ok(self.0.data.write_private(&self.0.data.heads(), &content)?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerName, Option<Connected>>> {
        // A map that is changed by single inserts stays whole whoever panicked while holding it.
        self.0.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a head is not joined or left.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There are as many as there may be.
    #[error("this node has {MAX_HEADS} heads already")]
    TooMany,
    /// The list was not written.
    #[error("the list of heads was not written")]
    File(#[from] DataFolderError),
    /// The list could not be made a text.
    #[error("the list of heads was not written")]
    Text(#[source] serde_json::Error),
}

impl Running {
    /// The key and the addresses are those that the peer has now; another key than its own is refused.
    async fn dial(&self, head: &PeerName) -> Result<CallClient, CallError> {
        let gone = || CallError::unavailable(format!("{head} is no peer with a node key any more"));
        let target = self.store.peers().dial_target(head).filter(|target| target.key.is_some()).ok_or_else(gone)?;
        let connection =
            self.dialer.dial(&target, &CALL).await.map_err(|error| CallError::unavailable(error.to_string()))?;
        CallClient::connect_serving(connection, self.registry.clone(), self.authenticator.clone()).await
    }
}

/// Who a head is here, so that it is offered what it may.
fn caller(identities: &dyn IdentityProvider, target: Option<&DialTarget>) -> Caller {
    let credential = target.and_then(|target| target.key).map(Credential::NodeKey);
    Caller {
        identity: credential.as_ref().and_then(|credential| identities.identify(credential)),
        credential: credential.as_ref().map(Credential::label),
        addr: PeerAddr::LocalOwner { pid: i32::try_from(std::process::id()).unwrap_or_default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_remembered_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::at(folder.path().to_owned());
        let name = |text: &str| text.parse::<PeerName>().unwrap();
        let heads = Heads::of(&data).unwrap();
        for n in 0..MAX_HEADS {
            heads.join(name(&format!("head-{n}"))).unwrap();
        }
        heads.join(name("head-0")).unwrap();
        assert!(matches!(heads.join(name("one-more")), Err(JoinError::TooMany)));
        assert!(heads.leave(&name("head-0")).unwrap() && !heads.leave(&name("head-0")).unwrap());
        let again = Heads::of(&data).unwrap();
        assert_eq!(again.list().len(), MAX_HEADS - 1);
        assert!(again.list().iter().all(|(name, state)| name.as_str() != "head-0" && state.is_none()));
    }

    #[test]
    fn a_broken_list_is_told_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::at(folder.path().to_owned());
        for broken in ["", "[]", r#"{"heads":["any"]}"#, r#"{"heads":[],"x":1}"#] {
            std::fs::write(data.heads(), broken).unwrap();
            assert!(Heads::of(&data).is_err(), "{broken}");
        }
    }
}
