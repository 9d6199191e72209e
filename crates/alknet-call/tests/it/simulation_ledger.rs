//! What happened in a simulated world, and what should not have.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use alknet_call::{OperationContext, Registry};
use alknet_testkit::simulation::{Census, Counted};
use tokio::time::Instant;

/// Most defects that are kept: one is enough, a few help.
const MAX_DEFECTS: usize = 20;

/// The book of one world. Clones write into the same.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    began: Instant,
    /// The sum of the digests of everything that was noted, each with its time: the same for the same seed. What happens in the
    /// same millisecond has no order.
    digest: AtomicU64,
    noted: AtomicU64,
    verbose: bool,
    defects: Mutex<Vec<String>>,
    executions: Census,
    begun: AtomicU64,
    contexts: Mutex<Vec<Weak<OperationContext>>>,
    registries: Mutex<Vec<(String, Weak<Registry>)>>,
    /// How often each mutation with a key was run.
    runs: Mutex<BTreeMap<String, u32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::print_stdout, reason = "whoever plays one world wants to see it")]
fn show(line: &str) {
    println!("{line}");
}

/// A handler at work; dropping it is the end of the execution.
pub struct Execution {
    _counted: Counted,
}

impl Ledger {
    pub fn new(verbose: bool) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            digest: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            verbose,
            defects: Mutex::default(),
            executions: Census::default(),
            begun: AtomicU64::new(0),
            contexts: Mutex::default(),
            registries: Mutex::default(),
            runs: Mutex::default(),
        }))
    }

    /// Notes that something happened now.
    pub fn note(&self, what: impl AsRef<str>) {
        let line = format!("{:>8} ms  {}", self.0.began.elapsed().as_millis(), what.as_ref());
        if self.0.verbose {
            show(&line);
        }
        self.0.noted.fetch_add(1, Ordering::Relaxed);
        let digest = blake3::hash(line.as_bytes());
        let first = digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        self.0.digest.fetch_add(first, Ordering::Relaxed);
    }

    /// Notes that something happened that must not.
    pub fn defect(&self, what: impl AsRef<str>) {
        self.note(format!("DEFECT {}", what.as_ref()));
        let mut defects = locked(&self.0.defects);
        if defects.len() < MAX_DEFECTS {
            let at = self.0.began.elapsed().as_millis();
            defects.push(format!("{at} ms: {}", what.as_ref()));
        }
    }

    /// Begins the execution of a handler.
    pub fn execution(&self, context: &Arc<OperationContext>) -> Execution {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        locked(&self.0.contexts).push(Arc::downgrade(context));
        Execution { _counted: self.0.executions.enter() }
    }

    /// Counts a run of the mutation with this key, which must be the first.
    pub fn run_once(&self, key: &str) {
        let runs = *locked(&self.0.runs).entry(key.to_owned()).and_modify(|runs| *runs += 1).or_insert(1);
        if runs > 1 {
            self.defect(format!("the mutation with the key {key} was run {runs} times"));
        }
    }

    /// Whether the mutation with this key was run.
    pub fn was_run(&self, key: &str) -> bool {
        locked(&self.0.runs).contains_key(key)
    }

    /// A registry that must be gone at the end.
    pub fn registry(&self, of: &str, registry: &Arc<Registry>) {
        locked(&self.0.registries).push((of.to_owned(), Arc::downgrade(registry)));
    }

    /// How many handlers are at work.
    pub fn at_work(&self) -> usize {
        self.0.executions.alive()
    }

    /// Notes everything that is still there and should not be.
    pub fn close(&self) {
        let contexts = locked(&self.0.contexts).iter().filter(|context| context.strong_count() > 0).count();
        let registries: Vec<_> = locked(&self.0.registries)
            .iter()
            .filter(|(_, registry)| registry.strong_count() > 0)
            .map(|(of, registry)| format!("{of} ({} handles)", registry.strong_count()))
            .collect();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let left = [
            (self.at_work() > 0, format!("{} handlers are at work", self.at_work())),
            (contexts > 0, format!("{contexts} contexts, with their permits, are held")),
            (!registries.is_empty(), format!("registries are held: {}", registries.join(", "))),
            (tasks > 0, format!("{tasks} tasks are alive")),
        ];
        left.into_iter()
            .filter(|(is_left, _)| *is_left)
            .for_each(|(_, words)| self.defect(format!("at the end {words}")));
    }

    /// What should not have happened, and a digest of what did.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            defects: locked(&self.0.defects).clone(),
            digest: self.0.digest.load(Ordering::Relaxed),
            executions: self.0.begun.load(Ordering::Relaxed),
            notes: self.0.noted.load(Ordering::Relaxed),
        }
    }
}

/// What came of a world.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub defects: Vec<String>,
    pub digest: u64,
    pub executions: u64,
    pub notes: u64,
}
