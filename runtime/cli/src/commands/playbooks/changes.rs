//! Owns what changed between two versions of a playbook.

use std::collections::BTreeSet;

use daemon::playbooks::history::{History, Version};
use effect::Result;
use serde_json::json;
use similar::TextDiff;

use crate::exit::Exit;
use crate::render;

/// Lines around a change.
const CONTEXT: usize = 3;

/// The numbers of two versions, as far as they were given.
type Numbers = (Option<u64>, Option<u64>);

pub(super) async fn diff(history: &History, name: &str, (from, to): Numbers, as_json: bool) -> Result<Exit> {
    let newer = history.version(name, to).await?;
    let older = match from {
        Some(from) => Some(history.version(name, Some(from)).await?),
        None => history.versions(name).await?.into_iter().find(|version| version.number < newer.number),
    };
    let Some(older) = older else {
        render::note(format_args!("version {} of `{name}` is the first that is kept", newer.number));
        return Ok(Exit::Done);
    };
    let text = between(history, &older, &newer).await?;
    if as_json {
        render::json(&json!({ "name": name, "from": older.number, "to": newer.number, "diff": text }));
        return Ok(Exit::Done);
    }
    if text.is_empty() {
        render::note(format_args!("versions {} and {} of `{name}` say the same", older.number, newer.number));
    }
    for line in text.lines() {
        let style = match line.as_bytes().first() {
            _ if line.starts_with("+++") || line.starts_with("---") => render::BOLD,
            Some(b'+') => render::GREEN,
            Some(b'-') => render::RED,
            Some(b'@') => render::CYAN,
            _ => {
                render::out(render::printable(line));
                continue;
            }
        };
        render::out(render::styled(style, render::printable(line)));
    }
    Ok(Exit::Done)
}

/// The differences of all sources, the playbook's own first, as `diff -u` writes them.
async fn between(history: &History, older: &Version, newer: &Version) -> Result<String> {
    // The playbook's own text may have changed its file.
    let own = |version: &Version| version.sources.first().map(|own| own.name.clone()).unwrap_or_default();
    let (before, after) = (history.sources(older).await?, history.sources(newer).await?);
    let modules: BTreeSet<&str> =
        before.iter().skip(1).chain(after.iter().skip(1)).map(|(name, _)| name.as_str()).collect();
    let text = |sources: &[(String, String)], name: &str| {
        sources.iter().skip(1).find(|(module, _)| module == name).map(|(_, text)| text.clone())
    };
    let first = |sources: &[(String, String)]| sources.first().map(|(_, text)| text.clone());
    let mut lines =
        one((older.number, &own(older)), (newer.number, &own(newer)), first(&before), first(&after));
    for name in modules {
        lines += &one((older.number, name), (newer.number, name), text(&before, name), text(&after, name));
    }
    Ok(lines)
}

/// The differences of one source.
fn one(older: (u64, &str), newer: (u64, &str), before: Option<String>, after: Option<String>) -> String {
    let title = |(number, name): (u64, &str), text: &Option<String>| match text {
        Some(_) => format!("{name} version {number}"),
        None => "/dev/null".to_owned(),
    };
    let (from, to) = (title(older, &before), title(newer, &after));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    if before == after {
        return String::new();
    }
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&from, &to)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_new_differs_from_nothing() {
        let said = one((1, "a.lua"), (2, "a.lua"), None, Some("one\n".into()));
        assert_eq!(said, "--- /dev/null\n+++ a.lua version 2\n@@ -0,0 +1 @@\n+one\n");
    }

    #[test]
    fn what_says_the_same_has_no_differences() {
        assert_eq!(one((1, "a.lua"), (2, "b.lua"), Some("one\n".into()), Some("one\n".into())), "");
    }
}
