//! Cargo, started from inside `cargo run`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// A cargo command in `root`.
///
/// What `cargo run` put into the environment about *this* package is taken out again: build scripts that watch those
/// variables (ring's does) would otherwise run anew each time a chore and a person take turns.
pub fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds, environment and configuration considered.
pub fn target_folder(root: &Path) -> Result<PathBuf> {
    let output = cargo(root, &["metadata", "--no-deps", "--format-version", "1"]).output().context("running cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_does_not_see_the_variables_of_this_package() {
        // The test runner sets CARGO_MANIFEST_DIR for this very test, as `cargo run` does for the chores.
        let command = cargo(Path::new("."), &["--version"]);
        let removed = command.get_envs().any(|(name, value)| name == "CARGO_MANIFEST_DIR" && value.is_none());
        assert_eq!(removed, env::var_os("CARGO_MANIFEST_DIR").is_some());
    }
}
