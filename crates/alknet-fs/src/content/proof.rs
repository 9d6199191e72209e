//! Proves groups of content against its hash, with the pairs of its outboard.

use std::{io, ops::Range};

use blake3::hazmat::ChainingValue;

use super::{
    disk::{DiskFile, read_up_to},
    outboard::{Node, PAIR_BYTES, Pair, outboard_bytes, value_of},
};
use crate::{
    error::Damage,
    hash::ContentHash,
    limits::{COPY_BUFFER_BYTES, GROUP_BYTES, MAX_CONTENT_BYTES},
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
    pub outboard: Outboard<'a>,
}

/// Where an outboard lies.
#[derive(Clone, Copy)]
pub(super) enum Outboard<'a> {
    File(&'a dyn DiskFile),
    Memory(&'a [u8]),
}

impl Outboard<'_> {
    fn read_at(self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => read_up_to(file, buffer, offset),
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// Proves that `bytes` are the groups of content from `first_group` on: whole groups, but for the last one of the content.
///
/// # Errors
/// Fails when they are not, naming the first group that is not, or when the outboard is not the content's.
pub fn prove(hash: ContentHash, size: u64, outboard: &[u8], first_group: u64, bytes: &[u8]) -> Result<(), Damage> {
    let proof = of_memory(hash, size, outboard)?;
    let start = first_group.checked_mul(GROUP_BYTES).filter(|start| *start < size.max(1));
    let end = start.and_then(|start| start.checked_add(bytes.len() as u64));
    match end.filter(|end| *end <= size && (*end == size || end.is_multiple_of(GROUP_BYTES))) {
        Some(end) if !bytes.is_empty() || size == 0 => {
            let until = end.div_ceil(GROUP_BYTES).max(1);
            Ok(proof.prove(first_group..until, bytes)?)
        }
        _ => Err(Damage::Length { found: bytes.len() as u64, wanted: size }),
    }
}

/// Proves every pair of an outboard.
///
/// # Errors
/// Fails when it is not the outboard of this hash and size. That of at most one group is empty, and proves nothing.
pub fn prove_outboard(hash: ContentHash, size: u64, outboard: &[u8]) -> Result<(), Damage> {
    let proof = of_memory(hash, size, outboard)?;
    if outboard.is_empty() { Ok(()) } else { Ok(proof.prove_outboard()?) }
}

fn of_memory(hash: ContentHash, size: u64, outboard: &[u8]) -> Result<Proof<'_>, Damage> {
    if size > MAX_CONTENT_BYTES || outboard.len() as u64 != outboard_bytes(size) {
        return Err(Damage::Outboard);
    }
    Ok(Proof { hash, size, outboard: Outboard::Memory(outboard) })
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
        let count = self.outboard.read_at(&mut bytes, node.offset()).map_err(Disproved::Unreadable)?;
        if count < bytes.len() {
            return Err(Disproved::Outboard);
        }
        Ok(Pair::from_bytes(&bytes))
    }

    /// Proves every pair of the outboard of content of more than one group.
    pub fn prove_outboard(&self) -> Result<(), Disproved> {
        let mut pairs = Sequence { outboard: self.outboard, end: 0, bytes: Vec::new(), at: 0 };
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

/// An outboard from its beginning to its end.
struct Sequence<'a> {
    outboard: Outboard<'a>,
    end: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl Sequence<'_> {
    fn next(&mut self) -> Result<Pair, Disproved> {
        if self.at == self.bytes.len() {
            self.bytes.resize(COPY_BUFFER_BYTES, 0);
            let count = self.outboard.read_at(&mut self.bytes, self.end).map_err(Disproved::Unreadable)?;
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
