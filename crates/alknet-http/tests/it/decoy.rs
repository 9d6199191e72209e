//! What stands in place of the front page.

use alknet_http::{Decoy, DecoyFolder, HttpConfig};
use http::{Request, StatusCode};

use crate::{
    client::{EVERY, Speaks, ask, get, raw},
    node::Node,
};

fn decoy(decoy: Decoy) -> HttpConfig {
    HttpConfig { decoy, ..HttpConfig::default() }
}

/// HTTP-12: health stays, the rest is the decoy's; it can come and go while the node runs.
#[tokio::test]
async fn nothing_at_all() {
    let node = Node::start_with(decoy(Decoy::NotFound), |router| router).await;
    for speaks in EVERY {
        for path in ["/", "/nothing", "/index.html"] {
            let browser = Request::get(path).header("accept", "text/html");
            let answer = ask(node.addr(), speaks, browser).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{speaks:?} {path}");
            assert!(!answer.body.contains("Alknet"));
        }
        assert_eq!(get(node.addr(), speaks, "/healthz").await.status, StatusCode::OK);
    }
    node.http.set_config(HttpConfig::default());
    assert!(get(node.addr(), Speaks::H2, "/").await.body.contains("Alknet"));
}

/// HTTP-12: whatever was asked for, the answer names the configured URL only.
#[tokio::test]
async fn a_redirection() {
    let url = "https://elsewhere.example/start";
    let node = Node::start_with(decoy(Decoy::Redirect(url.parse().unwrap())), |router| router).await;
    for speaks in EVERY {
        for path in ["/", "/nothing", "/?next=https://evil.example", "//evil.example/"] {
            let request = Request::get(path).header("referer", "https://evil.example");
            let answer = ask(node.addr(), speaks, request).await;
            assert_eq!((answer.status, answer.field("location")), (StatusCode::FOUND, url), "{speaks:?} {path}");
        }
        assert_eq!(get(node.addr(), speaks, "/healthz").await.status, StatusCode::OK);
    }
}

struct Site {
    _dir: tempfile::TempDir,
    node: Node,
}

async fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("site");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::create_dir_all(root.join(".git")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
    write("site/index.html", "<title>Bakery</title>");
    write("site/style.css", "body{}");
    write("site/sub/index.html", "sub");
    write("site/.git/config", "SECRET");
    write("site/.env", "SECRET");
    write("outside", "SECRET");
    std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("etc")).unwrap();
    std::os::unix::fs::symlink("style.css", root.join("alias.css")).unwrap();
    let folder = DecoyFolder::open(&root).unwrap();
    Site { _dir: dir, node: Node::start_with(decoy(Decoy::Folder(folder)), |router| router).await }
}

/// HTTP-11.
#[tokio::test]
async fn a_folder_is_an_ordinary_site() {
    let site = site().await;
    for speaks in EVERY {
        for (path, kind, body) in [
            ("/", "text/html", "<title>Bakery</title>"),
            ("/index.html", "text/html", "<title>Bakery</title>"),
            ("/style.css", "text/css", "body{}"),
            ("/style%2ecss", "text/css", "body{}"),
            ("/alias.css", "text/css", "body{}"),
            ("/sub/", "text/html", "sub"),
        ] {
            let answer = get(site.node.addr(), speaks, path).await;
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, body), "{speaks:?} {path}");
            assert!(answer.field("content-type").starts_with(kind));
            let head = ask(site.node.addr(), speaks, Request::head(path)).await;
            assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{speaks:?} {path}");
            assert_eq!(head.field("content-length"), body.len().to_string());
        }
        let answer = get(site.node.addr(), speaks, "/sub").await;
        assert_eq!((answer.status.as_u16(), answer.field("location")), (308, "/sub/"));
        let part = ask(site.node.addr(), speaks, Request::get("/style.css").header("range", "bytes=0-3")).await;
        assert_eq!((part.status, part.body.as_str()), (StatusCode::PARTIAL_CONTENT, "body"));
        let post = ask(site.node.addr(), speaks, Request::post("/style.css")).await;
        assert_eq!((post.status.as_u16(), post.field("allow")), (405, "GET, HEAD"));
        assert_eq!(get(site.node.addr(), speaks, "/healthz").await.status, StatusCode::OK);
    }
}

/// HTTP-11: nothing outside the folder, no dot file, no list of files.
#[tokio::test]
async fn a_folder_gives_nothing_else_away() {
    let site = site().await;
    for path in [
        "/../outside",
        "/sub/../../outside",
        "/%2e%2e/outside",
        "/..%2foutside",
        "/sub/..%2f..%2foutside",
        "/%2e%2e%2foutside",
        "/..%5coutside",
        "/link",
        "/etc/passwd",
        "/etc/",
        "/.git/config",
        "/.env",
        "/%2eenv",
        "/sub/.",
        "/sub/..",
        "//etc/passwd",
        "/style.css/",
        "/style.css/x",
        "/sub//index.html",
        "/nothing",
        "/%00",
        "/style.css%00.html",
        "/%ff",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = raw(site.node.addr(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(!answer.contains("SECRET") && !answer.contains("root:"), "{path}: {answer}");
    }
}
