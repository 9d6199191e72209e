//! A wide-area path on one machine: two network namespaces, and between them a forwarder that delays and drops IP packets, so that TCP and
//! QUIC feel the same. Needs root, `ip` and `/dev/net/tun`.
//!
//! Each namespace has one TUN device; what is written into one is read here, kept for half the round trip, and written to the other. There is
//! no bound on the rate but what two threads can carry, and a queue like a router's that drops what does not fit.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    ioctl::{Setter, ioctl},
};

/// Largest packet of the devices, in bytes: Ethernet's.
const MTU_BYTES: usize = 1500;
/// Bytes under way in one direction; what comes beyond is dropped.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// How often an idle thread looks whether it is over.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Why there is no such path.
#[derive(Debug, thiserror::Error)]
pub enum WanError {
    /// Namespaces and devices are root's.
    #[error("a simulated path needs root")]
    NotRoot,
    /// The device could not be made.
    #[error("cannot make a TUN device: {0}")]
    Tun(#[source] io::Error),
    /// `ip` refused.
    #[error("`ip {arguments}` failed: {reason}")]
    Ip {
        /// What it was asked.
        arguments: String,
        /// What it said.
        reason: String,
    },
}

/// How long and how bad the path is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// There and back.
    pub round_trip: Duration,
    /// Share of the packets that are lost, each way, from 0 to 1.
    pub loss: f64,
}

/// The path. Dropping it removes everything again.
pub struct Wan {
    near: Namespace,
    far: Namespace,
    shape: Arc<Shape>,
    threads: Vec<JoinHandle<()>>,
}

/// One end: a network of its own, with one address.
pub struct Namespace {
    name: String,
    addr: Ipv4Addr,
}

/// What the forwarder obeys, also while it runs.
struct Shape {
    one_way_us: AtomicU64,
    /// Of 2^32 packets so many are lost.
    lost_of_2_32: AtomicU64,
    over: AtomicBool,
}

impl Shape {
    fn obey(&self, conditions: Conditions) {
        let one_way = u64::try_from((conditions.round_trip / 2).as_micros()).unwrap_or(u64::MAX);
        self.one_way_us.store(one_way, Ordering::Relaxed);
        self.lost_of_2_32.store((conditions.loss.clamp(0.0, 1.0) * 4_294_967_296.0) as u64, Ordering::Relaxed);
    }
}

