//! The one gate: a demand goes in, a [`Permit`] or a [`Denial`] comes out, and both are audited.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    AccessRule, AuditCounter, AuditEvent, AuditKind, AuditLog, AuditOutcome, AuthenticationWatch, Denial, Identity,
    PeerAddr, ResourceDemand, ResourceId, Standing, access::decide, limits::MAX_GATE_COUNTERS,
};

/// Who asks: the identity if one is known, the credential that proved it, and from where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is; `None` for the anonymous.
    pub identity: Option<Arc<Identity>>,
    /// Fingerprint or id of the credential, for the audit; a stranger's proven key is written down too.
    pub credential: Option<String>,
    /// Where it speaks from.
    pub addr: PeerAddr,
}

impl Caller {
    /// The peer name, or `None`.
    pub fn id(&self) -> Option<&str> {
        self.identity.as_deref().map(Identity::id)
    }
}

/// Whether an action changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Query,
    /// It changes something.
    Mutation,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The operation, as `service/operation`.
    pub action: &'a str,
    /// Who may.
    pub rule: &'a AccessRule,
    /// What it is done to.
    pub resource: Option<&'a ResourceId>,
    /// Whether it changes anything.
    pub effect: Effect,
}

/// An operation that calls another: the rights it acts with, under its caller's name.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// Its caller with the operation's own rights ([`Identity::acting`]).
    pub identity: &'a Arc<Identity>,
    /// The operation, as `service/operation`.
    pub operation: &'a str,
    /// Whether the caller's own rights must suffice as well.
    pub within_caller: bool,
}

impl Acting<'_> {
    fn decide(&self, caller: &Caller, rule: &AccessRule, resource: Option<&ResourceId>) -> Result<(), Denial> {
        decide(rule, current(Some(self.identity)), resource)?;
        if self.within_caller {
            return decide(rule, current(caller.identity.as_ref()), resource).map_err(|_| Denial::Forbidden);
        }
        Ok(())
    }
    fn words(&self, denial: Option<Denial>) -> String {
        match denial {
            None => format!("called by {}", self.operation),
            Some(denial) => format!("called by {}: {denial}", self.operation),
        }
    }
}

fn current(identity: Option<&Arc<Identity>>) -> Option<&Identity> {
    identity.map(Arc::as_ref).filter(|identity| identity.standing().is_current())
}

/// Proof that the gate let somebody through: which action, on what, for whom, and whether that still stands.
///
/// Only an [`Authorizer`] makes one and it cannot be copied; what may be touched is read *from* it.
pub struct Permit {
    action: Arc<str>,
    rule: Arc<AccessRule>,
    resource: Option<ResourceId>,
    identity: Option<Arc<Identity>>,
}

/// Why a permit does not cover what was tried with it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PermitError {
    /// The rights were changed or removed since.
    #[error("the rights of this identity were revoked")]
    Revoked,
    /// It was given for something else.
    #[error("the permit for {action} does not cover {needed}")]
    NotCovered {
        /// What it was given for.
        action: String,
        /// What was tried.
        needed: String,
    },
}

impl Permit {
    fn new(demand: &Demand<'_>, identity: Option<Arc<Identity>>) -> Self {
        let (action, rule) = (demand.action.into(), Arc::new(demand.rule.clone()));
        Self { action, rule, resource: demand.resource.cloned(), identity }
    }
    /// The operation it was given for.
    pub fn action(&self) -> &str {
        &self.action
    }
    /// The resource it was given for.
    pub const fn resource(&self) -> Option<&ResourceId> {
        self.resource.as_ref()
    }
    /// What its rule demands of the resource; `None` where the rule names none.
    pub fn rule_resource(&self) -> Option<&ResourceDemand> {
        self.rule.resource()
    }
    /// Who it was given to; `None` for the anonymous caller of something public.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }
    /// Fails once the identity's rights were revoked. Stores ask before every commit and each batch of reads.
    pub fn check(&self) -> Result<(), PermitError> {
        match self.identity.as_deref().map(Identity::standing) {
            Some(standing) if !Standing::is_current(standing) => Err(PermitError::Revoked),
            _ => Ok(()),
        }
    }
    /// Fails unless the gate has seen `scope` held, and the rights still stand.
    pub fn require(&self, scope: &str) -> Result<(), PermitError> {
        if !self.rule.scopes().iter().any(|held| held.as_str() == scope) {
            return Err(PermitError::NotCovered { action: self.action.to_string(), needed: scope.to_owned() });
        }
        self.check()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.identity.as_deref().map_or("anonymous", Identity::id);
        write!(f, "Permit({} for {who})", self.action)
    }
}

