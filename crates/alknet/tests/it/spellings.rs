//! Folders and archives with names that a bucket takes for one.

use std::{fs, path::Path, process::Command};

use crate::folder::Folder;

/// A folder with twins of files and of folders.
fn make_twins(root: &Path) {
    for folder in ["sub", "SUB", "e/a"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (file, content) in [
        ("readme", "small"),
        ("README", "LARGE"),
        ("b", "b"),
        ("C", "C"),
        ("sub/x", "x"),
        ("SUB/y", "y"),
        ("e/A", "a file beside the folder a"),
    ] {
        fs::write(root.join(file), content).unwrap();
    }
}

fn left_out(done: &serde_json::Value) -> Vec<String> {
    let shown = done["left_out"]["shown"].as_array().unwrap();
    assert_eq!(done["left_out"]["count"], shown.len());
    shown.iter().map(|one| one["path"].as_str().unwrap().rsplit_once('/').map_or("", |at| at.1).to_owned()).collect()
}

/// What a command says last of what it did.
fn last(folder: &Folder, words: &[&str]) -> serde_json::Value {
    let said = folder.run(&[words, &["--json"]].concat());
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

#[test]
fn what_a_bucket_takes_for_one_is_named_and_nothing_is_lost_in_silence() {
    // ARCH-17
    let folder = Folder::with_identity();
    let node = folder.serve();
    let root = folder.home().join("twins");
    make_twins(&root);
    folder.run(&["fs", "bucket", "create", "office", "--names", "fold"]);

    let put = last(&folder, &["fs", "put", "-r", "./twins", "office"]);
    assert_eq!(left_out(&put), ["a", "readme"], "{put}");
    let found = folder.run(&["fs", "find", "office"]);
    assert_eq!(found.lines().count(), 8, "{found}");
    assert_eq!(folder.run(&["fs", "cat", "office/readme"]), "LARGE");
    let again = last(&folder, &["fs", "put", "-r", "./twins", "office"]);
    assert_eq!((&again["moved_bytes"], &again["committed"]), (&0.into(), &serde_json::Value::Null), "{again}");
    // What is there stays, in whatever letters: none of it is an error.
    fs::write(root.join("B"), "other").unwrap();
    fs::remove_file(root.join("b")).unwrap();
    last(&folder, &["fs", "put", "-r", "-n", "./twins", "office"]);
    assert_eq!(folder.run(&["fs", "cat", "office/b"]), "b");

    let tar = Command::new("tar").args(["-cf", "../twins.tar", "--sort=name", "."]).current_dir(&root).status();
    assert!(tar.unwrap().success());
    let imported = last(&folder, &["fs", "import", "./twins.tar", "office/tar"]);
    assert_eq!(imported["left_out"]["count"], 2, "{imported}");
    let found = folder.run(&["fs", "find", "office/tar"]);
    assert_eq!(found.lines().count(), 8, "{found}");
    folder.run(&["stop"]);
    node.gone();
}
