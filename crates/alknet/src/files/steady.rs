//! A file of the disk as it was at one moment, or not at all.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, Take};

/// What differs between two states of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its length, in bytes.
    pub size: u64,
    /// When its content was changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    changed: (i64, i64),
}

impl Stamp {
    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let mtime_ns = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Ok(Self { size: found.len(), mtime_ns, changed: (found.ctime(), found.ctime_nsec()) })
    }
}

/// What is said of a file that was not the same all the time.
pub fn changed() -> io::Error {
    io::Error::other("it changed while it was read")
}

/// Reads a file, and ends in an error unless it stayed as it was: what was read is then no state that it ever had.
pub struct Steady {
    inner: Take<tokio::fs::File>,
    file: File,
    stamp: Stamp,
    /// Why it could not be read to its end.
    pub trouble: Option<String>,
}

impl Steady {
    /// Opens a file; `as_of`: how it was when it was read before, and how long.
    pub fn open(place: &Path, as_of: Option<(Stamp, u64)>) -> io::Result<Self> {
        let file = File::open(place)?;
        let stamp = Stamp::of(&file)?;
        if as_of.is_some_and(|(before, _)| before != stamp) {
            return Err(changed());
        }
        let size = as_of.map_or(stamp.size, |(_, size)| size);
        let inner = tokio::fs::File::from_std(file.try_clone()?).take(size);
        Ok(Self { inner, file, stamp, trouble: None })
    }

    /// How it is.
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Goes on behind this byte; nothing was read before.
    pub fn skip(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.inner.set_limit(self.inner.limit().saturating_sub(offset));
        Ok(())
    }

    /// Once it was read to its end.
    fn end(&self) -> io::Result<()> {
        if self.inner.limit() == 0 && Stamp::of(&self.file)? == self.stamp { Ok(()) } else { Err(changed()) }
    }
}

impl AsyncRead for Steady {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let mut read = ready!(Pin::new(&mut self.inner).poll_read(context, buf));
        if read.is_ok() && room > 0 && buf.filled().len() == before {
            read = self.end();
        }
        if let Err(error) = &read {
            self.trouble = Some(error.to_string());
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What comes of a file of which `change` is done when half was read.
    async fn read(place: &Path, change: impl FnOnce()) -> io::Result<Vec<u8>> {
        fs::write(place, vec![7; 300_000]).unwrap();
        let mut steady = Steady::open(place, None)?;
        let mut bytes = vec![0; 150_000];
        steady.read_exact(&mut bytes).await?;
        change();
        let read = steady.read_to_end(&mut bytes).await;
        assert_eq!(steady.trouble, read.as_ref().err().map(ToString::to_string));
        read.map(|_| bytes)
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_is_not_read() {
        // ARCH-53
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        assert_eq!(read(&place, || ()).await.unwrap(), [7; 300_000]);
        let file = || fs::OpenOptions::new().write(true).open(&place).unwrap();
        let changes: [&dyn Fn(); 4] = [
            &|| file().set_len(200_000).unwrap(),
            &|| file().set_len(100).unwrap(),
            &|| file().set_len(400_000).unwrap(),
            // Of the same length and with the old time again.
            &|| {
                let (before, old) = (Stamp::of(&file()).unwrap(), fs::metadata(&place).unwrap().modified().unwrap());
                // Until the file system's clock has gone on.
                while Stamp::of(&file()).unwrap() == before {
                    io::Write::write_all(&mut file(), b"new").unwrap();
                    file().set_modified(old).unwrap();
                }
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(read(&place, change).await.unwrap_err().to_string(), changed().to_string(), "{number}");
        }
    }

    #[tokio::test]
    async fn what_was_read_before_is_what_is_sent() {
        // ARCH-53
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        fs::write(&place, "0123456789").unwrap();
        let stamp = Steady::open(&place, None).unwrap().stamp();
        let mut rest = String::new();
        let mut steady = Steady::open(&place, Some((stamp, 10))).unwrap();
        steady.skip(7).unwrap();
        steady.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "789");
        fs::write(&place, "0123456789a").unwrap();
        assert!(Steady::open(&place, Some((stamp, 10))).is_err());
    }
}
