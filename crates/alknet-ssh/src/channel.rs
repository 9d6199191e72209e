//! One session channel, in a task of its own: from its opening to the end of its process.

use std::{io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use alknet_core::Permit;
use futures_util::FutureExt;
use russh::{
    Channel, ChannelId, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{io::DuplexStream, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    greeting::Greeting,
    inbox::{Drain, Drained, Inbox, inbox},
    parting::{close_first, part},
    pressure::{OpenChannel, Pressure},
    process::{Exit, Launch, LaunchError, Pipes, Process, SignalTarget},
    pty::Pty,
    recording::Recorder,
    relay::{Ends, Input, Output, STDERR, feed, send_output},
    subsystem::Served,
};

/// Exit status of a command that could not be started, as shells give it.
const CANNOT_RUN: u32 = 126;

/// What the task gets to do, once the client has asked and the gate has agreed.
pub(crate) enum Work {
    Process { launch: Box<Launch>, permit: Permit },
    Subsystem { serving: Served, near: DuplexStream },
}

/// What the task needs from its connection.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) life: CancellationToken,
    /// The server's: nothing new any more.
    pub(crate) stopping: CancellationToken,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) stall_timeout: Duration,
    pub(crate) hangup_grace: Duration,
    pub(crate) max_forwards: usize,
}

/// How the process's side of a channel ended.
enum Ended {
    /// The process ended and all of its output was sent.
    Finished(Exit),
    /// The channel or the connection ended first, or this process must.
    Cut(Option<Drained>),
}

/// Serves a channel to its end.
pub(crate) async fn serve(
    channel: Channel<Msg>,
    handle: Handle,
    start: oneshot::Receiver<Work>,
    signals: SignalTarget,
    around: Surroundings,
    open: OpenChannel,
) {
    let (queue, writer) = channel.split();
    let (mut drain, input) = inbox(queue, around.pressure.clone(), around.stall_timeout);
    let work = tokio::select! {
        work = start => work.map_err(|_| None),
        why = drain.run() => Err(Some(why)),
        () = around.life.cancelled() => Err(None),
    };
    let client = Client { writer: &writer, handle: &handle, around: &around };
    match work {
        Ok(Work::Process { launch, permit }) => {
            run_process(move || start_process(*launch, &permit, signals), drain, input, client).await;
        }
        Ok(Work::Subsystem { serving, near }) => serve_subsystem(serving, near, drain, input, client).await,
        Err(Some(Drained::Closed)) => {}
        Err(_) => client.close(drain).await,
    }
    drop(open);
}

/// Runs a process to its end, and the channel to its own.
async fn run_process(
    start: impl FnOnce() -> Result<Started, LaunchError> + Send + 'static,
    mut drain: Drain,
    input: Inbox,
    client: Client<'_>,
) {
    let mut starting = tokio::task::spawn_blocking(start);
    let started = tokio::select! {
        started = &mut starting => started,
        why = drain.run() => {
            drop((drain, input));
            // What is being started ends like what runs.
            return match starting.await {
                Ok(Ok(Started { process, ends, .. })) => client.cut(process, ends, Some(why)).await,
                _ if why == Drained::Stalled => close_first(client.writer, &client.around.pressure).await,
                _ => {}
            };
        }
    };
    let started = match started {
        Ok(started) => started.map_err(|error| error.to_string()),
        Err(panicked) => Err(panicked.to_string()),
    };
    let Started { mut process, mut ends, recorder, greeting } = match started {
        Ok(started) => started,
        Err(why) => {
            drop(input);
            return client.refuse(&why, drain).await;
        }
    };
    match relay(&process, &mut ends, recorder, greeting, &mut drain, input, client).await {
        Ended::Finished(exit) => {
            process.reap();
            client.finish(exit, drain).await;
        }
        Ended::Cut(why) => {
            drop(drain);
            client.cut(process, ends, why).await;
        }
    }
}

/// Serves a subsystem to its end, which the client is told like a process's.
async fn serve_subsystem(serving: Served, near: DuplexStream, mut drain: Drain, input: Inbox, client: Client<'_>) {
    let around = client.around;
    let (output, stdin) = tokio::io::split(near);
    let (stdin, mut output) = (Input::Subsystem(stdin), Output::Subsystem(output));
    let feeding = async {
        feed(input, stdin).await;
        std::future::pending::<()>().await;
    };
    let ending = async {
        let sending = send_output(&mut output, client.writer, None, &around.pressure);
        tokio::join!(AssertUnwindSafe(serving).catch_unwind(), sending).0
    };
    let ended = tokio::select! {
        () = feeding => Err(None),
        ended = ending => Ok(ended),
        why = drain.run() => Err(Some(why)),
        () = around.life.cancelled() => Err(None),
    };
    let status = match ended {
        Ok(Ok(Ok(()))) => 0,
        Ok(Ok(Err(error))) => {
            tracing::info!(%error, "an ssh subsystem ended");
            1
        }
        Ok(Err(_panic)) => {
            tracing::error!("an ssh subsystem panicked");
            1
        }
        Err(Some(Drained::Closed)) => return,
        Err(_) => return client.close(drain).await,
    };
    client.finish(Exit::Status(status), drain).await;
}

/// The client's end of a channel. Who waits for the library's loop, which takes what is said here, keeps the channel's queue emptied or drops
/// it: the loop may be waiting for room in it.
#[derive(Clone, Copy)]
struct Client<'a> {
    writer: &'a ChannelWriteHalf<Msg>,
    handle: &'a Handle,
    around: &'a Surroundings,
}

