//! What peers get, what they may not have, and what they may not do.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use alknet_core::{Identity, Offence, ServeError};
use alknet_fs::ContentHash;
use iroh_blobs::{
    Hash,
    protocol::{ChunkRanges, ChunkRangesSeq, GetManyRequest, GetRequest, ObserveRequest, PushRequest, Request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{advance, pause, resume, timeout},
};

use crate::fixture::{Answer, Door, PATIENCE, answer, reader_of};

/// The codes of a stream that is reset.
const REFUSED: u64 = 1;
const TOO_MUCH: u64 = 2;
const NOT_HERE: u64 = 3;

fn iroh(hash: ContentHash) -> Hash {
    Hash::from_bytes(*hash.as_bytes())
}

fn encoded(request: impl Into<Request>) -> Vec<u8> {
    postcard::to_stdvec(&request.into()).unwrap()
}

fn get(hash: ContentHash) -> Vec<u8> {
    encoded(GetRequest::new(iroh(hash), ChunkRangesSeq::root()))
}

fn owner() -> Option<Identity> {
    Some(Identity::owner("boss"))
}

fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(37) ^ (at >> 9)).to_le_bytes()[0]).collect()
}

/// The length, then the content: what a request for one group is answered with.
fn one_group(content: &[u8]) -> Answer {
    Answer::Whole([&(content.len() as u64).to_le_bytes(), content].concat())
}

#[tokio::test]
async fn content_is_given_to_those_for_whom_it_exists() {
    // IROH-01, IROH-02
    let door = Door::new().await;
    let hash = door.put("a", b"the plan").await;
    let nobodys = ContentHash::of(b"never stored");
    let unknown = Answer::Reset(Vec::new(), NOT_HERE);
    for seeing in [owner(), Some(reader_of("proj")), Some(reader_of("proj/main"))] {
        let peer = door.dial(seeing);
        assert_eq!(peer.ask(&get(hash)).await, one_group(b"the plan"));
        assert_eq!(peer.ask(&get(nobodys)).await, unknown);
    }
    for blind in [None, Some(reader_of("other")), Some(reader_of("proj/side"))] {
        let peer = door.dial(blind);
        assert_eq!(peer.ask(&get(hash)).await, unknown);
        assert_eq!(peer.ask(&get(nobodys)).await, unknown);
        let many = GetManyRequest::new(vec![iroh(hash), iroh(nobodys)], ChunkRangesSeq::all());
        assert_eq!(peer.ask(&encoded(many)).await, unknown);
    }
}

#[tokio::test]
async fn nothing_but_getting_is_possible() {
    // IROH-03
    let door = Door::new().await;
    let hash = iroh(door.put("a", b"the plan").await);
    let peer = door.dial(owner());
    let refused = |code| Answer::Reset(Vec::new(), code);
    assert_eq!(peer.ask(&encoded(ObserveRequest::new(hash))).await, refused(REFUSED));
    let push = postcard::to_stdvec(&PushRequest::new(hash, ChunkRangesSeq::root())).unwrap();
    let pushed = [&[8, push.len() as u8][..], &push, &8u64.to_le_bytes(), b"a gift!!"].concat();
    assert_eq!(peer.ask(&pushed).await, refused(REFUSED));
    let hashes = (0..1025u32).map(|number| iroh(ContentHash::of(&number.to_le_bytes())));
    let many = GetManyRequest::new(hashes.collect(), ChunkRangesSeq::from_ranges([ChunkRanges::all()]));
    assert_eq!(peer.ask(&encoded(many)).await, refused(TOO_MUCH));
}

#[tokio::test]
async fn nobody_skips_to_the_end_of_all_numbers() {
    // IROH-08
    let door = Door::new().await;
    let hash = door.put("a", b"the plan").await;
    let peer = door.dial(owner());
    // Nothing of so many contents of the sequence, all of the next, and nothing more.
    let skipping = |varint: &[u8]| [&get(hash)[..33], &[2], varint, &[1, 0], &[1, 0]].concat();
    for far in [&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x80, 0x80, 0x40]] {
        assert_eq!(peer.ask(&skipping(far)).await, Answer::Reset(Vec::new(), TOO_MUCH), "{far:?}");
    }
    // The first of its children, were it a sequence.
    assert_ne!(peer.ask(&skipping(&[1])).await, Answer::Reset(Vec::new(), TOO_MUCH));
    assert_eq!(peer.ask(&get(hash)).await, one_group(b"the plan"));
}

