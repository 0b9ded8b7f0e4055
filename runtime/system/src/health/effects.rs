//! Owns `health.http`, `health.tcp` and `health.exec`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Context, Declared, Need, Result, Wait};
use journal::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{Timing, wait_until_healthy};
use super::probe::{ExecProbe, HttpProbe, Probe, Statuses, TcpProbe};
use crate::World;
use crate::clock::remaining;

/// How many of a service's last log lines a failure shows.
const LOG_LINES: usize = 10;

/// Waits until a web address answers well.
///
/// The first probe is made at once. A failure shows the last answer and the service's last log lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address, `https://…` or `http://…`. Redirects are not followed.
    url: String,
    /// The one status that counts; unless given any from 200 to 399 does.
    #[schemars(range(min = 100, max = 599))]
    status: Option<u16>,
    /// What the body must contain.
    body_contains: Option<String>,
    /// Headers by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A file of certificates in PEM that is trusted instead of the system's.
    ca: Option<String>,
    /// How long it may take altogether.
    #[serde(default = "default_within")]
    within: Span,
    /// The longest pause between two probes.
    #[serde(default = "default_interval")]
    interval: Span,
    /// How long one probe may take.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// How many probes in a row must pass.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1))]
    successes: u32,
    /// The service whose log lines a failure shows.
    service: Option<String>,
}

/// Waits until a TCP connection comes about.
///
/// The first probe is made at once. A failure shows the last answer and the service's last log lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Where to, `host:port`.
    address: String,
    /// How long it may take altogether.
    #[serde(default = "default_within")]
    within: Span,
    /// The longest pause between two probes.
    #[serde(default = "default_interval")]
    interval: Span,
    /// How long one probe may take.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// How many probes in a row must pass.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1))]
    successes: u32,
    /// The service whose log lines a failure shows.
    service: Option<String>,
}

/// Waits until a program on this node ends with exit code 0.
///
/// The program runs unconfined, so it needs the capability of `exec.run`. The first probe is made at once. A failure
/// shows the last answer and the service's last log lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments. A name without a slash is looked for in `PATH`.
    #[schemars(length(min = 1))]
    argv: Vec<String>,
    /// The folder it runs in; relative to the script's folder, which is also the default.
    cwd: Option<String>,
    /// Its environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// How long it may take altogether.
    #[serde(default = "default_within")]
    within: Span,
    /// The longest pause between two probes.
    #[serde(default = "default_interval")]
    interval: Span,
    /// How long one probe may take.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// How many probes in a row must pass.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1))]
    successes: u32,
    /// The service whose log lines a failure shows.
    service: Option<String>,
}

/// A health check that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Healthy {
    /// What the last probe found.
    pub answer: String,
    /// How many probes it took; 0 in a plan, which only assumes.
    pub attempts: u32,
}

fn default_within() -> Span {
    Span::seconds(30)
}

fn default_interval() -> Span {
    Span::seconds(1)
}

fn default_timeout() -> Span {
    Span::seconds(5)
}

fn default_successes() -> u32 {
    1
}

/// What the three checks have in common.
struct Check<'a> {
    probe: Probe,
    target: &'a str,
    service: Option<&'a str>,
    timing: Timing,
}

impl Check<'_> {
    async fn wait(mut self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Healthy> {
        let within = self.timing.within;
        if let Some(until) = until {
            self.timing.within = remaining(context.now(), until).min(within);
        }
        match wait_until_healthy(&self.probe, self.timing).await {
            Ok((answer, attempts)) => Ok(Healthy { answer, attempts }),
            Err(failure) => {
                let mut error = failure.error(self.target, within);
                if let Some(service) = self.service {
                    let lines = world.services().last_lines(service, LOG_LINES).await;
                    error
                        .details
                        .extend(lines.iter().map(|line| format!("{service}: {}", crate::exec::clip(line))));
                }
                Err(error)
            }
        }
    }
}

fn until(now: Timestamp, within: Span) -> Option<Timestamp> {
    Some(Timestamp(now.0.saturating_add(i64::try_from(within.0.as_millis()).unwrap_or(i64::MAX))))
}

