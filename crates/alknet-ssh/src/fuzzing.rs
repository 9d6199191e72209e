//! The parsers of this crate that have no public face, for `fuzz/` and nobody else.

use alknet_core::Stream;
use bytes::{Bytes, BytesMut};

use crate::{ClientLogin, ConnectError, SshClient, SshServer, socks, udp};

/// Messages to the ssh-agent.
pub fn agent_frame(bytes: &[u8]) {
    crate::agent::read_all(bytes);
}

/// Hosts, rules and places of the forwarding policy.
pub fn forward_target(text: &str) {
    crate::policy::read_all(text);
}

/// A greeting and a request of SOCKS5: where to and the bytes behind, or what the client is answered.
pub fn socks_request(bytes: &[u8]) -> Result<Option<(String, &[u8])>, Vec<u8>> {
    let Some(length) = socks::parse_greeting(bytes).map_err(|error| error.reply())? else { return Ok(None) };
    let parsed = socks::parse_request(&bytes[length..]).map_err(|error| error.reply())?;
    Ok(parsed.map(|(request, more)| match request {
        socks::Request::Connect(target) | socks::Request::UdpAssociate(target) => {
            (target.to_string(), &bytes[length + more..])
        }
    }))
}

/// A request of HTTP to the proxy: where to and the bytes behind, or what the client is answered.
pub fn http_connect(bytes: &[u8]) -> Result<Option<(String, &[u8])>, Vec<u8>> {
    let parsed = socks::parse_connect(bytes).map_err(|refusal| refusal.reply())?;
    Ok(parsed.map(|(target, length)| (target.to_string(), &bytes[length..])))
}

/// A SOCKS5 client's datagram, written again.
pub fn udp_header(bytes: &[u8]) -> Option<Vec<u8>> {
    let (target, payload) = socks::parse_udp_header(bytes).ok()?;
    let mut out = Vec::new();
    socks::write_udp_header(&target, payload, &mut out);
    Some(out)
}

/// The frames of an association's stream: the bytes of each, written again.
pub fn udp_frames(bytes: &[u8]) -> Result<Vec<u8>, udp::FrameError> {
    let mut buffer = BytesMut::from(bytes);
    let mut out = Vec::new();
    while let Some(frame) = udp::decode_frame(&mut buffer)? {
        out.extend(udp::encode_frame(&frame));
    }
    Ok(out)
}

/// A datagram of `alknet/udp`, written again.
pub fn udp_datagram(bytes: &[u8]) -> Option<Bytes> {
    let (number, target, payload) = udp::decode_datagram(Bytes::copy_from_slice(bytes)).ok()?;
    Some(udp::encode_datagram(number, &target, &payload))
}

/// Has a server speak in clear and without a key exchange from now on: what an attacker sends reaches what stands behind them.
pub fn speak_in_clear(server: &SshServer) {
    server.speak_in_clear();
}

/// A client that speaks in clear and without a key exchange, for the same reason.
pub async fn connect_in_clear(stream: Stream, login: &ClientLogin) -> Result<SshClient, ConnectError> {
    SshClient::connect_in_clear(stream, login).await
}

/// The options of a key line: in the spelling that is kept, if they are taken.
pub fn key_options(text: &str) -> Option<String> {
    let options = crate::line_options::LineOptions::parse(text).ok()?;
    let kept = options.canonical().unwrap_or_default();
    let whole = if options.authority { format!("cert-authority,{kept}") } else { kept.clone() };
    let whole = whole.trim_end_matches(',');
    assert_eq!(crate::line_options::LineOptions::parse(whole).as_ref(), Ok(&options));
    Some(kept)
}

/// A key revocation list, and a question to it.
pub fn krl(bytes: &[u8]) -> bool {
    crate::krl::RevocationList::parse(bytes).is_ok_and(|list| {
        let key = crate::krl::AskedKey { blob: vec![1], sha1: [1; 20], sha256: [1; 32] };
        list.has_key(&key)
            || [0, 1, 1 << 40, u64::MAX].into_iter().any(|serial| list.has_certificate(&key, serial, "id"))
    })
}
