//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../../fuzz/feeds/socks.rs"]
mod feeds;
#[path = "../../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn socks_request() {
    replay::replay("socks_request", feeds::socks_request);
}

#[test]
fn http_connect() {
    replay::replay("http_connect", feeds::http_connect);
}

#[test]
fn udp_frame() {
    replay::replay("udp_frame", feeds::udp_frame);
}
