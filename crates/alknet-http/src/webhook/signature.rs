//! The signature of what is posted: HMAC-SHA256 (RFC 2104) as the Standard Webhooks specification has it.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::limits::MIN_WEBHOOK_SECRET_BYTES;

/// What a secret begins with whose rest is the key's base64.
const ENCODED: &str = "whsec_";

/// A secret that a server shares with this node. `Debug` does not show it.
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// A text that is no secret to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhookSecret {
    /// Too short to be one.
    #[error("a secret that signs has at least {MIN_WEBHOOK_SECRET_BYTES} bytes")]
    Short,
    /// Announced as base64, and it is none.
    #[error("after `whsec_` a secret goes on in base64")]
    Encoding,
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

impl WebhookSecret {
    /// Reads a secret: `whsec_` and the key's base64, or else the bytes of the text as they are.
    pub fn parse(text: &str) -> Result<Self, BadWebhookSecret> {
        let key = match text.strip_prefix(ENCODED) {
            Some(encoded) => BASE64.decode(encoded.as_bytes()).map_err(|_| BadWebhookSecret::Encoding)?,
            None => text.as_bytes().to_vec(),
        };
        let key = Zeroizing::new(key);
        if key.len() < MIN_WEBHOOK_SECRET_BYTES { Err(BadWebhookSecret::Short) } else { Ok(Self(key)) }
    }

    /// `v1,` and the base64 of the HMAC over `id.timestamp.body`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("because HMAC takes a key of any length");
        for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_specifications_libraries_make_of_it() {
        // FS-75
        // The example of the Standard Webhooks libraries.
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // RFC 4231 has its vectors for HMAC itself; a key longer than a block is hashed first.
        let long = WebhookSecret::parse(&"k".repeat(200)).unwrap();
        assert_ne!(long.sign("a", 1, b""), WebhookSecret::parse(&"k".repeat(201)).unwrap().sign("a", 1, b""));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for (text, error) in [
            ("", BadWebhookSecret::Short),
            ("short", BadWebhookSecret::Short),
            ("whsec_", BadWebhookSecret::Short),
            ("whsec_AAAA", BadWebhookSecret::Short),
            ("whsec_not base64 at all, of any kind", BadWebhookSecret::Encoding),
        ] {
            assert_eq!(WebhookSecret::parse(text).unwrap_err(), error, "{text}");
        }
        let secret = WebhookSecret::parse("sixteen letters!").unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
    }
}
