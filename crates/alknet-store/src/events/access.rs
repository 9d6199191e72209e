//! Which topic or queue a permit is for, and who acts under it.

use alknet_core::{Permit, PermitError};

/// The type of a topic as a resource.
pub(super) const TOPIC: &str = "topic";
/// The type of a queue as a resource.
pub(super) const QUEUE: &str = "queue";

/// Fails when the permit was given for another resource. Answers the name of who it was given to.
pub(super) fn actor(permit: &Permit, kind: &str, name: &str) -> Result<String, PermitError> {
    if !reaches(permit, kind, name) {
        return Err(not_covered(permit, format!("{kind}:{name}")));
    }
    match permit.identity() {
        Some(identity) => Ok(identity.id().to_owned()),
        None => Err(not_covered(permit, "what only somebody known may do".to_owned())),
    }
}

/// Whether the permit is for this resource: for it alone, or for none in particular.
pub(super) fn reaches(permit: &Permit, kind: &str, name: &str) -> bool {
    permit.resource().is_none_or(|resource| resource.kind() == kind && resource.id() == name)
}

fn not_covered(permit: &Permit, needed: String) -> PermitError {
    PermitError::NotCovered { action: permit.action().to_owned(), needed }
}
