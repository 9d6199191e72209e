//! tonic, as a generated service and client would use it: unary calls over HTTP/2, protobuf, its default settings.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use alknet_core::BoxFuture;
use alknet_net::{SelfSignedPem, generate_self_signed};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    Request, Response, Status,
    body::Body,
    client,
    server::{self, NamedService},
    transport::{
        Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig, server::TcpIncoming,
    },
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::load::Callee;

const PATH: &str = "/bench.Count/Next";

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    n: u64,
}

/// The operation itself.
struct Next;

impl Service<Request<Number>> for Next {
    type Response = Response<Number>;
    type Error = Status;
    type Future = Ready<Result<Response<Number>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        ready(Ok(Response::new(Number { n: request.into_inner().n + 1 })))
    }
}

/// The service that holds it.
#[derive(Clone)]
struct Count;

impl NamedService for Count {
    const NAME: &'static str = "bench.Count";
}

impl Service<http::Request<Body>> for Count {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            Ok(server::Grpc::new(ProstCodec::<Number, Number>::default()).unary(Next, request).await)
        })
    }
}

/// A server on threads of its own.
pub struct GrpcServer {
    address: SocketAddr,
    certificate: Option<SelfSignedPem>,
    /// It serves as long as this lives.
    _runtime: Runtime,
}

impl GrpcServer {
    pub fn start_clear() -> Self {
        Self::start(None)
    }

    pub fn start_encrypted() -> Self {
        Self::start(Some(generate_self_signed(&["localhost".to_owned()]).unwrap()))
    }

    fn start(certificate: Option<SelfSignedPem>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut builder = Server::builder();
        if let Some(pem) = &certificate {
            let identity = Identity::from_pem(&pem.certificate, pem.key.as_bytes());
            builder = builder.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let _entered = runtime.enter();
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        runtime.spawn(async move { builder.serve_with_incoming(Count, incoming).await.unwrap() });
        Self { address, certificate, _runtime: runtime }
    }

    pub async fn connect(&self) -> GrpcClient {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address)).unwrap();
        if let Some(pem) = &self.certificate {
            let trusted = Certificate::from_pem(&pem.certificate);
            let tls = ClientTlsConfig::new().ca_certificate(trusted).domain_name("localhost");
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        GrpcClient(endpoint.connect().await.unwrap())
    }
}

/// One connection.
#[derive(Clone)]
pub struct GrpcClient(Channel);

impl Callee for GrpcClient {
    async fn next(&self, n: u64) -> u64 {
        let mut client = client::Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let codec = ProstCodec::<Number, Number>::default();
        let path = PathAndQuery::from_static(PATH);
        client.unary(Request::new(Number { n }), path, codec).await.unwrap().into_inner().n
    }
}
