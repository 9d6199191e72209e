//! `alknet doctor`.

use std::{net::ToSocketAddrs, os::unix::fs::PermissionsExt, time::Instant};

use alknet_call::{CALL, CallClient, CallOptions};
use alknet_core::{DialTarget, HostPort, NodeKey};
use alknet_net::CarrierPolicy;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Place, output};
use crate::{
    clock::unix_seconds,
    dialling::{Ask, Dialling, lost_carriers},
    failure::{Failure, Kind},
    identity::NodeIdentity,
    node_client::{NodeClient, resolve},
    operations::node::NodeStatus,
    settings,
};

/// A clock before this (2026-01-01) was never set.
const PLAUSIBLE_TIME: u64 = 1_767_225_600;
/// Less free space than this on the data folder's disk is worth a word, in bytes.
const LOW_DISK_BYTES: u64 = 512 * 1024 * 1024;

/// Find out why something does not work: checks this machine and node, and with NODE the way to another
///
/// Each finding names the symptom and the way out. Exits with 1 when something is broken.
#[derive(Args)]
pub struct Doctor {
    /// Try the way to this node too: a peer name, node id, host:port or ticket
    node: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Note,
    Broken,
}

/// One check.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn good(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Good, found: found.into(), fix: None });
    }
    fn note(&mut self, check: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Note, found: found.into(), fix: Some(fix.into()) });
    }
    fn broken(&mut self, check: &'static str, found: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Broken, found: found.into(), fix: Some(fix.into()) });
    }
}

impl Doctor {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let mut report = Report::default();
        check_configuration(place, &mut report);
        check_machine(place, &mut report);
        check_identity(place, &mut report);
        match NodeClient::running(place).await {
            Ok(node) => match node.call::<NodeStatus>("node/status", &json!({})).await {
                Ok(status) => check_node(place, &status, &mut report).await,
                Err(failure) => report.broken("node", failure.to_string(), "look at the node's log"),
            },
            Err(_) => report.note("node", "no node runs on this data folder", "start it with `alknet up`"),
        }
        for lost in lost_carriers(place) {
            let found = format!("{} to {} was lost lately: {}", lost.carrier.name(), lost.remote, lost.reason);
            report.note(
                "carriers",
                found,
                format!("the other carrier goes first for {} s more", lost.retry_in.as_secs()),
            );
        }
        if let Some(node) = &self.node {
            check_way(place, node, &mut report).await;
        }
        print(place, &report)
    }
}

fn print(place: &Place, report: &Report) -> Result<(), Failure> {
    if place.json {
        output::json(&report.0)?;
    } else {
        for finding in &report.0 {
            let mark = match finding.verdict {
                Verdict::Good => "ok    ",
                Verdict::Note => "note  ",
                Verdict::Broken => "BROKEN",
            };
            output::line(format!("{mark} {:<13} {}", finding.check, finding.found))?;
            if let Some(fix) = &finding.fix {
                output::line(format!("{:21}-> {fix}", ""))?;
            }
        }
    }
    match report.0.iter().filter(|finding| finding.verdict == Verdict::Broken).count() {
        0 => Ok(()),
        count => {
            Err(Failure::new(Kind::Failed, format!("{count} of {} checks found something broken", report.0.len())))
        }
    }
}

fn check_configuration(place: &Place, report: &mut Report) {
    let loaded = match place.config(Vec::new()) {
        Ok(loaded) => loaded,
        Err(failure) => return report.broken("configuration", failure.to_string(), "mend the named lines"),
    };
    let changed = loaded.entries().into_iter().filter(|entry| entry.origin.to_string() != "default").count();
    report.good("configuration", format!("good; {changed} settings differ from the defaults"));
    match settings::web_certificate(loaded.config(), &place.data) {
        Ok(_) if loaded.config().web.pem_files().is_some() => report.good("certificate", "from the configured files"),
        Ok(_) => report.note(
            "certificate",
            "self-signed: browsers warn, curl wants -k",
            "set web.certificate and web.key to the files of a certificate",
        ),
        Err(failure) => {
            report.broken("certificate", failure.to_string(), "name readable PEM files that belong together")
        }
    }
    for address in &loaded.config().node.advertise {
        check_name(address, report);
    }
}

fn check_name(address: &HostPort, report: &mut Report) {
    match (address.host(), address.port()).to_socket_addrs() {
        Ok(found) => {
            let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
            report.good("dns", format!("{} is {}", address.host(), found.join(", ")));
        }
        Err(error) => {
            report.broken("dns", format!("{}: {error}", address.host()), "mend the name's records, or node.advertise")
        }
    }
}

