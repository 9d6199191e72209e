//! What a zip says of an entry beyond its own few bits: the extra field 0x6b61, little-endian.
//!
//! `version u8 = 1 ‖ mode u16 ‖ mtime_ns i64 ‖ kind u8 ‖ link u16 + bytes ‖ then for each attribute: name u8 + bytes, value u32 + bytes`.
//! The kind is 1 file, 2 folder, 3 symbolic link, 4 hard link; only a hard link has a `link`, the path of its first name.

use crate::files::entry::{Xattrs, xattrs_fit};

/// The id of the field.
pub(super) const ID: u16 = 0x6b61;
/// The id of the field with a time in seconds that other tools know.
pub(super) const TIMESTAMP: u16 = 0x5455;
/// Largest field that we write, in bytes: with a name and the other fields it fits into a header.
pub(super) const MAX_FIELD_BYTES: usize = 60_000;

/// What kind of entry a field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File = 1,
    Folder = 2,
    Symlink = 3,
    HardLink = 4,
}

/// The field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) mode: u16,
    pub(super) mtime_ns: i64,
    pub(super) kind: Kind,
    pub(super) link: Vec<u8>,
    pub(super) xattrs: Xattrs,
}

impl Extra {
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        let mut field = vec![1];
        field.extend_from_slice(&self.mode.to_le_bytes());
        field.extend_from_slice(&self.mtime_ns.to_le_bytes());
        field.push(self.kind as u8);
        field.extend_from_slice(&u16::try_from(self.link.len()).ok()?.to_le_bytes());
        field.extend_from_slice(&self.link);
        for (name, value) in &self.xattrs {
            field.push(u8::try_from(name.len()).ok()?);
            field.extend_from_slice(name);
            field.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
            field.extend_from_slice(value);
        }
        (field.len() <= MAX_FIELD_BYTES).then_some(field)
    }

    /// Reads a field; `None` where it is none of ours or of a later version.
    pub(super) fn read(mut field: &[u8]) -> Option<Self> {
        let bytes = &mut field;
        if take(bytes, 1)? != [1] {
            return None;
        }
        let mode = u16::from_le_bytes(take(bytes, 2)?.try_into().ok()?) & 0o7777;
        let mtime_ns = i64::from_le_bytes(take(bytes, 8)?.try_into().ok()?);
        let kind = match take(bytes, 1)? {
            [1] => Kind::File,
            [2] => Kind::Folder,
            [3] => Kind::Symlink,
            [4] => Kind::HardLink,
            _ => return None,
        };
        let length = u16::from_le_bytes(take(bytes, 2)?.try_into().ok()?);
        let link = take(bytes, length.into())?.to_vec();
        let mut xattrs = Xattrs::new();
        while !bytes.is_empty() {
            let length = take(bytes, 1)?[0];
            let name = take(bytes, length.into())?.to_vec();
            let length = u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?);
            let value = take(bytes, usize::try_from(length).ok()?)?.to_vec();
            if xattrs.insert(name, value).is_some() {
                return None;
            }
        }
        let has_link = kind == Kind::HardLink;
        (xattrs_fit(&xattrs) && has_link != link.is_empty()).then_some(Self { mode, mtime_ns, kind, link, xattrs })
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extra() -> Extra {
        let xattrs = Xattrs::from([(b"user.a".to_vec(), b"\0\xff".to_vec()), (b"user.b".to_vec(), Vec::new())]);
        Extra { mode: 0o4755, mtime_ns: -1, kind: Kind::HardLink, link: b"a/b".to_vec(), xattrs }
    }

    #[test]
    fn a_field_comes_back_and_no_part_of_it_does() {
        // ARCH-30
        let field = extra().write().unwrap();
        assert_eq!(Extra::read(&field), Some(extra()));
        for length in 0..field.len() {
            let read = Extra::read(&field[..length]);
            assert!(read.is_none_or(|read| read.xattrs.len() < 2), "{length}");
        }
    }

    #[test]
    fn bad_fields_are_refused() {
        let field = extra().write().unwrap();
        let with = |at: usize, byte: u8| {
            let mut field = field.clone();
            field[at] = byte;
            Extra::read(&field)
        };
        assert_eq!(with(0, 2), None, "a later version");
        assert_eq!(with(11, 5), None, "an unknown kind");
        assert_eq!(with(11, 1), None, "a file with a link");
        assert_eq!(with(12, 255), None, "a link longer than the field");
        let twice = [field.as_slice(), &field[17..]].concat();
        assert_eq!(Extra::read(&twice), None, "an attribute twice");
        assert_eq!(Extra { xattrs: Xattrs::from([(vec![b'x'], vec![0; MAX_FIELD_BYTES])]), ..extra() }.write(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(field: Vec<u8>) {
            if let Some(extra) = Extra::read(&field) {
                prop_assert!(extra.write().is_some());
            }
        }
    }
}
