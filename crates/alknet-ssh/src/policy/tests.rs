//! The policy as a whole: what is judged, reached and listened on.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alknet_core::{AuditOutcome, Authorizer, Caller, Identity, PeerAddr, ResourceGrants, ScopeSet, Standing};
use alknet_testkit::identities::KeptAudit;
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    time::Instant,
};

use super::{
    judge::{Basis, RuleSet, Subject, Wanted},
    resolve::Resolver,
    target::Host,
    *,
};
use crate::{
    key_options::KeyOptions,
    limits::{
        CONNECT_TIMEOUT, MAX_FORWARDS_PER_IDENTITY, MAX_LISTENERS_PER_IDENTITY, MAX_RESOLUTIONS_PER_IDENTITY,
        RESOLVE_TIMEOUT,
    },
    line_options::LineOptions,
};

mod forwards;

const DEFAULTS: [&str; 3] = ["deny * * <data>", "allow role:owner * *", "deny * * *"];

fn rules(texts: &[&str]) -> Vec<ForwardRule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn set(texts: &[&str]) -> RuleSet {
    RuleSet { rules: rules(texts), data: Some("/data".into()), own_port: Some(4433) }
}

const ALICE: Subject<'_> = Subject { id: "alice", role: Some("dev") };
const OWNER: Subject<'_> = Subject { id: "me", role: Some("owner") };

fn reach(name: Option<&str>, address: &str, port: u16) -> Wanted {
    let address = address.parse().unwrap();
    Wanted::Reach { direction: Direction::Local, name: name.map(Arc::from), address, port }
}

fn listening(address: &str, port: u16) -> Wanted {
    listen::listening(address.parse().unwrap(), port)
}

fn socket(direction: Direction, path: &str) -> Wanted {
    Wanted::Socket { direction, path: path.into() }
}

fn basis(set: &RuleSet, who: Subject<'_>, wanted: &Wanted) -> (bool, Basis) {
    let verdict = set.judge(who, wanted);
    (verdict.allowed, verdict.basis)
}

#[test]
fn the_first_rule_that_is_about_a_forward_decides() {
    // POL-04
    let set = set(&["deny alice local 10.0.0.5:*", "allow role:dev local 10.0.0.0/8:22", "deny * * *", "allow * * *"]);
    assert_eq!(basis(&set, ALICE, &reach(None, "10.0.0.5", 22)), (false, Basis::Rule(1)));
    assert_eq!(basis(&set, ALICE, &reach(None, "10.0.0.6", 22)), (true, Basis::Rule(2)));
    assert_eq!(basis(&set, ALICE, &reach(None, "10.0.0.6", 23)), (false, Basis::Rule(3)));
    assert_eq!(basis(&set, OWNER, &reach(None, "10.0.0.6", 22)), (false, Basis::Rule(3)));
}

#[test]
fn without_a_rule_nothing_is_forwarded_and_by_default_only_for_owners() {
    // POL-05, POL-06
    assert_eq!(basis(&set(&[]), OWNER, &reach(None, "10.0.0.5", 22)), (false, Basis::NoRule));
    let defaults = set(&DEFAULTS);
    for wanted in [reach(None, "10.0.0.5", 22), listening("127.0.0.1", 8080), socket(Direction::Socket, "/run/x")] {
        assert!(defaults.judge(OWNER, &wanted).allowed, "{wanted:?}");
        assert_eq!(basis(&defaults, ALICE, &wanted), (false, Basis::Rule(3)), "{wanted:?}");
    }
}

#[test]
fn sockets_in_the_data_folder_are_out_of_reach_whatever_a_rule_says() {
    // POL-14
    let set = set(&["allow * * <data>", "allow * * *"]);
    for direction in [Direction::Socket, Direction::Remote] {
        for path in ["/data/alknet.sock", "/data", "/data/a/b"] {
            assert_eq!(basis(&set, OWNER, &socket(direction, path)), (false, Basis::DataFolder), "{path}");
        }
        assert!(set.judge(OWNER, &socket(direction, "/data2/s")).allowed);
    }
}

