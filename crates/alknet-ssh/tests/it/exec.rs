use std::{
    io::{Read, Write},
    process::Stdio,
};

use crate::node::{Node, SECRET, wait_for};

/// Runs a command with this input; answers with its output.
fn through(node: &Node, command: &str, input: &[u8]) -> Vec<u8> {
    let mut ssh = node.ssh(&[], command);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut output) = (child.stdin.take().unwrap(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    });
    assert!(child.wait().unwrap().success());
    output
}

/// SSH-20, SSH-25.
#[test]
fn a_command_gives_output_errors_and_exit_status() {
    let node = Node::start();
    let output = node.run(&[], "printf 'a\\nb'; echo e >&2; exit 7");
    assert_eq!((output.stdout, output.stderr, output.status.code()), (b"a\nb".into(), b"e\n".into(), Some(7)));
    assert_eq!(node.run(&[], "kill -TERM $$").status.code(), Some(255), "what the client makes of an exit signal");
}

/// SSH-25: the last bytes come although the process ends at once.
#[test]
fn no_output_is_lost_at_the_end() {
    let node = Node::start();
    let (_master, join) = node.master();
    for _ in 0..20 {
        assert_eq!(node.text(&["-o", &join], "head -c 300000 /dev/zero | tr '\\0' x").len(), 300_000);
    }
}

/// SSH-24.
#[test]
fn the_end_of_input_reaches_the_process() {
    let node = Node::start();
    assert_eq!(through(&node, "cat; echo done", b"abc"), b"abcdone\n");
}

/// SSH-30.
#[test]
fn large_streams_flow_both_ways_at_once() {
    let node = Node::start();
    let input: Vec<u8> = (0..32u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert!(through(&node, "cat", &input) == input);
}

/// SSH-22: nothing of the node's own environment, nothing that the allow list does not name.
#[test]
fn the_environment_is_clean() {
    let node = Node::start();
    assert_eq!(std::env::var(SECRET.0).as_deref(), Ok(SECRET.1), "the node has something to hide");
    let env = node.text(&["-o", "SetEnv=LC_ALL=C.UTF-8 LD_PRELOAD=/x EVIL=1 HOME=/evil"], "/usr/bin/env");
    let mut names: Vec<_> = env.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.retain(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name));
    names.sort_unstable();
    let expected = ["HOME", "LC_ALL", "LOGNAME", "PATH", "SHELL", "SSH_CLIENT", "SSH_CONNECTION", "USER"];
    assert_eq!(names, expected);
    assert!(env.contains(&format!("HOME={}\n", node.dir.path().display())) && env.contains("USER=nodeuser\n"));
    let here = format!("127.0.0.1 {}\n", node.port);
    let connection = env.lines().find_map(|line| line.strip_prefix("SSH_CONNECTION=127.0.0.1 ")).unwrap();
    assert!(format!("{connection}\n").ends_with(&format!(" {here}")), "{connection}");
    assert_eq!(node.text(&[], "pwd").trim(), node.dir.path().to_str().unwrap());
}

/// SSH-23.
#[test]
fn a_process_has_its_own_session_and_no_foreign_descriptors() {
    let node = Node::start();
    let (_master, join) = node.master();
    let text = node.text(&["-o", &join], "echo $$; ps -o pid=,pgid=,sid= -p $$; ls /proc/self/fd");
    let mut lines = text.lines();
    let pid = lines.next().unwrap();
    assert_eq!(lines.next().unwrap().split_whitespace().collect::<Vec<_>>(), [pid; 3]);
    assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2", "3"], "3 is the folder that ls reads");
}

/// SSH-23.
#[test]
fn no_zombie_stays() {
    let node = Node::start();
    let (_master, join) = node.master();
    let pid = node.text(&["-o", &join], "echo $$");
    wait_for("the process table to forget it", || !std::path::Path::new("/proc").join(pid.trim()).exists());
}

/// SSH-28.
#[test]
fn what_is_not_offered_is_refused_on_the_wire() {
    let node = Node::start();
    let subsystem = node.run(&["-s"], "sftp");
    assert!(!subsystem.status.success() && String::from_utf8_lossy(&subsystem.stderr).contains("subsystem"));
    let screen = node.ssh(&["-X"], "echo \"[$DISPLAY]\"").env("DISPLAY", ":9").output().unwrap();
    assert_eq!(screen.stdout, b"[]\n", "{screen:?}");
}

/// SSH-21.
#[test]
fn a_shell_without_a_command_is_a_login_shell() {
    let node = Node::start();
    let mut ssh = node.ssh(&["-T"], "");
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $0-$((6*7))\nexit 3\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout, output.status.code()), (b"-sh-42\n".into(), Some(3)));
}

#[test]
fn a_shell_that_is_not_there_is_said_so() {
    let node = Node::with(|config| config.shell = "/nowhere/sh".into());
    let output = node.run(&[], "true");
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/sh"));
}
