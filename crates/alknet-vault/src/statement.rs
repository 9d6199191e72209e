//! Identity statements: the root key says which node key and purpose keys are valid, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::limits::{MAX_STATEMENT_BYTES, MAX_STATEMENT_KEYS, MAX_STATEMENT_LABEL_BYTES, MAX_STATEMENT_TIME};
use crate::path::{Epoch, KeyPurpose};
use crate::strict_cbor::{self, CborError, Reader};

/// What is signed begins with these bytes, so that no other signature can be taken for a statement.
const DOMAIN: &[u8] = b"alknet-identity-v1\0";

/// `keys`, `node`, `root`, `epoch`, `not_after`, `not_before`.
const MEMBERS: u64 = 6;

/// Why bytes are not a signed identity statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not the CBOR that a statement is.
    #[error("not an identity statement: {0}")]
    Cbor(#[from] CborError),
    /// The epoch is 2³¹ or more.
    #[error("the epoch of the identity statement is 2147483648 or more")]
    Epoch,
    /// More purpose keys than allowed.
    #[error("the identity statement names more than {MAX_STATEMENT_KEYS} purpose keys")]
    TooManyKeys,
    /// A label is not 1 to 16 of `a-z`, `0-9` and `-`.
    #[error("a label in the identity statement is not 1 to {MAX_STATEMENT_LABEL_BYTES} of a-z, 0-9 and -")]
    Label,
    /// The validity is empty, or ends after the year 9999.
    #[error("the identity statement is never valid, or ends after the year 9999")]
    Validity,
}

/// Why a statement is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementVerifyError {
    /// The root's signature does not verify.
    #[error("the signature of the identity statement does not verify")]
    Signature,
    /// It becomes valid later.
    #[error("the identity statement is not valid before {0} seconds since 1970")]
    NotYet(u64),
    /// It was valid earlier.
    #[error("the identity statement was valid until {0} seconds since 1970")]
    Expired(u64),
}

/// What a root key states. Times are seconds since 1970; `not_before` is the first valid second, `not_after` the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityStatement {
    root: [u8; 32],
    node: [u8; 32],
    epoch: Epoch,
    keys: BTreeMap<String, [u8; 32]>,
    not_before: u64,
    not_after: u64,
}

impl IdentityStatement {
    /// The root's public key.
    pub fn root(&self) -> [u8; 32] {
        self.root
    }

    /// The node's public key.
    pub fn node(&self) -> [u8; 32] {
        self.node
    }

    /// The epoch of all keys but the root.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The public key for a purpose, if the statement names one.
    pub fn key(&self, purpose: KeyPurpose) -> Option<[u8; 32]> {
        match purpose {
            KeyPurpose::Root => Some(self.root),
            KeyPurpose::Node => Some(self.node),
            other => self.keys.get(label(other)?).copied(),
        }
    }

    /// The first second in which the statement is valid, since 1970.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// The last second in which the statement is valid, since 1970.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The statement in deterministic CBOR: shorter names first, then by bytes.
    fn to_cbor(&self) -> Vec<u8> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_by_key(|(label, _)| (label.len(), label.as_bytes()));
        strict_cbor::encode(|encoder| {
            encoder.map(MEMBERS)?;
            encoder.str("keys")?.map(keys.len() as u64)?;
            for (label, key) in keys {
                encoder.str(label)?.bytes(key)?;
            }
            encoder.str("node")?.bytes(&self.node)?;
            encoder.str("root")?.bytes(&self.root)?;
            encoder.str("epoch")?.u32(self.epoch.number())?;
            encoder.str("not_after")?.u64(self.not_after)?;
            encoder.str("not_before")?.u64(self.not_before)?.ok()
        })
    }

    fn from_cbor(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut reader = Reader::new(bytes, MAX_STATEMENT_BYTES)?;
        reader.map_of(MEMBERS)?;
        reader.member("keys")?;
        let keys = read_keys(&mut reader)?;
        reader.member("node")?;
        let node = reader.array_of()?;
        reader.member("root")?;
        let root = reader.array_of()?;
        reader.member("epoch")?;
        let epoch = u32::try_from(reader.unsigned()?).ok().and_then(|number| Epoch::new(number).ok());
        let epoch = epoch.ok_or(StatementError::Epoch)?;
        reader.member("not_after")?;
        let not_after = reader.unsigned()?;
        reader.member("not_before")?;
        let not_before = reader.unsigned()?;
        reader.end()?;
        let statement = Self { root, node, epoch, keys, not_before, not_after };
        if statement.to_cbor() != bytes {
            return Err(CborError::NotDeterministic.into());
        }
        statement.with_checked_validity()
    }

    fn with_checked_validity(self) -> Result<Self, StatementError> {
        let valid = self.not_before <= self.not_after && self.not_after <= MAX_STATEMENT_TIME;
        if valid { Ok(self) } else { Err(StatementError::Validity) }
    }
}

