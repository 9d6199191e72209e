//! The corpus of the fuzz target, replayed: every request is answered or refused, in bounded time.

#[path = "../../../../fuzz/feeds/iroh.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn iroh_request() {
    // IROH-01, IROH-03
    replay::replay("iroh_request", feeds::iroh_request);
}
