//! The endpoint and the dialler beside the bare libraries under them: `cargo xtask bench net`.
//!
//! Bulk, echo and dialling over TLS and QUIC, once through `Endpoint` and `NetDialer`, once through tokio-rustls and quinn by
//! themselves with the same crypto provider; plain TCP is the floor of the machine. These figures have no bar of their
//! own: they say where time goes when a bar further up is missed.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod bare;
mod exchange;
mod ours;

use std::time::Instant;

use alknet_core::Carrier;
use alknet_testkit::measure::{Bar, Comparison, Figure, median};
use bare::Bare;
use exchange::{Duplex, echoes, pull, push};
use ours::Ours;

/// Bytes in a bulk run.
const BULK_BYTES: u64 = 256 << 20;
const BULK_RUNS: usize = 5;
const ECHO_TURNS: usize = 31;
const DIALS: usize = 41;
const CARRIERS: [Carrier; 2] = [Carrier::Tls, Carrier::Quic];

fn main() {
    let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (ours, bare) = servers.block_on(async { (Ours::start().await, Bare::start().await) });
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async {
        floor(&bare).await;
        for carrier in CARRIERS {
            bulk(&ours, &bare, carrier).await;
            echo(&ours, &bare, carrier).await;
            dial(&ours, &bare, carrier).await;
        }
    });
}

/// Plain TCP.
async fn floor(bare: &Bare) {
    let (mut up, mut echo) = (Vec::new(), Vec::new());
    for _ in 0..BULK_RUNS {
        up.push(rate(push(bare.plain().await, BULK_BYTES).await));
        echo.push(median(&echoes(&mut bare.plain().await).await));
    }
    println!("{}", Figure { name: "bulk up, plain TCP (floor)", unit: "MiB/s", runs: &up, bar: Bar::Open });
    println!("{}", Figure { name: "echo p50, plain TCP (floor)", unit: "us", runs: &echo, bar: Bar::Open });
}

async fn bulk(ours: &Ours, bare: &Bare, carrier: Carrier) {
    let (mut up, mut bare_up, mut down, mut bare_down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BULK_RUNS {
        up.push(rate(push(ours.open(carrier).await, BULK_BYTES).await));
        bare_up.push(rate(push(bare.open(carrier).await, BULK_BYTES).await));
        down.push(rate(pull(ours.open(carrier).await, BULK_BYTES).await));
        bare_down.push(rate(pull(bare.open(carrier).await, BULK_BYTES).await));
    }
    compare(&format!("bulk up, {}", carrier.name()), "MiB/s", &up, &bare_up);
    compare(&format!("bulk down, {}", carrier.name()), "MiB/s", &down, &bare_down);
}

async fn echo(ours: &Ours, bare: &Bare, carrier: Carrier) {
    let (mut near, mut bare_near): (Box<dyn Duplex>, _) = (ours.open(carrier).await, bare.open(carrier).await);
    let (mut turns, mut bare_turns) = (Vec::new(), Vec::new());
    for _ in 0..ECHO_TURNS {
        turns.push(median(&echoes(&mut near).await));
        bare_turns.push(median(&echoes(&mut bare_near).await));
    }
    compare(&format!("echo p50, {}", carrier.name()), "us", &turns, &bare_turns);
}

async fn dial(ours: &Ours, bare: &Bare, carrier: Carrier) {
    let (mut dials, mut bare_dials) = (Vec::new(), Vec::new());
    for _ in 0..DIALS {
        dials.push(answered(ours.open(carrier)).await);
        bare_dials.push(answered(bare.open(carrier)).await);
    }
    compare(&format!("dial to the first answer, {}", carrier.name()), "ms", &dials, &bare_dials);
}

/// Milliseconds until a new connection has answered its first byte.
async fn answered(open: impl Future<Output = Box<dyn Duplex>>) -> f64 {
    let begun = Instant::now();
    let mut io = open.await;
    exchange::echo_once(&mut io, 1).await;
    begun.elapsed().as_secs_f64() * 1e3
}

fn compare(name: &str, unit: &str, ours: &[f64], peer: &[f64]) {
    println!("{}", Comparison { name, unit, ours, peer, bar: Bar::Open });
}

/// MiB in a second.
fn rate(took: std::time::Duration) -> f64 {
    (BULK_BYTES >> 20) as f64 / took.as_secs_f64()
}
