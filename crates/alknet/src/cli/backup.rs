//! `alknet backup`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alknet_call::{BYTES, ByteTicket, CallError, TransferError, download};
use alknet_core::Connection;
use alknet_fs::content::copying::{CopiedDatabase, CopiedFile, Part, sync_names};
use alknet_net::connect_local;
use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{Place, output};
use crate::{
    data_folder::DataFolder,
    failure::{Failure, Kind},
    files::remote::LONG_TIMEOUT,
    node_client::NodeClient,
    operations::backup::BackUpContent,
};

/// Files that are fetched at the same time.
const FETCHED_AT_ONCE: usize = 8;
/// How often the database is copied anew because content went while it was to be fetched.
const MAX_ROUNDS: usize = 5;
/// Damaged content that is named.
const MAX_NAMED: usize = 5;

/// Copy the running node to a folder: its database and the content of all files
///
/// The database is a copy of one moment, whole and consistent. Given again, only what is new is fetched, and what is
/// needed no longer goes; cut short, the folder still holds the backup before. `alknet restore` and the mnemonic
/// bring the node back from it.
///
/// Examples:
///   alknet backup ~/node-backup
///   alknet backup --json /mnt/disk/node
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Backup {
    /// The folder; it is made if it is not there
    folder: PathBuf,
}

/// What a backup came to.
#[derive(Default)]
struct Sum {
    database_bytes: u64,
    files: u64,
    bytes: u64,
    fetched_files: u64,
    fetched_bytes: u64,
    removed_files: u64,
    damaged: Vec<String>,
}

/// What became of content that was to be fetched.
enum Fetched {
    Whole(u64),
    Gone,
    Damaged(String),
}

impl Backup {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::running(place)
            .await
            .map_err(|failure| failure.hint("without a running node, copy the data folder itself, and `fs.folder`"))?;
        let folder = DataFolder::at(std::path::absolute(&self.folder)?);
        is_for_backups(&folder)?;
        folder.create()?;
        let _lock = folder.lock()?;
        let connection = connect_local(&place.data.control_socket(), &BYTES).await?;
        let mut rounds = 0;
        let sum = loop {
            rounds += 1;
            if let Some(sum) = round(&node, &connection, &folder).await? {
                break sum;
            }
            if rounds == MAX_ROUNDS {
                return Err(Failure::failed("content is removed faster than it can be copied")
                    .hint("what was copied is kept: try again, or with a longer fs.gc_grace"));
            }
        };
        if place.json {
            output::json(&json!({
                "folder": folder.root(), "database_bytes": sum.database_bytes, "files": sum.files, "bytes": sum.bytes,
                "fetched_files": sum.fetched_files, "fetched_bytes": sum.fetched_bytes,
                "removed_files": sum.removed_files, "damaged": sum.damaged,
            }))?;
        } else {
            let (shown, whole) = (folder.root().display(), output::bytes(sum.database_bytes + sum.bytes));
            let fetched = output::bytes(sum.fetched_bytes);
            output::line(format!(
                "{shown}: the database and {} files of content, {whole}; {} files, {fetched} were fetched",
                sum.files, sum.fetched_files
            ))?;
        }
        if sum.damaged.is_empty() {
            return Ok(());
        }
        let named = sum.damaged.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
        Err(Failure::failed(format_args!("{} contents could not be read on the node: {named}", sum.damaged.len()))
            .hint("the rest is in the backup; `alknet fs fsck --deep` says what is wrong with them"))
    }
}

/// Refuses a folder that holds anything but a backup.
fn is_for_backups(folder: &DataFolder) -> Result<(), Failure> {
    let names = match fs::read_dir(folder.root()) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Failure::from(error).while_doing(format_args!("cannot read {}", folder.root().display())));
        }
    };
    for name in names {
        let name = name?.file_name();
        if !["alknet.db", "alknet.db.new", "alknet.db.new.part", "blobs", "lock"].iter().any(|ours| name == *ours) {
            let name = name.display().to_string();
            let message =
                format!("{} is no folder of backups: it holds {}", folder.root().display(), name.escape_debug());
            return Err(Failure::usage(message).hint("name a new folder, or one that `alknet backup` made"));
        }
    }
    Ok(())
}

/// Refuses a folder with the backup of another node: what only that one has would go from it.
fn is_same_node(copied: &CopiedDatabase, folder: &DataFolder) -> Result<(), Failure> {
    if !folder.database().exists() {
        return Ok(());
    }
    let shown = folder.root().display();
    let before = CopiedDatabase::open(&folder.database()).and_then(|before| before.node_key()).map_err(|error| {
        Failure::failed(format_args!("the database of the backup in {shown} cannot be read: {error}"))
            .hint("nobody knows whose it is: name another folder, or remove its alknet.db")
    })?;
    match (before, copied.node_key()?) {
        (Some(before), Some(this)) if before != this => {
            Err(Failure::usage(format_args!("{shown} holds the backup of the node {before}; this one is {this}"))
                .hint("name another folder"))
        }
        _ => Ok(()),
    }
}

