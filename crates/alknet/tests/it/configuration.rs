//! The configuration as users change it: check, reload, refuse.

use std::process::Command;

use rustix::process::Signal;

use crate::{
    folder::{Folder, errors, wait_until},
    running::RunningNode,
};

/// The HTTP status of the front page, over TLS by stock curl.
fn front_page(node: &RunningNode) -> String {
    let url = format!("https://127.0.0.1:{}/", node.port);
    let page = Command::new("curl").args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url]).output();
    let page = page.expect("these tests need curl: apt-get install curl");
    assert!(page.status.success(), "{}", errors(&page));
    String::from_utf8(page.stdout).unwrap()
}

#[test]
fn a_hangup_takes_over_what_changed() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    assert_eq!(front_page(&node), "200");
    folder.configure("[http]\ndecoy = \"404\"\n");
    assert_eq!(front_page(&node), "200", "nothing changes by itself");
    node.signal(Signal::HUP);
    wait_until("the decoy stands", || front_page(&node) == "404");
    let log = node.log();
    assert!(log.contains("reload: http.decoy: \"none\" becomes \"404\""), "{log}");
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_stays_in_force() {
    let folder = Folder::with_identity();
    folder.configure("[http]\ndecoy = \"404\"\n");
    let node = folder.serve();
    assert_eq!(front_page(&node), "404");
    folder.configure("[http]\ndecoy = \"none\"\n[audit]\nmax_rows = 0\n");
    node.signal(Signal::HUP);
    wait_until("the reload is refused", || node.log().contains("reload refused"));
    assert_eq!(front_page(&node), "404");
    let refused = folder.refused(&["config", "reload"], 2);
    let place = format!("{}:4: audit.max_rows: must be at least 1", folder.data().join("alknet.toml").display());
    assert!(refused.contains(&place), "{refused}");
    assert_eq!(front_page(&node), "404");
}

#[test]
fn a_reload_says_what_changes_and_what_waits_for_a_restart() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    folder.configure("[log]\nlevel = \"debug\"\nformat = \"json\"\n");
    let expected = "log.format: \"text\" becomes \"json\" (after a restart)\nlog.level: \"info\" becomes \"debug\"\n";
    assert_eq!(folder.run(&["config", "check"]), expected);
    assert_eq!(folder.run(&["config", "reload"]), expected);
    assert_eq!(folder.run(&["config", "reload"]), "nothing changed\n");
}

#[test]
fn origins_name_file_line_and_variable() {
    let folder = Folder::with_identity();
    folder.configure("[audit]\nmax_rows = 7\n");
    let mut command = folder.command(&["config", "show", "--origin"]);
    let shown = command.env("ALKNET_LOG_LEVEL", "warn").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let file = folder.data().join("alknet.toml");
    for line in [
        format!("audit.max_rows = 7  # {}:2", file.display()),
        "log.level = \"warn\"  # environment ALKNET_LOG_LEVEL".to_owned(),
        "ssh.login_grace = \"30s\"  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "`{line}` is missing in {shown}");
    }
}
