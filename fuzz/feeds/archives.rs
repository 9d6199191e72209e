//! Archives that somebody hands in: whatever they say, each entry is one that the file system can have, or they are damaged.

use std::io::{Cursor, Read, Write};

use crate::files::{
    archive::{ArchiveError, LeftOut, Source, TarSource, ZipSource, sidecar},
    entry::{Entry, What, xattrs_fit},
    limits::MAX_LINK_BYTES,
};

/// Content that is read of one archive, in bytes: what it may unfold to is tried elsewhere.
const MOST: u64 = 1 << 20;

pub fn archive_tar(data: &[u8]) {
    if let Ok(mut source) = TarSource::new(Cursor::new(data.to_vec())) {
        read(&mut source);
    }
}

pub fn archive_zip(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a file for a moment");
    file.write_all(data).expect("a writable file");
    if let Ok(mut source) = ZipSource::open(file.path()) {
        read(&mut source);
    }
}

/// What a Git repository's own file says of its entries.
pub fn fs_sidecar(data: &[u8]) {
    let said = match sidecar::read(data) {
        Ok(said) => said,
        Err(error) => return assert!(error.to_string().len() < 200),
    };
    let mut text = sidecar::begin();
    for (path, said) in &said {
        // An entry is one of these; a line that calls a folder a link is read as it stands, and written as a link.
        let what = match &said.link {
            Some(to) => What::HardLink { to: to.clone(), size: 0 },
            None if said.is_folder => What::Folder,
            None => What::File { size: 0 },
        };
        let (mode, mtime_ns, xattrs) = (said.mode, said.mtime_ns, said.xattrs.clone());
        let entry = Entry { path: path.clone(), what, mode, mtime_ns, xattrs };
        check(&entry);
        sidecar::add(&mut text, &entry).expect("an entry can be written");
    }
    let again = sidecar::read(text.as_bytes()).expect("a written sidecar reads back");
    assert_eq!(again.len(), said.len());
    for (path, again) in again {
        let wanted = &said[&path];
        assert_eq!((&again.link, again.mode, again.mtime_ns), (&wanted.link, wanted.mode, wanted.mtime_ns));
        assert_eq!(again.xattrs, wanted.xattrs);
        assert_eq!(again.is_folder, wanted.is_folder && wanted.link.is_none());
    }
}

fn read(source: &mut dyn Source) {
    let (mut left_out, mut unfolded) = (LeftOut::default(), 0);
    let outcome = source.each(&mut left_out, &mut |entry, content| {
        check(&entry);
        let room = MOST - unfolded;
        unfolded +=
            std::io::copy(&mut content.take(room), &mut std::io::sink()).map_err(ArchiveError::content(&entry.path))?;
        if unfolded < MOST { Ok(()) } else { Err(ArchiveError::Stopped) }
    });
    assert!(left_out.shown.iter().all(|(name, _)| !name.contains(char::is_control)));
    if let Err(error) = outcome {
        assert!(!error.to_string().is_empty());
    }
}

fn check(entry: &Entry) {
    assert!(entry.mode <= 0o7777 && xattrs_fit(&entry.xattrs));
    if let What::Symlink { target } = &entry.what {
        assert!((1..=MAX_LINK_BYTES).contains(&target.len()) && !target.contains(&0));
    }
}
