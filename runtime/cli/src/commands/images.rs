//! Owns `images`: what the engine of this node holds.

use std::collections::BTreeSet;

use containers::images::Reference;
use containers::images::effects::{Image, listed};
use effect::units::Size;
use effect::{Code, Error, Result};
use serde_json::Value;

use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

/// As much of a digest or id as tells images apart.
const SHORT: usize = 12;

pub(super) async fn images(app: &App, name: Option<&str>, as_json: bool) -> Result<Exit> {
    let world = wiring::containers(app);
    let engine = world.images().ok_or_else(|| {
        Error::new(Code::Unsupported, "the process driver has no images")
            .hint("select an engine such as podman under [drivers] in `mcrun.toml`")
    })?;
    let mut images = listed(engine.as_ref()).await?;
    if let Some(name) = name {
        let repositories = repositories_of(app, name).await?;
        images.retain(|image| {
            image
                .name
                .parse::<Reference>()
                .is_ok_and(|image| repositories.contains(&image.name()) || is_called(&image, name))
        });
    }
    if as_json {
        render::json(&images);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["image", "tag", "digest", "id", "size", "created"]);
    for image in &images {
        table.row(row(image));
    }
    table.print();
    Ok(Exit::Done)
}

fn row(image: &Image) -> [String; 6] {
    let reference = image.name.parse::<Reference>();
    let (name, tag) = match &reference {
        Ok(reference) => (reference.name(), reference.tag.clone().unwrap_or_default()),
        Err(_) => (image.name.clone(), String::new()),
    };
    let short = |text: &str| text.trim_start_matches("sha256:").chars().take(SHORT).collect::<String>();
    [
        name,
        tag,
        image.digest.as_deref().map(short).unwrap_or_default(),
        short(&image.id),
        Size(image.size).to_string(),
        image.created.clone().unwrap_or_default(),
    ]
}

/// Whether a person means this image by `name`: in full, with or without its tag, or by the last part.
fn is_called(image: &Reference, name: &str) -> bool {
    let last = image.repository.rsplit('/').next().unwrap_or_default();
    let is_given = |reference: Reference| {
        reference.name() == image.name() && (reference.tag.is_none() || reference.tag == image.tag)
    };
    name == last || format!("{last}:{}", image.tag_or_latest()) == name || name.parse().is_ok_and(is_given)
}

/// The repositories of the images that the service runs or is recorded with.
async fn repositories_of(app: &App, service: &str) -> Result<BTreeSet<String>> {
    let recorded = app.journal.record("service", &app.node, service).await?;
    let record: Value =
        recorded.and_then(|record| serde_json::from_str(&record.value).ok()).unwrap_or_default();
    let specs = record["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let of_record = specs.iter().filter_map(|spec| spec["image"].as_str().map(str::to_owned));
    let live = wiring::containers(app).list().await?;
    let of_live = live.into_iter().filter(|container| container.service.as_deref() == Some(service));
    let images = of_record.chain(of_live.filter_map(|container| container.image));
    Ok(images.filter_map(|image| image.parse::<Reference>().ok()).map(|image| image.name()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_called_by_its_parts() {
        let image: Reference = "mcr.example:8443/team/web:v1".parse().unwrap();
        for name in ["web", "web:v1", "mcr.example:8443/team/web", "mcr.example:8443/team/web:v1"] {
            assert!(is_called(&image, name), "{name}");
        }
        for name in ["we", "web:v2", "team", "team/web", "mcr.example:8443/team/web:v2"] {
            assert!(!is_called(&image, name), "{name}");
        }
    }
}
