//! Decision records: one decision each, numbered without gaps, short, and always with what enforces it.

use anyhow::Result;

use super::{Finding, finding};
use crate::tree::Tree;

const FOLDER: &str = "docs/adr/";
const MAX_LINES: usize = 60;
const SECTIONS: [&str; 5] = ["Context", "Decision", "Consequences", "Rejected", "Enforced by"];

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut next = 1;
    for path in tree.select(FOLDER, &[""]) {
        let file = path.strip_prefix(FOLDER).unwrap_or(path);
        if file == "README.md" {
            continue;
        }
        let Some(number) = number(file) else {
            findings.push(finding(path, "is not called NNNN-verb-the-thing.md"));
            continue;
        };
        if number != next {
            findings
                .push(finding(path, format!("the next number is {next:04}: numbers have no gaps and are used once")));
        }
        next = number + 1;
        findings.extend(check_text(path, &tree.text(path)?.unwrap_or_default()));
    }
    Ok(findings)
}

/// The number of a well-formed file name.
fn number(file: &str) -> Option<u32> {
    let (digits, words) = file.strip_suffix(".md")?.split_once('-')?;
    let good_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let good_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good_words = words.contains('-') && words.split('-').all(good_word);
    if good_number && good_words { digits.parse().ok() } else { None }
}

fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let count = text.lines().count();
    if count > MAX_LINES {
        findings.push(finding(path, format!("has {count} lines; one decision fits in {MAX_LINES}")));
    }
    let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim_end).collect();
    if headings != SECTIONS {
        findings.push(finding(path, format!("has the sections {headings:?}, not {SECTIONS:?}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    const GOOD: &str =
        "# 1. Use it\n\n## Context\n\n## Decision\n\n## Consequences\n\n## Rejected\n\n## Enforced by\n\nA test.\n";

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        check(&made_up::tree(files).tree).unwrap().into_iter().map(|found| found.place).collect()
    }

    #[test]
    fn well_formed_records_pass() {
        let files = [("docs/adr/README.md", ""), ("docs/adr/0001-use-it.md", GOOD), ("docs/adr/0002-drop-it.md", GOOD)];
        assert_eq!(places(&files), Vec::<String>::new());
    }

    #[test]
    fn gaps_and_repeated_numbers_are_found() {
        assert_eq!(places(&[("docs/adr/0002-use-it.md", GOOD)]), ["docs/adr/0002-use-it.md"]);
        let twice = [("docs/adr/0001-drop-it.md", GOOD), ("docs/adr/0001-use-it.md", GOOD)];
        assert_eq!(places(&twice), ["docs/adr/0001-use-it.md"]);
        let gap = [("docs/adr/0001-drop-it.md", GOOD), ("docs/adr/0003-use-it.md", GOOD)];
        assert_eq!(places(&gap), ["docs/adr/0003-use-it.md"]);
    }

    #[test]
    fn other_names_are_found() {
        for name in ["1-use-it.md", "0001-use.md", "0001-Use-It.md", "0001_use_it.md", "0001-use--it.md", "notes.txt"] {
            assert_eq!(number(name), None, "{name}");
            assert_eq!(places(&[(&format!("docs/adr/{name}"), GOOD)]).len(), 1, "{name}");
        }
    }

    #[test]
    fn long_records_and_missing_or_unordered_sections_are_found() {
        let long = GOOD.replace("A test.", &"A line.\n".repeat(60));
        let missing = GOOD.replace("## Enforced by\n", "");
        let unordered = GOOD
            .replace("## Context", "## Later")
            .replace("## Rejected", "## Context")
            .replace("## Later", "## Rejected");
        for text in [long, missing, unordered] {
            assert_eq!(places(&[("docs/adr/0001-use-it.md", &text)]).len(), 1, "{text}");
        }
    }
}
