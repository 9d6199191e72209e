//! `alknet completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::failure::Failure;

/// Print the completions for a shell
///
/// Examples:
///   alknet completions bash > ~/.local/share/bash-completion/completions/alknet
///   alknet completions zsh > ~/.zfunc/_alknet
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "alknet", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end())
    }
}
