//! The reference page, the default file and the explanation of one key, all from [`KEYS`].

use std::fmt::Write;

use super::{
    Place, Settings, Value,
    key::Key,
    keys::{KEYS, SECTIONS},
    layers::written,
};

/// docs/configuration.md.
pub(crate) fn markdown() -> String {
    let mut page = String::from(HEAD);
    for (section, about) in SECTIONS {
        let title = if section.is_empty() {
            "At the top".to_owned()
        } else {
            format!("[{section}]")
        };
        put(
            &mut page,
            format_args!(
                "\n## {title}\n\n{about}\n\n| key | default | meaning |\n| --- | --- | --- |\n"
            ),
        );
        for key in KEYS.iter().filter(|key| key.section() == section) {
            let default = match key.default {
                Some(default) if key.kind.is_list() => {
                    format!("`{default}`; e.g. `{}`", key.example)
                }
                Some(default) => format!("`{default}`"),
                None => format!("unset; e.g. `{}`", key.example),
            };
            put(
                &mut page,
                format_args!("| `{}` | {default} | {} |\n", key.leaf(), key.doc),
            );
        }
    }
    page
}

const HEAD: &str = "\
<!-- Made from crates/pantala/src/config/keys.rs: UPDATE_DOCS=1 cargo nextest run -p pantala -->
# Configuration

One TOML file, `/etc/pantala/pantala.toml` unless `--config` or `PANTALA_CONFIG` names another. Without a file the
defaults hold. A value counts in this order: flags, environment, file, default.

- Each key has a variable: `peer.upload_rate` is `PANTALA_PEER_UPLOAD_RATE`. An empty variable counts as unset.
- Each key has a flag: `--set peer.upload_rate=100MB/s`, on every command that reads the configuration. Often used ones
  have a flag of their own; see [cli.md](cli.md).
- Variables and flags take values as the file does, `--set 'origin.allow=[\"a.corp\", \"b.corp\"]'`, and without quotes and
  brackets, `--set origin.allow=a.corp,b.corp`. A flag of a list that is given again adds to it.
- Durations are `250ms`, `30s`, `5min`, `72h`, `7d`; sizes `4MiB`, `10GB`; rates `100MB/s` or `1Gbit`.
- `pantala config check` reports everything that is wrong at once, `pantala config explain KEY` tells where a value
  comes from, `pantala config default` prints a file to begin with.
- An unknown key is a fault. An unknown `PANTALA_` variable is a warning: Kubernetes sets some of its own.
";

/// A file with every key, commented out, at its default.
pub(crate) fn default_file() -> String {
    let mut file = String::from(
        "# Pantala's configuration. Every key stands at its default, commented out.\n# `pantala config check FILE` checks, `pantala config explain KEY` explains.\n",
    );
    for (section, about) in SECTIONS {
        if !section.is_empty() {
            put(&mut file, format_args!("\n# {about}\n[{section}]\n"));
        }
        for key in KEYS.iter().filter(|key| key.section() == section) {
            file.push('\n');
            comment(&mut file, key.doc);
            let off = if section.is_empty() { "" } else { "# " };
            let unset = match key.default {
                Some(_) if key.kind.is_list() => format!("   # e.g. {}", key.example),
                Some(_) => String::new(),
                None => "   # unset by default".to_owned(),
            };
            put(
                &mut file,
                format_args!("{off}{} = {}{unset}\n", key.leaf(), key.shown()),
            );
        }
    }
    file
}

/// Appends `text` as comment lines of at most some 100 characters.
fn comment(to: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 100 {
            put(to, format_args!("{line}\n"));
            line = String::from("#");
        }
        put(&mut line, format_args!(" {word}"));
    }
    put(to, format_args!("{line}\n"));
}

/// What `config explain` says.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Explanation {
    key: &'static str,
    meaning: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    variable: String,
    /// As a file, `--set` and the variable take it.
    example: &'static str,
    value: Option<Value>,
    from: String,
    #[serde(skip)]
    written: String,
}

impl Explanation {
    /// Of `key`, with the value that `settings` give it.
    pub(crate) fn of(key: &'static Key, settings: &Settings) -> Self {
        let given = settings.get(key.name);
        let (value, from) = match given {
            Some((value, place)) => (Some(value.clone()), place.to_string()),
            None => (None, Place::Default.to_string()),
        };
        let written = value.as_ref().map(|value| written(key.kind, value));
        Self {
            key: key.name,
            meaning: key.doc,
            kind: key.kind.told(),
            default: key.default,
            variable: key.variable(),
            example: key.illustration(),
            value,
            from,
            written: written.unwrap_or_else(|| UNSET.to_owned()),
        }
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let Self { key, example, .. } = self;
        let mut text = format!(
            "{key}\n  {}\n\n  value     {} (from {})\n  default   {}\n  takes     {}\n",
            self.meaning,
            self.written,
            self.from,
            self.default.unwrap_or(UNSET),
            self.kind,
        );
        put(
            &mut text,
            format_args!("  file      {}\n", in_file(key, example)),
        );
        put(
            &mut text,
            format_args!("  flag      --set '{key}={example}'\n"),
        );
        put(
            &mut text,
            format_args!("  variable  {}='{example}'\n", self.variable),
        );
        text
    }
}

const UNSET: &str = "unset";

fn in_file(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((section, leaf)) => format!("[{section}] {leaf} = {value}"),
        None => format!("{key} = {value}"),
    }
}

fn put(to: &mut String, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a string takes everything");
}
