//! The options of a key line (sshd(8), AUTHORIZED_KEYS FILE FORMAT) from text. What cannot be honoured is refused by its name.

use alknet_core::PeerAddr;

use crate::{
    address_list::AddressList,
    expiry,
    key_options::{KeyOptions, PermittedHost},
    limits::MAX_LOGGED_CHARS,
};

/// Why the options before a key are refused. Each would withhold something, so none is ever left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyOptionError {
    /// No option has that name.
    #[error("there is no option `{0}`")]
    Unknown(String),
    /// An option that only the SSH library could honour, or that is about something which is not here.
    #[error("the option `{name}` cannot be honoured: {why}")]
    Impossible {
        /// Which.
        name: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// It needs a value.
    #[error("the option `{0}` needs a value in double quotes: {0}=\"…\"")]
    NoValue(&'static str),
    /// It takes none.
    #[error("the option `{0}` takes no value")]
    Valued(&'static str),
    /// Its value is not what it should be.
    #[error("the option `{name}`: {why}")]
    Value {
        /// Which.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It is there twice, and only one could hold.
    #[error("the option `{0}` is there twice")]
    Twice(&'static str),
    /// A double quote is not closed.
    #[error("a double quote among the options is not closed")]
    Unclosed,
    /// Options are separated by one comma, without white space.
    #[error("an option is empty: options are separated by one comma")]
    Empty,
}

/// What stands before a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LineOptions {
    /// What a login with the key may be used for.
    pub(crate) uses: KeyOptions,
    /// From where it may come; `None` for anywhere.
    pub(crate) from: Option<AddressList>,
    /// When the key ends to be accepted, in seconds since 1970.
    pub(crate) expires: Option<u64>,
    /// Whether the key signs certificates instead of logging in.
    pub(crate) authority: bool,
    /// Whom such a certificate must name; `None` for the usual rule.
    pub(crate) principals: Option<Vec<String>>,
    canonical: Vec<String>,
}

impl LineOptions {
    /// Reads options, separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, KeyOptionError> {
        let mut options = Self::default();
        if text.is_empty() {
            return Ok(options);
        }
        let mut rest = text;
        loop {
            let (token, behind) = next_token(rest)?;
            options.take(&token)?;
            match behind.strip_prefix(',') {
                Some(more) => rest = more,
                None if behind.is_empty() => break,
                None => return Err(KeyOptionError::Empty),
            }
        }
        match options.principals {
            Some(_) if !options.authority => {
                Err(bad("principals", "it is for the key of an authority (cert-authority)"))
            }
            _ => Ok(options),
        }
    }

    /// The options in one spelling, without `cert-authority`; reads as the same again. `None` without any.
    pub(crate) fn canonical(&self) -> Option<String> {
        (!self.canonical.is_empty()).then(|| self.canonical.join(","))
    }

    /// Whether somebody may log in from `addr` at `now`, in seconds since 1970.
    pub(crate) fn allow(&self, addr: PeerAddr, now: u64) -> bool {
        let from_there = self.from.as_ref().is_none_or(|list| match addr {
            PeerAddr::Ip(addr) => list.lets_in(addr.ip()),
            PeerAddr::LocalOwner { .. } => false,
        });
        from_there && self.expires.is_none_or(|end| now < end)
    }

    fn take(&mut self, token: &Token) -> Result<(), KeyOptionError> {
        let uses = &mut self.uses;
        match token.name.as_str() {
            "restrict" => {
                token.flag("restrict")?;
                (uses.pty, uses.agent_forwarding, uses.port_forwarding) = (false, false, false);
            }
            "pty" => uses.pty = token.flag("pty")?,
            "no-pty" => uses.pty = !token.flag("no-pty")?,
            "agent-forwarding" => uses.agent_forwarding = token.flag("agent-forwarding")?,
            "no-agent-forwarding" => uses.agent_forwarding = !token.flag("no-agent-forwarding")?,
            "port-forwarding" => uses.port_forwarding = token.flag("port-forwarding")?,
            "no-port-forwarding" => uses.port_forwarding = !token.flag("no-port-forwarding")?,
            // Neither exists here, so that forbidding it is honoured, and allowing it gives nothing.
            "x11-forwarding" | "no-x11-forwarding" | "user-rc" | "no-user-rc" => {
                token.flag("X11-forwarding and user-rc")?;
            }
            // A touch is demanded of nobody.
            "no-touch-required" => {
                token.flag("no-touch-required")?;
            }
            "cert-authority" => {
                self.authority = token.flag("cert-authority")?;
                return Ok(());
            }
            "command" => once("command", &mut uses.command, token.value("command")?.as_bytes().to_vec())?,
            "from" => {
                let list = AddressList::parse(token.value("from")?).map_err(|why| bad("from", why))?;
                once("from", &mut self.from, list)?;
            }
            "expiry-time" => return self.take_expiry(token),
            "principals" => {
                let names = names(token.value("principals")?).ok_or_else(|| bad("principals", "a name is empty"))?;
                once("principals", &mut self.principals, names)?;
            }
            "permitopen" => {
                let value = token.value("permitopen")?;
                uses.permit_open.get_or_insert_default().push(permitted("permitopen", value)?);
            }
            "permitlisten" => {
                let value = token.value("permitlisten")?;
                let only_port = !value.contains(':');
                let value = if only_port { format!("*:{value}") } else { value.to_owned() };
                uses.permit_listen.get_or_insert_default().push(permitted("permitlisten", &value)?);
            }
            "environment" => {
                let (name, value) = variable(token.value("environment")?)?;
                if !uses.environment.iter().any(|(taken, _)| *taken == name) {
                    uses.environment.push((name, value));
                }
            }
            "verify-required" => {
                let why = "the SSH library does not tell whether the key verified its user";
                return Err(KeyOptionError::Impossible { name: "verify-required", why });
            }
            "tunnel" => {
                return Err(KeyOptionError::Impossible { name: "tunnel", why: "there are no tun devices here" });
            }
            _ => return Err(KeyOptionError::Unknown(token.name.chars().take(MAX_LOGGED_CHARS).collect())),
        }
        self.canonical.push(token.to_text());
        Ok(())
    }

    /// Of several the earliest holds.
    fn take_expiry(&mut self, token: &Token) -> Result<(), KeyOptionError> {
        let text = token.value("expiry-time")?;
        let end = expiry::parse(text)
            .ok_or_else(|| bad("expiry-time", "write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC"))?;
        self.expires = Some(self.expires.map_or(end, |other| other.min(end)));
        self.canonical.push(format!("expiry-time=\"{}\"", expiry::canonical(text)));
        Ok(())
    }
}

fn bad(name: &'static str, why: impl ToString) -> KeyOptionError {
    KeyOptionError::Value { name, why: why.to_string() }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), KeyOptionError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(KeyOptionError::Twice(name)),
    }
}

