//! Archives that somebody hands in: whatever they say, each entry is one that the file system can have, or they are damaged.

use std::io::{Cursor, Read, Write};

use crate::files::{
    archive::{ArchiveError, LeftOut, Source, TarSource, ZipSource},
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
