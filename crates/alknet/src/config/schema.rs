//! The typed configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use alknet_call::Balance;
use alknet_core::{HostPort, OWNER_ROLE, PeerName, limits::MAX_TICKET_ADDRESSES};
use alknet_fs::Retention;
use alknet_net::{AddressRange, PublicUrl};
use alknet_ssh::{ForwardRule, Recorded, RecordingLimits, limits::MAX_RULES};
use alknet_store::{Durability, GUEST_ROLE, Role, RoleError, Roles};
use serde::{Deserialize, Deserializer, de::Error as _};
use tracing_subscriber::EnvFilter;

use super::{
    addresses::{Advertised, EnvPattern, HostName, ListenAddr, RedirectUrl},
    defaults::ROLES,
    file::is_role_name,
    limits::{
        GC_GRACE, LOGIN_GRACE, MAX_DRAIN, MAX_EXEMPT_RANGES, MAX_HOOK_RANGES, RECORD_AGE, TOKEN_LIFETIME,
        UPLOAD_LIFETIME,
    },
    paths::AbsolutePath,
    timespan::Timespan,
    users::system_users,
};

/// The whole configuration, checked. `defaults.toml` describes each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The endpoint and its addresses.
    pub node: NodeConfig,
    /// What happens before TLS.
    pub gate: GateConfig,
    /// The web face's certificate.
    pub web: WebConfig,
    /// HTTP.
    pub http: HttpConfig,
    /// SSH.
    pub ssh: SshConfig,
    /// Auth tokens.
    pub tokens: TokensConfig,
    /// Workers.
    pub workers: WorkersConfig,
    /// Files.
    pub fs: FsConfig,
    /// Logs.
    pub log: LogConfig,
    /// The audit table.
    pub audit: AuditConfig,
    pub(super) roles: BTreeMap<String, Role>,
}

/// `[node]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where to listen. Static.
    #[serde(deserialize_with = "parsed")]
    pub listen: ListenAddr,
    /// Addresses for tickets, best first.
    #[serde(deserialize_with = "advertised")]
    pub advertise: Vec<HostPort>,
    /// How long a stopping node waits for open connections.
    #[serde(deserialize_with = "drain_timeout")]
    pub drain_timeout: Duration,
}

/// `[gate]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// Whether SSH without TLS is let through. Static.
    pub plain_ssh: bool,
    /// Where HTTP without TLS is sent. Static.
    #[serde(deserialize_with = "parsed_unless_empty")]
    pub public_url: Option<PublicUrl>,
    /// What is never held to account.
    #[serde(deserialize_with = "exempt_ranges")]
    pub exempt: Vec<AddressRange>,
}

/// `[web]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    #[serde(deserialize_with = "parsed_unless_empty")]
    certificate: Option<AbsolutePath>,
    #[serde(deserialize_with = "parsed_unless_empty")]
    key: Option<AbsolutePath>,
    /// More names for the self-signed certificate.
    #[serde(deserialize_with = "parsed_list")]
    pub names: Vec<HostName>,
}

