//! Who somebody is, once a credential was proven.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{Credential, Fingerprint, ResourceGrants, ResourceId, Scope, ScopeSet};

/// The role whose holders have every right; built in, never redefined.
pub const OWNER_ROLE: &str = "owner";
/// The identity of whoever opens the control socket under the node's own uid; no peer may take this name.
pub const LOCAL_OWNER: &str = "local-owner";

/// Whether what an identity was granted still stands.
///
/// The provider bumps the counter when it changes or removes the identity; everything that was handed out before is then stale.
#[derive(Debug, Clone)]
pub struct Standing {
    current: Arc<AtomicU64>,
    granted: u64,
}

impl Standing {
    /// Grants at the counter's present value.
    pub fn at_present(current: &Arc<AtomicU64>) -> Self {
        Self { current: current.clone(), granted: current.load(Ordering::Acquire) }
    }
    /// Whether nothing was revoked since.
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire) == self.granted
    }
}

/// Somebody known: the stable name, what it may do, and whether that still stands.
#[derive(Debug, Clone)]
pub struct Identity {
    id: Arc<str>,
    role: Option<Arc<str>>,
    owner: bool,
    scopes: Arc<ScopeSet>,
    limit: Option<ScopeSet>,
    resources: Arc<ResourceGrants>,
    standing: Standing,
}

impl Identity {
    /// Makes an identity with these rights, standing for ever. A provider adds [`Self::with_standing`].
    pub fn new(id: impl Into<Arc<str>>, scopes: ScopeSet, resources: ResourceGrants) -> Self {
        let standing = Standing::at_present(&Arc::new(AtomicU64::new(0)));
        let (scopes, resources) = (Arc::new(scopes), Arc::new(resources));
        Self { id: id.into(), role: None, owner: false, scopes, limit: None, resources, standing }
    }
    /// Makes an identity with every right.
    pub fn owner(id: impl Into<Arc<str>>) -> Self {
        let everything = "*:*".parse().expect("because two stars are a scope");
        let mut resources = ResourceGrants::default();
        resources.grant("*:*".parse().expect("because two stars are a resource"), "*");
        Self { owner: true, ..Self::new(id, ScopeSet::from_iter([everything]), resources).with_role(OWNER_ROLE) }
    }
    /// Names the role that the rights come from.
    pub fn with_role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.role = Some(role.into());
        self
    }
    /// Ties the rights to a counter that says when they end.
    pub fn with_standing(mut self, standing: Standing) -> Self {
        self.standing = standing;
        self
    }
    /// The same somebody, whose rights end at the same moment, with the rights of `authority` instead of its own.
    pub fn acting(&self, authority: &Self) -> Self {
        Self { id: self.id.clone(), standing: self.standing.clone(), ..authority.clone() }
    }
    /// Keeps only the rights that `limit` holds too (a token's or an API key's own scopes).
    pub fn limited_to(mut self, limit: ScopeSet) -> Self {
        self.limit = Some(limit);
        self
    }
    /// The stable peer name, never a fingerprint: keys rotate under it.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The role that its rights come from, if they come from one.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }
    /// Whether a credential's own limit takes away from its rights.
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }
    /// Whether it holds the role `owner`, undiminished by a credential's own limit.
    pub const fn is_owner(&self) -> bool {
        self.owner && self.limit.is_none()
    }
    /// Whether it holds `scope`.
    pub fn holds(&self, scope: &Scope) -> bool {
        self.scopes.allows(scope) && self.limit.as_ref().is_none_or(|limit| limit.allows(scope))
    }
    /// Whether it may do `action` to `resource`.
    pub fn may(&self, resource: &ResourceId, action: &str) -> bool {
        self.resources.allows(resource, action)
    }
    /// The scopes it holds, before any limit.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }
    /// Whether these rights still stand.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }
}

/// Answers who a proven credential belongs to: at once, from memory.
pub trait IdentityProvider: Send + Sync + 'static {
    /// The identity, or `None` for a stranger.
    ///
    /// A key that was added with options (as in `authorized_keys`) is nobody's here: SSH alone honours them, and asks [`Self::ssh_key`].
    fn identify(&self, credential: &Credential) -> Option<Arc<Identity>>;

    /// Who an SSH key belongs to, and under which options; or `None` for a stranger.
    fn ssh_key(&self, key: &Fingerprint) -> Option<SshGrant> {
        let identity = self.identify(&Credential::SshKey(key.clone()))?;
        Some(SshGrant { identity, options: "".into() })
    }

    /// Everybody for whom this key signs SSH certificates.
    fn ssh_authority(&self, key: &Fingerprint) -> Vec<SshGrant> {
        let _ = key;
        Vec::new()
    }

    /// Whether there is any key that signs SSH certificates for anybody.
    fn has_ssh_authorities(&self) -> bool {
        false
    }
}

/// What an SSH key gives: somebody's rights, as far as its options let them be used.
#[derive(Debug, Clone)]
pub struct SshGrant {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The options before the key in its line (sshd(8), AUTHORIZED_KEYS FILE FORMAT); empty for none.
    pub options: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_only_takes_away() {
        // AUTH-08
        let read: Scope = "fs:read".parse().unwrap();
        let write: Scope = "fs:write".parse().unwrap();
        let reader = Identity::new("a", ScopeSet::from_iter([read.clone()]), ResourceGrants::default());
        let limit = ScopeSet::from_iter([read.clone(), write.clone()]);
        let limited = reader.limited_to(limit);
        assert!(limited.holds(&read) && !limited.holds(&write));
        let owner = Identity::owner("o").limited_to(ScopeSet::from_iter([read.clone()]));
        assert!(owner.holds(&read) && !owner.holds(&write) && !owner.is_owner());
        assert!(Identity::owner("o").is_owner());
        assert!(owner.is_limited() && !Identity::owner("o").is_limited());
    }

    #[test]
    fn an_identity_knows_its_role() {
        let nobody = Identity::new("a", ScopeSet::default(), ResourceGrants::default());
        assert_eq!((Identity::owner("o").role(), nobody.role()), (Some("owner"), None));
        assert_eq!(nobody.with_role("dev").role(), Some("dev"));
    }

    #[test]
    fn acting_keeps_the_name_and_the_standing_and_nothing_else() {
        let counter = Arc::new(AtomicU64::new(0));
        let read: Scope = "fs:read".parse().unwrap();
        let owner = Identity::owner("o").with_standing(Standing::at_present(&counter));
        let authority = Identity::new("", ScopeSet::from_iter([read.clone()]), ResourceGrants::default());
        let acting = owner.acting(&authority);
        assert_eq!((acting.id(), acting.role(), acting.is_owner()), ("o", None, false));
        assert!(acting.holds(&read) && !acting.holds(&"fs:write".parse().unwrap()));
        assert!(!acting.may(&"bucket:a".parse().unwrap(), "fs:read"));
        assert!(owner.limited_to(ScopeSet::default()).acting(&authority).holds(&read), "a limit is the caller's own");
        counter.fetch_add(1, Ordering::AcqRel);
        assert!(!acting.standing().is_current());
    }

    #[test]
    fn a_bumped_counter_ends_the_standing() {
        let counter = Arc::new(AtomicU64::new(7));
        let identity = Identity::owner("o").with_standing(Standing::at_present(&counter));
        assert!(identity.standing().is_current());
        counter.fetch_add(1, Ordering::AcqRel);
        assert!(!identity.standing().is_current());
    }
}
