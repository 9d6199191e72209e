//! The peer: OpenSSH's server on a free loopback port, with a configuration, host key and authorized keys of its own.
//! PAM and name look-ups are off, which makes it quicker than most installations.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    client::{Key, Server, done},
    node::stop,
};

const PROGRAM: &str = "/usr/sbin/sshd";

/// A server that serves until it is dropped.
pub struct Sshd {
    child: Child,
    port: u16,
}

impl Sshd {
    pub fn start(folder: &Path, key: &Key) -> Self {
        let home = tempfile::Builder::new().prefix("sshd").tempdir_in(folder).unwrap().keep();
        // Where it separates privileges as root; it refuses to start without.
        let _exists_or_is_not_needed = fs::create_dir_all("/run/sshd");
        done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join("host")));
        fs::copy(key.public(), home.join("authorized")).unwrap();
        let port = free_port();
        let home_text = home.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {home_text}/host\nAuthorizedKeysFile {home_text}/authorized\n\
             PidFile none\nUsePAM no\nUseDNS no\nStrictModes no\nPermitRootLogin yes\nPrintMotd no\n\
             PasswordAuthentication no\nMaxStartups 600\nLogLevel ERROR\n"
        );
        fs::write(home.join("config"), config).unwrap();
        let mut sshd = Command::new(PROGRAM);
        sshd.args(["-D", "-e", "-f"]).arg(home.join("config")).stdin(Stdio::null()).stderr(Stdio::null());
        let child = sshd.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}"));
        let started = Self { child, port };
        started.wait_until_it_listens();
        started
    }

    fn wait_until_it_listens(&self) {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < patience, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Server for Sshd {
    fn port(&self) -> u16 {
        self.port
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A port that was free a moment ago: sshd cannot choose one itself and say which.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
