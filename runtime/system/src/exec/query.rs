//! Owns `exec.query`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use effect::units::{Size, Span};
use effect::{Context, Declared, Need, Read, Result, Text};
use schemars::JsonSchema;
use serde::Deserialize;

use super::confine::Confinement;
use super::handover::{Handed, plain_environment, program_name, shown};
use super::process::Process;
use super::run::{default_check, default_output_limit, folder};
use super::{Output, conclude, program, words};
use crate::World;
use crate::node::only_local;

/// Runs a program that only looks, and returns what it wrote.
///
/// It is confined: it can write nowhere, change no modes or owners and open no sockets, whatever it tries. Because it
/// changes nothing it runs in a plan too. A secret that it gets needs `exec:PROGRAM` in its `to`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The program and its arguments. A name without a slash is looked for in `PATH`.
    #[schemars(length(min = 1))]
    argv: Vec<Text>,
    /// The folder it runs in; relative to the script's folder, which is also the default.
    cwd: Option<String>,
    /// Its environment.
    #[serde(default)]
    env: BTreeMap<String, Text>,
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
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_timeout() -> Span {
    Span::seconds(10)
}

impl Query {
    fn program(&self, world: &World) -> Result<PathBuf> {
        let env = plain_environment(Self::NAME, &self.env)?;
        program::resolve(program_name(Self::NAME, &self.argv)?, &folder(world, self.cwd.as_deref()), &env)
    }
}

impl Declared for Query {
    const NAME: &'static str = "exec.query";
    const CAPABILITY: &'static str = "exec:read:PROGRAM";
    const EXAMPLE: &'static str =
        "local out = exec.query { argv = { \"uname\", \"-r\" } }\nprint(out.stdout)";
    type World = World;
    type Output = Output;

    fn subject(&self) -> String {
        words(&shown(&self.argv))
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("exec", self.program(world)?.to_string_lossy())])
    }
}

#[async_trait]
impl Read for Query {
    async fn read(&self, world: &World, context: &Context) -> Result<Output> {
        only_local(context, self.node.as_deref())?;
        let path = self.program(world)?;
        // The file behind the name may have changed since the request was admitted.
        context.policy.check(Self::NAME, &[Need::read("exec", path.to_string_lossy())])?;
        let handed = Handed { argv: &self.argv, env: &self.env, stdin: self.stdin.as_ref() };
        let opened = handed.open(&path, context).await?;
        let process = Process {
            path,
            argv: opened.argv,
            folder: folder(world, self.cwd.as_deref()),
            environment: opened.environment,
            stdin: opened.stdin,
            timeout: self.timeout,
            output_limit: usize::try_from(self.output_limit.0).unwrap_or(usize::MAX),
            inherited: Vec::new(),
            confinement: Some(Confinement::prepare()?),
        };
        let mut ended = process.run().await;
        opened.masks.apply(&mut ended);
        conclude(&shown(&self.argv), self.check, ended)
    }
}
