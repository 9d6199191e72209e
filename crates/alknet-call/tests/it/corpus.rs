//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/call.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn call_frame() {
    replay::replay("call_frame", feeds::call_frame);
}

#[test]
fn call_envelope() {
    replay::replay("call_envelope", feeds::call_envelope);
}

// CALL-52
#[test]
fn worker_spec() {
    replay::replay("worker_spec", feeds::worker_spec);
}
