//! Who may do what where: the one function that makes permits for files, and the one that reads them.

use std::sync::Arc;

use alknet_core::{
    AccessRule, Authorizer, Caller, Demand, Denial, Effect, Gate, Identity, Permit, PermitError, ResourceDemand,
    ResourceId, decide,
};
use alknet_store::Rights;

use crate::name::{BranchName, BucketName};

/// The type of a bucket as a resource.
const BUCKET: &str = "bucket";

/// A right over files. It is a scope, and the action that a grant on a bucket or a branch allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// `fs:read`: see names, attributes, content and history.
    Read,
    /// `fs:write`: change them.
    Write,
    /// `fs:branch`: make and remove branches and snapshots.
    Branch,
    /// `fs:admin`: make, set and remove buckets.
    Admin,
}

impl Right {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Branch, Self::Admin];

    /// The scope and the action of a grant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "fs:read",
            Self::Write => "fs:write",
            Self::Branch => "fs:branch",
            Self::Admin => "fs:admin",
        }
    }
    const fn effect(self) -> Effect {
        match self {
            Self::Read => Effect::Query,
            Self::Write | Self::Branch | Self::Admin => Effect::Mutation,
        }
    }
}

/// What a right is over: a bucket with all its branches, or one branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The bucket.
    pub bucket: &'a BucketName,
    /// The branch; `None`: the bucket as a whole.
    pub branch: Option<&'a BranchName>,
}

impl Place<'_> {
    /// The resource: `bucket:NAME` or `bucket:NAME/BRANCH`.
    pub fn resource(&self) -> ResourceId {
        let id = match self.branch {
            None => self.bucket.to_string(),
            Some(branch) => format!("{}/{branch}", self.bucket),
        };
        ResourceId::new(BUCKET, &id).expect("because names of buckets and branches are short and printable")
    }
}

/// The one gate for files.
#[derive(Debug, Clone)]
pub struct Access {
    authorizer: Authorizer,
}

impl Access {
    /// Decides with this authorizer, which audits.
    pub const fn new(authorizer: Authorizer) -> Self {
        Self { authorizer }
    }

    /// What an operation demands whose input names the place in its member `bucket`.
    pub fn rule(right: Right) -> AccessRule {
        let scope = right.as_str().parse().expect("because the names of rights are scopes");
        let action = right.as_str().to_owned();
        AccessRule::scoped([scope]).on(ResourceDemand {
            kind: BUCKET.to_owned(),
            id_pointer: "/bucket".to_owned(),
            action,
        })
    }

    /// Lets a caller do `operation` at a place, or not; both are audited.
    pub fn permit(&self, caller: &Caller, operation: &str, right: Right, place: Place<'_>) -> Result<Permit, Denial> {
        let (rule, resource) = (Self::rule(right), place.resource());
        let demand = Demand { action: operation, rule: &rule, resource: Some(&resource), effect: right.effect() };
        self.authorizer.authorize(caller, &demand)
    }

    /// The gate of something that is asked for again and again.
    pub(crate) fn gate(&self, action: &str, rule: &AccessRule, effect: Effect) -> Gate {
        self.authorizer.gate(action, rule, effect)
    }

    /// Whether somebody may read there, without writing that down: for lists, and for whether a hash exists for them.
    pub fn sees(identity: Option<&Identity>, place: Place<'_>) -> bool {
        let standing = identity.filter(|identity| identity.standing().is_current());
        decide(&Self::rule(Right::Read), standing, Some(&place.resource())).is_ok()
    }
}

/// What a permit lets through to the rows: the only way from one to the other.
#[derive(Debug, Clone)]
pub struct Pass {
    actor: Arc<str>,
    identity: Arc<Identity>,
    rights: Rights,
}

