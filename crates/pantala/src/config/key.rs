//! What a key of the configuration is. The list of all of them is [`super::keys::KEYS`].

/// One key: everything that the file, the reference page and `config explain` say about it comes from here.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.name`, or a name alone at the top.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// The default as it stands in a file; none means unset.
    pub(crate) default: Option<&'static str>,
    /// A value to show where there is no default, or an empty one.
    pub(crate) example: &'static str,
    /// What it does, in sentences.
    pub(crate) doc: &'static str,
}

/// What a value is. Shape only: what the text within must be is up to `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text.
    Text,
    /// A path.
    Path,
    /// `ADDRESS:PORT`.
    Address,
    /// `ADDRESS:PORT`, or `off`.
    Listener,
    /// `30s`.
    Duration,
    /// `4MiB`.
    Size,
    /// `100MB/s`.
    Rate,
    /// A whole number.
    Whole,
    /// `true` or `false`.
    Flag,
    /// Several texts.
    Texts,
    /// Several paths.
    Paths,
    /// Several whole numbers.
    Wholes,
}

impl Kind {
    /// What is expected, for people.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Path => "a path",
            Self::Address => "\"ADDRESS:PORT\"",
            Self::Listener => "\"ADDRESS:PORT\" or \"off\"",
            Self::Duration => "a duration, such as \"30s\"",
            Self::Size => "a size, such as \"4MiB\"",
            Self::Rate => "a rate, such as \"100MB/s\"",
            Self::Whole => "a whole number",
            Self::Flag => "true or false",
            Self::Texts => "a list of texts: [\"...\", \"...\"]",
            Self::Paths => "a list of paths: [\"...\", \"...\"]",
            Self::Wholes => "a list of whole numbers: [1, 2]",
        }
    }

    /// Whether users write names into it.
    pub(crate) const fn is_free(self) -> bool {
        matches!(self, Self::Text | Self::Path | Self::Texts | Self::Paths)
    }

    /// Whether it holds several values.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Paths | Self::Wholes)
    }
}

impl Key {
    /// The section, empty for a key at the top.
    pub(crate) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The name within the section.
    pub(crate) fn leaf(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(_, leaf)| leaf)
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!(
            "PANTALA_{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// What stands here to show what a value looks like.
    pub(crate) fn illustration(&self) -> &'static str {
        if self.example.is_empty() {
            self.default.unwrap_or_default()
        } else {
            self.example
        }
    }

    /// The default, or else the example, as it stands in a file.
    pub(crate) fn shown(&self) -> &'static str {
        self.default.unwrap_or(self.example)
    }
}
