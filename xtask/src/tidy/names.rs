//! Names that say nothing: such a module attracts whatever has no better place.

use anyhow::Result;

use super::{Finding, finding};
use crate::{manifest, tree::Tree};

const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "types"];

const SOURCES: &[&str] = &[".rs", ".py", ".sh", ".mjs", ".js"];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in manifest::read_all(tree)? {
        if package.name.split(['-', '_']).any(|word| EMPTY_NAMES.contains(&word)) {
            findings.push(finding(&package.path, format!("the name {} does not say what the crate is", package.name)));
        }
    }
    for path in tree.select("", SOURCES) {
        if path.split('/').any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part))) {
            findings.push(finding(path, "name the concept, or put the code beside its caller"));
        }
        if path.ends_with(".rs") {
            let text = tree.text(path)?.unwrap_or_default();
            findings.extend(inline_modules(path, &text));
        }
    }
    Ok(findings)
}

/// Modules with a body of their own; those in files are found by path.
fn inline_modules(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((before, name)) = line.split_once("mod ") else { continue };
        let visible = before.trim();
        let Some(name) = name.strip_suffix('{').map(str::trim_end) else { continue };
        if (visible.is_empty() || visible.starts_with("pub")) && EMPTY_NAMES.contains(&name) {
            findings.push(finding(
                format!("{path}:{}", number + 1),
                format!("module {name} needs a name that says what it is"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        check(&made_up::tree(files).tree).unwrap().into_iter().map(|found| found.place).collect()
    }

    #[test]
    fn files_folders_and_inline_modules_are_found() {
        let files = [
            ("crates/a/src/utils.rs", ""),
            ("crates/a/src/types/peer.rs", ""),
            ("crates/a/tests/it/common.rs", ""),
            ("crates/a/src/lib.rs", "pub(crate) mod helpers {\n}\n"),
            ("interop/util.sh", ""),
        ];
        let mut expected = ["crates/a/src/lib.rs:1", "crates/a/src/types/peer.rs", "crates/a/src/utils.rs"].to_vec();
        expected.extend(["crates/a/tests/it/common.rs", "interop/util.sh"]);
        assert_eq!(places(&files), expected);
    }

    #[test]
    fn a_crate_is_found_by_its_name() {
        assert_eq!(places(&[("crates/a/Cargo.toml", "[package]\nname='alknet-util'\n")]), ["crates/a/Cargo.toml"]);
    }

    #[test]
    fn names_that_contain_such_a_word_and_prose_are_fine() {
        let files = [
            ("crates/a/src/utility_bill.rs", "// the mod util {\nmod uncommon {\n}\n"),
            ("docs/types.md", ""),
            ("crates/a/Cargo.toml", "[package]\nname='alknet-core'\n"),
        ];
        assert_eq!(places(&files), Vec::<String>::new());
    }
}