#[test]
fn rules_about_local_and_dynamic_are_about_every_connection_and_datagrams_are_dynamic() {
    // POL-07
    let datagram = |set: &RuleSet| {
        let address = [10, 0, 0, 5].into();
        set.judge(ALICE, &Wanted::Reach { direction: Direction::Dynamic, name: None, address, port: 53 }).allowed
    };
    let connection = |set: &RuleSet| set.judge(ALICE, &reach(None, "10.0.0.5", 53)).allowed;
    for (rule, connects, sends) in [
        ("allow * local *:*", true, false),
        ("allow * dynamic *:*", true, true),
        ("allow * remote *:*", false, false),
        ("allow * socket *", false, false),
        ("allow * * *", true, true),
    ] {
        let set = set(&[rule]);
        assert_eq!((connection(&set), datagram(&set)), (connects, sends), "{rule}");
    }
    assert!(!set(&["allow * local *:*"]).judge(ALICE, &socket(Direction::Socket, "/run/x")).allowed);
    assert!(!set(&["allow * remote /run/x"]).judge(ALICE, &socket(Direction::Socket, "/run/x")).allowed);
}

#[test]
fn a_name_is_as_good_as_each_of_its_addresses() {
    // POL-23
    let set = set(&["deny * * 169.254.0.0/16:*", "allow role:dev local *.corp:443", "allow role:dev local 10.0.0.1:*"]);
    assert!(set.judge(ALICE, &reach(Some("a.corp"), "192.0.2.1", 443)).allowed);
    assert!(!set.judge(ALICE, &reach(None, "192.0.2.1", 443)).allowed, "the name was not asked for");
    assert_eq!(basis(&set, ALICE, &reach(Some("a.corp"), "169.254.169.254", 443)), (false, Basis::Rule(1)));
    assert!(set.judge(ALICE, &reach(Some("elsewhere"), "10.0.0.1", 443)).allowed);
}

#[test]
fn looking_up_is_for_those_whom_a_rule_might_allow() {
    // POL-25
    let may = |texts: &[&str], name: &str, port| set(texts).may_allow(ALICE, Direction::Local, name, port);
    assert!(may(&["allow alice local 10.0.0.0/8:22"], "db", 22));
    assert!(!may(&["allow alice local 10.0.0.0/8:22"], "db", 23));
    assert!(!may(&["allow bob local *:*"], "db", 22));
    assert!(!may(&["deny * * *", "allow alice local *:*"], "db", 22));
    assert!(!may(&["deny * local *.corp:*", "allow alice local *:*"], "a.corp", 22));
    assert!(may(&["deny * local 10.0.0.0/8:*", "allow alice local *:*"], "a.corp", 22));
    assert!(!may(&["allow alice remote *:*", "allow alice socket *"], "db", 22));
}

#[test]
fn what_is_listened_on_beyond_loopback_and_free_ports_is_named_by_a_rule() {
    // POL-30, POL-31
    let any = set(&["allow alice remote *:*", "allow alice * *"]);
    for (address, port, verdict) in [
        ("127.0.0.1", 8080, (true, Basis::Rule(1))),
        ("::1", 0, (true, Basis::Rule(1))),
        ("127.0.0.1", 1024, (true, Basis::Rule(1))),
        ("127.0.0.1", 1023, (false, Basis::NotNamed)),
        ("127.0.0.1", 4433, (false, Basis::NotNamed)),
        ("0.0.0.0", 8080, (false, Basis::NotNamed)),
        ("::", 8080, (false, Basis::NotNamed)),
        ("192.0.2.1", 8080, (false, Basis::NotNamed)),
    ] {
        assert_eq!(basis(&any, ALICE, &listening(address, port)), verdict, "{address} {port}");
    }
    let named =
        set(&["allow alice remote 0.0.0.0:80", "allow alice remote localhost:4433", "allow alice remote *:0-90"]);
    for (address, port, verdict) in [
        ("0.0.0.0", 80, (true, Basis::Rule(1))),
        ("0.0.0.0", 81, (false, Basis::NotNamed)),
        ("127.0.0.1", 80, (true, Basis::Rule(3))),
        ("127.0.0.1", 4433, (true, Basis::Rule(2))),
        ("::1", 4433, (true, Basis::Rule(2))),
        ("127.0.0.1", 91, (false, Basis::NoRule)),
    ] {
        assert_eq!(basis(&named, ALICE, &listening(address, port)), verdict, "{address} {port}");
    }
    assert_eq!(basis(&set(&["deny * remote *:*"]), ALICE, &listening("0.0.0.0", 80)), (false, Basis::Rule(1)));
}

