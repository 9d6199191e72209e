//! The project's own chores, one file each: `cargo xtask CHORE`.
//!
//! Not part of the product: nothing here is linked into the node, and nothing here may be needed to build it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a chore does")]

mod bench;
mod cargo;
mod fuzz;
mod golden;
mod install;
mod interop;
mod manifest;
mod run;
mod soak;
mod tally;
mod test;
mod tidy;
mod tree;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{tally::Tally, tree::Tree};

const HELP: &str = "\
cargo xtask CHORE [OPTIONS]

  test      everything a change must pass; installs what the tests need first
            --list              name the steps
            --only STEP[,STEP]  run these steps only
            --no-install        install nothing
  ci        the same, as .ci/run calls it (CI=true: no questions asked)
  tidy      the rules about the repository itself
  golden    rewrite the golden files, to be reviewed as a diff
  interop   [NAME...]           scripts of interop/ against a debug build
  soak      calls|ssh|fs|crash [--seeds N] [--from SEED]: many worlds of a simulation, many sessions
  fuzz      [TARGET...] [--minutes N]: fuzz targets, each for so long; needs nightly and cargo-fuzz
  bench     [NAME...]           benchmarks with their peers and ratios: net ssh call peers events
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a chore. One that counts checks says itself what failed, so that its total is the last line.
fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let Some((chore, rest)) = arguments.split_first() else {
        bail!("no chore named\n\n{HELP}");
    };
    let root = tree::root()?;
    match chore.as_str() {
        "test" | "ci" => return test::run(&root, rest),
        "interop" => {
            let mut tally = Tally::default();
            let outcome = interop::run(&root, rest, &mut tally);
            return Ok(tally.conclude(&outcome));
        }
        "tidy" => {
            no_arguments(chore, rest)?;
            tidy::run(&Tree::of_git(&root)?)?;
        }
        "golden" => {
            no_arguments(chore, rest)?;
            golden::run(&root)?;
        }
        "soak" => soak::run(&root, rest)?,
        "fuzz" => fuzz::run(&root, rest)?,
        "bench" => bench::run(&root, rest)?,
        "help" | "--help" | "-h" => print!("{HELP}"),
        other => bail!("no chore is called {other:?}\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn no_arguments(chore: &str, rest: &[String]) -> Result<()> {
    if let Some(first) = rest.first() {
        bail!("{chore} takes no arguments, not {first:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn unknown_chores_and_stray_arguments_are_refused_by_name() {
        for (line, needle) in [("", "no chore"), ("tidyy", "tidyy"), ("tidy now", "now"), ("golden x", "\"x\"")] {
            let error = dispatch(&words(line)).unwrap_err().to_string();
            assert!(error.contains(needle), "{line:?} gave {error:?}");
        }
    }
}
