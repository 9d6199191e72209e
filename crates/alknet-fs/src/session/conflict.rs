//! What becomes of a session whose file is no longer what it was when the session began.

use crate::{
    ids::{BlobId, Ino, Seq},
    path::EntryName,
    tree::OnConflict,
};

/// A file as somebody sees it: content that is the same again is no other version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub ino: Ino,
    /// Its content; `None`: it is empty.
    pub blob: Option<BlobId>,
}

/// What a session began from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// The file that was there; `None`: nothing was.
    pub base: Option<Seen>,
    /// Whether it writes to that file whatever it is called, rather than to its name whatever that stands for.
    pub follows: bool,
    /// Whether there must not be a file yet.
    pub exclusive: bool,
}

/// What is there when it ends: under its name, or of its inode if it follows that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No entry, or no name any more.
    Nothing,
    /// A file.
    File(Seen),
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
}

/// Where the content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To a new file of the session's name.
    Create,
    /// To this file.
    Rewrite(Ino),
    /// To a new file beside that which is there.
    Beside,
    /// Nowhere: the file has no name any more, and goes with its last handle.
    Nowhere,
}

/// Why it goes nowhere, against the writer's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is a file where there must not be one.
    Exists,
    /// There is a folder.
    IsFolder,
    /// Somebody else wrote since the session began, and the bucket does not allow that.
    Moved,
}

/// Says where a session's content goes.
pub(crate) fn settle(began: Began, found: Found, policy: OnConflict) -> Result<Verdict, Refusal> {
    if began.exclusive && found != Found::Nothing {
        return Err(Refusal::Exists);
    }
    let unmoved = match (began.base, found) {
        (None, Found::Nothing) => true,
        (Some(base), Found::File(seen)) => base == seen,
        _ => false,
    };
    match found {
        Found::Nothing if began.follows => Ok(Verdict::Nowhere),
        Found::Nothing if unmoved || policy != OnConflict::Fail => Ok(Verdict::Create),
        Found::File(seen) if unmoved || policy == OnConflict::Lww => Ok(Verdict::Rewrite(seen.ino)),
        Found::Folder if policy != OnConflict::KeepBoth => Err(Refusal::IsFolder),
        Found::File(_) | Found::Folder | Found::Symlink if policy == OnConflict::KeepBoth => Ok(Verdict::Beside),
        Found::Nothing | Found::File(_) | Found::Folder | Found::Symlink => Err(Refusal::Moved),
    }
}

