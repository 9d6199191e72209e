//! A node's file system as its operations give it.

use std::{io, time::Duration};

use alknet_call::{ByteTicket, CallError, ErrorCode, TransferError};
use alknet_core::{Carrier, Connection};
use alknet_fs::{
    ContentHash, FsPath, Names, Seq,
    operations::{BranchRef, Entries, EntryView, Have, HaveOutput, ListFolder, Octets, StatEntry, StatView},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
};

use super::address::Spot;
use crate::{
    cli::{Place, printable},
    failure::{Failure, Kind},
    node_client::{NodeClient, Trust},
};

/// How long an operation may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one may take that goes through much: merges, copies, checks.
pub const LONG_TIMEOUT: Duration = alknet_fs::limits::LONG_TIMEOUT;
/// Entries of one page.
const PAGE: u32 = 1000;

/// A node, ours or another.
pub struct Remote<'a> {
    node: NodeClient<'a>,
    /// What the other node is called here; `None`: it is the one that runs here.
    name: Option<String>,
    /// A connection for bytes that holds many streams.
    lane: Mutex<Option<Connection>>,
}

impl<'a> Remote<'a> {
    /// Reaches the node that an address names, or the one that runs here.
    pub async fn reach(place: &'a Place, node: Option<&str>) -> Result<Self, Failure> {
        let name = node.map(str::to_owned);
        let node = match node {
            None => NodeClient::running(place).await?,
            named => NodeClient::reach(place, named, Trust::Pinned).await?,
        };
        Ok(Self { node, name, lane: Mutex::new(None) })
    }

    /// Whether it is the node that runs here.
    pub const fn is_local(&self) -> bool {
        self.name.is_none()
    }

    /// The client of the node, for what is not about files.
    pub const fn client(&self) -> &NodeClient<'a> {
        &self.node
    }

    /// Calls an operation.
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, input: &impl Serialize) -> Result<T, Failure> {
        self.call_within(operation, input, CALL_TIMEOUT).await
    }

    /// The same, giving up after `timeout`.
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, Failure> {
        match self.node.ask(operation, serde_json::to_value(input)?, timeout).await {
            Ok(output) => Ok(serde_json::from_value(output)?),
            Err(error) if is_unknown(&error) && self.shows_files().await => {
                Err(beyond_role(operation, self.name.as_deref()))
            }
            Err(error) => Err(explain(operation, &error)),
        }
    }

    /// Whether the node lets this one know of files at all.
    async fn shows_files(&self) -> bool {
        let asked = self.node.ask("fs/bucket.list", serde_json::json!({}), CALL_TIMEOUT).await;
        asked.err().is_none_or(|error| !is_unknown(&error))
    }

    /// Which names are one and the same in a bucket, as far as one may know.
    pub async fn names(&self, branch: &BranchRef) -> Result<Names, Failure> {
        let input = Have { bucket: branch.clone(), hashes: Vec::new(), sizes: Vec::new() };
        match self.call::<HaveOutput>("fs/have", &input).await {
            Ok(HaveOutput { names, .. }) => Ok(names.into()),
            // Whoever may write alone writes as to any other.
            Err(failure) if failure.kind() == Kind::Denied => Ok(Names::Bytes),
            Err(failure) => Err(failure),
        }
    }

    /// Looks at an entry; `None` where there is none.
    pub async fn look(&self, spot: &Spot, follow: bool) -> Result<Option<StatView>, Failure> {
        let input = StatEntry { bucket: spot.branch.clone(), path: spot.octets(), when: spot.when.clone(), follow };
        match self.call("fs/stat", &input).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.kind() == Kind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Looks at an entry that must be there.
    pub async fn stat(&self, spot: &Spot, follow: bool) -> Result<StatView, Failure> {
        let input = StatEntry { bucket: spot.branch.clone(), path: spot.octets(), when: spot.when.clone(), follow };
        self.call("fs/stat", &input).await.map_err(|failure| at(spot, failure))
    }

    /// What is in a folder, page by page, of one version.
    pub fn pages(&self, spot: &Spot, recursive: bool) -> Pages<'_, 'a> {
        let input = ListFolder {
            bucket: spot.branch.clone(),
            path: spot.octets(),
            when: spot.when.clone(),
            after: None,
            limit: PAGE,
            attributes: true,
            recursive,
        };
        Pages { remote: self, next: Some(input), seq: None }
    }

    /// Fetches the bytes of a ticket.
    pub async fn download(
        &self,
        ticket: &ByteTicket,
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<alknet_call::Downloaded, Failure> {
        let lane = self.lane().await?;
        alknet_call::download(&lane, ticket, out).await.map_err(|error| moved("fs/read", error))
    }

    /// Sends the bytes of a ticket; gives what the node answers. `hash`: that of the bytes, where it is known.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        ticket: &ByteTicket,
        bytes: &mut (impl AsyncRead + Unpin),
        hash: Option<ContentHash>,
    ) -> Result<T, Failure> {
        let lane = self.lane().await?;
        let hash = hash.map(|hash| *hash.as_bytes());
        let answer = alknet_call::upload(&lane, ticket, bytes, hash).await;
        let answer = answer.map_err(|error| moved("fs/write", error))?;
        Ok(serde_json::from_value(answer)?)
    }

    /// A connection that takes another stream.
    async fn lane(&self) -> Result<Connection, Failure> {
        let mut lane = self.lane.lock().await;
        if let Some(lane) = &*lane {
            return Ok(lane.clone());
        }
        let opened = self.node.bytes().await?;
        if matches!(opened.carrier(), Carrier::Quic | Carrier::Local) {
            *lane = Some(opened.clone());
        }
        Ok(opened)
    }

    /// Says farewell to a node that was dialled.
    pub async fn finish(self) {
        drop(self.lane);
        self.node.finish().await;
    }
}

