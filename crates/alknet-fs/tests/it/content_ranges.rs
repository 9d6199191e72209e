//! Reading ranges of stored content, whole and damaged.

use std::{fs, os::unix::fs::PermissionsExt};

use alknet_fs::{BlobReader, ContentHash, Damage, Errno, FsError, limits::GROUP_BYTES, rows::blob};
use futures_util::StreamExt;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::io::AsyncReadExt;

use crate::content_files::{Node, flip, pattern};

const GROUP: usize = GROUP_BYTES as usize;

fn slice(bytes: &[u8], offset: usize, count: usize) -> &[u8] {
    let start = offset.min(bytes.len());
    &bytes[start..start + count.min(bytes.len() - start)]
}

#[test]
fn every_range_is_what_was_stored() {
    // BLOB-20
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(Node::new());
    let sizes = [1, GROUP, GROUP + 1, 2 * GROUP, 7 * GROUP - 3, 64 * GROUP, 3 << 20, (3 << 20) + 17];
    let all: Vec<(Vec<u8>, BlobReader)> = sizes
        .into_iter()
        .map(|size| {
            let bytes = pattern(size);
            let blob = runtime.block_on(node.stored(&bytes));
            (bytes, runtime.block_on(node.content.reader(blob, "a")).unwrap())
        })
        .collect();
    let ranges = (0..sizes.len(), any::<prop::sample::Index>(), prop_oneof![0usize..100, 0usize..3_000_000]);
    let one = |(which, offset, count): (usize, prop::sample::Index, usize)| {
        let (bytes, reader) = &all[which];
        let offset = offset.index(bytes.len() + 10);
        let read = runtime.block_on(reader.read_at(offset as u64, count)).unwrap();
        assert!(read == slice(bytes, offset, count), "{offset} {count}");
        let mut streamed = Vec::new();
        let mut stream = reader.stream(offset as u64..(offset + count) as u64);
        runtime.block_on(stream.read_to_end(&mut streamed)).unwrap();
        assert!(streamed == slice(bytes, offset, count), "{offset} {count}");
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(150)).run(&ranges, one).unwrap();
}

fn damage(error: FsError, hash: ContentHash) -> Damage {
    match error {
        FsError::Damaged { path, hash: named, why } => {
            assert_eq!((path.as_str(), named), ("/dir/file", hash));
            why
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_flipped_bit_is_found_and_harms_its_own_group_alone() {
    // BLOB-20, BLOB-21
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(Node::new());
    let (bytes, other) = (pattern(70 * GROUP + 5), pattern(3 * GROUP));
    let hash = ContentHash::of(&bytes);
    let blob = runtime.block_on(node.stored(&bytes));
    let files = node.blob_files();
    let other = (runtime.block_on(node.stored(&other)), other);
    let one = |(in_outboard, at, bit): (bool, prop::sample::Index, u8)| {
        let path = &files[usize::from(in_outboard)];
        let at = at.index(fs::metadata(path).unwrap().len() as usize) as u64;
        flip(path, at, bit);
        runtime.block_on(async {
            let reader = node.content.reader(blob, "/dir/file").await.unwrap();
            let mut failed = Vec::new();
            for group in 0..71 {
                match reader.read_at(group * GROUP_BYTES, GROUP).await {
                    Ok(read) => assert!(read == slice(&bytes, group as usize * GROUP, GROUP)),
                    Err(error) => {
                        failed.push(group);
                        match damage(error, hash) {
                            Damage::Flipped { group: named } => assert_eq!((named, in_outboard), (group, false)),
                            Damage::Outboard => assert!(in_outboard),
                            why => panic!("{why}"),
                        }
                    }
                }
            }
            assert!(!failed.is_empty());
            if !in_outboard {
                assert_eq!(failed, [at / GROUP_BYTES]);
                // Read in one, the very group is still named.
                let why = damage(reader.read_at(0, bytes.len()).await.unwrap_err(), hash);
                assert!(matches!(why, Damage::Flipped { group } if group == at / GROUP_BYTES), "{why}");
            }
            let whole = node.content.reader(other.0, "b").await.unwrap().read_at(0, usize::MAX).await.unwrap();
            assert!(whole == other.1);
        });
        flip(path, at, bit);
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(40))
        .run(&(any::<bool>(), any::<prop::sample::Index>(), 0u8..8), one)
        .unwrap();
}

#[tokio::test]
async fn missing_short_and_long_files_are_named_when_they_are_opened() {
    // BLOB-21
    let node = Node::new().await;
    let bytes = pattern(5 * GROUP);
    let (hash, blob) = (ContentHash::of(&bytes), node.stored(&bytes).await);
    let [data, outboard]: [_; 2] = node.blob_files().try_into().unwrap();
    let open = async || damage(node.content.reader(blob, "/dir/file").await.unwrap_err(), hash);
    for (path, length) in [(&data, 4 * GROUP), (&data, 5 * GROUP + 1), (&outboard, 64), (&outboard, 5 * 64)] {
        let before = fs::read(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
        match open().await {
            Damage::Length { found, wanted } => assert_eq!((found, wanted), (length as u64, 5 * GROUP_BYTES)),
            Damage::Outboard => assert_eq!(path, &outboard),
            why => panic!("{why}"),
        }
        fs::write(path, before).unwrap();
    }
    let reader = node.content.reader(blob, "/dir/file").await.unwrap();
    fs::remove_file(&outboard).unwrap();
    assert!(matches!(open().await, Damage::Outboard));
    fs::remove_file(&data).unwrap();
    assert!(matches!(open().await, Damage::Missing));
    assert_eq!(reader.read_at(0, 5 * GROUP).await.unwrap(), bytes, "who has it open goes on");
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_read_is_an_error_and_ends_the_stream() {
    // BLOB-21
    let node = Node::new().await;
    let bytes = pattern(4 << 20);
    let blob = node.stored(&bytes).await;
    let reader = node.content.reader(blob, "/dir/file").await.unwrap();
    let data = &node.blob_files()[0];
    fs::set_permissions(data, fs::Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().write(true).open(data).unwrap().set_len(3 << 20).unwrap();
    let mut chunks = Box::pin(reader.chunks(0..u64::MAX));
    for _ in 0..3 {
        assert_eq!(chunks.next().await.unwrap().unwrap().len(), 1 << 20);
    }
    let why = damage(chunks.next().await.unwrap().unwrap_err(), ContentHash::of(&bytes));
    assert!(matches!(why, Damage::Length { found, wanted } if (found, wanted) == (3 << 20, 4 << 20)), "{why}");
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn what_is_being_removed_is_not_opened_and_damaged_rows_are_named() {
    // BLOB-21, BLOB-33
    let node = Node::new().await;
    let blob = node.stored(&pattern(3 * GROUP)).await;
    let small = node.stored(b"small").await;
    let change = move |sql: &rusqlite::Connection| {
        sql.execute("UPDATE fs_blob SET bytes = X'736D616C6D' WHERE class = 0", [])?;
        blob::mark_dying(sql, blob)
    };
    assert!(node.change(change).await);
    let error = node.content.reader(blob, "/a").await.unwrap_err();
    assert!(matches!(error, FsError::At { errno: Errno::Stale, .. }), "{error}");
    let error = node.content.reader(small, "/dir/file").await.unwrap_err();
    assert!(matches!(damage(error, ContentHash::of(b"small")), Damage::Flipped { group: 0 }));
}
