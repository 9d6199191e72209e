//! Derivation paths, and which path belongs to which purpose.

use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_PATH_DEPTH;

const HARDENED_BIT: u32 = 1 << 31;

/// Alknet's own branch below the master key.
const ALKNET: u32 = 74;

/// One step of a path: a number below 2³¹, hardened or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathStep(u32);

impl PathStep {
    /// A hardened step (`n'`); `None` from 2³¹ on.
    pub const fn hardened(number: u32) -> Option<Self> {
        if number < HARDENED_BIT { Some(Self(number | HARDENED_BIT)) } else { None }
    }

    /// A plain step (`n`); `None` from 2³¹ on.
    pub const fn plain(number: u32) -> Option<Self> {
        if number < HARDENED_BIT { Some(Self(number)) } else { None }
    }

    /// Whether the step is hardened.
    pub const fn is_hardened(self) -> bool {
        self.0 & HARDENED_BIT != 0
    }

    /// The index as BIP-32 and SLIP-0010 serialise it: bit 31 says hardened.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The step of a serialised index.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

impl fmt::Display for PathStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.0 & !HARDENED_BIT, if self.is_hardened() { "'" } else { "" })
    }
}

/// A derivation path such as `m/74'/0'/0'/0'`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DerivationPath(Vec<PathStep>);

impl DerivationPath {
    /// The steps below the master key, in order.
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// The path of hardened steps that this crate's own table names.
    fn of_table(numbers: &[u32]) -> Self {
        Self(numbers.iter().map(|number| PathStep(number | HARDENED_BIT)).collect())
    }

    /// `m/44'/60'/0'/0/0`, the first Ethereum account (BIP-44).
    pub fn ethereum() -> Self {
        let plain = PathStep(0);
        Self([44, 60, 0].map(|number| PathStep(number | HARDENED_BIT)).into_iter().chain([plain, plain]).collect())
    }
}

/// Why a text is not a derivation path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not begin with `m`.
    #[error("a derivation path begins with m")]
    Root,
    /// A step is not a decimal number without leading zeros, with or without `'`.
    #[error("step {0} of the derivation path is not a number with or without an apostrophe")]
    Step(usize),
    /// A step is 2³¹ or more.
    #[error("step {0} of the derivation path is 2147483648 or more")]
    Overflow(usize),
    /// The path has too many steps.
    #[error("the derivation path has more than {MAX_PATH_DEPTH} steps")]
    TooDeep,
}

impl FromStr for DerivationPath {
    type Err = PathError;

    /// Parses `m`, `m/1`, `m/1'/2'`; `h` and `H` are accepted for the apostrophe.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(PathError::Root);
        }
        let mut steps = Vec::new();
        for (position, part) in (1..).zip(parts) {
            if position > MAX_PATH_DEPTH {
                return Err(PathError::TooDeep);
            }
            steps.push(parse_step(part, position)?);
        }
        Ok(Self(steps))
    }
}

fn parse_step(part: &str, position: usize) -> Result<PathStep, PathError> {
    let (digits, hardened) = match part.strip_suffix(['\'', 'h', 'H']) {
        Some(digits) => (digits, true),
        None => (part, false),
    };
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(PathError::Step(position));
    }
    let number = digits.parse::<u32>().map_err(|_| PathError::Overflow(position))?;
    let step = if hardened { PathStep::hardened(number) } else { PathStep::plain(number) };
    step.ok_or(PathError::Overflow(position))
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("m")?;
        self.0.iter().try_for_each(|step| write!(formatter, "/{step}"))
    }
}

/// A number that does not fit its place in the path table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {number}; it is {least} to 2147483647")]
pub struct NumberOutOfRange {
    what: &'static str,
    number: u32,
    least: u32,
}

fn in_range(what: &'static str, number: u32, least: u32) -> Result<u32, NumberOutOfRange> {
    if (least..HARDENED_BIT).contains(&number) { Ok(number) } else { Err(NumberOutOfRange { what, number, least }) }
}

