//! Owns that the process answers the calls of its API, at its socket and where mcrun.toml has them answered.

use std::sync::Arc;

use daemon::api::{self, Api, Parameters, Reload, Rooms};
use daemon::feed::Feed;
use daemon::playbooks::{Playbook, Table, params};
use effect::Result;
use serde_json::Value;
use tokio::sync::watch;

use super::listeners::Listeners;
use crate::app::App;
use crate::execute::desk::Desk;
use crate::render;

/// Answers calls.
pub(super) async fn serve(
    app: &App,
    desk: &Desk,
    playbooks: watch::Receiver<Arc<Table>>,
    reload: Arc<dyn Reload>,
    listeners: &mut Listeners,
) -> Result<()> {
    let settings = &app.config.daemon.api;
    let opened = match listeners.handed.unix("api")? {
        Some(listener) => api::handed_socket(listener, settings),
        None => api::open_socket(settings, &app.state).await?,
    };
    let api = Api::new(Rooms {
        runs: Arc::new(desk.clone()),
        journal: app.journal.clone(),
        feed: Feed::start(app.journal.clone(), listeners.shutdown()),
        playbooks,
        parameters: Arc::new(Checked),
        schedule: None,
        versions: None,
        reload: Some(reload),
        node: app.node.clone(),
        started: app.clock.now(),
    });
    render::note(format_args!("calls: {}", opened.path().display()));
    let shutdown = listeners.shutdown();
    listeners.tasks.spawn(api::serve_socket(opened, api, shutdown));
    Ok(())
}

/// Parameters as playbooks declare them.
struct Checked;

impl Parameters for Checked {
    fn check(&self, playbook: &Playbook, given: Value) -> Result<Value> {
        params::check(&playbook.definition.params, &given)
    }
}
