//! The nouns and joints of Alknet.
//!
//! What a connection is, which handler an ALPN belongs to, who a proven credential makes its bearer, and what that identity may do.
//! Every other crate speaks in these types; none of them is named here.
//!
//! Not here: sockets, TLS, storage, any protocol. Core names no ALPN of its own and never reads a clock, a file or the environment.
//!
//! ```
//! use alknet_core::{AccessRule, Scope};
//! let rule = AccessRule::scoped(["peers:write".parse::<Scope>()?]);
//! assert!(!rule.is_public());
//! # Ok::<(), alknet_core::InvalidScope>(())
//! ```

mod access;
mod alpn;
mod audit;
mod authorize;
mod connection;
mod credential;
mod dial;
mod handler;
mod identity;
mod journal;
mod kill_switch;
pub mod limits;
mod node_key;
mod offence;
mod peer;
mod router;
mod sessions;
mod signer;
mod stream;
mod ticket;
mod token;
mod verifier;

pub use access::{
    AccessRule, Denial, InvalidResource, InvalidScope, ResourceDemand, ResourceGrants, ResourceId, Scope, ScopeSet,
    decide,
};
pub use alpn::{Alpn, Carriers, Face, InvalidAlpn};
pub use audit::{AuditCounter, AuditEvent, AuditKind, AuditLog, AuditOutcome};
pub use authorize::{Acting, Authorizer, Caller, Demand, Effect, Gate, Maintenance, Permit, PermitError};
pub use connection::{Carrier, CloseReason, Connection, ConnectionError, Link};
pub use credential::{ApiKey, ApiKeyDigest, Credential, InvalidApiKey, SshCertificateId};
pub use dial::{DialError, DialTarget, Dialer, HostPort, InvalidHostPort};
pub use handler::{BoxFuture, PerStream, ProtocolHandler, ServeError, StreamHandler};
pub use identity::{Identity, IdentityProvider, LOCAL_OWNER, OWNER_ROLE, SshGrant, Standing};
pub use journal::{Begun, CallJournal, JournalError, OutcomeKey};
pub use kill_switch::KillSwitch;
pub use node_key::{Fingerprint, InvalidFingerprint, InvalidNodeKey, NodeKey};
pub use offence::{AuthenticationWatch, GateJournal, GateJournalError, GateRecord, Offence, PastOffence};
pub use peer::{InvalidPeerName, Peer, PeerAddr, PeerName};
pub use router::{DuplicateAlpn, Router, RouterBuilder, Served, Service};
pub use sessions::{SessionGuard, SessionInfo, SessionKind, Sessions};
pub use signer::{KeyPurpose, KeySigner};
pub use stream::{RecvHalf, RecvStream, SendHalf, SendStream, Stream, StreamReset};
pub use ticket::{InvalidTicket, Ticket};
pub use token::{AuthToken, TokenBounds, TokenError, TokenId, VerifiedToken};
pub use verifier::{CredentialVerifier, InvalidCredential};
