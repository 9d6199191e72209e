//! `alknet agent`.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitStatus},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use alknet_core::{KeyPurpose, KeySigner};
use alknet_ssh::{AgentKey, AskPermission};
use clap::Args;
use rustix::process::{DumpableBehavior, Pid, Signal, kill_process, set_dumpable_behavior, setsid};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{Place, output};
use crate::{
    agent_socket::AgentSocket,
    detached,
    failure::{Failure, Kind},
    identity::NodeIdentity,
    logging,
    permission::Person,
};

/// Be an ssh-agent with this node's keys: stock ssh logs in and git signs with them
///
/// It holds three keys of the vault: `user` logs in to SSH servers and signs files, `node` (the node's own) only logs in, `git`
/// only signs. They never leave it, and no other key is taken in: `ssh-add -L` prints them for authorized_keys and for git's
/// user.signingkey, `ssh-add -x` locks them, `ssh-add -D` removes them until the agent is started anew.
///
/// Without a COMMAND it goes to the background and prints what a shell needs to know; `kill $SSH_AGENT_PID` ends it.
/// Confirmation asks in a window of $SSH_ASKPASS, or on the terminal of a COMMAND or of --foreground.
///
/// Examples:
///   eval "$(alknet agent --confirm --lifetime 8h)"
///   alknet agent ssh box
///   alknet agent --keys git git commit -m 'signed'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Agent {
    /// Where to listen [default: a new folder in $XDG_RUNTIME_DIR or $TMPDIR]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The keys to hold
    #[arg(long, default_value = "user,node,git", value_name = "KEYS")]
    keys: Keys,
    /// Ask before each signature; with =KEYS, only of these keys
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "user,node,git", value_name = "KEYS")]
    confirm: Option<Keys>,
    /// Forget the keys after so long
    #[arg(long, value_name = "TIME", value_parser = output::parse_duration)]
    lifetime: Option<u64>,
    /// Stay in the foreground, without a COMMAND
    #[arg(long, conflicts_with = "command")]
    foreground: bool,
    /// Leave the terminal, and say on standard output where it listens
    #[arg(long, hide = true, conflicts_with = "command")]
    detached: bool,
    /// A command to run with the agent, which ends with it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A list of keys, `user,git`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Keys(Vec<KeyPurpose>);

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for name in text.split(',') {
            let known =
                [KeyPurpose::SshUser, KeyPurpose::Node, KeyPurpose::Git].into_iter().find(|key| name_of(*key) == name);
            let key = known.ok_or_else(|| format!("there is no key `{name}`: they are user, node and git"))?;
            if keys.contains(&key) {
                return Err(format!("the key `{name}` stands there twice"));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }
}

const fn name_of(key: KeyPurpose) -> &'static str {
    match key {
        KeyPurpose::SshUser => "user",
        KeyPurpose::Node => "node",
        KeyPurpose::Git => "git",
        KeyPurpose::SshAuthority => "authority",
    }
}

