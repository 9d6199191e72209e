//! Trees go into each format and come back as they were; what is hostile does no harm.

use std::{
    fs::{self, File},
    io::Cursor,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use alknet_fs::{FsPath, Names};
use proptest::prelude::*;

use super::{folder_write::Keep, *};
use crate::files::entry::{What, Xattrs};

mod hostile;

/// A tree in memory: entries with their contents.
type Tree = Vec<(Entry, Vec<u8>)>;

/// A folder of the disk as an archive.
struct FolderSource {
    root: PathBuf,
}

impl FolderSource {
    fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Source for FolderSource {
    fn each(&mut self, left_out: &mut LeftOut, take: Take<'_>) -> Result<(), ArchiveError> {
        let mut walk = Walk::new(&self.root, Names::Bytes);
        while let Some(Walked { entry, place: path, .. }) = walk.next(left_out)? {
            match entry.what {
                What::File { .. } | What::HardLink { .. } => take(entry, &mut File::open(&path).unwrap())?,
                _ => take(entry, &mut io::empty())?,
            }
        }
        Ok(())
    }
}

fn path(text: &[u8]) -> FsPath {
    FsPath::parse(text).unwrap()
}

fn read(source: &mut dyn Source) -> (Tree, LeftOut) {
    let (mut tree, mut left_out) = (Tree::new(), LeftOut::default());
    source
        .each(&mut left_out, &mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(ArchiveError::content(&entry.path))?;
            tree.push((entry, bytes));
            Ok(())
        })
        .unwrap();
    (tree, left_out)
}

fn write(mut sink: Box<dyn Sink>, tree: &Tree) -> LeftOut {
    for (entry, content) in tree {
        let first = match &entry.what {
            What::HardLink { to, .. } if sink.wants_content_of_links() => {
                &tree.iter().find(|(other, _)| other.path == *to).unwrap().1
            }
            _ => content,
        };
        sink.put(entry, &mut first.as_slice()).unwrap();
    }
    sink.finish().unwrap()
}

/// What counts: neither the order nor the size that a hard link says.
fn sorted(mut tree: Tree) -> Tree {
    for (entry, content) in &mut tree {
        if let What::HardLink { size, .. } = &mut entry.what {
            *size = 0;
            content.clear();
        }
    }
    tree.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    tree
}

fn entry(at: &[u8], what: What) -> Entry {
    Entry { path: path(at), what, mode: 0o644, mtime_ns: 1_700_000_000_123_456_789, xattrs: Xattrs::new() }
}

/// A tree with everything that is rare.
fn rare() -> Tree {
    let long = [b"long/".as_slice(), &[b'n'; 255]].concat();
    let xattrs = Xattrs::from([
        (b"user.line\nfeed".to_vec(), b"a\n\0\xff".to_vec()),
        (b"user.a=b".to_vec(), b"=".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
    ]);
    let folder = |at: &[u8]| (Entry { mode: 0o750, ..entry(at, What::Folder) }, Vec::new());
    let file = |at: &[u8], content: &[u8]| (entry(at, What::File { size: content.len() as u64 }), content.to_vec());
    let link = |at: &[u8], target: &[u8]| {
        (Entry { mode: 0o777, ..entry(at, What::Symlink { target: target.to_vec() }) }, Vec::new())
    };
    let mut tree = vec![
        folder(b"/"),
        folder(b"empty"),
        folder(b"empty/within"),
        folder(b"long"),
        file(&long, b"deep"),
        file(b"line\nfeed \"quoted\" \\ tab\t", b"x"),
        file("ünï".as_bytes(), b""),
        file(b"\xff\xfe", b"not UTF-8"),
        file(b"big", &vec![b'z'; 200_000]),
        link(b"dangling", b"../../outside/\xff"),
        (entry(b"second", What::HardLink { to: path(b"big"), size: 200_000 }), Vec::new()),
    ];
    tree[5].0.xattrs = xattrs;
    tree[6].0.mtime_ns = -1;
    tree[7].0 = Entry { mode: 0o4711, mtime_ns: 8_000_000_000_000_000_001, ..tree[7].0.clone() };
    let (mode, mtime_ns) = (tree[8].0.mode, tree[8].0.mtime_ns);
    let last = tree.len() - 1;
    (tree[last].0.mode, tree[last].0.mtime_ns) = (mode, mtime_ns);
    tree
}

/// Somewhere to write to that the test can look into afterwards.
fn through_file(
    name: &str,
    make: impl Fn(File) -> Box<dyn Sink>,
    open: impl Fn(&Path) -> Box<dyn Source>,
    tree: &Tree,
) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join(name);
    assert_eq!(write(make(File::create(&at).unwrap()), tree), LeftOut::default());
    let (back, left_out) = read(&mut *open(&at));
    assert_eq!(left_out, LeftOut::default());
    back
}

fn through_tar(tree: &Tree, compressed: bool) -> Tree {
    through_file(
        "a.tar",
        |file| Box::new(TarSink::new(file, compressed)),
        |at| Box::new(TarSource::new(File::open(at).unwrap()).unwrap()),
        tree,
    )
}

fn through_zip(tree: &Tree) -> Tree {
    through_file("a.zip", |file| Box::new(ZipSink::new(file)), |at| Box::new(ZipSource::open(at).unwrap()), tree)
}

fn through_git(tree: &Tree) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("a.git");
    let sink = Box::new(GitSink::open(&at, "main", "all of it", true).unwrap());
    assert_eq!(write(sink, tree), LeftOut::default());
    let checked = Command::new("git").arg("-C").arg(&at).args(["fsck", "--strict"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let (back, left_out) = read(&mut GitSource::open(&at, None, true).unwrap());
    assert_eq!(left_out, LeftOut::default());
    back
}

#[test]
fn everything_rare_comes_back_through_each_archive() {
    // ARCH-01, ARCH-20, ARCH-21, ARCH-30, ARCH-42
    let tree = sorted(rare());
    assert_eq!(sorted(through_tar(&rare(), false)), tree);
    assert_eq!(sorted(through_tar(&rare(), true)), tree);
    assert_eq!(sorted(through_zip(&rare())), tree);
    assert_eq!(sorted(through_git(&rare())), tree);
}

#[test]
fn of_names_that_a_bucket_takes_for_one_the_first_comes_and_folders_come_as_one() {
    // ARCH-17
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for at in ["sub", "SUB", "Sub2", "both"] {
        fs::create_dir(root.join(at)).unwrap();
    }
    for at in ["readme", "README", "b", "A", "sub/x", "sub/Y", "SUB/X", "SUB/z", "BOTH", "é", "e\u{301}"] {
        fs::write(root.join(at), at).unwrap();
    }
    let walked = |names| {
        let (mut walk, mut left_out, mut found) = (Walk::new(root, names), LeftOut::default(), Vec::new());
        while let Some(Walked { entry, .. }) = walk.next(&mut left_out).unwrap() {
            found.push(entry.path);
        }
        let keys: Vec<_> = found.iter().map(|path| names.path_key(path)).collect();
        assert!(keys.is_sorted_by(|one, other| one < other), "as the bucket lists them, each once");
        let text = |path: &FsPath| String::from_utf8(path.to_bytes()).unwrap();
        let left_out = left_out.shown.iter().map(|(at, _)| at.rsplit_once('/').unwrap().1.to_owned());
        (found.iter().map(text).collect::<Vec<_>>(), left_out.collect::<Vec<_>>())
    };
    let (found, left_out) = walked(Names::Fold);
    let wanted = ["/", "/A", "/b", "/BOTH", "/README", "/SUB", "/SUB/X", "/SUB/Y", "/SUB/z", "/Sub2", "/e\u{301}"];
    assert_eq!(found, wanted);
    assert_eq!(left_out, ["both", "readme", "x", "é"]);
    let (found, left_out) = walked(Names::Nfc);
    assert_eq!((found.len(), left_out), (15, vec!["é".to_owned()]));
    let (found, left_out) = walked(Names::Bytes);
    assert_eq!((found.len(), left_out), (16, Vec::new()));
}

#[test]
fn everything_rare_comes_back_through_a_folder() {
    // ARCH-01, ARCH-50
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("out");
    let mut tree = rare();
    // ext4 keeps times from 1901 to 2446.
    tree[7].0.mtime_ns = 4_000_000_000_000_000_001;
    let left_out = write(Box::new(FolderSink::new(&root, Keep::Everything).unwrap()), &tree);
    let can_keep_xattrs = left_out == LeftOut::default();
    if !can_keep_xattrs {
        eprintln!("SKIPPED extended attributes: {left_out:?}");
        tree[5].0.xattrs.clear();
    }
    let (back, left_out) = read(&mut FolderSource::new(&root));
    assert_eq!(left_out, LeftOut::default());
    assert_eq!(sorted(back), sorted(tree));
    assert_eq!(fs::metadata(root.join("big")).unwrap().ino(), fs::metadata(root.join("second")).unwrap().ino());
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'\n'), Just(b'"'), Just(0xff), 1..=255_u8], 1..9)
        .prop_map(|mut name| {
            name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
            name
        })
        .prop_filter("dots and what Git keeps for itself", |name| {
            let lower = name.to_ascii_lowercase();
            name != b"." && name != b".." && lower != b".git" && lower != b"git~1"
        })
}

