//! Roles: named bundles of scopes and resource grants, from the configuration. `owner` and `guest` are built in.

use std::collections::{BTreeMap, BTreeSet};

use alknet_core::{OWNER_ROLE, ResourceGrants, Scope, ScopeSet};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_ROLE_NAME_BYTES;

/// The built-in role that grants nothing: known, and no more.
pub const GUEST_ROLE: &str = "guest";

/// Scopes that start processes, which run under the node's own uid, where they can read its secrets, unless their peer is mapped to another.
const PROCESSES: [&str; 2] = ["ssh:exec", "ssh:shell"];

/// What the holders of a role may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// Kinds of action.
    pub scopes: ScopeSet,
    /// Which resources, and what may be done to them.
    pub resources: ResourceGrants,
}

/// Every role of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    roles: BTreeMap<String, Role>,
    /// The peers whose processes run under another uid than the node's.
    mapped: BTreeSet<String>,
}

/// Why a role is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoleError {
    /// It would change what a built-in role means.
    #[error("the role `{0}` is built in and cannot be defined")]
    BuiltIn(String),
    /// It has no proper name.
    #[error("`{}` cannot name a role: write 1 to {MAX_ROLE_NAME_BYTES} of a-z 0-9 . - _", .0.escape_debug())]
    Name(String),
    /// It would be an owner by another name.
    #[error("the role `{role}` has the scope {scope}, which covers everything; only the built-in role `owner` may")]
    Everything {
        /// The role.
        role: String,
        /// Its scope.
        scope: String,
    },
    /// Its holders could start processes with the node's own power.
    #[error(
        "the role `{role}` has the scope {scope}, which covers {covers}: a process started under the node's own user \
         can read its keys and has the owner's power, so only the role `owner` may start one, unless the node runs as root \
         and ssh.users maps every holder to another user"
    )]
    Process {
        /// The role.
        role: String,
        /// Its scope.
        scope: String,
        /// What that scope reaches.
        covers: &'static str,
    },
}

/// What a role turns out to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rights {
    Owner,
    Some(Role),
}

impl Roles {
    /// Takes the roles of a configuration; refuses those that give away what only an owner may have.
    pub fn new(roles: BTreeMap<String, Role>) -> Result<Self, RoleError> {
        Self::with_mapped(roles, BTreeSet::new())
    }

    /// The same, where the processes of the peers `mapped` run under another uid than the node's. Only they can have a role that starts
    /// processes, and without any there is no such role.
    pub fn with_mapped(roles: BTreeMap<String, Role>, mapped: BTreeSet<String>) -> Result<Self, RoleError> {
        for (name, role) in &roles {
            role.check(name)?;
            if mapped.is_empty() {
                refuse_processes(name, &role.scopes)?;
            }
        }
        Ok(Self { roles, mapped })
    }

    /// Whether a peer may have a role: not one that starts processes, unless the peer is mapped.
    pub(crate) fn suits(&self, role: &str, peer: &str) -> bool {
        self.mapped.contains(peer)
            || self.roles.get(role).is_none_or(|found| refuse_processes(role, &found.scopes).is_ok())
    }

    /// Every name that a peer's role may have, built-in ones included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [OWNER_ROLE, GUEST_ROLE].into_iter().chain(self.roles.keys().map(String::as_str))
    }

    /// What a role means; `None` when there is none of that name.
    pub(crate) fn rights(&self, role: &str) -> Option<Rights> {
        match role {
            OWNER_ROLE => Some(Rights::Owner),
            GUEST_ROLE => Some(Rights::nothing()),
            other => self.roles.get(other).cloned().map(Rights::Some),
        }
    }
}

impl Role {
    /// Refuses what is wrong with the role under this name, whoever has it.
    pub fn check(&self, name: &str) -> Result<(), RoleError> {
        if name == OWNER_ROLE || name == GUEST_ROLE {
            return Err(RoleError::BuiltIn(name.to_owned()));
        }
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_ROLE_NAME_BYTES || !name.bytes().all(good) {
            return Err(RoleError::Name(name.chars().take(MAX_ROLE_NAME_BYTES).collect()));
        }
        refuse_everything(name, &self.scopes)
    }
}

