//! Proves groups of content against its hash, with the pairs of its outboard.

use std::{io, ops::Range};

use blake3::hazmat::ChainingValue;

use super::{
    disk::{DiskFile, read_exact_at},
    outboard::{Node, PAIR_BYTES, Pair, value_of},
};
use crate::{
    hash::ContentHash,
    limits::{COPY_BUFFER_BYTES, GROUP_BYTES},
};

/// What is wrong.
#[derive(Debug)]
pub(super) enum Disproved {
    /// A group of the content.
    Group(u64),
    /// The outboard.
    Outboard,
    /// The outboard cannot be read.
    Unreadable(io::Error),
}

/// What a node must have.
#[derive(Clone, Copy)]
enum Expected {
    Root(ContentHash),
    Value(ChainingValue),
}

impl Expected {
    fn is_of_pair(self, pair: &Pair) -> bool {
        match self {
            Self::Root(hash) => pair.root() == hash,
            Self::Value(value) => pair.parent() == value,
        }
    }
    fn is_of_bytes(self, bytes: &[u8], offset: u64) -> bool {
        match self {
            Self::Root(hash) => ContentHash::of(bytes) == hash,
            Self::Value(value) => value_of(bytes, offset) == value,
        }
    }
}

/// Content that can be proven.
#[derive(Clone, Copy)]
pub(super) struct Proof<'a> {
    pub hash: ContentHash,
    pub size: u64,
    pub outboard: &'a dyn DiskFile,
}

/// Groups that were read: all bytes of the content in them.
struct Held<'a> {
    groups: Range<u64>,
    bytes: &'a [u8],
}

impl Proof<'_> {
    /// Proves that `bytes` are these groups of the content.
    pub fn prove(&self, groups: Range<u64>, bytes: &[u8]) -> Result<(), Disproved> {
        self.prove_node(Node::root(self.size), Expected::Root(self.hash), &Held { groups, bytes })
    }

    fn prove_node(&self, node: Node, expected: Expected, held: &Held<'_>) -> Result<(), Disproved> {
        let groups = node.groups();
        if held.groups.end <= groups.start || groups.end <= held.groups.start {
            return Ok(());
        }
        if held.groups.start <= groups.start && groups.end <= held.groups.end {
            let (range, base) = (node.bytes(self.size), held.groups.start * GROUP_BYTES);
            let at = |offset: u64| usize::try_from(offset - base).expect("because it lies in the bytes");
            if expected.is_of_bytes(&held.bytes[at(range.start)..at(range.end)], range.start) {
                return Ok(());
            }
            if node.count == 1 {
                return Err(Disproved::Group(node.first));
            }
            // Which group it is, the pairs below tell.
        }
        let pair = self.pair(node)?;
        if !expected.is_of_pair(&pair) {
            return Err(Disproved::Outboard);
        }
        let (left, right) = node.halves();
        self.prove_node(left, Expected::Value(pair.left), held)?;
        self.prove_node(right, Expected::Value(pair.right), held)
    }

    fn pair(&self, node: Node) -> Result<Pair, Disproved> {
        let mut bytes = [0; PAIR_BYTES as usize];
        read_exact_at(self.outboard, &mut bytes, node.offset()).map_err(unreadable)?;
        Ok(Pair::from_bytes(&bytes))
    }

    /// Proves every pair of the outboard of content of more than one group.
    pub fn prove_outboard(&self) -> Result<(), Disproved> {
        let mut pairs = Sequence { file: self.outboard, end: 0, bytes: Vec::new(), at: 0 };
        let root = Node::root(self.size);
        let (left, right) = root.halves();
        let below = (pairs.value(left)?, pairs.value(right)?);
        let pair = pairs.next()?;
        if matches(below, &pair) && pair.root() == self.hash { Ok(()) } else { Err(Disproved::Outboard) }
    }
}

/// Whether the pair holds these values, as far as they are known: that of a single group is not.
fn matches(below: (Option<ChainingValue>, Option<ChainingValue>), pair: &Pair) -> bool {
    below.0.is_none_or(|left| left == pair.left) && below.1.is_none_or(|right| right == pair.right)
}

fn unreadable(error: io::Error) -> Disproved {
    if error.kind() == io::ErrorKind::UnexpectedEof { Disproved::Outboard } else { Disproved::Unreadable(error) }
}

/// An outboard from its beginning to its end.
struct Sequence<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl Sequence<'_> {
    fn next(&mut self) -> Result<Pair, Disproved> {
        if self.at == self.bytes.len() {
            self.bytes.resize(COPY_BUFFER_BYTES, 0);
            let count = self.file.read_at(&mut self.bytes, self.end).map_err(unreadable)?;
            // A short read in the middle of a pair is read again from its beginning.
            self.bytes.truncate(count - count % PAIR_BYTES as usize);
            self.end += self.bytes.len() as u64;
            self.at = 0;
        }
        let pair = self.bytes[self.at..].first_chunk().map(Pair::from_bytes).ok_or(Disproved::Outboard)?;
        self.at += PAIR_BYTES as usize;
        Ok(pair)
    }

    fn value(&mut self, node: Node) -> Result<Option<ChainingValue>, Disproved> {
        if node.count == 1 {
            return Ok(None);
        }
        let (left, right) = node.halves();
        let below = (self.value(left)?, self.value(right)?);
        let pair = self.next()?;
        if matches(below, &pair) { Ok(Some(pair.parent())) } else { Err(Disproved::Outboard) }
    }
}
