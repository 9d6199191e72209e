//! Removes content that nothing refers to any more, while others read and write.

use std::{collections::BTreeSet, io, time::Duration};

use alknet_core::Maintenance;
use alknet_store::{Durability, Rights};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Content, Inner, blocking, folders::BlobName};
use crate::{
    error::FsError,
    failpoints::step,
    ids::BlobId,
    limits::{COLLECTED_AT_ONCE, COLLECTED_PER_CHANGE, MAX_COLLECT_INTERVAL, MIN_COLLECT_INTERVAL},
    rows::blob::{self, BlobRow, Class, Dead, State},
};

const TASK: Maintenance = Maintenance::of("fs-gc");

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Content that went.
    pub blobs: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Content that is still open, or that the disk would not remove.
    pub left: u64,
}

/// Where a collection has got to.
type After = Option<(u64, BlobId)>;

impl Content {
    /// Removes what nothing has referred to for longer than `grace`. It can be cancelled at any time: what it had begun is ended by the
    /// next. `dry`: it only looks.
    ///
    /// # Errors
    /// Fails with the database. What the disk does not remove is left for the next time.
    pub async fn collect(&self, grace: Duration, dry: bool) -> Result<Collected, FsError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.0.tables.clock().now_ms().saturating_sub(grace_ms);
        let (mut collected, mut after) = (Collected::default(), None);
        loop {
            let dead = self.dead(before_ms, &mut after).await?;
            if dead.is_empty() {
                return Ok(collected);
            }
            if dry {
                collected.blobs += dead.len() as u64;
                collected.bytes += dead.iter().map(|row| row.size).sum::<u64>();
            } else {
                self.remove_all(dead, &mut collected).await?;
            }
        }
    }

    /// Collects again and again until it is stopped. An error is logged, and ends nothing.
    pub async fn keep_collecting(&self, grace: Duration, stop: CancellationToken) {
        let every = grace.clamp(MIN_COLLECT_INTERVAL, MAX_COLLECT_INTERVAL);
        let again = async {
            loop {
                tokio::time::sleep(every).await;
                match self.collect(grace, false).await {
                    Ok(Collected { blobs: 0, left: 0, .. }) => {}
                    Ok(Collected { blobs, bytes, left }) => {
                        tracing::info!(blobs, bytes, left, "removed unused content")
                    }
                    Err(error) => {
                        tracing::error!(%error, "removing unused content; it is tried again");
                        step("gc.failed");
                    }
                }
            }
        };
        tokio::select! { () = again => {}, () = stop.cancelled() => {} }
    }

    async fn dead(&self, before_ms: u64, after: &mut After) -> Result<Vec<BlobRow>, FsError> {
        let from = *after;
        let read =
            move |sql: &Connection| -> Result<_, FsError> { Ok(blob::dead(sql, before_ms, from, COLLECTED_AT_ONCE)?) };
        let dead = self.0.tables.read(read).await?;
        *after = dead.last().map(|Dead { since_ms, row }| (*since_ms, row.id)).or(from);
        Ok(dead.into_iter().map(|dead| dead.row).collect())
    }

    async fn remove_all(&self, dead: Vec<BlobRow>, collected: &mut Collected) -> Result<(), FsError> {
        let found = dead.len() as u64;
        let mut marked = Vec::new();
        for some in dead.chunks(COLLECTED_PER_CHANGE) {
            marked.extend(self.mark(some.to_vec()).await?);
        }
        // From here on no row comes to refer to them, and nobody opens them who had not before.
        let inner = self.0.clone();
        let (gone, held) = blocking(move || remove_files(&inner, marked)).await;
        collected.left += found - gone.len() as u64;
        for row in &gone {
            collected.blobs += 1;
            collected.bytes += row.size;
        }
        let gone: Vec<_> = gone.into_iter().map(|row| (row.id, true)).collect();
        let held: Vec<_> = held.into_iter().map(|row| (row.id, false)).collect();
        for some in [gone, held].concat().chunks(COLLECTED_PER_CHANGE) {
            self.end(some.to_vec()).await?;
        }
        Ok(())
    }

    /// Marks those that still nothing refers to and nobody reads. Answers them, with those that were marked before.
    async fn mark(&self, dead: Vec<BlobRow>) -> Result<Vec<BlobRow>, FsError> {
        let leases = self.0.leases.clone();
        let mark = move |sql: &Connection, _: &mut alknet_store::Noted<'_>| -> Result<Vec<BlobRow>, FsError> {
            let mut marked = Vec::new();
            for row in dead {
                if leases.is_held(row.id) {
                    continue;
                }
                if row.state == State::Dying || blob::mark_dying(sql, row.id)? {
                    marked.push(row);
                }
            }
            Ok(marked)
        };
        // The files must not go before the mark is on the disk.
        self.0.tables.change(&Rights::maintenance(&TASK), Durability::Strict, mark).await
    }

    /// Takes the rows of those away that are gone, and revives the others.
    async fn end(&self, rows: Vec<(BlobId, bool)>) -> Result<(), FsError> {
        let end = move |sql: &Connection, _: &mut alknet_store::Noted<'_>| -> Result<(), FsError> {
            for (id, gone) in rows {
                if gone { blob::remove(sql, id) } else { blob::revive(sql, id) }?;
            }
            Ok(())
        };
        // A row that comes back is one whose files are gone, and is ended again.
        self.0.tables.change(&Rights::maintenance(&TASK), Durability::Lazy, end).await
    }
}

/// Takes the files of marked content away, and answers which are gone for good, and which somebody had opened before they were marked.
fn remove_files(content: &Inner, marked: Vec<BlobRow>) -> (Vec<BlobRow>, Vec<BlobRow>) {
    step("gc.marked");
    // What was set aside must not come to live again; who has its file open keeps that.
    let is_held = |row: &BlobRow| row.state != State::Missing && content.leases.is_held(row.id);
    let (held, free): (Vec<_>, Vec<_>) = marked.into_iter().partition(is_held);
    let mut folders = BTreeSet::new();
    let mut gone = Vec::new();
    for row in free {
        let name = BlobName { hash: row.hash, generation: row.generation };
        match remove_blob(content, &row, name) {
            Ok(()) => {
                if row.class == Class::Whole {
                    folders.insert(name.first());
                }
                gone.push(row);
            }
            Err(error) => {
                tracing::warn!(hash = %row.hash, %error, "unused content cannot be removed; it is tried again")
            }
        }
    }
    step("gc.unlinked");
    // A row must not go while its file could come back: nobody would know it.
    for first in folders {
        if let Err(error) = content.syncer.sync(&*content.disk, &content.folders, first) {
            tracing::warn!(folder = first, %error, "unused content cannot be removed for good; it is tried again");
            gone.retain(|row| row.class == Class::Inline || row.hash.as_bytes()[0] != first);
        }
    }
    (gone, held)
}

fn remove_blob(content: &Inner, row: &BlobRow, name: BlobName) -> io::Result<()> {
    if row.class == Class::Inline {
        return Ok(());
    }
    for path in [content.folders.blob(name), content.folders.blob_outboard(name)] {
        match content.disk.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
