//! The endpoint: QUIC and TCP on one port, two TLS faces, the one-byte gate, dialling.

pub mod limits;
mod quic;
mod single_link;
mod socket;
mod tls;

pub use socket::{BindError, UdpBufferWarning};
pub use tls::{
    FaceError, NodeCredentials, SelfSignedPem, WebCertificate, WebCertificateError, generate_self_signed, provider,
};
