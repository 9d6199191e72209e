//! A provider of tokens on this machine: says what it is told to say, and notes what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use alknet_call::{CredentialKind, CredentialSet};
use alknet_testkit::http_server::{answer, read_request};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::fixture::set;

pub struct Provider {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answers: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    /// Each answer takes one; closed by default, so that nobody waits.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Provider {
    /// Answers with these, one after the other, and with 500 from then on.
    pub async fn start(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        *state.answers.lock().unwrap() = answers.iter().rev().cloned().collect();
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(serve(serving.clone(), io));
            }
        });
        Self { address, state }
    }

    /// Holds answers back until the semaphore has a permit for each.
    pub fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.state.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// The forms that it was sent.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub async fn was_asked(&self, times: usize) {
        while self.asked().len() < times {
            tokio::task::yield_now().await;
        }
    }

    /// Tokens that this provider renews, with an access token that ends at a time.
    pub fn tokens(&self, access_token: &str, refresh_token: &str, expires_at: u64) -> CredentialSet {
        let endpoint = format!("http://{}/token", self.address);
        let fields = [
            ("token_endpoint", endpoint.as_str()),
            ("client_id", "node"),
            ("access_token", access_token),
            ("refresh_token", refresh_token),
            ("expires_at", &expires_at.to_string()),
        ];
        set(CredentialKind::Oidc, &fields)
    }
}

async fn serve(state: Arc<State>, mut io: TcpStream) {
    let (_, form) = read_request(&mut io).await;
    state.asked.lock().unwrap().push(form);
    let gate = state.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    let said = state.answers.lock().unwrap().pop().unwrap_or_else(|| answer("500 No", "", ""));
    let _ = io.write_all(said.as_bytes()).await;
}

/// An answer with new tokens.
pub fn renewed(access_token: &str, refresh_token: Option<&str>) -> String {
    let mut body = serde_json::json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": 3600 });
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = refresh_token.into();
    }
    answer("200 OK", "", &body.to_string())
}
