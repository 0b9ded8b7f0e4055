//! Owns [`Image`], an image as scripts see it, and what a plan knows of images that it will have brought about.

use effect::{Context, FieldChange};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::engine::Held;
use super::super::reference::{Reference, pinned};
use crate::observed::ImageDefaults;

/// Stands for the id of an image that the plan builds.
pub(crate) const TO_BE_BUILT: &str = "to be built";

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Its name in full, with its tag.
    pub name: String,
    /// The name that means exactly this content, tag and digest: what `containers.ensure` should be given.
    pub reference: String,
    /// By its content, as the engine calls it.
    pub id: String,
    /// The digest under which its registry has it; absent where none does.
    pub digest: Option<String>,
    /// All names that mean it on the node.
    pub tags: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made, as RFC 3339 in UTC.
    pub created: Option<String>,
    /// Why the image that was here already is used: the registry did not answer. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<String>,
}

impl Image {
    /// What the engine holds under `reference`.
    pub(super) fn of(held: &Held, reference: &Reference) -> Self {
        let exact = match &reference.digest {
            Some(_) => reference.to_string(),
            None => pinned(&reference.tagged(), &held.digests, &held.id),
        };
        let digest = exact.parse::<Reference>().ok().and_then(|reference| reference.digest);
        Self {
            name: reference.tagged(),
            reference: exact,
            id: held.id.clone(),
            digest,
            tags: held.tags.clone(),
            size: held.size,
            created: held.created.clone(),
            cached: None,
        }
    }
}

/// The key of an image on the node.
pub(super) fn key(context: &Context, node: Option<&str>, reference: &Reference) -> String {
    context.key("images", node, &reference.tagged())
}

fn defaults_key(context: &Context, name: &str) -> String {
    context.key("image-defaults", None, name)
}

/// Tells later effects of a plan what an image says that the plan brings to the node.
pub(super) fn plan_defaults(context: &Context, reference: &Reference, defaults: &ImageDefaults) {
    if context.planning() {
        let digests = reference.digest.iter().map(|_| reference.untagged()).collect();
        let defaults = &ImageDefaults { digests, ..defaults.clone() };
        for name in [reference.tagged(), reference.exact()] {
            context.overlay.set(&defaults_key(context, &name), Some(defaults));
        }
    }
}

/// What an image says that the plan brings to the node under this name.
pub(crate) fn planned_defaults(context: &Context, image: &str) -> Option<ImageDefaults> {
    let reference = image.parse::<Reference>().ok()?;
    context.overlay.get::<ImageDefaults>(&defaults_key(context, &reference.exact())).flatten()
}

/// A field that gets a value, or another one.
pub(super) fn field(path: &str, before: Option<&str>, after: &str) -> Option<FieldChange> {
    (before != Some(after)).then(|| FieldChange {
        path: path.to_owned(),
        before: before.map(|text| json!(text)),
        after: Some(json!(after)),
        replaces: false,
    })
}