fn read_keys(reader: &mut Reader<'_>) -> Result<BTreeMap<String, [u8; 32]>, StatementError> {
    let count = reader.map()?;
    if count > MAX_STATEMENT_KEYS as u64 {
        return Err(StatementError::TooManyKeys);
    }
    let mut keys = BTreeMap::new();
    for _ in 0..count {
        let label = reader.text(MAX_STATEMENT_BYTES)?;
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if label.is_empty() || label.len() > MAX_STATEMENT_LABEL_BYTES || !label.bytes().all(known) {
            return Err(StatementError::Label);
        }
        keys.insert(label.to_owned(), reader.array_of()?);
    }
    Ok(keys)
}

/// The purposes whose public keys a statement names.
const STATED: [KeyPurpose; 4] = [KeyPurpose::SshHost, KeyPurpose::SshUser, KeyPurpose::Git, KeyPurpose::Messaging];

fn label(purpose: KeyPurpose) -> Option<&'static str> {
    match purpose {
        KeyPurpose::SshHost => Some("ssh-host"),
        KeyPurpose::SshUser => Some("ssh-user"),
        KeyPurpose::Git => Some("git"),
        KeyPurpose::Messaging => Some("messaging"),
        KeyPurpose::Node | KeyPurpose::Root | KeyPurpose::Acme | KeyPurpose::SshAuthority | KeyPurpose::Device(_) => {
            None
        }
    }
}

/// An identity statement with its root's signature; the statement is seen through [`SignedStatement::verify`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedStatement {
    statement: IdentityStatement,
    signature: [u8; 64],
}

impl SignedStatement {
    /// States the keys that `public_key` gives, valid from `now` (seconds since 1970) for `validity`.
    pub(crate) fn sign(
        root: &SigningKey,
        public_key: impl Fn(KeyPurpose) -> [u8; 32],
        epoch: Epoch,
        now: u64,
        validity: Duration,
    ) -> Result<Self, StatementError> {
        let statement = IdentityStatement {
            root: root.verifying_key().to_bytes(),
            node: public_key(KeyPurpose::Node),
            epoch,
            keys: STATED
                .into_iter()
                .filter_map(|purpose| Some((label(purpose)?.to_owned(), public_key(purpose))))
                .collect(),
            not_before: now,
            not_after: now.saturating_add(validity.as_secs()),
        }
        .with_checked_validity()?;
        let signature = root.sign(&signed_bytes(&statement.to_cbor())).to_bytes();
        Ok(Self { statement, signature })
    }

    /// The bytes to send: `[statement, signature]`, the statement wrapped in a byte string.
    pub fn encode(&self) -> Vec<u8> {
        strict_cbor::encode(|encoder| encoder.array(2)?.bytes(&self.statement.to_cbor())?.bytes(&self.signature)?.ok())
    }

    /// Parses what [`SignedStatement::encode`] makes, and nothing else. Verifies nothing yet.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut reader = Reader::new(bytes, MAX_STATEMENT_BYTES)?;
        reader.array(2)?;
        let statement = IdentityStatement::from_cbor(reader.bytes(MAX_STATEMENT_BYTES)?)?;
        let signature = reader.array_of()?;
        reader.end()?;
        let signed = Self { statement, signature };
        if signed.encode() == bytes { Ok(signed) } else { Err(CborError::NotDeterministic.into()) }
    }

    /// The statement, if its root signed it and it is valid at `now` (seconds since 1970).
    ///
    /// Whether that root is the one to trust is the caller's question.
    ///
    /// # Errors
    /// [`StatementVerifyError`].
    pub fn verify(&self, now: u64) -> Result<&IdentityStatement, StatementVerifyError> {
        let root = VerifyingKey::from_bytes(&self.statement.root).map_err(|_| StatementVerifyError::Signature)?;
        root.verify_strict(&signed_bytes(&self.statement.to_cbor()), &Signature::from_bytes(&self.signature))
            .map_err(|_| StatementVerifyError::Signature)?;
        if now < self.statement.not_before {
            return Err(StatementVerifyError::NotYet(self.statement.not_before));
        }
        if now > self.statement.not_after {
            return Err(StatementVerifyError::Expired(self.statement.not_after));
        }
        Ok(&self.statement)
    }
}

impl fmt::Debug for SignedStatement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SignedStatement(unverified, epoch {})", self.statement.epoch)
    }
}

fn signed_bytes(statement: &[u8]) -> Vec<u8> {
    [DOMAIN, statement].concat()
}
