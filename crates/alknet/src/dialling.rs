//! Reaching other nodes from the command line: whose key is presented, and what is remembered about carriers.

use std::{sync::Arc, time::Duration};

use alknet_core::{Alpn, Carrier, Connection, DialError, DialTarget, Dialer, KeyPurpose, KeySigner, NodeKey, Ticket};
use alknet_net::{CarrierPolicy, LostCarrier, NetDialer, NodeCredentials, Patience};
use alknet_vault::{Epoch, Mnemonic, Vault, WordCount};
use serde::{Deserialize, Serialize};

use crate::{
    cli::Place,
    clock::unix_seconds,
    failure::{Failure, Kind},
    identity::NodeIdentity,
};

/// Largest memory of carriers read, in bytes.
const MAX_MEMORY_BYTES: u64 = 256 * 1024;

/// Whether a person may be asked for the passphrase that opens this node's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Ask, if there is somebody.
    May,
    /// Present a throw-away key instead: whoever answers sees a stranger.
    Never,
}

/// Dials on behalf of one command.
pub struct Dialling<'a> {
    place: &'a Place,
    dialer: Arc<NetDialer>,
    /// This node's keys, where they could be opened.
    identity: Option<NodeIdentity>,
}

impl<'a> Dialling<'a> {
    /// Presents this node's key if it can be opened.
    pub fn new(place: &'a Place, ask: Ask, policy: CarrierPolicy) -> Result<Self, Failure> {
        Self::with_patience(place, ask, policy, Patience::Usual)
    }

    /// The same for connections that are worth waiting for when the network is gone for a while.
    pub fn patient(place: &'a Place, ask: Ask, policy: CarrierPolicy) -> Result<Self, Failure> {
        Self::with_patience(place, ask, policy, Patience::Outages)
    }

    fn with_patience(place: &'a Place, ask: Ask, policy: CarrierPolicy, patience: Patience) -> Result<Self, Failure> {
        let identity = own_key(place, ask)?;
        let signer: Arc<dyn KeySigner> = match &identity {
            Some(identity) => Arc::new(identity.clone()),
            None => Arc::new(Passerby::new()?),
        };
        let dialer = NetDialer::new(NodeCredentials::new(signer)?, policy).with_patience(patience);
        dialer.remember(recall(place));
        Ok(Self { place, dialer: Arc::new(dialer), identity })
    }

    /// The dialler itself, for what dials again by itself.
    pub fn dialer(&self) -> Arc<NetDialer> {
        Arc::clone(&self.dialer)
    }

    /// This node's keys, where they could be opened.
    pub const fn identity(&self) -> Option<&NodeIdentity> {
        self.identity.as_ref()
    }

    /// Dials, and writes down which carrier lost.
    pub async fn dial(&self, target: &DialTarget, alpn: &Alpn) -> Result<Connection, Failure> {
        let outcome = self.dialer.dial(target, alpn).await;
        keep(self.place, &self.dialer.lost_carriers());
        outcome.map_err(explain)
    }

    /// Dials like [`Self::dial`]; an unknown key comes back for the caller to decide.
    pub async fn dial_or_key(&self, target: &DialTarget, alpn: &Alpn) -> Result<Result<Connection, Ticket>, Failure> {
        match self.dialer.dial(target, alpn).await {
            Err(DialError::UnknownKey { address, seen }) => Ok(Err(Ticket::new(seen, vec![address]))),
            Ok(connection) => {
                keep(self.place, &self.dialer.lost_carriers());
                Ok(Ok(connection))
            }
            Err(error) => Err(explain(error)),
        }
    }

    /// Lets the last words of closed connections out.
    pub async fn finish(&self) {
        self.dialer.finish().await;
    }
}

/// What did not get through lately, as the commands on this data folder remember it.
pub fn lost_carriers(place: &Place) -> Vec<LostCarrier> {
    recall(place)
}

fn own_key(place: &Place, ask: Ask) -> Result<Option<NodeIdentity>, Failure> {
    if !NodeIdentity::exists(&place.data) {
        return Ok(None);
    }
    let unattended = NodeIdentity::opens_unattended(&place.data) || place.passphrase.is_given();
    if unattended || ask == Ask::May { NodeIdentity::open(&place.data, &place.passphrase).map(Some) } else { Ok(None) }
}

