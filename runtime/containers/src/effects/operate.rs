//! Owns what is done to a running container: logs, programs inside it, waiting for its health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::Timestamp;
use effect::units::{Size, Span};
use effect::{Act, Code, Context, Declared, Error, Need, OnDoubt, Read, Result, Wait};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ensure::call;
use super::steady::Watched;
use super::{Container, World, check_node, key, unknown_container};
use crate::driver::{Exec, LogQuery};

/// Reads the last lines of a container's output. In a plan, one that an earlier effect only will have made has none yet:
/// the list is empty.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// The container's name.
    name: String,
    /// How many of the newest lines: 100 unless given, 10,000 at the most.
    #[schemars(range(min = 1, max = 10_000))]
    tail: Option<usize>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// One line of output.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// `stdout` or `stderr`.
    stream: String,
    /// The text.
    line: String,
    /// When it was written, RFC 3339 in UTC, where the driver records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

impl Declared for Logs {
    const NAME: &'static str = "containers.logs";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"if containers.get { name = "hello" } then
    for _, entry in containers.logs { name = "hello", tail = 10 } do
        print(entry.stream, entry.line)
    end
end"#;
    type World = World;
    type Output = Vec<Line>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("containers", &self.name)])
    }
}

#[async_trait]
impl Read for Logs {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Line>> {
        check_node(context, self.node.as_deref())?;
        let planned = context.overlay.get::<Container>(&key(context, self.node.as_deref(), &self.name));
        let found = if let Some(None) = planned { None } else { world.find(&self.name).await? };
        let driver = match (found, planned) {
            (Some((driver, _)), _) => driver,
            (None, Some(Some(_))) => return Ok(Vec::new()),
            (None, _) => return Err(unknown_container(&self.name)),
        };
        let lines = driver.logs(&self.name, &LogQuery::tail(self.tail.unwrap_or(100))).await?;
        let stream = |line: &crate::LogLine| match line.stream {
            crate::Stream::Stdout => "stdout".to_owned(),
            crate::Stream::Stderr => "stderr".to_owned(),
        };
        Ok(lines
            .into_iter()
            .map(|line| Line { stream: stream(&line), line: line.line, at: line.at })
            .collect())
    }
}

/// Runs a program inside a running container, once.
///
/// Beside a native program it runs on the host. It then takes what running it without a container takes: `exec:write` for
/// the program, an absolute path, and `containers:users` where `user` is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Exec")]
pub struct ExecIn {
    /// The container's name.
    name: String,
    /// The program and its arguments.
    #[schemars(length(min = 1))]
    argv: Vec<String>,
    /// Variables in addition to the container's.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The directory; the container's own unless given.
    workdir: Option<String>,
    /// The user; the container's own unless given.
    user: Option<String>,
    /// The longest it may take: 10 minutes unless given.
    timeout: Option<Span>,
    /// How much of each output stream is kept: 1 MiB unless given.
    output_limit: Option<Size>,
    /// Whether an exit code other than 0 is an error: true unless given.
    check: Option<bool>,
    /// What to do when it is unknown whether it took place: `"ask"` unless given.
    on_doubt: Option<OnDoubt>,
    /// The result that a plan goes on with.
    assume: Option<Value>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// What a program inside a container left.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The exit code; 128 + n when signal n ended it.
    code: i32,
    /// Standard output.
    stdout: String,
    /// Standard error.
    stderr: String,
    /// Whether output was cut at its limit.
    truncated: bool,
}

impl Declared for ExecIn {
    const NAME: &'static str = "containers.exec";
    const CAPABILITY: &'static str = "containers:write:NAME";
    const EXAMPLE: &'static str = r#"local hello = containers.get { name = "hello" }
if hello and hello.state == "running" then
    print(containers.exec { name = "hello", argv = { "/bin/true" } }.code)
end"#;
    type World = World;
    type Output = Output;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("containers", &self.name)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.name.clone())
    }
}

#[async_trait]
impl Act for ExecIn {
    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt.unwrap_or_default()
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    fn summary(&self) -> Option<String> {
        Some(self.argv.join(" "))
    }

