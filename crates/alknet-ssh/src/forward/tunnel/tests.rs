use std::{sync::Arc, time::Duration};

use russh::{
    Error,
    client::{self, connect_stream},
    keys::{PrivateKey, PublicKeyOrCertificate, ssh_key::private::Ed25519Keypair},
    server::{self, Auth, ChannelOpenHandle, Msg, Session, run_stream},
};
use tokio::{
    io::{AsyncReadExt, duplex},
    sync::{mpsc, oneshot},
};

use super::*;
use crate::{limits::CHANNEL_QUEUE_PACKETS, pressure::Pressure};

const PATIENCE: Duration = Duration::from_secs(20);

/// Lets everybody in, and hands out the channels.
struct Open(mpsc::UnboundedSender<Channel<Msg>>);

impl server::Handler for Open {
    type Error = Error;
    async fn auth_none(&mut self, _: &str) -> Result<Auth, Error> {
        Ok(Auth::Accept)
    }
    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        self.0.send(channel).map_err(|_| Error::Disconnect)
    }
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// A client that is logged in, and the channels that it opens, at the server's end.
async fn connected() -> (client::Handle<Trusting>, mpsc::UnboundedReceiver<Channel<Msg>>) {
    let (near, far) = duplex(64 * 1024);
    let (sender, channels) = mpsc::unbounded_channel();
    let keys = vec![PrivateKey::from(Ed25519Keypair::from_seed(&[5; 32]))];
    let channel_buffer_size = CHANNEL_QUEUE_PACKETS;
    let config = Arc::new(server::Config { keys, channel_buffer_size, ..server::Config::default() });
    tokio::spawn(async move { run_stream(config, far, Open(sender)).await.unwrap().await });
    let mut client = connect_stream(Arc::default(), near, Trusting).await.unwrap();
    assert!(client.authenticate_none("x").await.unwrap().success());
    (client, channels)
}

/// FWD-20: what a client sends before its channel's opening is through does not hold the connection up.
#[tokio::test]
async fn a_channel_that_is_being_opened_is_emptied() {
    let (client, mut channels) = connected().await;
    let channel = client.channel_open_session().await.unwrap();
    let (target, mut reached) = UnixStream::pair().unwrap();
    let far = channels.recv().await.unwrap();
    let (open, opened) = oneshot::channel();
    let opened = async { opened.await.unwrap_or_default() };
    let around = Surroundings {
        life: CancellationToken::new(),
        stopping: CancellationToken::new(),
        pressure: Arc::new(Pressure::default()),
        stall_timeout: PATIENCE,
        hangup_grace: PATIENCE,
        max_forwards: 1,
    };
    let carrying =
        tokio::spawn(async move { carry(far, opened, Socket::Unix(target), &around, &CancellationToken::new()).await });
    let packets = 4 * CHANNEL_QUEUE_PACKETS;
    for _ in 0..packets {
        channel.data_bytes(vec![7; 10]).await.unwrap();
    }
    let other = timeout(PATIENCE, client.channel_open_session()).await;
    assert!(other.expect("the connection goes on").is_ok());
    open.send(()).unwrap();
    channel.close().await.unwrap();
    let mut all = Vec::new();
    timeout(PATIENCE, reached.read_to_end(&mut all)).await.unwrap().unwrap();
    assert_eq!(all, vec![7; 10 * packets]);
    carrying.await.unwrap();
}
