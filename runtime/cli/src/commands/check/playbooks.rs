//! Owns what `check` says of playbooks beyond their types: what a definition means, such as an impossible time.

use std::collections::BTreeSet;
use std::path::Path;

use daemon::playbooks::{Mistake, calls_playbook};
use effect::Result;
use script::{Limits, Modules, Template};

use super::{Finding, Sources};
use crate::arguments::Global;
use crate::commands::split;
use crate::execute::PROGRAM;
use crate::playbooks::read;
use crate::{stdlib, wiring};

/// What is wrong with the playbooks among `sources`; those whose types are wrong already are left alone.
pub(super) async fn mistakes(global: &Global, sources: &Sources, found: &[Finding]) -> Result<Vec<Finding>> {
    let wrong: BTreeSet<&str> =
        found.iter().filter(|finding| !finding.warning).map(|finding| finding.module.as_str()).collect();
    let is_readable = |title: &&String| {
        !wrong.contains(title.as_str()) && sources.texts.get(*title).is_some_and(|text| calls_playbook(text))
    };
    let playbooks: Vec<&String> = sources.checked.iter().filter(is_readable).collect();
    if playbooks.is_empty() {
        return Ok(Vec::new());
    }
    let effects: Vec<String> =
        wiring::declarations(global)?.names().map(|(name, _)| name.to_owned()).collect();
    let template = Template::start(PROGRAM.as_ref()).await?;
    let mut findings = Vec::new();
    for title in playbooks {
        if let Err(mistake) = one(title, &sources.texts[title], &template, effects.clone()).await {
            findings.push(finding(title, mistake));
        }
    }
    Ok(findings)
}

async fn one(title: &str, source: &str, template: &Template, effects: Vec<String>) -> Result<(), Mistake> {
    let (root, name) = split(Path::new(title))?;
    let limit = Limits::default().source;
    let modules = Modules::open(&root, stdlib::source, limit)?;
    let worker = template.worker().await?;
    read(worker, effects, &modules, (&name, source), limit).await.map(drop)
}

fn finding(title: &str, mistake: Mistake) -> Finding {
    let error = mistake.error;
    let mut message = error.to_string();
    if let Some(hint) = error.advice() {
        message.push_str(&format!("\nhint: {hint}"));
    }
    error.details.iter().for_each(|detail| message.push_str(&format!("\n{detail}")));
    Finding {
        module: title.to_owned(),
        line: mistake.line.unwrap_or(1),
        column: 1,
        warning: false,
        message,
    }
}
