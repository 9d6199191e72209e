//! Spool files that outlive the process, and those that an earlier process left behind.

use std::{collections::BTreeSet, io};

use super::{Content, Inner, blocking, folders::SpoolName};
use crate::rows::upload::UploadId;

impl Content {
    /// Takes away what an earlier process left in the spool, but for these uploads. To be called before anything is written.
    ///
    /// # Errors
    /// Fails with the disk.
    pub async fn clean_spool(&self, keep: Vec<UploadId>) -> io::Result<()> {
        let content = self.0.clone();
        blocking(move || content.clean_spool(&keep.into_iter().collect())).await
    }
}

impl Inner {
    fn clean_spool(&self, keep: &BTreeSet<UploadId>) -> io::Result<()> {
        let folder = self.folders.spool();
        for file in self.disk.list(&folder)? {
            let is_left = match SpoolName::parse(&file) {
                // Somebody else's.
                None => false,
                Some((SpoolName::Passing(_), _)) => true,
                // An outboard is made anew with each process.
                Some((SpoolName::Upload(id), is_outboard)) => is_outboard || !keep.contains(&id),
            };
            if is_left {
                match self.disk.unlink(&folder.join(&file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