impl Agent {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        if !self.foreground && !self.detached && self.command.is_empty() {
            return self.detach(place);
        }
        if self.detached {
            setsid()?;
        }
        // What the user's other programs could read, they could take away.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let identity = NodeIdentity::open(&place.data, &place.passphrase)?;
        let person = if self.confirm.is_some() { Person::find()? } else { Person::Nobody };
        // Beside a command only what goes wrong is said.
        let quiet = [("log.level".to_owned(), toml::Value::from("warn"))];
        let flags = if self.command.is_empty() { Vec::new() } else { quiet.into() };
        logging::start(&place.config(flags)?.config().log);
        let (socket, listener) = AgentSocket::bind(self.socket.as_deref())?;
        let keys = self.agent_keys(&identity);
        let agent = alknet_ssh::Agent::new(
            Arc::new(identity) as Arc<dyn KeySigner>,
            keys,
            Arc::new(person) as Arc<dyn AskPermission>,
        );
        let stop = CancellationToken::new();
        let serving = tokio::spawn(agent.serve(listener, stop.clone()));
        let ended = if self.command.is_empty() {
            self.until_told_to_end(place, &socket).await.map(|()| None)
        } else {
            run_beside(&self.command, &socket).await.map(Some)
        };
        stop.cancel();
        let _its_panic_was_reported = serving.await;
        drop(socket);
        match ended? {
            Some(status) => std::process::exit(exit_code(status)),
            None => Ok(()),
        }
    }

    /// Starts it in the background and prints where it is.
    fn detach(&self, place: &Place) -> Result<(), Failure> {
        place.passphrase.keep();
        // Before anything is started: a wrong passphrase, or none, is said here.
        NodeIdentity::open(&place.data, &place.passphrase)?;
        let list = |keys: &Keys| keys.0.iter().map(|key| name_of(*key)).collect::<Vec<_>>().join(",");
        let mut words: Vec<OsString> =
            vec!["agent".into(), "--detached".into(), "--keys".into(), list(&self.keys).into()];
        if let Some(confirm) = &self.confirm {
            words.push(format!("--confirm={}", list(confirm)).into());
        }
        if let Some(lifetime) = self.lifetime {
            words.extend(["--lifetime".into(), format!("{lifetime}s").into()]);
        }
        if let Some(socket) = &self.socket {
            words.extend(["--socket".into(), std::path::absolute(socket)?.into()]);
        }
        let ready = detached::start(place, "the agent", &words, &place.data.agent_log())?;
        if place.json {
            return output::json(&ready);
        }
        let (Some(socket), Some(pid)) = (ready["socket"].as_str(), ready["pid"].as_u64()) else {
            return Err(Failure::failed("the background process did not say where it listens"));
        };
        output::line(for_a_shell(socket, pid))
    }

    /// Says where it listens, and waits for a signal.
    async fn until_told_to_end(&self, place: &Place, socket: &AgentSocket) -> Result<(), Failure> {
        // Heard from before anybody knows whom to tell.
        let (mut hangup, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.announce(place, socket)?;
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    fn announce(&self, place: &Place, socket: &AgentSocket) -> Result<(), Failure> {
        let path = socket.path().to_str().ok_or_else(|| Failure::usage("the socket's path is not UTF-8"))?;
        let pid = std::process::id();
        if self.detached || place.json {
            return output::line(json!({ "socket": path, "pid": pid }).to_string());
        }
        output::line(for_a_shell(path, pid.into()))
    }

    fn agent_keys(&self, identity: &NodeIdentity) -> Vec<AgentKey> {
        let node = identity.node_key().to_string();
        let agent_key = |purpose: &KeyPurpose| AgentKey {
            purpose: *purpose,
            comment: format!("alknet-{}@{}", name_of(*purpose), &node[..8]),
            confirm: self.confirm.as_ref().is_some_and(|keys| keys.0.contains(purpose)),
            lifetime: self.lifetime.map(Duration::from_secs),
        };
        self.keys.0.iter().map(agent_key).collect()
    }
}

/// The lines that `eval` takes, as ssh-agent prints them.
fn for_a_shell(socket: &str, pid: u64) -> String {
    let socket = format!("'{}'", socket.replace('\'', r"'\''"));
    format!(
        "SSH_AUTH_SOCK={socket}; export SSH_AUTH_SOCK;\nSSH_AGENT_PID={pid}; export SSH_AGENT_PID;\necho Agent pid {pid};"
    )
}

/// Runs a command that finds the agent, to its end.
async fn run_beside(words: &[OsString], socket: &AgentSocket) -> Result<ExitStatus, Failure> {
    let (program, arguments) = words.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let mut command = Command::new(program);
    command.args(arguments).env("SSH_AUTH_SOCK", socket.path()).env("SSH_AGENT_PID", std::process::id().to_string());
    // The keyboard's signals are for the command, which gets them itself; the others are handed on.
    let (mut interrupt, mut quit) = (signal(SignalKind::interrupt())?, signal(SignalKind::quit())?);
    let (mut hangup, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut child = command.spawn().map_err(|error| {
        Failure::caused_by(Kind::NotFound, &error).while_doing(format_args!("cannot run {}", program.display()))
    })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::failed("the command has no process number"))?;
    let mut ended = spawn_blocking(move || child.wait());
    loop {
        // It may have ended by itself in this moment.
        let _ = tokio::select! {
            status = &mut ended => return Ok(status??),
            _ = interrupt.recv() => Ok(()),
            _ = quit.recv() => Ok(()),
            _ = hangup.recv() => kill_process(pid, Signal::HUP),
            _ = terminate.recv() => kill_process(pid, Signal::TERM),
        };
    }
}

/// As a shell says it: the status, or 128 and the signal.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_once_each() {
        assert_eq!("git,user".parse(), Ok(Keys(vec![KeyPurpose::Git, KeyPurpose::SshUser])));
        for bad in ["", "root", "git,git", "git,", "user git"] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(
            for_a_shell("/tmp/it's/agent.sock", 7),
            "SSH_AUTH_SOCK='/tmp/it'\\''s/agent.sock'; export SSH_AUTH_SOCK;\nSSH_AGENT_PID=7; export SSH_AGENT_PID;\n\
             echo Agent pid 7;"
        );
    }
}
