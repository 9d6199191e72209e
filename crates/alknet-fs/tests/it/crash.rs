//! What a process that dies at any step leaves behind.
//!
//! The folder as it lies on the disk at a step is what is left of a process that is killed there: the kernel keeps every byte that was
//! written. So the steps of seeded writers are heard, the folder is copied at some of them, and each copy is opened and looked at. Other
//! writers are processes of their own and kill themselves at a step. `ALKNET_SEED=7` before a test plays that seed alone;
//! `cargo xtask soak crash` plays thousands.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use alknet_fs::{Change, ContentHash, Create, OpenWrite, RemoveHow, Start, failpoints};
use rustix::process::{Signal, getpid, kill_process};

use crate::world::{Chance, Folder, World, noise, path, seeds};

/// Worlds of an ordinary run.
const WORLDS: u64 = 24;
/// Changes that one world makes.
const CHANGES: u64 = 8;
/// Of so many steps the folder is copied at one.
const ONE_COPY_IN: u64 = 6;
/// The steps of a close, in the order in which they first come. Every one of them is died at.
const STEPS: [&str; 12] = [
    "spool.created",
    "spool.written",
    "outboard.written",
    "spool.synced",
    "outboard.synced",
    "outboard.renamed",
    "blob.renamed",
    "folder.synced",
    "rows.written",
    "committed",
    "spare.unlinked",
    "answered",
];
/// Only where a content is there already.
const RARE: &str = "spare.unlinked";
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a name stands for: its content's seed and length, or nothing.
type Content = Option<(u64, usize)>;

