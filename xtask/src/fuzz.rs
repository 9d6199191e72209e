//! Runs fuzz targets for a while, and says in a line for each what came of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo::target_folder, run};

/// Minutes that a target runs unless the command line says otherwise.
const MINUTES: u64 = 3;
/// Longer inputs show nothing new, in bytes.
const MAX_INPUT_BYTES: &str = "-max_len=65536";
/// More memory is a defect, in MiB.
const MAX_MEMORY: &str = "-rss_limit_mb=2048";
/// An input that takes longer is a defect, in seconds.
const MAX_TIME: &str = "-timeout=30";
/// Beyond its minutes a target is compiled, reads its corpus, and ends.
const GRACE: Duration = Duration::from_secs(2 * 3600);
/// Where what was found new is kept, in cargo's target folder.
const FOUND: &str = "fuzz-corpus";

/// What a run of a target came to, as libFuzzer tells it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    runs: u64,
    covered: u64,
    entries: u64,
    failed: bool,
}

/// Runs the targets that `arguments` name, or all.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let (names, minutes) = chosen(arguments)?;
    let targets = choose(&targets(root)?, &names)?;
    let found = target_folder(root)?.join(FOUND);
    let mut failed = Vec::new();
    for target in &targets {
        let corpus = found.join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        let mut outcome = Outcome::default();
        let deadline = Duration::from_secs(minutes * 60) + GRACE;
        let status = run::watch(&mut command(root, target, &corpus, minutes), deadline, |line| outcome.hear(line))?;
        outcome.failed = !status.success();
        println!("{}", outcome.line(target, minutes));
        if outcome.failed {
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "defects found by: {}; fuzz/artifacts has what leads to them", failed.join(" "));
    Ok(())
}

impl Outcome {
    /// Reads a line such as `#8192 pulse cov: 311 ft: 612 corp: 74/1234b exec/s: 2048 rss: 61Mb`.
    fn hear(&mut self, line: &str) {
        let Some((runs, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(char::is_whitespace)) else {
            return;
        };
        let Ok(runs) = runs.parse() else { return };
        self.runs = runs;
        let words: Vec<_> = rest.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.split('/').next()?.parse().ok()
        };
        self.covered = after("cov:").unwrap_or(self.covered);
        self.entries = after("corp:").unwrap_or(self.entries);
    }

    /// The line for scripts: words with a value each.
    fn line(&self, target: &str, minutes: u64) -> String {
        let Self { runs, covered, entries, failed } = self;
        let verdict = if *failed { "failed" } else { "passed" };
        format!(
            "fuzz target={target} minutes={minutes} runs={runs} covered={covered} entries={entries} verdict={verdict}"
        )
    }
}

/// What is new goes into `corpus`; the committed one is read, and left as it is.
fn command(root: &Path, target: &str, corpus: &Path, minutes: u64) -> Command {
    // Not the cargo that runs this: `+nightly` is the toolchain manager's word.
    let mut command = Command::new("cargo");
    command.current_dir(root.join("fuzz")).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command.args(["+nightly", "fuzz", "run", target]).arg(corpus).arg(format!("corpus/{target}"));
    command.args(["--", &format!("-max_total_time={}", minutes * 60), MAX_INPUT_BYTES, MAX_MEMORY, MAX_TIME]);
    command
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let mut names: Vec<String> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn choose(found: &[String], names: &[String]) -> Result<Vec<String>> {
    for name in names {
        ensure!(found.contains(name), "no target is called {name:?}; there are: {}", found.join(" "));
    }
    Ok(if names.is_empty() { found.to_vec() } else { names.to_vec() })
}

/// The targets that are named, and for how many minutes each.
fn chosen(arguments: &[String]) -> Result<(Vec<String>, u64)> {
    let (mut names, mut minutes) = (Vec::new(), MINUTES);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--minutes" => {
                let text = words.next().context("--minutes needs a number")?;
                minutes = text.parse().with_context(|| format!("--minutes needs a number, not {text:?}"))?;
            }
            flag if flag.starts_with('-') => bail!("unknown argument {flag:?}: --minutes N is known"),
            name => names.push(name.to_owned()),
        }
    }
    Ok((names, minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn targets_and_minutes_are_what_the_command_line_says() {
        assert_eq!(chosen(&[]).unwrap(), (vec![], MINUTES));
        assert_eq!(chosen(&words("krl --minutes 10 config")).unwrap(), (words("krl config"), 10));
        for (line, needle) in [("--minutes", "a number"), ("--minutes x", "\"x\""), ("--minute 1", "\"--minute\"")] {
            assert!(format!("{:#}", chosen(&words(line)).unwrap_err()).contains(needle), "{line}");
        }
        let found = words("a b");
        assert_eq!(choose(&found, &[]).unwrap(), found);
        assert_eq!(choose(&found, &words("b")).unwrap(), ["b"]);
        assert!(choose(&found, &words("c")).unwrap_err().to_string().contains("there are: a b"));
    }

    #[test]
    fn what_the_fuzzer_tells_becomes_a_line() {
        let mut outcome = Outcome::default();
        for line in [
            "INFO: Seed: 1",
            "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#8192\tpulse  cov: 311 ft: 612 corp: 74/1234b lim: 80 exec/s: 2048 rss: 61Mb",
            "#9000\tDONE   cov: 312 ft: 613 corp: 75/1240b lim: 80 exec/s: 2048 rss: 61Mb",
            "# no line of the fuzzer's",
        ] {
            outcome.hear(line);
        }
        let wanted = "fuzz target=krl minutes=3 runs=9000 covered=312 entries=75 verdict=passed";
        assert_eq!(outcome.line("krl", 3), wanted);
        assert!(Outcome { failed: true, ..outcome }.line("krl", 3).ends_with("verdict=failed"));
    }

    #[test]
    fn every_target_of_the_folder_is_one_of_the_manifest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let found = targets(root).unwrap();
        assert!(!found.is_empty());
        for target in found {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        }
    }
}
