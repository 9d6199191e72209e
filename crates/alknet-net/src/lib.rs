//! The endpoint: QUIC and TCP on one port, two TLS faces, the one-byte gate, the abuse gate, dialling.
//!
//! What arrives is turned into core's `Connection` and given to core's `Router`; what is dialled comes back as one.
//! Nothing here knows a protocol above TLS, a peer by name, or a file but the certificate's and the control socket's.
//! The rules are in `docs/spec/net.md`; the ids in the tests (`NET-05`) are that document's.

mod abuse;
mod dial;
mod endpoint;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod lane;
pub mod limits;
mod local;
mod prompt_tcp;
mod quic;
mod serving;
mod single_link;
mod socket;
mod tcp_listener;
mod tls;

pub use abuse::{AbuseGate, AddressRange, GateReport, GateTarget, InvalidAddressRange, InvalidGateTarget, Place};
pub use dial::{CarrierPolicy, LostCarrier, NetDialer, WebDialError, dial_public_web, dial_web, look_up_public_web};
pub use endpoint::{Endpoint, EndpointConfig, EndpointError};
pub use gate::{InvalidPublicUrl, PublicUrl};
pub use local::{LocalBindError, connect_local};
pub use quic::Patience;
pub use socket::{BindError, UdpBufferWarning};
pub use tls::{
    FaceError, NodeCredentials, SelfSignedPem, WebCertificate, WebCertificateError, generate_self_signed, provider,
};
