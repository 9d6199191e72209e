//! `alknet policy`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::NodeClient,
    operations::policy::{JudgedPlace, PolicyVerdict, TestPolicy},
};

/// What may be forwarded over SSH: what the rules in `ssh.forward` say
///
/// The first rule that is about a forward decides, and what none is about is refused. A name is looked up first: all of its
/// addresses must be allowed. `alknet config show` prints the rules.
///
/// Examples:
///   alknet policy test --as alice --to db.corp:5432
///   alknet policy test --as role:dev --to 0.0.0.0:80 --direction remote
///   alknet policy test --as alice --to /run/docker.sock --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say whether a forward would be allowed, and which rule decides; exits with 3 when it would not
    Test {
        /// Who asks: a peer's name, or role:NAME
        #[arg(long = "as", value_name = "WHO")]
        identity: String,
        /// Where to: host:port, or the path of a Unix socket
        #[arg(long, value_name = "WHERE")]
        to: String,
        /// Which way [default: local for a host, socket for a path]
        #[arg(long)]
        direction: Option<Way>,
    },
}

/// Which way a forward goes.
#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// The node connects: -L, -W and -D
    Local,
    /// The node listens: -R
    Remote,
    /// The node sends datagrams for SOCKS clients
    Dynamic,
    /// The node connects to a Unix socket
    Socket,
}

impl Way {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Dynamic => "dynamic",
            Self::Socket => "socket",
        }
    }
}

impl Policy {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        let Action::Test { identity, to, direction } = self.action;
        let direction = direction.map(|way| way.as_str().to_owned());
        let verdict: PolicyVerdict = node.call("policy/test", &TestPolicy { identity, to, direction }).await?;
        if place.json {
            output::json(&verdict)?;
        } else {
            verdict.judged.iter().try_for_each(|judged| output::line(line(judged)))?;
        }
        if verdict.allowed {
            return if place.json { Ok(()) } else { output::line(format!("allowed: {}", words(&verdict))) };
        }
        let why = verdict.problem.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        Err(Failure::new(Kind::Denied, format!("refused: {}{}", words(&verdict), output::printable(&why))))
    }
}

/// `alice (role dev) local to db.corp:5432`
fn words(verdict: &PolicyVerdict) -> String {
    let role = verdict.role.as_ref().filter(|_| !verdict.identity.starts_with("role:"));
    let role = role.map(|role| format!(" (role {role})")).unwrap_or_default();
    let whole = format!("{}{role}, {} to {}", verdict.identity, verdict.direction, verdict.target);
    output::printable(&whole)
}

fn line(judged: &JudgedPlace) -> String {
    let verdict = if judged.allowed { "allowed" } else { "refused" };
    let rule = judged.rule.map(|number| format!("rule {number}: ")).unwrap_or_default();
    output::printable(&format!("{}  {verdict}: {rule}{}", judged.place, judged.because))
}
