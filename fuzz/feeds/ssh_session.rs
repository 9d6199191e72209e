//! A whole SSH connection, and through it the SSH library's parsers: packets, key exchange, login, channels. The server speaks in clear and
//! without a key exchange, so that a fuzzer's bytes reach what stands behind them; the clock is virtual.
//!
//! The first byte says how far the client behaves before the rest is sent: not at all, up to the keys, up to the login, or past it. The rest
//! is a stream of bytes in the first case, and in the others packets, each of two bytes for its length and so many for its content.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use alknet_core::{
    Authorizer, Connection, Credential, Fingerprint, Identity, KeyPurpose, KeySigner, ProtocolHandler, ResourceGrants,
    ScopeSet, Sessions,
};
use alknet_ssh::{HostKey, LiveSessions, SshConfig, SshServer, Subsystems, fuzzing};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, TestKeys, stranger, test_alpn},
    memory,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Packets of one input; more would only be slow.
const MAX_PACKETS: usize = 64;
/// In virtual time: longer than the server waits for a login.
const PATIENCE: Duration = Duration::from_secs(120);
/// In virtual time: a server that says nothing for so long waits for its client.
const SILENCE: Duration = Duration::from_secs(1);
const USER: TestKeys = TestKeys::new(3);

const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const SERVICE_REQUEST: u8 = 5;
const USERAUTH_REQUEST: u8 = 50;

static SERVER: LazyLock<Arc<SshServer>> = LazyLock::new(|| {
    let server = server(|_| {});
    fuzzing::speak_in_clear(&server);
    server
});

/// A server that knows one guest, who may start nothing.
pub(super) fn server(change: fn(&mut SshConfig)) -> Arc<SshServer> {
    let identities = TestIdentities::default();
    let key = Fingerprint::from(USER.public_key(KeyPurpose::Node));
    let guest = Identity::new("guest", ScopeSet::default(), ResourceGrants::default());
    identities.know(&Credential::SshKey(key), guest);
    let mut config = SshConfig::new(HostKey::from_seed([7; 32].into()), "nobody", "/nonexistent", "/nonexistent");
    change(&mut config);
    let authorizer = Authorizer::new(Arc::new(KeptAudit::default()));
    let (live, subsystems) = (LiveSessions::default(), Subsystems::default());
    SshServer::new(config, Arc::new(identities), authorizer, Sessions::default(), live, subsystems)
}

pub fn ssh_session(data: &[u8]) {
    let Some((&state, rest)) = data.split_first() else { return };
    converse(&SERVER, script(state % 4, rest));
}

/// What the server says to a client that says all of this at once.
pub(super) fn converse(server: &SshServer, script: Vec<u8>) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("because a runtime without threads needs nothing");
    runtime.block_on(async {
        let (client, connection) = memory::pair(&test_alpn(), stranger(), stranger());
        let both = async { tokio::join!(talk(client, script), server.serve(connection)).0 };
        let said = tokio::time::timeout(PATIENCE, both).await;
        said.expect("because a connection does not outlive its client")
    })
}

async fn talk(client: Connection, script: Vec<u8>) -> Vec<u8> {
    let stream = client.open_stream().await.expect("because the other end accepts");
    let (mut send, mut recv) = (stream.send, stream.recv);
    let mut said = Vec::new();
    // A server that has had enough takes no more.
    let _ = send.write_all(&script).await;
    // What is still to come, comes; a stream that has ended may lose what was on its way.
    while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, recv.read_buf(&mut said)).await {}
    let _ = send.shutdown().await;
    while recv.read_buf(&mut said).await.is_ok_and(|count| count > 0) {}
    client.close(0, b"");
    said
}

fn script(state: u8, rest: &[u8]) -> Vec<u8> {
    let mut script = b"SSH-2.0-fuzz\r\n".to_vec();
    if state == 0 {
        script.extend(rest);
        return script;
    }
    packet(&mut script, &kexinit());
    packet(&mut script, &[NEWKEYS]);
    if state >= 2 {
        packet(&mut script, &[&[SERVICE_REQUEST][..], &text(b"ssh-userauth")].concat());
    }
    if state == 3 {
        packet(&mut script, &login());
    }
    for payload in payloads(rest) {
        packet(&mut script, payload);
    }
    script
}

/// What stands behind its length of two bytes, again and again.
pub(super) fn payloads(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let (Some((length, after)), 0..MAX_PACKETS) = (rest.split_first_chunk::<2>(), found.len()) {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        found.push(&after[..length]);
        rest = &after[length..];
    }
    found
}

/// RFC 4253, 6, with blocks of 8 bytes, which is added to what is sent.
pub(super) fn packet(script: &mut Vec<u8>, payload: &[u8]) {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).expect("because inputs are small");
    script.extend(length.to_be_bytes());
    script.push(u8::try_from(padding).expect("because it is less than 12"));
    script.extend(payload);
    script.extend(std::iter::repeat_n(0, padding));
}

/// Offers no protection, and no other host key than Ed25519.
pub(super) fn kexinit() -> Vec<u8> {
    let mut payload = vec![KEXINIT];
    payload.extend([0; 16]);
    for list in ["none", "ssh-ed25519", "none", "none", "none", "none", "none", "none", "", ""] {
        payload.extend(text(list.as_bytes()));
    }
    payload.extend([0; 5]);
    payload
}

/// A login that succeeds: without a key exchange the session's identifier, which is signed with it, is empty (RFC 4252, 7).
fn login() -> Vec<u8> {
    let key = [text(b"ssh-ed25519"), text(USER.public_key(KeyPurpose::Node).as_bytes())].concat();
    let mut request = vec![USERAUTH_REQUEST];
    for part in [&b"guest"[..], b"ssh-connection", b"publickey"] {
        request.extend(text(part));
    }
    request.push(1);
    request.extend(text(b"ssh-ed25519"));
    request.extend(text(&key));
    let signed = [text(b""), request.clone()].concat();
    let signature = [text(b"ssh-ed25519"), text(&USER.sign(KeyPurpose::Node, &signed))].concat();
    request.extend(text(&signature));
    request
}

pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("because inputs are small");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The client's login is one that the server takes: otherwise the last state would be the one before.
#[test]
fn the_login_is_taken_and_a_channel_opened() {
    let open = [&[90][..], &text(b"session"), &[0, 0, 0, 1], &[0, 16, 0, 0], &[0, 0, 128, 0]].concat();
    let length = u16::try_from(open.len()).expect("because it is short");
    let kinds = kinds(&converse(&SERVER, script(3, &[&length.to_be_bytes()[..], &open].concat())));
    assert!(kinds.contains(&52) && kinds.contains(&91), "{kinds:?}");
}

/// Otherwise no input could ever fail: a session has a task of its own.
#[test]
#[should_panic(expected = "an SSH session panicked")]
fn a_session_that_panics_is_noticed() {
    let server = server(|config| config.clock = || panic!("as a bug would"));
    fuzzing::speak_in_clear(&server);
    converse(&server, script(3, &[]));
}

/// The numbers of the messages that were said in clear, up to the keys.
#[cfg(test)]
pub(super) fn kinds(said: &[u8]) -> Vec<u8> {
    let mut rest = &said[said.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)..];
    let mut kinds = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(next) = after.get(length..) else { break };
        kinds.extend(after.get(1));
        rest = next;
    }
    kinds
}
