//! A QUIC handshake that reads the ClientHello before it chooses its TLS configuration.
//!
//! rustls decides between a raw public key and X.509 per configuration, so the configuration follows from the hello.
//! Until the hello is complete (it may span packets: Chromium's does) this session only collects handshake bytes,
//! bounded; then it starts the real session and replays them.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};

use crate::tls::{FaceStore, HelloProgress, parse_hello};

/// The QUIC crypto configuration of a listener: chooses among the faces' prebuilt configurations.
pub(crate) struct LazyServerConfig {
    faces: Arc<FaceStore>,
    /// Makes Initial keys and Retry tags, which are the same for every configuration (RFC 9001, 5.2 and 5.8).
    initial: Arc<QuicServerConfig>,
}

impl LazyServerConfig {
    /// Takes the faces to choose from; later swaps of them are seen by new connections.
    pub(crate) fn new(faces: Arc<FaceStore>) -> Self {
        let initial = faces.load().any_quic();
        Self { faces, initial }
    }
}

impl ServerConfig for LazyServerConfig {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(LazySession { config: self, version, params: *params, hello: Vec::new(), chosen: None })
    }
}

struct LazySession {
    config: Arc<LazyServerConfig>,
    version: u32,
    params: TransportParameters,
    /// Handshake bytes so far; bounded by `parse_hello`, empty once a session was chosen.
    hello: Vec<u8>,
    chosen: Option<Box<dyn Session>>,
}

impl LazySession {
    /// Collects; once the hello is complete, chooses and replays.
    fn collect(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.hello.extend_from_slice(bytes);
        let progress = parse_hello(&self.hello).map_err(|error| alert(error.alert(), error.to_string()))?;
        let HelloProgress::Complete(view) = progress else { return Ok(false) };
        let config =
            self.config.faces.load().quic(&view).map_err(|refused| alert(refused.alert(), refused.to_string()))?;
        let mut session = config.start_session(self.version, &self.params);
        let outcome = session.read_handshake(&std::mem::take(&mut self.hello));
        self.chosen = Some(session);
        outcome
    }
}

/// A TLS alert as a QUIC error (RFC 9001, 4.8).
fn alert(description: u8, reason: String) -> TransportError {
    TransportError { code: TransportErrorCode::crypto(description), frame: None, reason }
}

impl Session for LazySession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        match &self.chosen {
            Some(session) => session.initial_keys(dst_cid, side),
            None => ServerConfig::initial_keys(&*self.config.initial, self.version, dst_cid)
                .unwrap_or_else(|_| unreachable!("because quinn starts a session only for a version it has keys for")),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.chosen.as_ref()?.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.chosen.as_ref()?.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.chosen.as_ref()?.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.chosen.as_ref()?.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.chosen.as_ref().is_none_or(|session| session.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        match &mut self.chosen {
            Some(session) => session.read_handshake(bytes),
            None => self.collect(bytes),
        }
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.chosen.as_ref().map_or(Ok(None), |session| session.transport_parameters())
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.chosen.as_mut()?.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.chosen.as_mut()?.next_1rtt_keys()
    }

    fn is_valid_retry(&self, _orig_dst_cid: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        false // Only clients are sent a Retry.
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        match &self.chosen {
            Some(session) => session.export_keying_material(output, label, context),
            None => Err(ExportKeyingMaterialError),
        }
    }
}
