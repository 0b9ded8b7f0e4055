//! Owns the definition of a container that was found: what `deploy.service` takes, as a value and as a script.

use containers::{Description, Observed, Spec};
use effect::{Code, Error, Result, Sealer, Secret};
use serde_json::{Map, Value, json};

use super::super::lua;

/// What a definition has of a spec, in the order in which people write it.
const FIELDS: [&str; 19] = [
    "name",
    "image",
    "allow_latest",
    "entrypoint",
    "cmd",
    "env",
    "secrets",
    "volumes",
    "ports",
    "network",
    "user",
    "restart",
    "labels",
    "cpus",
    "memory",
    "workdir",
    "read_only",
    "stop_signal",
    "stop_timeout",
];
/// The longest name of a service: the names of its containers may add to it.
const LONGEST_NAME: usize = 59;
/// What `deploy.service` takes where nothing is said.
const USUAL_RESTART: &str = "unless-stopped";

/// One definition.
#[derive(Debug)]
pub(super) struct Definition {
    /// What `deploy.service` takes.
    pub(super) value: Value,
    /// The script.
    pub(super) text: String,
    /// Variables whose values are not written down, with the names of the secrets in their place.
    pub(super) secrets: Vec<(String, String)>,
}

impl Definition {
    /// The definition of what was described. Values that are secrets stand in it by their names and keyed hashes.
    pub(super) fn new(live: &Observed, description: &Description, sealer: &Sealer) -> Result<Self> {
        if live.name.len() > LONGEST_NAME {
            let message = format!(
                "the container `{}` cannot be taken over: its name is longer than {LONGEST_NAME}",
                live.name
            );
            return Err(Error::new(Code::NotAdopted, message)
                .hint("rename it: `podman rename` does so while it runs"));
        }
        let mut spec = description.spec.clone();
        let mut secrets = Vec::new();
        for variable in &description.secret {
            let secret = format!("{}/{variable}", live.name);
            let value = spec.env.remove(variable).unwrap_or_default();
            spec.secrets.insert(variable.clone(), Secret::named(&secret, sealer.tag(value.as_bytes())));
            secrets.push((variable.clone(), secret));
        }
        spec.validate().map_err(|error| {
            let message = format!("the container `{}` cannot be taken over: {}", live.name, error.message);
            Error::new(Code::NotAdopted, message)
                .hint("what looks like a secret becomes one, whose name has letters, digits and `_` only")
        })?;
        let value = Value::Object(fields(&spec));
        let text = script(live, description, &value, &secrets);
        Ok(Self { value, text, secrets })
    }
}

fn fields(spec: &Spec) -> Map<String, Value> {
    let Value::Object(all) = json!(spec) else { return Map::new() };
    let mut fields: Map<String, Value> =
        all.into_iter().filter(|(name, _)| FIELDS.contains(&name.as_str())).collect();
    fields.retain(|name, value| !(name == "restart" && value == USUAL_RESTART));
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.retain(|name, value| !(name == "protocol" && value == "tcp"));
        }
    }
    if spec.image.as_deref().is_some_and(is_floating) {
        fields.insert("allow_latest".into(), true.into());
    }
    fields
}

/// Whether the name has neither a digest nor a tag but `latest`.
pub(in crate::commands) fn is_floating(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && matches!(last.split_once(':'), None | Some((_, "latest")))
}

fn script(live: &Observed, description: &Description, value: &Value, secrets: &[(String, String)]) -> String {
    let mut text =
        format!("--!strict\n-- {}: as it ran under {} when it was taken over.\n", live.name, live.driver);
    if !description.unsaid.is_empty() {
        text +=
            &format!("-- Not said here, so gone once it is replaced: {}\n", description.unsaid.join(", "));
    }
    for note in &description.notes {
        text += &format!("-- {}\n", note.replace(char::is_control, " "));
    }
    for (variable, secret) in secrets {
        text += &format!(
            "-- {variable} comes from [secrets.\"{secret}\"] in mcrun.toml. The running container has it as a variable; one that\n\
             -- replaces it has it in a file, whose path is in ${variable}_FILE.\n"
        );
    }
    text += "local deploy = require(\"@std/deploy\")\n\ndeploy.rollout(deploy.service {\n";
    for name in FIELDS {
        if let Some(field) = value.get(name) {
            text += &format!("    {name} = {},\n", lua::value(field, 1));
        }
    }
    text + "})\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_move_with_their_registry_are_allowed_to() {
        for (image, floats) in [
            ("localhost/web:v1", false),
            ("localhost:5000/web", true),
            ("web", true),
            ("web:latest", true),
            ("web@sha256:00", false),
        ] {
            assert_eq!(is_floating(image), floats, "{image}");
        }
    }
}
