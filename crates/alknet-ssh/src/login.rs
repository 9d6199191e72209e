//! Who a key belongs to. An identity is bound when a signature verified, never when a key was offered.

use std::sync::Arc;

use alknet_core::{
    AccessRule, AuditOutcome, Authorizer, Caller, Credential, Demand, Effect, Fingerprint, Identity, IdentityProvider,
    PeerAddr, Permit, Scope, SessionGuard, SessionKind, Sessions,
};
use arc_swap::ArcSwap;
use russh::keys::{Algorithm, PublicKey};

use crate::{
    account::Users,
    fingerprint::{fingerprint, signs_acceptably},
    key_options::KeyOptions,
    limits::MAX_LOGGED_CHARS,
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

/// The joints that decide.
pub(crate) struct LoginGate {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) authorizer: Authorizer,
    pub(crate) sessions: Sessions,
    pub(crate) system_user: String,
    /// As the configuration in force has them.
    pub(crate) users: ArcSwap<Users>,
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
    tried: Option<String>,
}

impl Login {
    pub(crate) fn new(gate: Arc<LoginGate>, addr: PeerAddr) -> Self {
        Self { gate, addr, caller: None, options: KeyOptions::default(), tried: None }
    }

    /// Whether it is worth the client's while to sign with this key. Says nothing about who the client is.
    pub(crate) fn would_accept(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> bool {
        self.note(user, key);
        self.owner_of(user, key, algorithm).is_some()
    }

    /// Binds the identity, now that a signature with `key` verified, and enters the session.
    pub(crate) fn prove(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<SessionGuard> {
        let Some((identity, credential)) = self.owner_of(user, key, algorithm) else {
            self.note(user, key);
            return None;
        };
        let caller = Caller { identity: Some(identity.clone()), credential: Some(credential.label()), addr: self.addr };
        let guard = self.gate.sessions.register(&caller, SessionKind::Ssh);
        // Removed in the moment between: whoever removed it did not see this session.
        if !identity.standing().is_current() {
            self.note(user, key);
            return None;
        }
        self.gate.authorizer.authenticated(&caller, DOOR, AuditOutcome::Allowed, None);
        tracing::info!(door = DOOR, addr = %self.addr, identity = identity.id(), "authenticated");
        self.caller = Some(caller);
        Some(guard)
    }

    /// Who it is, once a key was proven.
    #[allow(dead_code, reason = "forwarding asks it")]
    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// What the proven key may be used for; all that its holder may before one is proven.
    pub(crate) fn options(&self) -> &KeyOptions {
        &self.options
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
        self.gate.authorizer.authorize(caller, &demand).ok()
    }

    /// Asks the gate for a subsystem that demands `scope`; answers for whom it is.
    pub(crate) fn authorize_subsystem(&self, name: &str, scope: Scope) -> Option<(Caller, Permit)> {
        let (caller, rule) = (self.caller.as_ref()?, AccessRule::scoped([scope]));
        let action = format!("ssh/{name}");
        let demand = Demand { action: &action, rule: &rule, resource: None, effect: Effect::Mutation };
        let permit = self.gate.authorizer.authorize(caller, &demand).ok()?;
        Some((caller.clone(), permit))
    }

    fn owner_of(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<(Arc<Identity>, Credential)> {
        if !signs_acceptably(algorithm) {
            return None;
        }
        let credential = Credential::SshKey(fingerprint(key).ok()?);
        let identity = self.gate.identities.identify(&credential)?;
        let users = self.gate.users.load();
        let mapped = users.get(identity.id()).is_some_and(|mapped| mapped == user);
        let fits = mapped || [identity.id(), &self.gate.system_user, "alknet", "git"].contains(&user);
        fits.then_some((identity, credential))
    }

    /// Remembers the last key that was tried, for the case that none is proven.
    fn note(&mut self, user: &str, key: &PublicKey) {
        let key = fingerprint(key).as_ref().map_or("unacceptable", Fingerprint::as_str).to_owned();
        let user: String = user.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect();
        self.tried = Some(format!("user {user}, key {key}"));
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
