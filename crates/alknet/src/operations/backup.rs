//! `node/backup` and `node/backup.content`: a consistent copy of the database, and the content that it names, as bytes.

use std::{fs, io, path::PathBuf};

use alknet_call::{ByteSource, CallError, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_core::Maintenance;
use alknet_fs::{ContentHash, limits::LONG_TIMEOUT};
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::fs::File;

use super::{Foundation, scoped};

/// Where copies lie while they are made, in the data folder.
const FOLDER: &str = "backup";

const TASK: Maintenance = Maintenance::of("backup");

/// Input of `node/backup.content`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackUpContent {
    /// Which content.
    pub hash: ContentHash,
}

/// Registers `node/backup`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let (store, tickets, data) = (foundation.store.clone(), foundation.tickets.clone(), foundation.data.clone());
    // Copies that a killed node left behind; this one holds the folder's lock.
    let _none_left = fs::remove_dir_all(data.root().join(FOLDER));
    registry.register(
        Operation::query("node/backup")
            .title("Copy the database")
            .description("The bytes are an SQLite file with everything that was committed when the copy was made.")
            .access(scoped("node:backup"))
            .byte_output()
            .timeout(LONG_TIMEOUT)
            .handler(move |context, _: Nothing| {
                let (store, tickets, data) = (store.clone(), tickets.clone(), data.clone());
                async move {
                    let copy = Copy::name(data.root().join(FOLDER)).map_err(CallError::internal)?;
                    store.backup_to(&TASK, &copy.0).await.map_err(CallError::internal)?;
                    let source = copy.open().await.map_err(CallError::internal)?;
                    tickets.issue_download(&context.caller, source)
                }
            }),
    )?;
    let (files, tickets) = (foundation.files.files().clone(), foundation.tickets.clone());
    registry.register(
        Operation::query("node/backup.content")
            .title("Copy content of files")
            .description(
                "The bytes of content that a copy of the database names, whichever bucket it is in. NOT_FOUND: it is there no longer; \
                 a copy made now does not name it.",
            )
            .access(scoped("node:backup"))
            .byte_output()
            .handler(move |context, input: BackUpContent| {
                let (files, tickets) = (files.clone(), tickets.clone());
                async move {
                    let found = files.content().by_hash(&TASK, input.hash).await.map_err(CallError::internal)?;
                    let found = found.ok_or_else(|| CallError::not_found(format!("there is no content {}", input.hash)))?;
                    let (size, hash) = (found.size(), *found.hash().as_bytes());
                    let source = ByteSource { size: Some(size), hash: Some(hash), ..ByteSource::new(found.stream(0..size)) };
                    tickets.issue_download(&context.caller, source)
                }
            }),
    )?;
    Ok(())
}

/// A copy on disk that nobody else names; removed as soon as it is open.
struct Copy(PathBuf);

impl Copy {
    fn name(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(Self(folder.join(HEXLOWER.encode(&random))))
    }

    /// The file lives on, nameless, until its last reader closes it.
    async fn open(&self) -> io::Result<ByteSource> {
        let file = File::open(&self.0).await?;
        let size = file.metadata().await?.len();
        Ok(ByteSource { size: Some(size), ..ByteSource::new(file) })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _never_made = fs::remove_file(&self.0);
    }
}
