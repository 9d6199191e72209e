//! Names of entries and paths of them: bytes, as POSIX has them, without the few that mean something else.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use crate::limits::{MAX_ENTRY_NAME_BYTES, MAX_PATH_BYTES, MAX_PATH_NAMES, MAX_SHOWN_BYTES};

/// The name of an entry in a folder: 1 to 255 bytes, neither NUL nor `/` among them, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName(Arc<[u8]>);

/// A path from the root of a branch: names only, so that nothing above the root can be said.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FsPath(Vec<EntryName>);

/// Bytes that are no name or no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// No bytes at all.
    #[error("a name is empty")]
    EmptyName,
    /// Too many bytes in one name.
    #[error("the name `{shown}…` has {bytes} bytes; {MAX_ENTRY_NAME_BYTES} are the most")]
    NameTooLong {
        /// Its beginning.
        shown: String,
        /// How long it is.
        bytes: usize,
    },
    /// A byte that no name has.
    #[error("the name `{shown}` has {what} in it")]
    ForbiddenByte {
        /// Its beginning.
        shown: String,
        /// Which byte.
        what: &'static str,
    },
    /// `.` or `..`.
    #[error("`{0}` names no entry; write the path without it")]
    Dots(&'static str),
    /// Too many names.
    #[error("the path has more than {MAX_PATH_NAMES} names")]
    TooDeep,
    /// Too many bytes.
    #[error("the path has {0} bytes; {MAX_PATH_BYTES} are the most")]
    TooLong(usize),
}

impl EntryName {
    /// Reads a name.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPath> {
        match bytes {
            b"" => return Err(BadPath::EmptyName),
            b"." => return Err(BadPath::Dots(".")),
            b".." => return Err(BadPath::Dots("..")),
            _ => {}
        }
        if bytes.len() > MAX_ENTRY_NAME_BYTES {
            return Err(BadPath::NameTooLong { shown: beginning(bytes), bytes: bytes.len() });
        }
        match bytes.iter().find(|byte| matches!(byte, 0 | b'/')) {
            None => Ok(Self(bytes.into())),
            Some(byte) => {
                let what = if *byte == 0 { "a NUL byte" } else { "a `/`" };
                Err(BadPath::ForbiddenByte { shown: beginning(bytes), what })
            }
        }
    }
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FsPath {
    /// The root of a branch.
    pub const ROOT: Self = Self(Vec::new());

    /// Reads a path. A `/` before it, after it, or twice between names says nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPath> {
        if bytes.len() > MAX_PATH_BYTES {
            return Err(BadPath::TooLong(bytes.len()));
        }
        let mut names = Vec::new();
        for name in bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if names.len() == MAX_PATH_NAMES {
                return Err(BadPath::TooDeep);
            }
            names.push(EntryName::parse(name)?);
        }
        Ok(Self(names))
    }
    /// Its names, from the root on.
    pub fn names(&self) -> &[EntryName] {
        &self.0
    }
    /// The path of the folder that holds it, and its name there; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &EntryName)> {
        self.0.split_last().map(|(name, folder)| (Self(folder.to_vec()), name))
    }
    /// The path of an entry of the folder that this one names.
    pub fn join(&self, name: EntryName) -> Result<Self, BadPath> {
        if self.0.len() == MAX_PATH_NAMES {
            return Err(BadPath::TooDeep);
        }
        let mut names = self.0.clone();
        names.push(name);
        let path = Self(names);
        let bytes = path.to_bytes().len();
        if bytes > MAX_PATH_BYTES { Err(BadPath::TooLong(bytes)) } else { Ok(path) }
    }
    /// As [`Self::join`], of an entry that is there: its path may have grown beyond what can be written.
    pub(crate) fn below(&self, name: EntryName) -> Self {
        let mut names = Vec::with_capacity(self.0.len() + 1);
        names.extend_from_slice(&self.0);
        names.push(name);
        Self(names)
    }
    /// Whether it is `folder` or below it.
    pub(crate) fn is_within(&self, folder: &Self) -> bool {
        self.0.starts_with(&folder.0)
    }
    /// The path as it is written, with a `/` before each name; `/` for the root.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return b"/".to_vec();
        }
        self.0.iter().flat_map(|name| [b"/", name.as_bytes()].concat()).collect()
    }
}

fn beginning(bytes: &[u8]) -> String {
    Escaped(&bytes[..bytes.len().min(MAX_SHOWN_BYTES)]).to_string()
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl fmt::Display for FsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.to_bytes()).fmt(f)
    }
}

impl fmt::Debug for FsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Shows bytes to people: text as it is, control characters and bytes that are no UTF-8 as escapes. Not the way back.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\'' | '"' => f.write_char(character)?,
                    // A mark that is put over the character before it steers nothing; alone it would be escaped.
                    _ if is_mark(character) => f.write_char(character)?,
                    _ => character.escape_debug().try_for_each(|part| f.write_char(part))?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Whether a character is escaped only where none stands before it.
