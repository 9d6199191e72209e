//! The roles of a configuration, by the store's rules.

use std::collections::BTreeMap;

use alknet_store::{Role, Roles};

/// Why this role may not be, if so.
pub(super) fn role_problem(name: &str, role: &Role) -> Option<String> {
    Roles::new(BTreeMap::from([(name.to_owned(), role.clone())])).err().map(|error| error.to_string())
}
