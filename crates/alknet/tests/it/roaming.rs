//! A session over QUIC on a machine that changes its network, and loses it for a while.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use alknet_testkit::{
    skipping::is_root,
    wan::{Conditions, Wan},
};

use crate::folder::Folder;

/// A path across a city.
const GOOD: Conditions = Conditions { round_trip: Duration::from_millis(20), loss: 0.0 };
/// The cable is out.
const GONE: Conditions = Conditions { round_trip: Duration::from_millis(20), loss: 1.0 };

/// The program in a namespace, with the environment that the folder gives it.
fn within(namespace: &alknet_testkit::wan::Namespace, folder: &Folder, words: &[&str]) -> std::process::Command {
    let plain = folder.command(words);
    let mut command = namespace.command(plain.get_program());
    command.args(plain.get_args()).env_clear().stdin(Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

struct Echo {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Echo {
    /// Says something and waits until it comes back; answers with how long that took.
    fn round(&mut self, text: &str) -> Duration {
        let begun = Instant::now();
        writeln!(self.input, "{text}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), text, "the session is over");
        begun.elapsed()
    }
}

/// CLI-40, CLI-41.
#[test]
fn a_session_survives_another_address_and_an_outage_of_a_minute() {
    if !is_root("make networks") {
        return;
    }
    let mut wan = Wan::open(GOOD, 1).unwrap();
    let (client, server) = (Folder::with_identity(), Folder::with_identity());
    let id = client.json(&["identity", "show"])["node_id"].as_str().unwrap().to_owned();
    server.run(&["peer", "add", "laptop", "--key", &id, "--role", "owner"]);
    let mut command = within(wan.far(), &server, &["serve", "--json", "--listen", "0.0.0.0:4433"]);
    let mut node = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("node_id"), "{ready}");
    let address = format!("{}:4433", wan.far().addr());
    let words = ["ssh", "--carrier", "quic", "--trust-on-first-use", &address, "cat"];
    let mut ssh = within(wan.near(), &client, &words);
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut echo = Echo { input: ssh.stdin.take().unwrap(), output: BufReader::new(ssh.stdout.take().unwrap()) };
    echo.round("hello");

    wan.near_mut().move_to([10, 77, 0, 33].into()).unwrap();
    let moved = echo.round("from elsewhere");
    assert!(moved < Duration::from_secs(10), "{moved:?} after another address");

    wan.change(GONE);
    std::thread::sleep(Duration::from_secs(62));
    wan.change(GOOD);
    let back = echo.round("back again");
    assert!(back < Duration::from_secs(15), "{back:?} after the outage");

    drop(echo);
    assert!(ssh.wait().unwrap().success());
    let _gone = node.kill();
    let _reaped = node.wait();
}
