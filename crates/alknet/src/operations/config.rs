//! `config/*`: the configuration in force, and taking over a changed one.

use alknet_call::{CallError, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Foundation, node::not_running, scoped};
use crate::{
    config::{Change, Loaded, diff},
    shared_config::SharedConfig,
};

/// One setting.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Its key, as `section.name`.
    pub key: String,
    /// Its value, in TOML's syntax.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

/// Output of `config/show`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Every setting.
    pub settings: Vec<Setting>,
}

/// One changed setting.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangedSetting {
    /// Its key.
    pub key: String,
    /// What it was, in TOML's syntax; empty if it is new.
    pub old: String,
    /// What it is now, in TOML's syntax; empty if it is gone.
    pub new: String,
    /// Whether it takes a restart to be in force.
    pub needs_restart: bool,
}

/// Output of `config/check` and `config/reload`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// What differs from the configuration in force.
    pub changes: Vec<ChangedSetting>,
}

/// Registers `config/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    let config = foundation.config.clone();
    registry.register(
        Operation::query("config/show").title("Show the configuration").access(scoped("config:read")).handler(
            move |_, _: Nothing| {
                let settings = settings(&config.current());
                async move { Ok(Settings { settings }) }
            },
        ),
    )?;
    let (config, store) = (foundation.config.clone(), foundation.store.clone());
    registry.register(
        Operation::query("config/check")
            .title("Check the configuration files")
            .description("Reads them as a reload would and says what would change, changing nothing.")
            .access(scoped("config:read"))
            .handler(move |_, _: Nothing| {
                let checked = check(&config, &store);
                async move { checked.map_err(|problem| CallError::invalid_input("", problem)) }
            }),
    )?;
    let control = foundation.control.clone();
    registry.register(
        Operation::mutation("config/reload")
            .title("Take over the changed configuration")
            .description("Everything is checked before anything changes.")
            .access(scoped("config:write"))
            .handler(move |_, _: Nothing| {
                let control = control.clone();
                async move {
                    let control = control.ok_or_else(not_running)?;
                    let reloaded = control.reload().await.ok_or_else(not_running)?;
                    reloaded.map(|applied| changes(&applied)).map_err(|problem| CallError::invalid_input("", problem))
                }
            }),
    )?;
    Ok(())
}

/// What a reload would change, if nothing is wrong with it.
fn check(config: &SharedConfig, store: &Store) -> Result<Changes, String> {
    let read = config.read().map_err(|error| error.to_string())?;
    let roles = read.config().roles().map_err(|error| error.to_string())?;
    store.check_roles(&roles).map_err(|error| error.to_string())?;
    Ok(changes(&diff(&config.current(), &read)))
}

/// Every setting, as it is shown.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let entries = loaded.entries().into_iter();
    let setting = |entry: crate::config::Entry| Setting {
        key: entry.key,
        value: entry.value.to_string(),
        origin: entry.origin.to_string(),
    };
    entries.map(setting).collect()
}

fn changes(changes: &[Change]) -> Changes {
    let changes = changes
        .iter()
        .map(|change| ChangedSetting {
            key: change.key.clone(),
            old: change.old.clone(),
            new: change.new.clone(),
            needs_restart: change.needs_restart,
        })
        .collect();
    Changes { changes }
}
