//! Which crate may depend on which: the table of ARCHITECTURE.md. A door never depends on another door.

use anyhow::Result;

use super::{Finding, finding};
use crate::{manifest, tree::Tree};

/// Each crate with those it may depend on in the product (tests may use any).
const ARROWS: &[(&str, &[&str])] = &[
    ("alknet-vault", &[]),
    ("alknet-core", &[]),
    ("alknet-net", &["alknet-core"]),
    ("alknet-call", &["alknet-core"]),
    ("alknet-store", &["alknet-core", "alknet-vault"]),
    ("alknet-fs", &["alknet-core", "alknet-call", "alknet-store"]),
    ("alknet-blobs", &["alknet-core", "alknet-fs"]),
    ("alknet-ssh", &["alknet-core", "alknet-call"]),
    ("alknet-http", &["alknet-core", "alknet-call"]),
    (
        "alknet",
        &[
            "alknet-vault",
            "alknet-core",
            "alknet-net",
            "alknet-call",
            "alknet-store",
            "alknet-fs",
            "alknet-blobs",
            "alknet-ssh",
            "alknet-http",
        ],
    ),
    // Not part of the product: nobody's row names it.
    ("alknet-testkit", &["alknet-core", "alknet-net", "alknet-call"]),
    ("xtask", &[]),
];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let packages = manifest::read_all(tree)?;
    Ok(packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &manifest::Manifest) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let what = format!("{} has no row in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md", package.name);
        return vec![finding(&package.path, what)];
    };
    let ours = |name: &&String| *name == "alknet" || name.starts_with("alknet-");
    let crossing = package.dependencies.iter().filter(ours).filter(|name| !allowed.contains(&name.as_str()));
    crossing.map(|name| finding(&package.path, format!("{} may not depend on {name}", package.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn places_and_words(manifest: &str) -> Vec<String> {
        let made = made_up::tree(&[("crates/x/Cargo.toml", manifest)]);
        check(&made.tree).unwrap().into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn a_door_may_use_core_but_no_other_door() {
        let door = "[package]\nname='alknet-ssh'\n[dependencies]\nalknet-core.workspace=true\n";
        assert_eq!(places_and_words(door), Vec::<String>::new());
        let crossing = format!("{door}alknet-http.workspace=true\n");
        assert_eq!(places_and_words(&crossing), ["alknet-ssh may not depend on alknet-http"]);
    }

    #[test]
    fn tests_may_depend_on_anything_and_the_product_never_on_the_testkit() {
        let core = "[package]\nname='alknet-core'\n[dev-dependencies]\nalknet-testkit.workspace=true\n";
        assert_eq!(places_and_words(core), Vec::<String>::new());
        let product = "[package]\nname='alknet'\n[dependencies]\nalknet-testkit.workspace=true\n";
        assert_eq!(places_and_words(product), ["alknet may not depend on alknet-testkit"]);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = places_and_words("[package]\nname='alknet-new'\n");
        assert!(found[0].starts_with("alknet-new has no row"), "{found:?}");
    }

    #[test]
    fn no_row_points_back_along_another() {
        for (name, allowed) in ARROWS {
            for other in *allowed {
                let (_, back) = ARROWS.iter().find(|(row, _)| row == other).unwrap();
                assert!(!back.contains(name), "{name} and {other} depend on each other");
            }
        }
    }
}
