//! Reading a file's text into values by key, and saying everything that does not fit.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Place},
    hint,
    key::Kind,
    keys::{KEYS, SECTIONS, find},
    layers::{Given, Value},
};

/// The values of a file's `text`, and what is wrong with its form.
pub(super) fn read(path: &Path, text: &str) -> (Vec<Given>, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = FileReader {
        path,
        text,
        given: Vec::new(),
        faults: Vec::new(),
    };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let told = format!("no TOML: {}", error.message().replace('\n', ", "));
        reader.fault(at, String::new(), told);
    }
    // What could not be read at all would only repeat itself as unknown keys.
    if reader.faults.is_empty() {
        reader.top(table.get_ref());
    }
    (reader.given, reader.faults)
}

struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    given: Vec<Given>,
    faults: Vec<Fault>,
}

impl FileReader<'_> {
    fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or_default();
        Place::File(self.path.to_owned(), before.matches('\n').count() + 1)
    }

    fn fault(&mut self, at: usize, key: String, told: String) {
        let place = self.place(at);
        self.faults.push(Fault { place, key, told });
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(section) if SECTIONS.iter().any(|(known, _)| *known == name) => {
                    for (leaf, value) in section {
                        self.entry(
                            &format!("{name}.{}", leaf.get_ref()),
                            leaf.span().start,
                            value,
                        );
                    }
                }
                DeValue::Table(_) => self.unknown_section(name, at),
                _ => self.entry(name, at, value),
            }
        }
    }

    fn unknown_section(&mut self, name: &str, at: usize) {
        let sections = SECTIONS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !name.is_empty());
        let told = match hint::nearest(name, sections.clone()) {
            Some(near) => format!("there is no such section: did you mean [{near}]?"),
            None => {
                let all: Vec<&str> = sections.collect();
                format!("there is no such section; there are {}", all.join(", "))
            }
        };
        self.fault(at, format!("[{name}]"), told);
    }

    fn entry(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let Some(key) = find(name) else {
            return self.fault(at, name.to_owned(), unknown(name));
        };
        match value_of(key.kind, value.get_ref()) {
            Some(value) => {
                let place = self.place(at);
                self.given.push(Given { key, value, place });
            }
            None => {
                let found = value.get_ref().type_str();
                let told = format!("this must be {}, not {}", key.kind.told(), article(found));
                self.fault(at, name.to_owned(), told);
            }
        }
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// What to say about a key that does not exist.
pub(super) fn unknown(name: &str) -> String {
    if let Some(near) = hint::nearest(name, KEYS.iter().map(|key| key.name)) {
        return format!("there is no such key: did you mean {near}?");
    }
    // Often the name is right and the section is not.
    let leaf = name.rsplit('.').next().unwrap_or(name);
    match KEYS.iter().find(|key| key.leaf() == leaf) {
        Some(key) => format!("there is no such key: did you mean {}?", key.name),
        None => "there is no such key; `pantala config default` prints all".to_owned(),
    }
}

/// The value, if its shape is that of `kind`.
pub(super) fn value_of(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    match (kind, value) {
        (Kind::Whole, DeValue::Integer(number)) => {
            let number = u64::from_str_radix(number.as_str(), number.radix());
            number.ok().map(|number| Value::One(number.to_string()))
        }
        (Kind::Flag, DeValue::Boolean(is)) => Some(Value::One(is.to_string())),
        (Kind::Whole | Kind::Flag, _) => None,
        (kind, DeValue::Array(items)) if kind.is_list() => {
            let one = if kind == Kind::Wholes {
                Kind::Whole
            } else {
                Kind::Text
            };
            let items = items
                .iter()
                .map(|item| match value_of(one, item.get_ref())? {
                    Value::One(text) => Some(text),
                    Value::Many(_) => None,
                });
            items.collect::<Option<Vec<_>>>().map(Value::Many)
        }
        (kind, DeValue::String(text)) if !kind.is_list() => Some(Value::One(text.to_string())),
        _ => None,
    }
}
