//! Owns what the daemon tells of itself while it runs: the page for Prometheus, what is sent to a collector, and the
//! monitors, which compare services by the plan of a script that ships.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use containers::{Driver, Observed};
use daemon::listen::Limits;
use daemon::metrics::{Metrics, Page};
use daemon::monitors::{self, Difference, Judge};
use daemon::telemetry;
use effect::plan::Plan;
use effect::{Action, Mode, Result};
use tokio::sync::watch;

use super::listeners::Listeners;
use crate::app::App;
use crate::commands::{evaluate, services};
use crate::execute::{self, Job};
use crate::render::{self, Silent};
use crate::{health, wiring};

/// What brings a service back to what the registry says. It is only ever planned.
const RESTORE: &str = r#"
local found = registry.get { service = args[1] }
local spec: any = found and found.spec
if type(spec) == "table" then
    for _, container in spec.containers or {} do
        containers.ensure(container)
    end
    require("@std/ingress").restore(spec.ingress)
end
"#;

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
    let parts = monitors::Parts {
        journal: &app.journal,
        node: &app.node,
        world: wiring::containers(app),
        judge: &Judging(app),
        metrics: Metrics::shared(),
        chance: wiring::chance,
    };
    let settings = || app.live().monitors.clone();
    monitors::watch(parts, &settings, shutdown).await;
}

struct Judging<'a>(&'a App);

#[async_trait(?Send)]
impl Judge for Judging<'_> {
    async fn probe(
        &self,
        driver: &Arc<dyn Driver>,
        container: &Observed,
        patience: Duration,
    ) -> Result<(), String> {
        health::once(driver, container, patience).await
    }

    async fn differences(&self, service: &str) -> Result<Vec<Difference>> {
        let app = self.0;
        let Some(record) = app.journal.record("service", &app.node, service).await? else {
            return Ok(Vec::new());
        };
        let grants = services::grants(app, service, record.run).await;
        let name = format!("compare {service}");
        let job = evaluate::shipped_job(app, &name, RESTORE, vec![service.to_owned()], grants)?;
        let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
        let (plan, finished) = execute::plan(app, Job { mode: Mode::Plan, ..job }, watch).await?;
        let refused = plan.steps.iter().find_map(|step| step.error.clone());
        match refused.or_else(|| finished.trouble.map(|trouble| trouble.error)) {
            Some(error) => Err(error),
            None => Ok(differences(&plan)),
        }
    }
}

fn differences(plan: &Plan) -> Vec<Difference> {
    let changing = plan.steps.iter().filter(|step| {
        matches!(step.action, Action::Create | Action::Update | Action::Replace | Action::Remove)
    });
    changing
        .map(|step| Difference {
            effect: step.identity.name.to_string(),
            object: step.subject.clone(),
            action: word(step.action).to_owned(),
            // Names only: what differs may be as sensitive as a secret.
            fields: step.fields.iter().map(|field| field.path.clone()).collect(),
        })
        .collect()
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Replace => "replace",
        Action::Remove => "remove",
        _ => "update",
    }
}
