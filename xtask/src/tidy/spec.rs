//! Spec rules: what `docs/spec/` says MUST be so is cited by a test, and what a test cites exists.
//!
//! A rule is an id such as `CALL-12` followed by MUST, SHOULD or MAY; its prefix belongs to one document.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{Finding, finding};
use crate::tree::Tree;

/// Fewer digits, as in the `SSH-2` of a banner, make no rule.
const MIN_DIGITS: usize = 2;

/// A rule as its document states it.
struct SpecRule {
    place: String,
    binding: bool,
}

pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let rules = stated(tree, &mut findings)?;
    let prefixes: BTreeSet<&str> = rules.keys().filter_map(|id| prefix(id)).collect();
    let mut cited = BTreeSet::new();
    for path in tree.select("", &[""]).filter(|path| path.starts_with("crates/") || path.starts_with("interop/")) {
        let Some(text) = tree.text(path)? else { continue };
        let tests = holds_tests(path, &text);
        for (number, line) in text.lines().enumerate() {
            for (id, _) in ids(line).filter(|(id, _)| prefix(id).is_some_and(|prefix| prefixes.contains(prefix))) {
                if !rules.contains_key(id) {
                    findings.push(finding(
                        format!("{path}:{}", number + 1),
                        format!("cites {id}, which docs/spec/ does not state"),
                    ));
                }
                if tests {
                    cited.insert(id.to_owned());
                }
            }
        }
    }
    let untested = rules.iter().filter(|(id, rule)| rule.binding && !cited.contains(*id));
    findings.extend(untested.map(|(id, rule)| finding(&rule.place, format!("{id} MUST hold, but no test cites it"))));
    Ok(findings)
}

/// The rules of all documents; ids stated twice become findings.
fn stated(tree: &Tree, findings: &mut Vec<Finding>) -> Result<BTreeMap<String, SpecRule>> {
    let mut rules = BTreeMap::new();
    for path in tree.select("docs/spec/", &[".md"]) {
        let text = tree.text(path)?.unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            for (id, rest) in ids(line) {
                let Some(binding) = strength(rest) else { continue };
                let rule = SpecRule { place: place.clone(), binding };
                if let Some(first) = rules.insert(id.to_owned(), rule) {
                    findings.push(finding(&place, format!("{id} is stated at {} already", first.place)));
                }
            }
        }
    }
    Ok(rules)
}

/// Whether the text after an id makes it a rule, and a binding one.
fn strength(rest: &str) -> Option<bool> {
    let word = rest.trim_start_matches(['*', '`', ':', '|', ' ']);
    let word: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
    match word.as_str() {
        "MUST" => Some(true),
        "SHOULD" | "MAY" => Some(false),
        _ => None,
    }
}

/// Whether a file's lines count as tests.
fn holds_tests(path: &str, text: &str) -> bool {
    path.starts_with("interop/")
        || path.contains("/tests/")
        || path.ends_with(".rs")
            && ["#[test]", "::test]", "::test(", "proptest!"].iter().any(|mark| text.contains(mark))
}

fn prefix(id: &str) -> Option<&str> {
    id.split_once('-').map(|(prefix, _)| prefix)
}

/// Everything in `line` that looks like a rule's id, with what follows it.
fn ids(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices('-').filter_map(|(dash, _)| {
        let (before, after) = (&line[..dash], &line[dash + 1..]);
        let letters = before.bytes().rev().take_while(u8::is_ascii_uppercase).count();
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let part_of_word =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let before_id = before.len().checked_sub(letters + 1).map(|at| before.as_bytes()[at]);
        let after_id = after.as_bytes().get(digits).copied();
        let decimal =
            after[digits..].strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if letters < 2 || digits < MIN_DIGITS || part_of_word(before_id) || part_of_word(after_id) || decimal {
            return None;
        }
        let end = dash + 1 + digits;
        Some((&line[dash - letters..end], &line[end..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    const SPEC: (&str, &str) = (
        "docs/spec/call.md",
        "# Call\n\n- **CALL-01 MUST** refuse zero.\n- CALL-02 SHOULD be quick, unlike CALL-01.\n",
    );

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&made_up::tree(files).tree).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_binding_rule_needs_a_test_and_others_do_not() {
        assert_eq!(found(&[SPEC]), ["docs/spec/call.md:3: CALL-01 MUST hold, but no test cites it"]);
        for path in ["crates/a/tests/it/frames.rs", "interop/faults.py"] {
            assert_eq!(found(&[SPEC, (path, "// CALL-01: zero is refused\n")]), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn a_citation_in_code_without_tests_is_not_enough() {
        let code = "/// Refuses zero (CALL-01).\nfn f() {}\n";
        assert_eq!(found(&[SPEC, ("crates/a/src/wire.rs", code)]).len(), 1);
        let tested = format!("{code}#[cfg(test)]\nmod tests {{\n#[test]\nfn g() {{}}\n}}\n");
        assert_eq!(found(&[SPEC, ("crates/a/src/wire.rs", &tested)]), Vec::<String>::new());
    }

    #[test]
    fn citing_what_is_not_stated_and_stating_twice_are_found() {
        let test = ("crates/a/tests/it/x.rs", "// CALL-01 CALL-99 SHA-256\n");
        assert_eq!(found(&[SPEC, test]), ["crates/a/tests/it/x.rs:1: cites CALL-99, which docs/spec/ does not state"]);
        let again = ("docs/spec/more.md", "CALL-01 MUST NOT be stated twice.\n");
        assert_eq!(
            found(&[SPEC, again, ("interop/a.sh", "# CALL-01")]),
            ["docs/spec/more.md:1: CALL-01 is stated at docs/spec/call.md:3 already"]
        );
    }

    #[test]
    fn what_only_looks_like_an_id_is_none() {
        for line in [
            "SSH-2.0-x",
            "SSH-99.0",
            "SHA256-12x",
            "aCALL-12",
            "A-12",
            "AES-256-GCM",
            "CALL-12-34",
            "call-12",
            "-12",
            "CALL-",
        ] {
            assert_eq!(ids(line).count(), 0, "{line}");
        }
        assert_eq!(ids("(CALL-12) and `TLS-03`. ").map(|(id, _)| id).collect::<Vec<_>>(), ["CALL-12", "TLS-03"]);
    }
}
