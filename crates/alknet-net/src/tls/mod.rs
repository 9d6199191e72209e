//! TLS: one crypto provider, two faces, and who proves what.

mod faces;
mod hello;
mod identity_leaf;
mod kx;
mod node_credentials;
mod peer_verifier;
mod provider;
mod web_cert;

pub use faces::FaceError;
pub use node_credentials::NodeCredentials;
pub use provider::provider;
pub use web_cert::{SelfSignedPem, WebCertificate, WebCertificateError, generate_self_signed};

pub(crate) use faces::{AlpnTable, FaceStore};
pub(crate) use hello::{HelloProgress, HelloView, parse_hello};
pub(crate) use peer_verifier::{PinnedServer, node_key_in};