/// Texts and addresses that all lead to one IPv4 address.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let ([a, b, c, d], bits) = (address.octets(), address.to_bits());
    let (high, low) = (bits >> 16, bits & 0xffff);
    let text = [
        format!("{address}"),
        format!("{address}."),
        format!("{bits}"),
        format!("{bits:#x}"),
        format!("{bits:#X}").replacen("0X", "0x", 1),
        format!("0{bits:o}"),
        format!("{a}.{}", bits & 0x00ff_ffff),
        format!("{a}.{b}.{low}"),
        format!("{a:#x}.0{b:o}.{c}.{d:#x}"),
        format!("000{a:o}.{b}.{c}.{d}"),
    ];
    let v6 = [
        format!("::ffff:{address}"),
        format!("::FFFF:{high:X}:{low:x}"),
        format!("0:0:0:0:0:ffff:{high:x}:{low:04x}"),
        format!("64:ff9b::{high:x}:{low:x}"),
        format!("2002:{high:x}:{low:x}::1"),
        format!("2002:{high:x}:{low:x}:9::"),
        format!("2001:0:{high:x}:{low:x}::1"),
        format!("2001:0:808:808:0:1:{:x}:{:x}", !high & 0xffff, !low & 0xffff),
        format!("::ffff:0:{high:x}:{low:x}"),
        format!("2001:db8::5efe:{high:x}:{low:x}"),
    ];
    let bracketed = v6.iter().map(|text| format!("[{text}]"));
    let mut all: Vec<String> = text.into_iter().chain(bracketed).chain(v6.iter().cloned()).collect();
    if address.is_loopback() && address == Ipv4Addr::LOCALHOST {
        all.extend(["0", "0.0.0.0", "0x0.0", "::ffff:0:0", "64:ff9b::"].map(str::to_owned));
    }
    all
}

proptest! {
    /// POL-20, POL-22
    #[test]
    fn no_spelling_of_a_denied_address_is_allowed(bits in any::<u32>(), port in 1..=u16::MAX, loopback in any::<bool>()) {
        let address = if loopback { Ipv4Addr::LOCALHOST } else { Ipv4Addr::from_bits(bits) };
        let set = set(&[&format!("deny * * {address}:*").replace("0.0.0.0:", "127.0.0.1:"), "allow * * *"]);
        for text in spellings(address) {
            let Ok(host) = text.parse::<Host>() else { continue };
            let found = host.address().ok_or_else(|| TestCaseError::fail(format!("{text} is a name")))?;
            prop_assert!(!set.judge(OWNER, &reach(None, &found.to_string(), port)).allowed, "{text}");
        }
    }

    /// POL-20
    #[test]
    fn a_host_in_its_usual_form_stays_as_it_is(text in "[ -~]{0,40}|[0-9a-fx.]{1,20}|[0-9a-f:.]{2,39}|\\PC{0,20}") {
        if let Ok(host) = text.parse::<Host>() {
            prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
        }
    }

    /// POL-03
    #[test]
    fn any_text_is_a_rule_or_none(text in "(allow|deny) (\\*|a|role:b) (\\*|local|remote|socket) \\PC{0,40}|\\PC{0,60}") {
        if let Ok(rule) = text.parse::<ForwardRule>() {
            prop_assert_eq!(rule.to_string().parse::<ForwardRule>(), Ok(rule));
        }
    }
}
