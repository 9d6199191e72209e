//! A backup and what comes back from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alknet_fs::ContentHash;

use crate::folder::{Folder, errors};

fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(29) ^ (at >> 8) ^ u64::from(seed)).to_le_bytes()[0]).collect()
}

fn put(folder: &Folder, name: &str, content: &[u8]) {
    fs::write(folder.home().join(name), content).unwrap();
    folder.run(&["fs", "put", &format!("./{name}"), &format!("proj/{name}")]);
}

fn got(folder: &Folder, at: &str) -> Vec<u8> {
    let output = folder.output(&["fs", "cat", at]);
    assert!(output.status.success(), "{at}: {}", errors(&output));
    output.stdout
}

/// The file of content in a backup.
fn file_of(backup: &Path, content: &[u8]) -> PathBuf {
    let hash = ContentHash::of(content).to_string();
    let shard = backup.join("blobs").join(&hash[..2]);
    let found = fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path());
    found.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&hash)).unwrap()
}

#[test]
fn a_node_comes_back_from_a_backup_and_its_mnemonic() {
    // BLOB-60, BLOB-61
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let (first, second, third) = (content(1, 300_001), content(2, 70_000), content(3, 100_000));
    put(&folder, "a", &first);
    put(&folder, "b", &second);
    put(&folder, "small", b"in the database");
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    let done = folder.json(&["backup", place]);
    assert_eq!((&done["files"], &done["fetched_files"]), (&2.into(), &2.into()), "{done}");
    put(&folder, "a", &third);
    let done = folder.json(&["backup", place]);
    assert_eq!((&done["files"], &done["fetched_files"]), (&3.into(), &1.into()), "only what is new: {done}");
    assert_eq!(done["fetched_bytes"], 100_000);
    folder.run(&["fs", "bucket", "create", "later"]);
    let mnemonic = folder.run(&["identity", "backup"]);
    folder.run(&["stop"]);
    node.gone();

    let new = Folder::empty();
    assert!(new.output_of(&["identity", "restore"], &mnemonic).status.success());
    new.run(&["restore", place]);
    let again = new.serve();
    assert_eq!(again.node_id, new.json(&["identity", "show"])["node_id"].as_str().unwrap());
    assert_eq!((got(&new, "proj/a"), got(&new, "proj/b")), (third.clone(), second.clone()));
    assert_eq!(got(&new, "proj/small"), b"in the database");
    assert_eq!(got(&new, "proj@2/a"), first, "what it was before, too");
    let checked = new.output(&["fs", "fsck", "--deep"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    put(&new, "c", &content(4, 50_000));
    assert!(new.refused(&["restore", place], 1).contains("in use"));
    new.run(&["stop"]);
    again.gone();
    assert!(new.refused(&["restore", place], 2).contains("has a database already"));
}

#[test]
fn what_is_damaged_in_a_backup_is_named_and_the_rest_comes_back() {
    // BLOB-61
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let (whole, flipped, lost) = (content(1, 100_000), content(2, 100_000), content(3, 100_000));
    for (name, content) in [("whole", &whole), ("flipped", &flipped), ("lost", &lost)] {
        put(&folder, name, content);
    }
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    let path = file_of(&backup, &flipped);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::remove_file(file_of(&backup, &lost)).unwrap();
    let mnemonic = folder.run(&["identity", "backup"]);
    folder.run(&["stop"]);
    node.gone();

    let new = Folder::empty();
    assert!(new.output_of(&["identity", "restore"], &mnemonic).status.success());
    let refused = new.refused(&["restore", place], 1);
    for content in [&flipped, &lost] {
        assert!(refused.contains(&ContentHash::of(content).to_string()), "{refused}");
    }
    let again = new.serve();
    assert_eq!(got(&new, "proj/whole"), whole);
    assert!(!new.output(&["fs", "cat", "proj/flipped"]).status.success());
    new.run(&["stop"]);
    again.gone();
}

#[test]
fn a_folder_of_something_else_is_no_place_for_a_backup() {
    // BLOB-60
    let folder = Folder::with_identity();
    let node = folder.serve();
    fs::write(folder.home().join("letter.txt"), "dear").unwrap();
    let home = folder.home();
    assert!(folder.refused(&["backup", home.to_str().unwrap()], 2).contains("letter.txt"));
    assert!(!home.join("alknet.db").exists());
    assert!(folder.refused(&["restore", home.to_str().unwrap()], 4).contains("no backup"));
    folder.run(&["stop"]);
    node.gone();
}
