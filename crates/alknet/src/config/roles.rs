//! Which roles a configuration may define.

use alknet_core::{OWNER_ROLE, Scope};

use super::schema::RoleConfig;

/// The role of those who may do only what is public; built in.
const GUEST_ROLE: &str = "guest";
/// What amounts to the power of the owner as long as processes run under the node's own uid.
const OWNERS_ONLY: [&str; 2] = ["ssh:exec", "ssh:shell"];

/// Why this role may not be, if so.
pub(super) fn role_problem(name: &str, role: &RoleConfig) -> Option<String> {
    if [OWNER_ROLE, GUEST_ROLE].contains(&name) {
        return Some(format!("the role `{name}` is built in and cannot be redefined"));
    }
    let owners_only =
        OWNERS_ONLY.iter().filter_map(|text| text.parse::<Scope>().ok()).find(|scope| role.scopes.allows(scope))?;
    Some(format!(
        "the role `{name}` may not cover {owners_only}: a process started under the node's own user has the owner's \
         power, so only the role `{OWNER_ROLE}` may start one"
    ))
}
