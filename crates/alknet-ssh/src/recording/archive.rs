//! The folder of the recordings.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alknet_core::{Maintenance, Permit, PermitError};
use rustix::{
    fs::{FlockOperation, flock},
    io::retry_on_intr,
    termios::Winsize,
};
use tokio::sync::watch;

use super::{Head, Recorder, RecordingPolicy};
use crate::limits::{
    MAX_LISTED_COMMAND_CHARS, MAX_RECORDING_AGE, MAX_RECORDING_BYTES, MAX_RECORDING_HEAD_BYTES, MAX_RECORDINGS,
    MAX_RECORDINGS_BYTES, RECORDING_PAGE_BYTES,
};

/// The scope for listing and reading recordings.
pub const RECORDINGS_SCOPE: &str = "ssh:recordings";
/// How the files end.
const SUFFIX: &str = ".cast";

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingLimits {
    /// Bytes of one recording; it ends there, the session goes on.
    pub each_bytes: u64,
    /// Bytes of all; the oldest that have ended go first.
    pub all_bytes: u64,
    /// Age at which a recording goes, counted from its end.
    pub age: Duration,
}

impl Default for RecordingLimits {
    fn default() -> Self {
        Self { each_bytes: MAX_RECORDING_BYTES, all_bytes: MAX_RECORDINGS_BYTES, age: MAX_RECORDING_AGE }
    }
}

/// The recordings of a node.
#[derive(Debug, Clone)]
pub struct Recordings {
    folder: PathBuf,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSession {
    /// What it is called.
    pub id: String,
    /// Whose session it was.
    pub identity: String,
    /// The user of the system that it ran as.
    pub user: String,
    /// From where.
    pub address: String,
    /// The command, or its beginning, unless it was a login shell.
    pub command: Option<String>,
    /// When it began, in seconds since 1970.
    pub began_at: u64,
    /// When something was last written, in seconds since 1970.
    pub written_at: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether it is still being written.
    pub live: bool,
}

/// Part of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Whole lines.
    pub text: String,
    /// Where the next page begins; `None` at the end of what there is.
    pub next: Option<u64>,
}

/// Why a recording was not read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There is none of that name.
    #[error("there is no recording `{}`", .0.escape_debug())]
    Unknown(String),
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The folder or a file could not be read.
    #[error("the recordings in {} cannot be read", folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Recordings {
    /// Names the folder; touches nothing.
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// At most `limit` recordings, the newest first, beginning with the one after `before`. Needs [`RECORDINGS_SCOPE`]. Blocks.
    pub fn list(
        &self,
        permit: &Permit,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RecordedSession>, RecordingError> {
        permit.require(RECORDINGS_SCOPE)?;
        let mut ids = self.ids().map_err(|source| self.unreadable(source))?;
        ids.sort_by(|one, other| age_order(other).cmp(&age_order(one)));
        let wanted = ids.into_iter().filter(|id| before.is_none_or(|before| age_order(id) < age_order(before)));
        Ok(wanted.filter_map(|id| self.describe(id)).take(limit).collect())
    }

    /// Lines of a recording from the byte `offset` on, which is 0 or where a page before ended. Needs [`RECORDINGS_SCOPE`]. Blocks.
    pub fn read(&self, permit: &Permit, id: &str, offset: u64) -> Result<Page, RecordingError> {
        permit.require(RECORDINGS_SCOPE)?;
        let unknown = || RecordingError::Unknown(id.chars().take(128).collect());
        let path = self.path(id).ok_or_else(unknown)?;
        match page(&path, offset) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
            page => page.map_err(|source| self.unreadable(source)),
        }
    }

    /// Throws away what is too old or too much. What is still being written stays. Blocks.
    pub fn prune(&self, _task: &Maintenance, limits: &RecordingLimits) -> io::Result<()> {
        prune(&self.folder, limits, SystemTime::now())
    }

    fn unreadable(&self, source: io::Error) -> RecordingError {
        RecordingError::Unreadable { folder: self.folder.clone(), source }
    }

    fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let id_of =
            |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.strip_suffix(SUFFIX).map(str::to_owned);
        Ok(entries.filter_map(id_of).filter(|id| is_id(id)).collect())
    }

    fn path(&self, id: &str) -> Option<PathBuf> {
        is_id(id).then(|| self.folder.join(format!("{id}{SUFFIX}")))
    }

    /// What the first line and the file system say; `None` for what is no recording, and for one that is thrown away meanwhile.
    fn describe(&self, id: String) -> Option<RecordedSession> {
        let file = open(&self.path(&id)?).ok()?;
        let (metadata, live) = (file.metadata().ok()?, is_live(&file));
        let mut line = Vec::new();
        BufReader::new(file.take(MAX_RECORDING_HEAD_BYTES)).read_until(b'\n', &mut line).ok()?;
        let head: Head = serde_json::from_slice(&line).ok()?;
        Some(RecordedSession {
            id,
            identity: head.alknet.identity,
            user: head.alknet.user,
            address: head.alknet.address,
            command: head.command.map(|command| command.chars().take(MAX_LISTED_COMMAND_CHARS).collect()),
            began_at: head.timestamp,
            written_at: metadata.modified().map_or(0, unix_seconds),
            bytes: metadata.len(),
            live,
        })
    }
}

