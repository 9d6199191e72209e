//! What the stock client would not send, by the library's own.

use std::sync::Arc;

use russh::{
    ChannelMsg, Error,
    client::{self, Handler},
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use tokio::net::TcpStream;

use crate::node::Node;

struct Trusting;

impl Handler for Trusting {
    type Error = Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// SSH-22: what could have no effect is refused.
#[test]
fn a_process_that_runs_takes_no_more_environment() {
    let node = Node::start();
    node.runtime.block_on(async {
        let socket = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        let mut client = client::connect_stream(Arc::default(), socket, Trusting).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(node.path("me"), None).unwrap()), None);
        assert!(client.authenticate_publickey("alice", key).await.unwrap().success());
        let mut channel = client.channel_open_session().await.unwrap();
        let mut answers = Vec::new();
        channel.set_env(true, "LC_FIRST", "x").await.unwrap();
        channel.exec(true, "read line; echo $LC_FIRST:$LC_SECOND:").await.unwrap();
        channel.set_env(true, "LC_SECOND", "y").await.unwrap();
        channel.data_bytes("\n").await.unwrap();
        let mut output = Vec::new();
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Success => answers.push(true),
                ChannelMsg::Failure => answers.push(false),
                ChannelMsg::Data { data } => output.extend_from_slice(&data),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        assert_eq!((answers, output), (vec![true, true, false], b"x::\n".to_vec()));
    });
}
