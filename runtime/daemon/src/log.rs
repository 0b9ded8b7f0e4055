//! Owns which forms the daemon's log has. How they are written is left to whoever has the streams.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Journald where systemd reads the error stream, else text.
    #[default]
    Auto,
    /// Lines for people, on the error stream.
    Text,
    /// A line of JSON each, on the error stream.
    Json,
    /// systemd's journal, with fields.
    Journald,
}

impl Form {
    /// Every form, by its name.
    pub const ALL: [(&'static str, Self); 4] =
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json), ("journald", Self::Journald)];
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, form)| form == self).map_or("auto", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, form)| *form);
        known.ok_or_else(|| format!("`{text}` is no form of the log"))
    }
}
