//! A backup and what comes back from it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use alknet_fs::ContentHash;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};

use crate::folder::{Folder, errors, wait_until};

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

/// The file of content in a backup or a data folder.
fn file_of(folder: &Path, content: &[u8]) -> PathBuf {
    let hash = ContentHash::of(content).to_string();
    let shard = folder.join("blobs").join(&hash[..2]);
    let mut found = fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().unwrap() != "obao" && path.to_str().unwrap().contains(&hash)).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[50_000] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A node that is to bring back what a folder holds.
fn restored(mnemonic: &str, place: &str) -> Folder {
    let new = Folder::empty();
    assert!(new.output_of(&["identity", "restore"], mnemonic).status.success());
    new.run(&["restore", place]);
    new
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
    flip(&file_of(&backup, &flipped));
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

#[test]
fn content_that_was_set_aside_stays_in_a_backup_that_has_it_and_is_named_by_one_that_has_not() {
    // BLOB-62
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let (first, second) = (content(1, 100_000), content(2, 100_000));
    put(&folder, "a", &first);
    put(&folder, "b", &second);
    let (backup, later) = (folder.home().join("copy"), folder.home().join("later"));
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    flip(&file_of(&folder.data(), &first));
    assert_eq!(folder.output(&["fs", "fsck", "--deep", "--repair"]).status.code(), Some(1));
    let done = folder.json(&["backup", place]);
    assert_eq!((&done["files"], &done["fetched_files"], &done["removed_files"]), (&2.into(), &0.into(), &0.into()));
    let refused = folder.refused(&["backup", later.to_str().unwrap()], 1);
    assert!(refused.contains(&ContentHash::of(&first).to_string()), "{refused}");
    assert!(fs::read(file_of(&later, &second)).unwrap() == second, "the rest is there");
    let mnemonic = folder.run(&["identity", "backup"]);
    folder.run(&["stop"]);
    node.gone();

    let new = restored(&mnemonic, place);
    let again = new.serve();
    assert_eq!((got(&new, "proj/a"), got(&new, "proj/b")), (first, second));
    assert!(new.output(&["fs", "fsck", "--deep"]).status.success());
    new.run(&["stop"]);
    again.gone();
}

#[test]
fn what_is_named_no_longer_goes_from_a_backup() {
    // BLOB-60
    let folder = Folder::with_identity();
    folder.configure("[fs]\ngc_grace = \"1s\"\n");
    let node = folder.serve();
    for bucket in ["proj", "other"] {
        folder.run(&["fs", "bucket", "create", bucket]);
    }
    let (stays, goes) = (content(1, 100_000), content(2, 100_000));
    put(&folder, "a", &stays);
    fs::write(folder.home().join("b"), &goes).unwrap();
    folder.run(&["fs", "put", "./b", "other/b"]);
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    assert_eq!(folder.json(&["backup", place])["removed_files"], 0);
    let gone = file_of(&backup, &goes);
    folder.run(&["fs", "bucket", "remove", "--force", "other"]);
    let on_node = file_of(&folder.data(), &goes);
    wait_until("the node has removed the content", || {
        folder.run(&["fs", "gc"]);
        !on_node.exists()
    });
    let mut done = folder.json(&["backup", place]);
    // The collection may be at its last step, at which the row goes.
    if done["removed_files"] == 0 {
        folder.run(&["fs", "gc"]);
        done = folder.json(&["backup", place]);
    }
    assert_eq!((&done["files"], &done["removed_files"]), (&1.into(), &1.into()), "{done}");
    assert!(!gone.exists() && fs::read(file_of(&backup, &stays)).unwrap() == stays);
    folder.run(&["stop"]);
    node.gone();
}

#[test]
fn one_backup_at_a_time_is_made_in_a_folder_and_none_is_restored_from_it_meanwhile() {
    // BLOB-60, BLOB-64
    let folder = Folder::with_identity();
    let node = folder.serve();
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    let before = fs::read(backup.join("alknet.db")).unwrap();
    let lock = File::options().write(true).open(backup.join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    folder.run(&["fs", "bucket", "create", "proj"]);
    assert!(folder.refused(&["backup", place], 1).contains("in use"));
    assert!(fs::read(backup.join("alknet.db")).unwrap() == before);
    let new = Folder::empty();
    assert!(new.refused(&["restore", place], 1).contains("in use"));
    assert!(!new.data().join("alknet.db").exists());
    flock(&lock, FlockOperation::Unlock).unwrap();
    // Who restores hinders nobody who restores.
    flock(&lock, FlockOperation::NonBlockingLockShared).unwrap();
    new.run(&["restore", place]);
    folder.run(&["stop"]);
    node.gone();
}

#[test]
fn the_backup_of_one_node_is_not_overwritten_by_another() {
    // BLOB-63
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let bytes = content(1, 100_000);
    put(&folder, "a", &bytes);
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    let before = fs::read(backup.join("alknet.db")).unwrap();
    let other = Folder::with_identity();
    let others = other.serve();
    let refused = other.refused(&["backup", place], 2);
    assert!(refused.contains(&node.node_id) && refused.contains(&others.node_id), "{refused}");
    assert!(fs::read(backup.join("alknet.db")).unwrap() == before && !backup.join("alknet.db.new").exists());
    assert!(fs::read(file_of(&backup, &bytes)).unwrap() == bytes);
    folder.run(&["backup", place]);
    for (folder, node) in [(folder, node), (other, others)] {
        folder.run(&["stop"]);
        node.gone();
    }
}

#[test]
fn a_restore_lays_content_where_the_configuration_has_it() {
    // BLOB-61
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let bytes = content(1, 100_000);
    put(&folder, "a", &bytes);
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    let mnemonic = folder.run(&["identity", "backup"]);
    folder.run(&["stop"]);
    node.gone();
    let new = Folder::empty();
    let elsewhere = new.home().join("disk");
    new.configure(&format!("[fs]\nfolder = \"{}\"\n", elsewhere.display()));
    assert!(new.output_of(&["identity", "restore"], &mnemonic).status.success());
    let done = new.json(&["restore", place]);
    assert_eq!(done["content_folder"], elsewhere.to_str().unwrap());
    assert!(fs::read(file_of(&elsewhere, &bytes)).unwrap() == bytes && !new.data().join("blobs").exists());
    let again = new.serve();
    assert_eq!(got(&new, "proj/a"), bytes);
    new.run(&["stop"]);
    again.gone();
}

/// Begins a backup, and stops it as soon as the database was copied, before all content was. `None`: it was too quick.
fn begun(folder: &Folder, backup: &Path) -> Option<std::process::Child> {
    let words = ["backup", "--json", backup.to_str().unwrap()];
    let mut child = folder.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut is_over = false;
    while !is_over && !backup.join("alknet.db.new").exists() {
        is_over = child.try_wait().unwrap().is_some();
        thread::yield_now();
    }
    if !is_over {
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        is_over = !backup.join("alknet.db.new").exists();
    }
    if is_over {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    }
    Some(child)
}

#[test]
fn a_backup_that_is_cut_short_leaves_the_one_before() {
    // BLOB-60
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "proj"]);
    let first = content(1, 100_000);
    put(&folder, "a", &first);
    let backup = folder.home().join("copy");
    let place = backup.to_str().unwrap();
    folder.run(&["backup", place]);
    // More than is fetched at once.
    let more = folder.home().join("more");
    fs::create_dir(&more).unwrap();
    for at in 0..60 {
        fs::write(more.join(at.to_string()), content(at, 40_000)).unwrap();
    }
    folder.run(&["fs", "put", "-r", "./more", "proj/more"]);
    folder.run(&["fs", "rm", "proj/a"]);
    let before = fs::read(backup.join("alknet.db")).unwrap();
    let mut child = begun(&folder, &backup).expect("sixty files take longer than to see that the first is there");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fs::read(backup.join("alknet.db")).unwrap() == before);
    let mnemonic = folder.run(&["identity", "backup"]);
    let new = restored(&mnemonic, place);
    let done = folder.json(&["backup", place]);
    assert_eq!(done["files"], 61, "{done}");
    folder.run(&["stop"]);
    node.gone();
    let again = new.serve();
    assert_eq!(got(&new, "proj/a"), first);
    assert!(!new.output(&["fs", "cat", "proj/more/1"]).status.success());
    new.run(&["stop"]);
    again.gone();
}

