//! What the rules say, without looking at the world: pure.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    direction::Direction,
    faces::{NeverReached, faces},
    rule::{ForwardRule, HostPattern, Place},
};
use crate::limits::FIRST_FREE_PORT;

/// One thing that a forward needs, in its usual form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// To reach an address: one that was asked for, or found for the name that was asked for.
    Reach {
        /// [`Direction::Local`] or [`Direction::Dynamic`].
        direction: Direction,
        name: Option<Arc<str>>,
        address: IpAddr,
        port: u16,
    },
    /// To listen on an address. Port 0 is any free one.
    Listen { name: Option<Arc<str>>, address: IpAddr, port: u16 },
    /// To reach ([`Direction::Socket`]) or to listen at ([`Direction::Remote`]) a socket, symbolic links followed.
    Socket { direction: Direction, path: PathBuf },
}

/// Somebody, as rules see them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) role: Option<&'a str>,
}

/// The rules in force, and what they are relative to.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleSet {
    pub(crate) rules: Vec<ForwardRule>,
    /// The data folder, symbolic links followed.
    pub(crate) data: Option<PathBuf>,
    /// The node's own port, once it is known.
    pub(crate) own_port: Option<u16>,
}

/// What was decided, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) basis: Basis,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The rule at this place, counted from 1.
    Rule(usize),
    /// No rule is about it.
    NoRule,
    /// No rule is about it, because those that would be do not name its port or address.
    NotNamed,
    /// It lies in the data folder.
    DataFolder,
    /// It is no address of one machine.
    Never(NeverReached),
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(number) => write!(f, "rule {number}"),
            Self::NoRule => f.write_str("no rule allows it"),
            Self::NotNamed => f.write_str(
                "no rule names it: ports below 1024, the node's own port and addresses other than loopback are listened on only \
                 where a rule writes them out",
            ),
            Self::DataFolder => f.write_str("sockets in the node's data folder are never reached"),
            Self::Never(why) => why.fmt(f),
        }
    }
}

impl Verdict {
    const fn no(basis: Basis) -> Self {
        Self { allowed: false, basis }
    }
}

impl RuleSet {
    /// What the rules say: for an address that carries others, the first no among all of them.
    pub(crate) fn judge(&self, who: Subject<'_>, wanted: &Wanted) -> Verdict {
        match wanted {
            Wanted::Reach { direction, name, address, port } => {
                let faces = match faces(*address) {
                    Ok(faces) => faces,
                    Err(why) => return Verdict::no(Basis::Never(why)),
                };
                let reaches = |rule: &ForwardRule, face| {
                    let of_ports = |host: &HostPattern| host.has(name.as_deref(), face);
                    is_about(rule, *direction) && has_port(&rule.place, *port, of_ports)
                };
                let mut verdicts = faces.iter().map(|face| self.first(who, |rule| reaches(rule, *face)));
                let first = verdicts.next().unwrap_or(Verdict::no(Basis::NoRule));
                if first.allowed { verdicts.find(|verdict| !verdict.allowed).unwrap_or(first) } else { first }
            }
            Wanted::Listen { name, address, port } => self.judge_listen(who, name.as_deref(), *address, *port),
            Wanted::Socket { path, .. } if self.is_in_data(path) => Verdict::no(Basis::DataFolder),
            Wanted::Socket { direction, path } => {
                self.first(who, |rule| is_about(rule, *direction) && rule.place.has_socket(path, self.data.as_deref()))
            }
        }
    }

    fn judge_listen(&self, who: Subject<'_>, name: Option<&str>, address: IpAddr, port: u16) -> Verdict {
        let (wide, guarded) = (!address.is_loopback(), self.guards(port));
        let mut passed_over = false;
        let verdict = self.first(who, |rule| {
            let about =
                is_about(rule, Direction::Remote) && has_port(&rule.place, port, |host| host.has(name, address));
            if !about || !rule.allows {
                return about;
            }
            let names_port = matches!(&rule.place, Place::Port { ports, .. } if ports.names(port));
            let names_host = matches!(&rule.place, Place::Port { host: HostPattern::Within(_), .. });
            let named = (names_port || !guarded) && (names_host || !wide);
            passed_over |= !named;
            named
        });
        match verdict.basis {
            Basis::NoRule if passed_over => Verdict::no(Basis::NotNamed),
            _ => verdict,
        }
    }

    /// Whether a port is listened on only where a rule writes it out.
    fn guards(&self, port: u16) -> bool {
        (1..FIRST_FREE_PORT).contains(&port) || (port != 0 && self.own_port == Some(port))
    }

    /// Whether the path is the data folder or in it.
    pub(crate) fn is_in_data(&self, path: &Path) -> bool {
        self.data.as_deref().is_some_and(|data| path.starts_with(data))
    }

    /// Whether looking a name up can be of use: a rule might allow an address that is found for it.
    pub(crate) fn may_allow(&self, who: Subject<'_>, direction: Direction, name: &str, port: u16) -> bool {
        let open = |rule: &&ForwardRule| {
            rule.is_about(who.id, who.role)
                && is_about(rule, direction)
                && has_port(&rule.place, port, |host| host.may_have(name))
        };
        let for_certain = |rule: &ForwardRule| match &rule.place {
            Place::Everything => true,
            Place::Port { host, .. } => !matches!(host, HostPattern::Within(_)),
            Place::Socket(_) => false,
        };
        for rule in self.rules.iter().filter(open) {
            if rule.allows {
                return true;
            }
            if for_certain(rule) {
                return false;
            }
        }
        false
    }

    /// The first rule that is about them and about it.
    fn first(&self, who: Subject<'_>, mut is_about_it: impl FnMut(&ForwardRule) -> bool) -> Verdict {
        let mut rules = self.rules.iter().enumerate();
        let found = rules.find(|(_, rule)| rule.is_about(who.id, who.role) && is_about_it(rule));
        found.map_or(Verdict::no(Basis::NoRule), |(at, rule)| Verdict {
            allowed: rule.allows,
            basis: Basis::Rule(at + 1),
        })
    }
}

/// Whether a rule is about forwards of this direction. A connection for a client's `-D` looks like one for `-L`, so that rules about
/// either are about both; datagrams are for `-D` alone.
fn is_about(rule: &ForwardRule, direction: Direction) -> bool {
    rule.directions.has(direction) || (direction == Direction::Local && rule.directions.has(Direction::Dynamic))
}

fn has_port(place: &Place, port: u16, has_host: impl FnOnce(&HostPattern) -> bool) -> bool {
    match place {
        Place::Everything => true,
        Place::Port { host, ports } => ports.has(port) && has_host(host),
        Place::Socket(_) => false,
    }
}
