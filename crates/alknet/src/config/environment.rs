//! Settings from the environment: `ALKNET_SECTION_KEY`.

use toml::Value;

use super::{
    defaults::{self, Key, ROLES},
    error::Problem,
    merge::Setting,
    origin::Origin,
    suggest::closest,
};

const PREFIX: &str = "ALKNET_";

/// The variable that sets `key`: `node.listen` is `ALKNET_NODE_LISTEN`.
pub(super) fn variable_of(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.replace('.', "_").to_ascii_uppercase())
}

/// The settings among these variables. One that begins with a section's name and is no key is a problem; every other is left alone.
pub(super) fn read(variables: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let known: Vec<(String, &Key)> =
        defaults::keys().iter().filter(|key| !key.is_role()).map(|key| (variable_of(key), key)).collect();
    let mut settings = Vec::new();
    for (name, text) in variables.iter().filter(|(name, _)| names_a_section(name)) {
        let origin = Origin::Environment { name: name.clone() };
        match known.iter().find(|(variable, _)| variable == name) {
            Some((_, key)) => match typed(text, &key.default) {
                Ok(value) => settings.push(Setting { key: key.name.clone(), value, origin }),
                Err(expected) => problems.push(Problem::at(&origin, format!("{}: {expected}", key.name))),
            },
            None if section_of(name).is_some_and(|section| section.eq_ignore_ascii_case(ROLES)) => {
                problems.push(Problem::at(&origin, "roles are written in a file, not in the environment"));
            }
            None => {
                let suggestion = closest(name, known.iter().map(|(variable, _)| variable.as_str()));
                problems.push(Problem::at(&origin, "no key of the configuration").meaning(suggestion));
            }
        }
    }
    settings
}

fn section_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.split('_').next()
}

fn names_a_section(name: &str) -> bool {
    section_of(name)
        .is_some_and(|first| defaults::sections().iter().any(|section| first == section.to_ascii_uppercase()))
}

/// The text as a value of the default's type.
fn typed(text: &str, default: &Value) -> Result<Value, &'static str> {
    match default {
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| "write true or false"),
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| "write a whole number"),
        Value::Array(_) => Ok(Value::Array(items(text))),
        Value::Table(_) => Err("is written in a file, not in the environment"),
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// The items between commas; the empty text has none.
fn items(text: &str) -> Vec<Value> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    // Items that have commas themselves are separated by semicolons.
    let separator = if text.contains(';') { ';' } else { ',' };
    let items = text.split(separator).map(str::trim);
    items.filter(|item| separator == ',' || !item.is_empty()).map(|item| Value::String(item.to_owned())).collect()
}
