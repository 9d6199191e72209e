//! Every bound of this crate, with its unit.

/// Longest mnemonic phrase that is looked at, in bytes of UTF-8 (24 Japanese words need about 1,250).
pub const MAX_PHRASE_BYTES: usize = 2048;

/// Longest passphrase, of a mnemonic or of a keystore, in bytes of UTF-8.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;

/// Most steps in a derivation path (BIP-32 counts depth in one byte).
pub const MAX_PATH_DEPTH: usize = 255;

/// Longest context of a sealed blob, in bytes.
pub const MAX_CONTEXT_BYTES: usize = 1024;

/// Largest plaintext that is sealed in one blob, in bytes.
pub const MAX_PLAINTEXT_BYTES: usize = 16 * 1024 * 1024;

/// Longest sealed blob in CBOR, in bytes: plaintext, tag, context and 256 bytes for the rest.
pub const MAX_SEALED_CBOR_BYTES: usize = MAX_PLAINTEXT_BYTES + MAX_CONTEXT_BYTES + 256;

/// Longest sealed blob in JSON, in bytes: base64 grows by a third, and 4 KiB remain for names and white space.
pub const MAX_SEALED_JSON_BYTES: usize = (MAX_PLAINTEXT_BYTES + MAX_CONTEXT_BYTES) / 3 * 4 + 4096;

/// Longest keystore file, in bytes.
pub const MAX_KEYSTORE_BYTES: usize = 16 * 1024;

/// Longest key file, in bytes.
pub const MAX_KEY_FILE_BYTES: usize = 256;

/// Weakest Argon2id memory that a keystore may name, in KiB.
pub const MIN_ARGON2_MEMORY_KIB: u32 = 19 * 1024;

/// Largest Argon2id memory that a keystore may name, in KiB.
pub const MAX_ARGON2_MEMORY_KIB: u32 = 256 * 1024;

/// Fewest Argon2id passes that a keystore may name.
pub const MIN_ARGON2_PASSES: u32 = 2;

/// Most lanes that a keystore may name (they are computed one after the other).
pub const MAX_ARGON2_LANES: u32 = 4;

/// Most work that a keystore may ask for, in KiB × passes: about three times the default.
pub const MAX_ARGON2_WORK_KIB_PASSES: u64 = 2 * 1024 * 1024;

/// Longest signed identity statement, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 2048;

/// Most purpose keys in one identity statement.
pub const MAX_STATEMENT_KEYS: usize = 16;

/// Longest label of a purpose key in an identity statement, in bytes.
pub const MAX_STATEMENT_LABEL_BYTES: usize = 16;

/// Last second that an identity statement may name: 9999-12-31T23:59:59Z, in seconds since 1970.
pub const MAX_STATEMENT_TIME: u64 = 253_402_300_799;

/// Longest part of a parser's message that is repeated in an error, in characters after escaping.
pub(crate) const MAX_REASON_CHARS: usize = 160;
