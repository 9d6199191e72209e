//! The command line: one file per verb, whose doc comment is its help.

mod agent;
mod audit;
mod backup;
mod call;
mod calls;
mod completions;
mod config;
mod connect;
mod credential;
mod doctor;
mod events;
mod forward;
mod fs;
mod gate;
mod identity;
mod init;
mod key;
mod output;
mod peer;
mod policy;
#[cfg(test)]
mod reference;
mod restore;
mod serve;
mod service_tree;
mod services;
mod socks;
mod ssh;
mod ssh_config;
mod ssh_replay;
mod ssh_sessions;
mod status;
mod stop;
mod subscribe;
mod token;
mod up;
mod vault;
mod worker;

pub use init::ensure as ensure_identity;
pub use output::{bytes, duration, note, printable};

use std::{env, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Loaded, Sources, load},
    data_folder::DataFolder,
    failure::{Failure, Kind},
    passphrase::PassphraseSource,
};

/// Your own node: one binary, one identity, one port.
///
/// `alknet up` makes an identity on its first run and serves SSH, HTTPS and calls on one port, over TCP and QUIC.
/// Every other command talks to the running node through its control socket, or works on the data folder when no node
/// runs.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 denied, 4 not found, 5 unavailable.
#[derive(Parser)]
#[command(name = "alknet", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Global {
    /// The node's data folder [default: alknet in the XDG data home]
    #[arg(
        long,
        global = true,
        env = "ALKNET_DATA",
        hide_env_values = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    data: Option<PathBuf>,
    /// The configuration file [default: alknet.toml in the data folder, else in the XDG config home]
    #[arg(
        long,
        global = true,
        env = "ALKNET_CONFIG",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    /// Read the passphrase from the first line of a file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line of an inherited file descriptor
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    passphrase_fd: Option<u32>,
    /// Print JSON for scripts
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    Up(up::Up),
    Init(init::Init),
    Serve(serve::Serve),
    Stop(stop::Stop),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Identity(identity::Identity),
    Peer(peer::Peer),
    Key(key::Key),
    Token(token::Token),
    Credential(credential::Credential),
    Call(call::Call),
    Calls(calls::Calls),
    Subscribe(subscribe::Subscribe),
    Services(services::Services),
    Worker(worker::Worker),
    Events(events::Events),
    Connect(connect::Connect),
    Agent(agent::Agent),
    Forward(forward::Forward),
    Socks(socks::Socks),
    Ssh(ssh::Ssh),
    SshConfig(ssh_config::SshConfig),
    Fs(fs::Fs),
    Config(config::Config),
    Audit(audit::Audit),
    Gate(gate::Gate),
    Policy(policy::Policy),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Vault(vault::Vault),
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        let place = Place::new(self.global)?;
        match self.verb {
            Verb::Up(verb) => verb.run(&place).await,
            Verb::Init(verb) => verb.run(&place).await,
            Verb::Serve(verb) => verb.run(&place).await,
            Verb::Stop(verb) => verb.run(&place).await,
            Verb::Status(verb) => verb.run(&place).await,
            Verb::Doctor(verb) => verb.run(&place).await,
            Verb::Identity(verb) => verb.run(&place),
            Verb::Peer(verb) => verb.run(&place).await,
            Verb::Key(verb) => verb.run(&place).await,
            Verb::Token(verb) => verb.run(&place).await,
            Verb::Credential(verb) => verb.run(&place).await,
            Verb::Call(verb) => verb.run(&place).await,
            Verb::Calls(verb) => verb.run(&place).await,
            Verb::Subscribe(verb) => verb.run(&place).await,
            Verb::Services(verb) => verb.run(&place).await,
            Verb::Worker(verb) => verb.run(&place).await,
            Verb::Events(verb) => verb.run(&place).await,
            Verb::Connect(verb) => verb.run(&place).await,
            Verb::Agent(verb) => verb.run(&place).await,
            Verb::Forward(verb) => verb.run(&place).await,
            Verb::Socks(verb) => verb.run(&place).await,
            Verb::Ssh(verb) => verb.run(&place).await,
            Verb::SshConfig(verb) => verb.run(&place).await,
            Verb::Fs(verb) => Box::pin(verb.run(&place)).await,
            Verb::Config(verb) => verb.run(&place).await,
            Verb::Audit(verb) => verb.run(&place).await,
            Verb::Gate(verb) => verb.run(&place).await,
            Verb::Policy(verb) => verb.run(&place).await,
            Verb::Backup(verb) => Box::pin(verb.run(&place)).await,
            Verb::Restore(verb) => verb.run(&place),
            Verb::Vault(verb) => verb.run(&place).await,
            Verb::Completions(verb) => verb.run(),
        }
    }
}

/// Where a command works: the data folder, the configuration's sources, and how to print.
pub struct Place {
    /// The node's data folder.
    pub data: DataFolder,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseSource,
    /// Whether to print JSON.
    pub json: bool,
    config_file: Option<PathBuf>,
}

impl Place {
    fn new(global: Global) -> Result<Self, Failure> {
        let root = match global.data {
            Some(folder) => std::path::absolute(folder)?,
            None => xdg("XDG_DATA_HOME", ".local/share")?.join("alknet"),
        };
        Ok(Self {
            data: DataFolder::at(root),
            passphrase: PassphraseSource::new(global.passphrase_file, global.passphrase_fd),
            json: global.json,
            config_file: global.config,
        })
    }

    /// The configuration file that was named.
    pub fn config_file(&self) -> Option<&PathBuf> {
        self.config_file.as_ref()
    }

    /// Reads the configuration; `flags` override everything else.
    pub fn config(&self, flags: Vec<(String, toml::Value)>) -> Result<Loaded, Failure> {
        load(&self.sources(flags)?).map_err(|error| Failure::caused_by(Kind::Usage, &error))
    }

    /// Where the configuration comes from.
    pub fn sources(&self, flags: Vec<(String, toml::Value)>) -> Result<Sources, Failure> {
        let user = self.config_file.clone();
        if let Some(file) = user.as_ref().filter(|file| !file.exists()) {
            return Err(Failure::new(Kind::NotFound, format!("there is no configuration file {}", file.display())));
        }
        let home = xdg("XDG_CONFIG_HOME", ".config").map(|home| home.join("alknet/alknet.toml"));
        let usual = [Some(self.data.config()), home.ok()].into_iter().flatten().collect();
        let system = Some(PathBuf::from("/etc/alknet/alknet.toml"));
        let env = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("ALKNET_"))
            .collect();
        Ok(Sources { system, user, usual, env, flags })
    }
}

/// A base folder of the XDG specification: the variable if it is absolute, else under the home folder.
fn xdg(variable: &str, under_home: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(path);
    }
    env::home_dir()
        .map(|home| home.join(under_home))
        .ok_or_else(|| Failure::usage("no home folder is known").hint("set HOME, or name a folder with --data"))
}