/// What the writer knows.
#[derive(Clone, Default)]
struct Known {
    acknowledged: BTreeMap<&'static str, Content>,
    /// Not acknowledged: it may be there, whole, or not at all.
    under_way: Option<(&'static str, Content)>,
}

impl Known {
    fn allows(&self, name: &str, found: Option<&[u8]>) -> bool {
        let is = |content: Content| content.map(|(seed, length)| noise(seed, length)).as_deref() == found;
        let kept = self.acknowledged.get(name).copied().flatten();
        is(kept) || self.under_way.is_some_and(|(at, content)| at == name && is(content))
    }
}

/// Looks at what is left: everything acknowledged, nothing by half, nothing in the spool.
async fn look(folder: Folder, known: &Known, told: &str) {
    let world = World::open(folder).await;
    assert_eq!(world.spool(), Vec::<std::path::PathBuf>::new(), "{told}: something is left in the spool");
    for name in NAMES {
        let found = match world.get(&format!("proj/{name}")).await {
            Ok(bytes) => Some(bytes),
            Err(alknet_fs::FsError::At { errno: alknet_fs::Errno::NoEnt, .. }) => None,
            Err(error) => panic!("{told}: {name} cannot be read: {error}"),
        };
        let hash = found.as_ref().map(|bytes| (bytes.len(), ContentHash::of(bytes)));
        assert!(known.allows(name, found.as_deref()), "{told}: {name} is {hash:?}, known is {:?}", known.acknowledged);
    }
    // It goes on as if nothing had been.
    world.put("proj/after", "works").await.unwrap();
    assert_eq!(world.get("proj/after").await.unwrap(), "works", "{told}");
    world.end().await;
}

/// Content that is now and then that of another name, and of every class.
fn content(chance: &Chance) -> (u64, usize) {
    let length = match chance.below(5) {
        0 => chance.below(300),
        1 => 16_384 + chance.below(2),
        2 => 20_000,
        _ => 16_385 + chance.below(60_000),
    };
    (chance.below(6), length as usize)
}

/// Makes one change of a name and answers once it is acknowledged.
async fn change(world: &World, name: &'static str, to: Content, chance: &Chance) {
    let at = format!("proj/{name}");
    let Some((seed, length)) = to else {
        world.change(Change::Remove { at: path(name), how: RemoveHow::File }).await;
        return;
    };
    let start = *chance.of(&[Start::Empty, Start::Existing]);
    let how = OpenWrite { start, create: Create::IfAbsent, ..OpenWrite::default() };
    let session = world.begin(&at, how).await.unwrap();
    let bytes: bytes::Bytes = noise(seed, length).into();
    // Now in order, now not.
    let cut = chance.below(length as u64 + 1) as usize;
    let parts = [(0, bytes.slice(..cut)), (cut, bytes.slice(cut..))];
    for index in if chance.below(3) == 0 { [1, 0] } else { [0, 1] } {
        session.write_at(parts[index].0 as u64, parts[index].1.clone()).await.unwrap();
    }
    session.set_size(length as u64).await.unwrap();
    session.commit().await.unwrap();
}

fn next(chance: &Chance, known: &Known) -> (&'static str, Content) {
    let name = *chance.of(&NAMES);
    let exists = known.acknowledged.get(name).copied().flatten().is_some();
    (name, if exists && chance.below(4) == 0 { None } else { Some(content(chance)) })
}

pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else if let Err(error) = fs::copy(entry.path(), &to) {
            // What is taken away beside the copying was garbage: a step of its own comes after it.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// A folder as it was at a step, with what was known then.
struct Left {
    step: &'static str,
    folder: Folder,
    known: Known,
}

async fn play(seed: u64) -> BTreeMap<&'static str, usize> {
    let chance = Chance::new(seed);
    let world = World::new().await;
    let known = Arc::new(Mutex::new(Known::default()));
    let left = Arc::new(Mutex::new(Vec::new()));
    let armed = failpoints::arm({
        let (folder, known, left, chance) = (world.folder.clone(), known.clone(), left.clone(), chance.fork());
        move |step| {
            if step == RARE || chance.below(ONE_COPY_IN) == 0 {
                // Nothing is acknowledged, and no other change begun, while the copy is made.
                let known = known.lock().unwrap();
                let to = tempfile::tempdir().unwrap();
                copy(folder.path(), to.path());
                left.lock().unwrap().push(Left { step, folder: Folder::new(to), known: known.clone() });
            }
        }
    });
    for _ in 0..CHANGES {
        let (name, to) = {
            let mut known = known.lock().unwrap();
            let next = next(&chance, &known);
            known.under_way = Some(next);
            next
        };
        change(&world, name, to, &chance).await;
        let mut known = known.lock().unwrap();
        known.acknowledged.insert(name, to);
        known.under_way = None;
    }
    drop(armed);
    world.end().await;
    let mut died_at = BTreeMap::new();
    let left = std::mem::take(&mut *left.lock().unwrap());
    for Left { step, folder, known } in left {
        look(folder, &known, &format!("seed {seed}, killed at {step}")).await;
        *died_at.entry(step).or_default() += 1;
    }
    died_at
}

#[test]
fn nothing_acknowledged_is_lost_at_any_step() {
    // SESS-02, SESS-03, FS-01, FS-02
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut died_at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut worlds = 0;
    for seed in seeds(1, WORLDS) {
        for (step, times) in runtime.block_on(play(seed)) {
            *died_at.entry(step).or_default() += times;
        }
        worlds += 1;
    }
    println!("{worlds} worlds died at {died_at:?}");
    if worlds >= WORLDS {
        let missed: Vec<_> = STEPS.iter().filter(|step| !died_at.contains_key(*step)).collect();
        assert!(missed.is_empty(), "nobody died at {missed:?}");
    }
}

const FOLDER: &str = "ALKNET_TEST_FOLDER";
const DIES_AT: &str = "ALKNET_TEST_DIES_AT";
const NTH: &str = "ALKNET_TEST_NTH";

/// Runs only as the child of the test below: changes files, says what was acknowledged, and kills itself at a step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_dies_at_a_step() {
    let folder = env::var(FOLDER).unwrap();
    let (dies_at, nth) = (env::var(DIES_AT).unwrap(), env::var(NTH).unwrap().parse::<u32>().unwrap());
    let world = World::open(Folder::of_others(Path::new(&folder))).await;
    let times = AtomicU32::new(0);
    let _armed = failpoints::arm(move |step| {
        if step == dies_at && times.fetch_add(1, Ordering::Relaxed) == nth {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    let chance = Chance::new(u64::from(nth));
    let mut known = Known::default();
    loop {
        let (name, to) = next(&chance, &known);
        println!("trying {name} {}", shown(to));
        change(&world, name, to, &chance).await;
        println!("acknowledged {name} {}", shown(to));
        known.acknowledged.insert(name, to);
    }
}

fn shown(content: Content) -> String {
    content.map_or_else(|| "- -".to_owned(), |(seed, length)| format!("{seed} {length}"))
}

/// What the child said before it died.
fn heard(child: impl std::io::Read) -> Known {
    let mut known = Known::default();
    for line in BufReader::new(child).lines() {
        let line = line.unwrap();
        let Some((_, words)) = line.split_once("trying ").or_else(|| line.split_once("acknowledged ")) else {
            continue;
        };
        let words: Vec<_> = words.split(' ').collect();
        let name = *NAMES.iter().find(|name| **name == words[0]).unwrap();
        let content = words[1].parse().ok().zip(words[2].parse().ok());
        if line.contains("trying ") {
            known.under_way = Some((name, content));
        } else {
            known.acknowledged.insert(name, content);
            known.under_way = None;
        }
    }
    known
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    // SESS-02, SESS-03, FS-01
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for step in STEPS {
        let folder = runtime.block_on(async {
            let world = World::new().await;
            let folder = world.folder.clone();
            world.end().await;
            folder
        });
        let nth = getrandom::u32().unwrap() % 3;
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_dies_at_a_step", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(DIES_AT, step)
            .env(NTH, nth.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let known = heard(child.stdout.take().unwrap());
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it was to die at {step}");
        runtime.block_on(look(folder, &known, &format!("killed at the {nth}th {step}")));
    }
}
