//! Trees go into each format and come back as they were; what is hostile does no harm.

use std::{
    fs::{self, File},
    io::Cursor,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use alknet_fs::FsPath;
use proptest::prelude::*;

use super::{folder_write::Keep, *};
use crate::files::entry::{What, Xattrs};

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
        let mut walk = Walk::new(&self.root);
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
        let why: Vec<_> = left_out.shown.iter().map(|(_, why)| *why).collect();
        assert!(
            why.contains(&"Git keeps no empty folders") && why.contains(&"Git keeps no extended attributes"),
            "{why:?}"
        );
        assert!(why.contains(&"Git knows no hard links: it became a copy"), "{why:?}");
    }
    let log = Command::new("git").arg("-C").arg(&bare).args(["log", "--format=%s"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&log.stdout), "two\none\n");
    let no_such = GitSource::open(&bare, Some("no/such"), false).err().unwrap().to_string();
    assert!(no_such.starts_with("git rev-parse: "), "{no_such}");
    assert!(GitSource::open(&bare, Some("--upload-pack=x"), false).is_err());
}

/// A tar header for a hostile entry, whose content follows.
fn hostile(name: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn hostile_entries_are_left_out_and_counted() {
    // ARCH-10, ARCH-11, ARCH-12, ARCH-13
    let archive = [
        hostile(b"../../etc/passwd", b'0', b"", b"x"),
        hostile(b"a/../b", b'0', b"", b"x"),
        hostile(b"/absolute", b'0', b"", b"x"),
        hostile(b"device", b'3', b"", b""),
        hostile(b"pipe", b'6', b"", b""),
        hostile(b"outside", b'2', b"../../../etc/passwd", b""),
        hostile(b"hard", b'1', b"../outside", b""),
        hostile(b"twice", b'0', b"", b"1"),
        hostile(b"./twice", b'0', b"", b"2"),
        END.to_vec(),
    ]
    .concat();
    let (tree, left_out) = read(&mut TarSource::new(Cursor::new(archive)).unwrap());
    let kept: Vec<_> = tree.iter().map(|(entry, _)| entry.path.to_string()).collect();
    assert_eq!(kept, ["/absolute", "/outside", "/twice", "/twice"]);
    assert_eq!(tree[1].0.what, What::Symlink { target: b"../../../etc/passwd".to_vec() }, "a link is only text");
    assert_eq!(left_out.count, 6);
    let reasons: Vec<_> = left_out.shown.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert_eq!(reasons[2], "device: it is a device");
    assert_eq!(reasons[5], "./twice: it comes again: the last one counts");
}

/// An archive of one PAX header with this record, before an entry.
fn with_record(kind: u8, key: &[u8], value: &[u8], entry: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    pax::write(&mut block, key, value);
    [hostile(b"pax", kind, b"", &block), entry.to_vec()].concat()
}

fn damage_of(archive: Vec<u8>) -> String {
    let mut source = TarSource::new(Cursor::new(archive)).unwrap();
    source.each(&mut LeftOut::default(), &mut |_, _| Ok(())).unwrap_err().to_string()
}

#[test]
fn lengths_that_nothing_can_have_are_damage() {
    // ARCH-15
    for kind in [b'0', b'7', b'X'] {
        let entry = hostile(b"e", kind, b"target", b"");
        for size in [u64::MAX, u64::MAX - 511, u64::MAX - 512] {
            let said = damage_of(with_record(b'x', b"size", size.to_string().as_bytes(), &entry));
            assert!(said.ends_with("it ends within an entry"), "{said}");
        }
    }
}

/// What ends a tar.
const END: [u8; 1024] = [0; 1024];

#[test]
fn links_and_folders_have_no_content_whatever_size_they_say() {
    // ARCH-22: star, Solaris and V7 write the size of the file with its link, and GNU tar reads them so.
    let mut archive = hostile(b"file", b'0', b"", &[b'x'; 600]);
    for (name, kind) in
        [(b"hard", b'1'), (b"soft", b'2'), (b"tape", b'3'), (b"fold", b'5'), (b"pipe", b'6'), (b"old/", 0)]
    {
        let mut header = hostile(name, kind, b"file", b"");
        header[124..136].copy_from_slice(b"00000001130\0");
        header[156] = kind;
        header[148..156].fill(b' ');
        let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
    }
    archive.extend(hostile(b"last", b'0', b"", b"last"));
    archive.extend(END);
    let (tree, left_out) = read(&mut TarSource::new(Cursor::new(archive)).unwrap());
    let kept: Vec<_> = tree.iter().map(|(entry, content)| (entry.path.to_string(), content.len())).collect();
    let kept: Vec<_> = kept.iter().map(|(path, length)| (path.as_str(), *length)).collect();
    assert_eq!(kept, [("/file", 600), ("/hard", 0), ("/soft", 0), ("/fold", 0), ("/old", 0), ("/last", 4)]);
    assert_eq!(left_out.count, 2);
}

#[test]
fn attributes_of_the_whole_archive_count_with_each_entry() {
    // ARCH-14
    let attribute = with_record(b'g', b"SCHILY.xattr.user.x", &[b'v'; 60_000], b"");
    let archive = [attribute, hostile(b"e", b'0', b"", b"").repeat(100), END.to_vec()].concat();
    let mut source = TarSource::new(Cursor::new(archive)).unwrap();
    source.budget.anyway = 1 << 20;
    let mut taken = 0;
    let outcome = source.each(&mut LeftOut::default(), &mut |entry, _| {
        taken += entry.xattrs.values().map(Vec::len).sum::<usize>();
        Ok(())
    });
    assert!(outcome.is_ok() && taken == 6_000_000, "200 times as much is allowed");
    let attribute = with_record(b'g', b"SCHILY.xattr.user.x", &[b'v'; 60_000], b"");
    let archive = [attribute, hostile(b"e", b'0', b"", b"").repeat(10_000), END.to_vec()].concat();
    let folded = {
        let mut folding = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::Write::write_all(&mut folding, &archive).unwrap();
        folding.finish().unwrap()
    };
    let mut source = TarSource::new(Cursor::new(folded)).unwrap();
    source.budget.anyway = 1 << 20;
    let outcome = source.each(&mut LeftOut::default(), &mut |_, _| Ok(()));
    assert!(matches!(outcome, Err(ArchiveError::Bomb)), "{outcome:?}");
}

#[test]
fn records_of_the_whole_archive_are_bounded_together() {
    // ARCH-15
    let value = vec![b'v'; 600_000];
    let archive = [b"a", b"b"].map(|key| with_record(b'g', key, &value, b"")).concat();
    assert!(damage_of(archive).ends_with("it says more of an entry than fits into memory"));
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
fn a_bomb_is_refused_after_little() {
    // ARCH-14
    let folder = tempfile::tempdir().unwrap();
    let (tgz, zip) = (folder.path().join("a.tgz"), folder.path().join("a.zip"));
    let size = 16 << 20;
    let tree = vec![(entry(b"bomb", What::File { size }), vec![0; size as usize])];
    write(Box::new(TarSink::new(File::create(&tgz).unwrap(), true)), &tree);
    write(Box::new(ZipSink::new(File::create(&zip).unwrap())), &tree);
    let mut tar = TarSource::new(File::open(&tgz).unwrap()).unwrap();
    tar.budget.anyway = 1 << 20;
    let mut zip = ZipSource::open(&zip).unwrap();
    zip.budget.anyway = 1 << 20;
    for source in [&mut tar as &mut dyn Source, &mut zip] {
        let mut taken = 0;
        let outcome = source.each(&mut LeftOut::default(), &mut |entry, content| {
            let mut chunk = [0; 4096];
            loop {
                match content.read(&mut chunk).map_err(ArchiveError::content(&entry.path))? {
                    0 => return Ok(()),
                    read => taken += read,
                }
            }
        });
        assert!(matches!(outcome, Err(ArchiveError::Bomb)), "{outcome:?}");
        assert!(taken < size as usize / 2, "{taken}");
    }
}

#[test]
fn a_git_bomb_is_refused_after_little() {
    // ARCH-14: trees that name the same tree ten times over, seven deep.
    let folder = tempfile::tempdir().unwrap();
    let git = |words: &[&str], input: &[u8]| {
        let file = folder.path().join("input");
        fs::write(&file, input).unwrap();
        let mut command = Command::new("git");
        command.arg("-C").arg(folder.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
        let output = command.stdin(File::open(&file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"], b"");
    let mut id = git(&["hash-object", "-w", "--stdin"], &vec![0; 1 << 20]);
    for depth in 0..7 {
        let kind = if depth == 0 { "100644 blob" } else { "040000 tree" };
        let lines: String = (0..10).map(|name| format!("{kind} {id}\t{name}\n")).collect();
        id = git(&["mktree"], lines.as_bytes());
    }
    let commit = git(&["commit-tree", &id, "-m", "bomb"], b"");
    let mut source = GitSource::open(folder.path(), Some(&commit), false).unwrap();
    source.budget.anyway = 8 << 20;
    let mut files = 0;
    let outcome = source.each(&mut LeftOut::default(), &mut |entry, content| {
        files += 1;
        io::copy(content, &mut io::sink()).map(drop).map_err(ArchiveError::content(&entry.path))
    });
    assert!(matches!(outcome, Err(ArchiveError::Bomb)), "{outcome:?}");
    assert!(files < 100, "{files}");
}

#[test]
fn cut_archives_are_damaged_not_short() {
    // ARCH-15
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("a.tar");
    write(Box::new(TarSink::new(File::create(&at).unwrap(), false)), &rare());
    let whole = fs::read(&at).unwrap();
    for length in [1, 511, 513, 1500, whole.len() / 2] {
        let mut source = TarSource::new(Cursor::new(whole[..length].to_vec())).unwrap();
        let mut left_out = LeftOut::default();
        let cut = source.each(&mut left_out, &mut |_, content| {
            io::copy(content, &mut io::sink()).map(drop).map_err(ArchiveError::content(&FsPath::ROOT))
        });
        assert!(cut.is_err(), "{length}");
    }
    let after_first = whole.len() - END.len() - 512;
    for cut in (0..=after_first).step_by(512) {
        let mut source = TarSource::new(Cursor::new(whole[..cut].to_vec())).unwrap();
        assert!(source.each(&mut LeftOut::default(), &mut |_, _| Ok(())).is_err(), "cut after {cut} bytes");
    }
    let compressed = folder.path().join("a.tgz");
    write(Box::new(TarSink::new(File::create(&compressed).unwrap(), true)), &rare());
    let mut damaged = fs::read(&compressed).unwrap();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let said = damage_of(damaged);
    assert!(said.ends_with("the tar archive"), "{said}");
    let mut flipped = whole;
    flipped[10] ^= 1;
    assert!(TarSource::new(Cursor::new(flipped)).unwrap().each(&mut LeftOut::default(), &mut |_, _| Ok(())).is_err());
    let zip = folder.path().join("a.zip");
    write(Box::new(ZipSink::new(File::create(&zip).unwrap())), &rare());
    let whole = fs::read(&zip).unwrap();
    fs::write(&zip, &whole[..whole.len() / 2]).unwrap();
    assert!(ZipSource::open(&zip).is_err());
}

#[test]
fn a_folder_is_never_left_through_a_link() {
    // ARCH-51
    let folder = tempfile::tempdir().unwrap();
    let (outside, root) = (folder.path().join("outside"), folder.path().join("root"));
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&root).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("d")).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    std::os::unix::fs::symlink(outside.join("kept"), root.join("f")).unwrap();
    let mut sink = FolderSink::new(&root, Keep::Everything).unwrap();
    let into = entry(b"d/x", What::File { size: 1 });
    assert!(matches!(sink.put(&into, &mut b"x".as_slice()), Err(ArchiveError::Disk { .. })));
    // A link in the place of a file is replaced, not followed.
    sink.put(&entry(b"f", What::File { size: 1 }), &mut b"x".as_slice()).unwrap();
    assert_eq!(fs::read(root.join("f")).unwrap(), b"x");
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn attributes_that_are_no_users_own_do_not_reach_the_disk() {
    // ARCH-52
    let folder = tempfile::tempdir().unwrap();
    // The capability to become anybody, as setcap(8) writes it.
    let capability = b"\x01\0\0\x02\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let xattrs = Xattrs::from([(b"security.capability".to_vec(), capability), (b"trusted.x".to_vec(), b"y".to_vec())]);
    let given = Entry { xattrs, ..entry(b"f", What::File { size: 1 }) };
    let left_out =
        write(Box::new(FolderSink::new(folder.path(), Keep::Everything).unwrap()), &vec![(given, b"x".to_vec())]);
    assert_ne!(left_out, LeftOut::default(), "it is said");
    let mut names = [0; 1024];
    let length = rustix::fs::listxattr(folder.path().join("f"), &mut names).unwrap_or(0);
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!names.contains("capability") && !names.contains("trusted"), "{names}");
}