/// Makes the file of a new recording and starts to write it. Fails where it could not be kept. Blocks.
pub(crate) fn begin(policy: &RecordingPolicy, head: &Head, sizes: watch::Receiver<Winsize>) -> io::Result<Recorder> {
    DirBuilder::new().recursive(true).mode(0o700).create(&policy.folder)?;
    if let Err(error) = prune(&policy.folder, &policy.limits, SystemTime::now()) {
        tracing::warn!(%error, "old recordings were not thrown away");
    }
    let file = create(&policy.folder, &format!("{}-{}", head.timestamp, head.alknet.identity))?;
    let line = head.line();
    file.write_all_at(line.as_bytes(), 0)?;
    (&file).seek(SeekFrom::End(0))?;
    let left = policy.limits.each_bytes.saturating_sub(line.len() as u64);
    Ok(Recorder::start(file.into(), left, sizes))
}

/// Makes a file and takes its lock, which says that it is being written. Blocks.
fn create(folder: &Path, name: &str) -> io::Result<File> {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    for id in std::iter::once(name.to_owned()).chain(numbered) {
        let path = folder.join(format!("{id}{SUFFIX}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // Who looks whether it is being written holds the lock for a moment, and may throw away what was not locked yet.
                retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
                if file.metadata()?.nlink() > 0 {
                    return Ok(file);
                }
            }
        }
    }
    Err(io::Error::other("the numbers ran out"))
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Whether its writer still holds the file's lock. If not, nobody takes it before `file` is closed.
fn is_live(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared).is_err()
}

fn page(path: &Path, offset: u64) -> io::Result<Page> {
    let file = open(path)?;
    if offset >= file.metadata()?.len() {
        return Ok(Page { text: String::new(), next: None });
    }
    let mut bytes = vec![0; RECORDING_PAGE_BYTES];
    let read = read_at(&file, &mut bytes, offset)?;
    // A line that is not whole yet is not told yet.
    let whole = bytes[..read].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    let next = (whole > 0).then_some(offset.saturating_add(whole as u64));
    Ok(Page { text: String::from_utf8_lossy(&bytes).into_owned(), next })
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset.saturating_add(filled as u64))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Removes what is too old, then the oldest of what is too much; but nothing that is still being written.
fn prune(folder: &Path, limits: &RecordingLimits, now: SystemTime) -> io::Result<()> {
    let mut found = Vec::new();
    for id in Recordings::at(folder.to_owned()).ids()? {
        let path = folder.join(format!("{id}{SUFFIX}"));
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            found.push((metadata.modified()?, metadata.len(), path));
        }
    }
    found.sort();
    let (mut all, mut number) = (found.iter().map(|(_, bytes, _)| bytes).sum::<u64>(), found.len());
    for (written, bytes, path) in found {
        let old = now.duration_since(written).is_ok_and(|age| age > limits.age);
        let too_much = all > limits.all_bytes || number > MAX_RECORDINGS;
        if !(old || too_much) {
            continue;
        }
        // Kept open, and so locked, until it is gone. Somebody else may throw it away, too.
        let gone = match open(&path) {
            Ok(file) if is_live(&file) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _file => fs::remove_file(path),
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (all, number) = (all - bytes, number - 1),
        }
    }
    Ok(())
}

