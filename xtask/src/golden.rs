//! Rewrites the golden files: schemas, help texts, the CLI reference. The diff is what a reviewer reads.

use std::path::Path;

use anyhow::Result;

use crate::{cargo::cargo, run};

/// Runs the tests whose name says that they compare with a golden file, and lets them write it instead.
pub fn run(root: &Path) -> Result<()> {
    let mut tests = cargo(root, &["nextest", "run", "--workspace", "-E", "test(golden)"]);
    run::plain(tests.env("UPDATE_GOLDEN", "1"))?;
    println!("golden files are rewritten; review them with `git diff`");
    Ok(())
}