impl Pass {
    /// Reads a permit.
    ///
    /// # Errors
    /// Fails when it was given for another right or another place, and when the rights were revoked.
    pub fn of(permit: &Permit, needed: Right, place: Place<'_>) -> Result<Self, PermitError> {
        permit.require(needed.as_str())?;
        let wanted = place.resource();
        let action = permit.rule_resource().map(|demand| demand.action.as_str());
        let reaches = permit.resource().is_some_and(|given| {
            given.kind() == BUCKET && (given.id() == wanted.id() || given.id() == place.bucket.as_str())
        });
        match permit.identity() {
            Some(identity) if reaches && action == Some(needed.as_str()) => {
                Ok(Self { actor: identity.id().into(), identity: identity.clone(), rights: Rights::of(permit)? })
            }
            _ => Err(PermitError::NotCovered {
                action: permit.action().to_owned(),
                needed: format!("{} on {wanted}", needed.as_str()),
            }),
        }
    }
    /// Who acts, for the log of commits.
    pub const fn actor(&self) -> &Arc<str> {
        &self.actor
    }
    /// Whoever acts, with all their rights: for whether content exists for them.
    pub const fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }
    /// Whose rights the change runs under.
    pub const fn rights(&self) -> &Rights {
        &self.rights
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

    use alknet_core::{AuditEvent, AuditKind, AuditLog, AuditOutcome, PeerAddr, ResourceGrants, ScopeSet, Standing};

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<AuditEvent>>);
    impl AuditLog for Kept {
        fn record(&self, event: AuditEvent) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    }

    fn identity(scopes: &[&str], grants: &[(&str, &str)]) -> Identity {
        let mut resources = ResourceGrants::default();
        for (resource, action) in grants {
            resources.grant(resource.parse().unwrap(), *action);
        }
        Identity::new("ann", scopes.iter().map(|scope| scope.parse().unwrap()).collect::<ScopeSet>(), resources)
    }

    fn caller(identity: Option<Identity>) -> Caller {
        Caller { identity: identity.map(Arc::new), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } }
    }

    fn gate() -> (Access, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Access::new(Authorizer::new(kept.clone())), kept)
    }

    fn bucket() -> BucketName {
        "proj".parse().unwrap()
    }

    fn permit(who: &Identity, right: Right, branch: Option<&str>) -> Result<Permit, Denial> {
        let branch = branch.map(|branch| branch.parse().unwrap());
        let place = Place { bucket: &bucket(), branch: branch.as_ref() };
        gate().0.permit(&caller(Some(who.clone())), "fs/test", right, place)
    }

    #[test]
    fn a_right_needs_its_scope_and_a_grant_on_the_place() {
        // FS-04
        let reader = identity(&["fs:read"], &[("bucket:proj", "fs:read")]);
        assert!(permit(&reader, Right::Read, None).is_ok());
        assert!(permit(&reader, Right::Read, Some("main")).is_ok(), "a grant on a bucket covers its branches");
        assert_eq!(permit(&reader, Right::Write, Some("main")).unwrap_err(), Denial::NotFound);
        let narrow = identity(&["fs:*"], &[("bucket:proj/dev", "fs:read"), ("bucket:proj/dev", "fs:write")]);
        assert!(permit(&narrow, Right::Write, Some("dev")).is_ok());
        for (right, branch) in [(Right::Read, None), (Right::Read, Some("main")), (Right::Branch, Some("dev"))] {
            assert_eq!(permit(&narrow, right, branch).unwrap_err(), Denial::Forbidden, "{right:?} {branch:?}");
        }
        assert_eq!(permit(&narrow, Right::Read, Some("dev2")).unwrap_err(), Denial::Forbidden);
        let (access, _) = gate();
        let place = Place { bucket: &bucket(), branch: None };
        assert_eq!(access.permit(&caller(None), "fs/list", Right::Read, place).unwrap_err(), Denial::Unauthenticated);
        for right in Right::ALL {
            assert!(permit(&Identity::owner("me"), right, Some("main")).is_ok());
        }
    }

    #[test]
    fn changes_and_refusals_are_audited_with_their_place() {
        // FS-04
        let (access, kept) = gate();
        let main = BranchName::main();
        let place = Place { bucket: &bucket(), branch: Some(&main) };
        let writer = caller(Some(identity(&["fs:write"], &[("bucket:proj/main", "fs:write")])));
        access.permit(&writer, "fs/mkdir", Right::Write, place).unwrap();
        access.permit(&writer, "fs/list", Right::Read, place).unwrap_err();
        let reader = caller(Some(identity(&["fs:read"], &[("bucket:proj/main", "fs:read")])));
        access.permit(&reader, "fs/stat", Right::Read, place).unwrap();
        let events = kept.0.lock().unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.outcome, event.kind)).collect();
        let wanted = [
            ("fs/mkdir", AuditOutcome::Allowed, AuditKind::Mutation),
            ("fs/list", AuditOutcome::Denied, AuditKind::Query),
            ("fs/stat", AuditOutcome::Allowed, AuditKind::Query),
        ];
        assert_eq!(told, wanted);
        assert!(events.iter().all(|event| event.resource.as_deref() == Some("bucket:proj/main")));
    }

    #[test]
    fn a_permit_opens_only_what_it_was_given_for() {
        // FS-04
        let (other, main, dev) = ("other".parse().unwrap(), BranchName::main(), "dev".parse().unwrap());
        let at = |branch| Place { bucket: &bucket(), branch }.resource();
        let (of_main, of_bucket) = (at(Some(&main)), at(None));
        let owner = Identity::owner("me");
        let branch = permit(&owner, Right::Write, Some("main")).unwrap();
        assert_eq!(branch.resource(), Some(&of_main));
        let proj = bucket();
        let place = |branch| Place { bucket: &proj, branch };
        assert_eq!(&**Pass::of(&branch, Right::Write, place(Some(&main))).unwrap().actor(), "me");
        let refused = |permit: &Permit, right, place| {
            matches!(Pass::of(permit, right, place), Err(PermitError::NotCovered { .. }))
        };
        assert!(refused(&branch, Right::Write, place(Some(&dev))));
        assert!(refused(&branch, Right::Write, place(None)), "a branch is not its bucket");
        assert!(refused(&branch, Right::Read, place(Some(&main))), "another right needs a permit of its own");
        let whole = permit(&owner, Right::Read, None).unwrap();
        assert_eq!(whole.resource(), Some(&of_bucket));
        assert!(Pass::of(&whole, Right::Read, place(Some(&dev))).is_ok());
        assert!(refused(&whole, Right::Read, Place { bucket: &other, branch: None }));
        let rule = AccessRule::scoped(["fs:write".parse().unwrap()]);
        let demand = Demand { action: "x/y", rule: &rule, resource: None, effect: Effect::Mutation };
        let authorizer = Authorizer::new(Arc::new(Kept::default()));
        let unplaced = authorizer.authorize(&caller(Some(owner.clone())), &demand).unwrap();
        assert!(refused(&unplaced, Right::Write, place(None)), "a scope alone opens no place");
        let elsewhere = ResourceDemand { kind: "queue".into(), id_pointer: "/queue".into(), action: "fs:write".into() };
        let (rule, queue) = (rule.on(elsewhere), ResourceId::new("queue", "proj").unwrap());
        let demand = Demand { action: "x/y", rule: &rule, resource: Some(&queue), effect: Effect::Mutation };
        let queue = authorizer.authorize(&caller(Some(owner)), &demand).unwrap();
        assert!(refused(&queue, Right::Write, place(None)), "what is called the same is another thing");
    }

    #[test]
    fn a_pass_and_what_is_seen_end_with_the_rights() {
        // FS-04
        let counter = Arc::new(AtomicU64::new(0));
        let who = identity(&["fs:read"], &[("bucket:proj", "fs:read")]).with_standing(Standing::at_present(&counter));
        let permit = permit(&who, Right::Read, None).unwrap();
        let (proj, other) = (bucket(), "other".parse().unwrap());
        let place = Place { bucket: &proj, branch: None };
        let pass = Pass::of(&permit, Right::Read, place).unwrap();
        assert!(pass.rights().check().is_ok() && Access::sees(Some(&who), place));
        assert!(!Access::sees(Some(&who), Place { bucket: &other, branch: None }) && !Access::sees(None, place));
        counter.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        assert_eq!(pass.rights().check(), Err(PermitError::Revoked));
        assert!(matches!(Pass::of(&permit, Right::Read, place), Err(PermitError::Revoked)));
        assert!(!Access::sees(Some(&who), place));
    }
}