fn check_machine(place: &Place, report: &mut Report) {
    match unix_seconds() {
        now if now < PLAUSIBLE_TIME => report.broken(
            "clock",
            format!("it is {}, says the clock", output::utc(now)),
            "set it (timedatectl set-ntp true): tokens and certificates depend on it",
        ),
        now => report.good("clock", output::utc(now)),
    }
    let root = place.data.root();
    if !root.exists() {
        return report.note("disk", format!("{} does not exist", root.display()), "`alknet up` makes it");
    }
    if let Err(error) = place.data.create() {
        let failure = Failure::from(error);
        return report.broken(
            "disk",
            failure.to_string(),
            "make the folder writable for this user, or free some space",
        );
    }
    match rustix::fs::statvfs(root) {
        Ok(disk) if disk.f_bavail * disk.f_frsize < LOW_DISK_BYTES => {
            let free = disk.f_bavail * disk.f_frsize / (1024 * 1024);
            report.note("disk", format!("{free} MiB are free at {}", root.display()), "free some space");
        }
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize / (1024 * 1024 * 1024);
            report.good("disk", format!("{} is writable, {free} GiB are free", root.display()));
        }
        Err(error) => report.broken("disk", format!("{}: {error}", root.display()), "look at the file system"),
    }
}

fn check_identity(place: &Place, report: &mut Report) {
    if !NodeIdentity::exists(&place.data) {
        return report.note("identity", "there is none yet", "`alknet up` makes one");
    }
    if !NodeIdentity::opens_unattended(&place.data) {
        return match NodeIdentity::keystore(&place.data) {
            Ok(_) => report.good("identity", "the keystore is whole; it opens with a passphrase"),
            Err(failure) => report.broken("identity", failure.to_string(), "restore it from its mnemonic"),
        };
    }
    if let Err(failure) = NodeIdentity::open(&place.data, &place.passphrase) {
        return report.broken(
            "identity",
            failure.to_string(),
            "put the right key file back, or restore from the mnemonic",
        );
    }
    let key_file = place.data.key_file();
    let mode = std::fs::metadata(&key_file).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 == 0 {
        report.good("identity", "the keystore opens with its key file");
    } else {
        let found = format!("the key file {} can be read by others (mode {mode:o})", key_file.display());
        report.broken("identity", found, format!("chmod 600 {}", key_file.display()));
    }
}

async fn check_node(place: &Place, status: &NodeStatus, report: &mut Report) {
    report.good("node", format!("{} serves as process {}", status.node_id, status.pid));
    match &status.udp_warning {
        Some(warning) => report.note("udp buffers", "smaller than QUIC wants", warning.clone()),
        None => report.good("udp buffers", "as large as QUIC wants"),
    }
    if status.panics > 0 {
        report.broken("handlers", format!("{} panicked", status.panics), "report what the log says about it");
    }
    let Some(key) = status.node_id.parse::<NodeKey>().ok() else { return };
    let port = status.listen.iter().find_map(|listen| listen.addr.rsplit_once(':')?.1.parse::<u16>().ok());
    let host = status.listen.first().map_or("127.0.0.1", |listen| loopback_for(&listen.addr));
    let Some(address) = port.and_then(|port| HostPort::new(host, port).ok()) else { return };
    let target = DialTarget { key: Some(key), addresses: vec![address] };
    try_carriers(place, &target, report).await;
}

/// Where this machine reaches itself, for a node that listens on `listen`.
fn loopback_for(listen: &str) -> &str {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host).trim_matches(['[', ']']);
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    }
}

async fn check_way(place: &Place, node: &str, report: &mut Report) {
    match resolve(place, node).await {
        Ok(target) => {
            target.addresses.iter().for_each(|address| check_name(address, report));
            try_carriers(place, &target, report).await;
        }
        Err(failure) => report.broken("way", failure.to_string(), "name a peer, node id, host:port or ticket"),
    }
}

/// Calls `node/identify` over each carrier by itself.
async fn try_carriers(place: &Place, target: &DialTarget, report: &mut Report) {
    for (check, policy) in [("tcp", CarrierPolicy::TcpOnly), ("quic", CarrierPolicy::QuicOnly)] {
        let started = Instant::now();
        match identify(place, target, policy).await {
            Ok(()) => report.good(check, format!("answers in {} ms", started.elapsed().as_millis())),
            Err(failure) if failure.kind() == Kind::Denied => {
                report.broken(check, failure.to_string(), "pin the right key");
            }
            Err(failure) => {
                let fix = if check == "quic" {
                    "UDP is blocked on the way, or nobody listens: open the port for UDP; TCP serves meanwhile"
                } else {
                    "open the port for TCP, or start the node there"
                };
                report.broken(check, failure.to_string(), fix);
            }
        }
    }
}

async fn identify(place: &Place, target: &DialTarget, policy: CarrierPolicy) -> Result<(), Failure> {
    let dialling = Dialling::new(place, Ask::Never, policy)?;
    let connection = dialling.dial(target, &CALL).await?;
    let client = CallClient::connect(connection).await?;
    client.call("node/identify", json!({}), CallOptions::default()).await?;
    drop(client);
    dialling.finish().await;
    Ok(())
}
