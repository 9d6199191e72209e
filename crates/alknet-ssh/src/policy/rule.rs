//! One rule: whether, who, which way, where.
//!
//! `allow role:dev local 10.0.0.0/8:5432,8000-8100` — four words. The last is a host with ports, the path of a socket, or `*` for
//! everything.

use std::{fmt, net::IpAddr, path::Path, str::FromStr};

use alknet_core::PeerName;

use super::{
    direction::{Direction, Directions, InvalidDirection},
    network::{InvalidNetwork, Network},
    path::{InvalidPath, PathPattern},
    ports::{InvalidPorts, Ports},
    target::ends_in_number,
};
use crate::{
    limits::{MAX_HOST_NAME_BYTES, MAX_RULE_BYTES, MAX_RULE_WHO},
    pattern::fits,
};

/// One rule of the forwarding policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRule {
    pub(super) allows: bool,
    who: Vec<Who>,
    pub(super) directions: Directions,
    pub(super) place: Place,
    text: String,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Anyone,
    Peer(PeerName),
    Role(String),
}

/// Where a rule's forwards lead, or are listened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Everything,
    Port { host: HostPattern, ports: Ports },
    Socket(PathPattern),
}

/// Hosts that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    /// Names as they were asked for; never an address.
    Name(String),
    /// Addresses, whether asked for or found for a name.
    Within(Network),
}

/// Why a text is no rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidRule {
    /// It is too long.
    #[error("a rule has at most {MAX_RULE_BYTES} bytes")]
    Length,
    /// It is not four words.
    #[error(
        "a rule is four words: allow or deny, who, which way, where; for example \"allow role:dev local 10.0.0.0/8:5432\""
    )]
    Words,
    /// The first word.
    #[error("a rule begins with allow or deny")]
    Verdict,
    /// The second word.
    #[error("`{}` is nobody: write a peer's name, role:NAME or *, at most {MAX_RULE_WHO} with commas between", .0.escape_debug())]
    Who(String),
    /// The third word.
    #[error("{0}, several with commas between, or *")]
    Direction(#[from] InvalidDirection),
    /// The last word names no place.
    #[error("the place is host:ports, the path of a socket, or *; IPv6 stands in [brackets]")]
    Place,
    /// The host is neither a name nor an address.
    #[error("`{}` is no host: write a name such as *.example.org, an address, or a network such as 10.0.0.0/8", .0.escape_debug())]
    Host(String),
    /// The network.
    #[error("{0}")]
    Network(#[from] InvalidNetwork),
    /// The ports.
    #[error("{0}")]
    Ports(#[from] InvalidPorts),
    /// The path.
    #[error("{0}")]
    Path(#[from] InvalidPath),
    /// The words do not go together.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl ForwardRule {
    /// The roles that it names.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.who.iter().filter_map(|who| match who {
            Who::Role(name) => Some(name.as_str()),
            Who::Anyone | Who::Peer(_) => None,
        })
    }

    /// Follows the symbolic links in its path, as they are now.
    pub(super) fn follow_links(&mut self) {
        if let Place::Socket(pattern) = &mut self.place {
            pattern.follow();
        }
    }

    /// Whether it is about this identity.
    pub(super) fn is_about(&self, id: &str, role: Option<&str>) -> bool {
        self.who.iter().any(|who| match who {
            Who::Anyone => true,
            Who::Peer(name) => name.as_str() == id,
            Who::Role(name) => Some(name.as_str()) == role,
        })
    }
}

impl HostPattern {
    /// Whether it is about this address, which was asked for under this name.
    pub(super) fn has(&self, name: Option<&str>, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Name(pattern) => name.is_some_and(|name| fits(pattern, name)),
            Self::Within(network) => network.contains(address),
        }
    }
    /// Whether it may be about an address that is found for this name.
    pub(super) fn may_have(&self, name: &str) -> bool {
        match self {
            Self::Name(pattern) => fits(pattern, name),
            Self::Any | Self::Within(_) => true,
        }
    }
}

impl Place {
    /// Whether the socket is in it.
    pub(super) fn has_socket(&self, path: &Path, data: Option<&Path>) -> bool {
        match self {
            Self::Everything => true,
            Self::Socket(pattern) => pattern.has(path, data),
            Self::Port { .. } => false,
        }
    }
}

