//! AES-256-GCM and HKDF-SHA256 with the sizes that every format of this crate uses.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the formats call this cipher.
pub(crate) const ALGORITHM: &str = "A256GCM";

/// Length of the authentication tag at the end of a ciphertext, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// Derives a 32-byte key: HKDF-SHA256 (RFC 5869).
pub(crate) fn hkdf_key(secret: &[u8], salt: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand_multi_info(info, &mut key[..])
        .expect("because HKDF-SHA256 gives up to 8,160 bytes");
    key
}

/// Encrypts; the tag follows the ciphertext. The plaintext must be of bounded size.
pub(crate) fn encrypt(key: &[u8; 32], nonce: &[u8; 12], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG_BYTES);
    buffer.extend_from_slice(plaintext);
    Aes256Gcm::new(<&Key<Aes256Gcm>>::from(key))
        .encrypt_in_place(&Nonce::from(*nonce), associated, &mut buffer)
        .expect("because the callers' bounds are far below GCM's 64 GiB");
    buffer
}

/// Decrypts and authenticates; `None` when key, nonce, associated data or ciphertext is not what was encrypted.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    Aes256Gcm::new(<&Key<Aes256Gcm>>::from(key))
        .decrypt_in_place(&Nonce::from(*nonce), associated, &mut *buffer)
        .ok()?;
    Some(buffer)
}
