//! What somebody met who tried the files for the first time.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    folder::{Folder, errors, wait_until},
    running::RunningNode,
};

/// A node with the bucket `b`.
fn node() -> (Folder, RunningNode) {
    let folder = Folder::with_identity();
    let node = folder.serve();
    folder.run(&["fs", "bucket", "create", "b"]);
    (folder, node)
}

fn write(folder: &Folder, path: &str, content: impl AsRef<[u8]>) {
    let path = folder.home().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn put(folder: &Folder, address: &str, content: &str) {
    assert!(folder.output_of(&["fs", "put", "-", address], content).status.success(), "{address}");
}

/// Standard output as lines.
fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

/// The objects of a command that prints one a line.
fn rows(folder: &Folder, words: &[&str]) -> Vec<Value> {
    let output = folder.output(&[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", errors(&output));
    lines(&output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The program where modes count for it as for anybody: root reads what it likes.
fn as_anybody(folder: &Folder, words: &[&str]) -> Output {
    if !rustix::process::geteuid().is_root() {
        return folder.output(words);
    }
    let alone = folder.command(words);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]);
    command.arg(alone.get_program()).args(alone.get_args()).env_clear().current_dir(folder.home());
    command.envs(alone.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.output().unwrap()
}

fn lock(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
}

#[test]
fn what_cannot_be_read_does_not_keep_the_rest_from_coming() {
    // ARCH-54
    let (folder, _node) = node();
    for name in ["a", "b/c", "locked/x", "secret", "z"] {
        write(&folder, &format!("tree/{name}"), name);
    }
    let tree = folder.home().join("tree");
    fs::hard_link(tree.join("secret"), tree.join("secret2")).unwrap();
    lock(&tree.join("secret"));
    lock(&tree.join("locked"));
    for words in [["fs", "put", "-r"].as_slice(), &["fs", "import"]] {
        let output = as_anybody(&folder, &[words, &["./tree", "b/t", "--json"]].concat());
        let (said, what) = (errors(&output), words[1]);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(
            said.contains("tree/secret: Permission denied") && said.contains("tree/locked: Perm"),
            "{what}: {said}"
        );
        assert!(said.contains("error: 3 could not be read"), "{what}: {said}");
        let end: Value = serde_json::from_str(lines(&output).last().unwrap()).unwrap();
        assert_eq!((&end["left_out"]["failed"], &end["left_out"]["count"]), (&3.into(), &3.into()), "{what}: {end}");
        assert_eq!(folder.run(&["fs", "find", "b/t"]), "b/t/a\nb/t/b\nb/t/b/c\nb/t/z\n", "{what}");
        folder.run(&["fs", "rm", "-r", "b/t"]);
    }
    let alone = as_anybody(&folder, &["fs", "put", "./tree/secret", "b/secret"]);
    assert!(errors(&alone).starts_with("error: ./tree/secret: Permission denied"), "{}", errors(&alone));
    fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_is_there_is_not_stored_again() {
    // ARCH-55
    let (folder, _node) = node();
    for name in ["a", "d/b", "d/e/c"] {
        write(&folder, &format!("tree/{name}"), name);
    }
    let committed = |words: &[&str]| !rows(&folder, words).last().unwrap()["committed"].is_null();
    for words in [["fs", "put", "./tree/a", "b/one"].as_slice(), &["fs", "import", "./tree", "b/t"]] {
        assert!(committed(words) && !committed(words), "{words:?}");
    }
    let import = ["fs", "import", "./tree", "b/t"];
    let times = || rows(&folder, &["fs", "find", "b/t", "--type", "d"]);
    let before = times();
    fs::remove_file(folder.home().join("tree/d/e/c")).unwrap();
    write(&folder, "tree/d/e/new", "new");
    assert!(committed(&import) && !committed(&import));
    let after = times();
    let time = |rows: &[Value], at: usize| rows[at]["attributes"]["mtime"].clone();
    assert_eq!((before.len(), time(&before, 0)), (2, time(&after, 0)), "what only lies above it has its time");
    assert_ne!(time(&before, 1), time(&after, 1));
    fs::set_permissions(folder.home().join("tree/d"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(committed(&import) && !committed(&import), "another mode");
}

#[test]
fn what_is_left_as_it_is_there_is_not_called_unchanged() {
    let (folder, _node) = node();
    put(&folder, "b/x", "there");
    write(&folder, "x", "here");
    write(&folder, "tree/x", "there");
    write(&folder, "tree/y", "new");
    let outcomes = |words: &[&str]| -> Vec<String> {
        let rows = rows(&folder, words);
        assert_eq!(rows.last().unwrap()["kept"], rows.iter().filter(|row| row["outcome"] == "kept").count());
        rows.iter().filter_map(|row| Some(row["outcome"].as_str()?.to_owned())).collect()
    };
    assert_eq!(outcomes(&["fs", "put", "-n", "./x", "b/x"]), ["kept"]);
    assert_eq!(outcomes(&["fs", "put", "-rn", "./tree", "b/"]), ["sent", "sent"]);
    assert_eq!(outcomes(&["fs", "put", "-rn", "./tree", "b/tree"]), ["unchanged", "unchanged"]);
    write(&folder, "tree/y", "other");
    assert_eq!(outcomes(&["fs", "put", "-rn", "./tree", "b/tree"]), ["unchanged", "kept"]);
    assert!(folder.run(&["fs", "put", "-n", "./x", "b/x"]).contains("0 B moved, 1 left as it is"));
    assert_eq!(folder.run(&["fs", "cat", "b/x"]), "there");
}

#[test]
fn an_argument_that_fails_does_not_keep_the_others_from_their_turn() {
    let (folder, _node) = node();
    for name in ["x", "y"] {
        put(&folder, &format!("b/{name}"), name);
        write(&folder, name, name);
    }
    let output = folder.output(&["fs", "cat", "b/none", "b/x", "b/y"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), b"xy".as_slice()));
    assert!(errors(&output).starts_with("error: ") && errors(&output).contains("/none"), "{}", errors(&output));
    folder.refused(&["fs", "rm", "b/none", "b/x"], 4);
    let said = folder.refused(&["fs", "put", "./none", "./y", "b/in/"], 4);
    assert!(said.contains("./none"), "{said}");
    let said = folder.refused(&["fs", "get", "b/x", "b/in/y", "./got/"], 4);
    assert!(said.contains("/x"), "{said}");
    assert_eq!(fs::read(folder.home().join("got/y")).unwrap(), b"y");
    assert_eq!(folder.run(&["fs", "find", "b"]), "b/in\nb/in/y\nb/y\n");
}

#[test]
fn addresses_are_printed_as_they_are_taken() {
    let (folder, _node) = node();
    let name = "b/p/cafe\u{301} \\n";
    put(&folder, name, "coffee");
    let found = folder.run(&["fs", "find", "b/p"]);
    assert_eq!(found.strip_suffix('\n'), Some(name));
    assert_eq!(folder.run(&["fs", "cat", found.trim_end_matches('\n')]), "coffee");
    assert_eq!(folder.run(&["fs", "find", "-0", "b/p"]), format!("{name}\0"));
    assert_eq!(rows(&folder, &["fs", "find", "b/p"])[0]["address"], name);
    assert_eq!(folder.json(&["fs", "stat", name])["address"], name);
    assert_eq!(rows(&folder, &["fs", "stat", name, "b/p"])[1]["address"], "b/p");
    write(&folder, "sent", "x");
    for words in [["fs", "put", "./sent", "b/there"], ["fs", "get", "b/there", "./got"]] {
        assert_eq!(rows(&folder, &words)[0]["address"], "b/there", "{words:?}");
    }
}

#[test]
fn a_wrong_word_is_answered_with_the_right_one() {
    let (folder, _node) = node();
    put(&folder, "b/d/x", "1");
    put(&folder, "b/d/x", "2");
    let wrong: &[(&[&str], i32, &str)] = &[
        (&["cat", "b@1/d/x"], 4, "error: b@1/d/x: cannot open /d/x: no such entry"),
        (&["stat", "b@2/d/z"], 4, "error: b@2/d/z: cannot look at /d/z: no such entry"),
        (&["merge", "b:main@2", "b:other"], 2, "branches are merged as they are now"),
        (&["watch", "b@2"], 2, "--after"),
        (&["ln", "b/d", "b/e"], 2, "b/d is a folder, and only files have several names"),
        (&["diff", "./d", "b"], 2, "here an address is meant"),
        (&["set", "b/d/x"], 2, "--xattr"),
        (&["hook", "add", "b", "h"], 2, "--queue"),
        (&["bucket", "set", "b"], 2, "--retention"),
        (&["bucket", "set", "b", "--retention", "1y"], 2, "52w"),
        (&["export", "b", "./x.tar.zst"], 2, "zstd > ./x.tar.zst"),
        (&["export", "b", "./x.tar.xz"], 2, "xz > ./x.tar.xz"),
        (&["export", "b", "./x.7z"], 2, "--as dir"),
    ];
    for (words, code, text) in wrong {
        let said = folder.refused(&[["fs"].as_slice(), *words].concat(), *code);
        assert!(said.contains(text), "{words:?}: {said}");
    }
    // ARCH-02
    assert!(!folder.home().join("x.7z").exists() && !folder.home().join("x.tar.zst").exists());
    write(&folder, "x.tar.xz", b"\xfd7zXZ\0...");
    for words in
        [["fs", "import", "./x.tar.xz", "b/in"].as_slice(), &["fs", "import", "--as", "tar", "./x.tar.xz", "b"]]
    {
        let said = folder.refused(words, 2);
        assert!(said.contains("xz -dc ./x.tar.xz | alknet fs import - b"), "{said}");
    }
    folder.run(&["fs", "export", "--as", "dir", "b", "./x.7z"]);
    let seqs = |rows: Vec<Value>| rows.into_iter().map(|row| row["seq"].clone()).collect::<Vec<_>>();
    assert_eq!(seqs(rows(&folder, &["fs", "log", "b@2"])), [2, 1]);
    assert_eq!(seqs(rows(&folder, &["fs", "log", "b@2/d/x"])), [2]);
}

#[test]
fn what_was_switched_to_is_meant_by_branches_too() {
    let (folder, _node) = node();
    put(&folder, "b/x", "main");
    folder.run(&["fs", "branch", "create", "b:trial"]);
    folder.run(&["fs", "switch", "b", "trial"]);
    put(&folder, "b/x", "trial");
    folder.run(&["fs", "branch", "create", "b:more"]);
    assert_eq!(folder.run(&["fs", "cat", "b:more/x"]), "trial");
    put(&folder, "b:main/x", "ours");
    let merged = folder.output(&["fs", "merge", "b:trial", "b:main"]);
    assert_eq!(merged.status.code(), Some(1), "there is something to settle");
    let conflict = folder.run(&["fs", "conflicts", "b:main"]);
    let theirs = conflict.split_whitespace().last().unwrap();
    assert_eq!(folder.run(&["fs", "cat", theirs]), "trial", "{conflict}");
    let removed = folder.output(&["fs", "branch", "remove", "b:trial"]);
    assert!(removed.status.success() && errors(&removed).contains("alknet fs switch b main"), "{}", errors(&removed));
}

#[test]
fn a_hook_on_a_folder_that_is_still_to_come_is_told_of_it_alone() {
    let (folder, _node) = node();
    put(&folder, "b/file", "x");
    folder.run(&["fs", "hook", "add", "b/new", "one", "--queue", "q"]);
    folder.run(&["fs", "hook", "add", "b/file", "two", "--queue", "q"]);
    let hooks = folder.json(&["fs", "hook", "list", "b"]);
    let prefixes: Vec<_> = hooks.as_array().unwrap().iter().map(|hook| hook["prefix"].as_str().unwrap()).collect();
    assert_eq!(prefixes, ["/new/", "/file"]);
}

#[test]
fn snapshots_complete_behind_the_sign_for_them() {
    let (folder, _node) = node();
    folder.run(&["fs", "snapshot", "create", "b", "v1"]);
    folder.run(&["fs", "snapshot", "create", "b", "w1"]);
    // On a busy machine an answer may come too late for a shell.
    wait_until("snapshots complete", || folder.run(&["fs", "complete", "b@v"]) == "b@v1/\n");
    let completed = |word: &str, breaks: &str| {
        let script = format!(
            "source <(\"$1\" completions bash); compopt() {{ :; }}; alknet() {{ echo b@v1/index.html; }}; COMP_WORDBREAKS='{breaks}'; \
             COMP_LINE='alknet fs cat {word}' COMP_WORDS=(alknet fs cat {word}) COMP_CWORD=3; COMP_POINT=${{#COMP_LINE}}; \
             _alknet_or_addresses; echo \"${{COMPREPLY[*]}}\""
        );
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_alknet")]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    // Readline keeps the @ in what is completed.
    assert_eq!(completed("b@v1/in", "@:="), "@v1/index.html\n");
    assert_eq!(completed("b@v1/in", ":"), "b@v1/index.html\n");
}

#[test]
fn no_second_identity_is_made_beside_the_data_of_a_node() {
    let (folder, node) = node();
    let backup = folder.home().join("copy");
    folder.run(&["backup", backup.to_str().unwrap()]);
    let mnemonic = folder.run(&["identity", "backup"]);
    folder.run(&["stop"]);
    node.gone();
    let new = Folder::empty();
    new.run(&["restore", backup.to_str().unwrap()]);
    for words in
        [["up", "--listen", "127.0.0.1:0"].as_slice(), &["up", "--detach", "--listen", "127.0.0.1:0"], &["init"]]
    {
        let said = new.refused(words, 1);
        assert!(said.contains("alknet identity restore --data"), "{words:?}: {said}");
        assert!(!new.data().join("keystore.json").exists());
    }
    assert!(new.output_of(&["identity", "restore"], &mnemonic).status.success());
    let _serves = new.serve();
}
