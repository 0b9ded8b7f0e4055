//! Owns `exec.run`.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use async_trait::async_trait;
use effect::units::{Size, Span};
use effect::{Act, Code, Context, Declared, Error, Need, OnDoubt, Result, Secret, Text};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::handover::{Handed, destination, plain_environment, program_name, shown};
use super::process::Process;
use super::{Output, conclude, memory, program, words};
use crate::World;
use crate::node::only_local;

/// Runs a program once and returns what it wrote.
///
/// There is no shell: `argv` is the argument vector. The environment holds what `env` and `secrets` give and a plain
/// `PATH`, nothing else, and `MCRUN_IDEMPOTENCY_KEY`, which stays the same when the effect has to be tried again. The
/// program and everything in its session dies with mcrun.
///
/// A secret in `argv`, `env` or `stdin` needs `exec:PROGRAM` in its `to`. While the program runs, every user of the machine
/// can see its arguments: `secrets` and `stdin` are the safer ways.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The program and its arguments. A name without a slash is looked for in `PATH`.
    #[schemars(length(min = 1))]
    argv: Vec<Text>,
    /// The folder it runs in; relative to the script's folder, which is also the default.
    cwd: Option<String>,
    /// Its environment.
    #[serde(default)]
    env: BTreeMap<String, Text>,
    /// Secrets by name: each lies in a file in memory, whose path the program finds in `NAME_FILE`.
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    /// What it reads from its standard input.
    stdin: Option<Text>,
    /// When it is stopped: SIGTERM, and SIGKILL two seconds later.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// How much of each output is kept.
    #[serde(default = "default_output_limit")]
    output_limit: Size,
    /// Whether an exit code other than 0 is an error.
    #[serde(default = "default_check")]
    check: bool,
    /// What happens when mcrun was killed meanwhile and nobody knows whether it ran.
    #[serde(default)]
    on_doubt: OnDoubt,
    /// The result that a plan goes on with, such as `{ code = 0, stdout = "" }`.
    assume: Option<Value>,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_timeout() -> Span {
    Span::seconds(600)
}

pub(super) fn default_output_limit() -> Size {
    Size(1 << 20)
}

pub(super) fn default_check() -> bool {
    true
}

impl Run {
    fn folder(&self, world: &World) -> PathBuf {
        folder(world, self.cwd.as_deref())
    }

    fn program(&self, world: &World) -> Result<PathBuf> {
        let env = plain_environment(Self::NAME, &self.env)?;
        program::resolve(program_name(Self::NAME, &self.argv)?, &self.folder(world), &env)
    }

    fn handed(&self) -> Handed<'_> {
        Handed { argv: &self.argv, env: &self.env, stdin: self.stdin.as_ref() }
    }
}

/// The folder that a program runs in.
pub(crate) fn folder(world: &World, cwd: Option<&str>) -> PathBuf {
    cwd.map_or_else(|| world.root().to_owned(), |cwd| world.root().join(cwd))
}

impl Declared for Run {
    const NAME: &'static str = "exec.run";
    const CAPABILITY: &'static str = "exec:write:PROGRAM";
    const EXAMPLE: &'static str =
        "local out = exec.run { argv = { \"echo\", \"hello\" }, timeout = \"10s\" }\nprint(out.stdout)";
    type World = World;
    type Output = Output;

    fn subject(&self) -> String {
        words(&shown(&self.argv))
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("exec", self.program(world)?.to_string_lossy())])
    }
}

#[async_trait]
impl Act for Run {
    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    fn admit(&self, world: &World, context: &Context) -> Result<()> {
        let path = self.program(world)?;
        self.handed().admit(&path, context)?;
        let destination = destination(&path);
        self.secrets.values().try_for_each(|secret| context.may_go(secret, &destination))
    }

    async fn act(&self, world: &World, context: &Context, key: &str) -> Result<Output> {
        only_local(context, self.node.as_deref())?;
        let path = self.program(world)?;
        // The file behind the name may have changed since the request was admitted.
        context.policy.check(Self::NAME, &[Need::write("exec", path.to_string_lossy())])?;
        let mut opened = self.handed().open(&path, context).await?;
        opened.environment.insert("MCRUN_IDEMPOTENCY_KEY".into(), key.into());
        let mut inherited = Vec::new();
        for (name, secret) in &self.secrets {
            program::check_name(name)?;
            let value = context.reveal(secret, &destination(&path)).await?;
            let file = in_memory(&value)?;
            opened
                .environment
                .insert(format!("{name}_FILE").into(), format!("/proc/self/fd/{}", file.as_raw_fd()).into());
            inherited.push(file);
            opened.masks.add(secret, value);
        }
        let process = Process {
            path,
            argv: opened.argv,
            folder: self.folder(world),
            environment: opened.environment,
            stdin: opened.stdin,
            timeout: self.timeout,
            output_limit: usize::try_from(self.output_limit.0).unwrap_or(usize::MAX),
            inherited,
            confinement: None,
        };
        let mut ended = process.run().await;
        opened.masks.apply(&mut ended);
        conclude(&shown(&self.argv), self.check, ended)
    }
}

fn in_memory(value: &[u8]) -> Result<OwnedFd> {
    memory::file(value).map_err(|error| {
        Error::new(Code::ExecFailed, "a secret cannot be held in memory for the program").because(error)
    })
}
