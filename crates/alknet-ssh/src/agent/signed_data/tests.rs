use super::{super::fields::put_string, *};

const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20a key of thirty-two bytes in all";

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    parts.iter().for_each(|part| put_string(&mut message, part));
    message
}

/// A login as it is signed; `tail` stands behind the key.
fn login(service: &[u8], method: &[u8], signed: u8, key: &[u8], tail: &[&[u8]]) -> Vec<u8> {
    let mut data = strings(&[b"session"]);
    data.push(USERAUTH_REQUEST);
    data.extend(strings(&[b"alice", service, method]));
    data.push(signed);
    data.extend(strings(&[b"ssh-ed25519", key]));
    data.extend(strings(tail));
    data
}

fn statement(namespace: &[u8]) -> Vec<u8> {
    [SSHSIG, &strings(&[namespace, b"", b"sha512", &[7; 64]])].concat()
}

fn is_login(data: &[u8]) -> bool {
    matches!(SignedData::of(data), SignedData::Login { session: b"session", user: b"alice", .. })
}

#[test]
fn logins_and_statements_are_told_apart() {
    assert!(is_login(&login(b"ssh-connection", b"publickey", 1, KEY, &[])));
    assert!(is_login(&login(b"ssh-connection", b"publickey-hostbound-v00@openssh.com", 1, KEY, &[b"host key"])));
    assert_eq!(SignedData::of(&statement(b"git")), SignedData::Statement { namespace: b"git" });
}

/// Each is one step away from a login or a statement.
#[test]
fn what_only_looks_like_a_login_is_none() {
    let good = login(b"ssh-connection", b"publickey", 1, KEY, &[]);
    let table: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [good.as_slice(), b"\0"].concat()),
        ("other_service", login(b"ssh-userauth", b"publickey", 1, KEY, &[])),
        ("other_method", login(b"ssh-connection", b"password", 1, KEY, &[])),
        ("hostbound_without_host", login(b"ssh-connection", b"publickey-hostbound-v00@openssh.com", 1, KEY, &[])),
        ("not_signed", login(b"ssh-connection", b"publickey", 0, KEY, &[])),
        ("length_beyond_the_end", [&[0xff, 0xff, 0xff, 0xff], good.as_slice()].concat()),
        ("statement_without_namespace", statement(b"")),
    ];
    for (defect, data) in table {
        assert_eq!(SignedData::of(&data), SignedData::Other(&data), "{defect}");
    }
}

/// AGENT-20.
#[test]
fn each_key_signs_only_what_it_is_for() {
    use KeyPurpose::{Git, Node, SshUser};
    let (mine, other) = (
        login(b"ssh-connection", b"publickey", 1, KEY, &[]),
        login(b"ssh-connection", b"publickey", 1, b"another key", &[]),
    );
    let git = statement(b"git");
    let token = [b"alknet-auth-token-v1\0".as_slice(), &[1; 100]].concat();
    let tls = [[0x20; 64].as_slice(), b"TLS 1.3, client CertificateVerify\0", &[1; 32]].concat();
    let random = [0x9d; 1024];
    let table: [(&[u8], KeyPurpose, Result<(), Unsuitable>); 17] = [
        (&mine, Node, Ok(())),
        (&mine, SshUser, Ok(())),
        (&mine, Git, Err(Unsuitable::GitKey)),
        (&other, Node, Err(Unsuitable::OtherKey)),
        (&other, SshUser, Err(Unsuitable::OtherKey)),
        (&git, Node, Err(Unsuitable::NodeKey)),
        (&git, SshUser, Ok(())),
        (&git, Git, Ok(())),
        (&token, Node, Err(Unsuitable::OwnProtocol)),
        (&token, SshUser, Err(Unsuitable::OwnProtocol)),
        (&token, Git, Err(Unsuitable::OwnProtocol)),
        (&tls, Node, Err(Unsuitable::NodeKey)),
        (&random, Node, Err(Unsuitable::NodeKey)),
        (&random, SshUser, Ok(())),
        (&random, Git, Ok(())),
        (b"", Node, Err(Unsuitable::NodeKey)),
        (b"", SshUser, Ok(())),
    ];
    for (data, purpose, verdict) in table {
        assert_eq!(SignedData::of(data).suits(purpose, KEY), verdict, "{purpose:?} {}", data.escape_ascii());
    }
}
