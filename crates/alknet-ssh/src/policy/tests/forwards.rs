//! What is done with a verdict: connections, listeners, and their ends.

use super::*;

/// Somebody who asks, and the audit that hears of it.
struct Asking {
    caller: Caller,
    audit: Arc<KeptAudit>,
    authorizer: Authorizer,
    options: KeyOptions,
}

fn asking(identity: Identity) -> Asking {
    let audit = Arc::new(KeptAudit::default());
    let caller = Caller { identity: Some(Arc::new(identity)), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    Asking { caller, authorizer: Authorizer::new(audit.clone()), audit, options: KeyOptions::default() }
}

fn alice() -> Asking {
    asking(Identity::new("alice", ScopeSet::default(), ResourceGrants::default()).with_role("dev"))
}

fn policy(texts: &[&str]) -> ForwardPolicy {
    ForwardPolicy::new(rules(texts), Path::new("/nowhere/data"))
}

impl Asking {
    async fn tcp(
        &self,
        policy: &ForwardPolicy,
        host: &str,
        port: u16,
    ) -> Result<Granted<tokio::net::TcpStream>, Reason> {
        let reached = policy.reach_tcp(&self.caller, &self.authorizer, &self.options, host, port.into()).await;
        reached.map_err(|refusal| refusal.reason())
    }
    async fn unix(&self, policy: &ForwardPolicy, path: &Path) -> Result<Granted<tokio::net::UnixStream>, Reason> {
        let path = path.to_str().unwrap();
        let reached = policy.reach_unix(&self.caller, &self.authorizer, &self.options, path).await;
        reached.map_err(|refusal| refusal.reason())
    }
    async fn listen(&self, policy: &ForwardPolicy, host: &str, port: u16) -> Result<Granted<ForwardListener>, Reason> {
        let listening = policy.listen_tcp(&self.caller, &self.authorizer, &self.options, host, port.into()).await;
        listening.map_err(|refusal| refusal.reason())
    }
    async fn listen_at(&self, policy: &ForwardPolicy, path: &Path) -> Result<Granted<ForwardSocket>, Reason> {
        let path = path.to_str().unwrap();
        let listening = policy.listen_unix(&self.caller, &self.authorizer, &self.options, path).await;
        listening.map_err(|refusal| refusal.reason())
    }
}

fn refusal<T>(result: Result<T, Reason>) -> Option<Reason> {
    result.err()
}

#[tokio::test]
async fn a_connection_goes_to_the_judged_address_with_a_permit() {
    // POL-23, POL-26
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let (policy, alice) = (policy(&["allow role:dev local 127.0.0.0/8:*"]), alice());
    let mut granted = alice.tcp(&policy, "0x7f.1", port).await.unwrap();
    let (mut accepted, _) = target.accept().await.unwrap();
    granted.what.write_all(b"x").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    assert!(granted.what.nodelay().unwrap());
    let permit = granted.hold.permit();
    assert_eq!((permit.action(), permit.identity().unwrap().id()), ("ssh/forward.local", "alice"));
    assert!(permit.require("ssh:forward").is_ok());
    let events = alice.audit.events();
    assert_eq!(
        (events.len(), events[0].outcome, events[0].identity.as_deref()),
        (1, AuditOutcome::Allowed, Some("alice"))
    );
    drop(target);
    assert_eq!(refusal(alice.tcp(&policy, "127.0.0.1", port).await), Some(Reason::ConnectionRefused));
}

#[tokio::test]
async fn a_refusal_is_audited_with_its_rule_and_tells_the_client_nothing() {
    // POL-27
    let (policy, alice) = (policy(&["allow bob * *", "deny * * *"]), alice());
    let refused = policy.reach_tcp(&alice.caller, &alice.authorizer, &alice.options, "10.0.0.1", 22).await.unwrap_err();
    assert_eq!((refused.to_string().as_str(), refused.cause()), ("administratively prohibited", "rule 2"));
    let event = alice.audit.events().remove(0);
    assert_eq!((event.outcome, event.action.as_str()), (AuditOutcome::Denied, "ssh/forward.local"));
    assert_eq!((event.resource.as_deref(), event.detail.as_deref()), (Some("forward:10.0.0.1:22"), Some("rule 2")));
    let long = format!("{}\u{1b}[2J", "x".repeat(500));
    assert_eq!(refusal(alice.tcp(&policy, &long, 1).await), Some(Reason::Prohibited));
    assert!(alice.audit.events().remove(1).resource.unwrap().len() < 200);
}

#[tokio::test]
async fn one_address_that_is_not_allowed_spoils_a_name() {
    // POL-23, POL-25
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let mut policy = policy(&["deny * * 127.0.0.2:*", "allow alice local 127.0.0.0/8:*"]);
    let at = |ip: [u8; 4]| SocketAddr::new(IpAddr::from(ip), 0);
    policy.resolver = Resolver::Table(
        [
            ("good".to_owned(), vec![at([127, 0, 0, 1])]),
            ("mixed".to_owned(), vec![at([127, 0, 0, 1]), at([127, 0, 0, 2])]),
            ("many".to_owned(), vec![at([127, 0, 0, 1]); 65]),
            ("dead-first".to_owned(), vec![at([127, 0, 0, 9]), at([127, 0, 0, 1])]),
        ]
        .into(),
    );
    let alice = alice();
    assert!(alice.tcp(&policy, "GOOD.", port).await.is_ok());
    assert!(alice.tcp(&policy, "dead-first", port).await.is_ok(), "the next address is tried");
    assert_eq!(refusal(alice.tcp(&policy, "mixed", port).await), Some(Reason::Prohibited));
    assert_eq!(refusal(alice.tcp(&policy, "many", port).await), Some(Reason::NameNotFound));
    assert_eq!(refusal(alice.tcp(&policy, "unknown", port).await), Some(Reason::NameNotFound));
    let bob = asking(Identity::new("bob", ScopeSet::default(), ResourceGrants::default()));
    assert_eq!(refusal(bob.tcp(&policy, "unknown", port).await), Some(Reason::Prohibited), "learns nothing of names");
}

#[tokio::test]
async fn whoever_has_no_full_rights_forwards_nothing() {
    // POL-08
    let policy = policy(&["allow * * *"]);
    let counter = Arc::new(AtomicU64::new(0));
    let gone = asking(Identity::owner("me").with_standing(Standing::at_present(&counter)));
    counter.fetch_add(1, Ordering::AcqRel);
    let limited = asking(Identity::owner("me").limited_to(ScopeSet::default()));
    let mut stranger = alice();
    stranger.caller.identity = None;
    let mut restricted = alice();
    restricted.options.port_forwarding = false;
    for one in [gone, limited, stranger, restricted] {
        assert_eq!(refusal(one.tcp(&policy, "127.0.0.1", 9).await), Some(Reason::Prohibited));
        assert_eq!(refusal(one.listen(&policy, "localhost", 0).await), Some(Reason::Prohibited));
        assert_eq!(refusal(one.unix(&policy, Path::new("/run/x")).await), Some(Reason::Prohibited));
    }
}

#[tokio::test]
async fn datagrams_go_where_the_rules_about_dynamic_say() {
    // POL-07
    let (policy, alice) = (policy(&["allow alice local *:*", "allow alice dynamic 192.0.2.0/24:53"]), alice());
    let udp = |host: &'static str, port| policy.reach_udp(&alice.caller, &alice.authorizer, &alice.options, host, port);
    assert_eq!(udp("192.0.2.1", 53).await.unwrap().what, ["192.0.2.1:53".parse().unwrap()]);
    for (host, port) in
        [("192.0.2.1", 54), ("198.51.100.1", 53), ("255.255.255.255", 53), ("224.0.0.1", 53), ("192.0.2.1", 0)]
    {
        assert_eq!(udp(host, port).await.unwrap_err().reason(), Reason::Prohibited, "{host} {port}");
    }
}

#[tokio::test]
async fn sockets_are_reached_where_their_links_lead_and_never_in_the_data_folder() {
    // POL-13, POL-14
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (data, open) = (root.join("data"), root.join("open"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&open).unwrap();
    let _control = std::os::unix::net::UnixListener::bind(data.join("alknet.sock")).unwrap();
    let _service = std::os::unix::net::UnixListener::bind(open.join("service.sock")).unwrap();
    for (to, from) in
        [("data/alknet.sock", "open/link"), ("data", "open/folder"), ("open/link", "open/twice"), ("data", "alias")]
    {
        std::os::unix::fs::symlink(root.join(to), root.join(from)).unwrap();
    }
    std::fs::write(open.join("file"), "x").unwrap();
    // The data folder may itself be named through a link.
    let policy = ForwardPolicy::new(rules(&["allow * * *"]), &root.join("alias"));
    let owner = asking(Identity::owner("me"));
    assert!(owner.unix(&policy, &open.join("service.sock")).await.is_ok());
    for path in [
        "data/alknet.sock",
        "alias/alknet.sock",
        "open/link",
        "open/twice",
        "open/folder/alknet.sock",
        "data/none",
        "open/folder/none",
    ] {
        assert_eq!(refusal(owner.unix(&policy, &root.join(path)).await), Some(Reason::Prohibited), "{path}");
        assert_eq!(refusal(owner.listen_at(&policy, &root.join("open/folder/new")).await), Some(Reason::Prohibited));
    }
    assert_eq!(refusal(owner.unix(&policy, &open.join("file")).await), Some(Reason::Failed));
    assert_eq!(refusal(owner.unix(&policy, &open.join("none")).await), Some(Reason::Failed));
    let alice = alice();
    policy.set_rules(rules(&[&format!("allow alice socket {}/open/s*", root.display())]));
    assert!(alice.unix(&policy, &open.join("service.sock")).await.is_ok());
    assert_eq!(refusal(alice.unix(&policy, &open.join("none")).await), Some(Reason::Prohibited));
}

#[tokio::test]
async fn a_listening_socket_is_the_nodes_alone_and_goes_with_its_forward() {
    // POL-33
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (policy, owner) = (policy(&["allow role:owner * *"]), asking(Identity::owner("me")));
    let granted = owner.listen_at(&policy, &path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (connected, accepted) = tokio::join!(tokio::net::UnixStream::connect(&path), granted.what.accept());
    assert!(connected.is_ok() && accepted.is_ok());
    assert_eq!(refusal(owner.listen_at(&policy, &path).await), Some(Reason::Failed), "somebody listens there");
    drop(granted);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists() && owner.listen_at(&policy, &path).await.is_ok(), "an abandoned socket is replaced");
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(refusal(owner.listen_at(&policy, &path).await), Some(Reason::Failed));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine", "nothing else is");
}

#[tokio::test]
async fn a_port_is_listened_on_at_loopback_of_both_kinds() {
    // POL-30, POL-32
    let (policy, alice) = (policy(&["allow alice remote *:*"]), alice());
    for host in ["localhost", "", "*", "127.0.0.1", "0.0.0.0"] {
        let granted = alice.listen(&policy, host, 0).await.unwrap();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), granted.what.port());
        let (connected, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), granted.what.accept());
        assert!(connected.is_ok(), "{host}");
        assert!(accepted.unwrap().1.ip().is_loopback());
        let elsewhere = SocketAddr::new(IpAddr::from([127, 0, 0, 77]), granted.what.port());
        assert!(tokio::net::TcpStream::connect(elsewhere).await.is_err(), "{host}: loopback's own address alone");
    }
    let first = alice.listen(&policy, "localhost", 0).await.unwrap();
    assert_eq!(refusal(alice.listen(&policy, "localhost", first.what.port()).await), Some(Reason::Failed));
    policy.set_own_port(40_433);
    for (host, port) in [("localhost", 80), ("localhost", 40_433), ("192.0.2.1", 0), ("example.org", 0), ("127.1%", 0)]
    {
        assert_eq!(refusal(alice.listen(&policy, host, port).await), Some(Reason::Prohibited), "{host} {port}");
    }
    policy.set_rules(rules(&["allow alice remote 0.0.0.0:0"]));
    let wide = alice.listen(&policy, "", 0).await.unwrap();
    let elsewhere = SocketAddr::new(IpAddr::from([127, 0, 0, 77]), wide.what.port());
    assert!(tokio::net::TcpStream::connect(elsewhere).await.is_ok(), "a rule names every address");
}