fn who(text: &str) -> Result<Vec<Who>, InvalidRule> {
    let one = |text: &str| {
        let invalid = || InvalidRule::Who(text.to_owned());
        Ok(match text.strip_prefix("role:") {
            _ if text == "*" => Who::Anyone,
            // A role is named as the configuration names it.
            Some(role) if is_role_name(role) => Who::Role(role.to_owned()),
            Some(_) => return Err(invalid()),
            None => Who::Peer(text.parse().map_err(|_| invalid())?),
        })
    };
    if text.split(',').count() > MAX_RULE_WHO {
        return Err(InvalidRule::Who(text.to_owned()));
    }
    text.split(',').map(one).collect()
}

fn is_role_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.bytes().all(good)
}

fn directions(text: &str) -> Result<Directions, InvalidRule> {
    if text == "*" {
        return Ok(Directions::all());
    }
    text.split(',').try_fold(Directions::default(), |set, word| Ok(set.with(word.parse()?)))
}

fn place(text: &str) -> Result<Place, InvalidRule> {
    if text == "*" {
        return Ok(Place::Everything);
    }
    if text.starts_with(['/', '<']) {
        return Ok(Place::Socket(text.parse()?));
    }
    // What stands behind the last colon outside of brackets.
    let (host, ports) = text.rsplit_once(':').filter(|(_, ports)| !ports.contains(']')).ok_or(InvalidRule::Place)?;
    Ok(Place::Port { host: host_pattern(host)?, ports: ports.parse()? })
}

fn host_pattern(text: &str) -> Result<HostPattern, InvalidRule> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(rest) = text.strip_prefix('[') {
        // Both [fd00::/8] and [fd00::]/8.
        let network = rest.strip_suffix(']').map(str::to_owned).or_else(|| {
            let (address, prefix) = rest.split_once("]/")?;
            Some(format!("{address}/{prefix}"))
        });
        return Ok(HostPattern::Within(network.ok_or(InvalidRule::Place)?.parse()?));
    }
    if text.contains(':') {
        return Err(InvalidRule::Place);
    }
    if text.contains('/') || text.parse::<IpAddr>().is_ok() {
        return Ok(HostPattern::Within(text.parse()?));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'*' | b'?');
    let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(letter));
    // No name fits these: they would be rules about addresses that are about none.
    let like_address =
        ends_in_number(&name) || !name.bytes().any(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_'));
    let only_stars = name.split('.').all(|label| label.bytes().all(|b| b == b'*'));
    if !is_name || name.len() > MAX_HOST_NAME_BYTES || (like_address && !only_stars) {
        return Err(InvalidRule::Host(text.to_owned()));
    }
    Ok(HostPattern::Name(name))
}

/// What cannot be meant.
fn contradiction(directions: Directions, place: &Place) -> Option<&'static str> {
    let only =
        |wanted: &[Direction]| Direction::ALL.into_iter().all(|one| !directions.has(one) || wanted.contains(&one));
    let (is_any, has_socket) = (directions == Directions::all(), directions.has(Direction::Socket));
    match place {
        Place::Everything => None,
        Place::Socket(_) if is_any || only(&[Direction::Socket, Direction::Remote]) => None,
        Place::Socket(_) => Some("a socket's path goes with socket, remote or *"),
        Place::Port { .. } if has_socket && !is_any => Some("the direction socket goes with the path of a socket"),
        Place::Port { ports, .. } if ports.names(0) && !only(&[Direction::Remote]) => {
            Some("port 0, which stands for any free port, goes with remote alone")
        }
        Place::Port { host: HostPattern::Name(name), .. } if only(&[Direction::Remote]) && name != "localhost" => {
            Some("the node listens on addresses or localhost, not on other names")
        }
        Place::Port { host: HostPattern::Within(network), .. }
            if !directions.has(Direction::Remote) && is_unspecified(network) =>
        {
            Some("0.0.0.0 and [::] lead to this machine itself: write 127.0.0.0/8 or [::1]")
        }
        Place::Port { .. } => None,
    }
}

fn is_unspecified(network: &Network) -> bool {
    network.is(std::net::Ipv4Addr::UNSPECIFIED.into()) || network.is(std::net::Ipv6Addr::UNSPECIFIED.into())
}

