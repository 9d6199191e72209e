//! Where a passphrase comes from: a file, a descriptor, a service manager's credential, or a person.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};

/// Longest passphrase read, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 1024;
/// Name of the credential that a systemd unit may load.
const SYSTEMD_CREDENTIAL: &str = "alknet-passphrase";

/// Where to take the passphrase from. Never the command line or the environment: other processes can read those.
#[derive(Clone, Default)]
pub struct PassphraseSource {
    file: Option<PathBuf>,
    fd: Option<u32>,
    memory: Arc<Mutex<Memory>>,
}

/// Whether a passphrase is kept after its first use: a pipe gives it once, and a person should type it once.
#[derive(Default)]
enum Memory {
    #[default]
    Off,
    Waiting,
    Holding(Zeroizing<String>),
}

impl PassphraseSource {
    /// The first line of a file or of an inherited file descriptor, if one is named.
    pub fn new(file: Option<PathBuf>, fd: Option<u32>) -> Self {
        Self { file, fd, memory: Arc::default() }
    }

    /// Keeps the passphrase when it is given, for a command that hands it on.
    pub fn keep(&self) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Memory::Waiting;
    }

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
        self.once(|| match self.path() {
            Some(path) => read_first_line(&path),
            None if io::stdin().is_terminal() => Ok(Zeroizing::new(rpassword::prompt_password(prompt)?)),
            None => Err(Failure::new(Kind::Denied, "this keystore needs a passphrase and there is nobody to ask")
                .hint("give it with --passphrase-file FILE or --passphrase-fd N, or run on a terminal")),
        })
    }

    /// Gets a new passphrase; a person types it twice.
    pub fn choose(&self) -> Result<Zeroizing<String>, Failure> {
        if self.is_given() { self.get("") } else { self.once(ask_twice) }
    }

    /// The kept passphrase, else a new one, which is kept if that was asked for.
    fn once(&self, ask: impl FnOnce() -> Result<Zeroizing<String>, Failure>) -> Result<Zeroizing<String>, Failure> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Memory::Holding(passphrase) = &*memory {
            return Ok(passphrase.clone());
        }
        let passphrase = ask()?;
        if matches!(*memory, Memory::Waiting) {
            *memory = Memory::Holding(passphrase.clone());
        }
        Ok(passphrase)
    }
}

fn ask_twice() -> Result<Zeroizing<String>, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_passphrase_is_read_once_and_another_one_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words");
        let source = PassphraseSource::new(Some(file.clone()), None);
        let read = |source: &PassphraseSource| source.get("").unwrap().to_string();
        std::fs::write(&file, "first\nno part of it\n").unwrap();
        assert_eq!(read(&source), "first");
        std::fs::write(&file, "second\n").unwrap();
        assert_eq!(read(&source), "second");
        source.keep();
        assert_eq!(read(&source), "second");
        std::fs::write(&file, "third\n").unwrap();
        assert_eq!(read(&source), "second");
        assert!(PassphraseSource::new(Some(folder.path().join("none")), None).get("").is_err());
    }
}
