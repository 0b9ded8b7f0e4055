//! Owns that the process answers the calls of its API, at its socket and where mcrun.toml has them answered.

use std::sync::Arc;

use daemon::api::{Api, Doors, Reload, Rooms};
use daemon::feed::Feed;
use daemon::playbooks::Table;
use effect::Result;
use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::listeners::Listeners;
use crate::app::App;
use crate::execute::desk::Desk;
use crate::{render, wiring};

/// Answers calls.
pub(super) async fn serve(
    app: &App,
    desk: &Desk,
    playbooks: watch::Receiver<Arc<Table>>,
    reload: Arc<dyn Reload>,
    listeners: &mut Listeners,
) -> Result<()> {
    let settings = &app.config.daemon.api;
    let api = Api::new(Rooms {
        runs: Arc::new(desk.clone()),
        journal: app.journal.clone(),
        feed: Feed::start(app.journal.clone(), listeners.shutdown()),
        playbooks,
        zone: TimeZone::system(),
        access: {
            let live = app.live.subscribe();
            Arc::new(move || live.borrow().access())
        },
        reload: Some(reload),
        node: app.node.clone(),
        started: app.clock.now(),
    });
    let handed = listeners.handed.unix("api")?;
    let afar = listeners.handed.tcp("api-tls", settings.listen)?;
    let doors = Doors::open(settings, &app.state, (handed, afar), || wiring::authority(app)).await?;
    render::note(format_args!("calls: {}", doors.places().join("; ")));
    let shutdown = listeners.shutdown();
    doors.serve(&api, &mut listeners.tasks, &shutdown);
    Ok(())
}
