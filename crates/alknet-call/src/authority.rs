//! What an operation may do when it calls others: declared at its registration, never inherited from whoever called it.

use std::{collections::BTreeSet, sync::Arc};

use alknet_core::{Identity, ResourceGrants, ResourceId, Scope, ScopeSet};

use crate::spec::{is_operation_name, is_segment};

/// The rights under which an operation calls others: its own, instead of its caller's.
#[derive(Debug, Clone, Default)]
pub struct Authority {
    scopes: Vec<Scope>,
    resources: ResourceGrants,
}

impl Authority {
    /// Holds these scopes.
    pub fn scoped(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { scopes: scopes.into_iter().collect(), resources: ResourceGrants::default() }
    }
    /// Besides, may do `action` to `resource`.
    pub fn on(mut self, resource: ResourceId, action: impl Into<String>) -> Self {
        self.resources.grant(resource, action);
        self
    }
}

/// The operations that an operation may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reachable {
    names: BTreeSet<String>,
    services: BTreeSet<String>,
}

impl Reachable {
    /// Adds `service/operation` or `service/*`; answers false when it is neither.
    pub(crate) fn add(&mut self, pattern: &str) -> bool {
        match pattern.strip_suffix("/*") {
            Some(service) if is_segment(service) => self.services.insert(service.to_owned()),
            None if is_operation_name(pattern) => self.names.insert(pattern.to_owned()),
            _ => return false,
        };
        true
    }
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || name.split_once('/').is_some_and(|(service, _)| self.services.contains(service))
    }
    /// The operations that are named one by one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// How an operation composes others.
#[derive(Debug, Clone)]
pub(crate) struct Composing {
    /// The rights, as those of nobody in particular.
    authority: Arc<Identity>,
    pub(crate) reachable: Reachable,
    /// Whether the caller must be allowed as well.
    pub(crate) within_caller: bool,
}

impl Composing {
    pub(crate) fn new(authority: Authority, reachable: Reachable, within_caller: bool) -> Self {
        let Authority { scopes, resources } = authority;
        let authority = Arc::new(Identity::new("", ScopeSet::from_iter(scopes), resources));
        Self { authority, reachable, within_caller }
    }

    /// Who acts when the operation, called by `caller`, calls another: under the caller's name, with the operation's rights.
    pub(crate) fn acting_for(&self, caller: Option<&Identity>) -> Arc<Identity> {
        caller.map_or_else(|| self.authority.clone(), |caller| Arc::new(caller.acting(&self.authority)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-47
    #[test]
    fn a_set_has_names_and_whole_services() {
        let mut set = Reachable::default();
        assert!(set.add("fs/read") && set.add("git/*"));
        for reached in ["fs/read", "git/log", "git/x.y"] {
            assert!(set.contains(reached), "{reached}");
        }
        for other in ["fs/write", "fs/read.all", "gitx/log", "git", "/fs/read", ""] {
            assert!(!set.contains(other), "{other}");
        }
        for bad in ["*", "*/*", "fs", "fs/", "fs/re*", "/fs/read", "a/b/c", "a/b/*", "FS/*", ""] {
            assert!(!set.add(bad), "{bad}");
        }
    }
}
