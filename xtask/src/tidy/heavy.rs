//! Which crate hides which heavy dependency: only the owner may name it in the product.

use anyhow::Result;

use super::{Finding, finding};
use crate::{manifest, tree::Tree};

/// Dependencies with the packages that may name them (tests may use any).
const OWNERS: &[(&[&str], &[&str])] = &[
    (&["aes-gcm", "argon2", "bip39", "hkdf", "k256", "minicbor"], &["alknet-vault"]),
    // What is posted to a webhook is signed where it is made into a request.
    (&["hmac"], &["alknet-vault", "alknet-http"]),
    // Core verifies signatures, the vault makes them, the testkit makes throw-away identities.
    (&["ed25519-dalek"], &["alknet-core", "alknet-vault", "alknet-testkit"]),
    (&["quinn", "quinn-proto", "tokio-rustls", "rcgen", "rustls-platform-verifier"], &["alknet-net"]),
    (&["ml-kem", "socket2"], &["alknet-net"]),
    (&["bao-tree", "iroh", "iroh-blobs", "irpc"], &["alknet-blobs"]),
    // The binary installs the crypto provider of the process, once.
    (&["rustls"], &["alknet-net", "alknet"]),
    (&["jsonschema"], &["alknet-call"]),
    // The store owns the database; the file system keeps its tables in it (docs/adr/0015-let-the-file-system-speak-sql.md).
    (&["rusqlite"], &["alknet-store", "alknet-fs"]),
    (&["russh"], &["alknet-ssh"]),
    (&["axum", "hyper", "hyper-util", "http", "http-body-util", "tower", "tower-http", "h3"], &["alknet-http"]),
    (&["clap", "clap_complete", "clap_mangen", "rpassword", "toml_edit", "tracing-subscriber"], &["alknet"]),
    (&["flate2", "tar", "zip"], &["alknet"]),
    // A library's errors are types; only chores fold them to text.
    (&["anyhow"], &["xtask"]),
];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let packages = manifest::read_all(tree)?;
    Ok(packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &manifest::Manifest) -> impl Iterator<Item = Finding> {
    package.dependencies.iter().filter_map(|dependency| {
        let (_, owners) = OWNERS.iter().find(|(names, _)| names.contains(&dependency.as_str()))?;
        if owners.contains(&package.name.as_str()) {
            return None;
        }
        let what = format!("{} may not name {dependency}, which is hidden in {}", package.name, owners.join(", "));
        Some(finding(&package.path, what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn found(manifest: &str) -> usize {
        check(&made_up::tree(&[("crates/x/Cargo.toml", manifest)]).tree).unwrap().len()
    }

    #[test]
    fn only_the_owner_names_it() {
        for (dependency, owner, stranger) in [
            ("rusqlite", "alknet-store", "alknet-core"),
            ("russh", "alknet-ssh", "alknet"),
            ("quinn", "alknet-net", "alknet-http"),
            ("rustls", "alknet", "alknet-http"),
            ("jsonschema", "alknet-call", "alknet"),
            ("clap", "alknet", "xtask"),
            ("anyhow", "xtask", "alknet-core"),
        ] {
            let manifest = |name: &str| format!("[package]\nname='{name}'\n[dependencies]\n{dependency}='1'\n");
            assert_eq!(found(&manifest(owner)), 0, "{owner} owns {dependency}");
            assert_eq!(found(&manifest(stranger)), 1, "{stranger} may not name {dependency}");
        }
    }

    #[test]
    fn a_rename_does_not_hide_it_and_tests_may_use_it() {
        assert_eq!(found("[package]\nname='alknet-core'\n[dependencies]\ndb={version='1',package='rusqlite'}\n"), 1);
        assert_eq!(found("[package]\nname='alknet-http'\n[dev-dependencies]\nquinn='1'\n"), 0);
    }
}
