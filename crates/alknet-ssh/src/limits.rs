//! Every bound of this crate, with its unit. Those that an operator may change are defaults of [`crate::SshLimits`].

use std::time::Duration;

/// Time to prove a key, from the first byte.
pub const LOGIN_GRACE: Duration = Duration::from_secs(30);
/// Connections that have not proven a key yet, over all carriers. Each may make the SSH library hold a packet of 256 KiB.
pub const MAX_UNAUTHENTICATED: usize = 64;
/// Refused requests to log in before the connection is ended; refused key offers count, and agents hold many keys.
pub const MAX_AUTH_ATTEMPTS: usize = 20;
/// How long a refused request to log in takes, whatever it was refused for.
pub const REJECTION_TIME: Duration = Duration::from_millis(20);
/// Sessions open at a time on one connection.
pub const MAX_CHANNELS: usize = 64;
/// Forwarded connections at a time on one connection: a browser behind it makes hundreds.
pub const MAX_FORWARDS: usize = 2048;
/// Ports and sockets that one connection has the node listen on.
pub const MAX_LISTENERS: usize = 64;
/// Channels of one connection that this side closed first: each leaves about 3 KB behind until the connection ends
/// (docs/upstream/russh-closed-channel-leak.md). With so many no more channels are opened.
pub const MAX_CHANNELS_LEFT: usize = 16 * 1024;
/// With so many the client is given time to close first.
pub const PATIENT_AFTER_CHANNELS_LEFT: usize = 1024;
/// That time, for a channel on which both sides have said all.
pub const PARTING: Duration = Duration::from_secs(2);
/// Time for what a client sent before it closed a forwarded connection to reach its target.
pub const FORWARD_LINGER: Duration = Duration::from_secs(30);
/// Before another try when the system has no descriptors for a connection to a forwarded port.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes that a client may send on a channel before the window is opened again. It is never opened wider than this: twice this bounds what
/// may be under way during a rekey, over all channels (docs/upstream/russh-rekey-window.md).
pub const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The same while more than [`CALM_INPUT_BYTES`] are held: two packets of a stock client.
pub const SMALL_WINDOW_BYTES: u32 = 64 * 1024;
/// The same while more than [`FULL_INPUT_BYTES`] are held: less than any client lets its server send.
pub const TINY_WINDOW_BYTES: u32 = 4 * 1024;
/// Largest packet a client may send, in bytes of channel data.
pub const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// Packets of one channel that the SSH library holds before its loop waits.
pub const CHANNEL_QUEUE_PACKETS: usize = 16;
/// Packets from all channels that wait to be encrypted.
pub const OUTGOING_QUEUE_PACKETS: usize = 64;
/// What a piece of input counts for besides its bytes: more than is kept with it, however short it is.
pub const PIECE_OVERHEAD_BYTES: usize = 256;
/// Input of a connection that nobody has taken yet (processes, subsystems, the targets of forwards), in bytes, above which its windows are
/// made small: with the window that is granted by then it is not full yet. What arrives in a burst over a long path stays below.
pub const CALM_INPUT_BYTES: usize = 6 * 1024 * 1024;
/// The same, above which the connection is read slowly.
pub const FULL_INPUT_BYTES: usize = 24 * 1024 * 1024;
/// Between two slow reads.
pub const PACE_TICK: Duration = Duration::from_millis(20);
/// Bytes of a slow read, until a whole window has come: then whatever stood behind it has been seen.
pub const SLOW_READ_BYTES: usize = 32 * 1024;
/// Bytes of a slow read after that.
pub const SLOWEST_READ_BYTES: usize = 512;
/// Input above which nothing is read, in bytes. While output waits for the client reading is not slow before: the client's permission to
/// send it may stand behind more input.
pub const MAX_INPUT_BYTES: usize = 64 * 1024 * 1024;
/// How long a channel whose input is not taken may hold up the other channels of its connection.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes read ahead of the SSH library on a connection without a channel, while it writes.
pub const READ_AHEAD_BYTES: usize = 256 * 1024;
/// The same once there is a channel: a whole window, so that the peer can get rid of it and the end of the stream behind it is seen.
pub const MAX_READ_AHEAD_BYTES: usize = WINDOW_BYTES as usize + READ_AHEAD_BYTES;
/// Bytes asked of a carrier, a pipe or a terminal at a time.
pub const READ_CHUNK_BYTES: usize = 128 * 1024;
/// The same as long as less comes at a time.
pub const FIRST_READ_BYTES: usize = 8 * 1024;
/// Size that a busy pipe is grown to, in bytes.
pub const BUSY_PIPE_BYTES: usize = 512 * 1024;

