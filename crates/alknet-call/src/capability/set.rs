//! What a service elsewhere wants to be shown, by kind.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{kind::CredentialKind, secret::Secret};
use crate::limits::{MAX_CREDENTIAL_BYTES, MAX_CREDENTIAL_FIELDS, MAX_SECRET_BYTES};

/// A set of credentials. `Debug` shows its kind alone; there is no `Serialize` and no `Clone`.
pub enum CredentialSet {
    /// A key that the service gave out.
    ApiKey {
        /// The key.
        key: Secret,
    },
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A token that is enough by itself (RFC 6750).
    Bearer {
        /// The token.
        token: Secret,
    },
    /// Keys of a store that speaks S3.
    S3 {
        /// The public half.
        access_key_id: Secret,
        /// The secret half.
        secret_access_key: Secret,
        /// Where the store is, if not at its maker's.
        endpoint: Option<Secret>,
        /// Its region.
        region: Option<Secret>,
        /// Beside a key that ends soon.
        session_token: Option<Secret>,
    },
    /// Tokens that a provider renews (OpenID Connect, RFC 6749).
    Oidc(OidcTokens),
    /// Whatever else a service wants, by name.
    Custom(BTreeMap<String, Secret>),
}

/// Tokens that are renewed at a provider's token endpoint (RFC 6749, section 6).
pub struct OidcTokens {
    /// Where they are renewed: an `https` URL.
    pub token_endpoint: String,
    /// Who this node is at the provider.
    pub client_id: String,
    /// And its password there, unless it is a public client.
    pub client_secret: Option<Secret>,
    /// What renews; without it the access token ends once and for all.
    pub refresh_token: Option<Secret>,
    /// What is shown to the service; renewed before its first use if absent.
    pub access_token: Option<Secret>,
    /// When the access token ends, in seconds since 1970; unknown if absent.
    pub expires_at: Option<u64>,
    /// What is asked for at each renewal, if not the same as at first.
    pub scope: Option<String>,
}

/// Why something is no set of credentials. It names members, never what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentialSet {
    /// It is not the JSON that was sealed.
    #[error("it is not a set of credentials in JSON")]
    Malformed,
    /// No such kind.
    #[error("there is no kind of credential `{}`; there are api-key, basic, bearer, s3, oidc and custom", .0.escape_debug())]
    UnknownKind(String),
    /// A member is missing.
    #[error("a credential of the kind `{0}` needs `{1}`")]
    Missing(CredentialKind, &'static str),
    /// A member that this kind has not.
    #[error("a credential of the kind `{kind}` has no `{}`", .member.escape_debug())]
    Unknown {
        /// Which kind.
        kind: CredentialKind,
        /// Which member.
        member: String,
    },
    /// A member is empty or not what it should be.
    #[error("`{}` {why}", .member.escape_debug())]
    Member {
        /// Which one.
        member: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than is kept.
    #[error("it is too large: at most {MAX_CREDENTIAL_BYTES} bytes in {MAX_CREDENTIAL_FIELDS} members are kept")]
    TooLarge,
}

impl fmt::Debug for CredentialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialSet({})", self.kind())
    }
}

impl fmt::Debug for OidcTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OidcTokens")
    }
}

/// The form in which a set is sealed.
#[derive(Serialize)]
struct Shown<'a> {
    kind: &'static str,
    fields: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parsed {
    kind: String,
    fields: BTreeMap<String, Secret>,
}

impl CredentialSet {
    /// What sort it is.
    pub const fn kind(&self) -> CredentialKind {
        match self {
            Self::ApiKey { .. } => CredentialKind::ApiKey,
            Self::Basic { .. } => CredentialKind::Basic,
            Self::Bearer { .. } => CredentialKind::Bearer,
            Self::S3 { .. } => CredentialKind::S3,
            Self::Oidc(_) => CredentialKind::Oidc,
            Self::Custom(_) => CredentialKind::Custom,
        }
    }

    /// Makes a set of its members by name.
    ///
    /// # Errors
    /// A member is missing, unknown, empty or too large.
    pub fn from_fields(kind: CredentialKind, fields: BTreeMap<String, Secret>) -> Result<Self, InvalidCredentialSet> {
        check(&fields)?;
        let mut members = Members { kind, fields };
        let set = match kind {
            CredentialKind::ApiKey => Self::ApiKey { key: members.take("key")? },
            CredentialKind::Basic => {
                Self::Basic { username: members.take("username")?, password: members.take("password")? }
            }
            CredentialKind::Bearer => Self::Bearer { token: members.take("token")? },
            CredentialKind::S3 => Self::S3 {
                access_key_id: members.take("access_key_id")?,
                secret_access_key: members.take("secret_access_key")?,
                endpoint: members.take_if_there("endpoint"),
                region: members.take_if_there("region"),
                session_token: members.take_if_there("session_token"),
            },
            CredentialKind::Oidc => Self::Oidc(members.oidc()?),
            CredentialKind::Custom => Self::Custom(members.all()?),
        };
        members.refuse_others()?;
        Ok(set)
    }

