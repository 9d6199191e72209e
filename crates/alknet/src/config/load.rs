//! Loading: sources in, a checked configuration with the origin of every value out.

use std::path::PathBuf;

use toml::Value;

use super::{
    Config, ConfigError, defaults, environment,
    error::Problem,
    file,
    merge::{self, Setting, Values},
    origin::Origin,
    suggest::closest,
};

/// Where settings come from, the weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The system's file; it may be absent.
    pub system: Option<PathBuf>,
    /// The file that the user named; it must be there.
    pub user: Option<PathBuf>,
    /// Where the user's file is looked for when none is named. The first that is there counts, at each loading anew: a
    /// node takes over a file that was made after it had started.
    pub usual: Vec<PathBuf>,
    /// Environment variables: all of them, what is not ours is left alone.
    pub env: Vec<(String, String)>,
    /// Keys that flags set, such as `node.listen`.
    pub flags: Vec<(String, Value)>,
}

/// A configuration that was checked as a whole, and where each value comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    config: Config,
    values: Values,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `section.key`, or `roles.NAME.field`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Reads and checks every layer.
///
/// # Errors
/// Everything that is wrong in any layer, at once, each with file and line.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let mut settings = Vec::new();
    if let Some(path) = &sources.system {
        settings.extend(file::read(path, false, &mut problems));
    }
    if let Some(path) = &sources.user {
        settings.extend(file::read(path, true, &mut problems));
    } else if let Some(path) = sources.usual.iter().find(|path| path.exists()) {
        settings.extend(file::read(path, true, &mut problems));
    }
    settings.extend(environment::read(&sources.env, &mut problems));
    settings.extend(flags(&sources.flags, &mut problems));
    let values = merge::overlay(settings, &mut problems);
    ConfigError::unless_empty(problems)?;
    whole(values)
}

fn flags(flags: &[(String, Value)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (key, value) in flags {
        let origin = Origin::flag_for(key);
        if defaults::find(key).is_some() {
            settings.push(Setting { key: key.clone(), value: value.clone(), origin });
        } else {
            let suggestion = closest(key, defaults::keys().iter().map(|key| key.name.as_str()));
            problems.push(Problem::at(&origin, "no key of the configuration").meaning(suggestion));
        }
    }
    settings
}

/// Checks what fits only together.
fn whole(values: Values) -> Result<Loaded, ConfigError> {
    let origin = |key: &String| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
    let config =
        merge::config_of(&values).map_err(|message| ConfigError::of(Problem::at(&Origin::Default, message)))?;
    let contradictions = config.contradictions();
    let problem = |(key, why): (String, String)| Problem::at(&origin(&key), format!("{key}: {why}"));
    ConfigError::unless_empty(contradictions.into_iter().map(problem).collect())?;
    Ok(Loaded { config, values })
}

impl Loaded {
    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }
    /// Every value in force: the known keys in the order of the defaults, then the user's roles by name.
    pub fn entries(&self) -> Vec<Entry> {
        let known = defaults::keys().iter().map(|key| key.name.as_str());
        let own = self.values.keys().map(String::as_str).filter(|key| defaults::find(key).is_none());
        known.chain(own).filter_map(|key| self.entry(key)).collect()
    }
    fn entry(&self, key: &str) -> Option<Entry> {
        let (value, origin) = self.values.get(key)?.clone();
        Some(Entry { key: key.to_owned(), value, origin })
    }
    pub(super) const fn values(&self) -> &Values {
        &self.values
    }
}