/// What puts names into the order in which the recordings began.
fn age_order(id: &str) -> (u64, &str) {
    let digits = id.bytes().take_while(u8::is_ascii_digit).count();
    (id[..digits].parse().unwrap_or(u64::MAX), &id[digits..])
}

/// A recording is called by the second of its beginning and its peer: nothing that leads out of the folder.
fn is_id(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    text.starts_with(|c: char| c.is_ascii_digit()) && text.len() <= 128 && text.bytes().all(good)
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    fn file(folder: &Path, id: &str, bytes: usize, age_s: u64) -> PathBuf {
        let path = folder.join(format!("{id}{SUFFIX}"));
        fs::write(&path, "x".repeat(bytes)).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age_s);
        File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        path
    }

    /// SES-45.
    #[test]
    fn the_old_go_and_then_the_oldest_of_too_much_but_never_a_live_one() {
        let dir = tempfile::tempdir().unwrap();
        let limits = RecordingLimits { each_bytes: 0, all_bytes: 1250, age: Duration::from_secs(1000) };
        let old = file(dir.path(), "1-a", 10, 2000);
        let live = file(dir.path(), "2-a", 1000, 3000);
        let (oldest, newer, newest) =
            (file(dir.path(), "3-a", 100, 30), file(dir.path(), "4-a", 100, 20), file(dir.path(), "5-a", 100, 10));
        let foreign = dir.path().join("notes.txt");
        fs::write(&foreign, "x").unwrap();
        let held = File::open(&live).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        prune(dir.path(), &limits, SystemTime::now()).unwrap();
        assert!(!old.exists() && !oldest.exists());
        assert!(live.exists() && newer.exists() && newest.exists() && foreign.exists());
        drop(held);
        prune(dir.path(), &limits, SystemTime::now()).unwrap();
        assert!(!live.exists());
        prune(&dir.path().join("nowhere"), &limits, SystemTime::now()).unwrap();
    }

    /// SES-45, SES-47: whoever lists and throws away at that moment takes no new recording away, and keeps none from beginning.
    #[test]
    fn a_recording_begins_whoever_looks_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-a.cast");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let Ok(file) = open(&path) else { continue };
                    if !is_live(&file) {
                        fs::remove_file(&path).unwrap();
                    }
                }
            });
            let begun = (0..2000).all(|_| {
                while path.exists() {
                    std::hint::spin_loop();
                }
                create(dir.path(), "1-a").is_ok_and(|file| file.metadata().unwrap().nlink() == 1)
            });
            done.store(true, Relaxed);
            assert!(begun);
        });
    }

    /// SES-46.
    #[test]
    fn names_are_in_the_order_of_time() {
        let mut ids = ["10-a", "9-b", "9-a-2", "9-a", "123-a"];
        ids.sort_by(|one, other| age_order(one).cmp(&age_order(other)));
        assert_eq!(ids, ["9-a", "9-a-2", "9-b", "10-a", "123-a"]);
    }

    /// SES-46.
    #[test]
    fn ids_lead_nowhere_else() {
        assert!(is_id("1795320000-alice-2") && is_id("1-a.b"));
        for bad in ["", "..", "../1", "1/2", "a", "1-A", "1_", "1\0", &"1".repeat(129)] {
            assert!(!is_id(bad), "{bad}");
        }
        assert_eq!(Recordings::at("/r".into()).path("7-a"), Some("/r/7-a.cast".into()));
    }

    /// SES-46.
    #[test]
    fn pages_are_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-a.cast");
        let line = format!("{}\n", "x".repeat(RECORDING_PAGE_BYTES / 3));
        fs::write(&path, format!("{}half", line.repeat(5))).unwrap();
        let (mut offset, mut whole, mut pages) = (0, String::new(), 0);
        while let Some(next) = {
            let page = page(&path, offset).unwrap();
            whole.push_str(&page.text);
            page.next
        } {
            (offset, pages) = (next, pages + 1);
        }
        assert_eq!((whole, pages), (line.repeat(5), 3));
        assert_eq!(page(&path, u64::MAX).unwrap().next, None);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("2-a.cast")).unwrap();
        assert!(page(&dir.path().join("2-a.cast"), 0).is_err());
    }
}
