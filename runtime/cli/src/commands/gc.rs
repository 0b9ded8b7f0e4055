//! Owns `gc`: the removal of finished runs that the configuration does not keep.

use effect::Result;
use effect::units::Size;
use journal::{Retention, Swept};
use serde_json::json;

use crate::app::App;
use crate::exit::Exit;
use crate::render;

pub(super) async fn gc(app: &App, dry: bool, as_json: bool) -> Result<Exit> {
    let config = app.live();
    let kept = &config.retention;
    let age = i64::try_from(kept.age.0.as_millis()).unwrap_or(i64::MAX);
    let since = journal::Timestamp(app.clock.now().0.saturating_sub(age));
    let swept = app.journal.sweep(Retention { since, runs: kept.runs }, dry).await?;
    if as_json {
        render::json(&json!({
            "dry_run": dry,
            "runs": swept.runs,
            "needed": swept.needed,
            "effects": swept.effects,
            "lines": swept.lines,
            "texts": swept.blobs,
            "bytes_before": swept.bytes.0,
            "bytes_after": swept.bytes.1,
        }));
        return Ok(Exit::Done);
    }
    if dry {
        swept.runs.iter().for_each(|run| render::out(format_args!("would remove run {run}")));
    }
    render::out(summary(&swept, dry));
    if swept.needed > 0 {
        render::out(format_args!(
            "{} kept, because a release or an unfinished run needs them",
            render::count(swept.needed, "old run")
        ));
    }
    Ok(Exit::Done)
}

fn summary(swept: &Swept, dry: bool) -> String {
    let removed = format!(
        "{} with {} and {}",
        render::count(swept.runs.len() as u64, "run"),
        render::count(swept.effects, "effect"),
        render::count(swept.lines, "log line"),
    );
    let (before, after) = swept.bytes;
    match dry {
        true => format!("{removed} would be removed; the journal has {}", Size(before)),
        false => format!(
            "{removed} removed, and {} that nothing refers to any more; the journal had {}, has {}",
            render::count(swept.blobs, "text"),
            Size(before),
            Size(after)
        ),
    }
}
