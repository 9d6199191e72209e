//! Two files that are there only while somebody wants them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Inner;

/// The names of content and of its outboard. They are taken away when this is dropped, unless they are to be kept.
pub(super) struct Files {
    content: Arc<Inner>,
    data: PathBuf,
    outboard: PathBuf,
    kept: Kept,
}

/// What stays when nobody wants them any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Data,
    Both,
}

impl Files {
    pub const fn new(content: Arc<Inner>, data: PathBuf, outboard: PathBuf) -> Self {
        Self { content, data, outboard, kept: Kept::Nothing }
    }
    pub fn content(&self) -> &Arc<Inner> {
        &self.content
    }
    pub fn data(&self) -> &Path {
        &self.data
    }
    pub fn outboard(&self) -> &Path {
        &self.outboard
    }
    /// As errors name it: without the folders of this machine.
    pub fn shown(&self) -> String {
        self.data.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
    pub fn rename_data(&mut self, to: PathBuf) -> std::io::Result<()> {
        self.content.disk.rename(&self.data, &to)?;
        self.data = to;
        Ok(())
    }
    pub fn rename_outboard(&mut self, to: PathBuf) -> std::io::Result<()> {
        self.content.disk.rename(&self.outboard, &to)?;
        self.outboard = to;
        Ok(())
    }
    /// They stay.
    pub const fn keep(&mut self) {
        self.kept = Kept::Both;
    }
    /// The content stays.
    pub const fn keep_data(&mut self) {
        self.kept = Kept::Data;
    }
    /// They go, whatever was said before.
    pub const fn give_up(&mut self) {
        self.kept = Kept::Nothing;
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let unwanted: &[_] = match self.kept {
            Kept::Nothing => &[&self.data, &self.outboard],
            Kept::Data => &[&self.outboard],
            Kept::Both => &[],
        };
        for path in unwanted {
            match self.content.disk.unlink(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a file that nobody needs stays until the next start");
                }
                _ => {}
            }
        }
    }
}