/// Bytes on one key before it is changed (RFC 4253, 9).
pub const REKEY_BYTES: usize = 1 << 30;
/// Age at which a key is changed (RFC 4253, 9).
pub const REKEY_AGE: Duration = Duration::from_secs(3600);
/// Silence after which the client is asked whether it is still there.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Unanswered such questions that end the connection. A stopped client (Ctrl-Z) answers none: half an hour is granted.
pub const MAX_UNANSWERED_KEEPALIVES: usize = 30;
/// Silence, or a write that does not get through, that ends the connection.
pub const INACTIVITY_TIMEOUT: Duration = Duration::from_secs(3600);

/// Between SIGHUP and SIGKILL to the processes of a session that ends.
pub const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// How long a node that stops waits for the processes of its sessions to be gone, that second included.
pub const ENDING_TIME: Duration = Duration::from_secs(3);
/// Environment variables that a client may set on one channel.
pub const MAX_ENV_VARS: usize = 64;
/// Longest name plus value of such a variable, in bytes.
pub const MAX_ENV_BYTES: usize = 4 * 1024;
/// Longest terminal name, in bytes; a client that has no `TERM` names none.
pub const MAX_TERM_BYTES: usize = 64;

/// Largest message of the day that is shown, in bytes; what is beyond is not.
pub const MAX_MOTD_BYTES: u64 = 64 * 1024;
/// Most bytes of one recording of a session.
pub const MAX_RECORDING_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of all recordings.
pub const MAX_RECORDINGS_BYTES: u64 = 1024 * 1024 * 1024;
/// Most recordings.
pub const MAX_RECORDINGS: usize = 10_000;
/// Longest command in a list of recordings, in characters.
pub const MAX_LISTED_COMMAND_CHARS: usize = 256;
/// Age at which a recording is thrown away.
pub const MAX_RECORDING_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Longest text of one event in a recording, in bytes; in JSON it is at most six times as long.
pub const MAX_RECORDED_EVENT_BYTES: usize = 16 * 1024;
/// Longest first line of a recording, in bytes.
pub const MAX_RECORDING_HEAD_BYTES: u64 = 64 * 1024;
/// Longest command in the first line of a recording, in characters.
pub const MAX_RECORDED_COMMAND_CHARS: usize = 4 * 1024;
/// Bytes of a recording that are read at a time.
pub const RECORDING_PAGE_BYTES: usize = 256 * 1024;
/// Bytes of a recording that are written at a time.
pub const RECORDING_BUFFER_BYTES: usize = 64 * 1024;
/// How long what was shown may wait to be written: a node that is killed loses so much.
pub const RECORDING_DELAY: Duration = Duration::from_millis(500);
/// Pieces of output that wait to be written before the session waits too.
pub const MAX_QUEUED_EVENTS: usize = 16;

/// Largest file of the system's users or groups that is read, in bytes.
pub const MAX_USER_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest name of a subsystem, in bytes.
pub const MAX_SUBSYSTEM_NAME_BYTES: usize = 32;
/// Bytes between a channel and its subsystem, each way.
pub const SUBSYSTEM_BUFFER_BYTES: usize = 128 * 1024;

/// Longest message to the ssh-agent, in bytes: that of OpenSSH's.
pub const MAX_AGENT_FRAME_BYTES: usize = 256 * 1024;
/// Connections to the ssh-agent at a time. A client may keep its one for as long as its session lasts.
pub const MAX_AGENT_CONNECTIONS: usize = 256;
/// How long a message to the ssh-agent may take from its first byte to its last, and an answer until it is taken.
pub const AGENT_FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// SSH sessions that a connection to the ssh-agent may be bound to: the hops that it is forwarded over.
pub const MAX_BOUND_SESSIONS: usize = 16;
/// Longest SSH session identifier, in bytes.
pub const MAX_SESSION_ID_BYTES: usize = 128;
/// How long a person may think about a signature.
pub const PERMISSION_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest passphrase that locks the ssh-agent, in bytes.
pub const MAX_LOCK_PASSPHRASE_BYTES: usize = 1024;
/// How long the first wrong passphrase for a locked ssh-agent takes; each further one takes twice as long.
pub const FIRST_UNLOCK_DELAY: Duration = Duration::from_millis(100);
/// How long a wrong passphrase takes at most.
pub const MAX_UNLOCK_DELAY: Duration = Duration::from_secs(10);