impl Client<'_> {
    async fn close(self, drain: Drain) {
        drop(drain);
        close_first(self.writer, &self.around.pressure).await;
    }

    /// Ends a process and closes the channel, whose queue is gone.
    async fn cut(self, process: Process, mut ends: Ends, why: Option<Drained>) {
        if why == Some(Drained::Stalled) {
            tracing::info!("an ssh channel was closed: its process took no input while others waited");
        }
        let closing = async {
            if why != Some(Drained::Closed) {
                close_first(self.writer, &self.around.pressure).await;
            }
            ends.discard().await;
        };
        tokio::select! {
            () = process.hang_up(self.around.hangup_grace) => {}
            () = closing => {}
        }
    }

    /// Ends a channel in the order that clients rely on: all data is sent by now, then EOF, how the process ended, close.
    async fn finish(self, exit: Exit, drain: Drain) {
        // Each of these fails only when the connection is gone, and then nobody waits for it.
        let words = async {
            let _ = self.writer.eof().await;
            match exit {
                Exit::Status(status) => drop(self.writer.exit_status(status).await),
                Exit::Signal(number) => send_exit_signal(self.handle, self.writer.id(), number).await,
            }
        };
        self.part_with(words, drain).await;
    }

    /// Says why there is no process.
    async fn refuse(self, why: &str, drain: Drain) {
        tracing::warn!("an ssh session could not start: {why}");
        let words = async {
            let _ = self.writer.extended_data_bytes(STDERR, format!("alknet: {why}\r\n")).await;
            let _ = self.writer.eof().await;
            let _ = self.writer.exit_status(CANNOT_RUN).await;
        };
        self.part_with(words, drain).await;
    }

    async fn part_with(self, words: impl Future<Output = ()>, mut drain: Drain) {
        let ended = tokio::select! {
            () = words => None,
            why = drain.run() => Some(why),
            () = self.around.life.cancelled() => Some(Drained::Closed),
        };
        match ended {
            Some(Drained::Closed) => {}
            None if drain.has_ended() => part(self.writer, drain, &self.around.pressure).await,
            _ => self.close(drain).await,
        }
    }
}

/// A process that runs, and what goes with it.
struct Started {
    process: Process,
    ends: Ends,
    recorder: Option<Recorder>,
    greeting: Option<Greeting>,
}

fn start_process(launch: Launch, permit: &Permit, signals: SignalTarget) -> Result<Started, LaunchError> {
    let account = launch.account(permit)?;
    let recorder = launch.record(&account, permit)?;
    let greeting = Greeting::of(&launch, &account, recorder.is_some());
    let pty: Option<Arc<Pty>> = launch.terminal.as_ref().map(|(pty, _)| pty.clone());
    let (process, pipes) = Process::start(launch, account, permit, signals)?;
    let ends = |pipes: Option<Pipes>| match (pipes, pty) {
        (Some(pipes), _) => Ends::of_pipes(pipes),
        (None, Some(pty)) => Ok(Ends::of_terminal(&pty, recorder.clone())),
        (None, None) => Err(io::Error::other("a process without streams")),
    };
    let ends = ends(pipes).map_err(LaunchError::Streams)?;
    Ok(Started { process, ends, recorder, greeting })
}

async fn relay(
    process: &Process,
    ends: &mut Ends,
    recorder: Option<Recorder>,
    greeting: Option<Greeting>,
    drain: &mut Drain,
    input: Inbox,
    client: Client<'_>,
) -> Ended {
    let Client { writer, around, .. } = client;
    let (stdin, stdout, stderr) = (ends.stdin.take(), &mut ends.stdout, ends.stderr.as_mut());
    let feeding = async {
        if let Some(stdin) = stdin {
            feed(input, stdin).await;
        }
        std::future::pending::<()>().await;
    };
    let errors = async {
        if let Some(stderr) = stderr {
            send_output(stderr, writer, Some(STDERR), &around.pressure).await;
        }
    };
    let ending = async {
        let output = async {
            if let Some(Greeting { text, stream }) = greeting {
                let _waiting = around.pressure.sending();
                // A connection that is gone is noticed below.
                let _ = match stream {
                    None => writer.data_bytes(text).await,
                    Some(stream) => writer.extended_data_bytes(stream, text).await,
                };
            }
            send_output(stdout, writer, None, &around.pressure).await
        };
        tokio::join!(process.exited(), output, errors).0
    };
    let unrecorded = async {
        match &recorder {
            Some(recorder) => recorder.broken().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = feeding => Ended::Cut(None),
        exit = ending => exit.map_or(Ended::Cut(None), Ended::Finished),
        why = drain.run() => Ended::Cut(Some(why)),
        () = unrecorded => Ended::Cut(None),
        () = around.life.cancelled() => Ended::Cut(None),
    }
}

async fn send_exit_signal(handle: &Handle, id: ChannelId, number: i32) {
    let _ = handle.exit_signal_request(id, signal_name(number), false, String::new(), String::new()).await;
}

/// The names of RFC 4254, 6.10, and OpenSSH's way of naming the others.
fn signal_name(number: i32) -> Sig {
    use rustix::process::Signal as S;
    let known = [
        (S::ABORT, Sig::ABRT),
        (S::ALARM, Sig::ALRM),
        (S::FPE, Sig::FPE),
        (S::HUP, Sig::HUP),
        (S::ILL, Sig::ILL),
        (S::INT, Sig::INT),
        (S::KILL, Sig::KILL),
        (S::PIPE, Sig::PIPE),
        (S::QUIT, Sig::QUIT),
        (S::SEGV, Sig::SEGV),
        (S::TERM, Sig::TERM),
        (S::USR1, Sig::USR1),
        (S::USR2, Sig::Custom("USR2".into())),
    ];
    let name = known.into_iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| name);
    name.unwrap_or_else(|| Sig::Custom(format!("{number}@alknet")))
}
