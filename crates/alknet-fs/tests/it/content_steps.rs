//! What may be done to an open write, at random, and to a vector beside it.

use alknet_fs::{Spool, limits::GROUP_BYTES};
use bytes::Bytes;
use proptest::prelude::*;

const GROUP: usize = GROUP_BYTES as usize;

#[derive(Debug, Clone)]
pub enum Step {
    Write { at: usize, length: usize },
    Append { length: usize },
    SetSize { size: usize },
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offset = || prop_oneof![0usize..6 * GROUP, (0usize..7).prop_map(|group| group * GROUP), 0usize..400_000];
    let step = prop_oneof![
        4 => (offset(), 1usize..2 * GROUP).prop_map(|(at, length)| Step::Write { at, length }),
        3 => (1usize..3 * GROUP).prop_map(|length| Step::Append { length }),
        1 => offset().prop_map(|size| Step::SetSize { size }),
    ];
    proptest::collection::vec(step, 0..10)
}

/// Does the steps to a spool and to a vector.
pub fn run(spool: &mut Spool, model: &mut Vec<u8>, steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        let mut write = |model: &mut Vec<u8>, at: usize, length: usize| {
            let bytes: Vec<u8> = (0..length).map(|byte| (byte * 7 + index * 31 + 1) as u8).collect();
            spool.write_at(at as u64, Bytes::from(bytes.clone())).unwrap();
            model.resize(model.len().max(at + length), 0);
            model[at..at + length].copy_from_slice(&bytes);
        };
        match *step {
            Step::Write { at, length } => write(model, at, length),
            Step::Append { length } => write(model, model.len(), length),
            Step::SetSize { size } => {
                spool.set_size(size as u64).unwrap();
                model.resize(size, 0);
            }
        }
        assert_eq!(spool.size(), model.len() as u64);
        let (at, mut buffer) = (model.len() / 3, vec![0; GROUP + 5]);
        let count = spool.read_at(at as u64, &mut buffer).unwrap();
        assert_eq!(buffer[..count], model[at..model.len().min(at + buffer.len())]);
    }
}