impl WebConfig {
    /// The PEM files of the certificate chain and its key; without them the certificate is self-signed.
    pub fn pem_files(&self) -> Option<(PathBuf, PathBuf)> {
        Some((self.certificate.as_ref()?.0.clone(), self.key.as_ref()?.0.clone()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DecoyKind {
    None,
    #[serde(rename = "404")]
    NotFound,
    Folder,
    Redirect,
}

/// What strangers see over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoy {
    /// The small front page.
    None,
    /// Nothing at all.
    NotFound,
    /// The files of a folder.
    Folder(PathBuf),
    /// Another site.
    Redirect(RedirectUrl),
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    decoy: DecoyKind,
    #[serde(deserialize_with = "parsed_unless_empty")]
    decoy_folder: Option<AbsolutePath>,
    #[serde(deserialize_with = "parsed_unless_empty")]
    decoy_url: Option<RedirectUrl>,
    /// Names that requests may be addressed to; empty for any.
    #[serde(deserialize_with = "parsed_list")]
    pub hosts: Vec<HostName>,
}

impl HttpConfig {
    /// What strangers see.
    pub fn decoy(&self) -> Decoy {
        match (self.decoy, &self.decoy_folder, &self.decoy_url) {
            (DecoyKind::Folder, Some(folder), _) => Decoy::Folder(folder.0.clone()),
            (DecoyKind::Redirect, _, Some(url)) => Decoy::Redirect(url.clone()),
            (DecoyKind::None, ..) => Decoy::None,
            // A folder or URL that is missing was refused at loading; hiding everything would be the safe reading.
            (DecoyKind::NotFound | DecoyKind::Folder | DecoyKind::Redirect, ..) => Decoy::NotFound,
        }
    }
}

/// `[ssh]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    #[serde(deserialize_with = "parsed_unless_empty")]
    shell: Option<AbsolutePath>,
    /// Environment variables that a client may set.
    #[serde(deserialize_with = "parsed_list")]
    pub env_allow: Vec<EnvPattern>,
    /// Whose processes run as which user of the system, by peer name; the others' run as the node's own user.
    #[serde(deserialize_with = "system_users")]
    pub users: BTreeMap<PeerName, String>,
    banner: String,
    #[serde(deserialize_with = "parsed_unless_empty")]
    revoked_keys: Option<AbsolutePath>,
    #[serde(deserialize_with = "parsed_unless_empty")]
    motd: Option<AbsolutePath>,
    /// Whose terminal sessions are recorded.
    #[serde(deserialize_with = "recorded")]
    pub record: Vec<Recorded>,
    #[serde(deserialize_with = "positive")]
    record_max_mib: u64,
    #[serde(deserialize_with = "positive")]
    record_total_mib: u64,
    #[serde(deserialize_with = "record_age")]
    record_age: Duration,
    /// What may be forwarded, in order.
    #[serde(deserialize_with = "forward_rules")]
    pub forward: Vec<ForwardRule>,
    /// How long logging in may take.
    #[serde(deserialize_with = "login_grace")]
    pub login_grace: Duration,
}

impl SshConfig {
    /// The file of SSH keys that are not accepted any more.
    pub fn revoked_keys(&self) -> Option<PathBuf> {
        self.revoked_keys.as_ref().map(|file| file.0.clone())
    }
    /// The shell for sessions; without one, the user's login shell.
    pub fn shell(&self) -> Option<PathBuf> {
        self.shell.as_ref().map(|shell| shell.0.clone())
    }
    /// What is shown before a login.
    pub fn banner(&self) -> Option<Banner<'_>> {
        match self.banner.as_str() {
            "" => None,
            path if path.starts_with('/') => Some(Banner::File(Path::new(path))),
            text => Some(Banner::Text(text)),
        }
    }
    /// The file with the message of the day.
    pub fn motd(&self) -> Option<PathBuf> {
        self.motd.as_ref().map(|motd| motd.0.clone())
    }
    /// How much of recordings is kept.
    pub fn recording_limits(&self) -> RecordingLimits {
        let bytes = |mib: u64| mib.saturating_mul(1024 * 1024);
        let (each_bytes, all_bytes) = (bytes(self.record_max_mib), bytes(self.record_total_mib));
        RecordingLimits { each_bytes, all_bytes, age: self.record_age }
    }
}

/// What SSH clients are shown before they log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banner<'a> {
    /// This text.
    Text(&'a str),
    /// What is in this file.
    File(&'a Path),
}

/// `[tokens]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// Longest life of a token that is accepted.
    #[serde(deserialize_with = "token_lifetime")]
    pub max_lifetime: Duration,
}

/// `[workers]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkersConfig {
    /// How a call for any worker chooses one.
    #[serde(deserialize_with = "balance")]
    pub balance: Balance,
}

/// `[fs]`, all of it static.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsConfig {
    #[serde(deserialize_with = "parsed_unless_empty")]
    folder: Option<AbsolutePath>,
    /// What an answer to a change means in buckets that do not say.
    #[serde(deserialize_with = "durability")]
    pub durability: Durability,
    /// How long old versions are kept in buckets that do not say; `None`: for ever.
    #[serde(deserialize_with = "retention")]
    pub retention: Option<Retention>,
    /// How long content stays that nothing refers to.
    #[serde(deserialize_with = "gc_grace")]
    pub gc_grace: Duration,
    /// How long an upload that was cut waits.
    #[serde(deserialize_with = "upload_lifetime")]
    pub upload_lifetime: Duration,
    /// Addresses that are not public and that webhooks are sent to all the same.
    #[serde(deserialize_with = "hook_ranges")]
    pub private_hooks: Vec<AddressRange>,
}