fn trees() -> impl Strategy<Value = Tree> {
    let kind = prop_oneof![
        Just((What::Folder, Vec::new())),
        proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|content| (What::File { size: content.len() as u64 }, content)),
        proptest::collection::vec(1..=255_u8, 1..200).prop_map(|target| (What::Symlink { target }, Vec::new())),
    ];
    let xattrs = proptest::collection::btree_map(names(), proptest::collection::vec(any::<u8>(), 0..40), 0..3);
    let one = (proptest::collection::vec(names(), 1..4), kind, 0..=0o7777_u16, any::<i64>(), xattrs);
    proptest::collection::vec(one, 0..8).prop_map(|entries| {
        let mut tree = Tree::new();
        for (names, (what, content), mode, mtime_ns, xattrs) in entries {
            let at = |length: usize| path(&names[..length].join(&b'/'));
            let folder = Entry { path: at(1), what: What::Folder, mode, mtime_ns, xattrs: xattrs.clone() };
            let mut fits = true;
            for length in 1..names.len() {
                match tree.iter().find(|(entry, _)| entry.path == at(length)) {
                    Some((entry, _)) => fits &= entry.what == What::Folder,
                    None if fits => tree.push((Entry { path: at(length), ..folder.clone() }, Vec::new())),
                    None => {}
                }
            }
            let path = at(names.len());
            if fits && !tree.iter().any(|(entry, _)| entry.path == path) {
                tree.push((Entry { path, what, mode, mtime_ns, xattrs }, content));
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn trees_come_back_through_tar_and_zip(tree in trees()) {
        // ARCH-01
        prop_assert_eq!(sorted(through_tar(&tree, false)), sorted(tree.clone()));
        prop_assert_eq!(sorted(through_zip(&tree)), sorted(tree));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn trees_come_back_through_git(tree in trees()) {
        // ARCH-42
        let root = (entry(b"/", What::Folder), Vec::new());
        let tree: Tree = std::iter::once(root).chain(tree).collect();
        prop_assert_eq!(sorted(through_git(&tree)), sorted(tree));
    }
}

/// Whether a program is there; a test of a foreign tool says so where it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--help").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn gnu_tar_reads_what_we_write_and_we_read_what_it_writes() {
    // ARCH-22
    if !has("tar") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (archive, out) = (folder.path().join("a.tgz"), folder.path().join("out"));
    let mut tree = rare();
    tree[7].0.mtime_ns = 4_000_000_000_000_000_001;
    tree[5].0.xattrs.clear();
    write(Box::new(TarSink::new(File::create(&archive).unwrap(), true)), &tree);
    fs::create_dir(&out).unwrap();
    run(Command::new("tar").arg("-xpzf").arg(&archive).arg("-C").arg(&out));
    let (unpacked, _) = read(&mut FolderSource::new(&out));
    assert_eq!(sorted(unpacked), sorted(tree.clone()));
    for format in ["gnu", "pax", "ustar"] {
        let archive = folder.path().join(format);
        let tree =
            if format == "ustar" { vec![tree[0].clone(), tree[1].clone(), tree[8].clone()] } else { tree.clone() };
        let from = folder.path().join(format!("from-{format}"));
        write(Box::new(FolderSink::new(&from, Keep::Everything).unwrap()), &tree);
        run(Command::new("tar").arg("--format").arg(format).arg("-cf").arg(&archive).arg("-C").arg(&from).arg("."));
        let (back, left_out) = read(&mut TarSource::new(File::open(&archive).unwrap()).unwrap());
        assert_eq!(left_out, LeftOut::default());
        let whole_seconds = |mut tree: Tree| {
            for (entry, _) in &mut tree {
                // Only PAX holds parts of a second.
                entry.mtime_ns =
                    if format == "pax" { entry.mtime_ns } else { entry.mtime_ns.div_euclid(1_000_000_000) };
            }
            // Which of two names is the file depends on the order on the disk.
            tree.iter_mut().filter(|(entry, _)| entry.path == path(b"big") || entry.path == path(b"second")).for_each(
                |(entry, content)| {
                    entry.what = What::Folder;
                    content.clear();
                },
            );
            sorted(tree)
        };
        assert_eq!(whole_seconds(back), whole_seconds(tree), "{format}");
    }
}

#[test]
fn unzip_reads_what_we_write_and_we_read_what_zip_writes() {
    // ARCH-31
    if !has("unzip") || !has("zip") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (archive, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    let file = |at: &[u8], content: &[u8]| (entry(at, What::File { size: content.len() as u64 }), content.to_vec());
    let tree = vec![
        (Entry { mode: 0o755, ..entry(b"d", What::Folder) }, Vec::new()),
        (Entry { mode: 0o755, ..file(b"d/run", b"#!/bin/sh\n").0 }, b"#!/bin/sh\n".to_vec()),
        file(b"text", &[b'x'; 100_000]),
        (Entry { mode: 0o777, ..entry(b"link", What::Symlink { target: b"d/run".to_vec() }) }, Vec::new()),
    ];
    write(Box::new(ZipSink::new(File::create(&archive).unwrap())), &tree);
    run(Command::new("unzip").arg("-q").arg(&archive).arg("-d").arg(&out));
    let coarse = |tree: Tree| {
        let mut tree = sorted(tree);
        tree.retain(|(entry, _)| entry.path != FsPath::ROOT);
        for (entry, _) in &mut tree {
            // unzip gives links the time of now.
            let is_link = matches!(entry.what, What::Symlink { .. });
            entry.mtime_ns = if is_link { 0 } else { entry.mtime_ns / 1_000_000_000 * 1_000_000_000 };
        }
        tree
    };
    assert_eq!(coarse(read(&mut FolderSource::new(&out)).0), coarse(tree.clone()));
    let foreign = folder.path().join("foreign.zip");
    run(Command::new("zip").current_dir(&out).args(["-q", "-r", "-y"]).arg(&foreign).arg("."));
    assert_eq!(coarse(read(&mut ZipSource::open(&foreign).unwrap()).0), coarse(tree));
}

#[test]
fn a_repository_made_by_git_is_read_and_one_of_ours_has_a_history() {
    // ARCH-40, ARCH-41
    let folder = tempfile::tempdir().unwrap();
    let (work, bare) = (folder.path().join("work"), folder.path().join("bare.git"));
    let git = |words: &[&str], at: &Path| {
        run(Command::new("git").arg("-C").arg(at).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words));
    };
    fs::create_dir(&work).unwrap();
    git(&["init", "-q", "-b", "main"], &work);
    fs::create_dir(work.join("d")).unwrap();
    fs::write(work.join("d/run"), "x").unwrap();
    fs::set_permissions(work.join("d/run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("d/run", work.join("link")).unwrap();
    git(&["add", "-A"], &work);
    git(&["commit", "-q", "-m", "one", "--date=@1700000000 +0000"], &work);
    let (tree, left_out) = read(&mut GitSource::open(&work, Some("main"), false).unwrap());
    assert_eq!(left_out, LeftOut::default());
    let shown: Vec<_> =
        tree.iter().map(|(entry, content)| (entry.path.to_string(), entry.mode, content.as_slice())).collect();
    assert_eq!(
        shown,
        [("/d".into(), 0o755, b"".as_slice()), ("/d/run".into(), 0o755, b"x"), ("/link".into(), 0o777, b"")]
    );
    for message in ["one", "two"] {
        let sink = GitSink::open(&bare, "main", message, false).unwrap();
        let left_out = write(Box::new(sink), &rare());
        let why: Vec<_> = left_out.shown.iter().map(|(_, why)| why.as_ref()).collect();
        assert!(
            why.contains(&"Git keeps no empty folders") && why.contains(&"Git keeps no extended attributes"),
            "{why:?}"
        );
        assert!(why.contains(&"Git knows no hard links: it became a copy"), "{why:?}");
    }
    let log = Command::new("git").arg("-C").arg(&bare).args(["log", "--format=%s"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&log.stdout), "two\none\n");
    let no_such = GitSource::open(&bare, Some("no/such"), false).err().unwrap().to_string();
    assert!(no_such.starts_with("git finds no commit no/such: "), "{no_such}");
    assert!(GitSource::open(&bare, Some("--upload-pack=x"), false).is_err());
}

#[path = "../../../../../fuzz/feeds/archives.rs"]
mod feeds;
#[path = "../../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn whatever_stands_in_an_archive_is_answered() {
    // ARCH-10, ARCH-15, ARCH-43
    replay::replay("archive_tar", feeds::archive_tar);
    replay::replay("archive_zip", feeds::archive_zip);
    replay::replay("fs_sidecar", feeds::fs_sidecar);
}

#[test]
fn an_archive_that_is_not_made_here_is_told_from_a_folder() {
    // ARCH-02
    for (name, is_tar) in [
        ("x.tar.zst", Some(true)),
        ("x.TAR.BZ2", Some(true)),
        ("x.txz", Some(true)),
        ("x.7z", Some(false)),
        ("x.zst", None),
        ("x", None),
        ("tar.xz", None),
        ("x.tar.gz", None),
    ] {
        assert_eq!(foreign(Path::new(name)), is_tar, "{name}");
    }
    assert_eq!(unpacks(b"\xfd7zXZ\0"), Some("xz -dc"));
    assert_eq!(unpacks(b"\x1f\x8b"), None);
}
