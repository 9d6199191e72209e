//! Live sessions and recordings from the command line.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    folder::{Folder, errors, ssh_key, wait_until},
    running::RunningNode,
};

fn ssh(node: &RunningNode, key: &Path, options: &[&str], command: &str) -> Command {
    let port = node.port.to_string();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-p", &port, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i"]).arg(key);
    ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "ConnectTimeout=5"]).args(options).args(["alknet@127.0.0.1", command]);
    ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ssh
}

fn owner(folder: &Folder) -> std::path::PathBuf {
    let key = ssh_key(&folder.home(), "me");
    folder.run(&["peer", "add", "me", "--key", key.with_extension("pub").to_str().unwrap(), "--role", "owner"]);
    key
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// SES-50, SES-51.
#[test]
fn sessions_are_listed_and_ended() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let key = owner(&folder);
    assert_eq!(folder.json(&["ssh", "sessions"])["sessions"].as_array().unwrap().len(), 0);
    let mut client = ssh(&node, &key, &[], "echo up; exec sleep 600").spawn().unwrap();
    assert_eq!(first_line(&mut client), "up\n");
    let listed = folder.json(&["ssh", "sessions"]);
    let session = &listed["sessions"][0];
    assert_eq!((&session["identity"], &session["channels"]), (&"me".into(), &1.into()), "{listed}");
    assert!(session["address"].as_str().unwrap().starts_with("127.0.0.1:") && session["since"].as_u64().unwrap() > 0);
    assert!(folder.run(&["ssh", "sessions"]).contains("IDENTITY"));
    let id = session["id"].to_string();
    assert!(folder.run(&["ssh", "kill", &id]).contains("of me"));
    wait_until("the client was cut off", || client.try_wait().unwrap().is_some());
    assert!(folder.refused(&["ssh", "kill", &id], 4).contains("no SSH session"));
    let audited = folder.json(&["audit"]);
    assert!(audited.as_array().unwrap().iter().any(|row| row["action"] == "ssh/kill"), "{audited}");
}

/// SES-42, SES-44, SES-46: a recording is played from the command line, also one whose node was killed, by a scope of its own.
#[test]
fn recordings_are_listed_and_played_even_of_a_node_that_was_killed() {
    let folder = Folder::with_identity();
    std::fs::write(folder.home().join("motd"), "Good day\n").unwrap();
    let motd = folder.home().join("motd");
    folder.configure(&format!(
        "[ssh]\nrecord = [\"role:owner\"]\nbanner = \"No entry\"\nmotd = \"{}\"\n",
        motd.display()
    ));
    let node = folder.serve();
    let key = owner(&folder);
    let done = ssh(&node, &key, &["-tt"], "printf '\\033[1mwas here\\033[0m'").output().unwrap();
    assert!(errors(&done).contains("No entry") && errors(&done).contains("This session is recorded."), "{done:?}");
    let mut cut = ssh(&node, &key, &["-tt"], "echo before the end; exec sleep 600").spawn().unwrap();
    assert_eq!(first_line(&mut cut).trim(), "before the end");
    let list = || folder.json(&["ssh", "replay", "--list"])["recordings"].as_array().unwrap().clone();
    let id = |recording: &serde_json::Value| recording["id"].as_str().unwrap().to_owned();
    wait_until("both are on disk", || {
        let all = list();
        all.len() == 2 && folder.run(&["ssh", "replay", &id(&all[0])]).contains("before the end")
    });
    assert_eq!((&list()[0]["live"], &list()[1]["live"]), (&true.into(), &false.into()));
    node.signal(rustix::process::Signal::KILL);
    node.gone();
    let all = list();
    assert_eq!((&all[1]["identity"], &all[0]["live"]), (&"me".into(), &false.into()));
    assert_eq!(folder.run(&["ssh", "replay", &id(&all[1])]), "\u{1b}[1mwas here\u{1b}[0m");
    let raw = folder.run(&["ssh", "replay", &id(&all[1]), "--json"]);
    assert!(raw.starts_with("{\"version\":2,") && raw.contains("was here"), "{raw}");
    assert!(folder.run(&["ssh", "replay", "--list"]).contains("printf"));
    assert!(folder.refused(&["ssh", "replay", "1-nobody"], 4).contains("no recording"));
    assert!(folder.refused(&["ssh", "replay"], 2).contains("ID"));
    let _ended = cut.wait();
}
