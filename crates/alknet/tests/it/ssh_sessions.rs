//! Live sessions and recordings from the command line.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    folder::{Folder, errors, ssh_key, wait_until},
    running::RunningNode,
    ssh_client::Pair,
};

fn ssh(node: &RunningNode, key: &Path, options: &[&str], command: &str) -> Command {
    let port = node.port.to_string();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-p", &port, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i"]).arg(key);
    ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "ConnectTimeout=60"]).args(options).args(["alknet@127.0.0.1", command]);
    ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ssh
}

fn owner(folder: &Folder) -> PathBuf {
    let key = ssh_key(&folder.home(), "me");
    folder.run(&["peer", "add", "me", "--key", key.with_extension("pub").to_str().unwrap(), "--role", "owner"]);
    key
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// The process whose number a client's command says. A client that ends before tells why.
fn process(client: &mut Child) -> PathBuf {
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let number = lines.find_map(|line| line.unwrap().trim().parse::<u32>().ok());
    let Some(number) = number else {
        let mut told = String::new();
        client.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        panic!("the client ended before its command said its number: {told}");
    };
    Path::new("/proc").join(number.to_string())
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
    node.signal(Signal::KILL);
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

/// Waits for more than any of these tests takes.
const WAIT: &str = "for second in $(seq 60); do sleep 1; done";

/// Sessions of stock ssh and of ours over both carriers, at one node, and the process of each.
struct Sessions {
    pair: Pair,
    clients: Vec<Child>,
    processes: Vec<PathBuf>,
}

impl Sessions {
    /// Starts them with a command that first says its number.
    fn start(pair: Pair, drain_timeout: &str, command: &str) -> Self {
        pair.server.configure(&format!("[node]\ndrain_timeout = \"{drain_timeout}\"\n"));
        pair.server.run(&["config", "reload"]);
        let key = owner(&pair.server);
        let stock = [&[][..], &[], &[], &["-tt"]].map(|options| ssh(&pair.node, &key, options, command));
        let ours = ["tcp", "quic"].map(|carrier| pair.client.command(&["ssh", "--carrier", carrier, "box", command]));
        let start = |mut client: Command| client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut clients: Vec<_> = stock.into_iter().chain(ours).map(start).collect();
        let processes: Vec<_> = clients.iter_mut().map(process).collect();
        assert!(processes.iter().all(|process| process.join("stat").exists()), "{processes:?}");
        Self { pair, clients, processes }
    }

    /// Waits until the node is gone, and looks at once. Its folder is left.
    fn end_with_their_node(mut self) -> Folder {
        assert_eq!(self.pair.node.gone().code(), Some(0));
        self.processes.retain(|process| process.exists());
        assert!(self.processes.is_empty(), "still there: {:?}", self.processes);
        for client in &mut self.clients {
            wait_until("the client is gone", || client.try_wait().unwrap().is_some());
        }
        self.pair.server
    }
}

/// SSH-41, SSH-42: who takes no hint is killed before the node is gone.
#[test]
fn no_process_of_a_session_outlives_its_node() {
    let sessions = Sessions::start(Pair::start(), "0s", &format!("trap '' HUP; echo $$; {WAIT}"));
    sessions.pair.node.signal(Signal::TERM);
    sessions.end_with_their_node();
}

/// SSH-41, SSH-42: who takes it has time to tidy up.
#[test]
fn processes_tidy_up_before_their_node_is_gone() {
    let pair = Pair::start();
    let tidied = pair.server.home().join("tidied");
    let command = format!("trap 'echo >> {}; exit' HUP; echo $$; {WAIT}", tidied.display());
    let sessions = Sessions::start(pair, "0s", &command);
    let count = sessions.processes.len();
    sessions.pair.node.signal(Signal::TERM);
    let _folder = sessions.end_with_their_node();
    assert_eq!(std::fs::read(tidied).unwrap().len(), count);
}

/// SSH-42: a second Ctrl-C skips the drain, and nothing else.
#[test]
fn no_process_of_a_session_outlives_a_hurried_node() {
    let sessions = Sessions::start(Pair::start(), "1h", &format!("trap '' HUP; echo $$; {WAIT}"));
    let node = &sessions.pair.node;
    node.signal(Signal::INT);
    wait_until("nobody is taken in", || TcpStream::connect(node.addr()).is_err());
    assert!(sessions.processes.iter().all(|process| process.exists()), "they are let finish");
    node.signal(Signal::INT);
    sessions.end_with_their_node();
}
