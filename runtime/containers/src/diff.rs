//! Owns the comparison of a spec with the live object, field by field. Pure: the same function answers a plan, an
//! `ensure` and a check for drift. What is compared is always the live object, never a stored copy of a spec.

mod fields;
mod inverse;
pub(crate) mod normal;
mod predict;

use std::collections::BTreeMap;

use effect::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::features::Feature;
use crate::observed::{ImageDefaults, Observed};
use crate::spec::Spec;

/// One field in which the live object differs from what the spec means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldDiff {
    /// The field: `memory`, `env.LOG_LEVEL`, `labels.tier`.
    pub path: String,
    /// What the live object has; `None` where it has nothing.
    pub before: Option<Value>,
    /// What the spec means; `None` where it means nothing.
    pub after: Option<Value>,
    /// Whether only a new container brings it about.
    pub replaces: bool,
    /// Whether the values are as sensitive as secrets and have to be sealed before anybody sees them.
    pub secret: bool,
}

/// What has to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: the live object is what the spec means.
    None,
    /// There is none yet: create and start it.
    Create,
    /// Change it in place, and start it where it does not run.
    Update,
    /// Stop and remove it, then create and start a new one.
    Replace,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// What has to happen.
    pub action: Action,
    /// Why: for `Create` every field that the spec gives.
    pub fields: Vec<FieldDiff>,
}

/// The keyed hash of each secret of a spec, by the name that the spec gives it.
pub type SecretTags = BTreeMap<String, String>;

/// Compares `spec` with the live object. `features` are the driver's: they tell what can be changed in place.
///
/// # Errors
/// `MC-A001` when a mount of the spec cannot be read.
pub fn diff(
    spec: &Spec,
    image: Option<&ImageDefaults>,
    observed: Option<&Observed>,
    tags: &SecretTags,
    features: &[Feature],
) -> Result<Diff> {
    let comparison = fields::Comparison { spec, image, tags, features };
    let Some(observed) = observed else {
        return Ok(Diff { action: Action::Create, fields: comparison.created() });
    };
    let fields = comparison.changed(observed)?;
    let action = match fields.iter().map(|field| field.replaces).max() {
        None => Action::None,
        Some(false) => Action::Update,
        Some(true) => Action::Replace,
    };
    Ok(Diff { action, fields })
}

/// How the live object will look once `spec` is brought about by the driver called `driver`.
///
/// # Errors
/// `MC-A001` when a mount of the spec cannot be read.
pub fn predict(
    spec: &Spec,
    image: Option<&ImageDefaults>,
    live: Option<&Observed>,
    tags: &SecretTags,
    driver: &str,
) -> Result<Observed> {
    fields::Comparison { spec, image, tags, features: &[] }.predicted(driver, live)
}

/// Refuses to touch what mcrun did not make, unless the spec says `adopt`.
///
/// # Errors
/// `MC-C008` for a foreign container.
pub fn check_ownership(spec: &Spec, observed: Option<&Observed>) -> Result<()> {
    match observed {
        Some(observed) if !observed.managed && !spec.adopt => Err(Error::new(
            Code::ForeignContainer,
            format!("the container `{}` exists and was not made by mcrun", spec.name),
        )
        .hint("`mcrun adopt` takes it over as it runs; `adopt = true` replaces it; else remove it, or choose another name")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