fn assumed() -> Healthy {
    Healthy { answer: "assumed".into(), attempts: 0 }
}

macro_rules! timing {
    ($check:expr) => {
        Timing {
            within: $check.within.0,
            interval: $check.interval.0.max(Duration::from_millis(10)),
            timeout: $check.timeout.0,
            successes: $check.successes,
        }
    };
}

impl Declared for Http {
    const NAME: &'static str = "health.http";
    const CAPABILITY: &'static str = "health:read:URL";
    const EXAMPLE: &'static str =
        "health.http { url = \"http://127.0.0.1:8080/v1/health\", within = \"10s\" }";
    type World = World;
    type Output = Healthy;

    fn subject(&self) -> String {
        crate::http::subject(&self.url)
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let mut needs = vec![Need::read("health", crate::http::name(&crate::http::parse(&self.url)?))];
        needs.extend(crate::http::certificates_need(world, self.ca.as_deref())?);
        Ok(needs)
    }
}

#[async_trait]
impl Wait for Http {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        until(now, self.within)
    }

    fn promise(&self) -> Healthy {
        assumed()
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Healthy> {
        let probe = HttpProbe {
            url: crate::http::parse(&self.url)?,
            statuses: self
                .status
                .map_or_else(Statuses::default, |status| Statuses { from: status, to: status }),
            body_contains: self.body_contains.clone(),
            headers: crate::http::plain_headers(&self.headers)?,
            ca: crate::http::certificates(world, self.ca.as_deref())?,
        };
        let target = format!("`{}`", self.subject());
        let service = self.service.as_deref();
        let check = Check { probe: Probe::Http(probe), target: &target, service, timing: timing!(self) };
        check.wait(world, context, until).await
    }
}

impl Declared for Tcp {
    const NAME: &'static str = "health.tcp";
    const CAPABILITY: &'static str = "health:read:HOST:PORT";
    const EXAMPLE: &'static str = "health.tcp { address = \"127.0.0.1:8080\", within = \"10s\" }";
    type World = World;
    type Output = Healthy;

    fn subject(&self) -> String {
        self.address.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("health", &self.address)])
    }
}

#[async_trait]
impl Wait for Tcp {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        until(now, self.within)
    }

    fn promise(&self) -> Healthy {
        assumed()
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Healthy> {
        let probe = Probe::Tcp(TcpProbe { address: self.address.clone() });
        let target = format!("`{}`", self.address);
        let check = Check { probe, target: &target, service: self.service.as_deref(), timing: timing!(self) };
        check.wait(world, context, until).await
    }
}

impl Exec {
    fn program(&self, world: &World) -> Result<std::path::PathBuf> {
        let name = self.argv.first().map_or("", String::as_str);
        crate::exec::resolve(name, &crate::exec::folder(world, self.cwd.as_deref()), &self.env)
    }
}

impl Declared for Exec {
    const NAME: &'static str = "health.exec";
    const CAPABILITY: &'static str = "exec:write:PROGRAM";
    const EXAMPLE: &'static str = "health.exec { argv = { \"true\" }, within = \"10s\" }";
    type World = World;
    type Output = Healthy;

    fn subject(&self) -> String {
        crate::exec::words(&self.argv)
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("exec", self.program(world)?.to_string_lossy())])
    }
}

#[async_trait]
impl Wait for Exec {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        until(now, self.within)
    }

    fn promise(&self) -> Healthy {
        assumed()
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Healthy> {
        let path = self.program(world)?;
        // The file behind the name may have changed since the request was admitted.
        context.policy.check(Self::NAME, &[Need::write("exec", path.to_string_lossy())])?;
        let folder = crate::exec::folder(world, self.cwd.as_deref());
        let probe = ExecProbe { path, argv: self.argv.clone(), folder, env: self.env.clone() };
        let target = format!("`{}`", self.subject());
        let service = self.service.as_deref();
        let check = Check { probe: Probe::Exec(probe), target: &target, service, timing: timing!(self) };
        check.wait(world, context, until).await
    }
}