/// The pages of a list.
pub struct Pages<'r, 'a> {
    remote: &'r Remote<'a>,
    next: Option<ListFolder>,
    /// Which version they are of, once there was one.
    pub seq: Option<Seq>,
}

impl Pages<'_, '_> {
    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<EntryView>>, Failure> {
        let Some(input) = self.next.take() else { return Ok(None) };
        let page: Entries = self.remote.call("fs/list", &input).await?;
        self.seq = Some(page.seq);
        // The pages after the first are of the same version.
        let when = input.when.clone().or_else(|| Some(page.seq.to_string()));
        self.next = page.next.map(|after| ListFolder { after: Some(after), when, ..input });
        Ok(Some(page.entries))
    }

    /// Begins after this name.
    pub fn after(mut self, name: Option<Octets>) -> Self {
        if let Some(input) = &mut self.next {
            input.after = name;
        }
        self
    }
}

/// The path of an entry of a list, from the folder that was listed, which is not in it.
pub fn path_of(entry: &EntryView) -> Result<FsPath, Failure> {
    match entry.name.path() {
        Ok(path) if path == FsPath::ROOT => Err(Failure::failed("the node lists an entry without a name")),
        path => path.map_err(|error| Failure::failed(format_args!("the node lists what is no path: {error}"))),
    }
}

/// What it means that bytes were not moved. A reader who has seen enough is no failure.
fn moved(operation: &str, error: TransferError) -> Failure {
    match error {
        TransferError::Own(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::status(0),
        TransferError::Own(error) => error.into(),
        TransferError::Call(error) => explain(operation, &error),
    }
}

/// Names the bucket, the branch and the version too of what is not there: a node names the path alone.
pub fn at(spot: &Spot, failure: Failure) -> Failure {
    let (text, said) = (failure.to_string(), ["the bucket", "the branch", "the version", "does not allow"]);
    if failure.kind() != Kind::NotFound || said.iter().any(|said| text.contains(said)) {
        return failure;
    }
    failure.while_doing(spot)
}

/// Whether there is no such operation, or none that the node lets this one know of.
fn is_unknown(error: &CallError) -> bool {
    error.code == ErrorCode::NotFound && error.message == "no such operation"
}

/// Of an operation that is not there for the role that this node has at another one, which does show it files.
fn beyond_role(operation: &str, node: Option<&str>) -> Failure {
    let node = printable(node.unwrap_or("that node"));
    Failure::new(Kind::Denied, format_args!("the role of this node at {node} does not allow {operation}"))
        .hint("the owner there gives another: `alknet peer remove NAME`, then `alknet peer add NAME --ticket TICKET --role writer`, or maintainer for branches, snapshots, hooks and buckets too")
}

/// What a failed operation on files means to the person who asked for it.
pub fn explain(operation: &str, error: &CallError) -> Failure {
    let kind = match &error.code {
        ErrorCode::NotFound => Kind::NotFound,
        ErrorCode::Unauthenticated | ErrorCode::Forbidden => Kind::Denied,
        ErrorCode::InvalidInput => Kind::Usage,
        ErrorCode::Timeout | ErrorCode::Overloaded | ErrorCode::Unavailable => Kind::Unavailable,
        _ => Kind::Failed,
    };
    let message = printable(&error.message);
    if is_unknown(error) {
        return Failure::new(kind, format_args!("{operation}: {message}"))
            .hint("that node is of a version without files, or does not let this one know of them");
    }
    let failure = Failure::new(kind, &message);
    match error.code.as_str() {
        "NOT_FOUND" if message.contains("no bucket then") => {
            failure.hint("`alknet fs log BUCKET` shows the commits, with their times")
        }
        "NOT_FOUND" if message.contains("the bucket") => {
            failure.hint("`alknet fs ls` lists the buckets; `alknet fs bucket create NAME` makes one")
        }
        "NOT_FOUND" if message.contains("the branch") => {
            failure.hint("`alknet fs branch list BUCKET` lists the branches")
        }
        "NOT_EMPTY" if message.starts_with("cannot remove the bucket ") => {
            failure.hint("`--force` removes it with its history")
        }
        "NOT_EMPTY" if message.starts_with("cannot remove the branch ") => {
            failure.hint("it has snapshots: `alknet fs snapshot list BUCKET`, then `alknet fs snapshot remove`")
        }
        "NOT_EMPTY" => failure.hint("with -r it goes with all that is in it"),
        "QUOTA" => failure.hint("`alknet fs usage BUCKET` shows what is used; `alknet fs bucket set` allows more"),
        "TOO_MUCH" => failure.hint("do less of it at once: folder by folder, or file by file"),
        // What reads through too many others is helped as its message says.
        "TOO_MANY" if message.contains("read through") => failure,
        "TOO_MANY" => failure.hint("remove one that is not needed any more"),
        "CONFLICT" => failure.hint("somebody else changed it meanwhile: read it again, and then try again"),
        "DAMAGED" => failure.hint("`alknet fs fsck --deep` lists what is damaged; nothing else is affected"),
        "NOT_FOUND" if message.contains("older than what is kept") => {
            failure.hint("`alknet fs bucket set BUCKET --retention TIME` says how long versions are kept from now on")
        }
        "TRIMMED" => failure.hint("so old changes are not kept; begin without --after"),
        _ if kind == Kind::Denied => failure.hint("the owner of that node says who may: `alknet peer add --role …`"),
        _ => failure,
    }
}
