//! Runs a program, showing and reading its output line by line, for a limited time.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// How often a silent program is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// How long output is awaited after the program ended: a service it left behind may hold the pipe open for ever.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How long a program that outlived its deadline has to clean up before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// Runs `command` without input, prints its lines as they come and shows each to `see`.
///
/// # Errors
///
/// When it cannot be started, or is still running after `deadline`; it is then ended, with SIGTERM first.
pub fn watch(command: &mut Command, deadline: Duration, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let lines = collect_lines(&mut child)?;
    let mut show = |line: String| {
        println!("{line}");
        see(&line);
    };
    let end = Instant::now() + deadline;
    let status = loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => show(line),
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for {name}"))? {
            break status;
        }
        if Instant::now() >= end {
            terminate(&mut child);
            bail!("{name} was still running after {} s and was ended", deadline.as_secs());
        }
    };
    let end = Instant::now() + AFTERMATH;
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        show(line);
    }
    Ok(status)
}

/// Runs `command` with this program's own input and output.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub fn plain(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("starting {line}"))?;
    ensure!(status.success(), "{line} failed: {status}");
    Ok(())
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let arguments = command.get_args().map(|argument| quoted(&argument.to_string_lossy()));
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

fn collect_lines(child: &mut Child) -> Result<Receiver<String>> {
    let (sender, receiver) = mpsc::channel();
    forward(child.stdout.take().context("the program has no output")?, sender.clone());
    forward(child.stderr.take().context("the program has no error output")?, sender);
    Ok(receiver)
}

fn forward(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}

fn terminate(child: &mut Child) {
    // std can only kill; SIGTERM lets a script's traps stop the nodes it started.
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let end = Instant::now() + if asked.is_ok_and(|status| status.success()) { TERM_GRACE } else { Duration::ZERO };
    while Instant::now() < end {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(POLL);
    }
    // Both fail only when it has ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_and_the_status_arrive() {
        let mut seen = Vec::new();
        let status =
            watch(&mut bash("echo a; echo b >&2; exit 3"), Duration::from_secs(30), |line| seen.push(line.to_owned()));
        seen.sort();
        assert_eq!((status.unwrap().code(), seen), (Some(3), vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_service_left_behind_does_not_hold_the_run() {
        let begin = Instant::now();
        let status = watch(&mut bash("sleep 30 & echo started"), Duration::from_secs(20), |_| {}).unwrap();
        assert!(status.success() && begin.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_program_past_its_deadline_is_ended_and_its_trap_runs() {
        let mut seen = Vec::new();
        let begin = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("trapped");
        let script = format!("trap 'touch {}; exit 1' TERM; while :; do read -rt 1 <> <(:); done", mark.display());
        let error =
            watch(&mut bash(&script), Duration::from_millis(300), |line| seen.push(line.to_owned())).unwrap_err();
        assert!(error.to_string().contains("still running"), "{error}");
        assert!(mark.exists() && begin.elapsed() < TERM_GRACE);
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["nextest", "run", "-E", "test(golden)"]);
        assert_eq!(shown(&command), "cargo nextest run -E 'test(golden)'");
    }
}
