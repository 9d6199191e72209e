//! Runs the scripts of `interop/`: stock clients and independent implementations against a real node.
//!
//! A script prints `PASS …` and `FAIL …` lines and ends non-zero on a failure. It gets the binary (as its argument and as
//! `ALKNET_BIN`), `PYTHON` (an interpreter with the packages), `NODE_MODULES` (npm's) and, where the kit of stock-client scripts is at hand, `KIT` (its
//! folder). A script that cannot run here says why and ends with status 77; a line `# needs: kit` near its top has it
//! skipped where there is no kit. Files that begin with `_` are parts of scripts.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    cargo::{cargo, target_folder},
    install, run,
    tally::{self, Tally},
    tree::Tree,
};

/// A script that takes longer hangs.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(900);

/// The exit status of a script that cannot run on this machine (automake's convention).
const SKIPPED: i32 = 77;

/// Lines at the top of a script in which its needs are looked for.
const HEADER_LINES: usize = 20;

/// What a script left behind.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Skipped,
    Failed(String),
}

/// Runs the scripts called `names` (without folder and ending), or all, in the order of their names.
pub fn run(root: &Path, names: &[String], total: &mut Tally) -> Result<()> {
    let tree = Tree::of_git(root)?;
    let scripts = choose(&find(&tree), names)?;
    run::plain(&mut cargo(root, &["build", "-p", "alknet"]))?;
    let binary = target_folder(root)?.join("debug/alknet");
    let kit = kit(root);
    let mut failures = Vec::new();
    for script in scripts {
        if kit.is_none() && needs_kit(&tree.text(&script)?.unwrap_or_default()) {
            println!("SKIPPED {script}: it needs the kit of stock-client scripts: set KIT to its folder");
            continue;
        }
        println!("--> {script}");
        let begin = Instant::now();
        let verdict = run_script(&mut command(root, &script, &binary, kit.as_deref()), total)?;
        let seconds = begin.elapsed().as_secs_f32();
        match verdict {
            Verdict::Passed => println!("<-- {script} passed in {seconds:.1} s"),
            Verdict::Skipped => println!("SKIPPED {script}: see its last line"),
            Verdict::Failed(reason) => {
                println!("<-- {script} FAILED in {seconds:.1} s: {reason}");
                failures.push(script);
            }
        }
    }
    ensure!(failures.is_empty(), "failed: {}", failures.join(" "));
    Ok(())
}

fn find(tree: &Tree) -> Vec<String> {
    let scripts = tree.select("interop/", &[".sh", ".py"]);
    scripts.filter(|path| path.matches('/').count() == 1 && !path.starts_with("interop/_")).map(str::to_owned).collect()
}

fn name_of(script: &str) -> &str {
    let file = script.strip_prefix("interop/").unwrap_or(script);
    file.rsplit_once('.').map_or(file, |(name, _)| name)
}

fn choose(found: &[String], names: &[String]) -> Result<Vec<String>> {
    ensure!(!found.is_empty(), "interop/ holds no scripts");
    for name in names {
        if !found.iter().any(|script| name_of(script) == name) {
            let known: Vec<&str> = found.iter().map(|script| name_of(script)).collect();
            bail!("no script is called {name:?}; there are: {}", known.join(" "));
        }
    }
    let wanted = |script: &&String| names.is_empty() || names.iter().any(|name| name == name_of(script));
    Ok(found.iter().filter(wanted).cloned().collect())
}

/// The folder that `KIT` names, else the one beside the checkout.
fn kit(root: &Path) -> Option<PathBuf> {
    let folder = match env::var_os("KIT").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => root.parent()?.join("shared/interop"),
    };
    folder.is_dir().then_some(folder)
}

fn needs_kit(text: &str) -> bool {
    let needs = text.lines().take(HEADER_LINES).find_map(|line| line.trim_start().strip_prefix("# needs:"));
    needs.is_some_and(|needs| needs.split([' ', ',']).any(|need| need == "kit"))
}

