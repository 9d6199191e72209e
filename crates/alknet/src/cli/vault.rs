//! `alknet vault`.

use std::io::{self, Read, Write};

use clap::{Args, Subcommand};
use data_encoding::BASE64;
use serde_json::Value;

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::vault::{MAX_SEALED_BYTES, OpenBlob, Opened, SealBytes, Sealed, Verified},
};

/// Seal secrets with this node's keys
///
/// A sealed blob opens only at this node (or wherever its mnemonic is restored), and only with the context it was
/// sealed for.
///
/// Examples:
///   echo -n s3cret | alknet vault seal --context mail > mail.json
///   alknet vault open --context mail < mail.json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Vault {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Seal standard input; prints the blob as JSON
    Seal {
        /// What it is for; opening asks for the same
        #[arg(long)]
        context: String,
    },
    /// Open the blob on standard input; prints what was sealed
    Open {
        /// What it was sealed for
        #[arg(long)]
        context: String,
    },
    /// Check that the blob on standard input would open, without printing what is inside
    Verify {
        /// What it was sealed for
        #[arg(long)]
        context: String,
    },
}

impl Vault {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local_unlocked(place).await?;
        match self.action {
            Action::Seal { context } => {
                let data = BASE64.encode(&read_stdin()?);
                let sealed: Sealed = node.call("vault/seal", &SealBytes { context, data }).await?;
                output::line(serde_json::to_string(&sealed.blob)?)
            }
            Action::Open { context } => {
                let opened: Opened = node.call("vault/open", &OpenBlob { context, blob: read_blob()? }).await?;
                let data = BASE64.decode(opened.data.as_bytes())?;
                io::stdout().write_all(&data)?;
                Ok(io::stdout().flush()?)
            }
            Action::Verify { context } => {
                let verified: Verified = node.call("vault/verify", &OpenBlob { context, blob: read_blob()? }).await?;
                if place.json {
                    return output::json(&verified);
                }
                output::line(format!("opens with key {}, {} bytes inside", verified.key, verified.bytes))
            }
        }
    }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    io::stdin().take(MAX_SEALED_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_SEALED_BYTES {
        return Err(Failure::usage(format!("at most {MAX_SEALED_BYTES} bytes can be sealed or opened at once")));
    }
    Ok(content)
}

fn read_blob() -> Result<Value, Failure> {
    serde_json::from_slice(&read_stdin()?).map_err(|error| Failure::usage(format!("this is no sealed blob: {error}")))
}