/// The generation of an identity's keys: a rotation adds one. 0 to 2³¹ − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// The first epoch.
    pub const ZERO: Self = Self(0);

    /// The epoch of that number.
    ///
    /// # Errors
    /// [`NumberOutOfRange`] from 2³¹ on.
    pub fn new(number: u32) -> Result<Self, NumberOutOfRange> {
        in_range("the epoch", number, 0).map(Self)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The number of a device or worker below an identity: 1 to 2³¹ − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber(u32);

impl DeviceNumber {
    /// The device of that number.
    ///
    /// # Errors
    /// [`NumberOutOfRange`] for 0 and from 2³¹ on.
    pub fn new(number: u32) -> Result<Self, NumberOutOfRange> {
        in_range("the device number", number, 1).map(Self)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What an Ed25519 key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// The node identity, on every carrier.
    Node,
    /// The SSH host key.
    SshHost,
    /// The owner's SSH user key.
    SshUser,
    /// Signatures on git and other objects.
    Git,
    /// The messaging identity.
    Messaging,
    /// The seed of the ACME account.
    Acme,
    /// The authority that signs SSH host certificates.
    SshAuthority,
    /// The root, the same in every epoch: signs identity statements and nothing else.
    Root,
    /// The identity of a device or worker.
    Device(DeviceNumber),
}

impl KeyPurpose {
    /// The path of this purpose's key in that epoch.
    pub fn path(self, epoch: Epoch) -> DerivationPath {
        let own = |purpose| DerivationPath::of_table(&[ALKNET, 0, purpose, epoch.0]);
        match self {
            Self::Node => own(0),
            Self::SshHost => own(1),
            Self::SshUser => own(2),
            Self::Git => own(3),
            Self::Messaging => own(4),
            Self::Acme => own(5),
            Self::SshAuthority => own(7),
            Self::Root => DerivationPath::of_table(&[ALKNET, 0, 6, 0]),
            Self::Device(device) => DerivationPath::of_table(&[ALKNET, 1, device.0, epoch.0]),
        }
    }
}

/// What a sealing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealPurpose {
    /// Entries that the owner keeps in the vault.
    VaultEntries,
    /// Backups.
    Backups,
    /// The store's own secrets at rest.
    StoreAtRest,
}

impl SealPurpose {
    /// The purpose's number in paths and blobs.
    pub const fn number(self) -> u32 {
        match self {
            Self::VaultEntries => 0,
            Self::Backups => 1,
            Self::StoreAtRest => 2,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::VaultEntries, Self::Backups, Self::StoreAtRest].into_iter().find(|purpose| purpose.number() == number)
    }
}

/// Names a sealing key: purpose and version, printed as `0/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SealKeyId {
    purpose: SealPurpose,
    version: u32,
}

impl SealKeyId {
    /// The key of that purpose and version.
    ///
    /// # Errors
    /// [`NumberOutOfRange`] for version 0 and from 2³¹ on.
    pub fn new(purpose: SealPurpose, version: u32) -> Result<Self, NumberOutOfRange> {
        Ok(Self { purpose, version: in_range("the version of a sealing key", version, 1)? })
    }

    /// What the key is for.
    pub const fn purpose(self) -> SealPurpose {
        self.purpose
    }

    /// The key's version, from 1.
    pub const fn version(self) -> u32 {
        self.version
    }

    /// The path of the key.
    pub fn path(self) -> DerivationPath {
        DerivationPath::of_table(&[ALKNET, 2, self.purpose.number(), self.version])
    }
}

impl From<SealPurpose> for SealKeyId {
    /// The purpose's first key.
    fn from(purpose: SealPurpose) -> Self {
        Self { purpose, version: 1 }
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.purpose.number(), self.version)
    }
}

/// A text is not the name of a sealing key that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a known sealing key, such as 0/1")]
pub struct SealKeyIdError;

impl FromStr for SealKeyId {
    type Err = SealKeyIdError;

    /// Parses exactly what `Display` prints.
    fn from_str(text: &str) -> Result<Self, SealKeyIdError> {
        let (purpose, version) = text.split_once('/').ok_or(SealKeyIdError)?;
        let purpose = purpose.parse().ok().and_then(SealPurpose::from_number).ok_or(SealKeyIdError)?;
        let id = version.parse().ok().and_then(|version| Self::new(purpose, version).ok()).ok_or(SealKeyIdError)?;
        if id.to_string() == text { Ok(id) } else { Err(SealKeyIdError) }
    }
}