/// Copies the database, then what is missing of its content, and then puts it in its place. `None`: some of it went meanwhile.
async fn round(node: &NodeClient<'_>, connection: &Connection, folder: &DataFolder) -> Result<Option<Sum>, Failure> {
    let fresh = folder.root().join("alknet.db.new");
    // The copy is made before its ticket is given.
    let ticket: ByteTicket = node.call_within("node/backup", &json!({}), LONG_TIMEOUT).await?;
    let fetched = fetch(connection, &ticket, &fresh).await?;
    let lost = |error: CallError| Failure::caused_by(Kind::Unavailable, &error).while_doing("cannot copy the database");
    let mut sum = Sum { database_bytes: fetched.map_err(lost)?, ..Sum::default() };
    let unreadable = |error| Failure::failed(format_args!("the copy of the database cannot be read: {error}"));
    let copied = CopiedDatabase::open(&fresh).map_err(unreadable)?;
    if let Err(failure) = is_same_node(&copied, folder) {
        fs::remove_file(&fresh)?;
        return Err(failure);
    }
    let mut after: Option<CopiedFile> = None;
    let mut is_complete = true;
    loop {
        let files = copied.files(after.as_ref()).map_err(unreadable)?;
        let Some(last) = files.last() else { break };
        after = Some(last.clone());
        sum.files += files.len() as u64;
        sum.bytes += files.iter().map(|file| file.size).sum::<u64>();
        let missing = files.into_iter().filter(|file| !file.is_in(folder.root()));
        let mut fetching = stream::iter(missing)
            .map(|file| async move { (file.hash(), content(node, connection, folder, &file).await) })
            .buffer_unordered(FETCHED_AT_ONCE);
        while let Some((hash, fetched)) = fetching.next().await {
            match fetched? {
                Fetched::Whole(bytes) => {
                    sum.fetched_files += 1;
                    sum.fetched_bytes += bytes;
                }
                Fetched::Gone => is_complete = false,
                Fetched::Damaged(why) => sum.damaged.push(format!("{hash} ({why})")),
            }
        }
    }
    drop(copied);
    if !is_complete {
        return Ok(None);
    }
    if !sum.damaged.is_empty() {
        // It was the content, and not the node that went.
        node.call::<serde_json::Value>("node/status", &json!({})).await?;
    }
    sync_names(folder.root())?;
    fs::rename(&fresh, folder.database())?;
    sync_names(folder.root())?;
    let copied = CopiedDatabase::open(&folder.database()).map_err(unreadable)?;
    sum.removed_files = copied.remove_others(folder.root())?;
    Ok(Some(sum))
}

async fn content(
    node: &NodeClient<'_>,
    connection: &Connection,
    folder: &DataFolder,
    file: &CopiedFile,
) -> Result<Fetched, Failure> {
    let ticket: ByteTicket = match node.call("node/backup.content", &BackUpContent { hash: file.hash() }).await {
        Ok(ticket) => ticket,
        Err(failure) if failure.kind() == Kind::NotFound => return Ok(Fetched::Gone),
        Err(failure) if failure.kind() == Kind::Failed => {
            return Ok(Fetched::Damaged("it cannot be opened".to_owned()));
        }
        Err(failure) => return Err(failure),
    };
    let fetched = fetch(connection, &ticket, &file.path(folder.root())).await?;
    Ok(fetched.map_or_else(|error| Fetched::Damaged(error.message), Fetched::Whole))
}

/// Fetches bytes into a file, which gets its name once they are whole and on the disk; or says why the node did not give them.
async fn fetch(connection: &Connection, ticket: &ByteTicket, to: &Path) -> Result<Result<u64, CallError>, Failure> {
    let failed = |error: io::Error| Failure::from(error).while_doing(format_args!("cannot write {}", to.display()));
    let part = Part::make(to).map_err(failed)?;
    let mut writer = tokio::fs::File::from_std(part.file.try_clone().map_err(failed)?);
    let downloaded = match download(connection, ticket, &mut writer).await {
        Ok(downloaded) => downloaded,
        Err(TransferError::Own(error)) => return Err(failed(error)),
        Err(TransferError::Call(error)) => return Ok(Err(error)),
    };
    let put = tokio::task::spawn_blocking(move || part.put()).await.map_err(|_| Failure::failed("it was cut short"))?;
    put.map_err(failed)?;
    Ok(Ok(downloaded.size))
}
