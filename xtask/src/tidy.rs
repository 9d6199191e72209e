//! The rules about the repository that no compiler checks. Each is a function from the tree to findings.

mod adr;
mod arrows;
mod banned;
mod heavy;
mod hosts;
mod names;
mod size;
mod spec;

use std::fmt;

use anyhow::{Context, Result, ensure};

use crate::{manifest, tree::Tree};

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// Where: a path, with `:line` where one is to blame.
    place: String,
    /// What is wrong, and what to do about it.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

fn finding(place: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding { place: place.into(), what: what.into() }
}

type Rule = fn(&Tree) -> Result<Vec<Finding>>;

const RULES: [(&str, Rule); 9] = [
    ("crate arrows", arrows::check),
    ("heavy dependencies", heavy::check),
    ("workspace lints", lints),
    ("banned crates", banned::check),
    ("names", names::check),
    ("decision records", adr::check),
    ("spec rules", spec::check),
    ("sizes", size::check),
    ("registry hosts", hosts::check),
];

/// Checks every rule, prints what breaks one, and fails if anything does.
pub fn run(tree: &Tree) -> Result<()> {
    let mut count = 0;
    for (name, rule) in RULES {
        let findings = rule(tree).with_context(|| format!("checking {name}"))?;
        for finding in &findings {
            println!("{name}: {finding}");
        }
        count += findings.len();
    }
    ensure!(count == 0, "{count} findings");
    println!("{} rules kept", RULES.len());
    Ok(())
}

/// Every package takes the workspace's lints.
fn lints(tree: &Tree) -> Result<Vec<Finding>> {
    let packages = manifest::read_all(tree)?;
    let without = packages.into_iter().filter(|package| !package.takes_workspace_lints);
    Ok(without.map(|package| finding(package.path, "lacks `[lints] workspace = true`")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn a_package_with_lints_of_its_own_is_found() {
        let made = made_up::tree(&[
            ("crates/a/Cargo.toml", "[package]\nname='alknet-a'\n[lints]\nworkspace=true\n"),
            ("crates/b/Cargo.toml", "[package]\nname='alknet-b'\n[lints.rust]\nmissing_docs='allow'\n"),
        ]);
        let findings = lints(&made.tree).unwrap();
        assert_eq!(findings.iter().map(|found| found.place.as_str()).collect::<Vec<_>>(), ["crates/b/Cargo.toml"]);
    }
}
