//! Reads a commit of a Git repository, through the `git` program.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Stdio},
    sync::{Arc, atomic::AtomicU64},
};

use alknet_fs::{Escaped, FsPath};

use super::{
    ArchiveError, LeftOut, Source, Take,
    budget::{Budget, tell_bomb},
    git_run::{Running, git, output},
    sidecar::{self, Said},
};
use crate::files::{
    entry::{Entry, What, Xattrs, foreign_path, relative},
    limits::{MAX_LINK_BYTES, MAX_SIDECAR_BYTES, MAX_UNFOLDED_BYTES_ANYWAY},
};

/// Longest line of a list of a tree, in bytes: its path is the most of it.
const MAX_LINE_BYTES: u64 = 300_000;

/// A commit of a repository as an archive.
pub struct GitSource {
    repository: PathBuf,
    commit: String,
    time_ns: i64,
    said: Option<BTreeMap<FsPath, Said>>,
    pub(super) budget: Budget,
}

impl GitSource {
    /// Opens what `reference` (or else the repository itself) points to; with `metadata`, what [`sidecar`] says counts.
    pub fn open(repository: &Path, reference: Option<&str>, metadata: bool) -> Result<Self, ArchiveError> {
        let spec = format!("{}^{{commit}}", reference.unwrap_or("HEAD"));
        let mut resolve = git(repository);
        resolve.args(["rev-parse", "--verify", "--end-of-options", &spec]);
        let commit = output(&mut resolve, "rev-parse", 1000).map_err(|error| match (error, reference) {
            (ArchiveError::Git { complaint, .. }, Some(name)) => {
                ArchiveError::Git { what: format!("finds no commit {}", Escaped(name.as_bytes())), complaint }
            }
            (error, _) => error,
        })?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        let mut show = git(repository);
        show.args(["cat-file", "commit", &commit]);
        let text = output(&mut show, "cat-file commit", 16 * 1024 * 1024)?;
        let time_ns = committed(&text).ok_or_else(|| damaged("its commit has no time"))?;
        let said = metadata.then(|| read_sidecar(repository, &commit)).transpose()?;
        let budget = Budget::new(Arc::new(AtomicU64::new(folded_bytes(repository)?)));
        Ok(Self { repository: repository.to_owned(), commit, time_ns, said, budget })
    }

    fn entry(&mut self, path: FsPath, what: What, mode: u16) -> Entry {
        let mtime_ns = self.time_ns;
        let entry = Entry { path, what, mode, mtime_ns, xattrs: Xattrs::new() };
        match self.said.as_mut().and_then(|said| said.remove(&entry.path)) {
            Some(said) => Entry { mode: said.mode, mtime_ns: said.mtime_ns, xattrs: said.xattrs, ..entry },
            None => entry,
        }
    }
}

impl Source for GitSource {
    fn each(&mut self, left_out: &mut LeftOut, take: Take<'_>) -> Result<(), ArchiveError> {
        let mut list = git(&self.repository);
        list.args(["ls-tree", "-r", "-t", "-z", "--full-tree", &self.commit]);
        let mut list = Running::start(&mut list, "ls-tree")?;
        let mut contents = Contents::start(&self.repository)?;
        let lines = list.child.stdout.take().ok_or_else(|| damaged("git gives no list"))?;
        let mut lines = BufReader::new(lines);
        let mut seen = HashSet::new();
        if self.said.is_some() {
            let root = self.entry(FsPath::ROOT, What::Folder, 0o755);
            take(root, &mut io::empty())?;
        }
        while let Some((mode, id, name)) = next_line(&mut lines)? {
            self.budget.entry()?;
            if self.said.is_some() && name == sidecar::NAME {
                continue;
            }
            let Some(path) = foreign_path(&name) else {
                left_out.add(&name, "its name leads out of the archive, or is none");
                continue;
            };
            let link = self.said.as_ref().and_then(|said| said.get(&path)?.link.clone());
            let first = link.filter(|to| seen.contains(to));
            match (mode.as_str(), first) {
                ("040000", _) => {
                    let folder = self.entry(path, What::Folder, 0o755);
                    take(folder, &mut io::empty())?;
                }
                ("160000", _) => left_out.add(&name, "it is another repository"),
                (_, Some(to)) => {
                    let link = self.entry(path, What::HardLink { to, size: 0 }, 0o644);
                    take(link, &mut io::empty())?;
                }
                (mode, None) => {
                    let (size, mut content) = contents.of(&id)?;
                    let what = if mode == "120000" {
                        let mut target = Vec::new();
                        (&mut content).take(MAX_LINK_BYTES as u64 + 1).read_to_end(&mut target).map_err(lost)?;
                        What::Symlink { target }
                    } else {
                        What::File { size }
                    };
                    let bad = |target: &[u8]| target.is_empty() || target.len() > MAX_LINK_BYTES || target.contains(&0);
                    if let What::Symlink { target } = &what
                        && bad(target)
                    {
                        left_out.add(&name, "it is a link to nothing that can be named");
                    } else {
                        let usual = match mode {
                            "120000" => 0o777,
                            "100755" => 0o755,
                            _ => 0o644,
                        };
                        if self.said.is_some() {
                            seen.insert(path.clone());
                        }
                        let entry = self.entry(path, what, usual);
                        take(entry, &mut self.budget.reading(&mut content)).map_err(tell_bomb)?;
                    }
                    self.budget.made(content.limit())?;
                    io::copy(&mut content, &mut io::sink()).map_err(lost)?;
                    contents.end()?;
                }
            }
        }
        list.finish()?;
        contents.finish()?;
        // What the sidecar has and the tree has not are empty folders.
        for (path, said) in self.said.take().unwrap_or_default() {
            if !said.is_folder {
                left_out.add(&relative(&path), "the metadata names it, but the commit does not have it");
                continue;
            }
            let entry =
                Entry { path, what: What::Folder, mode: said.mode, mtime_ns: said.mtime_ns, xattrs: said.xattrs };
            take(entry, &mut io::empty())?;
        }
        Ok(())
    }
}

