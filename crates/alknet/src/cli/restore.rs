//! `alknet restore`.

use std::{fs, io, path::PathBuf};

use alknet_fs::content::copying::{CopiedDatabase, CopiedFile, LayError, Part, sync_names};
use clap::Args;
use serde_json::json;

use super::{Place, output};
use crate::{
    data_folder::DataFolder,
    failure::{Failure, Kind},
};

/// Damaged content that is named.
const MAX_NAMED: usize = 5;

/// Bring the data of a node back from a folder that `alknet backup` made
///
/// It goes into a data folder without a database, content into `fs.folder` where that is set; each file is held against
/// its hash on the way. The identity is no part of it: `alknet identity restore` makes that from the mnemonic, before the
/// node is first started there.
///
/// Examples:
///   alknet identity restore --data ~/node < words.txt
///   alknet restore ~/node-backup --data ~/node
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Restore {
    /// The folder of the backup
    folder: PathBuf,
}

impl Restore {
    /// Runs the command.
    pub fn run(self, place: &Place) -> Result<(), Failure> {
        let from = DataFolder::at(std::path::absolute(&self.folder)?);
        if !from.database().is_file() {
            let message = format!("{} holds no backup: there is no alknet.db", from.root().display());
            return Err(Failure::new(Kind::NotFound, message));
        }
        // While a backup is made there, files go.
        let _from_lock = from.lock_to_read()?;
        let content = place.config(Vec::new())?.config().fs.folder().unwrap_or_else(|| place.data.root().to_owned());
        place.data.create()?;
        let _lock = place.data.lock()?;
        // A log without its database would be read into this one.
        if place.data.database().exists() || place.data.root().join("alknet.db-wal").exists() {
            let message = format!("{} has a database already", place.data.root().display());
            return Err(Failure::usage(message).hint("name an empty data folder with --data"));
        }
        let unreadable = |error| Failure::failed(format_args!("the database of the backup cannot be read: {error}"));
        // What is listed from is what is kept, whatever becomes of the folder meanwhile.
        let database = copy(&from, &place.data)?;
        let copied = CopiedDatabase::open(database.path()).map_err(unreadable)?;
        let (mut files, mut bytes, mut damaged) = (0_u64, 0_u64, Vec::new());
        let mut after: Option<CopiedFile> = None;
        loop {
            let page = copied.files(after.as_ref()).map_err(unreadable)?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for file in &page {
                match file.lay(from.root(), &content) {
                    Ok(()) => (files, bytes) = (files + 1, bytes + file.size),
                    Err(error @ LayError::Io { .. }) => return Err(Failure::caused_by(Kind::Failed, &error)),
                    Err(error @ (LayError::Missing(_) | LayError::Damaged(_))) => damaged.push(error.to_string()),
                }
            }
        }
        drop(copied);
        if files > 0 {
            sync_names(&content)?;
        }
        // The database comes last: with it the folder is a node's.
        database.put_as(0o600)?;
        sync_names(place.data.root())?;
        let folder = place.data.root();
        if place.json {
            output::json(&json!({
                "folder": folder, "content_folder": content, "files": files, "bytes": bytes, "damaged": damaged,
            }))?;
        } else {
            let elsewhere = if content == folder { String::new() } else { format!(", in {}", content.display()) };
            let (shown, bytes) = (folder.display(), output::bytes(bytes));
            output::line(format!("{shown}: the database and {files} files of content, {bytes}{elsewhere}"))?;
        }
        if damaged.is_empty() {
            return Ok(());
        }
        let named = damaged.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
        Err(Failure::failed(format_args!("{} files of content are not as they were: {named}", damaged.len()))
            .hint("the rest is restored; reading such a file fails with its path, `alknet fs fsck` names them"))
    }
}

/// A copy of the database beside the place where it is to be.
fn copy(from: &DataFolder, to: &DataFolder) -> Result<Part, Failure> {
    let copy = || -> io::Result<Part> {
        let mut part = Part::make(&to.database())?;
        io::copy(&mut fs::File::open(from.database())?, &mut part.file)?;
        Ok(part)
    };
    copy().map_err(|error| Failure::from(error).while_doing(format_args!("cannot copy {}", from.database().display())))
}
