//! Owns containers as the registry keeps them: arguments of `containers.ensure`, looked at without a run.

use std::sync::OnceLock;

use effect::declaration::parameters;
use effect::{Code, Declared as _, Error, Need, Result, arguments};
use serde_json::Value;

use super::Ensure;
use super::ensure::needs_of;
use crate::spec::Spec;

/// A recorded container.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What it is.
    pub spec: Spec,
    /// The capabilities that making it takes.
    pub needs: Vec<Need>,
}

/// Reads what a script recorded, by the same checks as the call of the effect.
///
/// # Errors
/// `MC-A001` or `MC-A002` for what the effect would not take.
pub fn recorded(mut container: Value) -> Result<Recorded> {
    static PARAMETERS: OnceLock<Value> = OnceLock::new();
    arguments::check(Ensure::NAME, PARAMETERS.get_or_init(parameters::<Ensure>), &mut container)?;
    let spec: Spec = serde_json::from_value(container)
        .map_err(|error| Error::new(Code::Argument, format!("`{}`: {error}", Ensure::NAME)))?;
    let needs = needs_of(&spec)?;
    Ok(Recorded { spec, needs })
}
