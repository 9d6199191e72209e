//! Crates that must never be in the product: one crypto provider, nothing that needs a system library or cmake.

use anyhow::{Context, Result, ensure};

use super::{Finding, finding};
use crate::{cargo::cargo, tree::Tree};

/// As in deny.toml, which says the same to cargo-deny.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys", "openssl-sys", "native-tls"];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let arguments = ["tree", "--workspace", "-e", "normal", "--prefix", "none", "--format", "{p}"];
    let output = cargo(tree.root(), &arguments).output().context("running cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(banned_in(&String::from_utf8_lossy(&output.stdout)))
}

fn banned_in(listing: &str) -> Vec<Finding> {
    let mut names: Vec<&str> = listing.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    let banned = names.into_iter().filter(|name| BANNED.contains(name));
    banned
        .map(|name| finding("Cargo.lock", format!("{name} is in the product: see `cargo tree -e normal -i {name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_banned_crate_is_found_once_and_lookalikes_are_not() {
        let listing = "alknet v0.1.0 (/x)\nring v0.17.1\nopenssl-probe v0.2.2\naws-lc-rs v1.0.0\nring v0.17.1 (*)\naws-lc-rs v1.0.0 (*)\n";
        let findings = banned_in(listing);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.starts_with("aws-lc-rs is"), "{findings:?}");
    }

    #[test]
    fn deny_toml_bans_the_same() {
        let text = std::fs::read_to_string(crate::tree::root().unwrap().join("deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let denied: Vec<&str> =
            table["bans"]["deny"].as_array().unwrap().iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
        assert_eq!(denied, BANNED);
    }
}
