//! Owns how services are judged, for the daemon's monitors and for `drift` alike: by the plan of a script that ships, and by
//! probes of them and of the ways to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use containers::{Driver, Observed};
use daemon::metrics::Metrics;
use daemon::monitors::{Compared, Difference, Judge, Parts};
use effect::plan::Plan;
use effect::{Action, Mode, Result};
use routes::driver::Standing;
use routes::hops::Hop;

use super::{evaluate, services, ways};
use crate::app::App;
use crate::execute::{self, Job};
use crate::health;
use crate::render::Silent;
use crate::wiring;

/// What brings a service back to what the registry says. It is only ever planned. What cannot be compared hides nothing of
/// what can be.
const RESTORE: &str = r#"
local found = registry.get { service = args[1] }
local spec: any = found and found.spec
local refused: any = nil
local function each(ensure: (any) -> any, all: { any }?)
    for _, arguments in all or {} do
        local is_compared, error = pcall(ensure, arguments)
        if not is_compared and refused == nil then
            refused = error
        end
    end
end
if type(spec) == "table" then
    local ingress = spec.ingress or {}
    each(containers.ensure, spec.containers)
    each(certs.ensure, ingress.certs)
    each(routes.ensure, ingress.routes)
    each(dns.ensure, ingress.records)
end
if refused ~= nil then
    error(refused, 0)
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

    async fn compare(&self, service: &str) -> Result<Compared> {
        let app = self.0;
        let Some(record) = app.journal.record("service", &app.node, service).await? else {
            return Ok(Compared::default());
        };
        let grants = services::grants(app, service, record.run).await;
        let name = format!("compare {service}");
        let job = evaluate::shipped_job(app, &name, RESTORE, vec![service.to_owned()], grants)?;
        let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
        let (plan, finished) = execute::plan(app, Job { mode: Mode::Plan, ..job }, watch).await?;
        let refused = plan.steps.iter().find_map(|step| step.error.clone());
        let refused = refused.or_else(|| finished.trouble.map(|trouble| trouble.error));
        Ok(Compared { differences: differences(&plan), refused })
    }
}

/// What the judgements of the monitors work with.
pub(super) fn parts<'a>(app: &'a App, judge: &'a Judging<'a>) -> Parts<'a> {
    Parts {
        journal: &app.journal,
        node: &app.node,
        state: &app.state,
        world: wiring::containers(app),
        judge,
        metrics: Metrics::shared(),
        chance: wiring::chance,
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
