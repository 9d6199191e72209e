//! The kinds of credentials and what each consists of.

use std::{fmt, str::FromStr};

use super::set::InvalidCredentialSet;

/// What sort of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A key that the service gave out.
    ApiKey,
    /// A name and a password.
    Basic,
    /// A token.
    Bearer,
    /// Keys of a store that speaks S3.
    S3,
    /// Tokens that a provider renews.
    Oidc,
    /// Whatever else.
    Custom,
}

/// A member of a kind, for whoever asks a person for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialField {
    /// Its name.
    pub name: &'static str,
    /// Whether the kind is nothing without it.
    pub required: bool,
    /// Whether it may be seen while it is typed.
    pub visible: bool,
}

const fn field(name: &'static str, required: bool, visible: bool) -> CredentialField {
    CredentialField { name, required, visible }
}

impl CredentialKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::ApiKey, Self::Basic, Self::Bearer, Self::S3, Self::Oidc, Self::Custom];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::S3 => "s3",
            Self::Oidc => "oidc",
            Self::Custom => "custom",
        }
    }

    /// What it consists of; a custom one of anything.
    pub const fn fields(self) -> &'static [CredentialField] {
        match self {
            Self::ApiKey => const { &[field("key", true, false)] },
            Self::Basic => const { &[field("username", true, true), field("password", true, false)] },
            Self::Bearer => const { &[field("token", true, false)] },
            Self::S3 => {
                const {
                    &[
                        field("access_key_id", true, true),
                        field("secret_access_key", true, false),
                        field("endpoint", false, true),
                        field("region", false, true),
                        field("session_token", false, false),
                    ]
                }
            }
            Self::Oidc => {
                const {
                    &[
                        field("token_endpoint", true, true),
                        field("client_id", true, true),
                        field("client_secret", false, false),
                        field("refresh_token", false, false),
                        field("access_token", false, false),
                        field("expires_at", false, true),
                        field("scope", false, true),
                    ]
                }
            }
            Self::Custom => &[],
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CredentialKind {
    type Err = InvalidCredentialSet;
    fn from_str(text: &str) -> Result<Self, InvalidCredentialSet> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| InvalidCredentialSet::UnknownKind(text.chars().take(32).collect()))
    }
}
