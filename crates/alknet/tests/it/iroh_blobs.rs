//! The unmodified getter of iroh-blobs on the node's one port: it gets what its caller may read, and learns nothing of the rest.

use std::fs;

use alknet_fs::ContentHash;
use iroh::SecretKey;
use iroh_blobs::{
    Hash, HashAndFormat,
    get::request::get_blob,
    hashseq::HashSeq,
    protocol::{ChunkRanges, ChunkRangesExt, GetManyRequest, GetRequest, PushRequest},
    store::mem::MemStore,
};
use tokio::time::timeout;

use crate::{
    call_frames::IrohClient,
    folder::{Folder, PATIENCE},
    iroh_client::node_id,
    running::RunningNode,
};

/// Larger than what is kept in a row, and no multiple of anything.
const LARGE: usize = 1_000_003;

fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 9) ^ u64::from(seed)).to_le_bytes()[0]).collect()
}

fn hash(content: &[u8]) -> Hash {
    Hash::from_bytes(*ContentHash::of(content).as_bytes())
}

/// A node with the bucket `proj`.
struct Served {
    folder: Folder,
    node: RunningNode,
}

impl Served {
    fn new() -> Self {
        let folder = Folder::with_identity();
        let node = folder.serve();
        folder.run(&["fs", "bucket", "create", "proj"]);
        Self { folder, node }
    }

    fn put(&self, name: &str, content: &[u8]) -> Hash {
        fs::write(self.folder.home().join(name), content).unwrap();
        self.folder.run(&["fs", "put", &format!("./{name}"), &format!("proj/{name}")]);
        hash(content)
    }

    /// The getter of a peer with this role; without one, of somebody whom the node does not know.
    async fn getter(&self, name: &str, role: Option<&str>) -> IrohClient {
        let secret = SecretKey::generate();
        if let Some(role) = role {
            self.folder.run(&["peer", "add", name, "--key", &node_id(&secret), "--role", role]);
        }
        IrohClient::dial_for(iroh_blobs::ALPN, secret, &self.node.node_id, self.node.addr()).await
    }
}

#[tokio::test]
async fn a_peer_that_may_read_fetches_by_hash_whole_and_in_ranges() {
    // IROH-01
    let served = Served::new();
    let (large, small) = (content(1, LARGE), content(2, 100));
    let (large_hash, small_hash) = (served.put("large", &large), served.put("small", &small));
    let getter = served.getter("fetcher", Some("reader")).await;
    for (hash, content) in [(large_hash, &large), (small_hash, &small)] {
        let fetched = timeout(PATIENCE, get_blob(getter.connection.clone(), hash)).await.unwrap().unwrap();
        assert!(fetched == *content);
    }
    let store = MemStore::new();
    let range = 500_000..600_001;
    let request = GetRequest::builder().root(ChunkRanges::bytes(range.clone())).build(large_hash);
    let stats = store.remote().execute_get(getter.connection.clone(), request).await.unwrap();
    assert!(stats.payload_bytes_read < 130_000, "only the range travels: {stats:?}");
    let part = store.export_ranges(large_hash, range.clone()).concatenate().await.unwrap();
    assert!(part == large[500_000..600_001]);
    getter.finish().await;
}

#[tokio::test]
async fn sequences_of_hashes_and_several_hashes_come_in_one_request() {
    // IROH-01
    let served = Served::new();
    let parts: Vec<_> = (0..40).map(|seed| content(seed, 1000 * usize::from(seed) + 1)).collect();
    let hashes: Vec<_> = (0..).zip(&parts).map(|(number, part)| served.put(&format!("part{number}"), part)).collect();
    let sequence = served.put("sequence", &hashes.iter().collect::<HashSeq>().into_inner());
    let getter = served.getter("fetcher", Some("reader")).await;
    let store = MemStore::new();
    let fetching = store.remote().fetch(getter.connection.clone(), HashAndFormat::hash_seq(sequence));
    timeout(PATIENCE, fetching).await.unwrap().unwrap();
    for (hash, part) in hashes.iter().zip(&parts) {
        assert!(store.get_bytes(*hash).await.unwrap() == *part);
    }
    let store = MemStore::new();
    let many = GetManyRequest::builder().hash(hashes[7], ChunkRanges::all()).hash(hashes[9], ChunkRanges::all());
    let fetching = store.remote().execute_get_many(getter.connection.clone(), many.build());
    timeout(PATIENCE, fetching).await.unwrap().unwrap();
    assert!(store.get_bytes(hashes[9]).await.unwrap() == parts[9]);
    getter.finish().await;
}

#[tokio::test]
async fn what_a_caller_may_not_read_is_answered_like_a_hash_that_nobody_stored() {
    // IROH-02
    let served = Served::new();
    let secret = served.put("secret", &content(3, LARGE));
    let nobodys = hash(b"never stored");
    for (name, role) in [("watcher", Some("observer")), ("stranger", None)] {
        let getter = served.getter(name, role).await;
        let mut answers = Vec::new();
        for hash in [secret, nobodys] {
            let refused = timeout(PATIENCE, get_blob(getter.connection.clone(), hash)).await.unwrap().unwrap_err();
            answers.push(format!("{refused:?}"));
        }
        assert_eq!(answers[0], answers[1], "{name}");
        getter.finish().await;
    }
    let reader = served.getter("reader", Some("reader")).await;
    let refused = timeout(PATIENCE, get_blob(reader.connection.clone(), nobodys)).await.unwrap();
    assert!(refused.is_err());
    let fetched = timeout(PATIENCE, get_blob(reader.connection.clone(), secret)).await.unwrap();
    assert!(fetched.is_ok(), "one request that is refused ends no other");
    reader.finish().await;
}

#[tokio::test]
async fn nothing_is_written_through_this_door() {
    // IROH-03
    let served = Served::new();
    let owner = served.getter("boss", Some("owner")).await;
    let store = MemStore::new();
    let pushed = store.add_slice(b"a gift").await.unwrap();
    let request = PushRequest::new(pushed.hash, iroh_blobs::protocol::ChunkRangesSeq::all());
    let outcome = timeout(PATIENCE, store.remote().execute_push(owner.connection.clone(), request)).await.unwrap();
    assert!(outcome.is_err());
    let refused = timeout(PATIENCE, get_blob(owner.connection.clone(), pushed.hash)).await.unwrap();
    assert!(refused.is_err());
    owner.finish().await;
}
