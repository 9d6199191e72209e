use std::{io::Write, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio, sync::Arc};

use alknet_core::{AccessRule, Caller, Demand, Effect, Identity, PeerAddr, Permit};
use alknet_ssh::{RECORDINGS_SCOPE, RecordedSession, RecordingLimits, RecordingPolicy, Recordings};

use crate::node::{Client, Node, wait_for};

fn recording(who: &str, each_bytes: u64) -> Node {
    Node::with(|config| {
        let folder = config.home.join("recordings");
        let limits = RecordingLimits { each_bytes, ..RecordingLimits::default() };
        config.recording = Some(RecordingPolicy { folder, who: vec![who.parse().unwrap()], limits });
    })
}

fn permit(node: &Node, scope: &str) -> Permit {
    let identity = Some(Arc::new(Identity::owner("admin")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let demand = Demand { action: "ssh/test", rule: &rule, resource: None, effect: Effect::Query };
    node.authorizer.authorize(&caller, &demand).unwrap()
}

pub fn recordings(node: &Node) -> (Recordings, Permit) {
    (Recordings::at(node.path("recordings")), permit(node, RECORDINGS_SCOPE))
}

pub fn only(node: &Node) -> RecordedSession {
    let (recordings, permit) = recordings(node);
    let one = || recordings.list(&permit, None, 10).unwrap().into_iter().next();
    wait_for("the recording", || one().is_some_and(|recording| !recording.live));
    assert_eq!(recordings.list(&permit, None, 10).unwrap().len(), 1);
    one().unwrap()
}

pub fn file(node: &Node, recording: &RecordedSession) -> PathBuf {
    node.path("recordings").join(format!("{}.cast", recording.id))
}

/// The events of a file in asciinema's format, as its players read them.
fn events(text: &str) -> Vec<(f64, String, String)> {
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn shown(text: &str) -> String {
    events(text).into_iter().filter(|(_, kind, _)| kind == "o").map(|(_, _, data)| data).collect()
}

/// SES-41, SES-42: a valid asciicast of what was shown, private to the node, and the user is told.
#[test]
fn a_terminal_session_is_recorded_and_its_user_told() {
    let node = recording("*", 1 << 20);
    let output = node.run(&["-tt"], "printf 'grüße \\033[1mbold\\033[0m\\n'");
    assert!(String::from_utf8_lossy(&output.stderr).contains("This session is recorded."), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("recorded"), "a command's output stays its own");
    let recording = only(&node);
    assert_eq!((recording.identity.as_str(), recording.user.as_str()), ("alice", "nodeuser"));
    assert!(recording.command.as_deref().unwrap().starts_with("printf") && recording.address.starts_with("127.0.0.1:"));
    let text = std::fs::read_to_string(file(&node, &recording)).unwrap();
    let head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&head["version"], &head["env"]["TERM"]), (&2.into(), &"xterm".into()));
    // This client has no terminal itself, and so says no size.
    assert_eq!((&head["width"], &head["height"]), (&80.into(), &24.into()));
    assert!(head["timestamp"].is_u64());
    assert_eq!(shown(&text), "grüße \u{1b}[1mbold\u{1b}[0m\r\n");
    let times: Vec<f64> = events(&text).iter().map(|(at, ..)| *at).collect();
    assert!(times.is_sorted() && times.iter().all(|at| (0.0..60.0).contains(at)));
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file(&node, &recording)), mode(node.path("recordings"))), (0o600, 0o700));
    let (recordings, permit) = recordings(&node);
    let page = recordings.read(&permit, &recording.id, 0).unwrap();
    assert_eq!((page.text, page.next), (text.clone(), Some(text.len() as u64)));
}

/// SES-43: what is typed while the terminal does not echo is nowhere in it.
#[test]
fn what_is_typed_is_not_recorded() {
    let node = recording("alice", 1 << 20);
    let mut ssh = node.ssh(&["-tt"], "stty -echo; echo ready; read secret; echo got ${#secret}");
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    child.stdin.take().unwrap().write_all(b"hunter2\n").unwrap();
    assert!(child.wait().unwrap().success());
    let text = std::fs::read_to_string(file(&node, &only(&node))).unwrap();
    assert!(shown(&text).contains("got 7") && !text.contains("hunter2"), "{text}");
}