fn command(root: &Path, script: &str, binary: &Path, kit: Option<&Path>) -> Command {
    let python = install::python();
    let mut command = if script.ends_with(".py") { Command::new(&python) } else { Command::new("bash") };
    command.arg(script).arg(binary).current_dir(root).env("ALKNET_BIN", binary).env("PYTHON", &python);
    // Lines must arrive as they are printed, not when a buffer is full.
    command.env("PYTHONUNBUFFERED", "1");
    if let Ok(modules) = install::node_modules() {
        command.env("NODE_MODULES", modules);
    }
    match kit {
        Some(folder) => command.env("KIT", folder),
        None => command.env_remove("KIT"),
    };
    command
}

fn run_script(command: &mut Command, total: &mut Tally) -> Result<Verdict> {
    let mut own = Tally::default();
    let outcome = run::watch(command, SCRIPT_DEADLINE, |line| own.add(tally::script_line(line).unwrap_or_default()));
    let verdict = match outcome {
        Ok(status) => verdict(status.code(), own),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    if matches!(verdict, Verdict::Failed(_)) && own.failed == 0 {
        own.check(false);
    }
    total.add(own);
    Ok(verdict)
}

fn verdict(code: Option<i32>, own: Tally) -> Verdict {
    match code {
        Some(SKIPPED) if own == Tally::default() => Verdict::Skipped,
        Some(0) if own.failed > 0 => Verdict::Failed(format!("it printed {} FAIL lines and ended with 0", own.failed)),
        Some(0) if own.passed == 0 => Verdict::Failed("it checked nothing".to_owned()),
        Some(0) => Verdict::Passed,
        Some(code) => Verdict::Failed(format!("exit status {code}, {own}")),
        None => Verdict::Failed("ended by a signal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn scripts_are_found_in_order_without_parts_and_other_files() {
        let made = made_up::tree(&[
            ("interop/faults.py", ""),
            ("interop/acceptance.sh", ""),
            ("interop/_node.sh", ""),
            ("interop/README.md", ""),
            ("interop/data/x.py", ""),
        ]);
        let found = find(&made.tree);
        assert_eq!(found, ["interop/acceptance.sh", "interop/faults.py"]);
        assert_eq!(choose(&found, &["faults".to_owned()]).unwrap(), ["interop/faults.py"]);
        assert!(choose(&found, &["fault".to_owned()]).unwrap_err().to_string().contains("\"fault\""));
        assert!(choose(&[], &[]).is_err());
    }

    #[test]
    fn only_a_clean_end_with_checks_passes() {
        assert_eq!(verdict(Some(0), tally(3, 0)), Verdict::Passed);
        assert_eq!(verdict(Some(77), tally(0, 0)), Verdict::Skipped);
        let cases = [
            (Some(0), tally(0, 0)),
            (Some(0), tally(3, 1)),
            (Some(1), tally(3, 0)),
            (Some(77), tally(1, 0)),
            (None, tally(3, 0)),
        ];
        for (code, own) in cases {
            assert!(matches!(verdict(code, own), Verdict::Failed(_)), "{code:?} {own}");
        }
    }

    #[test]
    fn a_failing_script_counts_even_when_it_printed_no_line() {
        let mut total = tally(0, 0);
        let mut script = Command::new("bash");
        script.args(["-c", "echo PASS one; exit 4"]);
        assert!(matches!(run_script(&mut script, &mut total).unwrap(), Verdict::Failed(_)));
        assert_eq!(total, tally(1, 1));
    }

    #[test]
    fn the_need_for_the_kit_is_read_from_the_header() {
        assert!(needs_kit("#!/usr/bin/env bash\n# ssh, three ways\n# needs: aioquic, kit\n"));
        assert!(!needs_kit("#!/usr/bin/env bash\necho '# needs: kit'\n"));
        assert!(!needs_kit("# needs: kitten\n"));
    }
}