/// What janitors, collectors and migrations hold instead of a [`Permit`]; accepted by maintenance functions only.
#[derive(Debug)]
pub struct Maintenance {
    task: &'static str,
}

impl Maintenance {
    /// Names the task that acts on the node's own behalf.
    pub const fn of(task: &'static str) -> Self {
        Self { task }
    }
    /// The task.
    pub const fn task(&self) -> &'static str {
        self.task
    }
}

/// Decides and writes down what was decided.
#[derive(Clone)]
pub struct Authorizer {
    audit: Arc<dyn AuditLog>,
    watch: Option<Arc<dyn AuthenticationWatch>>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer")
    }
}

impl Authorizer {
    /// Audits to `audit`.
    pub fn new(audit: Arc<dyn AuditLog>) -> Self {
        Self { audit, watch: None }
    }

    /// Lets `watch` hear of every attempt to prove who somebody is.
    pub fn watched_by(self, watch: Arc<dyn AuthenticationWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Lets the caller through, or not, by the access formula; both are audited.
    pub fn authorize(&self, caller: &Caller, demand: &Demand<'_>) -> Result<Permit, Denial> {
        let verdict = decide(demand.rule, current(caller.identity.as_ref()), demand.resource);
        self.record(caller, demand, verdict, verdict.err().map(|denial| denial.to_string()));
        verdict.map(|()| Permit::new(demand, caller.identity.clone()))
    }

    /// Lets an operation through that calls another, or not: by the rights that it acts with instead of its caller's own, and,
    /// where it says so, by its caller's as well. Both are audited under the caller's name with the operation's.
    pub fn authorize_acting(
        &self,
        caller: &Caller,
        acting: &Acting<'_>,
        demand: &Demand<'_>,
    ) -> Result<Permit, Denial> {
        let verdict = acting.decide(caller, demand.rule, demand.resource);
        self.record(caller, demand, verdict, Some(acting.words(verdict.err())));
        verdict.map(|()| Permit::new(demand, caller.identity.as_ref().map(|_| acting.identity.clone())))
    }

    /// Prepares a demand that is made again and again.
    pub fn gate(&self, action: &str, rule: &AccessRule, effect: Effect) -> Gate {
        Gate {
            authorizer: self.clone(),
            action: action.into(),
            rule: Arc::new(rule.clone()),
            effect,
            counters: RwLock::default(),
        }
    }

    /// Writes down that an operation called another that does not exist for it.
    pub fn refused_acting(&self, caller: &Caller, acting: &Acting<'_>, demand: &Demand<'_>) -> Denial {
        self.record(caller, demand, Err(Denial::NotFound), Some(acting.words(Some(Denial::NotFound))));
        Denial::NotFound
    }

    /// Writes down that something finer than the access formula said no, and why.
    pub fn refused(&self, caller: &Caller, demand: &Demand<'_>, why: impl fmt::Display) -> Denial {
        self.record(caller, demand, Err(Denial::Forbidden), Some(why.to_string()));
        Denial::Forbidden
    }

    fn record(&self, caller: &Caller, demand: &Demand<'_>, verdict: Result<(), Denial>, detail: Option<String>) {
        self.audit.record(AuditEvent {
            kind: match demand.effect {
                Effect::Query => AuditKind::Query,
                Effect::Mutation => AuditKind::Mutation,
            },
            outcome: if verdict.is_ok() { AuditOutcome::Allowed } else { AuditOutcome::Denied },
            identity: caller.id().map(str::to_owned),
            credential: caller.credential.clone(),
            action: demand.action.to_owned(),
            resource: demand.resource.map(ToString::to_string),
            addr: caller.addr.to_string(),
            detail,
        });
    }

    /// Writes down that somebody proved, or failed to prove, who they are. The caller's credential is one that was proven, even if it
    /// is nobody's; what was only offered goes into `detail`, or anybody could discredit the key of another.
    pub fn authenticated(&self, caller: &Caller, door: &str, outcome: AuditOutcome, detail: Option<String>) {
        match (&self.watch, outcome) {
            (Some(watch), AuditOutcome::Allowed) => watch.proved(caller, door),
            (Some(watch), AuditOutcome::Denied) => watch.failed(caller, door),
            (None, _) => {}
        }
        self.audit.record(AuditEvent {
            kind: AuditKind::Authentication,
            outcome,
            identity: caller.id().map(str::to_owned),
            credential: caller.credential.clone(),
            action: door.to_owned(),
            resource: None,
            addr: caller.addr.to_string(),
            detail,
        });
    }
}

/// The gate of one operation, at which nothing is written out for what is only counted.
pub struct Gate {
    authorizer: Authorizer,
    action: Arc<str>,
    rule: Arc<AccessRule>,
    effect: Effect,
    /// Of allowed queries, by identity.
    counters: RwLock<HashMap<Arc<str>, Arc<AuditCounter>>>,
}

impl Gate {
    /// As [`Authorizer::authorize`].
    pub fn authorize(&self, caller: &Caller, resource: Option<&ResourceId>) -> Result<Permit, Denial> {
        let verdict = decide(&self.rule, current(caller.identity.as_ref()), resource);
        self.settle(caller, resource, verdict, caller.identity.clone(), || verdict.err().map(|it| it.to_string()))
    }

