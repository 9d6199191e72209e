//! OpenSSH's key revocation lists (PROTOCOL.krl): bytes in, a question answered. Pure; memory is a small multiple of the file's size.

use std::collections::{HashMap, HashSet};

const MAGIC: u64 = 0x5353_484b_524c_0a00;
const VERSION: u32 = 1;

const CERTIFICATES: u8 = 1;
const EXPLICIT_KEY: u8 = 2;
const FINGERPRINT_SHA1: u8 = 3;
const SIGNATURE: u8 = 4;
const FINGERPRINT_SHA256: u8 = 5;
const EXTENSION: u8 = 255;

const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_ID: u8 = 0x23;
const CERTIFICATE_EXTENSION: u8 = 0x39;

/// Keys and certificates that are not accepted any more.
#[derive(Debug, Default)]
pub(crate) struct RevocationList {
    keys: HashSet<Vec<u8>>,
    sha1: HashSet<[u8; 20]>,
    sha256: HashSet<[u8; 32]>,
    /// By the authority's key in its wire form; the empty one stands for every authority.
    certificates: HashMap<Vec<u8>, RevokedCertificates>,
}

/// Certificates of one authority.
#[derive(Debug, Default)]
struct RevokedCertificates {
    /// First and last of each range; sorted, and merged where they meet, when the list is whole.
    serials: Vec<(u64, u64)>,
    bitmaps: Vec<Bitmap>,
    key_ids: HashSet<Vec<u8>>,
}

/// Serial numbers from `offset` on, one bit each, as they stand in the file: the highest in the first byte.
#[derive(Debug)]
struct Bitmap {
    offset: u64,
    bits: Vec<u8>,
}

/// A key as the list is asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskedKey {
    /// Its public key in wire form.
    pub(crate) blob: Vec<u8>,
    pub(crate) sha1: [u8; 20],
    pub(crate) sha256: [u8; 32],
}

/// Why a file is no revocation list that can be honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRevocationList {
    #[error("it is no key revocation list")]
    Magic,
    #[error("its format version {0} is not known")]
    Version(u32),
    #[error("it ends in the middle, or a length in it lies")]
    Truncated,
    #[error("section {0} of it is not known")]
    Section(u8),
    #[error("a critical extension of it is not known")]
    Extension,
    #[error("a fingerprint of it has the wrong length")]
    Fingerprint,
    #[error("a range of serial numbers in it is upside down, or overflows")]
    Serials,
    #[error("something follows its signatures")]
    AfterSignature,
}

impl RevocationList {
    /// Whether bytes look like a list in this format.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC.to_be_bytes())
    }

    /// Reads a list. Signatures are not verified, as in OpenSSH: who may write the file is trusted.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadRevocationList> {
        let mut reader = Reader(bytes);
        if reader.u64() != Ok(MAGIC) {
            return Err(BadRevocationList::Magic);
        }
        match reader.u32()? {
            VERSION => {}
            other => return Err(BadRevocationList::Version(other)),
        }
        let (_number, _made_at, _flags) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (_reserved, _comment) = (reader.string()?, reader.string()?);
        let mut list = Self::default();
        let mut signed = false;
        while !reader.is_empty() {
            let (kind, section) = (reader.u8()?, reader.string()?);
            if signed && kind != SIGNATURE {
                return Err(BadRevocationList::AfterSignature);
            }
            if kind == SIGNATURE {
                // The section is the key; the signature stands behind it.
                let _signature = reader.string()?;
                signed = true;
                continue;
            }
            list.take_section(kind, Reader(section))?;
        }
        list.certificates.values_mut().for_each(RevokedCertificates::tidy);
        Ok(list)
    }

    /// Adds a key in wire form.
    pub(crate) fn revoke_key(&mut self, blob: Vec<u8>) {
        self.keys.insert(blob);
    }

    /// Whether a key, as such, is revoked.
    pub(crate) fn has_key(&self, key: &AskedKey) -> bool {
        self.keys.contains(&key.blob) || self.sha1.contains(&key.sha1) || self.sha256.contains(&key.sha256)
    }

    /// Whether a certificate of this authority is revoked by its serial number or its id. The serial number 0 means that there is none.
    pub(crate) fn has_certificate(&self, authority: &AskedKey, serial: u64, key_id: &str) -> bool {
        [authority.blob.as_slice(), &[]]
            .into_iter()
            .filter_map(|of| self.certificates.get(of))
            .any(|revoked| revoked.key_ids.contains(key_id.as_bytes()) || serial != 0 && revoked.has_serial(serial))
    }

    fn take_section(&mut self, kind: u8, mut section: Reader<'_>) -> Result<(), BadRevocationList> {
        match kind {
            CERTIFICATES => return self.take_certificates(section),
            EXTENSION => return section.refuse_critical(),
            _ => {}
        }
        while !section.is_empty() {
            let item = section.string()?;
            match kind {
                EXPLICIT_KEY => {
                    self.keys.insert(item.to_vec());
                }
                FINGERPRINT_SHA1 => {
                    self.sha1.insert(item.try_into().map_err(|_| BadRevocationList::Fingerprint)?);
                }
                FINGERPRINT_SHA256 => {
                    self.sha256.insert(item.try_into().map_err(|_| BadRevocationList::Fingerprint)?);
                }
                other => return Err(BadRevocationList::Section(other)),
            }
        }
        // An empty section of an unknown sort is unknown still.
        if matches!(kind, EXPLICIT_KEY | FINGERPRINT_SHA1 | FINGERPRINT_SHA256) {
            Ok(())
        } else {
            Err(BadRevocationList::Section(kind))
        }
    }

    fn take_certificates(&mut self, mut section: Reader<'_>) -> Result<(), BadRevocationList> {
        let (authority, _reserved) = (section.string()?, section.string()?);
        let revoked = self.certificates.entry(authority.to_vec()).or_default();
        while !section.is_empty() {
            let (kind, data) = (section.u8()?, section.string()?);
            revoked.take(kind, Reader(data))?;
        }
        Ok(())
    }
}

