//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/net.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn client_hello() {
    replay::replay("client_hello", feeds::client_hello);
}

#[test]
fn tcp_gate() {
    replay::replay("tcp_gate", feeds::tcp_gate);
}

#[test]
fn local_alpn_line() {
    replay::replay("local_alpn_line", feeds::local_alpn_line);
}