    /// As [`Authorizer::authorize_acting`].
    pub fn authorize_acting(
        &self,
        caller: &Caller,
        acting: &Acting<'_>,
        resource: Option<&ResourceId>,
    ) -> Result<Permit, Denial> {
        let verdict = acting.decide(caller, &self.rule, resource);
        let identity = caller.identity.as_ref().map(|_| acting.identity.clone());
        self.settle(caller, resource, verdict, identity, || Some(acting.words(verdict.err())))
    }

    fn settle(
        &self,
        caller: &Caller,
        resource: Option<&ResourceId>,
        verdict: Result<(), Denial>,
        identity: Option<Arc<Identity>>,
        detail: impl FnOnce() -> Option<String>,
    ) -> Result<Permit, Denial> {
        if verdict.is_err() || self.effect == Effect::Mutation || !self.is_counted(caller) {
            let demand = Demand { action: &self.action, rule: &self.rule, resource, effect: self.effect };
            self.authorizer.record(caller, &demand, verdict, detail());
        }
        let (action, rule) = (self.action.clone(), self.rule.clone());
        verdict.map(|()| Permit { action, rule, resource: resource.cloned(), identity })
    }

    /// Counts an allowed query, where the audit wants no more.
    fn is_counted(&self, caller: &Caller) -> bool {
        let id = caller.id().unwrap_or_default();
        // A map of counters stays whole whoever panicked while holding it.
        if let Some(counter) = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            counter.add();
            return true;
        }
        let Some(counter) = self.authorizer.audit.counter(caller.id(), &self.action) else { return false };
        counter.add();
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_GATE_COUNTERS {
            counters.clear();
        }
        counters.insert(id.into(), counter);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::{ResourceGrants, ScopeSet};

    #[derive(Default)]
    struct Kept(Mutex<Vec<AuditEvent>>);
    impl AuditLog for Kept {
        fn record(&self, event: AuditEvent) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn caller(identity: Option<Identity>) -> Caller {
        Caller { identity: identity.map(Arc::new), credential: Some("c".into()), addr: PeerAddr::LocalOwner { pid: 1 } }
    }

