//! `alknet peer`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use clap::{Args, Subcommand};

use super::{Place, init, output};
use crate::{
    failure::{Failure, Kind},
    node_client::NodeClient,
    operations::peers::{
        AddPeer, ImportPeers, Imported, KeyOptionsView, PeerName, PeerView, Peers, RemovePeer, Removed,
    },
};

/// Largest key or authorized_keys file read, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 1024 * 1024;

/// Who may use this node, and which nodes it knows
///
/// A peer has a name, keys that prove it, and a role that says what it may do: `owner` everything, `guest` nothing but
/// what is public, others as the configuration says.
///
/// Examples:
///   alknet peer add me --key ~/.ssh/id_ed25519.pub --role owner
///   alknet peer add box --ticket aeg…
///   alknet peer import --role observer ~/.ssh/authorized_keys
///   alknet peer add bob --role observer --key 'restrict,from="10.0.0.0/8" ssh-ed25519 AAAA…'
///   alknet peer add ops --role owner --key 'cert-authority,principals="ops" ssh-ed25519 AAAA…'
///   alknet peer list --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Peer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Add a peer, or another key to one that is there
    Add {
        /// Its name: a-z 0-9 . -
        name: String,
        /// A public key: a file in OpenSSH's format, such a line itself with its options, a node id, or `ed25519:<hex>`.
        /// A key with options is one for SSH only; with `cert-authority` it signs SSH certificates for the peer
        #[arg(long, value_name = "FILE|LINE|ID", required_unless_present = "ticket")]
        key: Option<String>,
        /// The ticket that the node's `alknet up` printed: its key and where to find it
        #[arg(long, conflicts_with = "key")]
        ticket: Option<String>,
        /// What it may do here
        #[arg(long, default_value = "guest")]
        role: String,
    },
    /// List the peers
    List,
    /// Show one peer
    Show {
        /// Its name
        name: String,
    },
    /// Remove a peer, or one of its keys; its live sessions end at once
    Remove {
        /// Its name
        name: String,
        /// Remove only this key of it, or key that signs certificates for it
        #[arg(long, value_name = "FILE|LINE|ID")]
        key: Option<String>,
    },
    /// Add every key of an `authorized_keys` file as a peer of its own, named after the key's comment
    Import {
        /// The file, or - for standard input. A line with an option that cannot be honoured is refused by the option's name
        file: String,
        /// What they may do here
        #[arg(long)]
        role: String,
    },
}

impl Peer {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        if matches!(self.action, Action::Add { .. } | Action::Import { .. }) {
            init::ensure(place).await?;
        }
        let node = NodeClient::local(place).await?;
        match self.action {
            Action::Add { name, key, ticket, role } => {
                let key = key.map(|key| key_text(&key)).transpose()?;
                let peer: PeerView = node.call("peers/add", &AddPeer { name, key, ticket, role }).await?;
                if place.json {
                    return output::json(&peer);
                }
                let known = format!("{} is known as {} ({})", peer.keys.join(", "), peer.name, peer.role);
                let vouched =
                    peer.authorities.iter().map(|key| format!("{} signs certificates for {}", key.key, peer.name));
                (!peer.keys.is_empty()).then_some(known).into_iter().chain(vouched).try_for_each(output::line)
            }
            Action::List => {
                let Peers { peers } = node.call("peers/list", &serde_json::json!({})).await?;
                if place.json {
                    return output::json(&peers);
                }
                let rows: Vec<_> = peers
                    .into_iter()
                    .map(|peer| [peer.name, peer.role, peer.keys.join(" "), peer.addresses.join(" ")])
                    .collect();
                output::table(["NAME", "ROLE", "KEYS", "ADDRESSES"], &rows)
            }
            Action::Show { name } => {
                let peer: PeerView = node.call("peers/show", &PeerName { name }).await?;
                if place.json {
                    return output::json(&peer);
                }
                output::line(format!("name       {}\nrole       {}", peer.name, peer.role))?;
                if let Some(id) = &peer.node_id {
                    output::line(format!("node id    {id}"))?;
                }
                let options = |key: &String| peer.restricted.iter().find(|it| it.key == *key).map(|it| &it.options);
                for key in &peer.keys {
                    let options = options(key).map(|options| format!(" {options}")).unwrap_or_default();
                    output::line(format!("key        {key}{options}"))?;
                }
                for KeyOptionsView { key, options } in &peer.authorities {
                    output::line(format!("authority  {key} {options}").trim_end())?;
                }
                peer.addresses.iter().try_for_each(|address| output::line(format!("address    {address}")))?;
                output::line(format!("since      {}", output::utc(peer.created_at)))
            }
            Action::Remove { name, key } => {
                let key = key.map(|key| key_text(&key)).transpose()?;
                let removed: Removed = node.call("peers/remove", &RemovePeer { name: name.clone(), key }).await?;
                if place.json {
                    return output::json(&removed);
                }
                output::line(match removed.key {
                    Some(key) => format!("{name} has the key {key} no more"),
                    None => format!("{name} is no peer any more"),
                })
            }
            Action::Import { file, role } => {
                let authorized_keys = read_text(&file)?;
                let imported: Imported = node.call("peers/import", &ImportPeers { authorized_keys, role }).await?;
                if place.json {
                    return output::json(&imported);
                }
                imported
                    .peers
                    .iter()
                    .try_for_each(|peer| output::line(format!("{}  {}", peer.name, peer.keys.join(" "))))
            }
        }
    }
}

/// The key itself, or the content of the file that is named.
fn key_text(key: &str) -> Result<String, Failure> {
    let is_key = key.starts_with("ed25519:") || key.starts_with("SHA256:");
    let looks_like_path = key.contains('/') && !key.contains(' ');
    if !is_key && (looks_like_path || Path::new(key).exists()) {
        return read_text(key);
    }
    Ok(key.to_owned())
}

fn read_text(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => io::stdin().take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text),
        path => File::open(path).and_then(|file| file.take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::caused_by(kind, &error).while_doing(format_args!("cannot read {file}"))
    })?;
    if text.len() as u64 > MAX_KEY_FILE_BYTES {
        return Err(Failure::usage(format!("{file} is larger than {MAX_KEY_FILE_BYTES} bytes")));
    }
    if text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!("{file} is a private key")).hint("give the public one, which ends in .pub"));
    }
    Ok(text)
}
