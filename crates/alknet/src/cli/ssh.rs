//! `alknet ssh`.

use std::{io, sync::Arc};

use alknet_ssh::{Origin, Tunnel};
use clap::Args;
use tokio::io::AsyncWriteExt;

use super::{
    Place,
    forward::{Forwards, listen},
    printable,
    ssh_sessions::SessionsVerb,
};
use crate::{
    failure::{Failure, Kind},
    forwards::{LocalSpec, Place as Target, RemoteSpec},
    remote_process::{self, Wanted},
    standard_streams::{StandardStreams, told_to_end},
    tunnels::{Reach, explain},
};

/// Run a shell or a command at a node, or look after the SSH sessions of this one
///
/// The exit status is the command's, 128 and the signal's number if a signal ended it, and 255 if the connection broke off. On a terminal ~.
/// at the beginning of a line leaves the session.
///
/// Examples:
///   alknet ssh box
///   alknet ssh box uptime
///   tar c . | alknet ssh box 'tar x -C /srv'
///   alknet ssh -N -L 8080:localhost:80 box
///   ssh -o ProxyCommand='alknet ssh -W %h:%p box' user@behind
///   alknet ssh sessions --json
///   alknet ssh kill 17
///   alknet ssh replay --list
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_value_name = "sessions|kill|replay",
    subcommand_help_heading = "Commands for the sessions of this node"
)]
pub struct Ssh {
    #[command(subcommand)]
    verb: Option<SessionsVerb>,
    #[command(flatten)]
    client: Client,
}

/// A connection to a node.
#[derive(Args)]
struct Client {
    /// A peer name, node id, host:port or ticket; USER@ in front asks for a user name
    #[arg(required = true)]
    node: Option<String>,
    /// What to run there, joined by spaces; without it a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Give the command a terminal
    #[arg(short = 't', conflicts_with = "no_terminal")]
    terminal: bool,
    /// Give a shell no terminal
    #[arg(short = 'T')]
    no_terminal: bool,
    /// Let the command use this machine's ssh-agent
    #[arg(short = 'A')]
    agent: bool,
    /// Run nothing: only forward
    #[arg(short = 'N', conflicts_with_all = ["command", "terminal", "no_terminal", "agent", "stdio"])]
    nothing: bool,
    /// Connect standard input and output to HOST:PORT, or to a unix socket, as the node sees it
    #[arg(short = 'W', value_name = "TARGET", conflicts_with_all = ["command", "terminal", "no_terminal", "agent"])]
    stdio: Option<Target>,
    /// Listen here: [BIND:]PORT:HOST:PORT; connections go to HOST:PORT from the node
    #[arg(short = 'L', value_name = "SPEC")]
    local: Vec<LocalSpec>,
    /// Listen at the node: [BIND:]PORT:HOST:PORT; connections go to HOST:PORT from here
    #[arg(short = 'R', value_name = "SPEC")]
    remote: Vec<RemoteSpec>,
    #[command(flatten)]
    reach: Reach,
}

impl Ssh {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self.verb {
            Some(verb) => verb.run(place).await,
            None => self.client.run(place).await,
        }
    }
}

impl Client {
    async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = self.node.as_deref().unwrap_or_default();
        let dialling = self.reach.dialling(place)?;
        let local = listen(self.local.clone()).await?;
        let tunnel = Arc::new(self.reach.tunnel(place, &dialling, node).await?);
        let forwards = Forwards { local, remote: self.remote.clone(), json: place.json, quiet: !self.nothing };
        let forwarding = async {
            if forwards.is_empty() && !self.nothing {
                std::future::pending::<()>().await;
            }
            forwards.run(tunnel.clone()).await.map(|never| match never {})
        };
        let status = tokio::select! {
            outcome = self.work(&tunnel) => outcome,
            outcome = forwarding => outcome,
        };
        tunnel.close().await;
        dialling.finish().await;
        match status? {
            0 => Ok(()),
            status => Err(Failure::status(status)),
        }
    }

    /// Does what is asked for beside forwarding; answers with the exit status.
    async fn work(&self, tunnel: &Tunnel) -> Result<u8, Failure> {
        if self.nothing {
            return Ok(told_to_end().await.map(|()| 0)?);
        }
        if let Some(target) = &self.stdio {
            return relay(tunnel, target).await.map(|()| 0);
        }
        let client = tunnel.client().await.map_err(|error| explain(&error))?;
        let banner = client.banner();
        if !banner.is_empty() {
            let lines: Vec<_> = banner.trim_end().lines().map(printable).collect();
            super::note(lines.join("\n"));
        }
        let command = (!self.command.is_empty()).then(|| self.command.join(" ").into_bytes());
        let at_terminal = rustix::termios::isatty(io::stdin());
        let terminal = self.terminal || (command.is_none() && at_terminal && !self.no_terminal);
        remote_process::run(&client, Wanted { command, terminal, agent: self.agent }).await
    }
}

/// Connects standard input and output to a place behind the node.
async fn relay(tunnel: &Tunnel, target: &Target) -> Result<(), Failure> {
    let origin = Origin { host: "127.0.0.1".to_owned(), port: 0 };
    let stream = match target {
        Target::Tcp { host, port } => tunnel.open_tcp(host, *port, &origin).await,
        Target::Unix(path) => tunnel.open_unix(path).await,
    };
    let stream = stream.map_err(|error| explain(&error).while_doing(target))?;
    let StandardStreams { input, mut output, restored: _restored } = StandardStreams::take()?;
    tokio::select! {
        moved = stream.relay(input, &mut output) => moved.map_err(|error| {
            Failure::caused_by(Kind::Failed, &error).while_doing("the connection broke off")
        })?,
        told = told_to_end() => told?,
    }
    Ok(output.flush().await?)
}
