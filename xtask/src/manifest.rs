//! What the rules and chores read from the packages' `Cargo.toml`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::tree::Tree;

/// One package of the workspace.
pub struct Manifest {
    /// `crates/alknet-core/Cargo.toml`.
    pub path: String,
    /// The package's name.
    pub name: String,
    /// Names of the packages it depends on in the product, whatever the target; renames are looked through.
    pub dependencies: BTreeSet<String>,
    /// Whether it takes the workspace's lints.
    pub takes_workspace_lints: bool,
    /// Names of its benchmarks that bring their own `main`.
    pub benches: Vec<String>,
}

/// The packages: `crates/*` and `xtask`.
pub fn read_all(tree: &Tree) -> Result<Vec<Manifest>> {
    let is_package = |path: &&str| {
        *path == "xtask/Cargo.toml"
            || path.starts_with("crates/") && path.ends_with("/Cargo.toml") && path.matches('/').count() == 2
    };
    tree.files().filter(is_package).map(|path| read(tree, path)).collect()
}

fn read(tree: &Tree, path: &str) -> Result<Manifest> {
    let text = tree.text(path)?.with_context(|| format!("{path} is not text"))?;
    let table: Table = text.parse().with_context(|| format!("parsing {path}"))?;
    let name = lookup(&table, &["package", "name"]).and_then(Value::as_str);
    Ok(Manifest {
        path: path.to_owned(),
        name: name.with_context(|| format!("{path} names no package"))?.to_owned(),
        dependencies: product_dependencies(&table),
        takes_workspace_lints: lookup(&table, &["lints", "workspace"]).and_then(Value::as_bool) == Some(true),
        benches: own_benches(&table),
    })
}

fn lookup<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    let value = table.get(*first)?;
    if rest.is_empty() { Some(value) } else { lookup(value.as_table()?, rest) }
}

fn product_dependencies(table: &Table) -> BTreeSet<String> {
    let targets = table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let holders = std::iter::once(table).chain(targets.filter_map(Value::as_table));
    let entries = holders.filter_map(|holder| holder.get("dependencies")?.as_table()).flatten();
    entries.map(|(key, value)| value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()).collect()
}

fn own_benches(table: &Table) -> Vec<String> {
    let benches = table.get("bench").and_then(Value::as_array).into_iter().flatten();
    let own = benches.filter(|bench| bench.get("harness").and_then(Value::as_bool) == Some(false));
    own.filter_map(|bench| bench.get("name")?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn target_tables_and_renames_count_and_dev_dependencies_do_not() {
        let made = made_up::tree(&[(
            "crates/a/Cargo.toml",
            "[package]\nname = 'alknet-a'\n[lints]\nworkspace = true\n[dependencies]\nb.workspace = true\n\
             c = { version = '1', package = 'real-c' }\n[target.'cfg(unix)'.dependencies]\nd = '1'\n\
             [dev-dependencies]\ne = '1'\n[[bench]]\nname = 'net'\nharness = false\n[[bench]]\nname = 'other'\n",
        )]);
        let manifests = read_all(&made.tree).unwrap();
        let [only] = manifests.as_slice() else { panic!("one package") };
        assert_eq!(only.dependencies.iter().map(String::as_str).collect::<Vec<_>>(), ["b", "d", "real-c"]);
        assert_eq!((only.name.as_str(), only.takes_workspace_lints), ("alknet-a", true));
        assert_eq!(only.benches, ["net"]);
    }

    #[test]
    fn a_manifest_that_does_not_parse_is_named() {
        let made = made_up::tree(&[("crates/a/Cargo.toml", "[package\n")]);
        let error = read_all(&made.tree).err().expect("because the table is not closed");
        assert!(format!("{error:#}").contains("crates/a/Cargo.toml"));
    }
}