/// One `git cat-file --batch` for all contents.
struct Contents {
    running: Running,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contents {
    fn start(repository: &Path) -> Result<Self, ArchiveError> {
        let mut command = git(repository);
        command.args(["cat-file", "--batch"]).stdin(Stdio::piped());
        let mut running = Running::start(&mut command, "cat-file")?;
        let (Some(ask), Some(answers)) = (running.child.stdin.take(), running.child.stdout.take()) else {
            return Err(damaged("git cannot be talked to"));
        };
        Ok(Self { running, ask, answers: BufReader::with_capacity(128 * 1024, answers) })
    }

    /// The size and content of an object.
    fn of(&mut self, id: &str) -> Result<(u64, io::Take<&mut BufReader<ChildStdout>>), ArchiveError> {
        self.ask.write_all(format!("{id}\n").as_bytes()).map_err(lost)?;
        let mut line = Vec::new();
        (&mut self.answers).take(1000).read_until(b'\n', &mut line).map_err(lost)?;
        let line = String::from_utf8_lossy(&line);
        let size = line.trim().strip_prefix(id).and_then(|rest| rest.strip_prefix(" blob ")?.parse().ok());
        let size = size.ok_or_else(|| damaged(&format!("it does not have the object {id}")))?;
        Ok((size, (&mut self.answers).take(size)))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut line_feed = [0];
        self.answers.read_exact(&mut line_feed).map_err(lost)
    }

    fn finish(self) -> Result<(), ArchiveError> {
        drop(self.ask);
        self.running.finish()
    }
}

/// The next entry of a list: mode, object and path.
fn next_line(lines: &mut impl BufRead) -> Result<Option<(String, String, Vec<u8>)>, ArchiveError> {
    let mut line = Vec::new();
    lines.take(MAX_LINE_BYTES).read_until(0, &mut line).map_err(lost)?;
    if line.is_empty() {
        return Ok(None);
    }
    let parsed = || {
        let line = line.strip_suffix(b"\0")?;
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
        let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
        Some((mode.to_owned(), id.to_owned(), line[tab + 1..].to_vec()))
    };
    parsed().map(Some).ok_or_else(|| damaged("its list of a tree cannot be read"))
}

/// How many bytes the objects of a repository have on the disk, with those that it borrows from others.
fn folded_bytes(repository: &Path) -> Result<u64, ArchiveError> {
    let counted = output(git(repository).args(["count-objects", "-v"]), "count-objects", 1 << 20)?;
    let mut kibibytes = 0_u64;
    for line in String::from_utf8_lossy(&counted).lines() {
        match line.split_once(": ") {
            Some(("size" | "size-pack", number)) => {
                kibibytes = kibibytes.saturating_add(number.parse().unwrap_or_default());
            }
            // What others have is not counted there.
            Some(("alternate", _)) => kibibytes = kibibytes.saturating_add(MAX_UNFOLDED_BYTES_ANYWAY / 1024),
            _ => {}
        }
    }
    Ok(kibibytes.saturating_mul(1024))
}

fn read_sidecar(repository: &Path, commit: &str) -> Result<BTreeMap<FsPath, Said>, ArchiveError> {
    let mut command = git(repository);
    let spec = format!("{commit}:{}", String::from_utf8_lossy(sidecar::NAME));
    command.args(["cat-file", "blob", &spec]);
    sidecar::read(&output(&mut command, "cat-file .alknet-metadata", MAX_SIDECAR_BYTES)?)
}

/// The committer's time, in nanoseconds since 1970.
fn committed(commit: &[u8]) -> Option<i64> {
    let headers = commit.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let line = headers.into_iter().find(|line| line.starts_with(b"committer "))?;
    let after_name = line.rsplit(|byte| *byte == b'>').next()?;
    let seconds: i64 = std::str::from_utf8(after_name).ok()?.split_whitespace().next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)
}

fn damaged(what: &str) -> ArchiveError {
    ArchiveError::Damaged { format: "git", what: what.to_owned() }
}

fn lost(error: io::Error) -> ArchiveError {
    ArchiveError::Git { what: "cat-file".to_owned(), complaint: error.to_string() }
}
