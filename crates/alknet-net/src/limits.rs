//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Longest ClientHello, in bytes with its 4-byte header. Chromium's, with a post-quantum share, has about 2,000.
/// It fits one TLS record, and equals quinn's own buffer for handshake bytes.
pub const MAX_CLIENT_HELLO_BYTES: usize = 16 * 1024;
/// Resumable sessions that the web face remembers, each for TCP and for QUIC. One takes up to about 1 KiB.
pub const WEB_SESSION_CACHE_ENTRIES: usize = 1024;
/// Largest PEM file that is read as a certificate chain or key, in bytes.
pub const MAX_PEM_BYTES: u64 = 256 * 1024;
/// Longest reason that is sent with, or kept from, the closing of a connection, in bytes.
pub const MAX_CLOSE_REASON_BYTES: usize = 128;
/// How long a socket that was ended cleanly is still read from, so that the peer gets what was sent last.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much is read, and discarded, in that time, in bytes.
pub const LINGER_BYTES: u64 = 4 * 1024 * 1024;
/// What is asked of the kernel for each UDP buffer, in bytes.
pub const WANTED_UDP_BUFFER_BYTES: usize = 7 * 1024 * 1024;
/// With smaller UDP buffers QUIC loses so many packets that TCP is dialled first, in bytes.
pub const MIN_QUIC_BUFFER_BYTES: usize = 1024 * 1024;
/// TCP connections that the kernel keeps until they are accepted.
pub const TCP_BACKLOG: i32 = 1024;
/// How often another port is tried when the kernel's choice for TCP is taken on UDP.
pub const PORT_CLASH_RETRIES: usize = 16;

/// A QUIC connection on which nothing arrives for so long is over, in milliseconds: what a dialling end usually grants.
pub const IDLE_TIMEOUT_MS: u32 = 30_000;
/// The same for connections that are to survive an outage, and what an accepting end grants to those that it knows. Probes become rare
/// during an outage, so the first that gets through may come as late again as the outage was long.
pub const PATIENT_IDLE_TIMEOUT_MS: u32 = 180_000;
/// How often it is looked whether a peer that is not known has sent anything; one that has not since the last time is let go.
pub const STRANGER_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a dialled QUIC connection's way is looked at.
pub const ROAMING_INTERVAL: Duration = Duration::from_secs(2);
/// Silence after which a dialled QUIC connection is tried from a new port at each look: keep-alives are overdue by then.
pub const SILENCE_BEFORE_REBIND: Duration = Duration::from_secs(13);
/// How often the dialling end speaks on an idle QUIC connection.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unread data of one QUIC stream, in bytes. The connection's window bounds it further.
pub const STREAM_RECEIVE_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Unread data of one QUIC connection whose peer is not known, in bytes.
pub const STRANGER_RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unread data of one QUIC connection of a known peer, in bytes.
pub const KNOWN_RECEIVE_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Unacknowledged data towards a peer that is not known, in bytes.
pub const STRANGER_SEND_WINDOW_BYTES: u64 = 1024 * 1024;
/// Unacknowledged data towards a known peer, in bytes.
pub const KNOWN_SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Bidirectional streams at a time of a peer that is not known. HTTP/3 asks for 100.
pub const STRANGER_BIDI_STREAMS: u32 = 100;
/// One-way streams at a time of a peer that is not known.
pub const STRANGER_UNI_STREAMS: u32 = 16;
/// Bidirectional streams at a time of a known peer.
pub const KNOWN_BIDI_STREAMS: u32 = 1024;
/// One-way streams at a time of a known peer.
pub const KNOWN_UNI_STREAMS: u32 = 256;
/// From this round trip on, how much may be under way on QUIC follows the rate that gets through instead of the losses.
pub const LONG_ROUND_TRIP: Duration = Duration::from_millis(5);
/// Datagrams that wait to be read, or to be sent, on one connection, in bytes.
pub const DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// QUIC connection attempts that wait to be looked at.
pub const MAX_INCOMING: usize = 512;
/// What one such attempt may have sent, in bytes.
pub const INCOMING_BUFFER_BYTES: u64 = 32 * 1024;
/// What all of them together may have sent, in bytes.
pub const INCOMING_BUFFERS_TOTAL_BYTES: u64 = 4 * 1024 * 1024;
/// How long a Retry (RFC 9000, 8.1.2) may take.
pub const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);

