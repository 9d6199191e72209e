//! What the client tells the SSH library.

use std::borrow::Cow;

use russh::{Limits, Preferred, SshId, cipher, client, kex};

use crate::{algorithms, limits};

/// As a server's list, with the two markers of the client's side: strict key exchange and `server-sig-algs`.
const KEY_EXCHANGE: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const AES_FIRST: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_GCM];
const CHACHA_FIRST: &[cipher::Name] = &[cipher::CHACHA20_POLY1305, cipher::AES_128_GCM, cipher::AES_256_GCM];

/// Whether this machine's processor computes AES-GCM itself, so that it is faster than ChaCha20-Poly1305.
pub fn prefers_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// The library's settings. The order of ciphers is the client's to choose (RFC 4253, 7.1).
pub(super) fn library_config() -> client::Config {
    let ciphers = if prefers_aes() { AES_FIRST } else { CHACHA_FIRST };
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Alknet_", env!("CARGO_PKG_VERSION")))),
        limits: Limits::new(limits::REKEY_BYTES, limits::REKEY_BYTES, limits::REKEY_AGE),
        window_size: limits::CLIENT_WINDOW_BYTES,
        maximum_packet_size: limits::MAX_PACKET_BYTES,
        channel_buffer_size: limits::CHANNEL_QUEUE_PACKETS,
        preferred: Preferred { kex: Cow::Borrowed(KEY_EXCHANGE), cipher: Cow::Borrowed(ciphers), ..algorithms::ours() },
        inactivity_timeout: Some(limits::INACTIVITY_TIMEOUT),
        keepalive_interval: Some(limits::CLIENT_KEEPALIVE_INTERVAL),
        keepalive_max: limits::MAX_UNANSWERED_CLIENT_KEEPALIVES,
        ..client::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-05.
    #[test]
    fn the_cipher_that_the_processor_computes_comes_first() {
        let first = library_config().preferred.cipher[0];
        assert_eq!(first == cipher::AES_128_GCM, prefers_aes());
        assert_eq!(first == cipher::CHACHA20_POLY1305, !prefers_aes());
    }
}
