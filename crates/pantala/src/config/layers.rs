//! Where values come from: flags, then the environment, then the file, then the defaults.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml::de::DeValue;

use super::{
    Stated,
    fault::{Fault, Place},
    file, hint,
    key::{Key, Kind},
    keys::{KEYS, find},
};

/// Where the file is unless somebody says otherwise.
pub(crate) const DEFAULT_FILE: &str = "/etc/pantala/pantala.toml";

/// Variables that are ours and no key.
const OTHER_VARIABLES: [&str; 1] = ["PANTALA_CONFIG"];

/// A value as it was written, before it is understood.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// A single one.
    One(String),
    /// A list.
    Many(Vec<String>),
}

/// A value that somebody gave.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// For which key.
    pub(crate) key: &'static Key,
    /// The value.
    pub(crate) value: Value,
    /// Where.
    pub(crate) place: Place,
}

/// Where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file that was named; [`DEFAULT_FILE`] if there is one, otherwise.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) variables: Vec<(String, String)>,
    /// `key`, value and flag for each flag given.
    pub(crate) flags: Vec<(String, String, String)>,
    /// `key`, value and place of what a running daemon was started with.
    pub(crate) told: Vec<(String, String, String)>,
}

impl Sources {
    /// The file `file` and this process's environment.
    pub(crate) fn of_process(file: Option<PathBuf>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PANTALA_"))
            .collect();
        Self {
            file,
            variables,
            ..Self::default()
        }
    }
}

/// Every value that counts, by key.
#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (Value, Place)>,
    /// What could not be read.
    pub(crate) faults: Vec<Fault>,
    /// What was passed over: variables that are no keys.
    pub(crate) warnings: Vec<String>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

/// Why the file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading the configuration file {path}")]
pub(crate) struct ReadFileError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl Settings {
    /// Collects the values of all sources. A file that was named must be there; the default one need not.
    pub(crate) fn gather(sources: &Sources) -> Result<Self, ReadFileError> {
        let mut settings = Self {
            values: defaults(),
            faults: Vec::new(),
            warnings: Vec::new(),
            file: None,
        };
        let path = sources.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => {
                let (given, faults) = file::read(path, &text);
                settings.faults.extend(faults);
                given.into_iter().for_each(|given| settings.put(given));
                settings.file = Some(path.to_owned());
            }
            Err(error) if sources.file.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => {
                let path = path.to_owned();
                return Err(ReadFileError { path, cause });
            }
        }
        settings.environment(&sources.variables);
        for (name, value, flag) in &sources.flags {
            settings.write(name, value, Place::Flag(flag.clone()));
        }
        for (name, value, place) in &sources.told {
            settings.write(name, value, Place::Told(place.clone()));
        }
        Ok(settings)
    }

    /// The value of a key that exists, and where it came from; none if nobody set it.
    pub(crate) fn get(&self, name: &str) -> Option<&(Value, Place)> {
        self.values.get(name)
    }

    /// Everything that is not a default, in the order of the keys.
    pub(crate) fn stated(&self) -> Vec<Stated> {
        let stated = KEYS.iter().filter_map(|key| {
            let (value, place) = self.get(key.name)?;
            (*place != Place::Default).then(|| Stated {
                key: key.name,
                value: written(key.kind, value),
                place: place.clone(),
            })
        });
        stated.collect()
    }

    /// What to say about a key that does not exist.
    pub(crate) fn unknown(name: &str) -> String {
        file::unknown(name)
    }

    fn put(&mut self, given: Given) {
        self.values
            .insert(given.key.name, (given.value, given.place));
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let key = KEYS.iter().find(|key| key.variable() == *name);
            match key {
                // Compose files and pod templates leave variables empty that they do not mean.
                Some(_) if value.is_empty() => {}
                Some(key) => self.write(key.name, value, Place::Variable(name.clone())),
                None if OTHER_VARIABLES.contains(&name.as_str()) => {}
                None => self.strange_variable(name),
            }
        }
    }

    /// Not a fault: Kubernetes sets variables named after services, and one may be called pantala.
    fn strange_variable(&mut self, name: &str) {
        let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let near = hint::nearest(name, variables.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
        self.warnings
            .push(format!("environment variable {name} sets no key{hint}"));
    }

    /// Takes `text` for the key `name`, as variables and flags give it.
    fn write(&mut self, name: &str, text: &str, place: Place) {
        let Some(key) = find(name) else {
            let (key, told) = (name.to_owned(), file::unknown(name));
            return self.faults.push(Fault { place, key, told });
        };
        let value = match (
            understood(key.kind, text),
            &place,
            self.values.get(key.name),
        ) {
            // A flag that is given twice adds to the list.
            (Value::Many(items), Place::Flag(_), Some((Value::Many(before), Place::Flag(_)))) => {
                Value::Many([before.clone(), items].concat())
            }
            (value, ..) => value,
        };
        self.put(Given { key, value, place });
    }
}

/// `text` as a file would say it, or bare: without quotes, and a list with commas.
fn understood(kind: Kind, text: &str) -> Value {
    let written = DeValue::parse(text).ok();
    if let Some(value) = written.and_then(|value| file::value_of(kind, value.get_ref())) {
        return value;
    }
    if !kind.is_list() {
        return Value::One(text.to_owned());
    }
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    Value::Many(items.map(str::to_owned).collect())
}

/// As it would stand in a file.
pub(super) fn written(kind: Kind, value: &Value) -> String {
    let quoted = |text: &String| match kind {
        Kind::Whole | Kind::Wholes | Kind::Flag => text.clone(),
        // Of a text, JSON makes what TOML reads.
        _ => serde_json::Value::from(text.as_str()).to_string(),
    };
    match value {
        Value::One(text) => quoted(text),
        Value::Many(texts) => {
            let texts: Vec<String> = texts.iter().map(quoted).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

fn defaults() -> BTreeMap<&'static str, (Value, Place)> {
    let given = KEYS.iter().filter_map(|key| {
        let value = DeValue::parse(key.default?).ok()?;
        let value = file::value_of(key.kind, value.get_ref())?;
        Some((key.name, (value, Place::Default)))
    });
    given.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        let defaults = defaults();
        for key in KEYS {
            assert_eq!(
                defaults.contains_key(key.name),
                key.default.is_some(),
                "{}",
                key.name
            );
        }
    }
}
