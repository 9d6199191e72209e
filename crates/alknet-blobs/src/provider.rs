//! What the provider of iroh-blobs asks of its store, answered from the file system for one caller.

use std::io;

use alknet_core::Caller;
use alknet_fs::{BlobReader, ContentHash, FileSystem};
use bao_tree::{
    BaoTree, TreeNode, blake3,
    io::{
        EncodeError, Leaf,
        mixed::{EncodedItem, ReadBytesAt, Sender, traverse_ranges_validated},
        sync::Outboard,
    },
};
use bytes::Bytes;
use iroh_blobs::{
    Hash,
    api::{
        Error,
        proto::{Command, ExportBaoMsg, ExportRangesItem, ExportRangesMsg},
    },
    store::IROH_BLOCK_SIZE,
};
use irpc::channel::mpsc;
use tokio::{runtime::Handle, task};

use crate::limits::READ_BYTES;

/// The operation that reads through this door are audited as.
const OPERATION: &str = "blobs/get";
/// Bytes of a pair of hashes in an outboard.
const PAIR_BYTES: usize = 64;

/// What exists for one caller.
pub struct Holdings {
    files: FileSystem,
    caller: Caller,
}

impl Holdings {
    /// What of these files exists for this caller.
    pub const fn new(files: FileSystem, caller: Caller) -> Self {
        Self { files, caller }
    }

    /// Answers the provider, one question after the other, until it asks no more.
    pub async fn answer(&self, mut questions: tokio::sync::mpsc::Receiver<Command>) {
        while let Some(question) = questions.recv().await {
            match question {
                Command::ExportBao(asked) => self.export_proven(asked).await,
                Command::ExportRanges(asked) => self.export_ranges(asked).await,
                // A request to get asks nothing else. Who drops a question fails it.
                other => tracing::warn!(?other, "the provider of iroh-blobs asks for what is not here"),
            }
        }
    }

    async fn find(&self, hash: Hash) -> io::Result<BlobReader> {
        let hash = ContentHash::from_bytes(*hash.as_bytes());
        match self.files.content_for(&self.caller, OPERATION, hash).await {
            Ok(Some(content)) => Ok(content),
            // As the stores of iroh-blobs say of a hash that they do not have.
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => {
                tracing::warn!(%hash, %error, "content cannot be given away");
                Err(io::Error::other("the content cannot be read"))
            }
        }
    }

    /// Content with the hashes that prove it; both are checked before they leave.
    async fn export_proven(&self, ExportBaoMsg { inner: asked, tx, .. }: ExportBaoMsg) {
        let mut items = Items(tx);
        let found = match self.find(asked.hash).await {
            Ok(found) => found,
            Err(error) => return drop(items.send(EncodedItem::Error(EncodeError::Io(error))).await),
        };
        let runtime = Handle::current();
        let sending = task::spawn_blocking(move || {
            let tree = Tree::of(&found);
            // The peer that goes away takes the channel along, which ends this.
            let _ = runtime.block_on(traverse_ranges_validated(&tree, &tree, &asked.ranges, &mut items));
        });
        if let Err(panic) = sending.await {
            tracing::error!(error = %panic, "sending content failed");
        }
    }

    /// Bytes alone: what the provider itself reads, of a sequence of hashes.
    async fn export_ranges(&self, ExportRangesMsg { inner: asked, tx, .. }: ExportRangesMsg) {
        let answer = async {
            let found = self.find(asked.hash).await?;
            let size = found.size();
            tx.send(ExportRangesItem::Size(size)).await?;
            for range in asked.ranges.boundaries().chunks(2) {
                let end = range.get(1).map_or(size, |end| size.min(*end));
                let mut offset = range[0];
                while offset < end {
                    let wanted = READ_BYTES.min(usize::try_from(end - offset).unwrap_or(READ_BYTES));
                    let data = found.read_at(offset, wanted).await.map_err(io::Error::other)?;
                    let next = offset + data.len() as u64;
                    tx.send(ExportRangesItem::Data(Leaf { offset, data })).await?;
                    offset = next;
                }
            }
            io::Result::Ok(())
        };
        if let Err(error) = answer.await {
            drop(tx.send(ExportRangesItem::Error(Error::from(error))).await);
        }
    }
}

/// Where the traversal of a tree sends what it finds.
struct Items(mpsc::Sender<EncodedItem>);

impl Sender for Items {
    type Error = io::Error;
    async fn send(&mut self, item: EncodedItem) -> io::Result<()> {
        Ok(self.0.send(item).await?)
    }
}

/// Content and its outboard as bao-tree reads them. The thread that does so may wait for the disk.
struct Tree<'a> {
    content: &'a BlobReader,
    shape: BaoTree,
}

impl<'a> Tree<'a> {
    fn of(content: &'a BlobReader) -> Self {
        Self { content, shape: BaoTree::new(content.size(), IROH_BLOCK_SIZE) }
    }
}

impl ReadBytesAt for &Tree<'_> {
    fn read_bytes_at(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; size];
        self.content.read_unproven(offset, &mut bytes)?;
        Ok(bytes.into())
    }
}

impl Outboard for &Tree<'_> {
    fn root(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(*self.content.hash().as_bytes())
    }
    fn tree(&self) -> BaoTree {
        self.shape
    }
    fn load(&self, node: TreeNode) -> io::Result<Option<(blake3::Hash, blake3::Hash)>> {
        let Some(number) = self.shape.post_order_offset(node) else { return Ok(None) };
        let mut pair = [0; PAIR_BYTES];
        self.content.read_outboard(number.value() * PAIR_BYTES as u64, &mut pair)?;
        let (left, right) = pair.split_at(PAIR_BYTES / 2);
        let hash = |half: &[u8]| blake3::Hash::from_bytes(half.try_into().expect("because a pair is two hashes"));
        Ok(Some((hash(left), hash(right))))
    }
}
