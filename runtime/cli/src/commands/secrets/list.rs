//! Owns `secrets list`, and which containers and services are with an older version.

use std::collections::BTreeSet;

use containers::effects::World;
use effect::{Result, Secret};
use serde_json::{Value, json};
use system::secrets::sealed::Head;

use crate::app::App;
use crate::render::{self, Table};
use crate::wiring;

pub(super) async fn list(app: &App, as_json: bool) -> Result<()> {
    let (heads, standing) = (app.vault.heads().await?, app.vault.standing().await?);
    let mut shown = Vec::new();
    let mut table = Table::new(&["name", "version", "kept", "may go to", "set", "by", "last used"]);
    let now = app.clock.now();
    for (name, head) in &heads {
        let (uses, behind) = (app.vault.uses(name).await?, behind_of(app, name, head).await?);
        let Some(newest) = head.versions.last() else { continue };
        let last = uses.last().map(|last| {
            let by = last.run.as_ref().map_or_else(|| "mcrun".to_owned(), |run| format!("run {run}"));
            format!("@{} by {by}, {}", last.version, render::ago(last.at, now))
        });
        table.row([
            name.clone(),
            head.latest.to_string(),
            head.versions.len().to_string(),
            head.to.join(" "),
            render::ago(newest.at, now),
            newest.by.clone(),
            last.unwrap_or_default(),
        ]);
        let versions = head.versions.iter();
        let versions = versions
            .map(|kept| json!({ "version": kept.version, "at": render::rfc3339(kept.at), "by": kept.by }));
        let uses = uses.iter().map(|used| {
            json!({ "version": used.version, "to": used.to, "run": used.run, "at": render::rfc3339(used.at) })
        });
        shown.push(json!({
            "name": name,
            "latest": head.latest,
            "to": head.to,
            "versions": versions.collect::<Vec<_>>(),
            "uses": uses.collect::<Vec<_>>(),
            "behind": behind,
        }));
    }
    if as_json {
        render::json(&json!({ "secrets": shown, "keys": standing.keys, "sealed_with": standing.by }));
        return Ok(());
    }
    table.print();
    for secret in &shown {
        let behind: Vec<&str> =
            secret["behind"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !behind.is_empty() {
            let name = secret["name"].as_str().unwrap_or_default();
            render::note(format_args!("with an older version of {name}: {}", behind.join(", ")));
        }
    }
    if standing.keys > 1 {
        render::note("a rotation of the key was cut short: `mcrun secrets rotate-key` finishes it");
    }
    Ok(())
}

/// What is with an older version of a secret.
pub(super) async fn behind(app: &App, name: &str) -> Result<Vec<String>> {
    match app.vault.heads().await?.get(name) {
        Some(head) => behind_of(app, name, head).await,
        None => Ok(Vec::new()),
    }
}

async fn behind_of(app: &App, name: &str, head: &Head) -> Result<Vec<String>> {
    let older = head.versions.iter().filter(|kept| kept.version != head.latest);
    let tags: BTreeSet<String> = older
        .map(|kept| {
            let handle = Secret::of_version(name, Some(kept.version), kept.tag.clone());
            World::secret_tag(&handle, &app.sealer)
        })
        .collect();
    let mut behind = BTreeSet::new();
    if !tags.is_empty() {
        match wiring::containers(app).list().await {
            Ok(containers) => {
                let with =
                    containers.iter().filter(|live| live.secrets.values().any(|tag| tags.contains(tag)));
                behind.extend(with.map(|live| format!("container {}", live.name)));
            }
            Err(error) => tracing::debug!(%error, "containers are not looked through"),
        }
    }
    // One that is joined to something else, or is of a version that is not kept any more, is known from what was deployed.
    for record in app.journal.records("service", Some(&app.node)).await? {
        let recorded = serde_json::from_str(&record.value).unwrap_or(Value::Null);
        if has_older(&recorded, name, head.latest) {
            behind.insert(format!("service {}", record.name));
        }
    }
    Ok(behind.into_iter().collect())
}

fn has_older(value: &Value, name: &str, latest: u32) -> bool {
    match value {
        Value::Object(fields) if fields.contains_key("$secret") => {
            let secret = serde_json::from_value::<Secret>(value.clone());
            secret.is_ok_and(|secret| {
                secret
                    .values()
                    .any(|part| part.name == name && part.version.is_some_and(|version| version < latest))
            })
        }
        Value::Object(fields) => fields.values().any(|field| has_older(field, name, latest)),
        Value::Array(items) => items.iter().any(|item| has_older(item, name, latest)),
        _ => false,
    }
}
