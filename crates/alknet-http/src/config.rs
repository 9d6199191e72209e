//! What can be changed while the node runs: which hosts are answered for, and what strangers see.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use http::{HeaderValue, Uri, uri::Authority};

use crate::limits::{MAX_HOST_BYTES, MAX_REDIRECT_BYTES};

/// How the handler behaves. Swapped as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// What stands in place of the front page and of everything unknown.
    pub decoy: Decoy,
    /// The hosts that are answered for.
    pub hosts: AllowedHosts,
}

/// What strangers see at `/` and at every path that names nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Decoy {
    /// The front page, and 404.
    #[default]
    None,
    /// 404 for everything.
    NotFound,
    /// The files of a folder.
    Folder(DecoyFolder),
    /// A redirection to one URL.
    Redirect(RedirectUrl),
}

/// An existing folder, without symbolic links in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoyFolder(PathBuf);

/// A path that names no folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} as the decoy's folder: {cause}", path.display())]
pub struct InvalidFolder {
    path: PathBuf,
    #[source]
    cause: std::io::Error,
}

impl DecoyFolder {
    /// Finds the folder. Reads the file system.
    ///
    /// # Errors
    /// When there is no such folder; names the path.
    pub fn open(path: &Path) -> Result<Self, InvalidFolder> {
        let invalid = |cause| InvalidFolder { path: path.to_owned(), cause };
        let real = path.canonicalize().map_err(invalid)?;
        if !real.metadata().map_err(invalid)?.is_dir() {
            return Err(invalid(std::io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self(real))
    }

    /// The folder's real path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUrl(HeaderValue);

/// A text that is no URL to redirect to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a URL to redirect to begins with https:// or http:// and a host, without user name, in visible ASCII")]
pub struct InvalidRedirect;

impl RedirectUrl {
    /// The URL as the value of a `Location` field.
    pub(crate) fn location(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl FromStr for RedirectUrl {
    type Err = InvalidRedirect;
    fn from_str(text: &str) -> Result<Self, InvalidRedirect> {
        let uri: Uri = text.parse().map_err(|_| InvalidRedirect)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain_host = uri.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
        if !web || !plain_host || text.len() > MAX_REDIRECT_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRedirect);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| InvalidRedirect)
    }
}

/// A host as URLs name it, without port: lower case, no dot at the end; IPv6 addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// A text that names no host.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a host is a name or an address as in a URL, without port and user name, in at most {MAX_HOST_BYTES} bytes")]
pub struct InvalidHost;

impl HostName {
    /// The host of an authority, whatever its port.
    pub(crate) fn of(authority: &Authority) -> Result<Self, InvalidHost> {
        let host = authority.host();
        let host = host.strip_suffix('.').unwrap_or(host);
        if authority.as_str().contains('@') || host.is_empty() || host.len() > MAX_HOST_BYTES {
            return Err(InvalidHost);
        }
        Ok(Self(host.to_ascii_lowercase()))
    }
}

impl FromStr for HostName {
    type Err = InvalidHost;
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let authority: Authority = text.parse().map_err(|_| InvalidHost)?;
        let has_port = authority.as_str().len() != authority.host().len();
        if has_port { Err(InvalidHost) } else { Self::of(&authority) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hosts that are answered for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Whatever the client calls this node.
    #[default]
    Any,
    /// These.
    Only(BTreeSet<HostName>),
}

impl AllowedHosts {
    /// Answers for these only.
    pub fn only(hosts: impl IntoIterator<Item = HostName>) -> Self {
        Self::Only(hosts.into_iter().collect())
    }

    /// Whether a request to `host` is answered.
    pub fn allows(&self, host: &str) -> bool {
        host.parse().is_ok_and(|host| self.allow(&host))
    }

    pub(crate) fn allow(&self, host: &HostName) -> bool {
        match self {
            Self::Any => true,
            Self::Only(hosts) => hosts.contains(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_host_without_port() {
        for (text, host) in [("Node.Example.", "node.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")] {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), host);
        }
        for bad in ["", ".", "a:1", "a@b", "a b", "a/b", "[::1", &"a".repeat(254), "ä"] {
            assert_eq!(bad.parse::<HostName>(), Err(InvalidHost), "{bad}");
        }
    }

    /// HTTP-12: a redirection goes to the configured URL, and to nothing else that could stand there.
    #[test]
    fn a_redirect_is_an_absolute_web_url() {
        for good in ["https://a.example/", "http://a.example:8080/x?y=z", "https://[::1]/"] {
            assert_eq!(good.parse::<RedirectUrl>().unwrap().location(), good);
        }
        for bad in [
            "",
            "/x",
            "//a/x",
            "a.example",
            "ftp://a/",
            "javascript:alert(1)",
            "https://",
            "https://u@a/",
            "https://a/\r\nx: y",
            "https://a/ä",
        ] {
            assert_eq!(bad.parse::<RedirectUrl>(), Err(InvalidRedirect), "{bad}");
        }
    }

    #[test]
    fn a_folder_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(DecoyFolder::open(dir.path()).is_ok());
        for bad in [file, dir.path().join("nothing")] {
            assert!(DecoyFolder::open(&bad).unwrap_err().to_string().contains(&*bad.to_string_lossy()));
        }
    }
}