    async fn act(&self, world: &World, context: &Context, _key: &str) -> Result<Output> {
        check_node(context, self.node.as_deref())?;
        let (driver, observed) =
            world.find(&self.name).await?.ok_or_else(|| unknown_container(&self.name))?;
        if observed.native {
            context
                .policy
                .check(Self::NAME, &on_host(&self.name, "argv", &self.argv, self.user.is_some())?)?;
        }
        let mut exec = Exec::new(self.argv.clone());
        exec.env = self.env.clone();
        exec.workdir = self.workdir.clone();
        exec.user = self.user.clone();
        exec.timeout = self.timeout.unwrap_or(Span::seconds(600)).0;
        exec.output_limit =
            usize::try_from(self.output_limit.unwrap_or(Size(1 << 20)).0).unwrap_or(usize::MAX);
        let output = call(driver.exec(&self.name, &exec)).await?;
        if output.code != 0 && self.check.unwrap_or(true) {
            let program = &self.argv[0];
            let mut error = Error::new(
                Code::ExitStatus,
                format!("`{program}` in `{}` ended with exit code {}", self.name, output.code),
            )
            .hint("`check = false` hands the exit code to the script instead");
            let last =
                output.stderr.lines().chain(output.stdout.lines()).map(ToOwned::to_owned).collect::<Vec<_>>();
            error.details = last.into_iter().rev().take(10).rev().collect();
            return Err(error);
        }
        Ok(Output {
            code: output.code,
            stdout: output.stdout,
            stderr: output.stderr,
            truncated: output.truncated,
        })
    }
}

/// What a program beside the native program `name` takes: there is nothing between it and the host.
fn on_host(name: &str, field: &str, argv: &[String], as_user: bool) -> Result<Vec<Need>> {
    let program = argv.first().map_or("", String::as_str);
    if !program.starts_with('/') {
        let problem = format!("field `{field}[1]`: `{program}` is not an absolute path of a program");
        return Err(Error::new(Code::Argument, problem)
            .hint(format!("`{name}` is a native program: what runs beside it runs on the host")));
    }
    let mut needs = vec![Need::write("exec", World::program(argv).to_string_lossy())];
    needs.extend(as_user.then(|| Need::extra("containers", "users", name)));
    Ok(needs)
}

/// Waits until a container's own health check passes. The container must have one, unless `steady` is given: then one
/// without only has to run. A check that runs a program beside a native one takes `exec:write` for it, as in
/// `containers.ensure`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitHealthy {
    /// The container's name.
    name: String,
    /// The time in which it must pass; the health check's own unless given, and 30 seconds otherwise.
    within: Option<Span>,
    /// How long it has to have been up without a restart when the check passes; five times as long once it was restarted
    /// meanwhile. One that does not get there is an error (MC-H005) that tells of its restarts.
    steady: Option<Span>,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for WaitHealthy {
    const NAME: &'static str = "containers.wait_healthy";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"local hello = containers.get { name = "hello" }
if hello and hello.health then
    containers.wait_healthy { name = "hello", within = "30s" }
end"#;
    type World = World;
    type Output = ();

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("containers", &self.name)])
    }
}

#[async_trait]
impl Wait for WaitHealthy {
    fn until(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    fn promise(&self) {}

    async fn wait(&self, world: &World, context: &Context, _until: Option<Timestamp>) -> Result<()> {
        check_node(context, self.node.as_deref())?;
        let (driver, observed) =
            world.find(&self.name).await?.ok_or_else(|| unknown_container(&self.name))?;
        let health = observed.health.clone();
        let program = health.as_ref().and_then(|health| health.exec.as_ref());
        if let Some(argv) = program.filter(|_| observed.native) {
            context.policy.check(Self::NAME, &on_host(&self.name, "health.exec", argv, false)?)?;
        }
        let address = health.as_ref().and_then(|health| health.address(&observed.ports));
        if let Some(Span(steady)) = self.steady {
            let watched = Watched { driver, found: observed, health, address, within: self.within, steady };
            return watched.wait(world, context).await;
        }
        let mut health = health.ok_or_else(|| {
            Error::new(Code::Argument, format!("container `{}` has no health check", self.name))
                .hint("give `containers.ensure` a `health`, or use `health.http`")
        })?;
        health.within = self.within.or(health.within);
        world.prober.wait_healthy(driver.clone(), &self.name, &health, address).await
    }
}
