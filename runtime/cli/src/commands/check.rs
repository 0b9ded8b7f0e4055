//! Owns `check`: scripts are compared with the types of everything that they may call. Leaves the comparison to Luau's
//! analysis in a helper program.

mod helper;
mod kept;
mod playbooks;
mod sources;

use std::path::PathBuf;

use effect::Result;
use serde_json::json;

pub(crate) use self::helper::Finding;
pub(crate) use self::kept::Checker;
pub(crate) use self::sources::Sources;
pub(super) use self::sources::beneath as scripts_beneath;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::{render, wiring};

pub(super) async fn check(global: &Global, paths: &[PathBuf], as_json: bool) -> Result<Exit> {
    let definitions = script::types::definitions(wiring::declarations(global)?.declarations());
    let sources = Sources::collect(paths)?;
    let helper = helper::find()?;
    let mut findings = helper::check(&helper, &definitions, &sources).await?;
    findings.iter_mut().for_each(Finding::speak_plainly);
    findings.extend(playbooks::mistakes(global, &sources, &findings).await?);
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    if as_json {
        let listed: Vec<_> = findings.iter().map(to_json).collect();
        render::json(&listed);
    } else {
        findings.iter().for_each(show);
        let warnings = findings.len() - errors;
        render::note(format_args!(
            "{}: {}, {}",
            render::count(sources.checked.len() as u64, "file"),
            render::count(errors as u64, "error"),
            render::count(warnings as u64, "warning"),
        ));
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Failed })
}

fn word(finding: &Finding) -> &'static str {
    if finding.warning { "warning" } else { "error" }
}

fn to_json(finding: &Finding) -> serde_json::Value {
    json!({
        "file": finding.module,
        "line": finding.line,
        "column": finding.column,
        "severity": word(finding),
        "message": finding.message,
    })
}

fn show(finding: &Finding) {
    let style = if finding.warning { render::YELLOW } else { render::RED };
    let message = render::printable(&finding.message).replace('\n', "\n    ");
    render::out(format_args!(
        "{}:{}:{}: {}: {message}",
        render::printable(&finding.module),
        finding.line,
        finding.column,
        render::styled(style, word(finding)),
    ));
}