/// SES-40: nobody else's sessions, and nothing without a terminal.
#[test]
fn only_terminals_of_whom_the_policy_names_are_recorded() {
    let node = recording("bob", 1 << 20);
    assert!(!String::from_utf8_lossy(&node.run(&["-tt"], "true").stderr).contains("recorded"));
    let node_of_alice = recording("alice", 1 << 20);
    assert_eq!(node_of_alice.text(&[], "echo plain"), "plain\n");
    for node in [node, node_of_alice] {
        let (recordings, permit) = recordings(&node);
        assert!(recordings.list(&permit, None, 10).unwrap().is_empty());
    }
}

/// SES-44: a second after it was shown it is in the file, whatever becomes of the node.
#[test]
fn a_recording_is_on_disk_while_its_session_goes_on() {
    let node = recording("*", 1 << 20);
    let mut ssh = node.ssh(&["-tt"], "echo before; exec sleep 600");
    let _client = Client(ssh.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let (recordings, permit) = recordings(&node);
    let live = || recordings.list(&permit, None, 10).unwrap().into_iter().find(|recording| recording.live);
    wait_for("the recording", || live().is_some());
    let path = file(&node, &live().unwrap());
    wait_for("what was shown", || std::fs::read_to_string(&path).unwrap().contains("before"));
    assert!(live().is_some());
}

/// SES-45: beyond its bound a recording ends with a remark, and the session does not.
#[test]
fn a_recording_is_bounded_and_the_session_goes_on() {
    let node = recording("*", 64 * 1024);
    let output = node.run(&["-tt"], "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end");
    assert!(output.stdout.ends_with(b"end\r\n") && output.stdout.len() > 1_000_000, "{}", output.stdout.len());
    let recording = only(&node);
    assert!((32 * 1024..65 * 1024).contains(&recording.bytes), "{}", recording.bytes);
    let text = std::fs::read_to_string(file(&node, &recording)).unwrap();
    let (_, kind, remark) = events(&text).pop().unwrap();
    assert!(kind == "m" && remark.contains("bound"), "{kind} {remark}");
}

/// SES-47: who must be recorded and cannot be, gets no session.
#[test]
fn a_session_that_cannot_be_recorded_does_not_begin() {
    let node = recording("*", 1 << 20);
    std::fs::write(node.path("recordings"), "a file where the folder should be").unwrap();
    let output = node.run(&["-tt"], "touch was-here");
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("to be recorded"), "{output:?}");
    assert!(!node.path("was-here").exists());
    assert_eq!(node.text(&[], "echo plain"), "plain\n");
}

/// SES-41: a change of the size is an event.
#[test]
fn a_change_of_the_size_is_recorded() {
    let node = recording("*", 1 << 20);
    let ssh = node.ssh(&["-tt"], "touch up; until [ \"$(stty size)\" = \"33 99\" ]; do sleep 0.05; done");
    let line: Vec<_> = std::iter::once(ssh.get_program()).chain(ssh.get_args()).map(|a| a.to_str().unwrap()).collect();
    let quoted = line.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let up = node.path("up");
    // The shell in front of the client changes the size of the terminal that both are on.
    let inner = format!(
        "stty rows 20 cols 80; (while [ ! -e {} ]; do sleep 0.05; done; stty rows 33 cols 99 < /dev/tty) & exec {quoted}",
        up.display(),
    );
    let mut script = std::process::Command::new("script");
    let script =
        script.env("SHELL", "/bin/bash").args(["-q", "-e", "-c", &inner]).arg(node.path("log")).output().unwrap();
    let said = String::from_utf8_lossy(&script.stdout).into_owned();
    let text = std::fs::read_to_string(file(&node, &only(&node))).unwrap();
    assert!(text.contains("\"width\":80") && text.contains("\"r\", \"99x33\"]"), "{text}{said}");
}

/// SES-46: a scope of its own, and no name that leads out of the folder.
#[test]
fn recordings_are_read_by_whom_they_are_granted_to() {
    let node = recording("*", 1 << 20);
    node.run(&["-tt"], "echo x");
    let (recordings, reading) = recordings(&node);
    let other = permit(&node, "ssh:sessions");
    assert!(recordings.list(&other, None, 10).is_err() && recordings.read(&other, &only(&node).id, 0).is_err());
    for id in ["nobody", "../me", "1-x"] {
        assert!(recordings.read(&reading, id, 0).unwrap_err().to_string().contains("no recording"), "{id}");
    }
}
