//! Owns what the daemon tells of itself while it runs: the page for Prometheus, what is sent to a collector, and the
//! monitors.

use daemon::listen::Limits;
use daemon::metrics::{Metrics, Page};
use daemon::monitors;
use daemon::telemetry;
use effect::Result;
use std::path::Path;
use tokio::sync::watch;

use super::listeners::Listeners;
use crate::app::App;
use crate::commands::judge::{self, Judging};
use crate::{render, wiring};

/// Answers whoever asks for figures, and sends them and runs to the collector, as far as mcrun.toml has that.
pub(super) fn tell(app: &App, listeners: &mut Listeners) -> Result<()> {
    let metrics = Metrics::shared();
    let address = app.config.daemon.metrics.as_ref().map(|settings| settings.listen);
    let page = Page::new(metrics.clone(), app.journal.clone());
    if let Some(bound) = listeners.listen("metrics", (address, Limits::default()), None, page)? {
        render::note(format_args!("figures: http://{bound}/metrics"));
    }
    if let Some(settings) = app.config.telemetry.clone() {
        let parts = telemetry::Parts {
            journal: app.journal.clone(),
            node: app.node.clone(),
            metrics: metrics.clone(),
            // No script lies in this folder, so nothing is kept from secrets.
            secrets: wiring::secrets(app, Path::new("/dev/null"))?,
        };
        render::note(format_args!("telemetry goes to {}", settings.endpoint));
        let over = listeners.shutdown();
        listeners.tasks.spawn(async move {
            if let Err(error) = telemetry::export(settings, parts, over).await {
                tracing::warn!(%error, "telemetry is not sent");
            }
        });
    }
    Ok(())
}

/// Watches services until `shutdown` becomes true. To be polled by the main loop: comparisons are made there.
pub(super) async fn monitor(app: &App, shutdown: watch::Receiver<bool>) {
    let judge = Judging(app);
    let parts = judge::parts(app, &judge);
    let settings = || app.live().monitors.clone();
    monitors::watch(parts, &settings, shutdown).await;
}
