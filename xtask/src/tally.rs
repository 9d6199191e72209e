//! How many checks passed and failed, counted from what the programs print.

use std::{fmt, process::ExitCode};

use anyhow::Result;

/// Counts over a whole run; prints as the run's last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
}

impl Tally {
    /// Counts one check.
    pub fn check(&mut self, passed: bool) {
        if passed { self.passed += 1 } else { self.failed += 1 }
    }

    /// Prints why a run failed, then the totals as its last line. A failure that nothing counted is one check.
    pub fn conclude(mut self, outcome: &Result<()>) -> ExitCode {
        if let Err(error) = outcome {
            println!("{error:#}");
            self.failed = self.failed.max(1);
        }
        println!("{self}");
        if outcome.is_ok() && self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Adds what another count holds.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Counts in nextest's summary line, `Summary [   1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 2 skipped`.
pub fn nextest_summary(line: &str) -> Option<Tally> {
    let rest = line.trim_start().strip_prefix("Summary [")?;
    let (_, counts) = rest.split_once("run: ")?;
    let failing = ["failed", "timed", "exec"].iter().filter_map(|word| count_before(counts, word));
    Some(Tally { passed: count_before(counts, "passed").unwrap_or(0), failed: failing.sum() })
}

/// Counts in a libtest result line, `test result: ok. 3 passed; 0 failed; …`.
pub fn libtest_result(line: &str) -> Option<Tally> {
    let counts = line.trim_start().strip_prefix("test result: ")?;
    Some(Tally { passed: count_before(counts, "passed")?, failed: count_before(counts, "failed")? })
}

/// A script's own line: `PASS …` or `FAIL …`.
pub fn script_line(line: &str) -> Option<Tally> {
    match line.split_whitespace().next()? {
        "PASS" => Some(Tally { passed: 1, failed: 0 }),
        "FAIL" => Some(Tally { passed: 0, failed: 1 }),
        _ => None,
    }
}

/// The number in front of `word`.
fn count_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ',', ';', '(', ')']).filter(|part| !part.is_empty()).collect();
    let at = words.iter().position(|part| *part == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summaries_of_the_runners() {
        let cases = [
            ("     Summary [   0.310s] 12 tests run: 12 passed, 0 skipped", Some((12, 0))),
            ("     Summary [   9.000s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped", Some((6, 3))),
            ("     Summary [   0.1s] 1 test run: 0 passed, 1 exec failed, 0 skipped", Some((0, 1))),
            ("     Summary [   0.000s] 0 tests run: 0 passed, 4 skipped", Some((0, 0))),
            ("Summary of something else: 3 passed", None),
        ];
        for (line, expected) in cases {
            assert_eq!(nextest_summary(line).map(|tally| (tally.passed, tally.failed)), expected, "{line}");
        }
        let doc = libtest_result("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out");
        assert_eq!(doc, Some(Tally { passed: 3, failed: 1 }));
    }

    #[test]
    fn a_script_line_counts_only_by_its_first_word() {
        assert_eq!(script_line("PASS exec"), Some(Tally { passed: 1, failed: 0 }));
        assert_eq!(script_line("FAIL exec: 255"), Some(Tally { passed: 0, failed: 1 }));
        for other in ["PASSED", "a FAIL inside", "12 passed, 0 failed", ""] {
            assert_eq!(script_line(other), None, "{other}");
        }
    }

    #[test]
    fn prints_as_the_last_line() {
        let mut tally = Tally { passed: 3, failed: 0 };
        tally.check(true);
        tally.add(Tally { passed: 1, failed: 2 });
        assert_eq!(tally.to_string(), "5 passed, 2 failed");
        assert_eq!(tally.conclude(&Ok(())), ExitCode::FAILURE, "a counted failure fails the run");
        assert_eq!(Tally::default().conclude(&Err(anyhow::anyhow!("no compiler"))), ExitCode::FAILURE);
        assert_eq!(Tally { passed: 1, failed: 0 }.conclude(&Ok(())), ExitCode::SUCCESS);
    }
}