#[test]
fn what_went_while_a_backup_was_made_is_asked_of_a_newer_copy() {
    // BLOB-60
    let folder = Folder::with_identity();
    folder.configure("[fs]\ngc_grace = \"1s\"\n");
    let node = folder.serve();
    for bucket in ["proj", "other"] {
        folder.run(&["fs", "bucket", "create", bucket]);
    }
    let more = folder.home().join("more");
    fs::create_dir(&more).unwrap();
    for at in 0..60 {
        fs::write(more.join(at.to_string()), content(at, 40_000)).unwrap();
    }
    folder.run(&["fs", "put", "-r", "./more", "proj/more"]);
    let last = content(200, 40_000);
    fs::write(folder.home().join("last"), &last).unwrap();
    folder.run(&["fs", "put", "./last", "other/last"]);
    let backup = folder.home().join("copy");
    let child = begun(&folder, &backup).expect("sixty files take longer than to see that the database is there");
    folder.run(&["fs", "bucket", "remove", "--force", "other"]);
    let on_node = file_of(&folder.data(), &last);
    wait_until("the node has removed the content", || {
        folder.run(&["fs", "gc"]);
        !on_node.exists()
    });
    // Nothing is between its steps any more.
    folder.run(&["fs", "gc"]);
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&done["files"], &done["damaged"]), (&60.into(), &serde_json::json!([])), "{done}");
    folder.run(&["stop"]);
    node.gone();
}
