//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/ssh_client_session.rs"]
mod client_session;
#[path = "../../../../fuzz/feeds/ssh.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;
#[path = "../../../../fuzz/feeds/socks.rs"]
mod socks;
#[path = "../../../../fuzz/feeds/ssh_kex.rs"]
mod ssh_kex;
#[path = "../../../../fuzz/feeds/ssh_session.rs"]
mod ssh_session;

#[test]
fn authorized_keys() {
    replay::replay("authorized_keys", feeds::authorized_keys);
}

#[test]
fn key_options() {
    replay::replay("key_options", feeds::key_options);
}

#[test]
fn krl() {
    replay::replay("krl", feeds::krl);
}

#[test]
fn agent_frame() {
    replay::replay("agent_frame", feeds::agent_frame);
}

#[test]
fn forward_target() {
    replay::replay("forward_target", feeds::forward_target);
}

#[test]
fn ssh_session() {
    replay::replay("ssh_session", ssh_session::ssh_session);
}

#[test]
fn ssh_kex() {
    replay::replay("ssh_kex", ssh_kex::ssh_kex);
}

#[test]
fn ssh_client_session() {
    replay::replay("ssh_client_session", client_session::ssh_client_session);
}

#[test]
fn socks_request() {
    replay::replay("socks_request", socks::socks_request);
}

#[test]
fn http_connect() {
    replay::replay("http_connect", socks::http_connect);
}

#[test]
fn udp_frame() {
    replay::replay("udp_frame", socks::udp_frame);
}