/// The name of content that is kept beside an entry: `report.txt` becomes `report.conflict-12.txt`, with the number of the commit,
/// and `report.conflict-12-2.txt` where that is taken.
pub(crate) fn beside(name: &EntryName, seq: Seq, attempt: u32) -> EntryName {
    let mark = if attempt < 2 { format!(".conflict-{seq}") } else { format!(".conflict-{seq}-{attempt}") };
    let name = crate::beside::beside(name.as_bytes(), &mark);
    EntryName::parse(&name).expect("because it was cut to fit, and has no byte that the name had not")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_ENTRY_NAME_BYTES;

    const FILE: Seen = Seen { ino: Ino::ROOT, blob: Some(BlobId(1)) };
    const SAME_FILE_OTHER_CONTENT: Seen = Seen { ino: Ino::ROOT, blob: Some(BlobId(2)) };
    const ALL: [OnConflict; 3] = [OnConflict::Lww, OnConflict::Fail, OnConflict::KeepBoth];

    fn put(base: Option<Seen>) -> Began {
        Began { base, follows: false, exclusive: false }
    }
    fn edit(base: Seen) -> Began {
        Began { base: Some(base), follows: true, exclusive: false }
    }

    #[test]
    fn what_nobody_touched_is_written_whatever_the_policy() {
        // SESS-20
        for policy in ALL {
            assert_eq!(settle(put(None), Found::Nothing, policy), Ok(Verdict::Create));
            assert_eq!(settle(put(Some(FILE)), Found::File(FILE), policy), Ok(Verdict::Rewrite(FILE.ino)));
            assert_eq!(settle(edit(FILE), Found::File(FILE), policy), Ok(Verdict::Rewrite(FILE.ino)));
        }
    }

    #[test]
    fn the_policy_says_who_wins() {
        // SESS-21, SESS-22, SESS-23
        let moved = Found::File(SAME_FILE_OTHER_CONTENT);
        for began in [put(None), put(Some(FILE)), edit(FILE)] {
            assert_eq!(settle(began, moved, OnConflict::Lww), Ok(Verdict::Rewrite(FILE.ino)), "{began:?}");
            assert_eq!(settle(began, moved, OnConflict::Fail), Err(Refusal::Moved), "{began:?}");
            assert_eq!(settle(began, moved, OnConflict::KeepBoth), Ok(Verdict::Beside), "{began:?}");
        }
        // The name was removed: there is nothing to keep beside.
        assert_eq!(settle(put(Some(FILE)), Found::Nothing, OnConflict::Lww), Ok(Verdict::Create));
        assert_eq!(settle(put(Some(FILE)), Found::Nothing, OnConflict::Fail), Err(Refusal::Moved));
        assert_eq!(settle(put(Some(FILE)), Found::Nothing, OnConflict::KeepBoth), Ok(Verdict::Create));
        // Something that is no file took the name.
        assert_eq!(settle(put(None), Found::Folder, OnConflict::Lww), Err(Refusal::IsFolder));
        assert_eq!(settle(put(None), Found::Folder, OnConflict::KeepBoth), Ok(Verdict::Beside));
        assert_eq!(settle(put(None), Found::Symlink, OnConflict::Lww), Err(Refusal::Moved));
        assert_eq!(settle(put(None), Found::Symlink, OnConflict::KeepBoth), Ok(Verdict::Beside));
    }

    #[test]
    fn an_exclusive_creation_never_writes_over_anything() {
        // SESS-24
        let began = Began { base: None, follows: false, exclusive: true };
        for policy in ALL {
            for found in [Found::File(FILE), Found::Folder, Found::Symlink] {
                assert_eq!(settle(began, found, policy), Err(Refusal::Exists));
            }
            assert_eq!(settle(began, Found::Nothing, policy), Ok(Verdict::Create));
        }
    }

    #[test]
    fn an_unlinked_file_is_written_nowhere() {
        // SESS-31
        for policy in ALL {
            assert_eq!(settle(edit(FILE), Found::Nothing, policy), Ok(Verdict::Nowhere));
        }
    }

    #[test]
    fn a_name_beside_another_keeps_its_extension_and_fits() {
        // SESS-23
        let name = |text: &[u8]| EntryName::parse(text).unwrap();
        let seq = Seq::new(12).unwrap();
        for (from, to) in [
            ("report.txt", "report.conflict-12.txt"),
            ("report", "report.conflict-12"),
            (".profile", ".profile.conflict-12"),
            ("a.b.c", "a.b.conflict-12.c"),
            ("2026.a rather long sentence", "2026.a rather long sentence.conflict-12"),
        ] {
            assert_eq!(beside(&name(from.as_bytes()), seq, 1), name(to.as_bytes()));
        }
        for (attempt, to) in [(1, "a.conflict-12.b"), (2, "a.conflict-12-2.b"), (3, "a.conflict-12-3.b")] {
            assert_eq!(beside(&name(b"a.b"), seq, attempt), name(to.as_bytes()));
        }
        let long = beside(&name("é".repeat(127).as_bytes()), Seq::MAX, u32::MAX);
        assert!(std::str::from_utf8(long.as_bytes()).is_ok() && long.as_bytes().len() <= MAX_ENTRY_NAME_BYTES);
        let bytes = beside(&name(&[0xff; MAX_ENTRY_NAME_BYTES]), seq, 1);
        assert_eq!(bytes.as_bytes().len(), MAX_ENTRY_NAME_BYTES);
    }
}
