//! The close after one write of 16 KiB in the middle of a file of 1 GiB: where the disk can share what did not change, and where it has
//! to be copied, beside `cp` and fsync of the file.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use alknet_fs::{OpenWrite, Start};
use alknet_store::Durability;
use alknet_testkit::{
    measure::{Bar, Comparison, Figure},
    skipping,
};
use bytes::Bytes;

use crate::{
    node::{self, Node},
    plain,
    size::Scale,
    timing,
};

const BYTES: u64 = 1 << 30;
const WRITTEN: usize = 16 * 1024;
const RUNS: usize = 5;

pub fn run(folder: &Path, scale: Scale) {
    let bytes = scale.of(BYTES).max(1 << 20);
    let (ours, peer) = closes(folder, bytes);
    let (name, unit, bar) = ("close after 16 KiB, beside cp and fsync", "ms", Bar::AtMost(1.2));
    println!("{}", Comparison { name, unit, ours: &ours, peer: &peer, bar });
    match Sharing::mount(folder, 3 * bytes + (400 << 20)) {
        Ok(disk) => {
            let (ours, _) = closes(&disk.0, bytes);
            let name = "close after 16 KiB, content shared";
            println!("{}", Figure { name, unit, runs: &ours, bar: Bar::AtMost(50.0) });
        }
        Err(why) => skipping::skip(&format!("a disk that shares content (xfs in a file): {why}")),
    }
}

/// Ours and the peer's, in turn, in milliseconds.
fn closes(folder: &Path, bytes: u64) -> (Vec<f64>, Vec<f64>) {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for run in 0..RUNS as u64 {
        // With nothing else on the disk, and nothing left to be written.
        let home = folder.join(format!("rewrite-{run}"));
        let node = Node::with_bucket(&home);
        let large = &node::path("large");
        node.runtime.block_on(node.write(large, plain::pieces(bytes, run), Durability::Strict));
        rustix::fs::sync();
        let how = OpenWrite { start: Start::Existing, durability: Some(Durability::Strict), ..OpenWrite::default() };
        let session = node.runtime.block_on(node.create(large, how));
        let written = Bytes::from(vec![run as u8; WRITTEN]);
        node.runtime.block_on(session.write_at(bytes / 2 + 12_345, written)).unwrap();
        ours.push(timing::ms(|| node.runtime.block_on(session.commit()).unwrap()).0);
        node.close();
        std::fs::remove_dir_all(&home).unwrap();

        let (from, to) = (folder.join("plain"), folder.join("copy"));
        plain::write_synced(&from, plain::pieces(bytes, run));
        peer.push(timing::ms(|| plain::copy_synced(&from, &to)).0);
        [from, to].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
    (ours, peer)
}

/// A file with an xfs on it, mounted.
struct Sharing(PathBuf);

impl Sharing {
    fn mount(folder: &Path, bytes: u64) -> Result<Self, String> {
        let (image, at) = (folder.join("xfs.image"), folder.join("xfs"));
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        does(Command::new("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]).arg(&image))?;
        does(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        if let Err(why) = does(Command::new("umount").arg(&self.0)) {
            println!("{why}");
        }
    }
}

fn does(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
