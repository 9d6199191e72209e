//! An entry as archives and folders carry it from one place to the other.

use std::{collections::BTreeMap, os::unix::ffi::OsStrExt, path::Path};

use alknet_fs::{Escaped, FsPath};

use super::limits::{MAX_XATTRS, MAX_XATTRS_BYTES};

/// Extended attributes: names and values are bytes.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// One entry with everything that is kept of it but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, from the folder that is carried.
    pub path: FsPath,
    /// What it is.
    pub what: What,
    /// The twelve bits of its mode.
    pub mode: u16,
    /// When its content changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its extended attributes.
    pub xattrs: Xattrs,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A folder.
    Folder,
    /// A file of so many bytes.
    File {
        /// How many.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The text in it.
        target: Vec<u8>,
    },
    /// Another name of a file that came before.
    HardLink {
        /// Its first name.
        to: FsPath,
        /// How many bytes it has, where its content comes with it.
        size: u64,
    },
}

/// Whether these attributes fit into the file system.
pub fn xattrs_fit(xattrs: &Xattrs) -> bool {
    let bytes = |(name, value): (&Vec<u8>, &Vec<u8>)| 5 + name.len() + value.len();
    xattrs.keys().all(|name| (1..=255).contains(&name.len()) && !name.contains(&0))
        && xattrs.len() <= MAX_XATTRS
        && xattrs.iter().map(bytes).sum::<usize>() + 2 <= MAX_XATTRS_BYTES
}

/// Reads a path as foreign archives write it: `.` says nothing, a `/` before it neither; `..` is no way.
pub fn foreign_path(bytes: &[u8]) -> Option<FsPath> {
    let names: Vec<_> = bytes.split(|byte| *byte == b'/').filter(|name| *name != b".").collect();
    FsPath::parse(&names.join(&b'/')).ok()
}

/// A place of this machine for people: bytes that would steer a terminal are escaped.
pub fn shown(place: &Path) -> String {
    Escaped(place.as_os_str().as_bytes()).to_string()
}

/// The path as archives have it: without a `/` before it.
pub fn relative(path: &FsPath) -> Vec<u8> {
    path.to_bytes().split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_no_file_can_have_do_not_fit() {
        // ARCH-21
        let some = |names: &[&[u8]]| names.iter().map(|name| (name.to_vec(), Vec::new())).collect::<Xattrs>();
        assert!(xattrs_fit(&some(&[b"user.a", &[b'k'; 255], b"\n"])));
        for bad in [&b""[..], b"user.\0", &[b'k'; 256]] {
            assert!(!xattrs_fit(&some(&[bad])), "{bad:?}");
        }
        let many: Xattrs = (0..=MAX_XATTRS).map(|number| (number.to_string().into_bytes(), Vec::new())).collect();
        assert!(!xattrs_fit(&many));
    }

    #[test]
    fn a_foreign_path_is_one_of_ours_or_none() {
        // ARCH-10
        for (text, path) in [
            ("./a/./b", "/a/b"),
            ("/etc/passwd", "/etc/passwd"),
            ("a//b/", "/a/b"),
            ("./", "/"),
            (".", "/"),
            ("a/..b", "/a/..b"),
        ] {
            assert_eq!(foreign_path(text.as_bytes()).unwrap().to_bytes(), path.as_bytes(), "{text}");
        }
        for bad in ["..", "../a", "a/../b", "a/..", "a\0b", &"x".repeat(256)] {
            assert_eq!(foreign_path(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(relative(&FsPath::ROOT), b"");
    }

    #[test]
    fn attributes_fit_or_not() {
        let of = |name: usize, value: usize| Xattrs::from([(vec![b'x'; name], vec![0; value])]);
        assert!(xattrs_fit(&Xattrs::new()) && xattrs_fit(&of(255, 1000)));
        assert!(xattrs_fit(&of(1, MAX_XATTRS_BYTES - 8)));
        assert!(!xattrs_fit(&of(1, MAX_XATTRS_BYTES - 7)));
        assert!(!xattrs_fit(&of(0, 1)) && !xattrs_fit(&of(256, 1)));
    }
}
