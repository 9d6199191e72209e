//! Writing a recording while its session runs.

use std::{io, mem};

use bytes::Bytes;
use rustix::termios::Winsize;
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::cast::{self, Encoder};
use crate::limits::{MAX_QUEUED_EVENTS, RECORDING_BUFFER_BYTES, RECORDING_DELAY};

/// Where output goes to be written down. The recording ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Recorder {
    events: mpsc::Sender<(Instant, Bytes)>,
}

impl Recorder {
    /// Writes what comes from now on to `file`, at most `left` bytes.
    pub(crate) fn start(file: File, left: u64, sizes: watch::Receiver<Winsize>) -> Self {
        let (events, queue) = mpsc::channel(MAX_QUEUED_EVENTS);
        let (encoder, lines) = (Encoder::default(), String::new());
        let now = Instant::now();
        let writing = Writing { file, began: now, left, ended: false, encoder, lines, flush_at: now };
        tokio::spawn(async move {
            if let Err(error) = writing.run(queue, sizes).await {
                tracing::error!(%error, "the recording of an ssh session cannot be written: the session ends");
            }
        });
        Self { events }
    }

    /// Takes output. Waits while the disk is slow; false once nothing can be written any more.
    pub(crate) async fn output(&self, data: &[u8]) -> bool {
        self.events.send((Instant::now(), Bytes::copy_from_slice(data))).await.is_ok()
    }

    /// Waits until nothing can be written any more. Cancel safe.
    pub(crate) async fn broken(&self) {
        self.events.closed().await;
    }
}

/// The size as players take it: that of a plain terminal where the client did not say any.
pub(crate) fn cells(size: Winsize) -> (u16, u16) {
    let or = |given: u16, usual: u16| if given == 0 { usual } else { given };
    (or(size.ws_col, 80), or(size.ws_row, 24))
}

struct Writing {
    file: File,
    began: Instant,
    /// Bytes that the recording may still grow by.
    left: u64,
    /// Whether the remark that it has ended there is written.
    ended: bool,
    encoder: Encoder,
    /// What is not written yet.
    lines: String,
    flush_at: Instant,
}

impl Writing {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<(Instant, Bytes)>,
        mut sizes: watch::Receiver<Winsize>,
    ) -> io::Result<()> {
        loop {
            let was_empty = self.lines.is_empty();
            tokio::select! {
                biased;
                () = sleep_until(self.flush_at), if !was_empty => self.write().await?,
                Ok(()) = sizes.changed() => {
                    let (columns, rows) = cells(*sizes.borrow_and_update());
                    cast::resize(self.began.elapsed(), columns, rows, &mut self.lines);
                }
                event = queue.recv() => match event {
                    Some((at, data)) => self.encoder.output(at.duration_since(self.began), &data, &mut self.lines),
                    None => break,
                },
            }
            if was_empty {
                self.flush_at = Instant::now() + RECORDING_DELAY;
            }
            if self.lines.len() >= RECORDING_BUFFER_BYTES {
                self.write().await?;
            }
        }
        self.encoder.finish(self.began.elapsed(), &mut self.lines);
        self.write().await
    }

    /// Writes whole lines, as far as there is room; then says once that there was no more.
    async fn write(&mut self) -> io::Result<()> {
        let lines = mem::take(&mut self.lines);
        let fits = usize::try_from(self.left).map_or(lines.len(), |left| lines.len().min(left));
        let whole = if fits < lines.len() {
            lines.as_bytes()[..fits].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
        } else {
            fits
        };
        self.file.write_all(&lines.as_bytes()[..whole]).await?;
        self.left -= whole as u64;
        if whole < lines.len() && !mem::replace(&mut self.ended, true) {
            self.left = 0;
            tracing::warn!("the recording of an ssh session has reached its bound: it ends, the session goes on");
            let mut last = String::new();
            cast::marker(self.began.elapsed(), "the recording has reached its bound; the session went on", &mut last);
            self.file.write_all(last.as_bytes()).await?;
        }
        self.file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// SES-45: the remark is there wherever the bound fell: before the first line, inside one, or between two.
    #[tokio::test]
    async fn a_recording_that_reached_its_bound_says_so_once() {
        const LINE: &str = "a line\n";
        for left in [0, 1, LINE.len(), LINE.len() + 1] {
            let (file, now) = (tempfile::tempfile().unwrap(), Instant::now());
            let mut writing = Writing {
                file: file.try_clone().unwrap().into(),
                began: now,
                left: left as u64,
                ended: false,
                encoder: Encoder::default(),
                lines: String::new(),
                flush_at: now,
            };
            for _ in 0..3 {
                writing.lines.push_str(LINE);
                writing.write().await.unwrap();
            }
            let mut text = vec![0; 1024];
            let read = file.read_at(&mut text, 0).unwrap();
            let text = String::from_utf8_lossy(&text[..read]);
            assert_eq!((text.matches("bound").count(), text.matches(LINE).count()), (1, left / LINE.len()), "{left}");
        }
    }
}
