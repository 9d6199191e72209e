//! `alknet ssh-config`.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use alknet_core::NodeKey;
use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::json;

use super::{Place, output};
use crate::{
    failure::Failure,
    identity::NodeIdentity,
    node_client::NodeClient,
    operations::{node::NodeIdentification, peers::Peers},
    ssh_config::{Client, FirstCipher, NodeStanza, install, render},
};

/// Let plain `ssh NAME` reach this node and its peers: print the stanza for ~/.ssh/config, or install it
///
/// `ssh node` is this node; every peer that is a node goes by its name. The connection runs inside TLS on the node's
/// one port (ProxyCommand = `alknet connect`), and host keys are pinned.
#[derive(Args)]
pub struct SshConfig {
    /// Write it into ~/.ssh/config, in place of what an earlier run wrote
    #[arg(long)]
    install: bool,
    /// The file to write into
    #[arg(long, value_name = "FILE", requires = "install")]
    file: Option<PathBuf>,
}

impl SshConfig {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let client = Client {
            program: env::current_exe()?,
            data: Some(place.data.root().to_owned()),
            known_hosts: place.data.known_hosts(),
            cipher: FirstCipher::of_this_machine(),
        };
        let rendered = render(&client, &nodes(place).await?)?;
        if !self.install {
            output::note("# Put this at the top of ~/.ssh/config, or let `alknet ssh-config --install` do it.");
            return output::line(rendered.block.trim_end());
        }
        place.data.write_private(&place.data.known_hosts(), rendered.known_hosts.as_bytes())?;
        let file = match self.file {
            Some(file) => file,
            None => env::home_dir().ok_or_else(|| Failure::usage("no home folder is known"))?.join(".ssh/config"),
        };
        let existing = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::from(error).while_doing(format_args!("cannot read {}", file.display()))),
        };
        let text = install(&existing, &rendered.block)
            .map_err(|error| Failure::from(error).while_doing(format_args!("cannot change {}", file.display())))?;
        write(&file, &text)
            .map_err(|error| Failure::from(error).while_doing(format_args!("cannot write {}", file.display())))?;
        output::note(format!("installed in {}; try `ssh node`", file.display()));
        Ok(())
    }
}

/// This node first, then every peer with an address.
async fn nodes(place: &Place) -> Result<Vec<NodeStanza>, Failure> {
    let own = NodeKey::from_bytes(NodeIdentity::keystore(&place.data)?.node_key())?;
    let local = NodeClient::local(place).await?;
    let identification: NodeIdentification = local.call("node/identify", &json!({})).await?;
    let NodeIdentification { ssh_host_key: host_key_line, ssh_host_authority, .. } = identification;
    let host_authority = ssh_host_authority.as_deref().and_then(key_of_hex);
    let mut nodes = vec![NodeStanza { name: "node".to_owned(), key: own, host_key_line, host_authority }];
    let Peers { peers } = local.call("peers/list", &json!({})).await?;
    for peer in peers {
        if let Some(key) = peer.node_id.and_then(|id| id.parse().ok()) {
            nodes.push(NodeStanza { name: peer.name, key, host_key_line: None, host_authority: None });
        }
    }
    Ok(nodes)
}

fn key_of_hex(hex: &str) -> Option<NodeKey> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).ok()?;
    NodeKey::from_bytes(bytes.try_into().ok()?).ok()
}

/// Replaces the file's content, keeping its mode; a new one is private.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    // A link (dotfiles in a repository) stays a link: its target is what changes.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(folder) = target.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let temporary = target.with_extension("alknet-new");
    let mut new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    if let Ok(metadata) = fs::metadata(&target) {
        new.set_permissions(metadata.permissions())?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(temporary, target)
}