fn names(list: &str) -> Option<Vec<String>> {
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) { None } else { Some(names) }
}

/// `host:port` with brackets around an IPv6 address; the port may be `*`.
fn permitted(name: &'static str, text: &str) -> Result<PermittedHost, KeyOptionError> {
    let form = || bad(name, "write host:port, [IPv6]:port or host:*");
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:").ok_or_else(form)?,
        None => text.split_once(':').ok_or_else(form)?,
    };
    let port = match port {
        "*" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().map_err(|_| form())?),
        _ => return Err(form()),
    };
    if host.is_empty() || port == Some(0) {
        return Err(form());
    }
    Ok(PermittedHost { host: host.to_owned(), port })
}

fn variable(text: &str) -> Result<(String, String), KeyOptionError> {
    let named = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text.split_once('=') {
        Some((name, value)) if named(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(bad("environment", "write NAME=value, the name of letters, digits and underscores")),
    }
}

/// One option as it was written.
struct Token {
    /// In small letters.
    name: String,
    value: Option<String>,
}

impl Token {
    /// True, for an option without a value.
    fn flag(&self, name: &'static str) -> Result<bool, KeyOptionError> {
        if self.value.is_none() { Ok(true) } else { Err(KeyOptionError::Valued(name)) }
    }
    fn value(&self, name: &'static str) -> Result<&str, KeyOptionError> {
        let value = self.value.as_deref().ok_or(KeyOptionError::NoValue(name))?;
        let control = value.chars().any(|c| c.is_control() && c != '\t');
        if control { Err(bad(name, "there is a control character in it")) } else { Ok(value) }
    }
    fn to_text(&self) -> String {
        match &self.value {
            None => self.name.clone(),
            Some(value) => format!("{}=\"{}\"", self.name, value.replace('"', "\\\"")),
        }
    }
}

/// The first option, and what stands behind it.
fn next_token(text: &str) -> Result<(Token, &str), KeyOptionError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = name.to_ascii_lowercase();
    if name.is_empty() {
        // Something that is no letter: it is named, unless there is nothing.
        let shown = text.split(',').next().unwrap_or_default();
        let shown: String = shown.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect();
        return Err(if shown.is_empty() { KeyOptionError::Empty } else { KeyOptionError::Unknown(shown) });
    }
    match rest.strip_prefix('=') {
        None if rest.is_empty() || rest.starts_with(',') => Ok((Token { name, value: None }, rest)),
        None => {
            let whole = text.split(',').next().unwrap_or_default();
            let shown = whole.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect();
            Err(KeyOptionError::Unknown(shown))
        }
        Some(value) => {
            let quoted = value.strip_prefix('"').ok_or_else(|| unquoted(&name))?;
            let (value, rest) = unquote(quoted).ok_or(KeyOptionError::Unclosed)?;
            Ok((Token { name, value: Some(value) }, rest))
        }
    }
}

fn unquoted(name: &str) -> KeyOptionError {
    const VALUED: [&str; 7] =
        ["command", "from", "expiry-time", "principals", "permitopen", "permitlisten", "environment"];
    match VALUED.into_iter().find(|known| *known == name) {
        Some(name) => KeyOptionError::NoValue(name),
        None => KeyOptionError::Unknown(name.chars().take(MAX_LOGGED_CHARS).collect()),
    }
}

/// The text up to the closing quote, and what stands behind it. A backslash before a quote stands for the quote alone.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"')?;
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        match before.strip_suffix('\\') {
            Some(escaped) => {
                value.push_str(escaped);
                value.push('"');
            }
            None => {
                value.push_str(before);
                return Some((value, behind));
            }
        }
        rest = behind;
    }
}

/// The options at the beginning of a line, up to white space outside of quotes, and what stands behind them.
pub(crate) fn split_options(line: &str) -> Result<(&str, &str), KeyOptionError> {
    let (mut quoted, mut before) = (false, b' ');
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if !(quoted && before == b'\\') => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Ok((&line[..at], line[at..].trim_start())),
            _ => {}
        }
        before = byte;
    }
    if quoted { Err(KeyOptionError::Unclosed) } else { Ok((line, "")) }
}

#[cfg(test)]
mod tests;
