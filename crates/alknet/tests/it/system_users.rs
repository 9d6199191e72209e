//! Sessions as other users of the machine, as far as the configuration decides. Only root can map any; without it these tests skip.

use alknet_testkit::skipping;

use crate::folder::{Folder, ssh_key};

/// A user that is not the node's own.
const USER: &str = "nobody";

fn is_root() -> bool {
    skipping::is_root("run processes as other users")
}

const DEV: &str = "[roles.dev]\nscopes = [\"ssh:exec\", \"node:read\"]\n";

fn mapping(entries: &str) -> String {
    format!("[ssh]\nusers = {{ {entries} }}\n{DEV}")
}

fn key_of(folder: &Folder, name: &str) -> String {
    ssh_key(&folder.home(), name).with_extension("pub").to_str().unwrap().to_owned()
}

/// SES-03: such a role is there for mapped peers only; `peer add` and `peer import` refuse the others by name.
#[test]
fn only_mapped_peers_are_given_a_role_that_starts_processes() {
    if !is_root() {
        return;
    }
    let folder = Folder::with_identity();
    folder.configure(&mapping(&format!("alice = \"{USER}\"")));
    for running in [false, true] {
        let node = running.then(|| folder.serve());
        let (bob, refused) = (key_of(&folder, &format!("bob{running}")), "ssh.users");
        let words = folder.refused(&["peer", "add", "bob", "--key", &bob, "--role", "dev"], 2);
        assert!(words.contains(refused) && words.contains("`bob`"), "{words}");
        assert!(folder.refused(&["peer", "import", "--role", "dev", &bob], 2).contains(refused));
        drop(node);
    }
    folder.run(&["peer", "add", "alice", "--key", &key_of(&folder, "alice"), "--role", "dev"]);
}

/// SES-03: taking the mapping away under such a peer is refused wherever the configuration is read.
#[test]
fn a_mapping_that_is_needed_cannot_go() {
    if !is_root() {
        return;
    }
    let folder = Folder::with_identity();
    folder.configure(&mapping(&format!("alice = \"{USER}\"")));
    folder.run(&["peer", "add", "alice", "--key", &key_of(&folder, "alice"), "--role", "dev"]);
    let without = mapping(&format!("carol = \"{USER}\""));
    let node = folder.serve();
    folder.configure(&without);
    for words in [&["config", "check"][..], &["config", "reload"]] {
        assert!(folder.refused(words, 2).contains("`alice`"));
    }
    drop(node);
    for words in [&["config", "check"][..], &["serve"]] {
        assert!(folder.refused(words, 2).contains("`alice`"), "{words:?}");
    }
    folder.run(&["peer", "remove", "alice"]);
    assert!(folder.run(&["config", "check"]).contains("good"));
}

/// SES-06: each mapping that could not hold is refused with its place and by the peer's name.
#[test]
fn mappings_are_checked() {
    if !is_root() {
        return;
    }
    let folder = Folder::with_identity();
    let file = folder.data().join("alknet.toml");
    for (entries, words) in [
        ("alice = \"no-such-user-here\"", "`alice`: there is no user `no-such-user-here`"),
        ("alice = \"root\"", "the node itself runs as"),
        ("alice = \"\"", "there is no user"),
        ("\"a b\" = \"nobody\"", "a peer name has"),
        ("alice = 7", "invalid type"),
    ] {
        folder.configure(&mapping(entries));
        let refused = folder.refused(&["config", "check"], 2);
        assert!(refused.contains(&format!("{}:2: ", file.display())) && refused.contains(words), "{refused}");
    }
    folder.configure(&mapping(""));
    assert!(folder.refused(&["config", "check"], 2).contains("ssh.users maps every holder"));
}
