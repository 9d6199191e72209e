//! What a reload changes.

use std::{collections::BTreeSet, fmt};

use toml::Value;

use super::{Loaded, defaults};

/// One key whose value changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `section.key`, or `roles.NAME.field`.
    pub key: String,
    /// What it was; a new role had nothing.
    pub old: Option<Value>,
    /// What it becomes; a removed role has nothing.
    pub new: Option<Value>,
    /// Whether the new value waits for a restart.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        write!(f, "{}: {} becomes {}", self.key, shown(&self.old), shown(&self.new))?;
        f.write_str(if self.needs_restart { " after a restart" } else { "" })
    }
}

/// The keys whose values differ, by name. Where a value comes from does not count.
pub fn diff(old: &Loaded, new: &Loaded) -> Vec<Change> {
    let keys: BTreeSet<&String> = old.values().keys().chain(new.values().keys()).collect();
    let value = |loaded: &Loaded, key: &str| loaded.values().get(key).map(|(value, _)| value.clone());
    keys.into_iter()
        .map(|key| (key, value(old, key), value(new, key)))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| Change { key: key.clone(), old, new, needs_restart: defaults::is_static(key) })
        .collect()
}
