//! Serves HTTP on a loopback port, printed as a URL, until it is killed: something to point stock clients at.
//!
//! `cargo run -p alknet-http --example serve [-- FOLDER]`
#![allow(clippy::print_stdout, reason = "the URL is the output")]

use std::{error::Error, sync::Arc};

use alknet_core::{Alpn, Authorizer, Carriers, KeyPurpose, KeySigner, Router, Service, Sessions};
use alknet_http::{Decoy, DecoyFolder, HttpConfig, HttpHandler};
use alknet_net::{Endpoint, EndpointConfig, NodeCredentials, WebCertificate, generate_self_signed};
use alknet_testkit::identities::{KeptAudit, TestIdentities, TestKeys};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = HttpConfig::default();
    if let Some(folder) = std::env::args_os().nth(1) {
        config.decoy = Decoy::Folder(DecoyFolder::open(folder.as_ref())?);
    }
    let (identities, keys) = (Arc::new(TestIdentities::default()), Arc::new(TestKeys::new(1)));
    let authorizer = Authorizer::new(Arc::new(KeptAudit::default()));
    let http = HttpHandler::new(config, identities.clone(), authorizer, keys.public_key(KeyPurpose::Node), || 0);
    let router = Router::builder(identities.clone())
        .service(Alpn::from_static(b"h2"), Service::web(Carriers::Tcp), http.clone())?
        .service(Alpn::from_static(b"http/1.1"), Service::web(Carriers::Tcp), http)?
        .build();
    let listen = EndpointConfig { listen: "127.0.0.1:0".parse()?, plain_ssh: None, public_url: None };
    let node = NodeCredentials::new(keys)?;
    let endpoint = Endpoint::bind(listen, router, identities, Sessions::default(), &node, web_certificate()?).await?;
    println!("https://{}", endpoint.local_addr());
    std::future::pending().await
}

fn web_certificate() -> Result<WebCertificate, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let made = generate_self_signed(&["localhost".to_owned()])?;
    let (chain, key) = (dir.path().join("web.pem"), dir.path().join("web.key"));
    std::fs::write(&chain, &made.certificate)?;
    std::fs::write(&key, made.key.as_bytes())?;
    Ok(WebCertificate::from_pem_files(&chain, &key)?)
}
