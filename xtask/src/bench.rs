//! Benchmarks: each measures beside its peer, interleaved, and prints its own ratio lines.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::{cargo::cargo, install, manifest, run, tree::Tree};

/// A benchmark of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Bench {
    package: String,
    name: String,
}

/// Runs the benchmarks called `names`, or all there are.
pub fn run(root: &Path, names: &[String]) -> Result<()> {
    let found = find(&Tree::of_git(root)?)?;
    let chosen = choose(&found, names)?;
    if chosen.iter().any(|bench| bench.name == "ssh") {
        install::debian(install::SSH_BENCH_PACKAGES)?;
    }
    for bench in chosen {
        println!("==> {} ({})", bench.name, bench.package);
        run::plain(&mut cargo(root, &["bench", "-p", &bench.package, "--bench", &bench.name]))?;
    }
    Ok(())
}

fn find(tree: &Tree) -> Result<Vec<Bench>> {
    let packages = manifest::read_all(tree)?;
    let bench =
        |package: &manifest::Manifest, name: &String| Bench { package: package.name.clone(), name: name.clone() };
    Ok(packages.iter().flat_map(|package| package.benches.iter().map(move |name| bench(package, name))).collect())
}

fn choose<'a>(found: &'a [Bench], names: &[String]) -> Result<Vec<&'a Bench>> {
    ensure!(!found.is_empty(), "no package declares a [[bench]] with harness = false");
    let mut chosen = Vec::new();
    for name in names {
        let before = chosen.len();
        chosen.extend(found.iter().filter(|bench| bench.name == *name));
        if chosen.len() == before {
            let known: Vec<&str> = found.iter().map(|bench| bench.name.as_str()).collect();
            bail!("no benchmark is called {name:?}; there are: {}", known.join(" "));
        }
    }
    Ok(if names.is_empty() { found.iter().collect() } else { chosen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn bench(name: &str) -> Bench {
        Bench { package: format!("alknet-{name}"), name: name.to_owned() }
    }

    #[test]
    fn finds_what_the_manifests_declare() {
        let made = made_up::tree(&[
            ("crates/alknet-ssh/Cargo.toml", "[package]\nname='alknet-ssh'\n[[bench]]\nname='ssh'\nharness=false\n"),
            ("crates/alknet-net/Cargo.toml", "[package]\nname='alknet-net'\n[[bench]]\nname='net'\nharness=false\n"),
        ]);
        assert_eq!(find(&made.tree).unwrap(), [bench("net"), bench("ssh")]);
    }

    #[test]
    fn runs_those_named_in_order_all_without_names_and_refuses_unknown_ones() {
        let found = [bench("net"), bench("ssh")];
        let names = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(choose(&found, &names("ssh net")).unwrap(), [&found[1], &found[0]]);
        assert_eq!(choose(&found, &[]).unwrap(), [&found[0], &found[1]]);
        assert!(choose(&found, &names("call")).unwrap_err().to_string().contains("\"call\""));
        assert!(choose(&[], &[]).is_err());
    }
}