fn is_mark(character: char) -> bool {
    if character.is_ascii() || character.escape_debug().len() == 1 {
        return false;
    }
    let mut behind = String::from("-");
    behind.push(character);
    behind.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_over_a_character_are_shown_and_what_steers_is_not() {
        // FS-16
        let shown = |text: &str| Escaped(text.as_bytes()).to_string();
        assert_eq!(shown("cafe\u{301}/\u{301}"), "cafe\u{301}/\u{301}");
        assert_eq!(shown("a\u{202e}\u{200b}\u{9b}\n"), "a\\u{202e}\\u{200b}\\u{9b}\\n");
    }

    #[test]
    fn any_bytes_are_a_name_but_these() {
        // FS-12
        let longest = [b'x'; MAX_ENTRY_NAME_BYTES];
        for good in [b"a".as_slice(), b"...", b". ", b"-", b" ", b"\n", b"\xff\xfe", b"a\\b", "é".as_bytes(), &longest]
        {
            assert_eq!(EntryName::parse(good).unwrap().as_bytes(), good);
        }
        assert_eq!(EntryName::parse(b""), Err(BadPath::EmptyName));
        assert_eq!(EntryName::parse(b"."), Err(BadPath::Dots(".")));
        assert_eq!(EntryName::parse(b".."), Err(BadPath::Dots("..")));
        let forbidden = |bytes: &[u8]| matches!(EntryName::parse(bytes), Err(BadPath::ForbiddenByte { .. }));
        assert!(forbidden(b"a/b") && forbidden(b"/") && forbidden(b"a\0") && forbidden(b"\0"));
        let long = EntryName::parse(&[b'x'; MAX_ENTRY_NAME_BYTES + 1]);
        assert!(matches!(long, Err(BadPath::NameTooLong { bytes: 256, .. })));
    }

    #[test]
    fn slashes_say_nothing_twice_and_dots_are_refused() {
        // FS-13
        for same in ["/a/b", "a/b", "a/b/", "//a///b//"] {
            assert_eq!(FsPath::parse(same.as_bytes()).unwrap().to_bytes(), b"/a/b", "{same}");
        }
        for root in ["", "/", "//"] {
            assert_eq!(FsPath::parse(root.as_bytes()).unwrap(), FsPath::ROOT);
        }
        assert_eq!(FsPath::ROOT.to_bytes(), b"/");
        for bad in ["/..", "../a", "a/../b", "a/./b", ".", "a/.."] {
            assert!(matches!(FsPath::parse(bad.as_bytes()), Err(BadPath::Dots(_))), "{bad}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        // FS-13
        let deepest = "a/".repeat(MAX_PATH_NAMES);
        let path = FsPath::parse(deepest.as_bytes()).unwrap();
        assert_eq!(path.names().len(), MAX_PATH_NAMES);
        let name = EntryName::parse(b"a").unwrap();
        assert_eq!(path.join(name.clone()), Err(BadPath::TooDeep));
        assert_eq!(FsPath::parse(format!("{deepest}a").as_bytes()), Err(BadPath::TooDeep));
        assert_eq!(FsPath::parse(&vec![b'/'; MAX_PATH_BYTES]).unwrap(), FsPath::ROOT);
        assert_eq!(FsPath::parse(&vec![b'/'; MAX_PATH_BYTES + 1]), Err(BadPath::TooLong(MAX_PATH_BYTES + 1)));
        let longest = [[b'x'; MAX_ENTRY_NAME_BYTES].as_slice(), b"/"].concat().repeat(MAX_PATH_NAMES);
        let path = FsPath::parse(&longest).unwrap();
        let (folder, last) = path.split_last().unwrap();
        assert_eq!(folder.join(last.clone()).unwrap(), path, "the longest path that there is can be made");
        assert_eq!(FsPath::ROOT.split_last(), None);
        assert_eq!(FsPath::ROOT.join(name).unwrap().to_bytes(), b"/a");
    }

    #[test]
    fn what_people_see_of_a_path_holds_no_raw_bytes() {
        // FS-16
        let path = FsPath::parse(b"/it's/\xff\x1b[2J/\xc3\xa9").unwrap();
        assert_eq!(path.to_string(), "/it's/\\xff\\u{1b}[2J/é");
    }

    proptest! {
        #[test]
        fn a_path_is_read_as_it_is_written(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            // FS-13
            if let Ok(path) = FsPath::parse(&bytes) {
                prop_assert_eq!(&FsPath::parse(&path.to_bytes()).unwrap(), &path);
                for name in path.names() {
                    prop_assert_eq!(EntryName::parse(name.as_bytes()), Ok(name.clone()));
                }
            }
        }
    }
}
