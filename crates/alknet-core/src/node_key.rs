//! Public keys and the texts that stand for them.

use std::{fmt, str::FromStr, sync::LazyLock};

use data_encoding::{Encoding, HEXLOWER, Specification};
use ed25519_dalek::{Signature, VerifyingKey};

/// z-base-32: the alphabet people misread least; the text form of a node id.
static Z_BASE_32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    spec.encoding().expect("because the alphabet above has 32 distinct symbols")
});

/// A node's public Ed25519 key: its identity on TLS, QUIC, SSH, iroh and git alike.
///
/// `Display` and `FromStr` use the node id: z-base-32 of the 32 bytes, 52 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey([u8; 32]);

/// Why some bytes or text are no node key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidNodeKey {
    /// Not 52 characters of z-base-32.
    #[error("a node id is 52 characters of z-base-32")]
    Text,
    /// Not a point of the curve, or one of small order that verifies forged signatures.
    #[error("these 32 bytes are no usable Ed25519 public key")]
    Point,
}

impl NodeKey {
    /// Length of the text form, in characters.
    pub const ID_CHARS: usize = 52;

    /// Takes the 32 bytes of an Ed25519 public key; refuses non-points and points of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidNodeKey> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidNodeKey::Point)?;
        if key.is_weak() { Err(InvalidNodeKey::Point) } else { Ok(Self(bytes)) }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The node id: 52 characters of z-base-32.
    pub fn node_id(&self) -> String {
        Z_BASE_32.encode(&self.0)
    }

    /// The key as 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Whether `signature` is this key's over `message` (strict: RFC 8032 with canonical encodings).
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl FromStr for NodeKey {
    type Err = InvalidNodeKey;
    fn from_str(text: &str) -> Result<Self, InvalidNodeKey> {
        if text.len() != Self::ID_CHARS {
            return Err(InvalidNodeKey::Text);
        }
        let bytes = Z_BASE_32.decode(text.as_bytes()).map_err(|_| InvalidNodeKey::Text)?;
        Self::from_bytes(bytes.try_into().map_err(|_| InvalidNodeKey::Text)?)
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node_id())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({self})")
    }
}

/// The one text under which a key is known: `ed25519:<64 hex>` for any Ed25519 key, `SHA256:<base64>` for other SSH keys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(String);

/// A text in neither of the two forms.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a fingerprint is `ed25519:` and 64 hex digits, or `SHA256:` and 43 characters of base64")]
pub struct InvalidFingerprint;

impl Fingerprint {
    /// The fingerprint of an Ed25519 key, whatever it came over.
    pub fn of_ed25519(key: &[u8; 32]) -> Self {
        Self(format!("ed25519:{}", HEXLOWER.encode(key)))
    }

    /// The fingerprint of another SSH key: the SHA-256 of its wire form, as OpenSSH prints it.
    pub fn of_sha256(digest: &[u8; 32]) -> Self {
        Self(format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(digest)))
    }

    /// The node key, when this is an Ed25519 key's fingerprint.
    pub fn node_key(&self) -> Option<NodeKey> {
        let hex = self.0.strip_prefix("ed25519:")?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).ok()?;
        NodeKey::from_bytes(bytes.try_into().ok()?).ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<NodeKey> for Fingerprint {
    fn from(key: NodeKey) -> Self {
        Self::of_ed25519(key.as_bytes())
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let decoded = if let Some(hex) = text.strip_prefix("ed25519:") {
            HEXLOWER.decode(hex.as_bytes()).ok()
        } else {
            text.strip_prefix("SHA256:").and_then(|b64| data_encoding::BASE64_NOPAD.decode(b64.as_bytes()).ok())
        };
        match decoded {
            Some(bytes) if bytes.len() == 32 => Ok(Self(text.to_owned())),
            _ => Err(InvalidFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASEPOINT: [u8; 32] = {
        let mut bytes = [0x66; 32];
        bytes[0] = 0x58;
        bytes
    };

    #[test]
    fn a_node_id_round_trips_and_has_52_characters() {
        let key = NodeKey::from_bytes(BASEPOINT).unwrap();
        assert_eq!(key.node_id().len(), NodeKey::ID_CHARS);
        assert_eq!(key.node_id().parse(), Ok(key));
    }

    #[test]
    fn small_order_and_non_points_are_refused() {
        // AUTH-01
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(NodeKey::from_bytes(identity), Err(InvalidNodeKey::Point));
        assert_eq!(NodeKey::from_bytes([0; 32]), Err(InvalidNodeKey::Point));
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert_eq!(NodeKey::from_bytes(off_curve), Err(InvalidNodeKey::Point));
    }

    #[test]
    fn other_texts_are_no_node_id() {
        // AUTH-02
        let id = NodeKey::from_bytes(BASEPOINT).unwrap().node_id();
        // The last character carries four unused bits: all but one of its values must be refused.
        let trailing_bits = format!("{}9", &id[..51]);
        for text in ["", "ybnd", &id[..51], &format!("{id}y"), &id.to_uppercase(), &trailing_bits] {
            assert_eq!(text.parse::<NodeKey>(), Err(InvalidNodeKey::Text), "{text}");
        }
    }

    #[test]
    fn a_fingerprint_has_one_of_two_forms() {
        // AUTH-03
        let key = NodeKey::from_bytes(BASEPOINT).unwrap();
        let print = Fingerprint::from(key);
        assert_eq!(print.node_key(), Some(key));
        assert_eq!(print.as_str().parse(), Ok(print.clone()));
        let other = Fingerprint::of_sha256(&[7; 32]);
        assert_eq!(other.as_str().parse(), Ok(other.clone()));
        assert_eq!(other.node_key(), None);
        for bad in ["", "ed25519:", "ed25519:5866", "ED25519:00", "SHA256:", "SHA256:abc", "md5:00"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(InvalidFingerprint), "{bad}");
        }
    }
}
