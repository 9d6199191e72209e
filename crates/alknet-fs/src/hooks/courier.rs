//! Who carries what a webhook is told.

use std::sync::Arc;

use alknet_core::{BoxFuture, Identity};
use bytes::Bytes;

/// Knows who people are and how something is posted: the world outside of the file system.
pub trait Courier: Send + Sync + 'static {
    /// Who acts under a name now, with all the rights that they have; `None`: nobody.
    fn identity(&self, name: &str) -> Option<Arc<Identity>>;

    /// Whether something could be posted to a URL, signed with the secret of a credential. Nothing is sent.
    fn check<'a>(&'a self, url: &'a str, credential: Option<&'a str>) -> BoxFuture<'a, Result<(), PostError>>;

    /// Posts a letter. It was taken if the answer says so; whether or not it was where there is no answer.
    fn post<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), PostError>>;
}

/// What is to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where.
    pub url: String,
    /// Whose secret signs it.
    pub credential: Option<String>,
    /// The same for each attempt to post this, and for nothing else that this node posts.
    pub id: String,
    /// JSON text.
    pub body: Bytes,
}

/// Why something was not posted, in words that hold nothing which the other side chose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It may go better later.
    #[error("{0}")]
    Later(String),
    /// It will not, unless somebody does something about it.
    #[error("{0}")]
    Never(String),
}