/// Unfinished handshakes at a time, over both carriers. Each may hold some tens of KiB.
pub const MAX_HALF_OPEN: usize = 512;
/// Unfinished handshakes at a time of one source: an IPv4 address or an IPv6 /64.
pub const MAX_HALF_OPEN_PER_SOURCE: usize = 64;
/// From so many unfinished handshakes on, QUIC clients must show that they receive at their address (Retry).
pub const RETRY_ABOVE_HALF_OPEN: usize = 64;
/// From the first byte, or packet, to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that is silent for so long waits for the server's SSH banner.
pub const SILENCE_BEFORE_BANNER: Duration = Duration::from_secs(2);
/// Clients that were greeted because they were silent, at a time.
pub const MAX_SILENT: usize = 64;
/// How long accepting pauses when the system refuses.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Reads of a plain SSH connection that are acknowledged at once: those of a login.
pub const PROMPT_READS: u32 = 32;
/// A TCP connection that is idle for so long is probed.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which the connection is over.
pub const TCP_KEEPALIVE_PROBES: u32 = 4;
/// How long a dialler that ends gives the farewells of its closed QUIC connections to leave. They need only be sent: waiting for
/// quinn to forget the connections (three probe timeouts, RFC 9000, 10.2) would hold up every command by some 180 ms.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_millis(20);
/// How long the farewells of closed QUIC connections may take when the endpoint stops.
pub const WAIT_IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long QUIC goes alone before TCP starts too. A path on which QUIC works answers before TCP and TLS could.
pub const QUIC_HEAD_START: Duration = Duration::from_millis(120);
/// How long TCP goes alone where QUIC lost lately.
pub const TCP_HEAD_START: Duration = Duration::from_secs(1);
/// One carrier's attempt at one address.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long one address goes alone before the next is tried too.
pub const ADDRESS_STAGGER: Duration = Duration::from_millis(400);
/// Addresses of one node that are tried.
pub const MAX_DIALLED_ADDRESSES: usize = 16;
/// How long the name service may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a carrier that lost is not tried first.
pub const CARRIER_MEMORY: Duration = Duration::from_secs(300);
/// Ways (network and address) for which a lost carrier is remembered.
pub const MAX_REMEMBERED_CARRIERS: usize = 256;

/// Points at which an address, an IPv6 /64 or a key is penalised, in thousandths.
pub const PENALTY_POINTS: u64 = 20_000;
/// The same of an IPv6 /48. A /64 adds to its /48 only until it is penalised itself, so at least four of them have to misbehave.
pub const WIDE_PENALTY_POINTS: u64 = 4 * PENALTY_POINTS;
/// Points that a minute without offences takes back, in thousandths.
pub const POINTS_PER_MINUTE: u64 = 1_000;
/// How long a penalty lasts, by how many there were before it. An offence within it lets it last so long from then on.
pub const PENALTIES: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3 * 60 * 60),
    Duration::from_secs(24 * 60 * 60),
];
/// Time without penalty and offence after which one penalty before counts no more.
pub const PENALTY_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Unfinished handshakes at a time of a penalised source, and connections at a time of a penalised stranger's key.
pub const MAX_HALF_OPEN_PENALISED: usize = 2;
/// [`HANDSHAKE_TIMEOUT`] for a penalised source.
pub const PENALISED_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// From the end of the handshake to the proof of a key, for a penalised source at a door where everybody logs in.
pub const PENALISED_LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// From so many unfinished handshakes of one source on, its QUIC clients must show that they receive at their address (Retry).
pub const RETRY_ABOVE_HALF_OPEN_PER_SOURCE: usize = 8;
/// Sources of one sort (IPv4 addresses, /64s, /48s, keys) whose score is kept. Each takes some 500 bytes.
pub const MAX_SCORED_SOURCES: usize = 4096;
/// Offences of one source that are told of, the last ones.
pub const MAX_REMEMBERED_OFFENCES: usize = 8;
/// Longest name of a door that is kept with an offence, in bytes.
pub const MAX_DOOR_BYTES: usize = 32;
/// Time between two lines in the log about a penalised source, and about the floods of any source.
pub const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Lines about offences that may come at once.
pub const MAX_LINES_AT_ONCE: u64 = 200;
/// Lines about offences in a second, in the long run.
pub const LINES_PER_SECOND: u64 = 10;
/// How long a changed score waits for others before it is written.
pub const GATE_SAVE_DELAY: Duration = Duration::from_secs(1);
/// The same at the most, after it could not be written several times.
pub const MAX_GATE_SAVE_DELAY: Duration = Duration::from_secs(600);
