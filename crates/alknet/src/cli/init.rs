//! `alknet init`.

use std::io::{self, IsTerminal};

use alknet_core::Sessions;
use alknet_store::{Roles, Store};
use alknet_vault::Mnemonic;
use clap::Args;
use serde_json::json;

use super::{Place, output};
use crate::{
    failure::Failure,
    identity::{NodeIdentity, Protection},
};

/// Make this node's identity
///
/// On a terminal it asks for a passphrase and shows the mnemonic once: write it down, it is the only way back. Without
/// a terminal, or with --key-file, the keystore is opened by a key file beside it, so that the node starts unattended.
#[derive(Args)]
pub struct Init {
    /// Protect the keystore with a key file instead of a passphrase
    #[arg(long)]
    key_file: bool,
}

impl Init {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        place.data.create()?;
        let _lock = place.data.lock()?;
        must_have_no_node(place).await?;
        let identity = make(place, self.key_file)?;
        if place.json {
            return output::json(&json!({ "node_id": identity.node_key().to_string() }));
        }
        output::line(format!("node id {}", identity.node_key()))
    }
}

/// Makes an identity where there is none yet, for a command that only makes sense with one.
pub async fn ensure(place: &Place) -> Result<(), Failure> {
    if NodeIdentity::exists(&place.data) {
        return Ok(());
    }
    place.data.create()?;
    let _lock = place.data.lock()?;
    must_have_no_node(place).await?;
    output::note("This machine has no identity yet; making one.");
    make(place, false).map(drop)
}

/// Refuses to make an identity beside the database of a node that has another one: the two would never open each other. For whoever
/// holds the folder's lock.
pub async fn must_have_no_node(place: &Place) -> Result<(), Failure> {
    if NodeIdentity::exists(&place.data) || !place.data.database().exists() {
        return Ok(());
    }
    let store = Store::open(&place.data.database(), Roles::default(), Sessions::default())?;
    let Some(bound) = store.node_key().await? else { return Ok(()) };
    let folder = place.data.root().display();
    Err(Failure::failed(format_args!("the data in {folder} belongs to the node {bound}, whose identity is not there"))
        .hint(format_args!("`alknet identity restore --data {folder}` brings it back from its mnemonic")))
}

/// Makes an identity as the situation allows, and tells its owner what to keep.
pub fn make(place: &Place, key_file: bool) -> Result<NodeIdentity, Failure> {
    let somebody = io::stdin().is_terminal() && io::stderr().is_terminal();
    let protection = if key_file || !(somebody || place.passphrase.is_given()) {
        Protection::KeyFile
    } else {
        Protection::Passphrase(place.passphrase.choose()?)
    };
    let (identity, mnemonic) = NodeIdentity::create(&place.data, &protection)?;
    if somebody {
        show_once(&mnemonic);
    }
    if matches!(protection, Protection::KeyFile) {
        output::note(format!(
            "The keystore opens with the key file {} (mode 0600), so the node starts unattended.\n\
             Whoever can read that file is this node. For a passphrase instead: `alknet identity backup`, then\n\
             `alknet identity restore --data NEWFOLDER` on a terminal.",
            place.data.key_file().display()
        ));
        if !somebody {
            output::note("Write the mnemonic down: `alknet identity backup` shows it.");
        }
    }
    Ok(identity)
}

fn show_once(mnemonic: &Mnemonic) {
    let phrase = mnemonic.phrase();
    output::note("\nThis is the mnemonic of your node. It is shown this once. Write it down on paper:\n");
    let words: Vec<_> = phrase.split_whitespace().collect();
    for (row, words) in words.chunks(6).enumerate() {
        let numbered: Vec<_> =
            words.iter().enumerate().map(|(at, word)| format!("{:>2} {word:<9}", row * 6 + at + 1)).collect();
        output::note(format!("  {}", numbered.join(" ").trim_end()));
    }
    output::note("\nWith it and the epoch (0) `alknet identity restore` brings the same node back on any machine.\n");
}
