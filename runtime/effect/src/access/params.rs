//! Owns what a rule asks of one parameter.

use globset::GlobMatcher;
use serde::Deserialize;
use serde_json::Value;

use super::patterns::matcher;

/// What a parameter must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub enum Wanted {
    /// Exactly this.
    Is(Value),
    /// One of these.
    OneOf(Vec<Value>),
    /// A text that fits: `{ glob = "v1.*" }`.
    Fits(String, GlobMatcher),
}

impl TryFrom<Value> for Wanted {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Array(values) => Ok(Self::OneOf(values)),
            Value::Object(table) => match (table.len(), table.get("glob")) {
                (1, Some(Value::String(glob))) => {
                    let found = matcher(if glob == "*" { "{*}" } else { glob });
                    let found = found.map_err(|error| error.to_string())?;
                    let found = found.ok_or_else(|| "the pattern is empty".to_owned())?;
                    Ok(Self::Fits(glob.clone(), found))
                }
                _ => Err("a parameter is a value, a list of values, or `{ glob = \"…\" }`".to_owned()),
            },
            value => Ok(Self::Is(value)),
        }
    }
}

impl Wanted {
    /// Whether a parameter is what is wanted.
    pub(super) fn is_met(&self, given: &Value) -> bool {
        match self {
            Self::Is(wanted) => is_same(wanted, given),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| is_same(wanted, given)),
            Self::Fits(_, glob) => given.as_str().is_some_and(|given| glob.is_match(given)),
        }
    }
}

/// Whether two values are one: 1 and 1.0 are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}
