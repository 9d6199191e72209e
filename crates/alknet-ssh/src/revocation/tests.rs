use std::fs;

use russh::keys::{PrivateKey, ssh_key::private::Ed25519Keypair};

use super::*;

fn key(seed: u8) -> PublicKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])).public_key().clone()
}

fn proof(seed: u8) -> Proof {
    Proof::of_key(&key(seed)).unwrap()
}

fn line(seed: u8) -> String {
    format!("{} comment", key(seed).to_openssh().unwrap())
}

/// KEY-30, KEY-33.
#[tokio::test]
async fn the_file_is_read_when_it_changes_and_ends_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    let revocations = Arc::new(Revocations::default());
    assert!(revocations.allow(&proof(1)), "without a list nothing is revoked");
    let (one, two) = (CancellationToken::new(), CancellationToken::new());
    let _one = revocations.enter(proof(1), one.clone());
    let gone = revocations.enter(proof(2), two.clone());
    revocations.set_path(Some(path.clone()));
    assert!(!revocations.allow(&proof(1)), "nobody while the file is not there");
    assert!(!one.is_cancelled(), "but who is in stays in");
    fs::write(&path, format!("# none but this\n\n{}\n", line(3))).unwrap();
    assert!(revocations.allow(&proof(1)) && !revocations.allow(&proof(3)));
    drop(gone);
    fs::write(&path, format!("{}\n{}\n", line(1), line(2))).unwrap();
    assert!(!revocations.allow(&proof(1)) && revocations.allow(&proof(3)));
    assert!(one.is_cancelled() && !two.is_cancelled(), "a session that is over is not looked at");
    let three = CancellationToken::new();
    let _three = revocations.enter(proof(2), three.clone());
    assert!(three.is_cancelled(), "revoked in the moment between");
    revocations.set_path(None);
    assert!(revocations.allow(&proof(1)));
}

/// KEY-33.
#[tokio::test(start_paused = true)]
async fn a_change_is_noticed_without_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    fs::write(&path, "").unwrap();
    let revocations = Arc::new(Revocations::default());
    revocations.set_path(Some(path.clone()));
    let token = CancellationToken::new();
    let _watched = revocations.enter(proof(1), token.clone());
    fs::write(&path, line(1)).unwrap();
    token.cancelled().await;
}

/// KEY-34: each makes the file unusable.
#[test]
fn what_cannot_be_read_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    let revocations = Revocations::default();
    let cut = b"SSHKRL\n\0\0\0\0\x01\0".as_slice();
    let short = line(1)[..60].to_owned();
    for (name, content) in
        [("cut_list", cut), ("no_key", b"hello"), ("short_key", short.as_bytes()), ("binary", &[0xff; 40])]
    {
        fs::write(&path, content).unwrap();
        revocations.set_path(Some(path.clone()));
        assert!(!revocations.allow(&proof(1)), "{name}");
    }
    File::create(&path).unwrap().set_len(MAX_REVOCATION_FILE_BYTES as u64 + 1).unwrap();
    assert!(!revocations.allow(&proof(1)), "too_large");
    revocations.set_path(Some(folder.path().to_owned()));
    assert!(!revocations.allow(&proof(1)), "folder");
    fs::write(&path, "").unwrap();
    revocations.set_path(Some(path));
    assert!(revocations.allow(&proof(1)), "an empty file revokes nothing");
}
