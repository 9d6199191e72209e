//! From the configuration's words to what each subsystem takes.

use std::{
    env, fs,
    io::Read,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use alknet_call::ByteTickets;
use alknet_core::{Authorizer, HostPort};
use alknet_fs::{FileSystem, FileSystemConfig, Policy, events::Publishing, operations::Service};
use alknet_http::{AllowedHosts, Decoy, DecoyFolder, HttpConfig};
use alknet_net::{AbuseGate, WebCertificate, generate_self_signed};
use alknet_ssh::{ForwardPolicy, RecordingPolicy, SshConfig, SystemUser};
use alknet_store::Store;

use crate::{
    config::{self, Banner, Config, MAX_BANNER_BYTES},
    data_folder::DataFolder,
    failure::Failure,
    identity::NodeIdentity,
    ssh_config::host_key_alias,
};

/// What may be forwarded.
pub fn forward(config: &Config, data: &DataFolder) -> ForwardPolicy {
    let policy = ForwardPolicy::new(config.ssh.forward.clone(), data.root());
    // A node that serves says later which one it took.
    policy.set_own_port(config.node.listen.port());
    policy
}

/// The files of the node, and what buckets are like whose maker does not say.
pub async fn files(
    config: &Config,
    data: &DataFolder,
    store: &Store,
    authorizer: Authorizer,
    tickets: ByteTickets,
) -> Result<Service, Failure> {
    let settings = &config.fs;
    let folder = settings.folder().unwrap_or_else(|| data.root().to_owned());
    let files = FileSystemConfig {
        gc_grace: settings.gc_grace,
        upload_lifetime: settings.upload_lifetime,
        ..FileSystemConfig::new(folder.clone())
    };
    let publishing = Arc::new(Publishing::declare(store).await?);
    let files = FileSystem::open(store, authorizer, Some(publishing), files)
        .await
        .map_err(|error| Failure::from(error).while_doing(format_args!("cannot keep files in {}", folder.display())))?;
    let policy = Policy { durability: settings.durability, retention: settings.retention, ..Policy::default() };
    Ok(Service::new(files, tickets, policy, settings.gc_grace))
}

/// What the SSH server is told.
pub fn ssh(
    config: &Config,
    identity: &NodeIdentity,
    data: &DataFolder,
    forward: Arc<ForwardPolicy>,
) -> Result<SshConfig, Failure> {
    let user = own_user();
    let shell = config.ssh.shell().unwrap_or(user.shell);
    let mut ssh = SshConfig::new(identity.ssh_host_key(), user.name, shell, user.home);
    ssh.host_certificate = Some(identity.ssh_host_certificate(&host_names(config, identity))?);
    ssh.users = config.ssh.users.iter().map(|(peer, user)| (peer.to_string(), user.clone())).collect();
    ssh.banner = config.ssh.banner().map(banner).transpose()?;
    ssh.motd = config.ssh.motd();
    ssh.recording = Some(recording(config, data)).filter(|policy| !policy.who.is_empty());
    ssh.env_allow = config.ssh.env_allow.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    ssh.forward = forward;
    ssh.revoked_keys = config.ssh.revoked_keys();
    ssh.limits.login_grace = config.ssh.login_grace;
    Ok(ssh)
}

/// The names and addresses under which SSH clients reach this node, and under which `alknet ssh-config` has them remember it.
pub fn host_names(config: &Config, identity: &NodeIdentity) -> Vec<String> {
    let bound = config.node.listen.resolve().map(|addr| own_addresses(config, addr)).unwrap_or_default();
    let addresses = bound.iter().map(|address| address.host().to_owned());
    let mut names = certificate_names(config);
    let key = identity.node_key();
    let ids = [key.to_string(), host_key_alias(key)];
    let more: Vec<_> = addresses.chain(ids).filter(|name| !names.contains(name)).collect();
    names.extend(more);
    names
}

/// The addresses for the ticket: what is configured, else what this machine has, the wider first.
pub fn own_addresses(config: &Config, bound: SocketAddr) -> Vec<HostPort> {
    if !config.node.advertise.is_empty() {
        return config.node.advertise.clone();
    }
    let mut found: Vec<IpAddr> = if bound.ip().is_unspecified() {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces.into_iter().map(|interface| interface.ip()).filter(|ip| reachable(*ip, bound.is_ipv4())).collect()
    } else {
        vec![bound.ip()]
    };
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found.dedup();
    found.into_iter().filter_map(|ip| HostPort::new(&ip.to_string(), bound.port()).ok()).collect()
}

/// Link-local addresses mean nothing without their interface; a socket for IPv4 has no others.
fn reachable(ip: IpAddr, only_v4: bool) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !only_v4 && !ip.is_unicast_link_local(),
    }
}

