//! A disk that fails to sync the log once, and forgets what it did not take.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use alknet_core::{Maintenance, PermitError, Sessions};
use alknet_store::{Durability, Rights, Roles, Store, StoreError};

const DATABASE: &str = "ALKNET_TEST_DATABASE";
/// Far more than opening a database syncs its log, which another thread does.
const SYNCS_BEFORE: usize = 40;

#[derive(Debug)]
enum NotWritten {
    Unknown,
    Otherwise,
}
impl From<PermitError> for NotWritten {
    fn from(_: PermitError) -> Self {
        Self::Otherwise
    }
}
impl From<StoreError> for NotWritten {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Unknown(_)) { Self::Unknown } else { Self::Otherwise }
    }
}

/// Runs only as the child of the test below, whose tracer fails one sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below starts it, in a process of its own"]
async fn child_that_writes_lazily() {
    let path = std::env::var(DATABASE).unwrap();
    let store = Store::open(Path::new(&path), Roles::default(), Sessions::default()).unwrap();
    let tables = store.tables();
    let rights = Rights::maintenance(&Maintenance::of("test"));
    let put = |key: String| {
        move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| {
            let done = sql.execute("INSERT INTO fs_meta VALUES (?1, 1)", [key]);
            done.map(|_| ()).map_err(|_| NotWritten::Otherwise)
        }
    };
    for number in 0..SYNCS_BEFORE {
        tables.change(&rights, Durability::Strict, put(format!("before-{number}"))).await.unwrap();
    }
    for number in 0..20 {
        tables.change(&rights, Durability::Lazy, put(format!("lazy-{number}"))).await.unwrap();
    }
    let failed = tables.change(&rights, Durability::Strict, put("failed".to_owned())).await.unwrap_err();
    assert!(matches!(failed, NotWritten::Unknown), "{failed:?}");
    tables.change(&rights, Durability::Lazy, put("after".to_owned())).await.unwrap();
    std::fs::write(format!("{path}.acknowledged"), "after").unwrap();
    let rows = tables.read_here(|sql| -> Result<i64, StoreError> {
        Ok(sql.query_row("SELECT count(*) FROM fs_meta WHERE key = 'failed' OR key LIKE 'lazy-%'", [], |row| {
            row.get(0)
        })?)
    });
    assert_eq!(rows.unwrap(), 20);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again_before_anything_is_acknowledged() {
    // STORE-23, STORE-24
    let Ok(program) = Command::new("strace").arg("-V").stdout(Stdio::null()).status() else {
        eprintln!("SKIPPED: strace is not installed");
        return;
    };
    assert!(program.success());
    let folder = tempfile::tempdir().unwrap();
    let (database, trace) = (folder.path().join("alknet.db"), folder.path().join("trace"));
    let done = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=pwrite64,fdatasync,fsync,openat", "-e", "signal=none", "-s", "0"])
        .arg(format!("--inject=fdatasync:error=EIO:when={}", SYNCS_BEFORE + 1))
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "lost_sync::child_that_writes_lazily", "--ignored", "--nocapture"])
        .env(DATABASE, &database)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut calls = trace.lines().skip_while(|line| !line.contains("(INJECTED)"));
    assert!(calls.next().is_some_and(|line| line.contains("alknet.db-wal>")), "{trace}");
    let (mut written, mut calls) =
        (0, calls.filter(|line| line.contains("alknet.db-wal>") || line.contains(".acknowledged")));
    for call in calls.by_ref() {
        let Some(write) = call.split_once("pwrite64(").map(|(_, write)| write) else { continue };
        let (arguments, count) = write.rsplit_once(" = ").unwrap();
        let offset: u64 = arguments.trim_end().trim_end_matches(')').rsplit_once(", ").unwrap().1.parse().unwrap();
        assert_eq!(offset, written, "nothing is written but the log, from its beginning on: {call}");
        written += count.trim().parse::<u64>().unwrap();
        if written > 32 + 60 * 4096 {
            break;
        }
    }
    let next = calls.find(|call| call.contains("fdatasync") || call.contains(".acknowledged"));
    assert!(next.is_some_and(|call| call.contains("fdatasync") && call.trim_end().ends_with("= 0")), "{trace}");
}
