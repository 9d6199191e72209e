//! What the maker of a hook must be allowed, at first and at each delivery.

use alknet_core::{AccessRule, Caller, Denial, Effect, Gate, PeerAddr, PermitError, ResourceDemand, ResourceId};
use alknet_store::Rights;

use super::Courier;
use crate::{
    access::{Access, Place, Right},
    rows::hook::{NewHook, Target},
};

/// What a delivery is called where it is written down.
const ACTION: &str = "fs/hook";

/// To hand jobs in, on the queue `queue:NAME`.
pub(crate) fn queue_rule() -> AccessRule {
    scoped("queues:produce").on(demand("queue", "produce"))
}

/// To have something signed with a credential, on `credential:NAME`.
pub(crate) fn credential_rule() -> AccessRule {
    scoped("credentials:use").on(demand("credential", "use"))
}

/// A queue as a resource; `None` where its name is none.
pub(crate) fn queue_resource(name: &str) -> Option<ResourceId> {
    ResourceId::new("queue", name).ok()
}

/// A credential as a resource; `None` where its name is none.
pub(crate) fn credential_resource(name: &str) -> Option<ResourceId> {
    ResourceId::new("credential", name).ok()
}

fn scoped(scope: &str) -> AccessRule {
    AccessRule::scoped([scope.parse().expect("because the two above are scopes")])
}

fn demand(kind: &str, action: &str) -> ResourceDemand {
    ResourceDemand { kind: kind.to_owned(), id_pointer: "/to".to_owned(), action: action.to_owned() }
}

/// The rights of a hook's maker are gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Nobody has the name any more.
    #[error("nobody is called `{0}` any more, who made it")]
    Nobody(String),
    /// He may not do this any more.
    #[error("{maker}, who made it, may not {what} any more")]
    Denied {
        /// Who.
        maker: String,
        /// What.
        what: &'static str,
    },
}

/// What is asked before each delivery.
pub(super) struct Gates {
    read: Gate,
    produce: Gate,
    sign: Gate,
}

impl Gates {
    pub fn new(access: &Access) -> Self {
        Self {
            read: access.gate(ACTION, &Access::rule(Right::Read), Effect::Query),
            produce: access.gate(ACTION, &queue_rule(), Effect::Mutation),
            sign: access.gate(ACTION, &credential_rule(), Effect::Query),
        }
    }

    /// The rights that the maker has now, if they are enough.
    pub fn ask(&self, courier: &dyn Courier, hook: &NewHook, place: Place<'_>) -> Result<Rights, Lost> {
        let maker = courier.identity(&hook.maker).ok_or_else(|| Lost::Nobody(hook.maker.clone()))?;
        let pid = std::process::id().try_into().unwrap_or(0);
        let caller = Caller { identity: Some(maker), credential: None, addr: PeerAddr::LocalOwner { pid } };
        let lost = |what| Lost::Denied { maker: hook.maker.clone(), what };
        let read = self.read.authorize(&caller, Some(&place.resource())).map_err(|_| lost("read the branch"))?;
        match &hook.target {
            Target::Queue(queue) => {
                let permit = self.produce.authorize(&caller, queue_resource(queue).as_ref());
                permit.map_err(|_: Denial| lost("hand jobs in there"))?;
            }
            Target::Webhook { credential: Some(name), .. } => {
                let permit = self.sign.authorize(&caller, credential_resource(name).as_ref());
                permit.map_err(|_: Denial| lost("use the credential"))?;
            }
            Target::Webhook { credential: None, .. } => {}
        }
        Rights::of(&read).map_err(|_: PermitError| lost("read the branch"))
    }
}
