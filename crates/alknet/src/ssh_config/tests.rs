use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use super::*;

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZm";
/// [`key`], as an SSH key.
const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZm";

fn key() -> NodeKey {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    NodeKey::from_bytes(bytes).unwrap()
}

fn node(name: &str, host_key: Option<&str>) -> NodeStanza {
    NodeStanza { name: name.into(), key: key(), host_key_line: host_key.map(str::to_owned), host_authority: None }
}

fn client(program: &Path, folder: &Path) -> Client {
    Client {
        program: program.into(),
        data: Some(folder.into()),
        known_hosts: folder.join("known_hosts"),
        cipher: FirstCipher::Aes128Gcm,
    }
}

/// What the real `ssh` makes of the configuration for `host`; fails when there is no `ssh`, because then nothing is proven.
fn parsed_by_ssh(config: &str, host: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    fs::write(&path, config).unwrap();
    let output = Command::new("ssh").arg("-F").arg(&path).args(["-G", host]).output().expect("needs OpenSSH's client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_stanza_is_exactly_this() {
    let client = Client {
        program: "/usr/bin/alknet".into(),
        data: None,
        known_hosts: "/home/me/.local/share/alknet/known_hosts".into(),
        cipher: FirstCipher::Aes128Gcm,
    };
    let certified = |name, host_key| NodeStanza { host_authority: Some(key()), ..node(name, host_key) };
    let nodes = [certified("node", Some(HOST_KEY)), node("box", None), certified("certified", None)];
    let rendered = render(&client, &nodes).unwrap();
    let alias = format!("alknet-{}", key());
    let expected = format!(
        "Host node
    ProxyCommand '/usr/bin/alknet' connect node alknet/ssh
    User alknet
    HostKeyAlias {alias}
    UserKnownHostsFile \"/home/me/.local/share/alknet/known_hosts\"
    StrictHostKeyChecking yes
    Ciphers ^aes128-gcm@openssh.com

Host box
    ProxyCommand '/usr/bin/alknet' connect box alknet/ssh
    User alknet
    HostKeyAlias {alias}
    UserKnownHostsFile \"/home/me/.local/share/alknet/known_hosts\"
    StrictHostKeyChecking accept-new
    Ciphers ^aes128-gcm@openssh.com

Host certified
    ProxyCommand '/usr/bin/alknet' connect certified alknet/ssh
    User alknet
    HostKeyAlias {alias}
    UserKnownHostsFile \"/home/me/.local/share/alknet/known_hosts\"
    StrictHostKeyChecking yes
    Ciphers ^aes128-gcm@openssh.com
"
    );
    assert_eq!(rendered.block, expected);
    let authority = format!("@cert-authority {alias} {AUTHORITY}\n");
    assert_eq!(rendered.known_hosts, format!("{alias} {HOST_KEY}\n{authority}{authority}"));
}

#[test]
fn the_real_ssh_reads_the_stanza_and_its_values_come_first() {
    let folder = Path::new("/tmp/al knet's 100%h/$HOME");
    let rendered = render(&client(Path::new("/opt/my alknet"), folder), &[node("node", Some(HOST_KEY))]).unwrap();
    let config = install("Host *\n    User somebody\n    StrictHostKeyChecking no\n", &rendered.block).unwrap();
    let parsed = parsed_by_ssh(&config, "node");
    let has = |line: &str| assert!(parsed.iter().any(|found| found == line), "no `{line}` in {parsed:#?}");
    has("user alknet");
    has("stricthostkeychecking true");
    has(&format!("hostkeyalias alknet-{}", key()));
    has("userknownhostsfile /tmp/al knet's 100%h/$HOME/known_hosts");
    let ciphers = parsed.iter().find(|line| line.starts_with("ciphers ")).unwrap();
    assert!(ciphers.starts_with("ciphers aes128-gcm@openssh.com,"), "{ciphers}");
    assert!(parsed_by_ssh(&config, "elsewhere").contains(&"user somebody".to_owned()));
}

#[test]
fn settings_for_every_host_stay_settings_for_every_host() {
    let rendered = render(&client(Path::new("/a"), Path::new("/b")), &[node("node", None)]).unwrap();
    let config = install("Port 2222\nUser somebody\n", &rendered.block).unwrap();
    assert!(parsed_by_ssh(&config, "elsewhere").contains(&"user somebody".to_owned()));
    assert!(parsed_by_ssh(&config, "elsewhere").contains(&"port 2222".to_owned()));
    assert!(parsed_by_ssh(&config, "node").contains(&"user alknet".to_owned()));
}

#[test]
fn the_proxy_command_runs_the_right_program_with_the_right_words() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("al knet's 100%h $HOME `x`; #");
    fs::create_dir(&odd).unwrap();
    let (program, words) = (odd.join("program"), odd.join("words"));
    fs::write(&program, "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done > \"$(dirname \"$0\")/words\"\n")
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let rendered = render(&client(&program, &odd), &[node("node", None)]).unwrap();
    let config = folder.path().join("config");
    fs::write(&config, install("", &rendered.block).unwrap()).unwrap();
    let status = Command::new("ssh").arg("-F").arg(&config).args(["node", "true"]).output().unwrap();
    assert!(!status.status.success(), "the stand-in speaks no SSH");
    let words = fs::read_to_string(words).unwrap();
    assert_eq!(words.lines().collect::<Vec<_>>(), ["connect", "--data", odd.to_str().unwrap(), "node", "alknet/ssh"]);
}

