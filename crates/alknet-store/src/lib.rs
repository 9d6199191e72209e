//! One SQLite database with everything a node must remember: peers, API keys, tokens, and who did what.
//!
//! What is acknowledged is on disk. One thread writes and commits in groups; readers have connections of their own and neither side
//! waits for the other. Who a credential belongs to is answered from memory, which is swapped with each commit, so that a removed
//! peer, key or token ends at once.
//!
//! Not here: configuration (roles are handed in), secrets (only digests of API keys are stored), the data folder's lock.
//! The rules are in `docs/spec/store.md`.
//!
//! ```no_run
//! use alknet_core::Sessions;
//! use alknet_store::{Roles, Store};
//! let store = Store::open("alknet.db".as_ref(), Roles::default(), Sessions::default())?;
//! let directory = store.directory();
//! # Ok::<(), alknet_store::OpenError>(())
//! ```

mod api_keys;
mod audit;
mod backup;
mod clock;
mod credentials;
mod directory;
mod durability;
mod error;
mod events;
mod gate_scores;
mod grant;
mod inspect;
mod kept_calls;
mod ledger;
pub mod limits;
mod meta;
mod migrations;
mod open;
mod outcomes;
mod peers;
mod readers;
mod records;
mod roles;
mod store;
mod strangers;
mod tables;
mod tokens;
mod writer;

pub use api_keys::{ApiKeyError, ApiKeyRecord, ApiKeys, KeyRights, NewApiKey};
pub use audit::{Audit, AuditCounter, AuditError, AuditFilter, AuditRow};
pub use backup::BackupError;
pub use clock::Clock;
pub use credentials::{CredentialError, CredentialRecord, Credentials, NewCredential, SealedCredential};
pub use directory::Directory;
pub use durability::Durability;
pub use error::{DatabaseFault, StoreError};
pub use events::{
    BadPayload, Claim, ConsumerName, ConsumerRecord, DeadJob, DeclareError, Event, Events, InvalidName, Job, NewEvent,
    NewJob, NewTopic, Projection, PrunedEvents, PrunedJobs, PublishError, QueueError, QueueName, QueueStats, Queues,
    ReadError, Retention, Retried, TopicName, TopicRecord,
};
pub use gate_scores::GateScores;
pub use kept_calls::{KeptCall, KeptCallError, KeptCalls, NewKeptCall};
pub use meta::{BindError, node_key_of_copy};
pub use open::OpenError;
pub use outcomes::Outcomes;
pub use peers::{NewPeer, PeerError, PeerKey, PeerRecord, Peers};
pub use readers::Second;
pub use roles::{GUEST_ROLE, Role, RoleError, Roles};
pub use store::Store;
pub use tables::{Noted, Rights, Tables};
pub use tokens::{NewToken, TokenDenial, TokenRecord, TokenStoreError, Tokens};
