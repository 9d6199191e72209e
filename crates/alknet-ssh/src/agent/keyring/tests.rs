use alknet_testkit::identities::TestKeys;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn key(purpose: KeyPurpose, lifetime: Option<Duration>) -> AgentKey {
    AgentKey { purpose, comment: format!("{purpose:?}"), confirm: false, lifetime }
}

fn two(now: Instant) -> (Keyring, Arc<TestKeys>) {
    let signer = Arc::new(TestKeys::new(1));
    let keys = vec![key(KeyPurpose::SshUser, None), key(KeyPurpose::Git, Some(HOUR))];
    (Keyring::new(signer.clone(), keys, now), signer)
}

fn comments(keyring: &mut Keyring, now: Instant) -> Vec<String> {
    keyring.list(now).into_iter().map(|(_, comment)| comment).collect()
}

/// AGENT-24.
#[test]
fn a_key_is_gone_when_its_time_is_over() {
    let begin = Instant::now();
    let (mut keyring, _) = two(begin);
    let last = begin + HOUR - Duration::from_nanos(1);
    assert_eq!(comments(&mut keyring, last), ["SshUser", "Git"]);
    assert_eq!(keyring.next_expiry(), Some(begin + HOUR));
    let git = keyring.list(last)[1].0.clone();
    assert!(keyring.signer(&git, last).is_some());
    assert!(keyring.signer(&git, begin + HOUR).is_none());
    assert_eq!(comments(&mut keyring, begin + HOUR), ["SshUser"]);
    assert_eq!(keyring.next_expiry(), None);
}

/// AGENT-12.
#[test]
fn the_secrets_go_with_the_last_key() {
    let now = Instant::now();
    let (mut keyring, signer) = two(now);
    let blobs: Vec<_> = keyring.list(now).into_iter().map(|(blob, _)| blob).collect();
    assert!(keyring.remove(&blobs[0], now) && !keyring.remove(&blobs[0], now));
    assert_eq!(comments(&mut keyring, now), ["Git"]);
    assert_eq!(Arc::strong_count(&signer), 2);
    keyring.expire(now + HOUR);
    assert_eq!(Arc::strong_count(&signer), 1);
    let (mut keyring, signer) = two(now);
    assert!(keyring.remove_all());
    assert_eq!((comments(&mut keyring, now).len(), Arc::strong_count(&signer)), (0, 1));
}

/// AGENT-13.
#[test]
fn a_locked_keyring_shows_signs_and_removes_nothing() {
    let now = Instant::now();
    let (mut keyring, _) = two(now);
    let blob = keyring.list(now)[0].0.clone();
    assert_eq!(keyring.unlock(b"x"), Err(LockError::NotLocked));
    assert_eq!(keyring.lock(b""), Err(LockError::Length));
    assert_eq!(keyring.lock(&[b'x'; MAX_LOCK_PASSPHRASE_BYTES + 1]), Err(LockError::Length));
    assert_eq!(keyring.lock(b"open sesame"), Ok(()));
    assert_eq!(keyring.lock(b"open sesame"), Err(LockError::Locked));
    assert!(keyring.list(now).is_empty() && keyring.signer(&blob, now).is_none());
    assert!(!keyring.remove(&blob, now) && !keyring.remove_all());
    assert!(matches!(keyring.unlock(b"open"), Err(LockError::Wrong { .. })));
    assert_eq!(keyring.unlock(b"open sesame"), Ok(()));
    assert_eq!(comments(&mut keyring, now), ["SshUser", "Git"]);
}

/// AGENT-14.
#[test]
fn each_wrong_passphrase_takes_longer_up_to_a_bound() {
    let (mut keyring, _) = two(Instant::now());
    keyring.lock(b"right").unwrap();
    let mut wrong = || match keyring.unlock(b"wrong") {
        Err(LockError::Wrong { delay }) => delay,
        other => panic!("{other:?}"),
    };
    let delays: Vec<_> = (0..40).map(|_| wrong()).collect();
    assert_eq!(delays[0], FIRST_UNLOCK_DELAY);
    assert_eq!(delays[3], FIRST_UNLOCK_DELAY * 8);
    assert_eq!(delays[39], MAX_UNLOCK_DELAY);
    keyring.unlock(b"right").unwrap();
    keyring.lock(b"right").unwrap();
    assert_eq!(keyring.unlock(b"wrong"), Err(LockError::Wrong { delay: FIRST_UNLOCK_DELAY }));
}
