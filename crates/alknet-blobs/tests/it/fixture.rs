//! Files with content, and a door in front of them.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use alknet_blobs::{BLOBS, BlobsHandler};
use alknet_core::{
    Authorizer, Caller, Connection, Credential, Identity, Peer, PeerAddr, PerStream, ProtocolHandler, ResourceGrants,
    ScopeSet, ServeError, Sessions, Stream, StreamReset,
};
use alknet_fs::{
    Address, Body, BranchName, BucketName, Change, ContentHash, FileSystem, FileSystemConfig, Place, Put, Right, Terms,
};
use alknet_store::{Roles, Store};
use alknet_testkit::{
    identities::{TestIdentities, peer_with_key, stranger},
    memory::pair,
};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::timeout,
};

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Door {
    pub folder: TempDir,
    pub sessions: Sessions,
    files: FileSystem,
    handler: Arc<BlobsHandler>,
    identities: Arc<TestIdentities>,
    _store: Store,
}

fn somebody(identity: Identity) -> Caller {
    Caller { identity: Some(Arc::new(identity)), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } }
}

/// Somebody who may read one branch.
pub fn reader_of(place: &str) -> Identity {
    let mut grants = ResourceGrants::default();
    grants.grant(format!("bucket:{place}").parse().unwrap(), "fs:read");
    Identity::new("reader", ScopeSet::from_iter(["fs:read".parse().unwrap()]), grants)
}

impl Door {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::default();
        let store = Store::open(&folder.path().join("alknet.db"), Roles::default(), sessions.clone()).unwrap();
        let authorizer = Authorizer::new(store.audit_log());
        let config = FileSystemConfig::new(folder.path().to_owned());
        let files = FileSystem::open(&store, authorizer, None, config).await.unwrap();
        let identities = Arc::new(TestIdentities::default());
        let handler = Arc::new(BlobsHandler::new(files.clone(), identities.clone(), sessions.clone()));
        let door = Self { folder, sessions, files, handler, identities, _store: store };
        let bucket: BucketName = "proj".parse().unwrap();
        let place = Place { bucket: &bucket, branch: None };
        let owner = somebody(Identity::owner("boss"));
        let permit = door.files.access().permit(&owner, "test", Right::Admin, place).unwrap();
        door.files.tree().create_bucket(&permit, &bucket, Terms::default()).await.unwrap();
        door
    }

    /// Puts content on the branch `main`.
    pub async fn put(&self, name: &str, content: &[u8]) -> ContentHash {
        let (bucket, branch): (BucketName, BranchName) = ("proj".parse().unwrap(), "main".parse().unwrap());
        let place = Place { bucket: &bucket, branch: Some(&branch) };
        let owner = somebody(Identity::owner("boss"));
        let permit = self.files.access().permit(&owner, "test", Right::Write, place).unwrap();
        let placed = self.files.content().store(Bytes::copy_from_slice(content)).await.unwrap();
        let at = Address::parse(format!("proj/{name}").as_bytes(), 0).unwrap().path;
        let put = Change::Put(Put::new(at, Body::Placed(placed)));
        self.files.tree().change(&permit, (&bucket, &branch), vec![put], None).await.unwrap();
        ContentHash::of(content)
    }

    /// The file of content that has one.
    pub fn file_of(&self, hash: ContentHash) -> PathBuf {
        let text = hash.to_string();
        let shard = self.folder.path().join("blobs").join(&text[..2]);
        let mut files = fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_none_or(|ending| ending != "obao")).unwrap()
    }

    /// A connection from a peer that is `identity`, or from a stranger.
    pub fn dial(&self, identity: Option<Identity>) -> Dialled {
        let peer = if identity.is_some() { peer_with_key(7) } else { stranger() };
        if let Some(identity) = identity {
            self.identities.know(&Credential::of_peer(&peer).unwrap(), identity);
        }
        self.dial_as(peer)
    }

    fn dial_as(&self, peer: Peer) -> Dialled {
        let (near, far) = pair(&BLOBS, peer, peer_with_key(1));
        let handler = PerStream(self.handler.clone());
        let served = tokio::spawn(async move { handler.serve(far).await });
        Dialled { connection: near, served }
    }
}

pub struct Dialled {
    pub connection: Connection,
    pub served: JoinHandle<Result<(), ServeError>>,
}

/// What came back on a stream: bytes, or those before a reset and its code.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Whole(Vec<u8>),
    Reset(Vec<u8>, u64),
}

impl Dialled {
    pub async fn open(&self) -> Stream {
        self.connection.open_stream().await.unwrap()
    }

    /// Sends a request, and nothing after it.
    pub async fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = self.open().await;
        // A door that has seen enough does not read on.
        let _ = stream.send.write_all(request).await;
        let _ = stream.send.shutdown().await;
        answer(&mut stream).await
    }
}

pub async fn answer(stream: &mut Stream) -> Answer {
    let mut bytes = Vec::new();
    match timeout(PATIENCE, stream.recv.read_to_end(&mut bytes)).await.unwrap() {
        Ok(_) => Answer::Whole(bytes),
        Err(error) => Answer::Reset(bytes, StreamReset::of(&error).unwrap_or_else(|| panic!("{error}")).code),
    }
}