#[tokio::test]
async fn what_is_no_request_counts_against_the_peer() {
    // IROH-03, IROH-06
    let door = Door::new().await;
    let hash = door.put("a", b"the plan").await;
    let whole = get(hash);
    let long = [&whole[..], &vec![0; 1 << 20]].concat();
    for bad in [&[200][..], &[2, 0], &long] {
        let peer = door.dial(owner());
        for _ in 0..3 {
            let Answer::Reset(bytes, _) = peer.ask(bad).await else { panic!("{} bytes were answered", bad.len()) };
            assert!(bytes.is_empty());
        }
        let ended = timeout(PATIENCE, peer.served).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(ended, ServeError::PeerMisbehaved(Offence::BadFrame, _)), "{ended}");
    }
    // What was cut off may be the network's fault.
    let peer = door.dial(owner());
    assert!(matches!(peer.ask(&whole[..20]).await, Answer::Reset(..)));
    assert_eq!(peer.ask(&whole).await, one_group(b"the plan"));
}

#[tokio::test]
async fn who_sends_byte_after_byte_is_not_waited_for() {
    // IROH-06
    let door = Door::new().await;
    let peer = door.dial(owner());
    let mut stream = peer.open().await;
    pause();
    for byte in &get(ContentHash::of(b"anything"))[..4] {
        // It may have ended by the last one.
        let _ = stream.send.write_all(&[*byte]).await;
        advance(Duration::from_secs(4)).await;
    }
    let ended = timeout(Duration::from_millis(1), stream.recv.read(&mut [0])).await;
    ended.expect("so many seconds are too long for a request, whenever the last byte came").unwrap_err();
}

#[tokio::test]
async fn nothing_is_read_from_a_stranger() {
    // IROH-02
    let door = Door::new().await;
    let peer = door.dial(None);
    assert_eq!(answer(&mut peer.open().await).await, Answer::Reset(Vec::new(), NOT_HERE));
}

#[tokio::test]
async fn a_request_is_read_when_it_has_its_place() {
    // IROH-06, IROH-07
    let door = Door::new().await;
    let hash = door.put("a", b"the plan").await;
    let peer = door.dial(owner());
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(peer.open().await);
    }
    let mut waiting = peer.open().await;
    waiting.send.write_all(&get(hash)).await.unwrap();
    waiting.send.shutdown().await.unwrap();
    pause();
    assert!(
        timeout(Duration::from_secs(8), waiting.recv.read(&mut [0])).await.is_err(),
        "others of his are waited for"
    );
    advance(Duration::from_secs(4)).await;
    resume();
    assert_eq!(answer(&mut waiting).await, one_group(b"the plan"));
    assert!(matches!(answer(&mut silent[0]).await, Answer::Reset(..)));
}

#[tokio::test]
async fn damaged_groups_do_not_leave() {
    // IROH-04
    let door = Door::new().await;
    let bytes = content(40 * 16 * 1024);
    let hash = door.put("large", &bytes).await;
    let whole = door.put("other", b"whole").await;
    let path = door.file_of(hash);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut damaged = bytes.clone();
    damaged[30 * 16 * 1024] ^= 1;
    fs::write(&path, damaged).unwrap();
    let peer = door.dial(owner());
    let Answer::Reset(given, code) = peer.ask(&get(hash)).await else { panic!("it was given whole") };
    assert_eq!(code, NOT_HERE);
    assert!(given.len() < 8 + 30 * 16 * 1024 + 39 * 64 + 1, "{} bytes are too many", given.len());
    assert_eq!(peer.ask(&get(whole)).await, one_group(b"whole"));
}

#[tokio::test]
async fn a_transfer_ends_with_its_callers_rights() {
    // IROH-05
    let door = Door::new().await;
    let hash = door.put("large", &content(4 << 20)).await;
    let peer = door.dial(owner());
    let mut stream = peer.open().await;
    stream.send.write_all(&get(hash)).await.unwrap();
    stream.send.shutdown().await.unwrap();
    timeout(PATIENCE, stream.recv.read_exact(&mut [0; 8])).await.unwrap().unwrap();
    assert_eq!(door.sessions.cancel_identity("boss"), 1);
    assert!(matches!(answer(&mut stream).await, Answer::Reset(..)));
}
