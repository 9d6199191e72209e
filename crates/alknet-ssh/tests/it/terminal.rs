use std::{io::Write, process::Stdio};

use crate::node::Node;

/// SSH-26.
#[test]
fn a_terminal_is_a_real_one() {
    let node = Node::start();
    let text = node.text(&["-tt"], "tty; echo $SSH_TTY $TERM; ps -o tty= -p $$; stty -a");
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{text}");
    assert!(lines[1].starts_with(lines[0]) && lines[1].len() > lines[0].len(), "{text}");
    assert_eq!(lines[2], lines[0].strip_prefix("/dev/").unwrap());
    assert!(text.contains("icanon"), "{text}");
}

/// SSH-26: a client without `TERM` (a service, a CI job) gets its terminal too.
#[test]
fn a_terminal_needs_no_name() {
    let node = Node::start();
    let output = node.ssh(&["-tt"], "tty; echo [$TERM]").env_remove("TERM").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("/dev/pts/") && text.contains("[]"), "{output:?}");
}

/// SSH-26: the end of input ends a program on a terminal too.
#[test]
fn the_end_of_input_is_typed() {
    let node = Node::start();
    for input in ["line\n", "no newline"] {
        let mut ssh = node.ssh(&["-tt"], "stty -echo; cat > typed; cat typed");
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait_with_output().unwrap().status.success(), "{input:?}");
    }
}

/// SSH-26: size, modes and their changes arrive. `script` gives the client a terminal of its own.
///
/// `exec`, because `timeout` puts itself in the background where it is not the leader of the session already, and the
/// client would be stopped for touching the terminal; and a fixed shell, because not every shell does that on its own.
#[test]
fn size_and_modes_come_from_the_client() {
    let node = Node::start();
    let ssh = node.ssh(&["-tt"], "stty size; stty -a");
    let line: Vec<_> = std::iter::once(ssh.get_program()).chain(ssh.get_args()).map(|a| a.to_str().unwrap()).collect();
    let quoted = line.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let typed = node.path("log");
    let inner = format!("stty rows 33 cols 99 intr ^X -ixon; exec {quoted}");
    let mut script = std::process::Command::new("script");
    let script = script.env("SHELL", "/bin/sh").args(["-q", "-e", "-c", &inner]).arg(&typed).output().unwrap();
    let text = String::from_utf8_lossy(&script.stdout).into_owned();
    assert!(text.contains("33 99") && text.contains("intr = ^X") && text.contains("-ixon"), "{text}");
}
