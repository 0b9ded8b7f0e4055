//! Owns what `playbook { … }` says: types only. How it is read from a script is left to its neighbours.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use effect::Timestamp;
use effect::units::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A playbook as its file declares it, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Capabilities that it takes, of those that the operator's policy grants; all of these where absent.
    pub allow: Option<Vec<String>>,
    /// When it starts by itself.
    pub on: Vec<Trigger>,
    /// What it can be told, by name.
    pub params: BTreeMap<String, Parameter>,
    /// What happens when it is to start while a run of it is not over.
    pub overlap: Overlap,
    /// What happens about times that passed while nobody could start it.
    pub catch_up: CatchUp,
    /// How long a run of it may take.
    pub timeout: Option<Duration>,
}

/// What happens when a playbook is to start while a run of it is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It starts when the other is over.
    Queue,
    /// The other is cancelled, and it starts.
    Replace,
}

/// What happens about times that passed while nobody could start a playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// One start makes up for all of them.
    #[default]
    Once,
    /// Each is made up for, the first first.
    All,
}

/// When a playbook starts by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Trigger {
    /// At the times of a cron expression.
    Cron(Cron),
    /// Again and again.
    Every(Every),
    /// Once.
    At(At),
    /// When the daemon first starts after a boot of the machine.
    Boot,
    /// When something happens.
    Event(OnEvent),
    /// When files change.
    File(OnFile),
    /// When somebody calls.
    Webhook(OnWebhook),
}

/// As it is shown: `cron 17 3 * * *`.
impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => {
                write!(f, "cron {}", cron.expression)?;
                cron.zone.iter().try_for_each(|zone| write!(f, " {zone}"))
            }
            Self::Every(every) => write!(f, "every {}", Span(every.every)),
            Self::At(at) => write!(f, "at {}", at.text),
            Self::Boot => f.write_str("boot"),
            Self::Event(event) => write!(f, "event {}", event.pattern),
            Self::File(file) => write!(f, "file {}", file.path.display()),
            Self::Webhook(hook) => write!(f, "webhook {}", hook.path),
        }
    }
}

/// `cron = "17 3 * * *"`, or `{ at = "17 3 * * *", zone = "Europe/Berlin", jitter = "5m" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// Five or six fields, or `@daily`.
    pub expression: String,
    /// The name of its time zone; the machine's where absent.
    pub zone: Option<String>,
    /// Each time is put off by a part of this, always the same for the same time.
    pub jitter: Duration,
}

/// `every = "10m"`, or `{ every = "10m", jitter = "30s" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Every {
    /// The time between two starts, counted from 1970 so that a restart does not move it.
    pub every: Duration,
    /// As for [`Cron::jitter`].
    pub jitter: Duration,
}

/// `at = "2026-12-24T18:00:00+01:00"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The moment.
    pub at: Timestamp,
    /// As it was written.
    pub text: String,
}

/// `event = "container.exited"`, or `{ name = "container.*", where = { name = "web-*" }, at_most = "3/10m" }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnEvent {
    /// A pattern of names: `*` stands for anything between dots.
    pub pattern: String,
    /// What the event's data must be, by field; a text is a pattern in which `*` stands for anything.
    pub filter: Filter,
    /// At most so many starts within so long; what comes beyond is left out.
    pub at_most: Option<(u32, Duration)>,
}

/// What data must be, by field (`a.b` for a field of a field).
pub type Filter = BTreeMap<String, Value>;

/// `file = "/etc/app/*.toml"`, or `{ path = "/etc/app", settle = "1s" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnFile {
    /// Absolute; the last part may be a pattern; a folder stands for what lies in it.
    pub path: PathBuf,
    /// So long without a further change.
    pub settle: Duration,
}

/// `webhook = { path = "deploy", secret = "forge/hook", format = "github" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnWebhook {
    /// The last part of its address: `/hooks/PATH`.
    pub path: String,
    /// The secret that callers sign with.
    pub secret: String,
    /// How callers sign and tell what happened.
    pub format: Forge,
    /// Only for these, where the format tells one: `push`.
    pub events: Vec<String>,
    /// How old a signed call may be, where the format signs a time; else how long its signature is remembered.
    pub window: Duration,
    /// As for [`OnEvent::at_most`].
    pub at_most: Option<(u32, Duration)>,
}

/// How callers of webhooks sign and tell what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Forge {
    /// Ours: `Mcrun-Signature: t=SECONDS,v1=HEX` over `SECONDS.BODY`, HMAC with SHA-256.
    #[default]
    Generic,
    /// GitHub's `X-Hub-Signature-256`.
    Github,
    /// Gitea's and Forgejo's `X-Gitea-Signature`, `X-Forgejo-Signature`.
    Gitea,
    /// GitLab's `X-Gitlab-Token`.
    Gitlab,
}

/// What a playbook can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Which values it takes.
    pub kind: ParameterKind,
    /// What it is for.
    pub description: Option<String>,
    /// What it is unless it is given; it must be given where there is none.
    pub default: Option<Value>,
    /// The only values that it takes, where there are any.
    pub choices: Vec<Value>,
}

/// Which values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterKind {
    /// Text.
    String,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// `30s`.
    Duration,
    /// `64MiB`.
    Size,
}
