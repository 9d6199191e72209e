//! What would become of a forward, and by which rule.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use tokio::sync::Semaphore;

use super::{
    direction::Direction,
    forward_policy::ForwardPolicy,
    judge::{Basis, RuleSet, Subject, Verdict, Wanted},
    listen::{listening, places},
    path,
    reach::at,
    socket_file::{SocketFile, SocketPlace},
    target::{self, Host},
};

/// Where a forward is to lead, or to be listened for: `host:port` or the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardTarget {
    /// A host, as a client might write it, and a port.
    Port {
        /// The host; IPv6 without brackets.
        host: String,
        /// The port.
        port: u32,
    },
    /// The path of a Unix socket.
    Socket(String),
}

/// A text that names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("write host:port, with [brackets] around IPv6, or the absolute path of a socket")]
pub struct InvalidForwardTarget;

impl ForwardTarget {
    /// The direction that is meant when none is said.
    pub const fn usual_direction(&self) -> Direction {
        match self {
            Self::Port { .. } => Direction::Local,
            Self::Socket(_) => Direction::Socket,
        }
    }
}

impl FromStr for ForwardTarget {
    type Err = InvalidForwardTarget;
    fn from_str(text: &str) -> Result<Self, InvalidForwardTarget> {
        if text.starts_with('/') {
            return Ok(Self::Socket(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidForwardTarget)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(InvalidForwardTarget);
        }
        let port = port.parse().map_err(|_| InvalidForwardTarget)?;
        Ok(Self::Port { host: bare.unwrap_or(host).to_owned(), port })
    }
}

/// What would become of a forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Which way it goes.
    pub direction: Direction,
    /// The host and port, or the path, in the form that rules see.
    pub target: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why nothing was judged, when nothing was.
    pub problem: Option<String>,
    /// What was judged: each address of the host, or the socket.
    pub judged: Vec<Explained>,
}

/// One thing that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The address with the port, or the path that the socket really has.
    pub place: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that decided, counted from 1, and its text.
    pub rule: Option<(usize, String)>,
    /// What decided, in words.
    pub reason: String,
}

impl Explanation {
    fn impossible(direction: Direction, target: impl fmt::Display, problem: impl fmt::Display) -> Self {
        let (target, problem) = (target.to_string(), Some(problem.to_string()));
        Self { direction, target, allowed: false, problem, judged: Vec::new() }
    }
}

impl ForwardPolicy {
    /// Says what would become of a forward of the identity `name`, which has this role, as things are now. A key's own options, which may
    /// take away more, and what is open already do not count. Names are looked up; nothing is connected to.
    pub async fn explain(
        &self,
        name: &str,
        role: Option<&str>,
        direction: Direction,
        target: &ForwardTarget,
    ) -> Explanation {
        let (who, rules) = (Subject { id: name, role }, self.rules());
        match (direction, target) {
            (Direction::Remote, ForwardTarget::Port { host, port }) => explain_listening(&rules, who, host, *port),
            (Direction::Local | Direction::Dynamic, ForwardTarget::Port { host, port }) => {
                self.explain_reaching(&rules, who, direction, host, *port).await
            }
            (Direction::Remote | Direction::Socket, ForwardTarget::Socket(path)) => {
                explain_socket(&rules, who, direction, path).await
            }
            (Direction::Local | Direction::Dynamic, ForwardTarget::Socket(path)) => {
                Explanation::impossible(direction, path, "a socket is reached in the direction socket")
            }
            (Direction::Socket, ForwardTarget::Port { host, .. }) => {
                Explanation::impossible(direction, host, "the direction socket leads to the path of a socket")
            }
        }
    }

    async fn explain_reaching(
        &self,
        rules: &RuleSet,
        who: Subject<'_>,
        direction: Direction,
        asked: &str,
        number: u32,
    ) -> Explanation {
        let valid = target::port(number).and_then(|port| Ok((asked.parse::<Host>()?, port)));
        let (host, port) = match valid {
            Ok(valid) => valid,
            Err(invalid) => return Explanation::impossible(direction, format_args!("{asked}:{number}"), invalid),
        };
        let (name, found) = match &host {
            Host::Address(address) => (None, vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => match self.resolver.addresses(name, Arc::new(Semaphore::new(1))).await {
                Ok(found) => (Some(Arc::from(name.as_str())), found),
                Err(refusal) => {
                    let target = format_args!("{host}:{port}").to_string();
                    return Explanation::impossible(direction, target, refusal.cause());
                }
            },
        };
        let found = found.into_iter().map(|address| at(address, port));
        let judged: Vec<Explained> = found
            .map(|address| {
                let wanted = Wanted::Reach { direction, name: name.clone(), address: address.ip(), port };
                explained(rules, address, rules.judge(who, &wanted))
            })
            .collect();
        let target =
            host.address().map_or_else(|| format!("{host}:{port}"), |ip| SocketAddr::new(ip, port).to_string());
        // Every address must be allowed, or the name is not trusted.
        let allowed = judged.iter().all(|one| one.allowed);
        Explanation { direction, target, allowed, problem: None, judged }
    }
}

fn explain_listening(rules: &RuleSet, who: Subject<'_>, host: &str, number: u32) -> Explanation {
    let (direction, target) = (Direction::Remote, format!("{host}:{number}"));
    let Ok(port) = u16::try_from(number) else {
        return Explanation::impossible(direction, target, target::InvalidTarget::Port);
    };
    let sets = match places(host) {
        Ok(sets) => sets,
        Err(invalid) => return Explanation::impossible(direction, target, invalid),
    };
    let mut judged = Vec::new();
    for addresses in sets {
        let verdict = |address| {
            let verdict = rules.judge(who, &listening(address, port));
            explained(rules, SocketAddr::new(address, port), verdict)
        };
        judged = addresses.into_iter().map(verdict).collect();
        if judged.iter().any(|one: &Explained| one.allowed) {
            break;
        }
    }
    // The node listens on those that are allowed.
    let allowed = judged.iter().any(|one| one.allowed);
    Explanation { direction, target, allowed, problem: None, judged }
}

async fn explain_socket(rules: &RuleSet, who: Subject<'_>, direction: Direction, asked: &str) -> Explanation {
    let path = match path::asked(asked) {
        Ok(path) => path,
        Err(invalid) => return Explanation::impossible(direction, asked, invalid),
    };
    let real = match direction {
        Direction::Remote => SocketPlace::find(path).await.map(|place| place.path().to_owned()),
        _ => SocketFile::find(path).await.map(|file| file.path().to_owned()),
    };
    let real = match real {
        Ok(real) => real,
        Err(refusal) => return Explanation::impossible(direction, asked, refusal.cause()),
    };
    let verdict = rules.judge(who, &Wanted::Socket { direction, path: real.clone() });
    let judged = vec![explained(rules, real.display(), verdict)];
    Explanation { direction, target: asked.to_owned(), allowed: verdict.allowed, problem: None, judged }
}

fn explained(rules: &RuleSet, place: impl fmt::Display, Verdict { allowed, basis }: Verdict) -> Explained {
    let rule = match basis {
        Basis::Rule(number) => rules.rules.get(number - 1).map(|rule| (number, rule.to_string())),
        Basis::NoRule | Basis::NotNamed | Basis::DataFolder | Basis::Never(_) => None,
    };
    Explained { place: place.to_string(), allowed, rule, reason: basis.to_string() }
}