/// Clients of the proxy at a time; one more waits in the kernel's queue.
pub const MAX_PROXY_CLIENTS: usize = 2048;
/// From a client's first byte to the end of its request.
pub const PROXY_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From there to its tunnel: longer than a new login takes for which an agent asks its owner.
pub const PROXY_REACH_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest head of an HTTP request to the proxy, in bytes.
pub const MAX_HTTP_HEAD_BYTES: usize = 8 * 1024;
/// Bytes moved at a time between a client of the proxy and its tunnel, each way.
pub const PROXY_BUFFER_BYTES: usize = 32 * 1024;
/// How long a client that is refused may take its answer.
pub const PROXY_FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// What such a client may still have sent, in bytes.
pub const PROXY_FAREWELL_BYTES: u64 = 64 * 1024;
/// How long the proxy pauses when the system refuses it a connection.
pub const PROXY_ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Most that one UDP datagram carries, in bytes: the length field of IPv4 less both headers (RFC 768, RFC 791).
pub const MAX_UDP_PAYLOAD_BYTES: usize = 65_507;
/// Room for any datagram that the kernel hands over, in bytes.
pub const MAX_UDP_DATAGRAM_BYTES: usize = 65_535;
/// Longest frame of `alknet/udp`, in bytes without its length: a kind, a reason, the longest address, the longest payload.
pub const MAX_UDP_FRAME_BYTES: usize = 2 + (1 + 1 + 255 + 2) + MAX_UDP_PAYLOAD_BYTES;
/// Bytes of `alknet/udp` read from a stream at a time.
pub const UDP_READ_BYTES: usize = 32 * 1024;
/// From the opening of a stream of `alknet/udp` to the answer; for the client, dialling included.
pub const UDP_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Datagrams that wait for an association, or for its stream, each way; one more is lost.
pub const UDP_QUEUE_DATAGRAMS: usize = 256;
/// Bytes of frames that wait for an association's stream, each way; what is beyond is lost.
pub const UDP_QUEUE_BYTES: usize = 512 * 1024;
/// Associations on one connection.
pub const MAX_UDP_ASSOCIATIONS: usize = 64;
/// Associations of one identity, over all its connections.
pub const MAX_UDP_ASSOCIATIONS_PER_IDENTITY: usize = 128;
/// A connection without an association is ended after so long.
pub const UDP_CONNECTION_IDLE: Duration = Duration::from_secs(60);
/// An association on which no datagram moves for so long is ended.
pub const UDP_ASSOCIATION_IDLE: Duration = Duration::from_secs(300);
/// How often that is looked at.
pub const UDP_IDLE_TICK: Duration = Duration::from_secs(15);
/// How long an association that ends gives its last frames.
pub const UDP_FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client's datagrams are dropped after asking for an association in vain.
pub const UDP_REOPEN_AFTER: Duration = Duration::from_secs(1);
/// Destinations that an association remembers; the one that was idle longest goes first.
pub const MAX_UDP_DESTINATIONS: usize = 1024;
/// Destinations about which the policy is being asked at a time.
pub const MAX_UDP_JUDGEMENTS: usize = 64;
/// Datagrams that wait for what the policy says about one destination.
pub const MAX_UDP_WAITING: usize = 8;
/// The same over all destinations of an association, in bytes.
pub const MAX_UDP_WAITING_BYTES: usize = 512 * 1024;
/// New destinations of an association in a second, in the long run.
pub const UDP_NEW_DESTINATIONS_PER_SECOND: u32 = 64;
/// The same at once.
pub const UDP_NEW_DESTINATIONS_BURST: u32 = 256;
/// Datagrams that an association may send in a second, in the long run.
pub const UDP_DATAGRAMS_PER_SECOND: u32 = 32_768;
/// The same at once.
pub const UDP_DATAGRAMS_BURST: u32 = 8_192;
/// How long what the policy said about a destination counts.
pub const UDP_VERDICT_LIFE: Duration = Duration::from_secs(60);
/// How long it still counts while the policy is asked again.
pub const UDP_VERDICT_GRACE: Duration = Duration::from_secs(10);
/// How long after the last datagram to an address its answers are let through (RFC 4787, 4.3: not less than 2 minutes).
pub const UDP_REPLY_LIFE: Duration = Duration::from_secs(300);

