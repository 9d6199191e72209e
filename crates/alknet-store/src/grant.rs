//! What the writer keeps of a permit while the change is on its way.

use std::sync::Arc;

use alknet_core::{Identity, Permit, PermitError, Scope};

/// Whose rights a change runs under. Made from a [`Permit`] that covers the scope; asked again inside the transaction.
pub(crate) struct Grant {
    identity: Option<Arc<Identity>>,
}

impl Grant {
    pub fn of(permit: &Permit, scope: &str) -> Result<Self, PermitError> {
        permit.require(scope)?;
        Ok(Self { identity: permit.identity().cloned() })
    }
    /// Fails once the rights were revoked.
    pub fn check(&self) -> Result<(), PermitError> {
        match &self.identity {
            Some(identity) if !identity.standing().is_current() => Err(PermitError::Revoked),
            _ => Ok(()),
        }
    }
    pub fn is_owner(&self) -> bool {
        self.identity.as_deref().is_some_and(Identity::is_owner)
    }
    pub fn holds(&self, scope: &Scope) -> bool {
        self.identity.as_deref().is_some_and(|identity| identity.holds(scope))
    }
}
