//! Serves SSH for one public key: `serve PORT KEY.pub`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::sync::Arc;

use alknet_core::{Authorizer, Credential, Identity, ProtocolHandler, Sessions};
use alknet_ssh::{HostKey, SshConfig, SshServer, parse_public_key};
use alknet_testkit::identities::{KeptAudit, TestIdentities};

#[path = "../tests/it/tcp_link.rs"]
mod tcp_link;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap().parse().unwrap();
    let line = std::fs::read_to_string(args.next().unwrap()).unwrap();
    let identities = Arc::new(TestIdentities::default());
    let key = parse_public_key(&line).unwrap().fingerprint;
    identities.know(&Credential::SshKey(key), Identity::owner("me"));
    let config = SshConfig::new(HostKey::from_seed([7; 32].into()), "root", "/bin/bash", "/root");
    let server =
        SshServer::new(config, identities, Authorizer::new(Arc::new(KeptAudit::default())), Sessions::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (socket, addr) = listener.accept().await.unwrap();
        let server = server.clone();
        tokio::spawn(async move { server.serve(tcp_link::plain_connection(socket, addr)).await });
    }
}
