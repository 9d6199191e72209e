//! Small calls beside gRPC (tonic) and NATS, on the same machine and in turn: `cargo xtask bench peers`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod grpc;
mod load;
mod nats;
#[path = "../../crates/alknet-call/benches/call/node.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod node;
mod ours;
mod turns;

use alknet_core::Carrier;
use alknet_testkit::measure::Bar;
use grpc::GrpcServer;
use nats::NatsServer;
use node::Node;
use ours::Ours;
use turns::{Bars, compare};

/// What the protocol has to keep beside gRPC.
const BESIDE_GRPC: Bars = Bars { rate: Bar::AtLeast(1.0), p99: Bar::AtMost(1.0) };
/// NATS is there for orientation: it brokers, and does not encrypt.
const BESIDE_NATS: Bars = Bars { rate: Bar::Open, p99: Bar::Open };

fn main() {
    // First, for without it there is nothing to compare with.
    let brokered = NatsServer::start();
    let (clear, encrypted) = (GrpcServer::start_clear(), GrpcServer::start_encrypted());
    let node = Node::start();
    // The caller is one thread, each server has its own.
    let caller = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    caller.block_on(async {
        let (tls, local) = (Ours::connect(&node, Carrier::Tls).await, Ours::connect(&node, Carrier::Local).await);
        compare("TLS, gRPC over TLS", &tls, &encrypted.connect().await, BESIDE_GRPC).await;
        compare("TLS, gRPC in clear", &tls, &clear.connect().await, BESIDE_GRPC).await;
        compare("local, gRPC in clear", &local, &clear.connect().await, BESIDE_GRPC).await;
        compare("TLS, NATS in clear", &tls, &brokered.connect().await, BESIDE_NATS).await;
        compare("local, NATS in clear", &local, &brokered.connect().await, BESIDE_NATS).await;
    });
}
