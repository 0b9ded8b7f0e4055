//! Owns the limits of one run and the form in which `--limit NAME=VALUE` sets them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use effect::units::{Size, Span};
use effect::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// The names that `--limit` knows, in the order of the documentation.
pub const LIMIT_NAMES: [&str; 9] =
    ["memory", "exec", "wall", "idle", "effects", "output", "argument", "source", "depth"];

/// Below this the VM cannot even hold its own library.
const LEAST_MEMORY: u64 = 4 << 20;
/// Above this the decoder of JSON gives up, with what lies around a value counted in.
const GREATEST_DEPTH: u32 = 120;
/// Above this one frame on the pipe could not hold the arguments.
const GREATEST_ARGUMENT: u64 = 48 << 20;
/// Compiling is not interruptible and costs about a hundred times the source in memory.
const GREATEST_SOURCE: u64 = 2 << 20;

/// What one run may use. A limit that is passed ends the worker, never the host, and the run can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of the Lua heap.
    pub memory: u64,
    /// Computing time between two effects.
    pub exec: Duration,
    /// Time from start to end, waiting included.
    pub wall: Option<Duration>,
    /// A worker that would wait longer than this is ended; the run is replayed in a new one when its time comes.
    pub idle: Option<Duration>,
    /// Number of effects.
    pub effects: Option<u64>,
    /// Bytes of `print`, `log` and `progress`.
    pub output: u64,
    /// Bytes of one effect's arguments, encoded.
    pub argument: u64,
    /// Bytes of one source file.
    pub source: u64,
    /// Levels of nesting in arguments and results.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            exec: Duration::from_secs(5),
            wall: None,
            idle: Some(Duration::from_secs(30)),
            effects: Some(1_000_000),
            output: 16 << 20,
            argument: 4 << 20,
            source: 256 << 10,
            depth: 64,
        }
    }
}

impl Limits {
    /// Sets one limit from the form `--limit` takes: `memory=64MiB`, `exec=500ms`, `wall=none`.
    ///
    /// # Errors
    /// MC-U001 when the name is unknown or the value is not of its kind.
    pub fn set(&mut self, setting: &str) -> Result<()> {
        let (name, value) = setting.split_once('=').ok_or_else(|| {
            usage(format!("`--limit {setting}` has no value")).hint("write `--limit NAME=VALUE`")
        })?;
        let (name, value) = (name.trim(), value.trim());
        match name {
            "memory" => self.memory = size(name, value, LEAST_MEMORY, u64::MAX >> 8)?,
            "exec" => self.exec = span(name, value)?,
            "wall" => self.wall = or_none(value, |value| span(name, value))?,
            "idle" => self.idle = or_none(value, |value| span(name, value))?,
            "effects" => self.effects = or_none(value, |value| count(name, value))?,
            "output" => self.output = size(name, value, 0, u64::MAX >> 8)?,
            "argument" => self.argument = size(name, value, 2, GREATEST_ARGUMENT)?,
            "source" => self.source = size(name, value, 1, GREATEST_SOURCE)?,
            "depth" => self.depth = depth(name, value)?,
            unknown => return Err(unknown_name(unknown)),
        }
        Ok(())
    }
}

impl FromStr for Limits {
    type Err = Error;

    /// Reads settings joined by commas, each in the form of [`Limits::set`], on top of the defaults.
    fn from_str(text: &str) -> Result<Self> {
        let mut limits = Self::default();
        for setting in text.split(',').filter(|setting| !setting.trim().is_empty()) {
            limits.set(setting)?;
        }
        Ok(limits)
    }
}

fn or_none<T>(value: &str, read: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    if value == "none" { Ok(None) } else { read(value).map(Some) }
}

fn span(name: &str, value: &str) -> Result<Duration> {
    match value.parse::<Span>() {
        Ok(span) if span.0 >= Duration::from_millis(1) => Ok(span.0),
        Ok(_) => Err(bad_value(name, value, "must be at least 1ms")),
        Err(error) => Err(bad_value(name, value, error)),
    }
}

fn size(name: &str, value: &str, least: u64, greatest: u64) -> Result<u64> {
    let size = value.parse::<Size>().map_err(|error| bad_value(name, value, error))?;
    if size.0 < least || size.0 > greatest {
        return Err(bad_value(
            name,
            value,
            format!("must be between {} and {}", Size(least), Size(greatest)),
        ));
    }
    Ok(size.0)
}

fn count(name: &str, value: &str) -> Result<u64> {
    value.replace('_', "").parse().map_err(|_| bad_value(name, value, "must be a whole number or `none`"))
}

fn depth(name: &str, value: &str) -> Result<u32> {
    match value.parse() {
        Ok(depth) if (1..=GREATEST_DEPTH).contains(&depth) => Ok(depth),
        _ => Err(bad_value(name, value, format!("must be a whole number between 1 and {GREATEST_DEPTH}"))),
    }
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, message)
}

fn bad_value(name: &str, value: &str, cause: impl fmt::Display) -> Error {
    let value: String = value.chars().take(64).collect();
    usage(format!("`--limit {name}={value}` is not understood")).because(cause)
}

fn unknown_name(name: &str) -> Error {
    let name: String = name.chars().take(64).collect();
    let error = usage(format!("there is no limit `{name}`"));
    match nearest(&name, LIMIT_NAMES) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("the limits are {}", LIMIT_NAMES.join(", "))),
    }
}

/// The candidate that a misspelt `word` most likely meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set() {
        let text = "memory=64MiB,exec=500ms,wall=10m,idle=2s,effects=1_000,output=1KiB,argument=2MB,source=1KiB,depth=8";
        let limits: Limits = text.parse().unwrap();
        let expected = Limits {
            memory: 64 << 20,
            exec: Duration::from_millis(500),
            wall: Some(Duration::from_secs(600)),
            idle: Some(Duration::from_secs(2)),
            effects: Some(1000),
            output: 1024,
            argument: 2_000_000,
            source: 1024,
            depth: 8,
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn some_limits_can_be_taken_off() {
        let limits: Limits = "wall=none,effects=none".parse().unwrap();
        assert_eq!((limits.wall, limits.effects), (None, None));
        assert!("memory=none".parse::<Limits>().is_err());
    }

    #[test]
    fn a_misspelt_limit_is_suggested() {
        let error = Limits::default().set("memroy=1GiB").unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert_eq!(error.hint.as_deref(), Some("did you mean `memory`?"));
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        for bad in [
            "memory=1KiB",
            "exec=0s",
            "depth=0",
            "depth=100000",
            "source=1GiB",
            "effects=-1",
            "exec",
            "exec=x",
        ] {
            assert_eq!(Limits::default().set(bad).unwrap_err().code, Code::Usage, "{bad}");
        }
    }
}
