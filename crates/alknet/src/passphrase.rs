//! Where a passphrase comes from: a file, a descriptor, a service manager's credential, or a person.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// Longest passphrase read, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 1024;
/// Name of the credential that a systemd unit may load.
const SYSTEMD_CREDENTIAL: &str = "alknet-passphrase";

/// Where to take the passphrase from. Never the command line or the environment: other processes can read those.
#[derive(Debug, Clone, Default)]
pub struct PassphraseSource {
    /// A file whose first line it is.
    pub file: Option<PathBuf>,
    /// An inherited file descriptor whose first line it is.
    pub fd: Option<u32>,
}

impl PassphraseSource {
    /// The path to read, when a file, a descriptor or a systemd credential is there.
    fn path(&self) -> Option<PathBuf> {
        let credential = || {
            let path = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?).join(SYSTEMD_CREDENTIAL);
            path.exists().then_some(path)
        };
        self.file.clone().or_else(|| self.fd.map(|fd| PathBuf::from(format!("/dev/fd/{fd}")))).or_else(credential)
    }

    /// Whether the passphrase comes without asking anybody.
    pub fn is_given(&self) -> bool {
        self.path().is_some()
    }

    /// Gets the passphrase, asking `prompt` on the terminal if nothing else is there.
    pub fn get(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        match self.path() {
            Some(path) => read_first_line(&path),
            None if io::stdin().is_terminal() => Ok(Zeroizing::new(rpassword::prompt_password(prompt)?)),
            None => Err(Failure::new(Kind::Denied, "this keystore needs a passphrase and there is nobody to ask")
                .hint("give it with --passphrase-file FILE or --passphrase-fd N, or run on a terminal")),
        }
    }

    /// Gets a new passphrase; a person types it twice.
    pub fn choose(&self) -> Result<Zeroizing<String>, Failure> {
        if self.is_given() {
            return self.get("");
        }
        loop {
            let first = Zeroizing::new(rpassword::prompt_password("Choose a passphrase for this node: ")?);
            if first.is_empty() {
                tell(
                    "An empty passphrase protects nothing. For a node that starts unattended use `alknet init --key-file`.",
                );
                continue;
            }
            let second = Zeroizing::new(rpassword::prompt_password("Once more: ")?);
            if first == second {
                return Ok(first);
            }
            tell("The two differ. Again:");
        }
    }
}

/// Speaks to the person at the terminal.
#[expect(clippy::print_stderr, reason = "the command line speaks to its user")]
fn tell(words: &str) {
    eprintln!("{words}");
}

fn read_first_line(path: &PathBuf) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(MAX_PASSPHRASE_BYTES).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::from(error).while_doing(format_args!("cannot read the passphrase from {}", path.display()))
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::failed(format!("the first line of {} is empty: no passphrase there", path.display())));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