impl FromStr for ForwardRule {
    type Err = InvalidRule;
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        if text.len() > MAX_RULE_BYTES {
            return Err(InvalidRule::Length);
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [verdict, who_word, directions_word, place_word] = words[..] else { return Err(InvalidRule::Words) };
        let allows = match verdict {
            "allow" => true,
            "deny" => false,
            _ => return Err(InvalidRule::Verdict),
        };
        let (who, directions, place) = (who(who_word)?, directions(directions_word)?, place(place_word)?);
        match contradiction(directions, &place) {
            Some(why) => Err(InvalidRule::Contradiction(why)),
            None => Ok(Self { allows, who, directions, place, text: words.join(" ") }),
        }
    }
}

impl fmt::Display for ForwardRule {
    /// As it was written, with one space between the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> ForwardRule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn rules_are_four_words() {
        // POL-01, POL-02
        for text in [
            "allow role:owner * *",
            "deny * * *.internal:*",
            "allow alice,role:dev local,dynamic db-1.corp:5432",
            "allow * local 10.0.0.0/8:5432,8000-8100",
            "allow * local [fd00::/8]:22",
            "allow * local [fd00::]/8:22",
            "allow * local [::1]:22",
            "allow bob remote localhost:8080",
            "allow bob remote 0.0.0.0:80",
            "allow bob remote *:0",
            "allow bob remote /run/user/1000/*.sock",
            "allow bob socket,remote /run/**",
            "deny * * <data>",
            "deny * * /run/docker.sock",
            "allow * local *.*:*",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        assert_eq!(rule("  allow\t*  local   *:80 ").to_string(), "allow * local *:80");
    }

    #[test]
    fn a_rule_is_about_names_and_roles() {
        // POL-02
        let some = rule("allow alice,role:dev * *");
        assert!(some.is_about("alice", None) && some.is_about("bob", Some("dev")));
        assert!(!some.is_about("dev", Some("alice")) && !some.is_about("bob", None));
        assert!(rule("deny * * *").is_about("x", None));
        assert!(!rule("allow owner * *").is_about("x", Some("owner")), "a role is written role:NAME");
    }

    #[test]
    fn a_bad_rule_is_refused_by_what_is_wrong() {
        // POL-03
        let message = |text: &str| text.parse::<ForwardRule>().unwrap_err().to_string();
        for (text, part) in [
            ("", "four words"),
            ("allow * local", "four words"),
            ("allow * local *:1 *:2", "four words"),
            ("permit * * *", "allow or deny"),
            ("Allow * * *", "allow or deny"),
            ("allow role: * *", "nobody"),
            ("allow a,, * *", "nobody"),
            ("allow Ä * *", "nobody"),
            ("allow any * *", "nobody"),
            ("allow * locale *", "a direction is"),
            ("allow * local, *", "a direction is"),
            ("allow * local host", "host:ports"),
            ("allow * local ::1:22", "host:ports"),
            ("allow * local [::1]", "host:ports"),
            ("allow * local [::1:22", "host:ports"),
            ("allow * local h:", "no port"),
            ("allow * local h:99999", "no port"),
            ("allow * local :80", "no host"),
            ("allow * local 10.*:80", "no host"),
            ("allow * local 127.1:80", "no host"),
            ("allow * local 0x7f.1:80", "no host"),
            ("allow * local 1??.0.0.1:80", "no host"),
            ("allow * local ä.org:80", "no host"),
            ("allow * local 10.0.0.0/40:80", "prefix length"),
            ("allow * local 10.1.0.0/8:80", "write 10.0.0.0/8"),
            ("allow * local [fe80::1%lo]:80", "not an address"),
            ("allow * local /run/x", "goes with socket"),
            ("allow * socket h:80", "path of a socket"),
            ("allow * socket,local *:80", "path of a socket"),
            ("allow * socket /run/../x", "no . or .."),
            ("allow * socket <home>/x", "begins with /"),
            ("allow * local *:0", "port 0"),
            ("allow * remote example.org:80", "not on other names"),
            ("allow * local 0.0.0.0:80", "127.0.0.0/8"),
            ("deny * local,dynamic [::]:*", "127.0.0.0/8"),
        ] {
            assert!(message(text).contains(part), "{text}: {}", message(text));
        }
        assert_eq!(format!("allow * local {}:1", "a".repeat(600)).parse::<ForwardRule>(), Err(InvalidRule::Length));
        assert!(message(&format!("allow {} local *:1", "a,".repeat(40))).contains("nobody"));
    }
}
