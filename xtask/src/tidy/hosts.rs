//! No file spells out where packages come from: that is the user's configuration, and mirrors are common.

use anyhow::Result;

use super::{Finding, finding};
use crate::tree::Tree;

/// Hosts, with everything below them.
const REGISTRIES: &[&str] =
    &["crates.io", "debian.org", "npmjs.com", "npmjs.org", "pypi.org", "pythonhosted.org", "yarnpkg.com"];

/// Lock files name the registry by their format.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json"];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.files() {
        if LOCK_FILES.iter().any(|name| path.rsplit('/').next() == Some(name)) {
            continue;
        }
        let Some(text) = tree.text(path)? else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(host) = registry_in(line) {
                findings.push(finding(format!("{path}:{}", number + 1), format!("names the registry host {host}")));
            }
        }
    }
    Ok(findings)
}

/// The first registry that `line` has a URL of.
fn registry_in(line: &str) -> Option<&'static str> {
    line.split("://").skip(1).find_map(|rest| {
        let authority = rest.split(['/', ' ', '"', '\'', ')', '>', '`', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?.split(':').next()?.trim_end_matches(['.', ',']).to_ascii_lowercase();
        let below =
            |registry: &str| host.strip_suffix(registry).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
        REGISTRIES.iter().copied().find(|registry| below(registry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    /// A URL whose text is not in this file, which is itself checked.
    fn url(host: &str) -> String {
        format!("see {}{host}/path", "https:/".to_owned() + "/")
    }

    #[test]
    fn urls_of_registries_are_found_wherever_they_stand_in_a_line() {
        for host in
            ["crates.io", "static.crates.io", "PyPI.org", "registry.npmjs.org", "deb.debian.org:80", "user@pypi.org"]
        {
            assert!(registry_in(&url(host)).is_some(), "{host}");
            assert!(registry_in(&format!("{} and {}", url("example.net"), url(host))).is_some(), "{host} second");
        }
    }

    #[test]
    fn words_and_other_hosts_are_fine() {
        for line in
            [url("docs.rs"), url("notcrates.io"), url("crates.io.example.net"), "published on crates.io".to_owned()]
        {
            assert_eq!(registry_in(&line), None, "{line}");
        }
    }

    #[test]
    fn lock_files_and_binary_files_are_left_out() {
        let text = url("crates.io");
        let made = made_up::tree(&[
            ("Cargo.lock", &text),
            ("docs/a.md", &format!("one\n{text}\n")),
            ("b.bin", &format!("\0{text}")),
        ]);
        let findings = check(&made.tree).unwrap();
        assert_eq!(findings.iter().map(|found| found.place.as_str()).collect::<Vec<_>>(), ["docs/a.md:2"]);
    }
}