#[tokio::test]
async fn forwards_end_when_the_rules_no_longer_allow_them() {
    // POL-42
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let (policy, alice) = (policy(&["allow alice * *"]), alice());
    let reached = alice.tcp(&policy, "127.0.0.1", port).await.unwrap();
    let listening = alice.listen(&policy, "localhost", 0).await.unwrap();
    let connection = listening.hold.connection().unwrap();
    policy.set_rules(rules(&["allow role:dev local *:*"]));
    assert!(!reached.hold.ended().is_cancelled(), "another rule allows it");
    assert!(listening.hold.ended().is_cancelled() && connection.ended().is_cancelled());
    policy.set_rules(rules(&DEFAULTS));
    assert!(reached.hold.ended().is_cancelled());
}

#[tokio::test]
async fn a_verdict_is_explained_by_its_rule() {
    // POL-50
    let mut policy = policy(&["deny * * 127.0.0.2:*", "allow role:dev local 127.0.0.0/8:22"]);
    let found = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
    policy.resolver = Resolver::Table([("Both".to_ascii_lowercase(), found)].into());
    let explain =
        async |direction, to: &str| policy.explain("alice", Some("dev"), direction, &to.parse().unwrap()).await;
    let both = explain(Direction::Local, "both:22").await;
    let judged: Vec<_> =
        both.judged.iter().map(|one| (one.place.as_str(), one.allowed, one.rule.as_ref().map(|rule| rule.0))).collect();
    assert_eq!(judged, [("127.0.0.1:22", true, Some(2)), ("127.0.0.2:22", false, Some(1))]);
    assert!(!both.allowed);
    let one = explain(Direction::Local, "0x7f000001:22").await;
    assert!(one.allowed);
    assert_eq!(one.judged[0].rule, Some((2, "allow role:dev local 127.0.0.0/8:22".to_owned())));
    for (direction, to) in [
        (Direction::Local, "none:22"),
        (Direction::Local, "127.0.0.1:0"),
        (Direction::Local, "a%b:22"),
        (Direction::Local, "/run/x"),
        (Direction::Socket, "127.0.0.1:22"),
        (Direction::Remote, "example.org:8080"),
        (Direction::Remote, "localhost:70000"),
    ] {
        let explained = explain(direction, to).await;
        assert!(!explained.allowed && explained.problem.is_some() && explained.judged.is_empty(), "{to}");
    }
    for bad in ["", "host", "host:", "::1:22", "[::1]", "host:port"] {
        assert!(bad.parse::<ForwardTarget>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn the_options_of_the_key_are_asked_for_every_forward() {
    // KEY-02, KEY-04, POL-08
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let (service, new) = (folder.path().join("service"), folder.path().join("new"));
    let _service = std::os::unix::net::UnixListener::bind(&service).unwrap();
    let (policy, mut alice) = (policy(&["allow alice * *"]), alice());
    let (here, elsewhere) = (format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}"));
    for (options, connects, reaches_sockets, listens, listens_at_sockets) in [
        (String::new(), true, true, true, true),
        ("no-agent-forwarding,no-pty".to_owned(), true, true, true, true),
        ("restrict".to_owned(), false, false, false, false),
        ("no-port-forwarding".to_owned(), false, false, false, false),
        ("restrict,port-forwarding".to_owned(), true, true, true, true),
        (format!("permitopen=\"{here}\""), true, false, true, true),
        (format!("permitopen=\"{elsewhere}\""), false, false, true, true),
        ("permitopen=\"127.0.0.1:1\"".to_owned(), false, false, true, true),
        ("permitlisten=\"localhost:*\"".to_owned(), true, true, true, false),
        ("permitlisten=\"1\"".to_owned(), true, true, false, false),
        ("permitlisten=\"other:*\"".to_owned(), true, true, false, false),
        (format!("restrict,permitopen=\"{here}\",permitlisten=\"localhost:*\""), false, false, false, false),
    ] {
        alice.options = LineOptions::parse(&options).unwrap().uses;
        alice.audit.clear();
        let unless = |allowed: bool| (!allowed).then_some(Reason::Prohibited);
        for host in ["127.0.0.1", "0x7f.1"] {
            assert_eq!(refusal(alice.tcp(&policy, host, port).await), unless(connects), "{host}: {options}");
        }
        assert_eq!(refusal(alice.unix(&policy, &service).await), unless(reaches_sockets), "{options}");
        assert_eq!(refusal(alice.listen(&policy, "localhost", 0).await), unless(listens), "{options}");
        assert_eq!(refusal(alice.listen_at(&policy, &new).await), unless(listens_at_sockets), "{options}");
        let denied = alice.audit.events().into_iter().filter(|event| event.outcome == AuditOutcome::Denied);
        assert!(denied.into_iter().all(|event| event.detail.as_deref() == Some("the key's options")), "{options}");
    }
}

#[tokio::test]
async fn one_more_than_an_identity_may_have_is_refused_and_audited() {
    // POL-40
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let (policy, alice) = (policy(&["allow alice * *"]), alice());
    let listener = alice.listen(&policy, "localhost", 0).await.unwrap();
    let who = alice.caller.identity.clone().unwrap();
    let rest = |listens| std::iter::from_fn(|| policy.accounts.enter(&who, listens).ok()).collect::<Vec<_>>();
    let places = (rest(false), rest(true));
    assert_eq!((places.0.len(), places.1.len() + 1), (MAX_FORWARDS_PER_IDENTITY, MAX_LISTENERS_PER_IDENTITY));
    alice.audit.clear();
    assert_eq!(refusal(alice.tcp(&policy, "127.0.0.1", port).await), Some(Reason::TooMany));
    assert_eq!(refusal(alice.unix(&policy, Path::new("/run/x")).await), Some(Reason::TooMany));
    assert_eq!(refusal(alice.listen(&policy, "localhost", 0).await), Some(Reason::TooMany));
    assert_eq!(refusal(alice.listen_at(&policy, Path::new("/run/x")).await), Some(Reason::TooMany));
    assert!(listener.hold.connection().is_err(), "what comes in at a listener counts too");
    let details: Vec<_> = alice.audit.events().into_iter().map(|event| (event.outcome, event.detail)).collect();
    let (forwards, listeners) = ("the identity has 4096 open forwards", "the identity listens in 256 places");
    assert_eq!(details, [forwards, forwards, listeners, listeners].map(|why| (AuditOutcome::Denied, Some(why.into()))));
    drop(places);
    assert!(alice.tcp(&policy, "127.0.0.1", port).await.is_ok());
    assert!(alice.listen(&policy, "localhost", 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn looking_up_takes_only_so_long_and_only_so_many_at_a_time() {
    // POL-41
    let (mut policy, alice) = (policy(&["allow alice * *"]), alice());
    let under_way = Arc::default();
    policy.resolver = Resolver::Stuck(Arc::clone(&under_way));
    let begin = Instant::now();
    let all = join_all((0..MAX_RESOLUTIONS_PER_IDENTITY + 4).map(|_| alice.tcp(&policy, "slow", 80)));
    let mut all = std::pin::pin!(all);
    assert!(futures_util::poll!(&mut all).is_pending());
    assert_eq!(under_way.load(Ordering::SeqCst), MAX_RESOLUTIONS_PER_IDENTITY);
    assert!(all.await.into_iter().all(|one| refusal(one) == Some(Reason::TimedOut)));
    assert_eq!(begin.elapsed().as_secs(), RESOLVE_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn connecting_takes_only_so_long() {
    // POL-41
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // More than the kernel takes for who does not accept: it answers no further one.
    let waiting: Vec<_> = (0..8).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let (policy, alice) = (policy(&["allow alice * *"]), alice());
    let begin = Instant::now();
    assert_eq!(refusal(alice.tcp(&policy, "127.0.0.1", address.port()).await), Some(Reason::TimedOut));
    assert_eq!(begin.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
    drop((listener, waiting));
}

#[tokio::test]
async fn what_was_connected_to_is_what_was_judged() {
    // POL-26
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (local, judged) = (at("127.0.0.1:9"), at("192.0.2.1:22"));
    assert!(reach::check(local, judged, judged).is_ok());
    assert!(reach::check(local, at("[::ffff:192.0.2.1]:22"), judged).is_ok(), "the same in another form");
    for other in ["192.0.2.2:22", "192.0.2.1:23", "[2001:db8::1]:22"] {
        assert_eq!(reach::check(local, at(other), judged).unwrap_err().kind(), std::io::ErrorKind::Other, "{other}");
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(at("127.0.0.1:0")).unwrap();
    let own = socket.local_addr().unwrap();
    let stream = socket.connect(own).await.unwrap();
    let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    assert_eq!(local, peer, "connected to itself");
    assert_eq!(reach::check(local, peer, own).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn nothing_but_the_sockets_own_file_goes_with_its_forward() {
    // POL-33
    let folder = tempfile::tempdir().unwrap();
    let (first, other) = (folder.path().join("first"), folder.path().join("other"));
    std::fs::create_dir(&first).unwrap();
    std::fs::create_dir(&other).unwrap();
    let (policy, owner) = (policy(&["allow role:owner * *"]), asking(Identity::owner("me")));
    let path = first.join("s");

    // Another file in its place.
    let granted = owner.listen_at(&policy, &path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    drop(granted);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();

    // Another folder under its folder's name.
    let granted = owner.listen_at(&policy, &path).await.unwrap();
    std::fs::write(other.join("s"), "precious").unwrap();
    let moved = folder.path().join("moved");
    std::fs::rename(&first, &moved).unwrap();
    std::os::unix::fs::symlink(&other, &first).unwrap();
    drop(granted);
    assert_eq!(std::fs::read_to_string(other.join("s")).unwrap(), "precious");
    assert!(!moved.join("s").exists(), "and its own is found");
}
