//! Who a key belongs to. An identity is bound when a signature verified, never when a key was offered.

use std::{fmt, sync::Arc};

use alknet_core::{
    AccessRule, AuditOutcome, Authorizer, Caller, Credential, Demand, Effect, Fingerprint, Identity, IdentityProvider,
    PeerAddr, Permit, Scope, SessionGuard, SessionKind, Sessions, SshGrant,
};
use arc_swap::ArcSwap;
use russh::keys::{Algorithm, Certificate, PublicKey};

use crate::{
    ForwardPolicy,
    account::Users,
    certificate::{self, Admitted, Attempt, CertificateRefusal},
    fingerprint::{fingerprint, signs_acceptably},
    forward::Asking,
    key_options::KeyOptions,
    limits::MAX_LOGGED_CHARS,
    line_options::LineOptions,
    revocation::{Proof, Revocations, Watched},
};

/// The door's name in logs and in the audit.
const DOOR: &str = "ssh";

/// What is asked before a process is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Exec,
    Shell,
}

impl Right {
    const fn action(self) -> &'static str {
        match self {
            Self::Exec => "ssh/exec",
            Self::Shell => "ssh/shell",
        }
    }
    pub(crate) const fn scope(self) -> &'static str {
        match self {
            Self::Exec => "ssh:exec",
            Self::Shell => "ssh:shell",
        }
    }
}

/// How long a proven key or certificate holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    /// In seconds since 1970.
    until: Option<u64>,
    now: fn() -> u64,
}

impl Term {
    /// What is written down about whoever asks for something after its end.
    pub(crate) const ENDED: &str = "the key or certificate has ended";

    pub(crate) fn holds(self) -> bool {
        self.until.is_none_or(|end| (self.now)() < end)
    }
}

/// The joints that decide.
pub(crate) struct LoginGate {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) authorizer: Authorizer,
    pub(crate) sessions: Sessions,
    pub(crate) system_user: String,
    /// As the configuration in force has them.
    pub(crate) users: ArcSwap<Users>,
    pub(crate) revocations: Arc<Revocations>,
    /// Seconds since 1970.
    pub(crate) now: fn() -> u64,
}

impl LoginGate {
    /// Takes over who runs as whom, and ends the sessions of those for whom that changed: their processes are another user's.
    pub(crate) fn set_users(&self, users: Users) {
        let before = self.users.swap(Arc::new(users.clone()));
        let changed = before.keys().chain(users.keys()).filter(|name| before.get(*name) != users.get(*name));
        for name in changed {
            self.sessions.cancel_identity(name);
        }
    }
}

/// One client's way in: from stranger to caller.
pub(crate) struct Login {
    gate: Arc<LoginGate>,
    addr: PeerAddr,
    caller: Option<Caller>,
    options: KeyOptions,
    /// When the proven key or certificate ends, in seconds since 1970.
    until: Option<u64>,
    watched: Option<Watched>,
    tried: Option<String>,
}

impl Login {
    pub(crate) fn new(gate: Arc<LoginGate>, addr: PeerAddr) -> Self {
        Self { gate, addr, caller: None, options: KeyOptions::default(), until: None, watched: None, tried: None }
    }

