use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use alknet_core::{Credential, Identity};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, stranger},
    memory::pair,
};
use bytes::Bytes;
use russh::{
    ChannelMsg, Error, Limits,
    client::{self, connect_stream},
    keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, ssh_key::private::Ed25519Keypair},
};
use tokio::time::timeout;

use super::*;
use crate::{HostKey, limits::REKEY_AGE, parse_public_key};

/// Counts the key exchanges.
struct Counting(Arc<AtomicUsize>);

impl client::Handler for Counting {
    type Error = Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
    async fn kex_done(&mut self, _: Option<&[u8]>, _: &russh::Names, _: &mut client::Session) -> Result<(), Error> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }
}

/// A server that changes keys after so many bytes, and its owner's key.
fn server(dir: &tempfile::TempDir, key_bytes: usize) -> (Arc<SshServer>, PrivateKey) {
    let config = SshConfig::new(HostKey::from_seed([7; 32].into()), "me", "/bin/sh", dir.path());
    let library = server::Config { limits: Limits::new(key_bytes, key_bytes, REKEY_AGE), ..library_config(&config) };
    let setup = Setup { config: Arc::new(config.clone()), library: Arc::new(library) };
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[9; 32]));
    let fingerprint = parse_public_key(&key.public_key().to_openssh().unwrap()).unwrap().fingerprint;
    let identities = Arc::new(TestIdentities::default());
    identities.know(&Credential::SshKey(fingerprint), Identity::owner("alice"));
    let authorizer = Authorizer::new(Arc::new(KeptAudit::default()));
    let (live, subsystems) = (LiveSessions::default(), Subsystems::default());
    let server = SshServer::new(config, identities, authorizer, Sessions::default(), live, subsystems);
    server.0.0.setup.store(Arc::new(setup));
    (server, key)
}

/// SSH-05: this side changes keys by itself, in the midst of data both ways.
#[tokio::test]
async fn our_own_rekeys_do_no_harm() {
    const BYTES: usize = 8 << 20;
    const KEY_BYTES: usize = 512 << 10;
    let dir = tempfile::tempdir().unwrap();
    let (server, key) = server(&dir, KEY_BYTES);
    let (near, far) = pair(&SSH, stranger(), stranger());
    tokio::spawn(async move { server.serve(far).await });
    let exchanges = Arc::<AtomicUsize>::default();
    let stream = near.open_stream().await.unwrap();
    let mut client = connect_stream(Arc::default(), stream, Counting(exchanges.clone())).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(client.authenticate_publickey("alice", key).await.unwrap().success());
    let channel = client.channel_open_session().await.unwrap();
    channel.exec(false, "cat").await.unwrap();
    let (mut reading, writing) = channel.split();
    let sending = async {
        writing.data_bytes(Bytes::from(vec![7; BYTES])).await.unwrap();
        writing.eof().await.unwrap();
    };
    let receiving = async {
        let mut came = 0;
        while let Some(message) = reading.wait().await {
            if let ChannelMsg::Data { data } = message {
                came += data.len();
            }
        }
        came
    };
    let both = timeout(Duration::from_secs(60), async { tokio::join!(sending, receiving).1 });
    assert_eq!(both.await, Ok(BYTES));
    // Each key carries a little more: what was under way when the next one was asked for.
    assert!(exchanges.load(Relaxed) > BYTES / KEY_BYTES / 4, "{exchanges:?}");
}
