//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/core.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn auth_token() {
    replay::replay("auth_token", feeds::auth_token);
}

#[test]
fn api_key() {
    replay::replay("api_key", feeds::api_key);
}

#[test]
fn node_ticket() {
    replay::replay("node_ticket", feeds::node_ticket);
}
