//! The peer: OpenSSH's server on a free loopback port, with a configuration, host key and authorized keys of its own.
//! PAM and name look-ups are off, which makes it quicker than most installations.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    client::{Key, Server, Site, Sites, done},
    node::stop,
};

const PROGRAM: &str = "/usr/sbin/sshd";

/// A server that serves until it is dropped.
pub struct Sshd<'a> {
    child: Child,
    port: u16,
    sites: Sites<'a>,
}

impl<'a> Sshd<'a> {
    pub fn start(folder: &Path, key: &Key) -> Self {
        Self::start_at(Sites::HERE, folder, key)
    }

    pub fn start_at(sites: Sites<'a>, folder: &Path, key: &Key) -> Self {
        let home = tempfile::Builder::new().prefix("sshd").tempdir_in(folder).unwrap().keep();
        // Where it separates privileges as root; it refuses to start without.
        let _exists_or_is_not_needed = fs::create_dir_all("/run/sshd");
        done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join("host")));
        fs::copy(key.public(), home.join("authorized")).unwrap();
        let port = free_port();
        let (home_text, addr) = (home.display(), sites.servers.addr());
        let config = format!(
            "Port {port}\nListenAddress {addr}\nHostKey {home_text}/host\nAuthorizedKeysFile {home_text}/authorized\n\
             PidFile none\nUsePAM no\nUseDNS no\nStrictModes no\nPermitRootLogin yes\nPrintMotd no\n\
             PasswordAuthentication no\nMaxStartups 1200\nLogLevel ERROR\n"
        );
        fs::write(home.join("config"), config).unwrap();
        let mut sshd = sites.servers.command(PROGRAM);
        sshd.args(["-D", "-e", "-f"]).arg(home.join("config")).stdin(Stdio::null()).stderr(Stdio::null());
        let child = sshd.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}"));
        let started = Self { child, port, sites };
        started.wait_until_it_listens();
        started
    }

    fn wait_until_it_listens(&self) {
        let patience = Instant::now() + Duration::from_secs(10);
        // Nothing else tells from here whether somebody listens in another network namespace.
        let table = format!("/proc/{}/net/tcp", self.child.id());
        let listening = format!(":{:04X} 00000000:0000 0A", self.port);
        while !fs::read_to_string(&table).is_ok_and(|table| table.contains(&listening)) {
            assert!(Instant::now() < patience, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Server for Sshd<'_> {
    fn clients(&self) -> Site<'_> {
        self.sites.clients
    }
    fn host(&self) -> Ipv4Addr {
        self.sites.servers.addr()
    }
    fn port(&self) -> u16 {
        self.port
    }
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A port that was free a moment ago: sshd cannot choose one itself and say which.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
