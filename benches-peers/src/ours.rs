//! The node, called over `alknet/call`: JSON, with everything that a call passes in the product.

use alknet_call::{CallClient, CallOptions};
use alknet_core::Carrier;
use serde_json::json;

use crate::{
    load::Callee,
    node::{Node, OPERATION},
};

/// One connection.
#[derive(Clone)]
pub struct Ours(CallClient);

impl Ours {
    pub async fn connect(node: &Node, carrier: Carrier) -> Self {
        Self(node.client(carrier).await)
    }
}

impl Callee for Ours {
    async fn next(&self, n: u64) -> u64 {
        let answer = self.0.call(OPERATION, json!({ "n": n }), CallOptions::default()).await.unwrap();
        answer["n"].as_u64().unwrap()
    }
}