/// The gate, with what the database remembers of it.
pub async fn gate(config: &Config, store: &Store) -> Result<AbuseGate, Failure> {
    let gate = AbuseGate::default();
    gate.set_exempt(config.gate.exempt.clone());
    gate.remember_in(Arc::new(store.gate_scores())).await?;
    Ok(gate)
}

fn recording(config: &Config, data: &DataFolder) -> RecordingPolicy {
    let (who, limits) = (config.ssh.record.clone(), config.ssh.recording_limits());
    RecordingPolicy { folder: data.recordings(), who, limits }
}

/// What clients are shown before they log in.
fn banner(banner: Banner<'_>) -> Result<String, Failure> {
    let path = match banner {
        Banner::Text(text) => return Ok(text.to_owned()),
        Banner::File(path) => path,
    };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_BANNER_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::from(error).while_doing(format_args!("cannot read ssh.banner {}", path.display())))?;
    if text.len() as u64 > MAX_BANNER_BYTES {
        return Err(Failure::usage(format!("ssh.banner {} is larger than {MAX_BANNER_BYTES} bytes", path.display())));
    }
    Ok(text)
}

/// What the HTTP handler is told.
pub fn http(config: &Config) -> Result<HttpConfig, Failure> {
    let decoy = match config.http.decoy() {
        config::Decoy::None => Decoy::None,
        config::Decoy::NotFound => Decoy::NotFound,
        config::Decoy::Folder(folder) => Decoy::Folder(DecoyFolder::open(&folder)?),
        config::Decoy::Redirect(url) => Decoy::Redirect(url.as_str().parse()?),
    };
    let hosts = config.http.hosts.iter().map(|host| host.as_str().parse()).collect::<Result<Vec<_>, _>>()?;
    let hosts = if hosts.is_empty() { AllowedHosts::Any } else { AllowedHosts::only(hosts) };
    Ok(HttpConfig { decoy, hosts })
}

/// The web certificate: the configured files, else a self-signed one that is kept in the data folder.
pub fn web_certificate(config: &Config, data: &DataFolder) -> Result<WebCertificate, Failure> {
    if let Some((chain, key)) = config.web.pem_files() {
        return Ok(WebCertificate::from_pem_files(&chain, &key)?);
    }
    let (chain, key) = data.web_certificate();
    let names = certificate_names(config);
    let names_file = chain.with_extension("names");
    let wanted = names.join("\n");
    // Made anew when the configured names change, or when a part is missing.
    let fits = chain.exists() && key.exists() && fs::read_to_string(&names_file).is_ok_and(|kept| kept == wanted);
    if !fits {
        let fresh = generate_self_signed(&names)?;
        data.write_private(&key, fresh.key.as_bytes())?;
        data.write_private(&chain, fresh.certificate.as_bytes())?;
        data.write_private(&names_file, wanted.as_bytes())?;
    }
    Ok(WebCertificate::from_pem_files(&chain, &key)?)
}

fn certificate_names(config: &Config) -> Vec<String> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let usable = !machine.is_empty() && machine.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let configured = config.web.names.iter().map(|name| name.as_str().to_owned());
    let mut names: Vec<String> = own.into_iter().chain(usable.then_some(machine)).chain(configured).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The user that this process runs as, from the user database, else from what the environment says.
fn own_user() -> SystemUser {
    SystemUser::own().ok().flatten().unwrap_or_else(|| {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        SystemUser {
            name: text("USER").or_else(|| text("LOGNAME")).unwrap_or_else(|| uid.to_string()),
            uid,
            gid,
            groups: vec![gid],
            home: env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
            shell: text("SHELL").map_or_else(|| PathBuf::from("/bin/sh"), PathBuf::from),
        }
    })
}
