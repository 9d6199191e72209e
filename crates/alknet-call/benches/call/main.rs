//! A call beside a bare echo of one byte on the same carrier, and calls and items in a second: over carriers, through a head and
//! in process. `cargo xtask bench call`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod in_process;
mod node;
mod rate;
mod round_trip;
mod route;
mod subscription;

use alknet_core::Carrier;
use node::Node;

const CARRIERS: [Carrier; 3] = [Carrier::Tls, Carrier::Quic, Carrier::Local];

fn main() {
    let node = Node::start();
    // The caller is one thread, as a command is; the node has its own.
    let caller = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for carrier in CARRIERS {
        caller.block_on(round_trip::run(&node, carrier));
    }
    for carrier in CARRIERS {
        caller.block_on(rate::run(&node, carrier));
    }
    let worker = Node::start_worker();
    caller.block_on(route::run(&node, &worker));
    drop(worker);
    in_process::run(&node);
    caller.block_on(subscription::in_process(&node));
    for carrier in CARRIERS {
        caller.block_on(subscription::over(&node, carrier));
    }
}
