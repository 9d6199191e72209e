//! Plays many seeded worlds of a simulation: more than an ordinary run of the tests has time for.

use std::{
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo::cargo, run};

/// Worlds that are played unless the command line says otherwise.
const SEEDS: u64 = 2000;
/// A soak that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// A simulation: a test that plays the worlds whose seeds the environment names.
struct Soak {
    name: &'static str,
    package: &'static str,
    test: &'static str,
}

const SOAKS: [Soak; 4] = [
    Soak { name: "calls", package: "alknet-call", test: "simulation::every_call_ends_once_and_nothing_is_left" },
    Soak { name: "ssh", package: "alknet-ssh", test: "churn::sessions_come_and_go_without_a_trace" },
    Soak {
        name: "fs",
        package: "alknet-fs",
        test: "tree_model::a_tree_is_what_posix_says_on_every_branch_at_every_version",
    },
    Soak { name: "crash", package: "alknet-fs", test: "crash::nothing_acknowledged_is_lost_at_any_step" },
];

/// Runs the soak that `arguments` name.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (soak, seeds, first) = chosen(arguments, now)?;
    println!("{seeds} worlds of {}, from the seed {first} on", soak.name);
    let status = run::watch(&mut command(root, soak, seeds, first), DEADLINE, |_| {})?;
    ensure!(status.success(), "worlds with defects; `ALKNET_SEED=N` before the same test plays one again");
    Ok(())
}

fn command(root: &Path, soak: &Soak, seeds: u64, first: u64) -> Command {
    let mut command = cargo(root, &["test", "-p", soak.package, "--test", "it", soak.test]);
    command.args(["--", "--exact", "--nocapture"]);
    command.env("ALKNET_SEEDS", seeds.to_string()).env("ALKNET_FIRST_SEED", first.to_string());
    command
}

/// The soak, how many seeds, and the first of them: by the clock, so that each soak plays other worlds.
fn chosen(arguments: &[String], now: u64) -> Result<(&'static Soak, u64, u64)> {
    let (name, rest) = arguments
        .split_first()
        .context("soak what? `cargo xtask soak calls|ssh|fs|crash [--seeds N] [--from SEED]`")?;
    let soak = SOAKS.iter().find(|soak| soak.name == name).with_context(|| format!("no soak is called {name:?}"))?;
    let (mut seeds, mut first) = (SEEDS, now);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().with_context(|| format!("{word} needs a number"))?;
            text.parse().with_context(|| format!("{word} needs a number, not {text:?}"))
        };
        match word.as_str() {
            "--seeds" => seeds = number()?,
            "--from" => first = number()?,
            other => bail!("unknown argument {other:?}: --seeds N and --from SEED are known"),
        }
    }
    Ok((soak, seeds, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(line: &str) -> Result<(&'static str, u64, u64)> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        chosen(&words, 77).map(|(soak, seeds, first)| (soak.name, seeds, first))
    }

    #[test]
    fn seeds_begin_where_the_clock_or_the_command_line_says() {
        assert_eq!(choice("calls").unwrap(), ("calls", SEEDS, 77));
        assert_eq!(choice("calls --from 5 --seeds 3").unwrap(), ("calls", 3, 5));
    }

    #[test]
    fn unknown_soaks_and_arguments_are_refused_by_name() {
        for (line, needle) in [
            ("", "soak what"),
            ("cals", "\"cals\""),
            ("calls --seeds", "--seeds"),
            ("calls --from x", "\"x\""),
            ("calls --seed 5", "\"--seed\""),
        ] {
            let error = format!("{:#}", choice(line).unwrap_err());
            assert!(error.contains(needle), "{line:?} gave {error:?}");
        }
    }

    #[test]
    fn the_test_is_told_which_worlds_to_play() {
        let command = command(Path::new("."), &SOAKS[0], 3, 5);
        let told: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        assert!(told.contains(&("ALKNET_SEEDS", "3")) && told.contains(&("ALKNET_FIRST_SEED", "5")));
    }
}