/// Longest line of an `authorized_keys` text, in bytes.
pub const MAX_KEY_LINE_BYTES: usize = 16 * 1024;
/// Longest `authorized_keys` text, in bytes.
pub const MAX_KEY_FILE_BYTES: usize = 1024 * 1024;
/// Longest file of revoked keys, in bytes.
pub const MAX_REVOCATION_FILE_BYTES: usize = 16 * 1024 * 1024;
/// How often the file of revoked keys is looked at, besides at each login.
pub const REVOCATION_TICK: Duration = Duration::from_secs(2);
/// How long a certificate of the host key holds. It is made anew long before.
pub const HOST_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long before it is made such a certificate begins to hold, for clocks that are behind.
pub const HOST_CERTIFICATE_BACKDATE: Duration = Duration::from_secs(60 * 60);
/// Longest comment kept from a key line, in characters.
pub const MAX_COMMENT_CHARS: usize = 128;
/// Smallest RSA key, in bits.
pub const MIN_RSA_BITS: u32 = 2048;
/// Longest stretch of a peer-controlled string that reaches a log or the audit, in characters.
pub const MAX_LOGGED_CHARS: usize = 64;

/// Bytes that a node may send to a client on a channel before the window is opened again: two round trips of 80 ms at 100 MB/s.
pub const CLIENT_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// From a client's first byte to the end of the key exchange.
pub const CLIENT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// From there until a key is taken: an agent may be asking its owner.
pub const CLIENT_LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Silence after which a client asks whether the node is still there.
pub const CLIENT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered such questions that end a client's connection: an outage of two minutes is survived.
pub const MAX_UNANSWERED_CLIENT_KEEPALIVES: usize = 8;
/// How long an ssh-agent may take to be connected to, and to list its keys.
pub const AGENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys of an agent that are offered to a node.
pub const MAX_AGENT_KEYS: usize = 16;
/// Channels that a node may have open towards a client at a time.
pub const MAX_REMOTE_CHANNELS: usize = 1024;
/// Channels over the life of a tunnel's connection, after which another takes its place: 24 MB are left behind by then.
pub const MAX_TUNNEL_CHANNELS_EVER: usize = 8 * 1024;
/// After a failed attempt of a tunnel, so long everybody gets its failure.
pub const TUNNEL_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Connections that wait for a client to take them from a listener at the node.
pub const REMOTE_LISTENER_QUEUE: usize = 64;
/// Longest banner that is kept, in bytes.
pub const MAX_BANNER_BYTES: usize = 16 * 1024;
/// Longest words of a node about the end of a connection that are kept, in characters.
pub const MAX_CLOSE_REASON_CHARS: usize = 200;

/// Longest rule of the forwarding policy, in bytes.
pub const MAX_RULE_BYTES: usize = 512;
/// Rules of the forwarding policy.
pub const MAX_RULES: usize = 1000;
/// Names and roles in one rule.
pub const MAX_RULE_WHO: usize = 32;
/// Ports and ranges of ports in one rule.
pub const MAX_PORT_RANGES: usize = 64;
/// Longest host name that is forwarded to, in bytes (RFC 1035, 2.3.4).
pub const MAX_HOST_NAME_BYTES: usize = 253;
/// Longest part of such a name, in bytes.
pub const MAX_HOST_LABEL_BYTES: usize = 63;
/// Longest path of a Unix socket, in bytes (unix(7)).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Longest stretch of what a client asks to be forwarded that reaches the audit, in characters.
pub const MAX_ASKED_CHARS: usize = 128;
/// Ports below this are listened on only where a rule writes them out.
pub const FIRST_FREE_PORT: u16 = 1024;
/// Open forwards of one identity, over all its connections.
pub const MAX_FORWARDS_PER_IDENTITY: usize = 4096;
/// Ports and sockets that are listened on for one identity, over all its connections.
pub const MAX_LISTENERS_PER_IDENTITY: usize = 256;
/// Names that are looked up for one identity at a time.
pub const MAX_RESOLUTIONS_PER_IDENTITY: usize = 16;
/// Addresses of one name; a name with more is not forwarded to.
pub const MAX_ADDRESSES: usize = 64;
/// Addresses of one name that are tried.
pub const MAX_CONNECT_TRIES: usize = 8;
/// How long looking a name up may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take, over all addresses of a name.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without an answer another address is tried as well (RFC 8305, 5).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);
/// Connections that wait to be accepted at a port or socket that is listened on for a client.
pub const LISTEN_BACKLOG: i32 = 128;
