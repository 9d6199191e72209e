//! Lengths beyond which nobody reads a file.

use anyhow::Result;

use super::{Finding, finding};
use crate::tree::Tree;

const MAX_SOURCE_LINES: usize = 600;

const SOURCES: &[&str] = &[".rs", ".py", ".sh", ".mjs", ".js"];

/// Documents that every newcomer reads, with the most lines each may have.
const DOCUMENTS: [(&str, usize); 2] = [("README.md", 150), ("ARCHITECTURE.md", 299)];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let sources = tree.select("", SOURCES).map(|path| (path, MAX_SOURCE_LINES));
    let present = |path: &str| tree.files().any(|file| file == path);
    let missing = DOCUMENTS.iter().filter(|(path, _)| !present(path)).map(|(path, _)| finding(*path, "is missing"));
    let mut findings: Vec<Finding> = missing.collect();
    for (path, bound) in DOCUMENTS.into_iter().filter(|(path, _)| present(path)).chain(sources) {
        let count = tree.text(path)?.unwrap_or_default().lines().count();
        if count > bound {
            findings.push(finding(path, format!("has {count} lines; {bound} are the most")));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn places(sizes: &[(&str, usize)]) -> Vec<String> {
        let texts: Vec<(&str, String)> = sizes.iter().map(|(path, count)| (*path, "x\n".repeat(*count))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (*path, text.as_str())).collect();
        check(&made_up::tree(&files).tree).unwrap().into_iter().map(|found| found.place).collect()
    }

    #[test]
    fn each_bound_is_exact() {
        let full = [("README.md", 150), ("ARCHITECTURE.md", 299), ("crates/a/src/lib.rs", 600), ("Cargo.lock", 5000)];
        assert_eq!(places(&full), Vec::<String>::new());
        let over = [("README.md", 151), ("ARCHITECTURE.md", 300), ("crates/a/src/lib.rs", 601), ("interop/a.py", 601)];
        assert_eq!(places(&over), ["README.md", "ARCHITECTURE.md", "crates/a/src/lib.rs", "interop/a.py"]);
    }

    #[test]
    fn a_missing_document_is_found() {
        assert_eq!(places(&[("README.md", 3)]), ["ARCHITECTURE.md"]);
    }
}