impl Wan {
    /// Makes the path. The same seed loses the same packets of the same sequence.
    ///
    /// # Errors
    /// Without root, without TUN devices, or when `ip` fails.
    pub fn open(conditions: Conditions, seed: u64) -> Result<Self, WanError> {
        if !rustix::process::geteuid().is_root() {
            return Err(WanError::NotRoot);
        }
        let (near, near_tun) = Namespace::make('a', Ipv4Addr::new(10, 77, 0, 1))?;
        let (far, far_tun) = Namespace::make('b', Ipv4Addr::new(10, 77, 0, 2))?;
        let shape = Arc::new(Shape {
            one_way_us: AtomicU64::new(0),
            lost_of_2_32: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        shape.obey(conditions);
        let (near_tun, far_tun) = (Arc::new(near_tun), Arc::new(far_tun));
        let mut threads = Vec::new();
        for (from, to, seed) in [(&near_tun, &far_tun, seed), (&far_tun, &near_tun, !seed)] {
            let queue = Arc::new(Queue::default());
            let (from, to) = (from.clone(), to.clone());
            let (shape_of_intake, queue_of_intake) = (shape.clone(), queue.clone());
            threads.push(std::thread::spawn(move || take_in(&from, &queue_of_intake, &shape_of_intake, seed)));
            let shape = shape.clone();
            threads.push(std::thread::spawn(move || give_out(&to, &queue, &shape)));
        }
        Ok(Self { near, far, shape, threads })
    }

    /// The end where clients are.
    pub const fn near(&self) -> &Namespace {
        &self.near
    }
    /// The end where servers are.
    pub const fn far(&self) -> &Namespace {
        &self.far
    }
    /// Changes the path while it is used; packets under way keep their time.
    pub fn change(&self, conditions: Conditions) {
        self.shape.obey(conditions);
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.shape.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked forwards nothing more either.
            let _ = thread.join();
        }
    }
}

impl Namespace {
    fn make(end: char, addr: Ipv4Addr) -> Result<(Self, File), WanError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("alk{}{end}{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        // From here on dropping it removes it.
        let namespace = Self { name, addr };
        let tun = tun(&namespace.name).map_err(WanError::Tun)?;
        let name = namespace.name.as_str();
        ip(&["link", "set", name, "netns", name])?;
        ip(&["-n", name, "addr", "add", &format!("{addr}/24"), "dev", name])?;
        ip(&["-n", name, "link", "set", name, "up", "mtu", &MTU_BYTES.to_string(), "txqueuelen", "10000"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok((namespace, tun))
    }

    /// Its address on the path.
    pub const fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// The namespace's name, and its device's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program that runs in there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Gives it another address instead: what moving to another network looks like to whoever runs in there.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn move_to(&mut self, addr: Ipv4Addr) -> Result<(), WanError> {
        let name = self.name.as_str();
        ip(&["-n", name, "addr", "flush", "dev", name])?;
        ip(&["-n", name, "addr", "add", &format!("{addr}/24"), "dev", name])?;
        self.addr = addr;
        Ok(())
    }
}

impl Wan {
    /// The end where clients are, to be moved to another address.
    pub const fn near_mut(&mut self) -> &mut Namespace {
        &mut self.near
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its device goes with it. What fails here has failed before, and said so.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), WanError> {
    let failed = |reason: String| WanError::Ip { arguments: arguments.join(" "), reason };
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// `struct ifreq` as far as a TUN device needs it (netdevice(7)).
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A TUN device of that name, without packet information before each packet.
#[allow(unsafe_code, reason = "the kernel makes TUN devices by an ioctl that no library of ours wraps")]
fn tun(name: &str) -> io::Result<File> {
    const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
    const IFF_TUN: u16 = 1;
    const IFF_NO_PI: u16 = 0x1000;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    // The last byte stays zero.
    let length = name.len().min(15);
    request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: TUNSETIFF reads one `struct ifreq`, whose 40 bytes are all here and initialised, and keeps no pointer to it.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request))? };
    fcntl_setfl(&file, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok(file)
}

#[derive(Default)]
struct Queue {
    under_way: Mutex<UnderWay>,
    filled: Condvar,
}

#[derive(Default)]
struct UnderWay {
    packets: VecDeque<(Instant, Box<[u8]>)>,
    bytes: usize,
}

fn take_in(from: &File, queue: &Queue, shape: &Shape, seed: u64) {
    let mut chance = seed | 1;
    let mut buffer = [0; 2 * MTU_BYTES];
    while !shape.over.load(Ordering::Relaxed) {
        let length = match rustix::io::read(from, &mut buffer) {
            Ok(length) => length,
            Err(rustix::io::Errno::AGAIN) => {
                // Whatever it says, the next read tells.
                let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&LOOK_UP));
                continue;
            }
            Err(_) => return,
        };
        // xorshift64: good enough to throw dice for packets.
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        if chance >> 32 < shape.lost_of_2_32.load(Ordering::Relaxed) {
            continue;
        }
        let due = Instant::now() + Duration::from_micros(shape.one_way_us.load(Ordering::Relaxed));
        let mut under_way = queue.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.bytes + length <= QUEUE_BYTES {
            under_way.bytes += length;
            under_way.packets.push_back((due, buffer[..length].into()));
            if under_way.packets.len() == 1 {
                queue.filled.notify_one();
            }
        }
    }
}

fn give_out(to: &File, queue: &Queue, shape: &Shape) {
    while !shape.over.load(Ordering::Relaxed) {
        let Some((due, packet)) = next(queue) else { continue };
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        // A device that is down, or full, loses the packet: so do networks.
        let _ = rustix::io::write(to, &packet);
    }
}

fn next(queue: &Queue) -> Option<(Instant, Box<[u8]>)> {
    let under_way = queue.under_way.lock().unwrap_or_else(PoisonError::into_inner);
    let patience = Duration::from_millis(100);
    let waited = queue.filled.wait_timeout_while(under_way, patience, |under_way| under_way.packets.is_empty());
    let (mut under_way, _) = waited.unwrap_or_else(PoisonError::into_inner);
    let packet = under_way.packets.pop_front()?;
    under_way.bytes -= packet.1.len();
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds trips in ms, from `ping`'s "time=" or our own: a UDP echo in the far end would need a program, so TCP's handshake is timed.
    #[test]
    fn packets_take_their_time_and_some_are_lost() {
        let conditions = Conditions { round_trip: Duration::from_millis(40), loss: 0.0 };
        if !crate::skipping::is_root("make networks") {
            return;
        }
        let wan = Wan::open(conditions, 1).unwrap();
        let far = wan.far().addr();
        // Nobody listens there: the refusal comes after one round trip.
        let knock = |seconds: &str| {
            let begun = Instant::now();
            let script = format!("timeout {seconds} bash -c 'exec 3<>/dev/tcp/{far}/9' 2>/dev/null");
            let status = wan.near().command("bash").args(["-c", &script]).status().unwrap();
            (begun.elapsed(), status.code())
        };
        let (took, status) = knock("5");
        assert!(took >= Duration::from_millis(40), "{took:?}");
        assert_eq!(status, Some(1), "refused, which only the far end can say");
        wan.change(Conditions { loss: 1.0, ..conditions });
        assert_eq!(knock("0.3").1, Some(124), "nothing comes through");
    }
}
