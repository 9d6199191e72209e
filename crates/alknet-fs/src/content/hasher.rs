//! Hashes content from its beginning to its end, and makes its outboard on the way.

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt},
};

use super::outboard::{Pair, value_of};
use crate::{hash::ContentHash, limits::GROUP_BYTES};

const GROUP: usize = GROUP_BYTES as usize;

/// The hash of bytes in memory, and their outboard.
pub fn hash_tree(bytes: &[u8]) -> (ContentHash, Vec<u8>) {
    let mut hasher = TreeHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// Takes bytes in any portions.
#[derive(Debug)]
pub(super) struct TreeHasher {
    /// Of the group that is not yet full.
    group: Hasher,
    /// How much of it there is.
    filled: usize,
    /// Full groups.
    groups: u64,
    /// The values of full subtrees, from the left, the largest first.
    stack: Vec<ChainingValue>,
    /// Pairs that nobody took yet.
    pairs: Vec<u8>,
    /// The newest pair.
    last: Option<Pair>,
}

impl TreeHasher {
    pub fn new() -> Self {
        Self { group: Hasher::new(), filled: 0, groups: 0, stack: Vec::new(), pairs: Vec::new(), last: None }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == GROUP {
                self.end_group();
            }
            // A full group that more follows is no root: hashed at once, without state of its own.
            if self.filled == 0 && bytes.len() > GROUP {
                self.push(value_of(&bytes[..GROUP], self.groups * GROUP_BYTES));
                bytes = &bytes[GROUP..];
                self.begin_group();
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(GROUP - self.filled));
            self.group.update(now);
            self.filled += now.len();
            bytes = rest;
        }
    }

    /// The pairs that came since the last time, in post-order.
    pub fn take_pairs(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pairs)
    }
    /// How many bytes of pairs wait to be taken.
    pub const fn pair_bytes(&self) -> usize {
        self.pairs.len()
    }

    /// The hash, and the pairs that were not yet taken.
    pub fn finish(mut self) -> (ContentHash, Vec<u8>) {
        if self.groups == 0 {
            return (ContentHash::from_bytes(*self.group.finalize().as_bytes()), Vec::new());
        }
        // More came after the last full group, or it is in `group` still: never empty.
        self.end_group();
        while let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.join(left, right);
        }
        let root = self.last.expect("because two groups have a pair").root();
        (root, self.pairs)
    }

    fn end_group(&mut self) {
        let value = self.group.finalize_non_root();
        self.push(value);
        self.begin_group();
    }

    fn begin_group(&mut self) {
        // `reset` would forget to set the offset back.
        self.group = Hasher::new();
        self.group.set_input_offset(self.groups * GROUP_BYTES);
        self.filled = 0;
    }

    /// Adds the value of the next group, and joins what is then full.
    fn push(&mut self, value: ChainingValue) {
        self.stack.push(value);
        self.groups += 1;
        for _ in 0..self.groups.trailing_zeros() {
            if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
                self.join(left, right);
            }
        }
    }

    fn join(&mut self, left: ChainingValue, right: ChainingValue) {
        let pair = Pair { left, right };
        self.pairs.extend_from_slice(&pair.to_bytes());
        self.last = Some(pair);
        self.stack.push(pair.parent());
    }
}

#[cfg(test)]
mod tests {
    use bao_tree::{BlockSize, io::outboard::PostOrderMemOutboard};
    use proptest::prelude::*;

    use super::*;
    use crate::content::outboard::{Node, groups, outboard_bytes};

    fn pattern(length: usize) -> Vec<u8> {
        (0..251u8).cycle().take(length).collect()
    }

    fn hash_in_portions(bytes: &[u8], portions: &[usize]) -> (ContentHash, Vec<u8>) {
        let (mut hasher, mut pairs, mut rest) = (TreeHasher::new(), Vec::new(), bytes);
        for portion in portions.iter().cycle() {
            let (now, after) = rest.split_at(rest.len().min(*portion));
            hasher.update(now);
            if portion % 3 == 0 {
                pairs.extend(hasher.take_pairs());
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let (hash, last) = hasher.finish();
        pairs.extend(last);
        (hash, pairs)
    }

    fn sizes() -> impl Strategy<Value = usize> {
        let edges =
            (0usize..20, -2i64..3).prop_map(|(groups, off)| (groups as i64 * GROUP as i64 + off).max(0) as usize);
        prop_oneof![edges, 0usize..400_000, Just(64 * GROUP), Just(65 * GROUP + 1)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn any_portions_give_blake3s_hash_and_bao_trees_outboard(
            size in sizes(),
            portions in proptest::collection::vec(1usize..70_000, 1..8),
        ) {
            // BLOB-01, BLOB-03
            let bytes = pattern(size);
            let (hash, pairs) = hash_in_portions(&bytes, &portions);
            prop_assert_eq!(hash, ContentHash::of(&bytes));
            let oracle = PostOrderMemOutboard::create(&bytes, BlockSize::from_chunk_log(4));
            prop_assert_eq!(*oracle.root.as_bytes(), *hash.as_bytes());
            prop_assert_eq!(&oracle.data, &pairs);
            prop_assert_eq!(pairs.len() as u64, outboard_bytes(size as u64));
        }
    }

    #[test]
    fn pairs_lie_where_their_nodes_say() {
        // BLOB-03
        for count in 1..40u64 {
            let bytes = pattern(count as usize * GROUP - 5);
            let (hash, pairs) = hash_in_portions(&bytes, &[50_000]);
            assert_eq!(groups(bytes.len() as u64), count);
            let value = check(Node::root(bytes.len() as u64), &bytes, &pairs);
            if count > 1 {
                let last = pairs.last_chunk().map(Pair::from_bytes).unwrap();
                assert_eq!((last.root(), last.parent()), (hash, value));
            }
        }
    }

    fn check(node: Node, bytes: &[u8], pairs: &[u8]) -> ChainingValue {
        let range = node.bytes(bytes.len() as u64);
        let own = value_of(&bytes[range.start as usize..range.end as usize], range.start);
        if node.count > 1 {
            let offset = node.offset() as usize;
            let pair = Pair::from_bytes(pairs[offset..offset + 64].try_into().unwrap());
            let (left, right) = node.halves();
            assert_eq!((check(left, bytes, pairs), check(right, bytes, pairs)), (pair.left, pair.right));
            assert_eq!(pair.parent(), own);
        }
        own
    }
}
