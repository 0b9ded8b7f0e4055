//! Owns that an edge answers while the process stays, and after it.

use std::path::Path;

use daemon::edge::supervise::Start;
use effect::Result;

use super::listeners::Listeners;
use crate::app::App;
use crate::commands::edge;
use crate::render;

/// Has an edge answer, where mcrun.toml wants one, and looks after it. It goes on when this process ends.
pub(super) async fn serve(app: &App, listeners: &mut Listeners) -> Result<()> {
    if !edge::is_wanted(&app.config) {
        return Ok(());
    }
    let absolute =
        |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let mut arguments = vec!["edge".to_owned(), "-v".into(), "--state".into(), absolute(&app.state)];
    if let Some(file) = &app.config.file {
        arguments.extend(["--config".into(), absolute(file)]);
    }
    let start = Start {
        program: "/proc/self/exe".into(),
        arguments,
        state: app.state.clone(),
        settings: edge::settings(&app.config),
    };
    let there = start.ensure().await?;
    let note = |what: &str, places: Vec<String>| {
        let (places, process) = (places.join(", "), there.process);
        render::note(format_args!("{what}: {places} (process {process}, which goes on without this one)"));
    };
    if !app.config.dns.listen.is_empty() {
        note("names", there.listen.iter().map(ToString::to_string).collect());
    }
    if !app.config.routes.addresses.is_empty() {
        note("routes", app.config.routes.addresses.iter().map(ToString::to_string).collect());
    }
    let over = listeners.shutdown();
    listeners.tasks.spawn(async move { start.supervise(over).await });
    Ok(())
}
