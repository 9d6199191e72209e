//! The roles of a configuration, by the store's rules.

use alknet_store::Role;

/// Why this role may not be, if so.
pub(super) fn role_problem(name: &str, role: &Role) -> Option<String> {
    role.check(name).err().map(|error| error.to_string())
}
