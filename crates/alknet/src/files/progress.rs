//! How far a transfer has come: one line on the terminal, drawn anew a few times a second.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::cli;

/// How often the line is drawn.
const FRAME: Duration = Duration::from_millis(200);
/// The rate is that of so long a time.
const WINDOW: Duration = Duration::from_secs(5);

/// What a transfer has done.
#[derive(Debug, Default)]
pub struct Done {
    files: AtomicU64,
    bytes: AtomicU64,
    /// Bytes that went over the wire.
    moved: AtomicU64,
    /// Bytes of large files that were read to be hashed.
    looked: AtomicU64,
    kept: AtomicU64,
    all_files: AtomicU64,
    all_bytes: AtomicU64,
    all_known: AtomicU64,
}

impl Done {
    /// A file is where it should be.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
    /// A file was left as it is there.
    pub fn kept(&self) {
        self.kept.fetch_add(1, Ordering::Relaxed);
    }
    /// So many bytes of content need not be cared for any more, whether they were moved or were there.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    /// So many bytes of content were moved.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }
    /// So many bytes were read to be hashed.
    pub fn looked(&self, bytes: u64) {
        self.looked.fetch_add(bytes, Ordering::Relaxed);
    }
    /// So much more is to be done.
    pub fn expect(&self, files: u64, bytes: u64) {
        self.all_files.fetch_add(files, Ordering::Relaxed);
        self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all_known.store(1, Ordering::Relaxed);
    }
    /// What it came to.
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let known = read(&self.all_known) == 1;
        Figures {
            files: read(&self.files),
            bytes: read(&self.bytes),
            moved: read(&self.moved),
            looked: read(&self.looked),
            kept: read(&self.kept),
            all: known.then(|| (read(&self.all_files), read(&self.all_bytes))),
        }
    }
}

/// What a transfer has done at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Files that are where they should be.
    pub files: u64,
    /// Bytes of theirs.
    pub bytes: u64,
    /// Bytes that were moved for it.
    pub moved: u64,
    /// Bytes that were read to be hashed.
    pub looked: u64,
    /// Files of which another is there, and stays.
    pub kept: u64,
    /// Files and bytes in all, once that is known.
    pub all: Option<(u64, u64)>,
}

/// A line on the terminal while a transfer runs, cleared when this is dropped.
pub struct Progress {
    /// What is counted.
    pub done: Arc<Done>,
    drawing: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to draw where `wanted` and standard error is a terminal.
    pub fn start(wanted: bool) -> Self {
        let done = Arc::new(Done::default());
        let drawing = (wanted && io::stderr().is_terminal()).then(|| tokio::spawn(draw(done.clone())));
        Self { done, drawing }
    }

    /// Whether a line is drawn, so that it is worth counting what there is in all.
    pub const fn is_drawn(&self) -> bool {
        self.drawing.is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            drawing.abort();
            put("\r\x1b[K");
        }
    }
}

async fn draw(done: Arc<Done>) {
    let mut rate = Rate::default();
    let mut frames = tokio::time::interval(FRAME);
    loop {
        frames.tick().await;
        let figures = done.figures();
        let per_second = rate.sample(Instant::now(), figures.bytes);
        put(&format!("\r{}\x1b[K", line(figures, per_second, columns())));
    }
}

fn put(text: &str) {
    let mut terminal = io::stderr().lock();
    // A terminal that is gone is no reason to stop.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20))
}

/// The bytes a second of the last few seconds.
#[derive(Default)]
struct Rate(Mutex<VecDeque<(Instant, u64)>>);

impl Rate {
    fn sample(&mut self, now: Instant, bytes: u64) -> u64 {
        let samples = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((now, bytes));
        while samples.len() > 2 && now.duration_since(samples[0].0) > WINDOW {
            samples.pop_front();
        }
        let (since, before) = samples[0];
        let took = now.duration_since(since).as_secs_f64();
        if took < 0.1 { 0 } else { (bytes.saturating_sub(before) as f64 / took) as u64 }
    }
}

/// The line: files, bytes, rate, time left, as far as it fits.
fn line(now: Figures, per_second: u64, columns: usize) -> String {
    let mut parts = Vec::new();
    match now.all {
        Some((files, bytes)) => {
            let percent = (u128::from(now.bytes.min(bytes)) * 100).checked_div(u128::from(bytes)).unwrap_or(100);
            parts.push(format!("{percent:3} %"));
            parts.push(format!("{}/{files} files", now.files));
            parts.push(format!("{} of {}", cli::bytes(now.bytes), cli::bytes(bytes)));
        }
        None => {
            parts.push(format!("{} files", now.files));
            parts.push(cli::bytes(now.bytes));
        }
    }
    if now.looked > now.bytes {
        parts.push(format!("{} hashed", cli::bytes(now.looked)));
    }
    if per_second > 0 {
        parts.push(format!("{}/s", cli::bytes(per_second)));
        if let Some((_, bytes)) = now.all {
            let left = bytes.saturating_sub(now.bytes) / per_second;
            parts.push(format!("{} left", cli::duration(left.saturating_mul(1000).max(1000))));
        }
    }
    let mut text = String::new();
    for part in parts {
        let next = if text.is_empty() { part } else { format!("{text}  {part}") };
        if next.len() >= columns {
            break;
        }
        text = next;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rate_and_time_left_and_fits() {
        let now = Figures { files: 3, bytes: 512 << 20, moved: 0, looked: 0, kept: 0, all: Some((10, 1 << 30)) };
        assert_eq!(line(now, 64 << 20, 80), " 50 %  3/10 files  512.0 MiB of 1.0 GiB  64.0 MiB/s  8 s left");
        assert_eq!(line(now, 64 << 20, 25), " 50 %  3/10 files");
        assert_eq!(line(now, 0, 80), " 50 %  3/10 files  512.0 MiB of 1.0 GiB");
        let unknown = Figures { all: None, ..now };
        assert_eq!(line(unknown, 1 << 20, 80), "3 files  512.0 MiB  1.0 MiB/s");
        let hashing = Figures { files: 0, bytes: 0, looked: 1 << 20, ..now };
        assert_eq!(line(hashing, 0, 80), "  0 %  0/10 files  0 B of 1.0 GiB  1.0 MiB hashed");
        let nothing = Figures { files: 0, bytes: 0, moved: 0, looked: 0, kept: 0, all: Some((0, 0)) };
        assert_eq!(line(nothing, 0, 80), "100 %  0/0 files  0 B of 0 B");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.sample(at(0), 0), 0);
        assert_eq!(rate.sample(at(1), 100), 100);
        for second in 2..=20 {
            rate.sample(at(second), 100);
        }
        assert_eq!(rate.sample(at(21), 100), 0, "what was before the window counts no more");
    }
}
