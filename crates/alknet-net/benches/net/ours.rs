//! Through the endpoint, the router and the dialler, between two nodes that know each other.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use alknet_core::{
    Alpn, Carrier, Connection, Credential, DialTarget, Dialer, HostPort, Identity, IdentityProvider, KeyPurpose,
    KeySigner, NodeKey, Peer, PerStream, Router, ServeError, Service, Sessions, Stream, StreamHandler,
};
use alknet_net::{AbuseGate, CarrierPolicy, Endpoint, EndpointConfig, NetDialer, NodeCredentials};
use alknet_testkit::identities::{TestIdentities, TestKeys};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    bare,
    exchange::{Duplex, serve},
};

const ALPN: Alpn = Alpn::from_static(b"alknet/bench");
const NODE_SEED: u8 = 1;
const CALLER_SEED: u8 = 2;

struct Exchange;

impl StreamHandler for Exchange {
    async fn serve_stream(&self, _peer: &Arc<Peer>, stream: Stream) -> Result<(), ServeError> {
        serve(stream).await;
        Ok(())
    }
}

/// A node, and a dialler for each carrier.
pub struct Ours {
    endpoint: Endpoint,
    tcp: NetDialer,
    quic: NetDialer,
}

impl Ours {
    pub async fn start() -> Self {
        let identities = TestIdentities::default();
        identities.know(&Credential::NodeKey(public(CALLER_SEED)), Identity::owner("caller"));
        let identities: Arc<dyn IdentityProvider> = Arc::new(identities);
        let exchange = Arc::new(PerStream(Arc::new(Exchange)));
        let router = Router::builder(identities.clone()).service(ALPN, Service::node(), exchange).unwrap().build();
        let config = EndpointConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            plain_ssh: None,
            public_url: None,
            gate: AbuseGate::default(),
        };
        let (node, web) = (credentials(NODE_SEED), bare::web_certificate());
        let endpoint = Endpoint::bind(config, router, identities, Sessions::default(), &node, web).await.unwrap();
        let dialer = |policy| NetDialer::new(credentials(CALLER_SEED), policy);
        Self { endpoint, tcp: dialer(CarrierPolicy::TcpOnly), quic: dialer(CarrierPolicy::QuicOnly) }
    }

    /// A stream over a new connection.
    pub async fn open(&self, carrier: Carrier) -> Box<dyn Duplex> {
        let dialer = if carrier == Carrier::Quic { &self.quic } else { &self.tcp };
        let addr = self.endpoint.local_addr();
        let address = HostPort::new(&addr.ip().to_string(), addr.port()).unwrap();
        let target = DialTarget { key: Some(public(NODE_SEED)), addresses: vec![address] };
        let connection = dialer.dial(&target, &ALPN).await.unwrap();
        let stream = connection.open_stream().await.unwrap();
        Box::new(Held { stream, _connection: connection })
    }
}

/// A stream with the connection that it needs.
struct Held {
    stream: Stream,
    _connection: Connection,
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn credentials(seed: u8) -> NodeCredentials {
    NodeCredentials::new(Arc::new(TestKeys::new(seed))).unwrap()
}

fn public(seed: u8) -> NodeKey {
    TestKeys::new(seed).public_key(KeyPurpose::Node)
}