    #[test]
    fn both_outcomes_are_audited_and_only_one_gives_a_permit() {
        // AUTH-13
        let kept = Arc::new(Kept::default());
        let authorizer = Authorizer::new(kept.clone());
        let rule = AccessRule::scoped(["peers:write".parse().unwrap()]);
        let demand = Demand { action: "peers/add", rule: &rule, resource: None, effect: Effect::Mutation };
        let permit = authorizer.authorize(&caller(Some(Identity::owner("me"))), &demand).unwrap();
        assert_eq!(permit.action(), "peers/add");
        assert_eq!(permit.require("peers:write"), Ok(()));
        assert!(matches!(permit.require("keys:write"), Err(PermitError::NotCovered { .. })));
        assert_eq!(authorizer.authorize(&caller(None), &demand).unwrap_err(), Denial::Unauthenticated);
        let events = kept.0.lock().unwrap();
        let seen: Vec<_> = events.iter().map(|e| (e.kind, e.outcome, e.identity.as_deref())).collect();
        assert_eq!(
            seen,
            [
                (AuditKind::Mutation, AuditOutcome::Allowed, Some("me")),
                (AuditKind::Mutation, AuditOutcome::Denied, None),
            ]
        );
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl AuthenticationWatch for Heard {
        fn proved(&self, caller: &Caller, door: &str) {
            self.0.lock().unwrap().push(format!("{} proved at {door}", caller.id().unwrap_or_default()));
        }
        fn failed(&self, caller: &Caller, door: &str) {
            self.0.lock().unwrap().push(format!("{} failed at {door}", caller.addr));
        }
    }

    #[test]
    fn every_attempt_to_prove_who_somebody_is_is_heard_of() {
        // GATE-01
        let heard = Arc::new(Heard::default());
        let authorizer = Authorizer::new(Arc::new(Kept::default())).watched_by(heard.clone());
        authorizer.authenticated(&caller(Some(Identity::owner("me"))), "ssh", AuditOutcome::Allowed, None);
        authorizer.clone().authenticated(&caller(None), "http", AuditOutcome::Denied, None);
        assert_eq!(*heard.0.lock().unwrap(), ["me proved at ssh", "local:1 failed at http"]);
    }

    #[test]
    fn an_operation_acts_under_its_callers_name_with_its_own_rights() {
        // CALL-47
        let kept = Arc::new(Kept::default());
        let authorizer = Authorizer::new(kept.clone());
        let rule = AccessRule::scoped(["peers:read".parse().unwrap()]);
        let demand = Demand { action: "peers/list", rule: &rule, resource: None, effect: Effect::Query };
        let scopes = ScopeSet::from_iter(["peers:read".parse().unwrap()]);
        let authority = Identity::new("", scopes, ResourceGrants::default());
        let nobody = Identity::new("eve", ScopeSet::default(), ResourceGrants::default());
        let (acting, powerless) = (Arc::new(nobody.acting(&authority)), Arc::new(nobody.acting(&nobody)));
        let ask = |caller: &Caller, identity: &Arc<Identity>, within_caller| {
            let acting = Acting { identity, operation: "status/all", within_caller };
            authorizer.authorize_acting(caller, &acting, &demand)
        };
        let (eve, owner) = (caller(Some(nobody)), caller(Some(Identity::owner("o"))));
        let permit = ask(&eve, &acting, false).unwrap();
        assert_eq!(permit.identity().map(|identity| identity.id()), Some("eve"));
        assert_eq!(permit.require("peers:read"), Ok(()));
        assert!(ask(&caller(None), &acting, false).unwrap().identity().is_none());
        assert_eq!(ask(&eve, &acting, true).unwrap_err(), Denial::Forbidden);
        assert!(ask(&owner, &acting, true).is_ok());
        assert_eq!(
            ask(&owner, &powerless, false).unwrap_err(),
            Denial::NotFound,
            "the caller's rights are not inherited"
        );
        let events = kept.0.lock().unwrap();
        assert_eq!(
            (events[0].identity.as_deref(), events[0].detail.as_deref()),
            (Some("eve"), Some("called by status/all"))
        );
        assert!(events[2].detail.as_deref().unwrap().contains("status/all: this resource"));
    }

    #[test]
    fn a_finer_no_is_audited_with_its_reason() {
        let kept = Arc::new(Kept::default());
        let rule = AccessRule::default();
        let demand = Demand { action: "ssh/forward.local", rule: &rule, resource: None, effect: Effect::Query };
        let denial = Authorizer::new(kept.clone()).refused(&caller(Some(Identity::owner("o"))), &demand, "rule 2");
        let event = kept.0.lock().unwrap()[0].clone();
        assert_eq!((denial, event.outcome), (Denial::Forbidden, AuditOutcome::Denied));
        assert_eq!((event.identity.as_deref(), event.detail.as_deref()), (Some("o"), Some("rule 2")));
    }

    #[derive(Default)]
    struct Counts(Kept, Mutex<HashMap<String, Arc<AuditCounter>>>);
    impl AuditLog for Counts {
        fn record(&self, event: AuditEvent) {
            self.0.record(event);
        }
        fn counter(&self, identity: Option<&str>, action: &str) -> Option<Arc<AuditCounter>> {
            let key = format!("{} {action}", identity.unwrap_or_default());
            Some(self.1.lock().unwrap().entry(key).or_insert_with(|| Arc::new(AuditCounter::new(|| {}))).clone())
        }
    }

    #[test]
    fn a_gate_decides_alike_and_counts_what_is_only_counted() {
        // AUTH-13
        let counts = Arc::new(Counts::default());
        let authorizer = Authorizer::new(counts.clone());
        let rule = AccessRule::scoped(["fs:read".parse().unwrap()]);
        let gate = authorizer.gate("fs/read", &rule, Effect::Query);
        let scopes = ScopeSet::from_iter(["fs:read".parse().unwrap()]);
        let known = |name: &str| caller(Some(Identity::new(name, scopes.clone(), ResourceGrants::default())));
        for _ in 0..3 {
            assert_eq!(gate.authorize(&known("a"), None).unwrap().require("fs:read"), Ok(()));
        }
        assert!(gate.authorize(&known("b"), None).is_ok());
        assert!(counts.0.0.lock().unwrap().is_empty());
        assert_eq!(gate.authorize(&caller(None), None).unwrap_err(), Denial::Unauthenticated);
        let stranger = caller(Some(Identity::new("c", ScopeSet::default(), ResourceGrants::default())));
        assert_eq!(gate.authorize(&stranger, None).unwrap_err(), Denial::NotFound);
        assert_eq!(counts.0.0.lock().unwrap().len(), 2, "refusals are written down");
        let write = authorizer.gate("fs/write", &rule, Effect::Mutation);
        assert_eq!(write.authorize(&known("a"), None).unwrap().action(), "fs/write");
        assert_eq!(counts.0.0.lock().unwrap().len(), 3, "and so are mutations");
        let counted = |name: &str| counts.1.lock().unwrap()[&format!("{name} fs/read")].take();
        assert_eq!((counted("a"), counted("b"), counted("a")), (3, 1, 0));
        for other in 0..2 * MAX_GATE_COUNTERS {
            assert!(gate.authorize(&known(&other.to_string()), None).is_ok());
        }
        assert!(gate.counters.read().unwrap().len() <= MAX_GATE_COUNTERS);
    }

    #[test]
    fn logins_are_audited_with_why_they_failed() {
        let kept = Arc::new(Kept::default());
        let why = Some("no key was proven".to_owned());
        Authorizer::new(kept.clone()).authenticated(&caller(None), "ssh", AuditOutcome::Denied, why.clone());
        let event = kept.0.lock().unwrap()[0].clone();
        assert_eq!((event.kind, event.outcome), (AuditKind::Authentication, AuditOutcome::Denied));
        assert_eq!((event.action.as_str(), event.credential.as_deref(), event.detail), ("ssh", Some("c"), why));
    }

    #[test]
    fn a_permit_ends_with_the_rights_it_came_from() {
        // AUTH-13
        let counter = Arc::new(AtomicU64::new(0));
        let authorizer = Authorizer::new(Arc::new(Kept::default()));
        let scopes = ScopeSet::from_iter(["fs:read".parse().unwrap()]);
        let who = Identity::new("a", scopes, ResourceGrants::default()).with_standing(Standing::at_present(&counter));
        let rule = AccessRule::scoped(["fs:read".parse().unwrap()]);
        let demand = Demand { action: "fs/read", rule: &rule, resource: None, effect: Effect::Query };
        let caller = caller(Some(who));
        let permit = authorizer.authorize(&caller, &demand).unwrap();
        assert_eq!(permit.check(), Ok(()));
        counter.fetch_add(1, Ordering::AcqRel);
        assert_eq!(permit.check(), Err(PermitError::Revoked));
        assert_eq!(permit.require("fs:read"), Err(PermitError::Revoked));
        assert_eq!(
            authorizer.authorize(&caller, &demand).unwrap_err(),
            Denial::Unauthenticated,
            "stale identities are nobody"
        );
    }
}
