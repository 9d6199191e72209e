use proptest::prelude::*;

use super::*;

fn options(text: &str) -> LineOptions {
    LineOptions::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    LineOptions::parse(text).unwrap_err().to_string()
}

/// KEY-02.
#[test]
fn restrict_takes_all_and_later_options_give_back() {
    let uses = |text: &str| {
        let KeyOptions { pty, agent_forwarding, port_forwarding, .. } = options(text).uses;
        (pty, agent_forwarding, port_forwarding)
    };
    assert_eq!(uses(""), (true, true, true));
    assert_eq!(uses("restrict"), (false, false, false));
    assert_eq!(uses("restrict,pty"), (true, false, false));
    assert_eq!(uses("pty,restrict"), (false, false, false));
    assert_eq!(uses("RESTRICT,Agent-Forwarding,port-forwarding"), (false, true, true));
    assert_eq!(uses("no-pty"), (false, true, true));
    assert_eq!(uses("no-agent-forwarding,no-port-forwarding"), (true, false, false));
    assert_eq!(uses("no-X11-forwarding,no-user-rc,user-rc,X11-forwarding,no-touch-required"), (true, true, true));
}

/// KEY-03.
#[test]
fn values_are_read_out_of_their_quotes() {
    let all = options(
        r#"command="echo \"a, b\" \\ c",environment="A=1=2",environment="B=",environment="A=3",cert-authority,principals="a, b""#,
    );
    assert_eq!(all.uses.command.as_deref(), Some(r#"echo "a, b" \\ c"#.as_bytes()));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(all.uses.environment, [pair("A", "1=2"), pair("B", "")], "the first of a name holds");
    assert!(all.authority);
    assert_eq!(all.principals, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(options("command=\"\"").uses.command, Some(Vec::new()));
}

/// KEY-04.
#[test]
fn forwards_are_permitted_by_host_and_port() {
    let opens = options(r#"permitopen="db.lan:5432",permitopen="[::1]:*",permitopen="*:80""#).uses;
    assert!(opens.may_open("db.lan", 5432) && opens.may_open("DB.lan", 5432));
    assert!(opens.may_open("::1", 9) && opens.may_open("anything", 80));
    assert!(!opens.may_open("db.lan", 5433) && !opens.may_open("xdb.lan", 5432) && !opens.may_open("127.0.0.1", 9));
    assert!(!opens.may_open_sockets(), "a socket would lead around it");
    assert!(opens.may_listen("0.0.0.0", 1) && opens.may_listen_on_sockets());
    let listens = options(r#"permitlisten="8080",permitlisten="localhost:*",permitlisten="10.*:22""#).uses;
    assert!(listens.may_listen("", 8080) && listens.may_listen("localhost", 1) && listens.may_listen("10.1.1.1", 22));
    assert!(!listens.may_listen("127.0.0.1", 1) && !listens.may_listen("11.1.1.1", 22));
    assert!(!listens.may_listen_on_sockets() && listens.may_open("x", 1));
    let none = options(r#"permitopen="a:1",no-port-forwarding"#).uses;
    assert!(!none.may_open("a", 1) && !none.may_listen("a", 1) && !none.may_open_sockets());
}

/// KEY-10, KEY-11.
#[test]
fn place_and_time_of_a_login() {
    let addr = |text: &str| PeerAddr::Ip(text.parse().unwrap());
    let here = options(r#"from="127.0.0.1""#);
    assert!(here.allow(addr("127.0.0.1:5"), 0) && here.allow(addr("[::ffff:127.0.0.1]:5"), 0));
    assert!(!here.allow(addr("127.0.0.2:5"), 0) && !here.allow(PeerAddr::LocalOwner { pid: 1 }, 0));
    let soon = options(r#"expiry-time="20300101",expiry-time="20260101Z",expiry-time="20270101""#);
    assert!(soon.allow(addr("1.2.3.4:5"), 1_767_225_599) && !soon.allow(addr("1.2.3.4:5"), 1_767_225_600));
    assert_eq!(soon.canonical().unwrap(), r#"expiry-time="20300101Z",expiry-time="20260101Z",expiry-time="20270101Z""#);
}

/// KEY-01.
#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (text, words) in [
        ("no-such-thing", "no option `no-such-thing`"),
        ("restrict,no-ptty", "`no-ptty`"),
        ("verify-required", "`verify-required` cannot be honoured"),
        ("restrict,tunnel=\"0\"", "`tunnel` cannot be honoured"),
        ("sneaky=\"1\"", "`sneaky`"),
        ("sneaky=1", "`sneaky`"),
        ("pty=\"yes\"", "`pty` takes no value"),
        ("no-user-rc=\"yes\"", "takes no value"),
        ("command", "`command` needs a value"),
        ("command=ls", "`command` needs a value"),
        ("from=\"host.example\"", "`from`: host names"),
        ("from=\"10.0.0.1/8\"", "`from`: a network"),
        ("expiry-time=\"tomorrow\"", "`expiry-time`: write"),
        ("permitopen=\"host\"", "`permitopen`: write"),
        ("permitopen=\"host:65536\"", "`permitopen`"),
        ("permitopen=\"host:0\"", "`permitopen`"),
        ("permitopen=\":1\"", "`permitopen`"),
        ("permitopen=\"::1:80\"", "`permitopen`"),
        ("permitopen=\"host:+1\"", "`permitopen`"),
        ("permitlisten=\"x\"", "`permitlisten`"),
        ("environment=\"A\"", "`environment`"),
        ("environment=\"A B=1\"", "`environment`"),
        ("environment=\"=1\"", "`environment`"),
        ("command=\"a\u{1b}b\"", "control character"),
        ("command=\"a\0b\"", "control character"),
        ("command=\"a\",command=\"a\"", "`command` is there twice"),
        ("from=\"1.1.1.1\",from=\"1.1.1.1\"", "`from` is there twice"),
        ("cert-authority,principals=\"a\",principals=\"b\"", "`principals` is there twice"),
        ("cert-authority,principals=\"\"", "`principals`: a name is empty"),
        ("principals=\"a\"", "`principals`: it is for the key of an authority"),
        ("command=\"a", "not closed"),
        ("command=\"a\\\"", "not closed"),
        ("pty,,pty", "an option is empty"),
        (",pty", "an option is empty"),
        ("pty,", "an option is empty"),
        ("pty pty", "`pty pty`"),
        ("command=\"a\"b", "an option is empty"),
        ("\"pty\"", "no option"),
        ("pty\u{a0}", "no option"),
    ] {
        assert!(refused(text).contains(words), "{text}: {}", refused(text));
    }
}

/// KEY-05.
#[test]
fn the_canonical_text_says_the_same() {
    let text = r#"RESTRICT,Command="a \"b\"",cert-authority,principals="x",expiry-time="20300101""#;
    let first = options(text);
    let canonical = first.canonical().unwrap();
    assert_eq!(canonical, r#"restrict,command="a \"b\"",principals="x",expiry-time="20300101Z""#);
    let again = options(&format!("cert-authority,{canonical}"));
    assert_eq!((again.canonical(), again.uses), (Some(canonical), first.uses));
    assert_eq!(options("cert-authority").canonical(), None);
}

/// KEY-05.
#[test]
fn options_end_at_the_first_white_space_outside_of_quotes() {
    assert_eq!(split_options("a=\"b c\",d ssh-rsa x"), Ok(("a=\"b c\",d", "ssh-rsa x")));
    assert_eq!(split_options(r#"a="b \" c"	 ssh-rsa"#), Ok((r#"a="b \" c""#, "ssh-rsa")));
    assert_eq!(split_options("a"), Ok(("a", "")));
    assert_eq!(split_options("a=\"b ssh-rsa"), Err(KeyOptionError::Unclosed));
}

proptest! {
    /// KEY-05.
    #[test]
    fn any_value_survives(value in r#"[ -~\t"\\é]{0,40}"#) {
        // A backslash before the closing quote cannot be written, as in sshd.
        prop_assume!(!value.ends_with('\\'));
        let text = format!("command=\"{}\"", value.replace('"', "\\\""));
        let first = options(&text);
        prop_assert_eq!(first.uses.command.as_deref(), Some(value.as_bytes()));
        prop_assert_eq!(&options(&first.canonical().unwrap()).uses, &first.uses);
    }

    /// KEY-05.
    #[test]
    fn any_text_is_answered_and_what_is_taken_reads_the_same_again(text in "[a-z0-9=\",\\\\ :*.!/-]{0,60}|\\PC{0,60}") {
        if let Ok(first) = LineOptions::parse(&text) && let Some(canonical) = first.canonical() {
            let text = if first.authority { format!("cert-authority,{canonical}") } else { canonical };
            prop_assert_eq!(options(&text).uses, first.uses);
        }
        let _ = split_options(&text);
    }
}
