//! A call's round trip beside a bare one-byte echo on the same carrier, and calls per second on one connection.
//!
//! Interleaved rounds on loopback; medians of the rounds are printed, with the ratio that has a bound.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_call::{Authenticator, CALL, CallClient, CallError, CallHandler, CallOptions, Operation, Registry};
use alknet_core::{
    AccessRule, Alpn, Authorizer, Connection, DialTarget, Dialer, KeyPurpose, KeySigner, ProtocolHandler, Router,
    ServeError, Service, Sessions, Stream, TokenBounds,
};
use alknet_net::{
    CarrierPolicy, Endpoint, EndpointConfig, NetDialer, NodeCredentials, WebCertificate, generate_self_signed,
};
use alknet_testkit::identities::{TestIdentities, TestKeys};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ECHO: Alpn = Alpn::from_static(b"bench/echo");
const ROUNDS: usize = 9;
const TRIPS_A_ROUND: usize = 3_000;
const IN_FLIGHT: usize = 64;
const THROUGHPUT_ROUND: Duration = Duration::from_secs(1);
const MAX_RATIO: f64 = 1.5;
const MIN_CALLS_PER_SECOND: f64 = 50_000.0;

/// Sends every byte back at once.
struct Echo;

impl ProtocolHandler for Echo {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        while let Some(mut stream) = connection.accept_stream().await? {
            tokio::spawn(async move {
                while let Ok(byte) = stream.recv.read_u8().await {
                    stream.send.write_all(&[byte]).await?;
                    stream.send.flush().await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
        connection.closed().await;
        Ok(())
    }
}

/// Audits nothing: the audit has a cost of its own, which is the store's.
struct NoAudit;

impl alknet_core::AuditLog for NoAudit {
    fn record(&self, event: alknet_core::AuditEvent) {
        std::hint::black_box(event);
    }
}

async fn node() -> (Endpoint, NodeCredentials) {
    let identities = Arc::new(TestIdentities::default());
    let sessions = Sessions::default();
    let keys = TestKeys::new(1);
    let mut builder = Registry::builder(Authorizer::new(Arc::new(NoAudit)), sessions.clone());
    let ping = Operation::query("bench/ping")
        .access(AccessRule::public())
        .handler(|_, text: String| async move { Ok::<_, CallError>(text) });
    builder.register(ping).expect("because the operation is sound");
    let registry = builder.build().expect("because its name is not taken");
    let key = keys.public_key(KeyPurpose::Node);
    let authenticator = Authenticator::new(identities.clone(), key, TokenBounds::default(), || 0);
    let router = Router::builder(identities.clone())
        .service(CALL, Service::node(), Arc::new(CallHandler::new(registry, authenticator)))
        .and_then(|router| router.service(ECHO, Service::node(), Arc::new(Echo)))
        .expect("because the two names differ")
        .build();
    let credentials = NodeCredentials::new(Arc::new(keys)).expect("because the test key signs");
    let config = EndpointConfig { listen: ([127, 0, 0, 1], 0).into(), plain_ssh: None, public_url: None };
    let endpoint = Endpoint::bind(config, router, identities, sessions, &credentials, web())
        .await
        .expect("because port 0 is free");
    (endpoint, credentials)
}

fn web() -> WebCertificate {
    let folder = tempfile::tempdir().expect("a folder");
    let made = generate_self_signed(&["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&chain, &made.certificate).expect("a writable folder");
    std::fs::write(&key, made.key.as_bytes()).expect("a writable folder");
    WebCertificate::from_pem_files(&chain, &key).expect("because it was just made")
}

async fn echo_trip(stream: &mut Stream) {
    stream.send.write_all(&[7]).await.expect("a living stream");
    stream.send.flush().await.expect("a living stream");
    stream.recv.read_u8().await.expect("a living stream");
}

async fn call_trip(client: &CallClient) {
    client.call("bench/ping", json!("x"), CallOptions::default()).await.expect("a public operation");
}

fn median<T: PartialOrd + Copy>(mut samples: Vec<T>) -> T {
    samples.sort_by(|a, b| a.partial_cmp(b).expect("because no sample is NaN"));
    samples[samples.len() / 2]
}

/// The p50 of one round of each, in microseconds.
async fn round(stream: &mut Stream, client: &CallClient) -> (f64, f64) {
    let (mut echoes, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..TRIPS_A_ROUND {
        let start = Instant::now();
        echo_trip(stream).await;
        echoes.push(start.elapsed().as_secs_f64() * 1e6);
    }
    for _ in 0..TRIPS_A_ROUND {
        let start = Instant::now();
        call_trip(client).await;
        calls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    (median(echoes), median(calls))
}

async fn calls_per_second(client: &CallClient) -> f64 {
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let client = client.clone();
        callers.spawn(async move {
            let mut count = 0_u32;
            while start.elapsed() < THROUGHPUT_ROUND {
                call_trip(&client).await;
                count += 1;
            }
            count
        });
    }
    let count: u32 = callers.join_all().await.into_iter().sum();
    f64::from(count) / start.elapsed().as_secs_f64()
}

async fn measure(name: &str, policy: CarrierPolicy) {
    let (endpoint, credentials) = node().await;
    let client_keys = NodeCredentials::new(Arc::new(TestKeys::new(2))).expect("because the test key signs");
    let dialer = NetDialer::new(client_keys, policy);
    let address = endpoint.local_addr().to_string().parse().expect("because it is host:port");
    let target = DialTarget { key: Some(credentials.key()), addresses: vec![address] };
    let echo = dialer.dial(&target, &ECHO).await.expect("a node on loopback");
    let mut stream = echo.open_stream().await.expect("a first stream");
    let connection = dialer.dial(&target, &CALL).await.expect("a node on loopback");
    let client = CallClient::connect(connection).await.expect("a first stream");
    round(&mut stream, &client).await;
    let (mut echoes, mut calls, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (echo, call) = round(&mut stream, &client).await;
        echoes.push(echo);
        calls.push(call);
        rates.push(calls_per_second(&client).await);
    }
    let (echo, call, rate) = (median(echoes), median(calls), median(rates));
    println!("{name}: echo p50 {echo:.1} µs, call p50 {call:.1} µs, ratio {:.2} (at most {MAX_RATIO})", call / echo);
    println!("{name}: {rate:.0} calls/s with {IN_FLIGHT} in flight (at least {MIN_CALLS_PER_SECOND:.0})");
    endpoint.shutdown(Duration::from_secs(1)).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    // In a task, as callers are in a node, and not on the thread that started the runtime.
    let all = runtime.spawn(async {
        measure("tcp", CarrierPolicy::TcpOnly).await;
        measure("quic", CarrierPolicy::QuicOnly).await;
    });
    runtime.block_on(all).expect("because a failed measurement has said why");
}
