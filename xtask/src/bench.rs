//! Benchmarks: each measures beside its peer, interleaved, and prints its own ratio lines.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::{cargo::cargo, install, manifest, run, tree::Tree};

/// A benchmark.
#[derive(Debug, PartialEq, Eq)]
struct Bench {
    package: String,
    name: String,
}

/// The one outside the workspace: its peers are libraries, which nobody else should have to compile.
const PEERS: &str = "peers";
const PEERS_MANIFEST: &str = "benches-peers/Cargo.toml";

/// Runs the benchmarks called `names`, or all there are.
pub fn run(root: &Path, names: &[String]) -> Result<()> {
    let found = find(&Tree::of_git(root)?)?;
    let chosen = choose(&found, names)?;
    if chosen.iter().any(|bench| bench.name == "ssh") {
        install::debian(install::SSH_BENCH_PACKAGES)?;
    }
    if chosen.iter().any(|bench| bench.name == "fs") {
        install::for_fs_bench()?;
    }
    if chosen.iter().any(|bench| bench.name == PEERS) {
        install::debian(install::PEERS_BENCH_PACKAGES)?;
    }
    for bench in chosen {
        println!("==> {} ({})", bench.name, bench.package);
        run::plain(&mut cargo(root, &bench.arguments()))?;
    }
    Ok(())
}

impl Bench {
    /// What cargo is asked to do.
    fn arguments(&self) -> Vec<&str> {
        if self.name == PEERS {
            vec!["run", "--release", "--manifest-path", PEERS_MANIFEST]
        } else {
            vec!["bench", "-p", &self.package, "--bench", &self.name]
        }
    }
}

fn find(tree: &Tree) -> Result<Vec<Bench>> {
    let packages = manifest::read_all(tree)?;
    let bench =
        |package: &manifest::Manifest, name: &String| Bench { package: package.name.clone(), name: name.clone() };
    let own = packages.iter().flat_map(|package| package.benches.iter().map(move |name| bench(package, name)));
    let outside = tree.files().filter(|path| *path == PEERS_MANIFEST);
    let peers = outside.map(|_| Bench { package: "alknet-bench-peers".to_owned(), name: PEERS.to_owned() });
    Ok(own.chain(peers).collect())
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
    fn the_one_outside_the_workspace_is_run_by_its_own_manifest() {
        let made = made_up::tree(&[(PEERS_MANIFEST, "[package]\nname='alknet-bench-peers'\n[workspace]\n")]);
        let found = find(&made.tree).unwrap();
        assert_eq!(found.iter().map(|bench| bench.name.as_str()).collect::<Vec<_>>(), [PEERS]);
        assert!(found[0].arguments().contains(&PEERS_MANIFEST));
        assert_eq!(bench("net").arguments(), ["bench", "-p", "alknet-net", "--bench", "net"]);
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
