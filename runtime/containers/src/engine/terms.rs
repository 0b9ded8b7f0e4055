//! Owns what every engine is told in the same words: labels, environment, seconds; and who reads the secret files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::diff::normal;
use crate::observed::{
    ImageDefaults, LABEL_HEALTH, LABEL_IMAGE, LABEL_MANAGED, LABEL_ORIGIN, LABEL_SECRET, LABEL_SERVICE,
    LABEL_SPEC,
};
use crate::secrets::Reader;
use crate::spec::{Secrets, Spec};

/// Where secret files appear inside a container.
pub(crate) const SECRETS_DIR: &str = "/run/secrets";

/// Whole seconds, rounded up: engines know no others.
pub(crate) fn stop_seconds(timeout: Duration) -> u64 {
    normal::seconds(effect::units::Span(timeout)).0.as_secs()
}

/// The labels of the spec and mcrun's own.
pub(crate) fn labels(spec: &Spec, secrets: &Secrets, hash: &str) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.insert(LABEL_MANAGED.to_owned(), "1".to_owned());
    labels.insert(LABEL_SERVICE.to_owned(), spec.service_name().to_owned());
    labels.insert(LABEL_SPEC.to_owned(), hash.to_owned());
    if let Some(image) = spec.image.as_ref().filter(|image| image.contains('@')) {
        labels.insert(LABEL_IMAGE.to_owned(), image.clone());
    }
    if let Some(health) = &spec.health {
        labels.insert(LABEL_HEALTH.to_owned(), json!(health).to_string());
    }
    for (name, material) in secrets {
        labels.insert(format!("{LABEL_SECRET}{name}"), material.tag.clone());
        labels.insert(format!("{LABEL_ORIGIN}{name}"), json!(material.origin).to_string());
    }
    labels
}

/// The variables of the spec, and where the secrets are.
pub(crate) fn environment(spec: &Spec, secrets: &Secrets) -> BTreeMap<String, String> {
    let mut environment = spec.env.clone();
    for name in secrets.keys() {
        environment.insert(format!("{name}_FILE"), format!("{SECRETS_DIR}/{name}"));
    }
    environment
}

/// Who reads the secret files inside: a numeric user owns them, a named one is known to the image alone.
pub(crate) fn reader(spec: &Spec, image: Option<&ImageDefaults>) -> Reader {
    let user = spec.user.as_deref().or(image.map(|image| image.user.as_str())).unwrap_or_default();
    let mut words = user.split(':').map(str::parse::<u32>);
    let is_root = rustix::process::geteuid().is_root();
    match (words.next(), words.next()) {
        _ if !is_root => Reader::Anyone,
        (Some(Ok(user)), Some(Ok(group))) => Reader::User(user, group),
        (Some(Ok(user)), None) => Reader::User(user, 0),
        _ if matches!(user, "" | "root") => Reader::User(0, 0),
        _ => Reader::Anyone,
    }
}

/// A hint by which a cut-off `create` is recognised; never compared to tell whether something changed.
pub(crate) fn spec_hash(spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> String {
    let tags: Vec<_> = secrets.iter().map(|(name, material)| (name, &material.tag)).collect();
    let text = serde_json::json!([spec, image.map(|image| &image.id), tags]).to_string();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
