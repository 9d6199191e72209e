//! The files of one folder, and nothing outside it.

use std::{
    io,
    path::{Path, PathBuf},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::{config::DecoyFolder, limits::MAX_PATH_SEGMENTS, problem};

const INDEX: &str = "index.html";

/// What a path names in the folder.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A file, by its path without symbolic links.
    File(PathBuf),
    /// A folder with an index whose URL lacks the slash at the end.
    FolderWithoutSlash,
}

/// Answers with the file that the request's path names, or 404.
pub(crate) async fn serve(folder: &DecoyFolder, request: Request<Body>) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem::method_not_allowed();
    }
    let path = request.uri().path().to_owned();
    let Some(relative) = relative_path(&path) else { return problem::not_found(request.headers()) };
    let (root, with_slash) = (folder.path().to_owned(), path.ends_with('/'));
    let found = tokio::task::spawn_blocking(move || find(&root, &relative, with_slash)).await;
    match found {
        Ok(Ok(Found::File(file))) => send(&file, request).await,
        Ok(Ok(Found::FolderWithoutSlash)) => to_slash(&path),
        _ => problem::not_found(request.headers()),
    }
}

/// The path below the root: decoded once, without dot files, empty segments, or anything that is no plain name.
fn relative_path(path: &str) -> Option<PathBuf> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return (path == "/").then(PathBuf::new);
    }
    let mut relative = PathBuf::new();
    for (count, segment) in inner.split('/').enumerate() {
        let name = percent_decoded(segment)?;
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
        if !plain || count >= MAX_PATH_SEGMENTS {
            return None;
        }
        relative.push(name);
    }
    Some(relative)
}

fn percent_decoded(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Follows symbolic links, as long as they stay below `root`.
fn find(root: &Path, relative: &Path, with_slash: bool) -> io::Result<Found> {
    let named = below(root, &root.join(relative))?;
    if !named.is_dir() {
        return if with_slash { Err(io::ErrorKind::NotFound.into()) } else { regular(named) };
    }
    let index = regular(below(root, &named.join(INDEX))?)?;
    Ok(if with_slash { index } else { Found::FolderWithoutSlash })
}

fn below(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let real = path.canonicalize()?;
    if real.starts_with(root) { Ok(real) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Not a device, a pipe or a socket.
fn regular(path: PathBuf) -> io::Result<Found> {
    if path.metadata()?.is_file() { Ok(Found::File(path)) } else { Err(io::ErrorKind::NotFound.into()) }
}

async fn send(file: &Path, request: Request<Body>) -> Response {
    let accept = request.headers().clone();
    match ServeFile::new(file).oneshot(request).await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => problem::not_found(&accept),
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// `path` has a first slash and no empty segment, so what follows cannot be read as a host.
fn to_slash(path: &str) -> Response {
    match HeaderValue::from_str(&format!("{path}/")) {
        Ok(location) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response(),
        Err(_) => problem::problem(StatusCode::BAD_REQUEST, "The path is malformed."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTTP-11: what a path may name.
    #[test]
    fn only_plain_names_are_looked_up() {
        for (path, relative) in
            [("/", ""), ("/a", "a"), ("/a/b.css", "a/b.css"), ("/a/", "a"), ("/%61%20b", "a b"), ("/a..b", "a..b")]
        {
            assert_eq!(relative_path(path), Some(relative.into()), "{path}");
        }
        let deep = "/a".repeat(MAX_PATH_SEGMENTS + 1);
        for bad in [
            "",
            "*",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/../a",
            "/a/../b",
            "/.git/config",
            "/a/.env",
            "/%2e%2e/a",
            "/%2E./a",
            "/..%2fa",
            "/a%2f..%2fb",
            "/a%5c..%5cb",
            "/a\\b",
            "/a%00",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/c:",
            "/%2e",
            &deep,
        ] {
            assert_eq!(relative_path(bad), None, "{bad}");
        }
    }

    /// HTTP-11: symbolic links that leave the folder are refused, those that stay are followed.
    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::create_dir_all(root.join("empty")).unwrap();
        std::fs::write(base.join("secret"), "s").unwrap();
        std::fs::write(root.join("page"), "p").unwrap();
        std::fs::write(root.join("sub").join(INDEX), "i").unwrap();
        for (target, link) in
            [("../secret", "out"), ("/etc/passwd", "abs"), ("page", "in"), ("..", "up"), ("loop", "loop")]
        {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        std::os::unix::fs::symlink("../../secret", root.join("sub").join("deep")).unwrap();
        let find = |path: &str| find(&root, Path::new(path), false).ok();
        assert_eq!(find("page"), Some(Found::File(root.join("page"))));
        assert_eq!(find("in"), Some(Found::File(root.join("page"))));
        assert_eq!(find("sub"), Some(Found::FolderWithoutSlash));
        for refused in ["out", "abs", "up", "up/secret", "sub/deep", "loop", "empty", "nothing", "page/x"] {
            assert_eq!(find(refused), None, "{refused}");
        }
    }
}
