use std::{io::Write, process::Stdio};

use crate::node::Node;

/// SES-30: shown to whoever comes, before a key is proven, and never among a command's output.
#[test]
fn the_banner_comes_before_the_login() {
    let node = Node::with(|config| config.banner = Some("Members only\nof the club".into()));
    node.make_key("stranger", "ed25519", &[]);
    for (key, status) in [("me", 0), ("stranger", 255)] {
        let mut ssh = node.ssh_as("alice", &node.path(key), &["-v"], "echo hi");
        let output = ssh.output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.replace('\r', "").contains("Members only\nof the club\n"), "{said}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("Members"));
    }
}

fn shell(node: &Node, options: &[&str]) -> String {
    let mut child = node.ssh(options, "").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"exit\n").unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// SES-31: for login shells on a terminal, as it is at the moment, and not for who has said so.
#[test]
fn the_message_of_the_day_is_for_shells_on_a_terminal() {
    let node = Node::with(|config| config.motd = Some(config.home.join("motd")));
    assert!(!shell(&node, &["-tt"]).contains("Good"), "a file that is not there does no harm");
    std::fs::write(node.path("motd"), "Good day\n").unwrap();
    let text = shell(&node, &["-tt"]);
    assert!(text.starts_with("Good day\r\n"), "{text}");
    assert!(!shell(&node, &["-T"]).contains("Good") && !node.text(&["-tt"], "true").contains("Good"));
    std::fs::write(node.path(".hushlogin"), "").unwrap();
    assert!(!shell(&node, &["-tt"]).contains("Good"));
}
