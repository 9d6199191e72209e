//! From the configuration's words to what each subsystem takes.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use alknet_http::{AllowedHosts, Decoy, DecoyFolder, HttpConfig};
use alknet_net::{WebCertificate, generate_self_signed};
use alknet_ssh::SshConfig;

use crate::{
    config::{self, Config},
    data_folder::DataFolder,
    failure::Failure,
    identity::NodeIdentity,
};

/// Who a user of this machine is.
struct SystemUser {
    name: String,
    home: PathBuf,
    shell: PathBuf,
}

/// What the SSH server is told.
pub fn ssh(config: &Config, identity: &NodeIdentity) -> Result<SshConfig, Failure> {
    let user = SystemUser::current();
    let shell = config.ssh.shell().unwrap_or(user.shell);
    let mut ssh = SshConfig::new(identity.ssh_host_key(), user.name, shell, user.home);
    ssh.env_allow = config.ssh.env_allow.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    ssh.limits.login_grace = config.ssh.login_grace;
    Ok(ssh)
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

impl SystemUser {
    /// The user that this process runs as, from the user database, else from what the environment says.
    fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        fs::read_to_string("/etc/passwd").ok().and_then(|passwd| Self::in_passwd(&passwd, uid)).unwrap_or_else(|| {
            let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
            Self {
                name: text("USER").or_else(|| text("LOGNAME")).unwrap_or_else(|| uid.to_string()),
                home: env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
                shell: text("SHELL").map_or_else(default_shell, PathBuf::from),
            }
        })
    }

    /// Finds a user id in the text of `/etc/passwd` (passwd(5)).
    fn in_passwd(passwd: &str, uid: u32) -> Option<Self> {
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = fields.into_iter().find(|fields| fields.get(2).is_some_and(|id| id.parse() == Ok(uid)))?;
        let shell = user.get(6).map(|shell| shell.trim()).filter(|shell| !shell.is_empty());
        Some(Self {
            name: (*user.first()?).to_owned(),
            home: PathBuf::from(user.get(5)?),
            shell: shell.map_or_else(default_shell, PathBuf::from),
        })
    }
}

fn default_shell() -> PathBuf {
    Path::new("/bin/sh").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbad line\nme:x:1000:1000:,,,:/home/me:\n";
        let me = SystemUser::in_passwd(passwd, 1000).unwrap();
        assert_eq!((me.name.as_str(), me.home.to_str(), me.shell.to_str()), ("me", Some("/home/me"), Some("/bin/sh")));
        assert_eq!(SystemUser::in_passwd(passwd, 0).unwrap().shell.to_str(), Some("/bin/bash"));
        assert!(SystemUser::in_passwd(passwd, 7).is_none());
    }
}
