//! The call protocol as a foreign client speaks it: iroh below, frames by hand (`docs/spec/call.md`).

use std::{net::SocketAddr, time::Duration};

use iroh::{
    Endpoint, EndpointAddr, PublicKey, RelayMode, SecretKey,
    endpoint::{Connection, presets},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::folder::PATIENCE;

/// An iroh endpoint that is connected to a node. It knows the node's key and address, and no relay.
pub struct IrohClient {
    endpoint: Endpoint,
    /// The connection.
    pub connection: Connection,
}

impl IrohClient {
    /// Dials a node by its key and its UDP port.
    pub async fn dial(secret: SecretKey, node_id: &str, addr: SocketAddr) -> Self {
        Self::dial_for(b"alknet/call", secret, node_id, addr).await
    }

    /// The same for another service.
    pub async fn dial_for(alpn: &[u8], secret: SecretKey, node_id: &str, addr: SocketAddr) -> Self {
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).secret_key(secret);
        let endpoint = builder.bind().await.unwrap();
        let node = EndpointAddr::new(PublicKey::from_z32(node_id).unwrap()).with_ip_addr(addr);
        let connection = timeout(PATIENCE, endpoint.connect(node, alpn)).await.unwrap().unwrap();
        Self { endpoint, connection }
    }

    /// Dials as nobody in particular.
    pub async fn stranger(node_id: &str, addr: SocketAddr) -> Self {
        Self::dial(SecretKey::generate(), node_id, addr).await
    }

    /// Calls an operation on a stream of its own; gives the frame that answers.
    pub async fn call(&self, operation: &str, token: Option<&str>) -> Value {
        let mut payload = json!({ "operationId": operation, "input": {} });
        if let Some(token) = token {
            payload["authToken"] = token.into();
        }
        let request = json!({ "type": "call.requested", "id": "1", "payload": payload }).to_string();
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).await.unwrap();
        send.write_all(request.as_bytes()).await.unwrap();
        let mut length = [0; 4];
        timeout(PATIENCE, recv.read_exact(&mut length)).await.unwrap().unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        timeout(PATIENCE, recv.read_exact(&mut answer)).await.unwrap().unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    /// Who the node takes the bearer of a token for; the error code where it refuses the token.
    pub async fn whoami(&self, token: Option<&str>) -> Result<Option<String>, String> {
        let answer = self.call("/node/identify", token).await;
        match answer["type"].as_str().unwrap() {
            "call.responded" => Ok(answer["payload"]["output"]["you"].as_str().map(str::to_owned)),
            "call.error" => Err(answer["payload"]["code"].as_str().unwrap().to_owned()),
            other => panic!("{other}"),
        }
    }

    /// Waits until the node closes the connection.
    pub async fn closed_within(&self, patience: Duration) -> bool {
        timeout(patience, self.connection.closed()).await.is_ok()
    }

    /// Says farewell.
    pub async fn finish(self) {
        self.connection.close(0u32.into(), b"");
        self.endpoint.close().await;
    }
}
