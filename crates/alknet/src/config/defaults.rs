//! The embedded defaults: the list of keys, what they mean, and which of them wait for a restart.

use std::sync::LazyLock;

use toml::{Table, Value};

/// The defaults, in the syntax of every configuration file.
const DEFAULTS: &str = include_str!("defaults.toml");

/// The section whose members are named by the user.
pub(super) const ROLES: &str = "roles";
/// What a role consists of.
pub(super) const ROLE_FIELDS: [&str; 2] = ["scopes", "resources"];

/// One key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.key`, or `roles.NAME.field`.
    pub(super) name: String,
    /// What it does, as the defaults describe it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the generated reference shows it"))]
    pub(super) description: String,
    /// Whether a change waits for a restart.
    pub(super) is_static: bool,
    /// Its default.
    pub(super) default: Value,
}

impl Key {
    pub(super) fn section(&self) -> &str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }
    pub(super) fn is_role(&self) -> bool {
        self.section() == ROLES
    }
}

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| keys_in(DEFAULTS));

/// Every key of the defaults, in their order.
pub(super) fn keys() -> &'static [Key] {
    &KEYS
}

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.name == name)
}

/// The names of the sections, in their order.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = keys().iter().map(Key::section).collect();
    sections.dedup();
    sections
}

/// Whether a change of this key waits for a restart.
pub(super) fn is_static(name: &str) -> bool {
    find(name).is_some_and(|key| key.is_static)
}

/// Reads the defaults line by line: comments describe the key below them, an empty line ends a description.
fn keys_in(text: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let (mut section, mut description, mut is_static) = ("", Vec::new(), false);
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if comment == "static" {
                is_static = true;
            } else {
                description.push(comment);
            }
            continue;
        }
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header;
        } else if let Some((name, default)) = single_value(line) {
            keys.push(Key {
                name: format!("{section}.{name}"),
                description: description.join("\n"),
                is_static,
                default,
            });
        }
        description.clear();
        is_static = false;
    }
    keys
}

/// The key and value of a line `key = value`.
fn single_value(line: &str) -> Option<(String, Value)> {
    line.parse::<Table>().ok()?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_defaults_is_a_described_key() {
        let table: Table = DEFAULTS.parse().unwrap();
        let mut expected = 0;
        for (section, keys) in &table {
            let keys = keys.as_table().unwrap();
            expected += match section.as_str() {
                ROLES => keys.values().map(|role| role.as_table().unwrap().len()).sum(),
                _ => keys.len(),
            };
        }
        assert_eq!(keys().len(), expected, "each key stands on one line, below its section");
        for key in keys() {
            assert!(!key.description.is_empty(), "{} has no description", key.name);
        }
        assert!(is_static("node.listen") && !is_static("node.advertise"));
    }

    #[test]
    fn golden_config_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/config.md");
        let reference = reference();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &reference).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, reference, "docs/reference/config.md is out of date: run again with UPDATE_GOLDEN=1");
    }

    fn reference() -> String {
        let mut text = String::from(INTRODUCTION);
        let mut section = "";
        for key in keys() {
            if key.section() != section {
                section = key.section();
                let title = if key.is_role() { "roles.NAME" } else { section };
                text.push_str(&format!("\n## [{title}]\n"));
                if key.is_role() {
                    text.push_str(ROLES_INTRODUCTION);
                }
            }
            text.push_str(&entry(key));
        }
        text
    }

    fn entry(key: &Key) -> String {
        let name = key.name.rsplit_once('.').unwrap().1;
        let mut entry = format!("\n### {name}\n\n{}\n\n", key.description);
        if key.is_role() {
            let role = key.name.split('.').nth(1).unwrap();
            entry.push_str(&format!("- Default of the role `{role}`: `{}`\n", key.default));
            return entry;
        }
        entry.push_str(&format!("- Default: `{}`\n", key.default));
        if !key.default.is_table() {
            entry.push_str(&format!("- Environment: `{}`\n", crate::config::environment::variable_of(key)));
        }
        entry.push_str(if key.is_static {
            "- A change waits for a restart.\n"
        } else {
            "- A reload takes a change over.\n"
        });
        entry
    }

    const ROLES_INTRODUCTION: &str = "
A role is a named bundle of rights that peers, keys and tokens are given. `owner` (everything) and `guest` (nothing but
what is public) are built in and cannot be redefined; `observer` (reading only) and
`worker` (offering operations to this node, nothing else), `reader`, `writer` and `maintainer` (of files) are defaults. No other role may cover
everything, nor, unless `ssh.users` maps each of its holders, `ssh:exec` or `ssh:shell`: a process under the node's own user
has the power of the owner.
";

    const INTRODUCTION: &str = "# Configuration

Generated from `crates/alknet/src/config/defaults.toml`; `UPDATE_GOLDEN=1 cargo nextest run -p alknet golden` writes it anew.

Values come in layers, the later wins, key by key: the defaults below, `/etc/alknet/alknet.toml`, your own `alknet.toml`
(`--config FILE`, else in the data folder, else `$XDG_CONFIG_HOME/alknet/`), the environment, flags. `alknet config show
--origin` says where each value comes from, `alknet config check` tries a change without applying it. In the environment
the items of a list are separated by commas; roles are written in files only. An unknown key is an error.
";
}
