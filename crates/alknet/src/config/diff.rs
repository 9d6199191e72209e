//! What a reload changes.

use std::{collections::BTreeSet, fmt};

use super::{Loaded, defaults};

/// One key whose value changes. Values are in TOML's syntax, and empty where there is none: before a role is made, after one is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `section.key`, or `roles.NAME.field`.
    pub key: String,
    /// What it was.
    pub old: String,
    /// What it becomes.
    pub new: String,
    /// Whether the new value waits for a restart.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &String| if value.is_empty() { "nothing".to_owned() } else { value.clone() };
        write!(f, "{}: {} becomes {}", self.key, shown(&self.old), shown(&self.new))?;
        f.write_str(if self.needs_restart { " after a restart" } else { "" })
    }
}

/// The keys whose values differ, by name. Where a value comes from does not count.
pub fn diff(old: &Loaded, new: &Loaded) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.values().keys().chain(new.values().keys()).collect();
    let value = |loaded: &Loaded, key: &str| loaded.values().get(key).map(|(value, _)| value.to_string());
    keys.into_iter()
        .map(|key| (key, value(old, key).unwrap_or_default(), value(new, key).unwrap_or_default()))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| Change { key: key.clone(), old, new, needs_restart: defaults::is_static(key) })
        .collect()
}
