//! Layers become one: every value is tried alone, the last of a key wins, the whole is checked together.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    Config,
    defaults::{self, ROLES},
    error::Problem,
    origin::Origin,
    roles::role_problem,
};

/// One value of one key in one layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// `section.key`, or `roles.NAME.field`.
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The winning values by key.
pub(super) type Values = BTreeMap<String, (Value, Origin)>;

/// The embedded defaults.
pub(super) fn default_values() -> Values {
    defaults::keys().iter().map(|key| (key.name.clone(), (key.default.clone(), Origin::Default))).collect()
}

/// Puts the settings over the defaults, later ones last; those that are wrong in themselves become problems.
pub(super) fn overlay(settings: Vec<Setting>, problems: &mut Vec<Problem>) -> Values {
    let defaults = default_values();
    let mut values = defaults.clone();
    for setting in settings {
        match tried_alone(&defaults, &setting) {
            Ok(()) => {
                values.insert(setting.key, (setting.value, setting.origin));
            }
            Err(message) => problems.push(Problem::at(&setting.origin, format!("{}: {message}", setting.key))),
        }
    }
    values
}

/// Whether the setting would do with defaults around it. This keeps the type of each key in one place, the schema.
fn tried_alone(defaults: &Values, setting: &Setting) -> Result<(), String> {
    let mut values: Values = defaults.clone();
    values.insert(setting.key.clone(), (setting.value.clone(), setting.origin.clone()));
    let config = config_of(&values)?;
    let role = setting.key.strip_prefix(ROLES).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    let Some((name, _)) = role else { return Ok(()) };
    config.roles.get(name).and_then(|role| role_problem(name, role)).map_or(Ok(()), Err)
}

/// The typed configuration of these values.
pub(super) fn config_of(values: &Values) -> Result<Config, String> {
    let mut tree = Table::new();
    for (key, (value, _)) in values {
        let mut path: Vec<&str> = key.split('.').collect();
        let Some(last) = path.pop() else { continue };
        let folder = path.into_iter().try_fold(&mut tree, |table, name| {
            table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
        });
        folder.ok_or("a section is needed here")?.insert(last.to_owned(), value.clone());
    }
    Config::deserialize(Value::Table(tree)).map_err(|error| error.message().to_owned())
}