    /// Whether it is worth the client's while to sign with this key. Says nothing about who the client is. The library does not show a
    /// certificate before it is signed for, so where any authority is trusted every key may turn out to be certified.
    pub(crate) fn would_accept(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> bool {
        let refusal = self.of_key(user, key, algorithm).err();
        self.note(user, key, refusal.and_then(KeyRefusal::shown));
        let may_be_certified = || signs_acceptably(algorithm) && self.gate.identities.has_ssh_authorities();
        refusal.is_none_or(|refusal| refusal != KeyRefusal::Key && may_be_certified())
    }

    /// Binds the identity, now that a signature with `key` verified, and enters the session.
    pub(crate) fn prove(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<SessionGuard> {
        match self.of_key(user, key, algorithm) {
            Ok(admitted) => self.enter(user, key, admitted, Proof::of_key(key)?),
            Err(refusal) => {
                self.note(user, key, refusal.shown());
                None
            }
        }
    }

    /// Binds the identity, now that a signature with the key of `certificate` verified, and enters the session.
    pub(crate) fn prove_certified(&mut self, user: &str, certificate: &Certificate) -> Option<SessionGuard> {
        let key = PublicKey::from(certificate.public_key().clone());
        match self.of_certificate(user, certificate) {
            Ok(admitted) => self.enter(user, &key, admitted, Proof::of_certificate(certificate)?),
            Err(refusal) => {
                let id: String = certificate.key_id().chars().take(MAX_LOGGED_CHARS).collect();
                let (id, serial) = (id.escape_debug(), certificate.serial());
                self.note(user, &key, Some(format!("certificate {id}#{serial}: {refusal}")));
                None
            }
        }
    }

    fn enter(&mut self, user: &str, key: &PublicKey, admitted: Admitted, proof: Proof) -> Option<SessionGuard> {
        let Admitted { grant: SshGrant { identity, .. }, credential, uses, until } = admitted;
        let credential = credential.label();
        let caller = Caller { identity: Some(identity.clone()), credential: Some(credential), addr: self.addr };
        let guard = self.gate.sessions.register(&caller, SessionKind::Ssh);
        let watched = self.gate.revocations.enter(proof, guard.token().clone());
        // Removed or revoked in the moment between: whoever did it did not see this session.
        if !identity.standing().is_current() || guard.token().is_cancelled() {
            self.note(user, key, None::<&str>);
            return None;
        }
        self.gate.authorizer.authenticated(&caller, DOOR, AuditOutcome::Allowed, None);
        let (identity, credential) = (identity.id(), caller.credential.as_deref());
        tracing::info!(door = DOOR, addr = %self.addr, identity, credential, "authenticated");
        (self.options, self.until, self.watched) = (uses, until, Some(watched));
        self.caller = Some(caller);
        Some(guard)
    }

    fn term(&self) -> Term {
        Term { until: self.until, now: self.gate.now }
    }

    /// What the proven key may be used for; all that its holder may before one is proven.
    pub(crate) fn options(&self) -> &KeyOptions {
        &self.options
    }

    /// This client as the policy on forwards is asked, once a key was proven.
    pub(crate) fn asking(&self, policy: Arc<ForwardPolicy>) -> Option<Asking> {
        let (authorizer, options, term) = (self.gate.authorizer.clone(), self.options.clone(), self.term());
        self.caller.clone().map(|caller| Asking { policy, authorizer, caller, options, term })
    }

    /// Which peers' processes run as which users.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.gate.users.load_full()
    }

    /// Asks the gate. A process under the node's own uid has the owner's power, so whoever is no owner gets one only where another user is
    /// configured for it, whatever scopes its role may have.
    pub(crate) fn authorize(&self, right: Right) -> Option<Permit> {
        let caller = self.caller.as_ref()?;
        let scope: Scope = right.scope().parse().expect("because the constants above are scopes");
        let mapped = |identity: &Identity| self.gate.users.load().contains_key(identity.id());
        let entitled = |identity: &Identity| identity.is_owner() || mapped(identity);
        let rule = match caller.identity.as_deref().is_some_and(entitled) {
            true => AccessRule::scoped([scope]),
            false => AccessRule::default(),
        };
        let demand = Demand { action: right.action(), rule: &rule, resource: None, effect: Effect::Mutation };
        self.ask(caller, &demand)
    }

    /// Asks the gate for a subsystem that demands `scope`; answers for whom it is.
    pub(crate) fn authorize_subsystem(&self, name: &str, scope: Scope) -> Option<(Caller, Permit)> {
        let (caller, rule) = (self.caller.as_ref()?, AccessRule::scoped([scope]));
        let action = format!("ssh/{name}");
        let demand = Demand { action: &action, rule: &rule, resource: None, effect: Effect::Mutation };
        Some((caller.clone(), self.ask(caller, &demand)?))
    }

    /// Asks the gate, as long as the proven key or certificate holds.
    fn ask(&self, caller: &Caller, demand: &Demand<'_>) -> Option<Permit> {
        if self.term().holds() {
            return self.gate.authorizer.authorize(caller, demand).ok();
        }
        self.gate.authorizer.refused(caller, demand, Term::ENDED);
        None
    }

    fn of_key(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Admitted, KeyRefusal> {
        let acceptable = fingerprint(key).ok().filter(|_| signs_acceptably(algorithm)).zip(Proof::of_key(key));
        let (key, proof) = acceptable.ok_or(KeyRefusal::Key)?;
        let grant = self.gate.identities.ssh_key(&key).ok_or(KeyRefusal::Unknown)?;
        if !self.may_be_called(&grant.identity, user) {
            return Err(KeyRefusal::Unknown);
        }
        // Refused when it was added: what cannot be read now was written by another version.
        let options = LineOptions::parse(&grant.options).map_err(|_| KeyRefusal::Options)?;
        if options.authority || !options.allow(self.addr, (self.gate.now)()) {
            return Err(KeyRefusal::Options);
        }
        if !self.gate.revocations.allow(&proof) {
            return Err(KeyRefusal::Revoked);
        }
        let LineOptions { uses, expires: until, .. } = options;
        Ok(Admitted { grant, credential: Credential::SshKey(key), uses, until })
    }

    fn of_certificate(&self, user: &str, certificate: &Certificate) -> Result<Admitted, CertificateRefusal> {
        let trusting = self.gate.identities.ssh_authority(&certificate::authority(certificate)?);
        let attempt = Attempt { user, addr: self.addr, now: (self.gate.now)() };
        let admitted = certificate::admit(certificate, trusting, attempt)?;
        if !self.may_be_called(&admitted.grant.identity, user) {
            return Err(CertificateRefusal::Principals);
        }
        let proof = Proof::of_certificate(certificate).ok_or(CertificateRefusal::Key)?;
        if self.gate.revocations.allow(&proof) { Ok(admitted) } else { Err(CertificateRefusal::Revoked) }
    }

    /// Whether somebody may log in under this name.
    fn may_be_called(&self, identity: &Identity, user: &str) -> bool {
        let mapped = self.gate.users.load().get(identity.id()).is_some_and(|mapped| mapped == user);
        mapped || [identity.id(), &self.gate.system_user, "alknet", "git"].contains(&user)
    }

    /// Remembers the last key that was tried, for the case that none is proven.
    fn note(&mut self, user: &str, key: &PublicKey, why: Option<impl fmt::Display>) {
        let key = fingerprint(key).as_ref().map_or("unacceptable", Fingerprint::as_str).to_owned();
        let user: String = user.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect();
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        let tried = format!("user {user}, key {key}{why}");
        // A client that was refused with a certificate tries the bare key next: why it was refused is worth more.
        if !self.tried.as_ref().is_some_and(|before| before.starts_with(&tried)) {
            self.tried = Some(tried);
        }
    }
}

/// Why a plain key lets nobody in. For the log and the audit: the peer hears of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyRefusal {
    /// Too weak, or signed with too weak an algorithm.
    Key,
    /// Nobody's, or not of the one who is named.
    Unknown,
    Options,
    Revoked,
}

impl KeyRefusal {
    /// What is worth saying beside the key.
    const fn shown(self) -> Option<&'static str> {
        match self {
            Self::Key | Self::Unknown => None,
            Self::Options => Some("not allowed by its options, from here or at this time"),
            Self::Revoked => Some("revoked"),
        }
    }
}

impl Drop for Login {
    /// A failure is a connection that ends without a proven key, written down once: agents offer many keys, and an offer proves nothing.
    fn drop(&mut self) {
        if let (None, Some(tried)) = (&self.caller, self.tried.take()) {
            let stranger = Caller { identity: None, credential: None, addr: self.addr };
            tracing::warn!(door = DOOR, addr = %self.addr, "authentication failed: {tried}");
            self.gate.authorizer.authenticated(&stranger, DOOR, AuditOutcome::Denied, Some(tried));
        }
    }
}
