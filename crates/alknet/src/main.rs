//! One node: one binary, one identity, one port.
//!
//! `assemble.rs` puts the node together and `cli/` holds one file per verb; everything else here connects the two.

mod agent_socket;
mod assemble;
mod cli;
mod clock;
mod config;
mod control;
mod credentials;
mod data_folder;
mod detached;
mod dialling;
mod escapes;
mod failure;
mod files;
mod forwards;
mod heads;
mod identity;
mod in_process;
mod logging;
mod node_client;
mod operations;
mod passphrase;
mod permission;
mod raw_terminal;
mod remote_process;
mod serving;
mod settings;
mod shared_config;
mod ssh_config;
mod standard_streams;
mod tunnels;
mod webhooks;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&failure::Failure::from(error)),
    };
    let outcome = runtime.block_on(Box::pin(cli.run()));
    // A thread that waits for standard input must not keep the program.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &failure::Failure) -> ExitCode {
    if !failure.is_silent() {
        cli::note(failure.to_string());
    }
    failure.exit_code()
}