    /// Reads what [`Self::seal_bytes`] wrote.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidCredentialSet> {
        let parsed: Parsed = serde_json::from_slice(bytes).map_err(|_| InvalidCredentialSet::Malformed)?;
        Self::from_fields(parsed.kind.parse()?, parsed.fields)
    }

    /// The set as bytes, secrets and all: for sealing, and for nothing else.
    pub fn seal_bytes(&self) -> Zeroizing<Vec<u8>> {
        let ends = self.oidc_end();
        let shown = Shown { kind: self.kind().as_str(), fields: self.fields(ends.as_deref()) };
        // Made large enough at once, so that growing leaves no copies behind: JSON makes six bytes of one at most.
        let mut bytes = Zeroizing::new(Vec::with_capacity(6 * MAX_CREDENTIAL_BYTES + 1024));
        serde_json::to_writer(&mut *bytes, &shown)
            .expect("because a map of texts is JSON and a vector takes all of it");
        bytes
    }

    fn oidc_end(&self) -> Option<String> {
        match self {
            Self::Oidc(tokens) => tokens.expires_at.map(|at| at.to_string()),
            _ => None,
        }
    }

    fn fields<'a>(&'a self, ends: Option<&'a str>) -> BTreeMap<&'a str, &'a str> {
        let some = |name, secret: &'a Option<Secret>| secret.as_ref().map(|secret| (name, secret.expose()));
        match self {
            Self::ApiKey { key } => BTreeMap::from([("key", key.expose())]),
            Self::Basic { username, password } => {
                BTreeMap::from([("username", username.expose()), ("password", password.expose())])
            }
            Self::Bearer { token } => BTreeMap::from([("token", token.expose())]),
            Self::S3 { access_key_id, secret_access_key, endpoint, region, session_token } => [
                Some(("access_key_id", access_key_id.expose())),
                Some(("secret_access_key", secret_access_key.expose())),
                some("endpoint", endpoint),
                some("region", region),
                some("session_token", session_token),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Self::Oidc(tokens) => [
                Some(("token_endpoint", tokens.token_endpoint.as_str())),
                Some(("client_id", tokens.client_id.as_str())),
                some("client_secret", &tokens.client_secret),
                some("refresh_token", &tokens.refresh_token),
                some("access_token", &tokens.access_token),
                ends.map(|ends| ("expires_at", ends)),
                tokens.scope.as_deref().map(|scope| ("scope", scope)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Self::Custom(all) => all.iter().map(|(name, secret)| (name.as_str(), secret.expose())).collect(),
        }
    }
}

fn check(fields: &BTreeMap<String, Secret>) -> Result<(), InvalidCredentialSet> {
    let bytes: usize = fields.iter().map(|(name, secret)| name.len() + secret.expose().len()).sum();
    if fields.len() > MAX_CREDENTIAL_FIELDS || bytes > MAX_CREDENTIAL_BYTES {
        return Err(InvalidCredentialSet::TooLarge);
    }
    let wrong = |name: &String, why| Err(InvalidCredentialSet::Member { member: name.chars().take(64).collect(), why });
    for (name, secret) in fields {
        match secret.expose() {
            "" => return wrong(name, "is empty"),
            text if text.len() > MAX_SECRET_BYTES => return wrong(name, "is too long"),
            // Where it is used it becomes part of a header or a form; a line break would begin another.
            text if text.chars().any(char::is_control) => {
                return wrong(name, "holds a control character or line break");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The members of a set that is being made.
struct Members {
    kind: CredentialKind,
    fields: BTreeMap<String, Secret>,
}

impl Members {
    fn take_if_there(&mut self, name: &str) -> Option<Secret> {
        self.fields.remove(name)
    }

    fn take(&mut self, name: &'static str) -> Result<Secret, InvalidCredentialSet> {
        self.take_if_there(name).ok_or(InvalidCredentialSet::Missing(self.kind, name))
    }

    fn oidc(&mut self) -> Result<OidcTokens, InvalidCredentialSet> {
        let wrong = |name: &str, why| InvalidCredentialSet::Member { member: name.to_owned(), why };
        let expires_at = match self.take_if_there("expires_at") {
            None => None,
            Some(text) => Some(text.expose().parse().map_err(|_| wrong("expires_at", "is in seconds since 1970"))?),
        };
        let tokens = OidcTokens {
            token_endpoint: self.take("token_endpoint")?.expose().to_owned(),
            client_id: self.take("client_id")?.expose().to_owned(),
            client_secret: self.take_if_there("client_secret"),
            refresh_token: self.take_if_there("refresh_token"),
            access_token: self.take_if_there("access_token"),
            expires_at,
            scope: self.take_if_there("scope").map(|scope| scope.expose().to_owned()),
        };
        if tokens.refresh_token.is_none() && tokens.access_token.is_none() {
            return Err(InvalidCredentialSet::Missing(self.kind, "refresh_token"));
        }
        Ok(tokens)
    }

    fn all(&mut self) -> Result<BTreeMap<String, Secret>, InvalidCredentialSet> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
        if let Some(name) = self.fields.keys().find(|name| name.is_empty() || !name.bytes().all(good)) {
            let (member, why) = (name.chars().take(64).collect(), "is no name: letters, digits, _ - . are");
            return Err(InvalidCredentialSet::Member { member, why });
        }
        if self.fields.is_empty() {
            return Err(InvalidCredentialSet::Missing(self.kind, "at least one member"));
        }
        Ok(std::mem::take(&mut self.fields))
    }

    fn refuse_others(&self) -> Result<(), InvalidCredentialSet> {
        match self.fields.keys().next() {
            Some(name) => {
                Err(InvalidCredentialSet::Unknown { kind: self.kind, member: name.chars().take(64).collect() })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