impl Rights {
    pub fn nothing() -> Self {
        Self::Some(Role::default())
    }
}

/// Refuses, in the name of `role`, scopes that only an owner may have.
pub(crate) fn refuse_owners_scopes(role: &str, scopes: &ScopeSet) -> Result<(), RoleError> {
    refuse_everything(role, scopes)?;
    refuse_processes(role, scopes)
}

fn refuse_everything(role: &str, scopes: &ScopeSet) -> Result<(), RoleError> {
    match scopes.iter().find(|scope| scope.as_str() == "*:*") {
        Some(scope) => Err(RoleError::Everything { role: role.to_owned(), scope: scope.to_string() }),
        None => Ok(()),
    }
}

fn refuse_processes(role: &str, scopes: &ScopeSet) -> Result<(), RoleError> {
    for scope in scopes.iter() {
        for covers in PROCESSES {
            let demanded: Scope = covers.parse().expect("because the list above holds scopes");
            if scope.covers(&demanded) {
                return Err(RoleError::Process { role: role.to_owned(), scope: scope.to_string(), covers });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(name: &str, scopes: &[&str]) -> Result<Roles, RoleError> {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        Roles::new(BTreeMap::from([(name.to_owned(), Role { scopes, resources: ResourceGrants::default() })]))
    }

    #[test]
    fn a_role_that_starts_processes_is_refused_by_name_with_the_reason() {
        // STORE-34
        for scope in ["ssh:exec", "ssh:shell", "ssh:*", "*:exec", "*:shell"] {
            let error = roles("friend", &["fs:read", scope]).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, RoleError::Process { .. }), "{scope}");
            assert!(text.contains("`friend`") && text.contains(scope) && text.contains("owner's power"), "{text}");
        }
        assert!(matches!(roles("friend", &["*:*"]), Err(RoleError::Everything { .. })));
        assert!(roles("friend", &["ssh:forward", "fs:*", "*:read"]).is_ok());
    }

    /// SES-03.
    #[test]
    fn only_mapped_peers_suit_a_role_that_starts_processes() {
        let role = |scope: &str| Role { scopes: ScopeSet::from_iter([scope.parse().unwrap()]), ..Role::default() };
        let all = BTreeMap::from([("dev".to_owned(), role("ssh:*")), ("reader".to_owned(), role("fs:read"))]);
        let mapped = BTreeSet::from(["alice".to_owned()]);
        let roles = Roles::with_mapped(all.clone(), mapped.clone()).unwrap();
        assert!(roles.suits("dev", "alice") && !roles.suits("dev", "bob"));
        assert!(roles.suits("reader", "bob") && roles.suits("owner", "bob") && roles.suits("unknown", "bob"));
        assert!(matches!(Roles::with_mapped(all, BTreeSet::new()), Err(RoleError::Process { .. })));
        let everything = BTreeMap::from([("dev".to_owned(), role("*:*"))]);
        assert!(matches!(Roles::with_mapped(everything, mapped), Err(RoleError::Everything { .. })));
    }

    #[test]
    fn built_in_roles_are_there_and_stay_what_they_are() {
        // STORE-34
        for name in [OWNER_ROLE, GUEST_ROLE] {
            assert_eq!(roles(name, &[]), Err(RoleError::BuiltIn(name.to_owned())));
        }
        for name in ["", "Friend", "a b", "ä", &"a".repeat(65)] {
            assert!(matches!(roles(name, &[]), Err(RoleError::Name(_))), "{name}");
        }
        let friends = roles("friend", &["fs:read"]).unwrap();
        assert_eq!(friends.names().collect::<Vec<_>>(), ["owner", "guest", "friend"]);
        assert_eq!(friends.rights("owner"), Some(Rights::Owner));
        assert_eq!(friends.rights("guest"), Some(Rights::nothing()));
        assert_eq!(friends.rights("nobody"), None);
    }
}
