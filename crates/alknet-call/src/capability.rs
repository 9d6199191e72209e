//! Credentials for services elsewhere, handed to operations as named capabilities: resolved when they are needed, never part of an
//! input, an answer or a log.

mod kind;
mod secret;
mod set;

use std::{collections::BTreeSet, fmt, sync::Arc};

use alknet_core::{BoxFuture, PeerName};

pub use kind::{CredentialField, CredentialKind};
pub use secret::Secret;
pub use set::{CredentialSet, InvalidCredentialSet, OidcTokens};

use crate::CallError;

/// Where credentials come from. It may wait: for the database, or for a service that renews an expired one.
pub trait CapabilitySource: Send + Sync + 'static {
    /// The credentials of that name as they are valid now. Cancel safe.
    fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Arc<CredentialSet>, CapabilityError>>;
}

/// Why an operation does not get a credential. No text of these names a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CapabilityError {
    /// The operation was registered without it: a mistake in the program.
    #[error("the operation did not declare the capability `{}`", .0.escape_debug())]
    NotDeclared(String),
    /// This process has no credentials: the vault is locked.
    #[error("no credentials are at hand: this node's vault is locked")]
    Locked,
    /// There is no such credential.
    #[error("this node has no credential `{0}`; its owner adds one with `alknet credential add {0}`")]
    Missing(String),
    /// It is over, and nothing renews it.
    #[error("the credential `{0}` has expired; its owner gives a new one with `alknet credential rotate {0}`")]
    Expired(String),
    /// The service that renews it refused.
    #[error("the credential `{name}` was not renewed: {why}")]
    Refused {
        /// Which one.
        name: String,
        /// What the service said, in the words of its protocol.
        why: String,
    },
    /// The service that renews it was not reached, or the database failed; later it may work.
    #[error("the credential `{name}` cannot be had now: {why}")]
    Unavailable {
        /// Which one.
        name: String,
        /// What failed.
        why: String,
    },
    /// What is kept under the name cannot be read.
    #[error(
        "the credential `{name}` is unusable: {why}; its owner gives a new one with `alknet credential rotate {name}`"
    )]
    Unusable {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl From<CapabilityError> for CallError {
    fn from(error: CapabilityError) -> Self {
        match &error {
            CapabilityError::NotDeclared(_) => Self::internal(error),
            CapabilityError::Unavailable { .. } => Self::unavailable(error.to_string()).retryable(),
            _ => Self::unavailable(error.to_string()),
        }
    }
}

/// The capabilities of one operation: the names that it declared at its registration, and who resolves them. It gets no others.
#[derive(Clone, Default)]
pub struct Capabilities {
    names: BTreeSet<String>,
    source: Option<Arc<dyn CapabilitySource>>,
}

impl Capabilities {
    /// Declares one more name. Answers false when no credential can have that name: one has the grammar of a peer's.
    pub fn declare(&mut self, name: &str) -> bool {
        let good = name.parse::<PeerName>().is_ok_and(|parsed| parsed.as_str() == name);
        if good {
            self.names.insert(name.to_owned());
        }
        good
    }

    /// Says who resolves them.
    pub fn supplied_by(mut self, source: Arc<dyn CapabilitySource>) -> Self {
        self.source = Some(source);
        self
    }

    /// What was declared.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether nothing was declared.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The credentials of a declared name. They are asked for anew at each call, so that a change takes effect; keep them no longer
    /// than the request that they are for.
    pub async fn resolve(&self, name: &str) -> Result<Arc<CredentialSet>, CapabilityError> {
        if !self.names.contains(name) {
            return Err(CapabilityError::NotDeclared(name.chars().take(64).collect()));
        }
        let source = self.source.as_ref().ok_or(CapabilityError::Locked)?;
        source.resolve(name).await
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    struct Fixed;
    impl CapabilitySource for Fixed {
        fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Arc<CredentialSet>, CapabilityError>> {
            let token = Secret::from(format!("secret-of-{name}"));
            Box::pin(std::future::ready(Ok(Arc::new(CredentialSet::Bearer { token }))))
        }
    }

    #[tokio::test]
    async fn an_operation_gets_what_it_declared_and_nothing_else() {
        let mut granted = Capabilities::default();
        assert!(granted.declare("github"));
        let locked = granted.resolve("github").await.unwrap_err();
        assert!(matches!(locked, CapabilityError::Locked));
        let granted = granted.supplied_by(Arc::new(Fixed));
        match &*granted.resolve("github").await.unwrap() {
            CredentialSet::Bearer { token } => assert_eq!(token.expose(), "secret-of-github"),
            other => panic!("{other:?}"),
        }
        let refused = granted.resolve("gitlab").await.unwrap_err();
        assert!(matches!(refused, CapabilityError::NotDeclared(_)));
        assert_eq!(CallError::from(refused).code, ErrorCode::Internal);
        assert_eq!(granted.names().collect::<Vec<_>>(), ["github"]);
        assert_eq!(format!("{granted:?}"), r#"{"github"}"#);
    }

    #[test]
    fn only_a_name_that_a_credential_can_have_is_declared() {
        let mut granted = Capabilities::default();
        for bad in ["", "GitHub", "a b", "a/b", "../vault"] {
            assert!(!granted.declare(bad), "{bad}");
        }
        assert!(granted.is_empty());
    }

    #[test]
    fn callers_learn_that_it_is_not_their_fault() {
        let name = || "github".to_owned();
        let later = CallError::from(CapabilityError::Unavailable { name: name(), why: "nobody answers".to_owned() });
        assert_eq!((later.code, later.retryable), (ErrorCode::Unavailable, true));
        for error in [CapabilityError::Locked, CapabilityError::Missing(name()), CapabilityError::Expired(name())] {
            let error = CallError::from(error);
            assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, false));
        }
    }
}
