//! The comparison of a container with what is wanted of it.

use containers::diff::{SecretTags, diff as compare, predict};
use containers::{Driver, Feature, ImageDefaults, Observed, Spec, docker, podman};
use serde_json::Value;

/// A JSON list: what is wanted, what is there, what the image says.
///
/// # Panics
/// When a comparison does, or finds a difference from what it has itself foretold.
pub fn diff(bytes: &[u8]) {
    let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(bytes) else { return };
    let part = |index: usize| parts.get(index).cloned().unwrap_or_default();
    let Ok(spec) = serde_json::from_value::<Spec>(part(0)) else { return };
    let observed = serde_json::from_value::<Observed>(part(1)).ok();
    let image = serde_json::from_value::<ImageDefaults>(part(2)).ok();
    let drivers: [&dyn Driver; 2] = [
        &docker::Docker::new(&docker::Options::default()),
        &podman::Podman::new(&podman::Options { socket: None, state_dir: "/nonexistent".into() }),
    ];
    let tags = SecretTags::new();
    for driver in drivers {
        let accepted = driver.check(&spec).is_ok();
        check(&spec, image.as_ref(), observed.as_ref(), &tags, driver.features(), accepted, driver.name());
    }
}

fn check(
    spec: &Spec,
    image: Option<&ImageDefaults>,
    observed: Option<&Observed>,
    tags: &SecretTags,
    features: &[Feature],
    accepted: bool,
    driver: &str,
) {
    let found = compare(spec, image, observed, tags, features);
    let foretold = predict(spec, image, observed, tags, driver);
    if let (true, Ok(_), Ok(foretold)) = (accepted && spec.secrets.is_empty(), found, foretold) {
        let again = compare(spec, image, Some(&foretold), tags, features).unwrap();
        assert!(again.fields.is_empty(), "{driver}: {:?} differ from what was foretold", again.fields);
    }
}
