//! Whether a call is let through: the gate, then the input.

use alknet_core::{Acting, Caller, Denial, Identity, Permit, ResourceId};
use serde_json::Value;

use crate::{CallError, ErrorCode, Registry, registered::Registered};

/// Who asks: somebody at a door, or an operation that calls another.
pub(crate) enum Asker<'a> {
    Caller(&'a Caller),
    Operation(&'a Caller, Acting<'a>),
}

/// The input as the gate sees it.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    Value(&'a Value),
    /// A value of the operation's own type, whose schema says no more than the type does.
    Typed,
}

impl Asker<'_> {
    /// Whose rights count, while they stand.
    pub(crate) fn rights(&self) -> Option<&Identity> {
        let identity = match self {
            Self::Caller(caller) => caller.identity.as_deref(),
            Self::Operation(_, acting) => Some(&**acting.identity),
        };
        identity.filter(|identity| identity.standing().is_current())
    }
}

impl Registry {
    /// The gate, then the input; a resource in the input is looked at only once the input fits.
    pub(crate) fn admit(
        &self,
        operation: &Registered,
        asker: &Asker<'_>,
        given: Given<'_>,
    ) -> Result<Permit, CallError> {
        let may_know = operation.spec.access.is_visible_to(asker.rights());
        let Some(resource) = operation.spec.access.resource().filter(|_| may_know) else {
            let permit = self.ask(operation, asker, None)?;
            operation.check_given(given)?;
            return Ok(permit);
        };
        operation.check_given(given)?;
        let named = match given {
            Given::Value(input) => input.pointer(&resource.id_pointer).and_then(Value::as_str),
            Given::Typed => None,
        };
        let named = named.and_then(|id| ResourceId::new(&resource.kind, id).ok());
        self.ask(operation, asker, named.as_ref())
    }

    pub(crate) fn ask(
        &self,
        operation: &Registered,
        asker: &Asker<'_>,
        resource: Option<&ResourceId>,
    ) -> Result<Permit, CallError> {
        let spec = &operation.spec;
        let gate = operation.gate.get_or_init(|| self.authorizer().gate(&spec.name, &spec.access, spec.kind.into()));
        match asker {
            Asker::Caller(caller) => gate.authorize(caller, resource).map_err(CallError::from),
            Asker::Operation(caller, acting) => {
                gate.authorize_acting(caller, acting, resource).map_err(beyond_authority)
            }
        }
    }
}

/// What an operation reaches it may know of, so it learns that its rights are what is missing.
fn beyond_authority(denial: Denial) -> CallError {
    match denial {
        Denial::Unauthenticated => CallError::unauthenticated("the caller's rights were taken away"),
        Denial::NotFound | Denial::Forbidden => {
            CallError::new(ErrorCode::Forbidden, "the operation that calls this has not the rights that it needs")
        }
    }
}