impl RevokedCertificates {
    fn take(&mut self, kind: u8, mut data: Reader<'_>) -> Result<(), BadRevocationList> {
        match kind {
            SERIAL_LIST => {
                while !data.is_empty() {
                    let serial = data.u64()?;
                    self.serials.push((serial, serial));
                }
                Ok(())
            }
            SERIAL_RANGE => {
                let (first, last) = (data.u64()?, data.u64()?);
                if first > last {
                    return Err(BadRevocationList::Serials);
                }
                self.serials.push((first, last));
                data.end()
            }
            SERIAL_BITMAP => {
                let (offset, bits) = (data.u64()?, data.string()?);
                self.bitmaps.push(Bitmap::new(offset, bits)?);
                data.end()
            }
            KEY_ID => {
                while !data.is_empty() {
                    self.key_ids.insert(data.string()?.to_vec());
                }
                Ok(())
            }
            CERTIFICATE_EXTENSION => data.refuse_critical(),
            other => Err(BadRevocationList::Section(other)),
        }
    }

    fn tidy(&mut self) {
        self.serials.sort_unstable();
        self.serials.dedup_by(|next, kept| {
            let meets = kept.1.checked_add(1).is_none_or(|behind| next.0 <= behind);
            if meets {
                kept.1 = kept.1.max(next.1);
            }
            meets
        });
        self.serials.shrink_to_fit();
    }

    fn has_serial(&self, serial: u64) -> bool {
        let behind = self.serials.partition_point(|(first, _)| *first <= serial);
        let listed = behind.checked_sub(1).and_then(|at| self.serials.get(at)).is_some_and(|(_, last)| serial <= *last);
        listed || self.bitmaps.iter().any(|bitmap| bitmap.has(serial))
    }
}

impl Bitmap {
    fn new(offset: u64, number: &[u8]) -> Result<Self, BadRevocationList> {
        // A multiple-precision integer (RFC 4251, 5): a zero byte in front keeps it from being negative.
        if number.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(BadRevocationList::Serials);
        }
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let bits = number.get(zeros..).unwrap_or_default().to_vec();
        match u64::try_from(8 * bits.len()).ok().and_then(|length| offset.checked_add(length)) {
            Some(_) => Ok(Self { offset, bits }),
            None => Err(BadRevocationList::Serials),
        }
    }

    fn has(&self, serial: u64) -> bool {
        let at = serial.checked_sub(self.offset).and_then(|bit| Some((usize::try_from(bit / 8).ok()?, bit % 8)));
        let Some((byte, bit)) = at else { return false };
        self.bits.iter().rev().nth(byte).is_some_and(|byte| byte >> bit & 1 == 1)
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn end(&self) -> Result<(), BadRevocationList> {
        if self.is_empty() { Ok(()) } else { Err(BadRevocationList::Truncated) }
    }
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadRevocationList> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadRevocationList::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRevocationList> {
        self.take(N)?.try_into().map_err(|_| BadRevocationList::Truncated)
    }
    fn u8(&mut self) -> Result<u8, BadRevocationList> {
        self.array().map(u8::from_be_bytes)
    }
    fn u32(&mut self) -> Result<u32, BadRevocationList> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Result<u64, BadRevocationList> {
        self.array().map(u64::from_be_bytes)
    }
    fn string(&mut self) -> Result<&'a [u8], BadRevocationList> {
        let length = usize::try_from(self.u32()?).map_err(|_| BadRevocationList::Truncated)?;
        self.take(length)
    }
    /// An extension: its name, whether it is critical, its contents.
    fn refuse_critical(&mut self) -> Result<(), BadRevocationList> {
        let (_name, critical, _contents) = (self.string()?, self.u8()?, self.string()?);
        if critical == 0 { self.end() } else { Err(BadRevocationList::Extension) }
    }
}

#[cfg(test)]
mod tests;
