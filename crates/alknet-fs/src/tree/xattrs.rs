//! Extended attributes, and the bytes that they are kept as.

use std::collections::BTreeMap;

use crate::limits::{MAX_XATTR_KEY_BYTES, MAX_XATTRS_BYTES};

/// The extended attributes of an entry: values by their keys.
///
/// They are kept as a count (two bytes, the highest first), then for each, by the bytes of the keys: the key's length (one byte), the
/// key, the value's length (four bytes, the highest first), the value. None at all is no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

/// What cannot be an extended attribute, or is not written as some are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadXattrs {
    /// A key of the wrong length, or with a NUL in it.
    #[error("the key of an extended attribute is 1 to {MAX_XATTR_KEY_BYTES} bytes, none of them NUL")]
    Key,
    /// More bytes than an entry may have.
    #[error("the extended attributes of an entry have {MAX_XATTRS_BYTES} bytes at the most")]
    TooLong,
    /// Bytes that no attributes are written as.
    #[error("these are no extended attributes")]
    Malformed,
}

impl Xattrs {
    /// Those of these keys and values; of a key that comes twice, the last one.
    pub fn new<K: AsRef<[u8]>, V: AsRef<[u8]>>(all: impl IntoIterator<Item = (K, V)>) -> Result<Self, BadXattrs> {
        let mut kept = Self::default();
        let mut bytes = 2;
        for (key, value) in all {
            let (key, value) = (key.as_ref(), value.as_ref());
            if key.is_empty() || key.len() > MAX_XATTR_KEY_BYTES || key.contains(&0) {
                return Err(BadXattrs::Key);
            }
            bytes += 5 + key.len() + value.len();
            if bytes > MAX_XATTRS_BYTES {
                return Err(BadXattrs::TooLong);
            }
            kept.0.insert(key.into(), value.into());
        }
        Ok(kept)
    }
    /// Keys and values, by the bytes of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(|value| &**value)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that are kept of them.
    pub fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        // Lengths are bounded where the attributes are made.
        let mut bytes = (self.0.len() as u16).to_be_bytes().to_vec();
        for (key, value) in &self.0 {
            bytes.push(key.len() as u8);
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    /// Reads them. Each has one form only: anything that [`Self::encode`] does not write is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadXattrs> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > MAX_XATTRS_BYTES {
            return Err(BadXattrs::TooLong);
        }
        let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(BadXattrs::Malformed)?;
        let mut all: Vec<(&[u8], &[u8])> = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, after) = rest.split_first().ok_or(BadXattrs::Malformed)?;
            let (key, after) = after.split_at_checked((*length).into()).ok_or(BadXattrs::Malformed)?;
            let (length, after) = after.split_first_chunk::<4>().ok_or(BadXattrs::Malformed)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BadXattrs::Malformed)?;
            let (value, after) = after.split_at_checked(length).ok_or(BadXattrs::Malformed)?;
            if all.last().is_some_and(|(before, _)| *before >= key) {
                return Err(BadXattrs::Malformed);
            }
            all.push((key, value));
            rest = after;
        }
        if all.is_empty() || !rest.is_empty() {
            return Err(BadXattrs::Malformed);
        }
        Self::new(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_attributes_are_written_as_is_refused() {
        // TREE-13
        let good = Xattrs::new([("user.a", "1"), ("user.b", "")]).unwrap().encode();
        assert_eq!(good, b"\0\x02\x06user.a\0\0\0\x011\x06user.b\0\0\0\0");
        let bad: [&[u8]; 8] = [
            b"\0",
            b"\0\0",
            b"\0\x01",
            b"\0\x01\x02a",
            b"\0\x01\x01a\0\0\0\x02x",
            b"\0\x01\x01a\0\0\0\x01xy",
            b"\0\x02\x01b\0\0\0\0\x01a\0\0\0\0",
            b"\0\x02\x01a\0\0\0\0\x01a\0\0\0\0",
        ];
        for bytes in bad {
            assert_eq!(Xattrs::decode(bytes), Err(BadXattrs::Malformed), "{bytes:?}");
        }
        assert_eq!(Xattrs::decode(b"\0\x01\0\0\0\0\0"), Err(BadXattrs::Key));
        assert_eq!(Xattrs::new([("", "")]), Err(BadXattrs::Key));
        assert_eq!(Xattrs::new([("a\0", "")]), Err(BadXattrs::Key));
        assert_eq!(Xattrs::new([([b'k'; 256], "")]), Err(BadXattrs::Key));
        assert_eq!(Xattrs::new([("k", vec![0; MAX_XATTRS_BYTES])]), Err(BadXattrs::TooLong));
        assert_eq!(Xattrs::decode(&vec![0; MAX_XATTRS_BYTES + 1]), Err(BadXattrs::TooLong));
        assert!(Xattrs::new([("k", vec![0; MAX_XATTRS_BYTES - 8])]).unwrap().encode().len() == MAX_XATTRS_BYTES);
    }

    proptest! {
        #[test]
        fn attributes_are_read_as_they_are_written(
            all in proptest::collection::vec(("[a-c]{1,4}", proptest::collection::vec(any::<u8>(), 0..9)), 0..9),
        ) {
            // TREE-13
            let xattrs = Xattrs::new(all).unwrap();
            prop_assert_eq!(Xattrs::decode(&xattrs.encode()), Ok(xattrs));
        }
    }
}
