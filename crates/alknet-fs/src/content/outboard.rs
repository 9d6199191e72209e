//! The hash tree of content: groups of 16 KiB, pairs of chaining values in post-order (BLAKE3, section 2.1; as bao-tree lays it out).
//!
//! A tree over n groups has n - 1 pairs of 64 bytes, left value before right. The left half of a node is the largest power of two of
//! groups below its own count. Where a pair lies does not depend on what comes after its groups: an outboard grows at its end.

use std::ops::Range;

use blake3::{
    Hasher,
    hazmat::{self, ChainingValue, HasherExt, Mode},
};

use crate::{hash::ContentHash, limits::GROUP_BYTES};

/// Bytes of a pair.
pub(super) const PAIR_BYTES: u64 = 64;

/// Two chaining values: that of the left half of a node and that of its right half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub left: ChainingValue,
    pub right: ChainingValue,
}

impl Pair {
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(&bytes[..32]);
        right.copy_from_slice(&bytes[32..]);
        Self { left, right }
    }
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.left);
        bytes[32..].copy_from_slice(&self.right);
        bytes
    }
    /// The chaining value of the node, which is not the root.
    pub fn parent(&self) -> ChainingValue {
        hazmat::merge_subtrees_non_root(&self.left, &self.right, Mode::Hash)
    }
    /// The hash of the whole, if the node is the root.
    pub fn root(&self) -> ContentHash {
        ContentHash::from_bytes(*hazmat::merge_subtrees_root(&self.left, &self.right, Mode::Hash).as_bytes())
    }
}

/// A node of the tree: so many groups from the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub first: u64,
    pub count: u64,
}

impl Node {
    /// The root of the tree over content of this size.
    pub const fn root(size: u64) -> Self {
        Self { first: 0, count: groups(size) }
    }
    /// The two halves; only of a node of more than one group.
    pub const fn halves(self) -> (Self, Self) {
        let left = self.count.div_ceil(2).next_power_of_two();
        (Self { first: self.first, count: left }, Self { first: self.first + left, count: self.count - left })
    }
    /// Where its pair lies in the outboard; only of a node of more than one group.
    pub const fn offset(self) -> u64 {
        (self.first - self.first.count_ones() as u64 + self.count - 2) * PAIR_BYTES
    }
    /// Its groups.
    pub const fn groups(self) -> Range<u64> {
        self.first..self.first + self.count
    }
    /// Its bytes, in content of this size.
    pub fn bytes(self, size: u64) -> Range<u64> {
        self.first * GROUP_BYTES..((self.first + self.count) * GROUP_BYTES).min(size)
    }
}

/// How many groups content of this size has. Empty content has one.
pub(super) const fn groups(size: u64) -> u64 {
    if size == 0 { 1 } else { size.div_ceil(GROUP_BYTES) }
}

/// The length of the outboard of content of this size.
pub(super) const fn outboard_bytes(size: u64) -> u64 {
    (groups(size) - 1) * PAIR_BYTES
}

/// The chaining value of a node's bytes, which begin at `offset`; of a node that is not the root.
pub(super) fn value_of(bytes: &[u8], offset: u64) -> ChainingValue {
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}
