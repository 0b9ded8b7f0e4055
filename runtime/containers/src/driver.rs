//! Owns the trait that every driver of containers implements, and the data that its calls take and give.
//! A call may be cut off anywhere and is then simply made again: every one of them is idempotent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::attach::{Attach, Attached};
use crate::diff::FieldDiff;
use crate::features::Feature;
use crate::images::Images;
use crate::observed::{ImageDefaults, Observed, State};
use crate::orphans::{End, Orphan};
use crate::spec::{Secrets, Spec};
use crate::usage::Usage;

/// What performs the effects on containers of one kind.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The name as it is written in `mcrun.toml`.
    fn name(&self) -> &'static str;

    /// Where it is reached, or looked for, in words for a person.
    fn place(&self) -> String;

    /// What it declares to be able to do.
    fn features(&self) -> &'static [Feature];

    /// The same engine as far as images go; `None` where there are none.
    fn images(&self) -> Option<Arc<dyn Images>> {
        None
    }

    /// Refuses, without any I/O, a spec that is impossible or asks for what the driver lacks.
    ///
    /// # Errors
    /// `MC-A001` for an impossible spec, `MC-C006` for a field that the driver cannot do.
    fn check(&self, spec: &Spec) -> Result<()> {
        crate::features::check(self.name(), self.features(), spec)
    }

    /// Refuses, by looking at files only, a spec that could not be started on this node. What the plan makes until then
    /// is not there yet: `is_planned` tells.
    ///
    /// # Errors
    /// `MC-C009` for a program that cannot run, `MC-A001` for a field that names what is not there.
    fn check_node(&self, _spec: &Spec, _is_planned: &(dyn Fn(&Path) -> bool + Sync)) -> Result<()> {
        Ok(())
    }

    /// What the image says for omitted fields; `None` when it is not on this node.
    async fn image_defaults(&self, image: &str) -> Result<Option<ImageDefaults>>;

    /// The live object of this name.
    async fn inspect(&self, name: &str) -> Result<Option<Observed>>;

    /// All live objects, foreign ones included.
    async fn list(&self) -> Result<Vec<Observed>>;

    /// The same for whoever looks again and again: of what has neither started nor ended since the last glance, the answer may
    /// be that of then. A limit that was changed meanwhile is not seen.
    async fn glance(&self) -> Result<Vec<Observed>> {
        self.list().await
    }

    /// What the container called `name` has that no spec can say, in the words of the driver; never a value.
    async fn unsaid(&self, _name: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Makes the container without starting it.
    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()>;

    /// Changes in place the fields that the diff says need no replacement.
    async fn update(&self, name: &str, fields: &[FieldDiff], spec: &Spec) -> Result<()>;

    /// Starts it and tells how it stands then; one that runs already is left alone.
    async fn start(&self, name: &str) -> Result<Observed>;

    /// Stops it, by force after `timeout` (its own stop time-out unless given); one that does not run, or does not
    /// exist, is left alone.
    async fn stop(&self, name: &str, timeout: Option<Duration>) -> Result<()>;

    /// Freezes everything inside; one that is frozen already is left alone. [`Driver::start`] lets it go on.
    async fn pause(&self, name: &str) -> Result<()> {
        Err(Error::new(Code::Unsupported, format!("the {} driver cannot pause `{name}`", self.name())))
    }

    /// Stops and starts it.
    async fn restart(&self, name: &str, timeout: Option<Duration>) -> Result<()> {
        self.stop(name, timeout).await?;
        self.start(name).await.map(drop)
    }

    /// Removes it; with `force` even while it runs. One that does not exist is success.
    async fn remove(&self, name: &str, force: bool) -> Result<()>;

    /// Recorded output, oldest line first.
    async fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<LogLine>>;

    /// Recorded output and then what is written from now on; ends when the receiver is dropped or the container is
    /// gone.
    async fn follow(&self, name: &str, query: &LogQuery) -> Result<mpsc::Receiver<LogLine>>;

    /// Runs a program inside the container and waits for it.
    async fn exec(&self, name: &str, exec: &Exec) -> Result<ExecOutput>;

    /// Runs a program inside the container and lets somebody talk to it.
    async fn attach(&self, name: &str, attach: &Attach) -> Result<Attached>;

    /// What it uses; `None` when it does not run.
    async fn stats(&self, name: &str) -> Result<Option<Usage>> {
        let unknown =
            || Error::new(Code::ContainerUnknown, format!("{} has no container `{name}`", self.name()));
        let observed = self.inspect(name).await?.ok_or_else(unknown)?;
        Ok(observed.pid.filter(|_| observed.state != State::Exited).and_then(crate::usage::of))
    }

    /// What is left of containers that the engine no longer knows: processes that go on, storage that holds a name. None
    /// where the engine cannot lose them.
    async fn orphans(&self) -> Result<Vec<Orphan>> {
        Ok(Vec::new())
    }

    /// Ends what is left of one, by force after a time: its processes, its mounts, its published ports, its storage. Never
    /// anything in a volume.
    ///
    /// # Errors
    /// `MC-C011` where something does not go.
    async fn release(&self, _orphan: &Orphan, _end: &End<'_>) -> Result<()> {
        Ok(())
    }

    /// The version of what answers.
    async fn ping(&self) -> Result<String>;
}

/// Which of the recorded lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// At most so many of the newest lines.
    pub tail: Option<usize>,
    /// Only lines written at or after this time, in milliseconds since 1970.
    pub since: Option<i64>,
}

impl LogQuery {
    /// The newest `lines` lines.
    #[must_use]
    pub fn tail(lines: usize) -> Self {
        Self { tail: Some(lines), since: None }
    }
}

/// Where a program wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where it was written.
    pub stream: Stream,
    /// The text without its line end.
    pub line: String,
    /// When it was written, as RFC 3339 in UTC, where the driver records it.
    pub at: Option<String>,
}

/// A program to run inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables in addition to the container's.
    pub env: BTreeMap<String, String>,
    /// The directory; the container's own unless given.
    pub workdir: Option<String>,
    /// The user; the container's own unless given.
    pub user: Option<String>,
    /// The longest it may take.
    pub timeout: Duration,
    /// How many bytes of each stream are kept.
    pub output_limit: usize,
}

impl Exec {
    /// `argv` with a minute's time and 1 MiB of output.
    #[must_use]
    pub fn new(argv: Vec<String>) -> Self {
        Self {
            argv,
            env: BTreeMap::new(),
            workdir: None,
            user: None,
            timeout: Duration::from_secs(60),
            output_limit: 1 << 20,
        }
    }
}

/// What a program inside a container left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    /// The exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Standard output, bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether output was cut at the limit.
    pub truncated: bool,
}
