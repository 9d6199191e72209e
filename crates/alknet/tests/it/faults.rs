//! Things that are not as they should be: each is named, with a way out, and nothing is touched.

use std::{fs, net::TcpListener};

use crate::folder::{Folder, errors};

#[test]
fn a_taken_port_is_named() {
    let folder = Folder::with_identity();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = folder.refused(&["serve", "--listen", &addr], 1);
    assert!(refused.contains(&addr) && refused.contains("in use"), "{refused}");
    let detached = folder.refused(&["up", "--detach", "--listen", &addr], 1);
    assert!(detached.contains(&addr) && detached.contains("its log is"), "{detached}");
}

#[test]
fn a_data_folder_that_is_a_file_is_refused() {
    let folder = Folder::empty();
    fs::write(folder.data(), "").unwrap();
    for words in [["up"], ["init"]] {
        let refused = folder.refused(&words, 1);
        assert!(refused.contains("cannot use the data folder"), "{refused}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = Folder::with_identity();
    for words in [&["completions", "bash"][..], &["config", "show"], &["config", "show", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = folder.command(words).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), errors(&output)), (Some(0), String::new()), "{words:?}");
    }
}

#[test]
fn an_identity_is_never_overwritten() {
    let folder = Folder::with_identity();
    let keystore = fs::read(folder.data().join("keystore.json")).unwrap();
    assert!(folder.refused(&["init"], 1).contains("never overwritten"));
    assert_eq!(fs::read(folder.data().join("keystore.json")).unwrap(), keystore);
}

#[test]
fn a_wrong_passphrase_is_denied() {
    let folder = Folder::empty();
    let file = folder.home().join("passphrase");
    let given = ["--passphrase-file", file.to_str().unwrap()];
    fs::write(&file, "right\n").unwrap();
    folder.run(&[&["init"], &given[..]].concat());
    fs::write(&file, "wrong\n").unwrap();
    folder.refused(&[&["serve"], &given[..]].concat(), 3);
    assert!(folder.refused(&["serve"], 3).contains("--passphrase-file"), "nobody is there to ask");
    folder.run(&["peer", "list"]);
}

#[test]
fn a_keystore_that_was_tampered_with_is_refused() {
    let folder = Folder::with_identity();
    let path = folder.data().join("keystore.json");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [&good[..good.len() / 2], "", "{}", "[[[[", &good.replace("\"epoch\": 0", "\"epoch\": 1")] {
        assert_ne!(bad, good);
        fs::write(&path, bad).unwrap();
        let refused = folder.output(&["serve"]);
        assert!(matches!(refused.status.code(), Some(1 | 3)), "{bad}: {}", errors(&refused));
        assert!(errors(&refused).contains("keystore.json"));
    }
    fs::write(&path, good).unwrap();
    drop(folder.serve());
}

#[test]
fn a_missing_or_foreign_key_file_is_refused() {
    let (folder, other) = (Folder::with_identity(), Folder::with_identity());
    let path = folder.data().join("keystore.key");
    fs::copy(other.data().join("keystore.key"), &path).unwrap();
    folder.refused(&["serve"], 3);
    fs::remove_file(&path).unwrap();
    assert!(folder.refused(&["serve"], 1).contains("keystore.key is missing"));
}

#[test]
fn a_foreign_database_is_refused_and_left_alone() {
    let folder = Folder::with_identity();
    let path = folder.data().join("alknet.db");
    fs::write(&path, "these are not the tables you are looking for".repeat(100)).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = folder.refused(&["peer", "list"], 1);
    assert!(refused.contains("alknet.db"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_restored_mnemonic_is_the_same_node() {
    let (folder, new) = (Folder::with_identity(), Folder::empty());
    let mnemonic = folder.run(&["identity", "backup"]);
    let restored = new.output_of(&["identity", "restore"], &mnemonic);
    assert!(restored.status.success(), "{}", errors(&restored));
    assert_eq!(folder.json(&["identity", "show"]), new.json(&["identity", "show"]));
    let refused = folder.output_of(&["identity", "restore"], &mnemonic);
    assert_eq!(refused.status.code(), Some(1), "never over another identity");
}