/// What sort of failure it is that a node was not reached.
pub const fn kind_of(error: &DialError) -> Kind {
    match error {
        DialError::UnknownKey { .. } | DialError::WrongKey { .. } => Kind::Denied,
        DialError::NotOffered { .. } => Kind::NotFound,
        DialError::NoAddress | DialError::Unreachable(_) => Kind::Unavailable,
    }
}

fn explain(error: DialError) -> Failure {
    let kind = kind_of(&error);
    let failure = Failure::caused_by(kind, &error);
    match error {
        DialError::UnknownKey { address, seen } => {
            let ticket = Ticket::new(seen, vec![address]);
            failure
                .hint(format_args!("compare the key with what `alknet identity show` prints there, then pin it:\n        alknet peer add NAME --ticket {ticket}"))
                .hint("or take the key that answers now: --trust-on-first-use")
        }
        DialError::WrongKey { pinned, .. } => failure.hint(format_args!(
            "if the node really has a new key, remove the old one: `alknet peer list` shows who has {pinned}"
        )),
        DialError::Unreachable(_) => failure.hint("`alknet doctor NODE` tries each carrier and says why"),
        DialError::NoAddress | DialError::NotOffered { .. } => failure,
    }
}

/// The key of a command that speaks for nobody.
struct Passerby(Vault);

impl Passerby {
    fn new() -> Result<Self, Failure> {
        let mnemonic = Mnemonic::generate(WordCount::Twelve)?;
        Ok(Self(Vault::new(&mnemonic, "", Epoch::ZERO)?))
    }
}

impl KeySigner for Passerby {
    fn public_key(&self, _purpose: KeyPurpose) -> NodeKey {
        NodeKey::from_bytes(self.0.public_key(alknet_vault::KeyPurpose::Node))
            .expect("because a derived key is a point of large order")
    }
    fn sign(&self, _purpose: KeyPurpose, message: &[u8]) -> [u8; 64] {
        self.0.sign(alknet_vault::KeyPurpose::Node, message).expect("because only the root refuses to sign messages")
    }
}

/// One line of the memory file. A hint, never believed beyond "try the other carrier first".
#[derive(Serialize, Deserialize)]
struct Remembered {
    network: std::net::IpAddr,
    remote: std::net::SocketAddr,
    quic: bool,
    reason: String,
    retry_at: u64,
}

fn memory_file(place: &Place) -> std::path::PathBuf {
    place.data.root().join("carriers.json")
}

fn recall(place: &Place) -> Vec<LostCarrier> {
    let content = place.data.read_bounded(&memory_file(place), MAX_MEMORY_BYTES).ok().flatten();
    let notes: Vec<Remembered> = content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default();
    let now = unix_seconds();
    notes
        .into_iter()
        .filter(|note| note.retry_at > now)
        .map(|note| LostCarrier {
            network: note.network,
            remote: note.remote,
            carrier: if note.quic { Carrier::Quic } else { Carrier::Tls },
            reason: note.reason,
            retry_in: Duration::from_secs(note.retry_at - now),
        })
        .collect()
}

fn keep(place: &Place, lost: &[LostCarrier]) {
    let path = memory_file(place);
    if !place.data.root().exists() || (lost.is_empty() && !path.exists()) {
        return;
    }
    let now = unix_seconds();
    let notes: Vec<_> = lost
        .iter()
        .map(|lost| Remembered {
            network: lost.network,
            remote: lost.remote,
            quic: lost.carrier == Carrier::Quic,
            reason: lost.reason.clone(),
            retry_at: now + lost.retry_in.as_secs(),
        })
        .collect();
    let written = serde_json::to_vec(&notes).map_err(Failure::from).and_then(|content| {
        let same = std::fs::read(&path).is_ok_and(|old| old == content);
        if same { Ok(()) } else { Ok(place.data.write_private(&path, &content)?) }
    });
    if let Err(failure) = written {
        tracing::debug!(%failure, "the memory of carriers was not written");
    }
}
