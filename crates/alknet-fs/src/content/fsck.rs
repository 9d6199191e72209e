//! Checks what is stored against what is written down of it, while others read and write.

use std::{fmt, io, path::Path};

use alknet_core::Maintenance;
use alknet_store::{Durability, Rights};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    Content, Inner, blocking,
    disk::{DiskFile, read_exact_at},
    folders::{BlobName, SpoolName},
    hasher::TreeHasher,
    janitor::remove_orphan,
    outboard::outboard_bytes,
};
use crate::{
    error::{Damage, Errno, FsError},
    hash::ContentHash,
    ids::BlobId,
    limits::{COPY_BUFFER_BYTES, FILES_LOOKED_UP_AT_ONCE, MAX_UNKNOWN_SHOWN},
    rows::blob::{self, BlobRow, Miscount, State},
};

const TASK: Maintenance = Maintenance::of("fs-fsck");

/// What to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Check {
    /// Reads all content and hashes it, instead of looking for its files only.
    pub deep: bool,
    /// Puts counts right, makes outboards anew and removes files that no row names. Content that is damaged stays so: it is set aside
    /// until equal content comes, or until it is found whole again.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Content cannot be read whole.
    Damaged {
        /// Which.
        hash: ContentHash,
        /// What is wrong with it.
        why: String,
    },
    /// The outboard is missing or wrong, but the content is whole.
    Outboard {
        /// Of which content.
        hash: ContentHash,
    },
    /// A count of references is wrong.
    References {
        /// To which content.
        hash: ContentHash,
        /// Whether it is that of one branch.
        of_branch: bool,
        /// What is written down.
        stored: u64,
        /// What is so.
        counted: u64,
    },
    /// Versions of files name content that has no row.
    Unknown {
        /// The number by which they name it.
        number: i64,
    },
    /// A file in `blobs/` that no row names.
    Orphan {
        /// Its path in the folder of content.
        file: String,
    },
    /// Something in `blobs/` that this program does not put there.
    Strange {
        /// Its path in the folder of content.
        file: String,
    },
}

/// A finding, and whether it was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub finding: Finding,
    /// Whether it is so no more.
    pub repaired: bool,
}

/// Where findings go. Nobody may be there any more: then it is of no use to go on.
type Findings = mpsc::Sender<Found>;

impl Content {
    /// Checks everything. Findings go to `findings` as they are found; when its receiver is dropped the check ends. Answers how much
    /// content was checked.
    ///
    /// # Errors
    /// Fails with the database, and when a folder cannot be listed.
    pub async fn check(&self, how: Check, findings: Findings) -> Result<u64, FsError> {
        let (mut checked, mut after) = (0, BlobId(0));
        loop {
            let read = move |sql: &Connection| -> Result<_, FsError> {
                let rows = blob::page(sql, after, FILES_LOOKED_UP_AT_ONCE)?;
                let until = rows.last().map_or(BlobId(i64::MAX), |row| row.id);
                Ok((blob::miscounts(sql, after, until)?, rows))
            };
            let (miscounts, rows) = self.0.tables.read(read).await?;
            if findings.is_closed() {
                return Ok(checked);
            }
            self.report_miscounts(how, miscounts, &rows, &findings).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in rows {
                if findings.is_closed() {
                    return Ok(checked);
                }
                checked += 1;
                self.check_blob(how, row, &findings).await?;
            }
        }
        let unknown = |sql: &Connection| -> Result<_, FsError> { Ok(blob::unknown(sql, MAX_UNKNOWN_SHOWN)?) };
        for number in self.0.tables.read(unknown).await? {
            tell(&findings, Finding::Unknown { number: number.0 }, false).await;
        }
        self.check_folders(how, &findings).await?;
        Ok(checked)
    }

