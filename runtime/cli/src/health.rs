//! Owns the bridge between containers and probes: the `system` crate probes, the `containers` crate knows what is to be
//! probed and what a service said last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containers::effects::{Prober, World};
use containers::{Driver, Exec, Health, LogQuery, Observed};
use effect::{Code, Error, Result};
use system::ServiceLogs;
use system::health::{HttpProbe, Probe, TcpProbe, Timing};

/// How many of a service's last lines follow a failed health check.
const LAST_LINES: usize = 10;

/// Runs the health checks of containers.
pub(crate) struct Probes;

#[async_trait]
impl Prober for Probes {
    async fn wait_healthy(
        &self,
        driver: Arc<dyn Driver>,
        name: &str,
        health: &Health,
        address: Option<SocketAddr>,
    ) -> Result<()> {
        let timing = timing(health);
        let outcome = match probe(health, address, name)? {
            Some(probe) => system::health::wait_until_healthy(&probe, timing).await,
            None => inside(&*driver, name, health, timing).await,
        };
        let Err(failure) = outcome else { return Ok(()) };
        let mut error = failure.error(&format!("`{name}`"), timing.within);
        let lines = driver.logs(name, &LogQuery::tail(LAST_LINES)).await.unwrap_or_default();
        error.details = lines.into_iter().map(|line| line.line).collect();
        Err(error)
    }
}

/// Probes the health check of a container once; why it is not well.
pub(crate) async fn once(
    driver: &Arc<dyn Driver>,
    container: &Observed,
    patience: Duration,
) -> Result<(), String> {
    let Some(health) = &container.health else { return Ok(()) };
    match probe(health, health.address(&container.ports), &container.name)
        .map_err(|error| error.to_string())?
    {
        Some(probe) => probe.once(patience).await.map(drop),
        None => attempt(&**driver, &container.name, health, patience).await.map(drop),
    }
}

fn timing(health: &Health) -> Timing {
    let default = Timing::default();
    Timing {
        within: health.within.map_or(default.within, |span| span.0),
        interval: health.interval.map_or(default.interval, |span| span.0),
        timeout: health.timeout.map_or(default.timeout, |span| span.0),
        successes: health.successes.unwrap_or(default.successes),
    }
}

/// The probe from outside; `None` when the check runs inside the container.
fn probe(health: &Health, address: Option<SocketAddr>, name: &str) -> Result<Option<Probe>> {
    if health.exec.is_some() {
        return Ok(None);
    }
    let address = address.ok_or_else(|| {
        Error::new(Code::Argument, format!("the health check of `{name}` has no port"))
            .hint("give `health.port`, or publish a port")
    })?;
    let probe = match &health.http {
        Some(path) => Probe::Http(HttpProbe::new(url(address, path)?)),
        None => Probe::Tcp(TcpProbe { address: address.to_string() }),
    };
    Ok(Some(probe))
}

fn url(address: SocketAddr, path: &str) -> Result<url::Url> {
    let text = format!("http://{address}{path}");
    text.parse().map_err(|error| {
        Error::new(Code::Argument, format!("field `health.http`: `{path}` is not a path")).because(error)
    })
}

/// A program inside the container, until it ends with 0.
async fn inside(
    driver: &dyn Driver,
    name: &str,
    health: &Health,
    timing: Timing,
) -> Result<(String, u32), system::health::Failure> {
    system::health::wait_until(timing, || attempt(driver, name, health, timing.timeout)).await
}

/// Once.
async fn attempt(
    driver: &dyn Driver,
    name: &str,
    health: &Health,
    patience: Duration,
) -> Result<String, String> {
    let mut exec = Exec::new(health.exec.clone().unwrap_or_default());
    exec.timeout = patience;
    match driver.exec(name, &exec).await {
        Ok(output) if output.code == 0 => Ok("exit code 0".to_owned()),
        Ok(output) => {
            Err(format!("exit code {}: {}", output.code, last_line(&output.stderr, &output.stdout)))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn last_line(stderr: &str, stdout: &str) -> String {
    stderr.lines().last().or_else(|| stdout.lines().last()).unwrap_or_default().to_owned()
}

/// The last lines of a service, whichever container wrote them.
pub(crate) struct Services(pub(crate) Arc<World>);

#[async_trait]
impl ServiceLogs for Services {
    async fn last_lines(&self, service: &str, count: usize) -> Vec<String> {
        let Ok(containers) = self.0.list().await else { return Vec::new() };
        let mut lines = Vec::new();
        for container in
            containers.iter().filter(|c| c.name == service || c.service.as_deref() == Some(service))
        {
            let Ok(Some((driver, _))) = self.0.find(&container.name).await else { continue };
            lines.extend(driver.logs(&container.name, &LogQuery::tail(count)).await.unwrap_or_default());
        }
        lines.into_iter().map(|line| line.line).collect()
    }
}
