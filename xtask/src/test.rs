//! The one test command: what a person runs is what CI runs.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{cargo, target_folder},
    install, interop, run,
    tally::{self, Tally},
    tidy,
    tree::Tree,
};

/// A step that takes longer hangs; the first one on a slow machine builds every dependency.
const STEP_DEADLINE: Duration = Duration::from_secs(3600);

/// The steps in their order: cheap ones first, after what they all need.
const STEPS: [Step; 8] = [
    Step {
        name: "install",
        what: "Debian and Python packages, cargo-nextest",
        run: |root, _| install::for_tests(root),
    },
    Step { name: "fmt", what: "cargo fmt --all --check", run: fmt },
    Step { name: "clippy", what: "cargo clippy --workspace --all-targets -- -D warnings", run: clippy },
    Step { name: "tidy", what: "cargo xtask tidy", run: |root, _| tidy::run(&Tree::of_git(root)?) },
    Step { name: "tests", what: "cargo nextest run --workspace", run: tests },
    Step { name: "doctests", what: "cargo test --doc --workspace", run: doctests },
    Step { name: "loom", what: "cargo test in crates/alknet-call/loom, with --cfg loom", run: loom },
    Step {
        name: "interop",
        what: "cargo xtask interop",
        run: |root, report| interop::run(root, &[], &mut report.tally),
    },
];

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Path, &mut Report) -> Result<()>,
}

/// What is shown at the end of the run.
#[derive(Default)]
struct Report {
    tally: Tally,
    summary: Option<String>,
}

/// Runs the steps that `arguments` choose, stops at the first failure, and ends with the totals either way.
pub fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let Some(steps) = chosen(arguments)? else {
        for step in &STEPS {
            println!("{:10} {}", step.name, step.what);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut report = Report::default();
    let outcome = steps.into_iter().try_for_each(|step| timed(root, step, &mut report));
    println!();
    if let Some(summary) = &report.summary {
        println!("{}", summary.trim_start());
    }
    Ok(report.tally.conclude(&outcome))
}

/// The steps to run, or `None` to list them.
fn chosen(arguments: &[String]) -> Result<Option<Vec<&'static Step>>> {
    let mut only: Option<Vec<&str>> = None;
    let mut install = true;
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--list" => return Ok(None),
            "--no-install" => install = false,
            "--only" => only = Some(words.next().context("--only needs steps: see --list")?.split(',').collect()),
            other => bail!("unknown argument {other:?}: --list, --only STEP[,STEP] and --no-install are known"),
        }
    }
    for name in only.iter().flatten() {
        ensure!(STEPS.iter().any(|step| step.name == *name), "no step is called {name:?}: see --list");
    }
    let wanted = |step: &&Step| match &only {
        Some(names) => names.contains(&step.name),
        None => install || step.name != "install",
    };
    Ok(Some(STEPS.iter().filter(wanted).collect()))
}

fn timed(root: &Path, step: &Step, report: &mut Report) -> Result<()> {
    println!("\n==> {}: {}", step.name, step.what);
    let begin = Instant::now();
    let before = report.tally;
    let outcome = (step.run)(root, report);
    let seconds = begin.elapsed().as_secs_f32();
    // A step that counts nothing itself is one check; so is the failure of one that counted only what passed.
    if report.tally == before || outcome.is_err() && report.tally.failed == before.failed {
        report.tally.check(outcome.is_ok());
    }
    match &outcome {
        Ok(()) => println!("<== {} ok in {seconds:.1} s", step.name),
        Err(_) => println!("<== {} FAILED in {seconds:.1} s", step.name),
    }
    outcome.with_context(|| format!("{0} failed; repeat it with `cargo xtask test --only {0}`", step.name))
}

fn fmt(root: &Path, _: &mut Report) -> Result<()> {
    watched(cargo(root, &["fmt", "--all", "--check"]), |_| {})
}

fn clippy(root: &Path, _: &mut Report) -> Result<()> {
    watched(cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), |_| {})
}

fn tests(root: &Path, report: &mut Report) -> Result<()> {
    let mut command = cargo(root, &["nextest", "run", "--workspace", "--no-fail-fast"]);
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        // What only root can try is tried there.
        command.env("ALKNET_TESTS_NEED_ROOT", "true");
    }
    watched(command, |line| {
        if let Some(counts) = tally::nextest_summary(line) {
            report.tally.add(counts);
            report.summary = Some(line.to_owned());
        }
    })
}

/// nextest leaves these out.
fn doctests(root: &Path, report: &mut Report) -> Result<()> {
    watched(cargo(root, &["test", "--doc", "--workspace"]), |line| {
        report.tally.add(tally::libtest_result(line).unwrap_or_default());
    })
}

/// The model of the cell that decides how a call ends. A target folder of its own: `--cfg loom` is for everything that is built.
fn loom(root: &Path, report: &mut Report) -> Result<()> {
    let folder = root.join("crates/alknet-call/loom");
    let mut command = cargo(&folder, &["test", "--locked"]);
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target_folder(root)?.join("loom"));
    watched(command, |line| report.tally.add(tally::libtest_result(line).unwrap_or_default()))
}

fn watched(mut command: Command, see: impl FnMut(&str)) -> Result<()> {
    let status = run::watch(&mut command, STEP_DEADLINE, see)?;
    ensure!(status.success(), "{} ended with {status}", run::shown(&command));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Result<Option<Vec<&'static str>>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Ok(chosen(&words)?.map(|steps| steps.iter().map(|step| step.name).collect()))
    }

    #[test]
    fn steps_are_chosen_in_their_own_order() {
        assert_eq!(names("").unwrap().unwrap(), STEPS.map(|step| step.name));
        assert_eq!(
            names("--no-install").unwrap().unwrap(),
            STEPS[1..].iter().map(|step| step.name).collect::<Vec<_>>()
        );
        assert_eq!(names("--only tidy,fmt").unwrap().unwrap(), ["fmt", "tidy"]);
        assert_eq!(names("--only install --no-install").unwrap().unwrap(), ["install"]);
        assert_eq!(names("--list").unwrap(), None);
    }

    #[test]
    fn unknown_steps_and_arguments_are_refused_by_name() {
        for (line, needle) in [("--only tidyy", "tidyy"), ("--only", "--list"), ("--quick", "--quick"), ("fmt", "fmt")]
        {
            let error = names(line).unwrap_err().to_string();
            assert!(error.contains(needle), "{line:?} gave {error:?}");
        }
    }

    #[test]
    fn a_step_that_counts_nothing_is_one_check_and_a_failure_always_counts() {
        fn counting(_: &Path, report: &mut Report) -> Result<()> {
            report.tally.add(Tally { passed: 5, failed: 0 });
            Ok(())
        }
        fn broken(_: &Path, report: &mut Report) -> Result<()> {
            report.tally.add(Tally { passed: 2, failed: 0 });
            bail!("the compiler ended")
        }
        let quiet = Step { name: "quiet", what: "", run: |_, _| Ok(()) };
        let counting = Step { name: "counting", what: "", run: counting };
        let broken = Step { name: "broken", what: "", run: broken };
        let mut report = Report::default();
        timed(Path::new("."), &quiet, &mut report).unwrap();
        timed(Path::new("."), &counting, &mut report).unwrap();
        let error = timed(Path::new("."), &broken, &mut report).unwrap_err();
        assert_eq!(report.tally, Tally { passed: 8, failed: 1 });
        assert!(format!("{error:#}").contains("cargo xtask test --only broken"));
    }
}
