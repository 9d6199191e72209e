//! The key file: 32 random bytes that unlock a keystore without a person.

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::limits::MAX_KEY_FILE_BYTES;
use crate::random::{NoRandomness, fill_random};

/// The first line of a key file.
const HEADER: &str = "alknet-key-file-v1";

/// Length of 32 bytes in base64url, in characters.
const KEY_CHARS: usize = 43;

/// Why bytes are not a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Longer than a key file can be.
    #[error("the key file is longer than {MAX_KEY_FILE_BYTES} bytes")]
    TooLong,
    /// The first line is another.
    #[error("the first line of the key file is not {HEADER}")]
    Header,
    /// The second line is not a key, or something follows it.
    #[error("the second line of the key file is not {KEY_CHARS} characters of base64url, or something follows it")]
    Key,
}

/// A 32-byte key. Zeroised when dropped, and without `Debug`.
pub struct KeyFile(Zeroizing<[u8; 32]>);

impl KeyFile {
    /// Generates a key from the system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system has none to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0; 32]);
        fill_random(&mut key[..])?;
        Ok(Self(key))
    }

    /// Parses the content of a key file; the last line feed may be missing.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn parse(content: &[u8]) -> Result<Self, KeyFileError> {
        if content.len() > MAX_KEY_FILE_BYTES {
            return Err(KeyFileError::TooLong);
        }
        let rest = content.strip_prefix(HEADER.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
        let rest = rest.ok_or(KeyFileError::Header)?;
        let line = rest.strip_suffix(b"\n").unwrap_or(rest);
        if line.len() != KEY_CHARS {
            return Err(KeyFileError::Key);
        }
        let mut key = Zeroizing::new([0; 32]);
        BASE64URL_NOPAD.decode_mut(line, &mut key[..]).map_err(|_| KeyFileError::Key)?;
        Ok(Self(key))
    }

    /// The content to write to a file of mode 0600.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES));
        text.push_str(HEADER);
        text.push('\n');
        BASE64URL_NOPAD.encode_append(&self.0[..], &mut text);
        text.push('\n');
        text
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.0
    }
}
