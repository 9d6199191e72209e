//! Takes files away that no row came to name before the process died that had placed them.

use std::{
    ffi::OsString,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alknet_core::Maintenance;
use alknet_store::{Durability, Rights};
use rusqlite::Connection;

use super::{
    Content, Inner, blocking,
    folders::{BlobName, shard},
};
use crate::{
    error::FsError,
    limits::FILES_LOOKED_UP_AT_ONCE,
    rows::{blob, meta},
};

const TASK: Maintenance = Maintenance::of("fs-janitor");
/// When the newest start of the node began whose sweep came to its end, in milliseconds since 1970.
const SWEPT: &str = "content_swept_ms";
/// Times of folders are coarse, and clocks are set.
const SLACK: Duration = Duration::from_secs(3600);

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Folders that were looked through; others had not changed since the last time.
    pub folders: usize,
    /// Files that no row names, and that are gone now.
    pub removed: usize,
}

impl Content {
    /// Removes files of earlier starts that no row names. Folders that did not change since the last sweep are passed over.
    ///
    /// # Errors
    /// Fails with the disk and the database. The next sweep begins anew.
    pub async fn sweep(&self) -> Result<Swept, FsError> {
        let began = self.0.began;
        let mark = self.0.tables.read(|sql| -> Result<_, FsError> { Ok(meta::read(sql, SWEPT)?) }).await?;
        let mark = mark.and_then(|ms| u64::try_from(ms).ok()).map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        // A clock that went back makes the times of folders worthless.
        let since = mark.filter(|mark| *mark <= began).and_then(|mark| mark.checked_sub(SLACK));
        let mut swept = Swept::default();
        for first in 0..=u8::MAX {
            if let Some(names) = self.changed_shard(first, since).await? {
                swept.folders += 1;
                swept.removed += self.sweep_shard(first, names).await?;
            }
        }
        self.note_sweep(began).await?;
        Ok(swept)
    }

    async fn changed_shard(&self, first: u8, since: Option<SystemTime>) -> Result<Option<Vec<OsString>>, FsError> {
        let inner = self.0.clone();
        let look = move || {
            let path = inner.folders.shard(first);
            match inner.disk.about(&path) {
                Ok(about) if since.is_some_and(|since| about.modified < since) => Ok(None),
                Ok(_) => inner.disk.list(&path).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        blocking(look).await.map_err(|error| FsError::of_disk("cannot list", format!("blobs/{first:02x}"), &error))
    }

    async fn sweep_shard(&self, first: u8, names: Vec<OsString>) -> Result<usize, FsError> {
        let mut removed = 0;
        for some in names.chunks(FILES_LOOKED_UP_AT_ONCE) {
            let orphans = self.orphans(first, some.to_vec()).await?;
            let inner = self.0.clone();
            removed += blocking(move || {
                let gone = orphans.iter().filter(|name| remove_orphan(&inner, first, name));
                gone.count()
            })
            .await;
        }
        Ok(removed)
    }

    /// Those of the files of a folder that are of earlier starts and that no row names. Such a row cannot come any more.
    pub(super) async fn orphans(&self, first: u8, names: Vec<OsString>) -> Result<Vec<OsString>, FsError> {
        let inner = self.0.clone();
        let read = move |sql: &Connection| -> Result<_, FsError> {
            let mut orphans = Vec::new();
            for name in names {
                if let Some((blob, _)) = BlobName::parse(&name)
                    && blob.first() == first
                    && inner.generations.is_earlier(blob.generation)
                    && !blob::names(sql, &blob.hash, blob.generation)?
                {
                    orphans.push(name);
                }
            }
            Ok(orphans)
        };
        self.0.tables.read(read).await
    }

    async fn note_sweep(&self, began: SystemTime) -> Result<(), FsError> {
        let ms = began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let note =
            move |sql: &Connection, _: &mut alknet_store::Noted<'_>| Ok::<_, FsError>(meta::write(sql, SWEPT, ms)?);
        self.0.tables.change(&Rights::maintenance(&TASK), Durability::Lazy, note).await
    }

    /// What lies in `blobs/` and is no folder of ours.
    pub(super) async fn strange_folders(&self) -> Result<Vec<OsString>, FsError> {
        let inner = self.0.clone();
        let list = move || inner.disk.list(&inner.folders.blobs());
        let names = blocking(list).await.map_err(|error| FsError::of_disk("cannot list", "blobs", &error))?;
        Ok(names.into_iter().filter(|name| shard(name).is_none()).collect())
    }

    /// The names in a folder of blobs.
    pub(super) async fn shard_names(&self, first: u8) -> Result<Vec<OsString>, FsError> {
        Ok(self.changed_shard(first, None).await?.unwrap_or_default())
    }
}

/// Answers whether it is gone by this.
pub(super) fn remove_orphan(content: &Inner, first: u8, name: &OsString) -> bool {
    match content.disk.unlink(&content.folders.shard(first).join(name)) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %name.display(), %error, "a file that no row names cannot be removed");
            }
            false
        }
    }
}
