//! Starting this program once more in the background, and waiting until it is ready.

use std::{
    env,
    ffi::OsString,
    fs::{DirBuilder, File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::{cli::Place, failure::Failure, identity::NodeIdentity};

/// How much of the log's end is shown when it does not start, in bytes.
const LOG_TAIL_BYTES: u64 = 4096;

/// Runs this program as `what`, with these words, on the same data folder; its errors go to `log`, and the passphrase goes with it where one is
/// needed. Gives the line of JSON with which it says that it is ready.
pub fn start(place: &Place, what: &str, words: &[OsString], log: &Path) -> Result<Value, Failure> {
    let mut file = open_log(log)?;
    let from = file.seek(SeekFrom::End(0))?;
    let mut command = Command::new(env::current_exe()?);
    command.args(words).arg("--data").arg(place.data.root());
    if let Some(config) = place.config_file() {
        command.arg("--config").arg(std::path::absolute(config)?);
    }
    // A passphrase goes through a pipe, so that no other process sees it.
    let passphrase = match NodeIdentity::opens_unattended(&place.data) {
        true => None,
        false => Some(place.passphrase.get("Passphrase of this node: ")?),
    };
    if passphrase.is_some() {
        command.args(["--passphrase-fd", "0"]);
    }
    command.current_dir("/").stdout(Stdio::piped()).stderr(file.try_clone()?);
    command.stdin(if passphrase.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let (Some(passphrase), Some(mut stdin)) = (passphrase, child.stdin.take()) {
        let line = Zeroizing::new(format!("{}\n", passphrase.as_str()));
        stdin.write_all(line.as_bytes())?;
    }
    let mut ready = String::new();
    let stdout = child.stdout.take().ok_or_else(|| Failure::failed("the background process has no output"))?;
    BufReader::new(stdout).read_line(&mut ready)?;
    match serde_json::from_str(&ready) {
        Ok(answer) => Ok(answer),
        Err(_) => {
            child.wait()?;
            Err(not_started(what, file, from, log))
        }
    }
}

fn open_log(path: &Path) -> Result<File, Failure> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    Ok(OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?)
}

fn not_started(what: &str, mut log: File, from: u64, path: &Path) -> Failure {
    let mut tail = String::new();
    let size = log.metadata().map_or(from, |metadata| metadata.len());
    let start = from.max(size.saturating_sub(LOG_TAIL_BYTES));
    let _shown_if_readable = log.seek(SeekFrom::Start(start)).and_then(|_| log.read_to_string(&mut tail));
    let said = tail.trim().trim_start_matches("error: ");
    Failure::failed(format!("{what} did not start: {said}")).hint(format!("its log is {}", path.display()))
}
