//! `alknet backup`.

use std::{fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

use alknet_call::{BYTES, download};
use alknet_net::connect_local;
use clap::Args;
use serde_json::json;

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::NodeClient,
    operations::backup::Backup as Ticket,
};

/// Copy the running node's database to a file, whole and consistent
///
/// With this file (as alknet.db in a data folder) and the mnemonic the node comes back as it was, but
/// for the content of files above 16 KiB: that lies in blobs/ of the data folder. Copy it after this.
///
/// Examples:
///   alknet backup ~/alknet-backup.db
///   alknet backup ~/node.db && rsync -a ~/.local/share/alknet/blobs/ ~/node-blobs/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Backup {
    /// The file to write; it must not exist
    file: PathBuf,
}

impl Backup {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let shown = self.file.display();
        let node = NodeClient::running(place)
            .await
            .map_err(|failure| failure.hint("without a running node, copy the data folder itself"))?;
        if self.file.exists() {
            return Err(Failure::new(Kind::Usage, format!("{shown} is there already")));
        }
        let ticket: Ticket = node.call("node/backup", &json!({})).await?;
        let connection = connect_local(&place.data.control_socket(), &BYTES).await?;
        // Under another name until every byte is verified and on disk.
        let part = self.file.with_added_extension("part");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file =
            file.map_err(|error| Failure::from(error).while_doing(format_args!("cannot write {}", part.display())))?;
        let mut writer = tokio::fs::File::from_std(file);
        let outcome = download(&connection, &ticket, &mut writer).await;
        let downloaded = outcome.inspect_err(|_| drop(fs::remove_file(&part)))?;
        writer.sync_all().await?;
        fs::rename(&part, &self.file)?;
        if place.json {
            return output::json(&json!({ "file": self.file, "bytes": downloaded.size }));
        }
        output::line(format!("{shown}: {} bytes", downloaded.size))
    }
}
