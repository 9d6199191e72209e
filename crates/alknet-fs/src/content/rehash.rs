//! The hash of content that was changed in places, from the outboard that it had before.

use std::io;

use blake3::hazmat::ChainingValue;

use super::{
    disk::{DiskFile, read_exact_at},
    extents::Extents,
    outboard::{Node, PAIR_BYTES, Pair, groups, outboard_bytes, value_of},
};
use crate::{
    hash::ContentHash,
    limits::{COPY_BUFFER_BYTES, GROUP_BYTES, OUTBOARD_BUFFER_BYTES},
};

/// Makes the outboard of `old` bytes that of the `new` bytes which `data` now has, and answers their hash. `changed` are whole groups;
/// all others are what they were, as far as both reach. What the outboard holds is believed.
pub(super) fn rehash(
    data: &dyn DiskFile,
    outboard: &dyn DiskFile,
    old: u64,
    new: u64,
    changed: &Extents,
) -> io::Result<ContentHash> {
    debug_assert!(new > GROUP_BYTES, "one group has no outboard");
    let mut changed = changed.clone();
    let (edge, common) = (old.min(new) / GROUP_BYTES * GROUP_BYTES, old.min(new));
    if old != new && edge != common {
        changed.add(edge..edge + GROUP_BYTES);
    }
    let buffer = Buffer { first: 0, bytes: Vec::new() };
    let (old_groups, pairs) = (old.div_ceil(GROUP_BYTES), Pairs { file: outboard, start: 0, bytes: Vec::new() });
    let mut tree = Tree { data, pairs, old_groups, size: new, changed, buffer };
    let hash = tree.root()?;
    tree.pairs.flush()?;
    outboard.set_size(outboard_bytes(new))?;
    Ok(hash)
}

struct Tree<'a> {
    data: &'a dyn DiskFile,
    pairs: Pairs<'a>,
    old_groups: u64,
    size: u64,
    changed: Extents,
    buffer: Buffer,
}

/// Pairs in the file, those that follow one another written together. None is read after it was written.
struct Pairs<'a> {
    file: &'a dyn DiskFile,
    start: u64,
    bytes: Vec<u8>,
}

/// Groups that were read ahead.
struct Buffer {
    first: u64,
    bytes: Vec<u8>,
}

impl Tree<'_> {
    fn root(&mut self) -> io::Result<ContentHash> {
        let root = Node::root(self.size);
        if self.is_kept(root) { Ok(self.pairs.read(root.offset())?.root()) } else { Ok(self.join(root)?.root()) }
    }

    /// Whether the outboard has this node, and nothing below it changed.
    fn is_kept(&self, node: Node) -> bool {
        let groups = node.groups();
        groups.end <= self.old_groups
            && (node.count.is_power_of_two() || self.old_groups == self::groups(self.size))
            && !self.changed.meets(&(groups.start * GROUP_BYTES..groups.end * GROUP_BYTES))
    }

    fn value(&mut self, node: Node) -> io::Result<ChainingValue> {
        match (node.count, self.is_kept(node)) {
            (1, true) => self.kept_leaf(node),
            (1, false) => self.leaf(node),
            (_, true) => Ok(self.pairs.read(node.offset())?.parent()),
            (_, false) => Ok(self.join(node)?.parent()),
        }
    }

    fn join(&mut self, node: Node) -> io::Result<Pair> {
        let (left, right) = node.halves();
        let pair = Pair { left: self.value(left)?, right: self.value(right)? };
        self.pairs.write(node.offset(), pair)?;
        Ok(pair)
    }

    /// From the pair above it; a last one without a neighbour has none so near.
    fn kept_leaf(&mut self, node: Node) -> io::Result<ChainingValue> {
        let above = Node { first: node.first & !1, count: 2 };
        if above.groups().end > self.old_groups {
            return self.leaf(node);
        }
        let pair = self.pairs.read(above.offset())?;
        Ok(if node.first == above.first { pair.left } else { pair.right })
    }

    fn leaf(&mut self, node: Node) -> io::Result<ChainingValue> {
        let range = node.bytes(self.size);
        let held = self.buffer.first..self.buffer.first + self.buffer.bytes.len() as u64;
        if !(held.start <= range.start && range.end <= held.end) {
            self.read_ahead(node.first)?;
        }
        let at = usize::try_from(range.start - self.buffer.first).expect("because it lies in the buffer");
        let length = usize::try_from(range.end - range.start).expect("because a group is small");
        Ok(value_of(&self.buffer.bytes[at..at + length], range.start))
    }

    /// This group, and those after it that are to be read too.
    fn read_ahead(&mut self, group: u64) -> io::Result<()> {
        let start = group * GROUP_BYTES;
        let run = if group >= self.old_groups { Some(self.size) } else { self.changed.end_of(start) };
        let end = run.unwrap_or(start + GROUP_BYTES).min(start + COPY_BUFFER_BYTES as u64).min(self.size);
        self.buffer.bytes.resize(usize::try_from(end - start).expect("because the buffer is bounded"), 0);
        self.buffer.first = start;
        read_exact_at(self.data, &mut self.buffer.bytes, start)
    }
}

impl Pairs<'_> {
    fn read(&self, offset: u64) -> io::Result<Pair> {
        let mut bytes = [0; PAIR_BYTES as usize];
        read_exact_at(self.file, &mut bytes, offset)?;
        Ok(Pair::from_bytes(&bytes))
    }
    fn write(&mut self, offset: u64, pair: Pair) -> io::Result<()> {
        if offset != self.start + self.bytes.len() as u64 || self.bytes.len() >= OUTBOARD_BUFFER_BYTES {
            self.flush()?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(&pair.to_bytes());
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.bytes, self.start)?;
        self.start += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}
