//! A session against bytes in memory: whatever is written, cut, added and read, in any order, over any file.

use alknet_fs::{ContentHash, Create, OpenWrite, Start};
use bytes::Bytes;
use proptest::prelude::*;

use crate::world::{World, noise};

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize),
    Append(usize),
    Cut(u64),
    Read(u64, usize),
}

/// Offsets and lengths around what matters: groups of 16 KiB, and nothing.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..40_usize, 2 => 16_380..16_390_usize, 2 => 0..70_000_usize, 1 => 32_760..32_780_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (length(), length()).prop_map(|(offset, length)| Step::Write(offset as u64, length)),
        1 => length().prop_map(Step::Append),
        2 => length().prop_map(|length| Step::Cut(length as u64)),
        2 => (length(), length()).prop_map(|(offset, length)| Step::Read(offset as u64, length)),
    ]
}

fn write(model: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if !bytes.is_empty() {
        model.resize(model.len().max(offset + bytes.len()), 0);
        model[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn slice(model: &[u8], offset: u64, count: usize) -> &[u8] {
    let start = usize::try_from(offset).unwrap().min(model.len());
    &model[start..(start + count).min(model.len())]
}

async fn play(world: &World, base: Option<usize>, rounds: &[Vec<Step>], seed: u64) {
    let mut model = Vec::new();
    if let Some(length) = base {
        model = noise(seed, length);
        world.put("proj/a", model.clone()).await.unwrap();
    }
    let mut fresh = seed;
    for (round, steps) in rounds.iter().enumerate() {
        let start = if base.is_none() && round == 0 { Start::Empty } else { Start::Existing };
        let how = OpenWrite { start, create: Create::IfAbsent, ..OpenWrite::default() };
        if start == Start::Empty {
            model.clear();
        }
        let session = world.begin("proj/a", how).await.unwrap();
        for step in steps {
            fresh += 1;
            match step {
                Step::Write(offset, length) => {
                    let bytes = noise(fresh, *length);
                    session.write_at(*offset, bytes.clone().into()).await.unwrap();
                    write(&mut model, usize::try_from(*offset).unwrap(), &bytes);
                }
                Step::Append(length) => {
                    let bytes: Bytes = noise(fresh, *length).into();
                    assert_eq!(session.append(bytes.clone()).await.unwrap(), model.len() as u64);
                    model.extend_from_slice(&bytes);
                }
                Step::Cut(length) => {
                    session.set_size(*length).await.unwrap();
                    model.resize(usize::try_from(*length).unwrap(), 0);
                }
                Step::Read(offset, count) => {
                    let read = session.read_at(*offset, *count).await.unwrap();
                    assert!(read == slice(&model, *offset, *count), "{step:?} read something else");
                }
            }
            assert_eq!(session.size().await.unwrap(), model.len() as u64);
        }
        let closed = session.commit().await.unwrap();
        assert_eq!((closed.size, closed.hash), (model.len() as u64, Some(ContentHash::of(&model))), "round {round}");
        assert!(world.get("proj/a").await.unwrap() == model, "round {round} reads back something else");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_session_writes_what_posix_would(
        base in proptest::option::of(length()),
        rounds in proptest::collection::vec(proptest::collection::vec(step(), 0..8), 1..4),
        seed in any::<u32>(),
    ) {
        // SESS-15
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            play(&world, base, &rounds, u64::from(seed)).await;
            world.end().await;
        });
    }
}
