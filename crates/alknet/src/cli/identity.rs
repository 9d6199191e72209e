//! `alknet identity`.

use std::io::{self, IsTerminal, Read};

use alknet_core::{KeyPurpose, KeySigner, NodeKey};
use alknet_ssh::known_hosts_line;
use alknet_vault::{Epoch, Mnemonic};
use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Place, init, output};
use crate::{
    failure::Failure,
    identity::{NodeIdentity, Protection},
};

/// Longest mnemonic read, in bytes.
const MAX_MNEMONIC_BYTES: u64 = 4096;

/// The identity of this node: show it, write it down, bring it back
///
/// Examples:
///   alknet identity show --json
///   alknet identity backup
///   alknet identity restore --data ~/restored < words.txt
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Identity {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the public identity
    Show,
    /// Show the mnemonic once more, to write it down
    Backup,
    /// Make the identity of a mnemonic, read from standard input, in an empty data folder
    Restore {
        /// The epoch that was written down beside the mnemonic
        #[arg(long, default_value_t = 0)]
        epoch: u32,
        /// The mnemonic has a passphrase of its own; it is asked for, or is the second line of standard input
        #[arg(long)]
        mnemonic_passphrase: bool,
        /// Protect the keystore with a key file instead of a passphrase
        #[arg(long)]
        key_file: bool,
    },
}

impl Identity {
    /// Runs the command.
    pub fn run(self, place: &Place) -> Result<(), Failure> {
        match self.action {
            Action::Show => show(place),
            Action::Backup => backup(place),
            Action::Restore { epoch, mnemonic_passphrase, key_file } => {
                restore(place, epoch, mnemonic_passphrase, key_file)
            }
        }
    }
}

fn show(place: &Place) -> Result<(), Failure> {
    let keystore = NodeIdentity::keystore(&place.data)?;
    let key = NodeKey::from_bytes(keystore.node_key())?;
    let epoch = keystore.epoch().number();
    // The other public keys need the vault; without a passphrase at hand the node's own key is still an answer.
    let opens = NodeIdentity::opens_unattended(&place.data) || place.passphrase.is_given();
    let vault = if opens { Some(NodeIdentity::open(&place.data, &place.passphrase)?) } else { None };
    let public = |purpose| vault.as_ref().map(|identity| HEXLOWER.encode(&identity.vault().public_key(purpose)));
    let ethereum = vault.as_ref().map(|identity| HEXLOWER.encode(&identity.vault().ethereum_public_key()));
    let (ssh_host, root) = (public(alknet_vault::KeyPurpose::SshHost), public(alknet_vault::KeyPurpose::Root));
    let ssh_ca = vault.as_ref().map(|identity| known_hosts_line("*", identity.public_key(KeyPurpose::SshAuthority)));
    if place.json {
        return output::json(&json!({
            "node_id": key.to_string(), "key": key.to_hex(), "epoch": epoch,
            "root": root, "ssh_host": ssh_host, "ssh_ca": ssh_ca, "ethereum": ethereum,
        }));
    }
    output::line(format!("node id    {key}\nkey        {}\nepoch      {epoch}", key.to_hex()))?;
    for (name, value) in [("root", root), ("ssh host", ssh_host), ("ssh ca", ssh_ca), ("ethereum", ethereum)] {
        if let Some(value) = value {
            output::line(format!("{name:<10} {value}"))?;
        }
    }
    if !opens {
        output::note("The other public keys are shown with --passphrase-file or on a node with a key file.");
    }
    Ok(())
}

fn backup(place: &Place) -> Result<(), Failure> {
    let revealed = NodeIdentity::reveal(&place.data, &place.passphrase)?;
    let epoch = NodeIdentity::keystore(&place.data)?.epoch().number();
    if io::stdout().is_terminal() {
        output::note("Whoever reads the next line is this node. Write it down on paper, with the epoch:");
    }
    output::line(revealed.mnemonic.phrase().as_str())?;
    output::note(format!("epoch {epoch}"));
    if !revealed.passphrase.is_empty() {
        output::note("This mnemonic has a passphrase of its own, which is needed to restore it and is not shown.");
    }
    Ok(())
}

fn restore(place: &Place, epoch: u32, with_passphrase: bool, key_file: bool) -> Result<(), Failure> {
    let (phrase, passphrase) = read_mnemonic(with_passphrase)?;
    let mnemonic = Mnemonic::parse(phrase.trim())?;
    let epoch = Epoch::new(epoch)?;
    place.data.create()?;
    let _lock = place.data.lock()?;
    let attended = io::stdin().is_terminal() || place.passphrase.is_given();
    let protection =
        if key_file || !attended { Protection::KeyFile } else { Protection::Passphrase(place.passphrase.choose()?) };
    let identity = NodeIdentity::install(&place.data, &mnemonic, &passphrase, epoch, &protection)?;
    if matches!(protection, Protection::KeyFile) {
        output::note(format!("The keystore opens with the key file {} (mode 0600).", place.data.key_file().display()));
    }
    if place.json {
        return output::json(&json!({ "node_id": identity.node_key().to_string(), "epoch": epoch.number() }));
    }
    output::line(format!("restored node {}", identity.node_key()))
}

/// The mnemonic and its own passphrase.
fn read_mnemonic(with_passphrase: bool) -> Result<(Zeroizing<String>, Zeroizing<String>), Failure> {
    if io::stdin().is_terminal() {
        let phrase = Zeroizing::new(rpassword::prompt_password("Mnemonic (not shown while you type): ")?);
        let passphrase = if with_passphrase { rpassword::prompt_password("Its passphrase: ")? } else { String::new() };
        return Ok((phrase, Zeroizing::new(passphrase)));
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(MAX_MNEMONIC_BYTES).read_to_string(&mut text)?;
    let (first, second) = match text.trim_end().split_once('\n') {
        Some((phrase, passphrase)) if with_passphrase => (phrase, passphrase.trim_end_matches('\r')),
        _ => (text.as_str(), ""),
    };
    Ok((Zeroizing::new(first.to_owned()), Zeroizing::new(second.to_owned())))
}

/// Makes sure that an identity is there, making one on the first run.
pub fn open_or_make(place: &Place, key_file: bool) -> Result<NodeIdentity, Failure> {
    if NodeIdentity::exists(&place.data) {
        NodeIdentity::open(&place.data, &place.passphrase)
    } else {
        init::make(place, key_file)
    }
}
