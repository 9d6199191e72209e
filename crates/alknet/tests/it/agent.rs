//! `alknet agent`: stock OpenSSH and git with the node's keys.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::folder::{Folder, errors, wait_until};

/// An agent in the background, ended with the test.
struct Background {
    socket: String,
    pid: Pid,
}

impl Background {
    fn start(folder: &Folder, words: &[&str]) -> Self {
        let ready = folder.json(&[&["agent"], words].concat());
        Self::of(&ready)
    }

    fn of(ready: &Value) -> Self {
        let pid = Pid::from_raw(ready["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
        Self { socket: ready["socket"].as_str().unwrap().to_owned(), pid }
    }

    fn tool(&self, folder: &Folder, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder.home());
        command.env("SSH_AUTH_SOCK", &self.socket).current_dir(folder.home()).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// What a tool prints, which must succeed.
    fn says(&self, folder: &Folder, program: &str, words: &[&str]) -> String {
        let output = self.tool(folder, program, words);
        assert!(output.status.success(), "{program} {words:?}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn lives(&self) -> bool {
        test_kill_process(self.pid).is_ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ended_already = kill_process(self.pid, Signal::TERM);
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// AGENT-03, AGENT-40.
#[test]
fn it_goes_to_the_background_and_says_where_it_is() {
    let folder = Folder::with_identity();
    let printed = folder.run(&["agent", "--keys", "user,git"]);
    let shell = format!("{printed}\necho \"$SSH_AUTH_SOCK $SSH_AGENT_PID\"; ssh-add -l");
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let [told, place, user, git] = lines(&text)[..] else {
        panic!("{text} {}", String::from_utf8_lossy(&output.stderr))
    };
    let (socket, pid) = place.split_once(' ').unwrap();
    let agent = Background { socket: socket.to_owned(), pid: Pid::from_raw(pid.parse().unwrap()).unwrap() };
    assert_eq!(told, format!("Agent pid {pid}"));
    assert!(user.contains(" alknet-user@") && git.contains(" alknet-git@"), "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = PathBuf::from(&agent.socket);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(agent.lives());
    kill_process(agent.pid, Signal::TERM).unwrap();
    wait_until("the agent has ended and cleaned up", || !agent.lives() && !path.parent().unwrap().exists());
}

/// AGENT-41.
#[test]
fn a_command_finds_it_and_decides_how_it_ends() {
    let folder = Folder::with_identity();
    let listed = folder.run(&["agent", "ssh-add", "-l"]);
    assert_eq!(lines(&listed).len(), 3, "{listed}");
    let mine = folder.run(&["agent", "sh", "-c", "echo $SSH_AUTH_SOCK; test $SSH_AGENT_PID = $PPID"]);
    assert!(!Path::new(mine.trim()).exists(), "it went with the command: {mine}");
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143), ("kill -INT $PPID; exit 5", 5)] {
        folder.refused(&["agent", "sh", "-c", script], code);
    }
    let missing = folder.refused(&["agent", "/nonexistent/program"], 4);
    assert!(missing.contains("/nonexistent/program"), "{missing}");
    // A signal to it is one to the command.
    let mut command =
        folder.command(&["agent", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

/// The user and the node key log in at another node that knows them, the git key does not.
#[test]
fn ssh_logs_in_with_it() {
    let (folder, other) = (Folder::with_identity(), Folder::with_identity());
    let node = other.serve();
    let agent = Background::start(&folder, &[]);
    let keys = agent.says(&folder, "ssh-add", &["-L"]);
    for (index, line) in lines(&keys).into_iter().enumerate() {
        fs::write(folder.home().join("only.pub"), line).unwrap();
        other.run(&["peer", "add", "me", "--key", line, "--role", "owner"]);
        let port = node.port.to_string();
        let options = ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", "only.pub", "-p", &port];
        let host = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "me@127.0.0.1", "echo in"];
        let output = agent.tool(&folder, "ssh", &[options.as_slice(), &host].concat());
        assert_eq!(output.stdout == b"in\n", index < 2, "{line}: {}", errors(&output));
        other.run(&["peer", "remove", "me"]);
    }
}

/// AGENT-20: git signs a commit and a tag with the git key, and git itself finds the signatures good.
#[test]
fn git_signs_with_it() {
    let folder = Folder::with_identity();
    let agent = Background::start(&folder, &["--keys", "git"]);
    let key = agent.says(&folder, "ssh-add", &["-L"]);
    let git = |words: &[&str]| {
        let config = format!("user.signingkey=key::{}", key.trim());
        let settings =
            ["user.name=Me", "user.email=me@box", "gpg.format=ssh", &config, "gpg.ssh.allowedSignersFile=allowed"];
        let settings: Vec<_> = settings.into_iter().flat_map(|setting| ["-c", setting]).collect();
        agent.tool(&folder, "git", &[&settings, words].concat())
    };
    let good = |words: &[&str]| {
        let output = git(words);
        assert!(output.status.success(), "{words:?}: {}", errors(&output));
        errors(&output)
    };
    fs::write(folder.home().join("allowed"), format!("me@box {key}")).unwrap();
    good(&["init", "-q"]);
    good(&["commit", "-q", "-S", "--allow-empty", "-m", "signed"]);
    good(&["tag", "-s", "v1", "-m", "signed"]);
    for verified in [good(&["verify-commit", "HEAD"]), good(&["verify-tag", "v1"])] {
        assert!(verified.contains("Good \"git\" signature for me@box"), "{verified}");
    }
    assert!(agent.tool(&folder, "ssh-add", &["-D"]).status.success());
    assert!(!git(&["commit", "-q", "-S", "--allow-empty", "-m", "not signed"]).status.success());
}

/// AGENT-21, AGENT-22, AGENT-26.
#[test]
fn a_person_is_asked_for_the_keys_with_confirmation() {
    let folder = Folder::with_identity();
    let nobody = folder.refused(&["agent", "--confirm"], 1);
    assert!(nobody.contains("nobody to confirm") && nobody.contains("SSH_ASKPASS"), "{nobody}");

    let askpass = folder.home().join("askpass");
    fs::write(&askpass, "#!/bin/sh\necho \"$1\" >>\"$HOME/asked\"\ntest -e \"$HOME/yes\"\n").unwrap();
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = folder.command(&["agent", "--confirm=git", "--json"]);
    let output = command.env("SSH_ASKPASS", &askpass).env("DISPLAY", ":9").output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let agent = Background::of(&serde_json::from_slice(&output.stdout).unwrap());
    let keys = agent.says(&folder, "ssh-add", &["-L"]);
    let [user, _, git] = lines(&keys)[..] else { panic!("{keys}") };
    fs::write(folder.home().join("user.pub"), user).unwrap();
    fs::write(folder.home().join("git.pub"), git).unwrap();
    let asked = || fs::read_to_string(folder.home().join("asked")).unwrap_or_default();

    agent.says(&folder, "ssh-add", &["-T", "user.pub"]);
    assert_eq!(asked(), "");
    assert!(!agent.tool(&folder, "ssh-add", &["-T", "git.pub"]).status.success());
    let question = asked();
    assert!(question.starts_with("Let ssh-add (process ") && question.contains("alknet-git@"), "{question}");
    fs::write(folder.home().join("yes"), "").unwrap();
    agent.says(&folder, "ssh-add", &["-T", "git.pub"]);
}

/// AGENT-24.
#[test]
fn its_keys_have_a_lifetime() {
    let folder = Folder::with_identity();
    let agent = Background::start(&folder, &["--lifetime", "2s"]);
    assert_eq!(lines(&agent.says(&folder, "ssh-add", &["-l"])).len(), 3);
    wait_until("the keys are gone", || !agent.tool(&folder, "ssh-add", &["-l"]).status.success());
    assert!(agent.lives());
}

/// AGENT-04: a place that is taken is said by whoever starts the second, wherever that one runs.
#[test]
fn a_named_socket_is_one_agents() {
    let folder = Folder::with_identity();
    let path = folder.home().join("with space/agent.sock");
    let name = path.to_str().unwrap();
    let agent = Background::start(&folder, &["--socket", name]);
    assert_eq!(agent.socket, name);
    for words in [&["agent", "--socket", name][..], &["agent", "--socket", name, "true"]] {
        let refused = folder.refused(words, 1);
        assert!(refused.contains("an agent answers") && refused.contains("with space"), "{refused}");
    }
    let long = folder.home().join("x".repeat(120));
    let refused = folder.refused(&["agent", "--socket", long.to_str().unwrap(), "true"], 1);
    assert!(refused.contains("cannot make the socket"), "{refused}");
}

/// The passphrase is asked of whoever starts it, and goes to the background unseen.
#[test]
fn a_keystore_with_a_passphrase_is_opened_first() {
    let folder = Folder::empty();
    let words = folder.home().join("words");
    fs::write(&words, "correct horse\n").unwrap();
    let file = words.to_str().unwrap();
    folder.run(&["init", "--passphrase-file", file]);
    let refused = folder.refused(&["agent"], 3);
    assert!(refused.contains("--passphrase-file"), "{refused}");
    let agent = Background::start(&folder, &["--passphrase-file", file]);
    assert_eq!(lines(&agent.says(&folder, "ssh-add", &["-l"])).len(), 3);
    let arguments = fs::read(format!("/proc/{}/cmdline", agent.pid)).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("horse"));
}

/// In the foreground it prints the same, and ends when it is told to.
#[test]
fn it_stays_when_it_is_told_to() {
    let folder = Folder::with_identity();
    let mut child: Child = folder.command(&["agent", "--foreground", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(ready["pid"], child.id());
    let agent = Background::of(&ready);
    assert_eq!(lines(&agent.says(&folder, "ssh-add", &["-l"])).len(), 3);
    kill_process(agent.pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!Path::new(&agent.socket).exists());
}

/// AGENT-15: the kernel gives what is the process's own in /proc to root. Of root's own processes it says so too, so there it runs as
/// somebody else.
#[test]
fn its_memory_is_for_nobody_elses_eyes() {
    let folder = Folder::with_identity();
    let mut words = vec![env!("CARGO_BIN_EXE_alknet"), "agent", "--foreground", "--json"];
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(folder.data().parent().unwrap()).status();
        assert!(owned.unwrap().success());
        words.splice(0..0, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).current_dir("/");
    command.env("ALKNET_DATA", folder.data()).env("HOME", folder.home()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let agent = Background::of(&serde_json::from_str(&ready).unwrap());
    let memory = fs::metadata(format!("/proc/{}/mem", agent.pid)).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&memory), 0);
    drop(agent);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
