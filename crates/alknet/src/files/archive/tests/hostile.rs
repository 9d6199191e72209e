//! Archives that nobody should have made.

use super::*;

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
