//! `alknet ssh`.

use clap::Args;

use super::{Place, ssh_sessions::SessionsVerb};
use crate::failure::Failure;

/// The SSH sessions of this node
///
/// Examples:
///   alknet ssh sessions --json
///   alknet ssh kill 17
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Ssh {
    #[command(subcommand)]
    verb: SessionsVerb,
}

impl Ssh {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        self.verb.run(place).await
    }
}