#[test]
fn what_ssh_cannot_write_is_refused() {
    for path in ["/a\"b", "/a\\b", "/a\nb", "relative", ""] {
        let refused = render(&client(Path::new(path), Path::new("/data")), &[]);
        assert_eq!(refused, Err(RenderError::Path(path.into())));
    }
    assert!(render(&client(Path::new("/a"), Path::new("/${x}")), &[]).is_err(), "ssh would look for the variable x");
    for name in ["", "a b", "*", "!a", "-o", "a\nHost *", "a;b", "a%h"] {
        let refused = render(&client(Path::new("/a"), Path::new("/b")), &[node(name, None)]);
        assert_eq!(refused, Err(RenderError::Name(name.into())));
    }
    for line in ["", "ssh-ed25519", "@cert-authority x", "ssh-ed25519 AAAA\nevil ssh-ed25519 BBBB"] {
        let refused = render(&client(Path::new("/a"), Path::new("/b")), &[node("box", Some(line))]);
        assert_eq!(refused, Err(RenderError::HostKey("box".into())), "{line:?}");
    }
}

#[test]
fn installing_puts_the_block_on_top_and_leaves_the_rest() {
    let existing = "# mine\r\nHost a\n  User b\n\n\nInclude x";
    let first = install(existing, "Host node\n").unwrap();
    assert!(
        first.starts_with(BEGIN) && first.ends_with(&format!("\nHost node\n{FOR_ALL_AGAIN}{END}\n\n{existing}")),
        "{first}"
    );
    assert_eq!(install(&first, "Host node\n").unwrap(), first, "twice is once");
    let changed = install(&first, "Host box\n").unwrap();
    assert_eq!(changed, first.replace("Host node", "Host box"));
    let alone = install("", "Host node\n").unwrap();
    assert_eq!(install(&alone, "Host node\n").unwrap(), alone);
}

#[test]
fn a_block_that_was_moved_comes_back_to_the_top() {
    let moved = format!("Host a\n{BEGIN}\nold\n{END}\nHost b\n");
    let installed = install(&moved, "new\n").unwrap();
    assert!(installed.starts_with(BEGIN) && installed.ends_with(&format!("{END}\n\nHost a\nHost b\n")), "{installed}");
    assert!(!installed.contains("\nold\n"), "{installed}");
}

#[test]
fn broken_markers_are_refused_and_name_their_line() {
    let lonely = |line, marker| Err(InstallError::BrokenMarkers { line, marker });
    assert_eq!(install(&format!("a\n{BEGIN}\nb\n"), ""), lonely(2, BEGIN));
    assert_eq!(install(&format!("a\nb\n{END}\n"), ""), lonely(3, END));
    assert_eq!(install(&format!("{BEGIN}\n{BEGIN}\n{END}\n"), ""), lonely(1, BEGIN));
    assert_eq!(install(&format!("{BEGIN}\n{END}\n{END}\n"), ""), lonely(3, END));
    let twice = format!("{BEGIN}\n{END}\n{BEGIN}\n{END}\n");
    assert_eq!(install(&twice, ""), Err(InstallError::SecondBlock { line: 3 }));
}

#[test]
fn the_cipher_that_the_machine_is_best_at_comes_first() {
    let folder = Path::new("/home/me");
    for (cipher, name) in [
        (FirstCipher::Aes128Gcm, "aes128-gcm@openssh.com"),
        (FirstCipher::ChaCha20Poly1305, "chacha20-poly1305@openssh.com"),
    ] {
        let client = Client { cipher, ..client(Path::new("/usr/bin/alknet"), folder) };
        let settings = parsed_by_ssh(&render(&client, &[node("node", None)]).unwrap().block, "node");
        let order = settings.iter().find_map(|line| line.strip_prefix("ciphers ")).unwrap();
        assert!(order.starts_with(&format!("{name},")) && order.split(',').count() > 3, "{order}");
    }
}