impl FsConfig {
    /// The folder of the content; without one, the data folder.
    pub fn folder(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.0.clone())
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    #[serde(deserialize_with = "log_level")]
    level: String,
    /// How logs are written. Static.
    pub format: LogFormat,
}

impl LogConfig {
    /// The filter's directives, in `tracing_subscriber`'s syntax.
    pub fn level(&self) -> &str {
        &self.level
    }
}

/// `[audit]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Rows that the audit table keeps.
    #[serde(deserialize_with = "positive")]
    max_rows: u64,
}

impl AuditConfig {
    /// Rows that the audit table keeps.
    pub fn rows(&self) -> usize {
        usize::try_from(self.max_rows).unwrap_or(usize::MAX)
    }
}

impl Config {
    /// The roles as the store takes them.
    ///
    /// # Errors
    /// None for a loaded configuration, whose roles were tried one by one.
    pub fn roles(&self) -> Result<Roles, RoleError> {
        Roles::with_mapped(self.roles.clone(), self.mapped())
    }
    fn mapped(&self) -> BTreeSet<String> {
        self.ssh.users.keys().map(ToString::to_string).collect()
    }
    /// Rules that name roles which are not there: they would be about nobody.
    fn forwards_for_nobody(&self) -> Vec<(String, String)> {
        let known = |role: &str| [OWNER_ROLE, GUEST_ROLE].contains(&role) || self.roles.contains_key(role);
        let unknown = |(at, rule): (usize, &ForwardRule)| {
            let role = rule.roles().find(|role| !known(role))?.to_owned();
            Some(("ssh.forward".to_owned(), format!("rule {}: there is no role `{role}`", at + 1)))
        };
        self.ssh.forward.iter().enumerate().filter_map(unknown).collect()
    }
    /// What does not fit together, as the key to change and the reason.
    pub(super) fn contradictions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        match (&self.web.certificate, &self.web.key) {
            (Some(_), None) => found.push(("web.certificate", "web.key must name its private key")),
            (None, Some(_)) => found.push(("web.key", "web.certificate must name its certificate")),
            _ => {}
        }
        match self.http.decoy {
            DecoyKind::Folder if self.http.decoy_folder.is_none() => {
                found.push(("http.decoy", "http.decoy_folder must name the folder"));
            }
            DecoyKind::Redirect if self.http.decoy_url.is_none() => {
                found.push(("http.decoy", "http.decoy_url must say where to"));
            }
            _ => {}
        }
        let mut found: Vec<_> =
            found.into_iter().map(|(key, why): (&str, &str)| (key.to_owned(), why.to_owned())).collect();
        found.extend(self.roles.iter().filter_map(|(name, role)| {
            let alone = BTreeMap::from([(name.clone(), role.clone())]);
            let error = Roles::with_mapped(alone, self.mapped()).err()?;
            Some((format!("{ROLES}.{name}.scopes"), error.to_string()))
        }));
        found.extend(self.forwards_for_nobody());
        found
    }
}

/// A text in the syntax of `T`.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// A text in the syntax of `T`, or nothing for the empty text.
fn parsed_unless_empty<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// A list of texts in the syntax of `T`; the error names the one that is wrong.
fn parsed_list<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let one = |text: String| {
        text.parse().map_err(|error| D::Error::custom(format!("{}: {error}", super::error::quoted(&text))))
    };
    texts.into_iter().map(one).collect()
}

fn advertised<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<HostPort>, D::Error> {
    let addresses: Vec<Advertised> = parsed_list(from)?;
    if addresses.len() > MAX_TICKET_ADDRESSES {
        return Err(D::Error::custom(format!("a ticket has room for {MAX_TICKET_ADDRESSES} addresses")));
    }
    Ok(addresses.into_iter().map(|address| address.0).collect())
}

fn exempt_ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<AddressRange>, D::Error> {
    let ranges: Vec<AddressRange> = parsed_list(from)?;
    if ranges.len() > MAX_EXEMPT_RANGES {
        return Err(D::Error::custom(format!("at most {MAX_EXEMPT_RANGES} ranges can be exempt")));
    }
    Ok(ranges)
}

