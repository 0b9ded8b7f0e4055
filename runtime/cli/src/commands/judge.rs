//! Owns how services are judged, for the daemon's monitors and for `drift` alike: by the plan of a script that ships, and by
//! probes of them and of the ways to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use containers::{Driver, Observed};
use daemon::monitors::{Difference, Judge};
use effect::plan::Plan;
use effect::{Action, Mode, Result};
use routes::driver::Standing;
use routes::hops::Hop;

use super::{evaluate, services, ways};
use crate::app::App;
use crate::execute::{self, Job};
use crate::health;
use crate::render::Silent;

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

/// Judges by what this process can see.
pub(super) struct Judging<'a>(pub(super) &'a App);

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

    async fn routes(&self) -> Result<Vec<Standing>> {
        match ways::serves(self.0) {
            true => super::routes::driver(self.0)?.list().await,
            false => Ok(Vec::new()),
        }
    }

    async fn ways(&self, routes: &[Standing]) -> Result<Vec<Vec<Hop>>> {
        // A name that this machine cannot look up is its resolver's trouble: one event, not one for each route.
        ways::of(self.0, routes, ways::Names::Recorded).await
    }

    async fn servers(&self) -> Result<Vec<(String, Option<String>)>> {
        ways::servers(self.0).await
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
