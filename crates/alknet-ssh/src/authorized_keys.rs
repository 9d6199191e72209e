//! OpenSSH public key lines, as in `id_ed25519.pub` and `authorized_keys`. Pure: text in, fingerprints and options out.

use alknet_core::Fingerprint;
use russh::keys::PublicKey;

use crate::{
    fingerprint::{RefusedKey, fingerprint},
    limits::{MAX_COMMENT_CHARS, MAX_KEY_FILE_BYTES, MAX_KEY_LINE_BYTES, MAX_LOGGED_CHARS, MIN_RSA_BITS},
    line_options::{KeyOptionError, LineOptions, split_options},
};

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyLine {
    /// The key: `ed25519:<hex>` for Ed25519, OpenSSH's `SHA256:<base64>` for other types.
    pub fingerprint: Fingerprint,
    /// What stands before the key, in one spelling; `None` without any. A key with options is one for SSH only.
    pub options: Option<String>,
    /// Whether the key signs certificates instead of logging in (`cert-authority`).
    pub authority: bool,
    /// What stands behind the key, without control characters, cut to 128 characters.
    pub comment: String,
}

/// Why a line is no acceptable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Nothing but white space or a comment.
    #[error("there is no key in it")]
    Empty,
    /// More bytes than any key needs.
    #[error("a key line has at most {MAX_KEY_LINE_BYTES} bytes")]
    TooLong,
    /// An option before the key cannot be honoured; to leave it out would give away what it was to withhold.
    #[error(transparent)]
    Option(#[from] KeyOptionError),
    /// Neither a key type nor an option.
    #[error("`{0}` is no SSH key type")]
    UnknownType(String),
    /// A certificate, which says itself for how long it holds.
    #[error("`{0}` is a certificate; give the key of its authority, with the option cert-authority")]
    Certificate(String),
    /// DSA is broken.
    #[error("DSA keys are not accepted; make an Ed25519 key")]
    Dsa,
    /// RSA of too few bits.
    #[error("an RSA key needs at least {MIN_RSA_BITS} bits, this one has {0}; make an Ed25519 key")]
    ShortRsa(u32),
    /// An Ed25519 key that is no point of the curve, or one of small order.
    #[error("this is no usable Ed25519 key")]
    WeakEd25519,
    /// The base64 is broken, truncated, or holds a key of another type or with bytes left over.
    #[error("the key data is damaged, or is not of the type that stands before it")]
    Damaged,
    /// A private key.
    #[error("this is a private key; give the public one (the file that ends in .pub)")]
    Private,
}

/// Why an `authorized_keys` text is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizedKeysError {
    /// More than a megabyte.
    #[error("an authorized_keys file has at most {MAX_KEY_FILE_BYTES} bytes")]
    TooLarge,
    /// One line is refused.
    #[error("line {line}: {source}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: PublicKeyError,
    },
}

const KEY_TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const CERTIFICATE_SUFFIX: &str = "-cert-v01@openssh.com";

/// Reads one public key line: options, type, base64, comment (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
///
/// # Errors
/// Names what is wrong; an option that cannot be honoured by its name.
pub fn parse_public_key(line: &str) -> Result<PublicKeyLine, PublicKeyError> {
    if line.len() > MAX_KEY_LINE_BYTES {
        return Err(PublicKeyError::TooLong);
    }
    let line = line.trim();
    let first = line.split_ascii_whitespace().next().ok_or(PublicKeyError::Empty)?;
    if first.starts_with('#') {
        return Err(PublicKeyError::Empty);
    }
    let (options, line) = if has_options(first, line) { split_options(line)? } else { ("", line) };
    let (first, rest) = split_word(line);
    check_type(first)?;
    let options = LineOptions::parse(options)?;
    // Tabs and several spaces are as good as one.
    let (data, comment) = split_word(rest);
    let key = PublicKey::from_openssh(&format!("{first} {data}")).map_err(|_| PublicKeyError::Damaged)?;
    let fingerprint = fingerprint(&key).map_err(|refused| match refused {
        RefusedKey::ShortRsa(bits) => PublicKeyError::ShortRsa(bits),
        RefusedKey::WeakPoint => PublicKeyError::WeakEd25519,
        RefusedKey::Type => PublicKeyError::UnknownType(shown(first)),
    })?;
    let comment = comment.trim().chars().filter(|c| !c.is_control()).take(MAX_COMMENT_CHARS).collect();
    Ok(PublicKeyLine { fingerprint, options: options.canonical(), authority: options.authority, comment })
}

/// Reads a whole `authorized_keys` text; empty lines and those that start with `#` are left out.
///
/// # Errors
/// The first line that is refused, with its number: nothing of a file is used when a line of it cannot be.
pub fn parse_authorized_keys(text: &str) -> Result<Vec<PublicKeyLine>, AuthorizedKeysError> {
    if text.len() > MAX_KEY_FILE_BYTES {
        return Err(AuthorizedKeysError::TooLarge);
    }
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match parse_public_key(line) {
            Ok(key) => keys.push(key),
            Err(PublicKeyError::Empty) => {}
            Err(source) => return Err(AuthorizedKeysError::Line { line: index + 1, source }),
        }
    }
    Ok(keys)
}

/// Whether a line that does not begin with a type holds one further on: options may hold white space, and even key types.
fn has_options(first: &str, line: &str) -> bool {
    !is_type(first) && line.split_ascii_whitespace().skip(1).any(is_type)
}

fn is_type(word: &str) -> bool {
    KEY_TYPES.contains(&word) || word.ends_with(CERTIFICATE_SUFFIX)
}

fn check_type(first: &str) -> Result<(), PublicKeyError> {
    if first == "ssh-dss" {
        return Err(PublicKeyError::Dsa);
    }
    if first.ends_with(CERTIFICATE_SUFFIX) {
        return Err(PublicKeyError::Certificate(shown(first)));
    }
    if KEY_TYPES.contains(&first) {
        return Ok(());
    }
    if first.starts_with("-----BEGIN") || first.starts_with("PuTTY-User-Key-File") {
        return Err(PublicKeyError::Private);
    }
    Err(PublicKeyError::UnknownType(shown(first)))
}

/// The first word and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""))
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect()
}