    async fn report_miscounts(
        &self,
        how: Check,
        miscounts: Vec<Miscount>,
        rows: &[BlobRow],
        findings: &Findings,
    ) -> Result<(), FsError> {
        for Miscount { blob, branch, stored, counted } in miscounts {
            if findings.is_closed() {
                return Ok(());
            }
            if how.repair {
                let now_ms = self.0.tables.clock().now_ms();
                let recount = move |sql: &Connection, _: &mut alknet_store::Noted<'_>| {
                    Ok::<_, FsError>(blob::recount(sql, blob, now_ms)?)
                };
                self.0.tables.change(&Rights::maintenance(&TASK), Durability::Strict, recount).await?;
            }
            // References to what has no row are told as such.
            if let Some(row) = rows.iter().find(|row| row.id == blob) {
                let finding = Finding::References { hash: row.hash, of_branch: branch.is_some(), stored, counted };
                tell(findings, finding, how.repair).await;
            }
        }
        Ok(())
    }

    async fn check_blob(&self, how: Check, row: BlobRow, findings: &Findings) -> Result<(), FsError> {
        if row.state == State::Dying {
            return Ok(());
        }
        let (content, hash, id, is_aside) = (self.clone(), row.hash, row.id, row.state == State::Missing);
        // Whether what was set aside is whole again only reading it tells. Little of it is.
        let how = Check { deep: how.deep || is_aside, ..how };
        let looked = blocking(move || content.look_at(how, &row)).await;
        if is_aside && how.repair && matches!(looked, Ok(Look::Whole | Look::Outboard { repaired: true })) {
            self.set_state(move |sql| blob::take_back(sql, id)).await?;
        }
        let (finding, repaired) = match looked {
            Ok(Look::Whole | Look::Replaced) | Err(FsError::At { errno: Errno::Stale, .. }) => return Ok(()),
            Ok(Look::Outboard { repaired }) => (Finding::Outboard { hash }, repaired),
            Err(FsError::Damaged { why, .. }) => {
                if how.repair && !matches!(why, Damage::Unreadable(_)) {
                    // Equal content that comes from now on does not share its row, and takes its place for those who read.
                    self.set_state(move |sql| blob::mark_missing(sql, id)).await?;
                }
                (Finding::Damaged { hash, why: why.to_string() }, false)
            }
            Err(other) => return Err(other),
        };
        tell(findings, finding, repaired).await;
        Ok(())
    }

    async fn set_state(
        &self,
        mark: impl FnOnce(&Connection) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<(), FsError> {
        let mark = move |sql: &Connection, _: &mut alknet_store::Noted<'_>| Ok::<_, FsError>(mark(sql)?);
        self.0.tables.change(&Rights::maintenance(&TASK), Durability::Strict, mark).await.map(|_| ())
    }

    /// Reads content as far as asked. A lease keeps it there meanwhile.
    fn look_at(&self, how: Check, row: &BlobRow) -> Result<Look, FsError> {
        let _lease = self.0.leases.hold(row.id);
        if row.state == State::Missing && self.whole_again(row.hash)?.is_some() {
            return Ok(Look::Replaced);
        }
        let opened = self.reader_here(row.id, row.hash.to_string());
        let outcome = opened.and_then(|reader| if how.deep { reader.prove_all() } else { Ok(()) });
        match outcome {
            Err(FsError::Damaged { why: Damage::Outboard, .. }) => self.look_without_outboard(how, row),
            other => other.map(|()| Look::Whole),
        }
    }

    /// Hashes content from its beginning, which makes its outboard anew.
    fn look_without_outboard(&self, how: Check, row: &BlobRow) -> Result<Look, FsError> {
        let name = BlobName { hash: row.hash, generation: row.generation };
        let damaged = |why| FsError::Damaged { path: row.hash.to_string(), hash: row.hash, why };
        let unreadable = |error: io::Error| damaged(Damage::Unreadable(error.kind()));
        let data = self.0.disk.open(&self.0.folders.blob(name), false).map_err(unreadable)?;
        let outboard = if how.repair { Some(Remade::begin(&self.0)?) } else { None };
        let hash = hash_all(&*data, row.size, outboard.as_ref()).map_err(unreadable)?;
        if hash != row.hash {
            return Err(damaged(Damage::Outboard));
        }
        let Some(outboard) = outboard else { return Ok(Look::Outboard { repaired: false }) };
        outboard.put(name).map_err(|error| FsError::of_disk("cannot store", "the outboard", &error))?;
        Ok(Look::Outboard { repaired: true })
    }

    async fn check_folders(&self, how: Check, findings: &Findings) -> Result<(), FsError> {
        for name in self.strange_folders().await? {
            tell(
                findings,
                Finding::Strange { file: format!("blobs/{}", name.display().to_string().escape_debug()) },
                false,
            )
            .await;
        }
        for first in 0..=u8::MAX {
            if findings.is_closed() {
                return Ok(());
            }
            let names = self.shard_names(first).await?;
            for some in names.chunks(FILES_LOOKED_UP_AT_ONCE) {
                let file = |name: &Path| format!("blobs/{first:02x}/{}", name.display().to_string().escape_debug());
                for name in some.iter().filter(|name| !is_ours(name, first)) {
                    tell(findings, Finding::Strange { file: file(name.as_ref()) }, false).await;
                }
                for name in self.orphans(first, some.to_vec()).await? {
                    if findings.is_closed() {
                        return Ok(());
                    }
                    let (inner, orphan) = (self.0.clone(), name.clone());
                    // The collector may have been first.
                    let there = blocking(move || {
                        let is_there = inner.disk.open(&inner.folders.shard(first).join(&orphan), false).is_ok();
                        is_there.then(|| how.repair && remove_orphan(&inner, first, &orphan))
                    });
                    if let Some(repaired) = there.await {
                        tell(findings, Finding::Orphan { file: file(name.as_ref()) }, repaired).await;
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_ours(name: &std::ffi::OsStr, first: u8) -> bool {
    BlobName::parse(name).is_some_and(|(blob, _)| blob.first() == first)
}

async fn tell(findings: &Findings, finding: Finding, repaired: bool) {
    tracing::warn!(?finding, repaired, "fsck");
    // Nobody listens any more: the check ends at the next content.
    let _ = findings.send(Found { finding, repaired }).await;
}

/// What came of looking at content that is whole.
enum Look {
    Whole,
    /// It was set aside, and equal content came, which has a row of its own and is looked at there.
    Replaced,
    Outboard {
        repaired: bool,
    },
}

/// An outboard that is made anew beside the place where it is to be.
struct Remade<'a> {
    content: &'a Inner,
    name: SpoolName,
    file: super::disk::OpenFile,
}

impl<'a> Remade<'a> {
    fn begin(content: &'a Inner) -> Result<Self, FsError> {
        let make = || {
            let name = SpoolName::random()?;
            Ok(Self { content, name, file: content.disk.create(&content.folders.spool_outboard(name))? })
        };
        make().map_err(|error: io::Error| FsError::of_disk("cannot make a file in", "spool", &error))
    }

    fn put(self, name: BlobName) -> io::Result<()> {
        self.file.seal()?;
        self.file.sync_data()?;
        let to = self.content.folders.blob_outboard(name);
        self.content.disk.rename(&self.content.folders.spool_outboard(self.name), &to)?;
        self.content.syncer.sync(&*self.content.disk, &self.content.folders, name.first())
    }
}

impl Drop for Remade<'_> {
    fn drop(&mut self) {
        // Once it is in its place this name is no more.
        let _ = self.content.disk.unlink(&self.content.folders.spool_outboard(self.name));
    }
}

fn hash_all(data: &dyn DiskFile, size: u64, outboard: Option<&Remade<'_>>) -> io::Result<ContentHash> {
    let (mut hasher, mut buffer, mut at, mut written) = (TreeHasher::new(), vec![0; COPY_BUFFER_BYTES], 0, 0);
    let mut write = |pairs: &[u8]| {
        let done = outboard.map_or(Ok(()), |outboard| outboard.file.write_at(pairs, written));
        written += pairs.len() as u64;
        done
    };
    while at < size {
        let count = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        read_exact_at(data, &mut buffer[..count], at)?;
        hasher.update(&buffer[..count]);
        at += count as u64;
        write(&hasher.take_pairs())?;
    }
    let (hash, pairs) = hasher.finish();
    write(&pairs)?;
    debug_assert_eq!(written, outboard_bytes(size));
    Ok(hash)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { hash, why } => write!(f, "content {hash} is damaged: {why}"),
            Self::Outboard { hash } => write!(f, "the outboard of {hash} is missing or wrong; the content is whole"),
            Self::References { hash, of_branch, stored, counted } => {
                let whose = if *of_branch { "a branch's references" } else { "references" };
                write!(f, "{counted} {whose} to {hash} are counted as {stored}")
            }
            Self::Unknown { number } => write!(f, "versions of files name content {number}, which is not known"),
            Self::Orphan { file } => write!(f, "no version needs {file}"),
            Self::Strange { file } => write!(f, "{file} is none of this node's files"),
        }
    }
}