/// A span of time between two bounds, both allowed.
fn span_within<'de, D: Deserializer<'de>>(
    from: D,
    shortest: Duration,
    longest: Duration,
) -> Result<Duration, D::Error> {
    let Timespan(span) = parsed(from)?;
    if (shortest..=longest).contains(&span) {
        return Ok(span);
    }
    Err(D::Error::custom(format!("must be from {} to {}", Timespan(shortest), Timespan(longest))))
}

fn drain_timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, Duration::ZERO, MAX_DRAIN)
}

/// The rules of the forwarding policy; the error names the one that is wrong by its number.
fn forward_rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ForwardRule>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    if texts.len() > MAX_RULES {
        return Err(D::Error::custom(format!("at most {MAX_RULES} rules")));
    }
    let one = |(at, text): (usize, String)| {
        let quoted = || super::error::quoted(&text);
        text.parse().map_err(|error| D::Error::custom(format!("rule {}, {}: {error}", at + 1, quoted())))
    };
    texts.into_iter().enumerate().map(one).collect()
}

fn login_grace<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, LOGIN_GRACE.0, LOGIN_GRACE.1)
}

fn record_age<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, RECORD_AGE.0, RECORD_AGE.1)
}

/// Peers, `role:NAME` and `*`.
fn recorded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Recorded>, D::Error> {
    let one = |text: String| {
        let who: Recorded = text.parse().unwrap_or_else(|never| match never {});
        let known = match &who {
            Recorded::Everybody => true,
            Recorded::Role(role) => is_role_name(role),
            Recorded::Peer(name) => name.parse::<PeerName>().is_ok_and(|parsed| parsed.as_str() == name),
        };
        let quoted = super::error::quoted(&text);
        known
            .then_some(who)
            .ok_or_else(|| D::Error::custom(format!("{quoted}: write a peer's name, \"role:NAME\" or \"*\"")))
    };
    Vec::<String>::deserialize(from)?.into_iter().map(one).collect()
}

fn token_lifetime<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, TOKEN_LIFETIME.0, TOKEN_LIFETIME.1)
}

fn hook_ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<AddressRange>, D::Error> {
    let ranges: Vec<AddressRange> = parsed_list(from)?;
    if ranges.len() > MAX_HOOK_RANGES {
        return Err(D::Error::custom(format!("at most {MAX_HOOK_RANGES} ranges can be allowed")));
    }
    Ok(ranges)
}

fn gc_grace<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, GC_GRACE.0, GC_GRACE.1)
}

fn upload_lifetime<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    span_within(from, UPLOAD_LIFETIME.0, UPLOAD_LIFETIME.1)
}

fn durability<'de, D: Deserializer<'de>>(from: D) -> Result<Durability, D::Error> {
    match String::deserialize(from)?.as_str() {
        "strict" => Ok(Durability::Strict),
        "group" => Ok(Durability::Group),
        "lazy" => Ok(Durability::Lazy),
        _ => Err(D::Error::custom("write \"strict\", \"group\" or \"lazy\"")),
    }
}

fn retention<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Retention>, D::Error> {
    let text = String::deserialize(from)?;
    if text == "forever" {
        return Ok(None);
    }
    let bad = |_| D::Error::custom("write a whole number and a unit (s, m, h, d, w), such as \"30d\", or \"forever\"");
    Retention::parse(&text).map(Some).map_err(bad)
}

fn log_level<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    match EnvFilter::builder().parse(&text) {
        Ok(_) if !text.trim().is_empty() => Ok(text),
        Ok(_) => Err(D::Error::custom("write off, error, warn, info, debug or trace")),
        Err(error) => Err(D::Error::custom(format!("not a log filter: {error}"))),
    }
}

fn balance<'de, D: Deserializer<'de>>(from: D) -> Result<Balance, D::Error> {
    match String::deserialize(from)?.as_str() {
        "turns" => Ok(Balance::Turns),
        "least-busy" => Ok(Balance::LeastBusy),
        _ => Err(D::Error::custom("write \"turns\" or \"least-busy\"")),
    }
}

fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(number),
    }
}
