//! Writes a commit of a Git repository, through `git fast-import`.

use std::{
    collections::HashSet,
    fs,
    io::{self, BufWriter, Read, Write},
    path::Path,
    process::{ChildStdin, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use alknet_fs::FsPath;

use super::{
    ArchiveError, LeftOut, Sink, copy_exactly,
    git_run::{Running, git, output},
    sidecar,
};
use crate::files::{
    entry::{Entry, What, relative},
    limits::MAX_SIDECAR_BYTES,
};

/// A commit that is written.
pub struct GitSink {
    running: Running,
    out: BufWriter<ChildStdin>,
    sidecar: Option<String>,
    /// Folders that nothing was put into yet: Git has none of these.
    empty: HashSet<FsPath>,
    left_out: LeftOut,
}

impl GitSink {
    /// Makes a commit with this message on a branch of a repository, which is made if it is not there. With `metadata`, what Git
    /// does not keep goes into a file beside the others.
    pub fn open(repository: &Path, branch: &str, message: &str, metadata: bool) -> Result<Self, ArchiveError> {
        if !repository.exists() {
            fs::create_dir_all(repository).map_err(ArchiveError::disk(repository))?;
            let head = format!("--initial-branch={branch}");
            output(git(repository).args(["init", "--quiet", "--bare", &head, "--template="]), "init", 1 << 20)?;
        }
        output(git(repository).args(["check-ref-format", "--branch", branch]), "check-ref-format", 1 << 20)?;
        let reference = format!("refs/heads/{branch}");
        if is_checked_out(repository, &reference)? {
            return Err(ArchiveError::CannotHold {
                format: "the repository",
                path: branch.to_owned(),
                why: "it is checked out there, and its files would stay as they are: name another branch with --ref, or a bare repository",
            });
        }
        let tip =
            output(git(repository).args(["for-each-ref", "--format=%(objectname)", &reference]), "for-each-ref", 1000)?;
        let mut import = git(repository);
        import.args(["fast-import", "--quiet", "--done", "--date-format=raw"]).stdin(Stdio::piped());
        let mut running = Running::start(&mut import, "fast-import")?;
        let Some(stdin) = running.child.stdin.take() else { return Err(running.fail("it cannot be talked to")) };
        let mut sink = Self {
            running,
            out: BufWriter::with_capacity(128 * 1024, stdin),
            sidecar: metadata.then(sidecar::begin),
            empty: HashSet::new(),
            left_out: LeftOut::default(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let from = if tip.trim_ascii().is_empty() { String::new() } else { format!("from {reference}^0\n") };
        let length = message.len();
        let begin = format!(
            "commit {reference}\ncommitter alknet <alknet@localhost> {now} +0000\ndata {length}\n{message}\n{from}deleteall\n"
        );
        sink.out.write_all(begin.as_bytes()).map_err(lost)?;
        Ok(sink)
    }

    /// Says that a file of so many bytes follows.
    fn begin_file(&mut self, mode: &str, path: &[u8], size: u64) -> io::Result<()> {
        write!(self.out, "M {mode} inline ")?;
        self.out.write_all(&quoted(path))?;
        write!(self.out, "\ndata {size}\n")
    }

    fn whole(&mut self, mode: &str, path: &[u8], content: &[u8]) -> Result<(), ArchiveError> {
        let written = self.begin_file(mode, path, content.len() as u64).and_then(|()| self.out.write_all(content));
        written.and_then(|()| self.out.write_all(b"\n")).map_err(lost)
    }
}

impl Sink for GitSink {
    fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = relative(&entry.path);
        if entry.path.names().iter().any(|name| is_git(name.as_bytes())) {
            self.left_out.add(&path, "Git allows no such name");
            return Ok(());
        }
        if self.sidecar.is_some() && path == sidecar::NAME {
            self.left_out.add(&path, "the metadata takes its place");
            return Ok(());
        }
        if let Some((above, _)) = entry.path.split_last() {
            self.empty.remove(&above);
        }
        if let Some(text) = &mut self.sidecar {
            sidecar::add(text, entry).map_err(|error| lost(error.into()))?;
            if text.len() as u64 > MAX_SIDECAR_BYTES {
                return Err(ArchiveError::CannotHold {
                    format: "Git's metadata file",
                    path: entry.path.to_string(),
                    why: "it would have more than 64 MiB: export it as a tar, or without --metadata",
                });
            }
        } else if !entry.xattrs.is_empty() {
            self.left_out.add(&path, "Git keeps no extended attributes");
        }
        let mode = if entry.mode & 0o111 == 0 { "100644" } else { "100755" };
        match &entry.what {
            What::Folder => {
                if !path.is_empty() {
                    self.empty.insert(entry.path.clone());
                }
                Ok(())
            }
            What::Symlink { target } => self.whole("120000", &path, target),
            What::File { size } | What::HardLink { size, .. } => {
                if self.sidecar.is_none() && matches!(entry.what, What::HardLink { .. }) {
                    self.left_out.add(&path, "Git knows no hard links: it became a copy");
                }
                self.begin_file(mode, &path, *size).map_err(lost)?;
                copy_exactly(&entry.path, *size, content, &mut self.out)?;
                self.out.write_all(b"\n").map_err(lost)
            }
        }
    }

    fn wants_content_of_links(&self) -> bool {
        true
    }

    fn finish(mut self: Box<Self>) -> Result<LeftOut, ArchiveError> {
        let empty = std::mem::take(&mut self.empty);
        if let Some(text) = self.sidecar.take() {
            self.whole("100644", sidecar::NAME, text.as_bytes())?;
        } else {
            for path in empty {
                self.left_out.add(&relative(&path), "Git keeps no empty folders");
            }
        }
        let ended = self.out.write_all(b"done\n").and_then(|()| self.out.flush());
        let Self { running, out, left_out, .. } = *self;
        drop(out);
        match ended {
            Ok(()) => running.finish()?,
            Err(error) => return Err(running.fail(&error.to_string())),
        }
        Ok(left_out)
    }
}

/// Whether a branch is the one whose files lie beside the repository.
fn is_checked_out(repository: &Path, reference: &str) -> Result<bool, ArchiveError> {
    let is_bare = output(git(repository).args(["rev-parse", "--is-bare-repository"]), "rev-parse", 1000)?;
    if is_bare.trim_ascii() == b"true" {
        return Ok(false);
    }
    // A detached HEAD is of no branch.
    let head = output(git(repository).args(["rev-parse", "--symbolic-full-name", "HEAD"]), "rev-parse", 1 << 20);
    Ok(head.is_ok_and(|head| head.trim_ascii() == reference.as_bytes()))
}

/// Names that Git keeps for itself, on any file system.
fn is_git(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name == b".git" || name == b"git~1"
}

/// A path as fast-import reads it.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path {
        match byte {
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', *byte]),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

fn lost(error: io::Error) -> ArchiveError {
    ArchiveError::Git { what: "fast-import".to_owned(), complaint: error.to_string() }
}
