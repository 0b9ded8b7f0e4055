//! Owns the file of a saved plan: what a run of it would start from, and what the plan saw. It holds no secrets and is
//! sealed with the key of the state directory that it was made with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use effect::plan::Plan;
use effect::policy::Grants;
use effect::saved::Saved;
use effect::session::{Kept, Patience};
use effect::{Code, Error, Mode, Result, Sealer};
use journal::{NewCause, RunId, Timestamp};
use script::Limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::evaluate::Sources;
use crate::app::App;
use crate::execute::Job;
use crate::private::Draft;

const VERSION: u32 = 1;
const LARGEST: u64 = 64 << 20;
/// Its tag names the state directory without telling anything about the key.
const STATE: &[u8] = b"the state directory that a plan was made with";

/// The file: the plan as text, so that its seal covers every byte of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    mcrun_plan: u32,
    seal: String,
    plan: Box<RawValue>,
}

/// All that a saved plan is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frozen {
    /// Its name, by which it is applied once.
    pub(super) id: RunId,
    pub(super) made: Timestamp,
    state: String,
    node: String,
    pub(super) script: PathBuf,
    name: String,
    root: PathBuf,
    source: String,
    modules: BTreeMap<String, String>,
    args: Vec<String>,
    params: Value,
    limits: Limits,
    grants: Grants,
    /// The policy that bounds what was granted.
    policy: Option<Vec<String>>,
    seed: u64,
    /// Of a playbook: its name, and why it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    playbook: Option<(String, Value)>,
    pub(super) steps: Saved,
}

impl Frozen {
    /// What `job` starts from; what its plan sees is added by [`Frozen::save`].
    pub(super) fn new(app: &App, job: &Job, script: &Path) -> Self {
        Self {
            id: job.id,
            made: app.clock.now(),
            state: app.sealer.tag(STATE),
            node: app.node.clone(),
            script: std::path::absolute(script).unwrap_or_else(|_| script.to_owned()),
            name: job.name.clone(),
            root: job.root.clone(),
            source: job.source.clone(),
            modules: BTreeMap::new(),
            args: job.args.clone(),
            params: job.params.clone(),
            limits: job.limits.clone(),
            grants: job.grants.clone(),
            policy: policy(app),
            seed: job.seed,
            playbook: job
                .cause
                .as_ref()
                .and_then(|cause| Some((cause.playbook.clone()?, cause.told.clone()))),
            steps: Saved::default(),
        }
    }

    /// Writes the file, which nobody else may read; the plan's name.
    pub(super) fn save(mut self, app: &App, plan: &Plan, modules: Sources, file: &Path) -> Result<RunId> {
        check_whole(plan)?;
        self.modules = modules.into_iter().collect();
        self.steps = Saved::of(plan);
        let text = self.sealed(&app.sealer)?;
        if text.len() as u64 > LARGEST {
            return Err(Error::new(
                Code::TooLarge,
                format!("the plan has {} bytes, the most is {LARGEST}", text.len()),
            )
            .hint("plan less at once, or run the script without saving the plan"));
        }
        write(file, &text).map_err(|error| {
            Error::new(Code::PlanUnusable, format!("the plan cannot be written to `{}`", file.display()))
                .because(error)
                .hint("check the folder and its permissions, or name another file")
        })?;
        Ok(self.id)
    }

    fn sealed(&self, sealer: &Sealer) -> Result<String> {
        let broken = |error: serde_json::Error| {
            Error::new(Code::Internal, "the plan cannot be encoded").because(error)
        };
        let plan = serde_json::value::to_raw_value(self).map_err(broken)?;
        let seal = sealer.tag(plan.get().as_bytes());
        serde_json::to_string(&Sealed { mcrun_plan: VERSION, seal, plan }).map_err(broken)
    }

    /// Reads a file that this state directory has sealed.
    pub(super) fn read(app: &App, file: &Path) -> Result<Self> {
        let text = read(file).map_err(|error| unusable(file, "cannot be read").because(error))?;
        let damaged =
            |error: serde_json::Error| unusable(file, "is damaged or no plan of mcrun").because(error);
        let version = serde_json::from_str::<Value>(&text).map_err(damaged)?["mcrun_plan"].as_u64();
        if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
            let cause = format!("it has version {version}, this mcrun knows {VERSION}");
            return Err(unusable(file, "was written by another version of mcrun").because(cause));
        }
        let sealed: Sealed = serde_json::from_str(&text).map_err(damaged)?;
        let frozen: Self = serde_json::from_str(sealed.plan.get()).map_err(damaged)?;
        if frozen.state != app.sealer.tag(STATE) {
            let cause = "what it saw was compared and sealed with the key of that directory";
            return Err(unusable(file, "was made with another state directory").because(cause).hint(
                "name that directory with `--state`, or make the plan here: `mcrun plan FILE --out PLAN`",
            ));
        }
        if sealed.seal != app.sealer.tag(sealed.plan.get().as_bytes()) {
            return Err(unusable(file, "was changed after it was saved").because("its seal does not fit"));
        }
        Ok(frozen)
    }

    /// What has moved apart from the world: the policy and the node.
    pub(super) fn moved(&self, app: &App) -> Vec<String> {
        let mut lines = Vec::new();
        if self.node != app.node {
            lines.push(format!("node: was {}, is {}", self.node, app.node));
        }
        let shown = |policy: &Option<Vec<String>>| match policy {
            Some(scripts) => format!("{scripts:?}"),
            None => "unbounded".to_owned(),
        };
        let now = policy(app);
        if self.policy != now {
            lines.push(format!("policy of scripts: was {}, is {}", shown(&self.policy), shown(&now)));
        }
        lines
    }

    /// The files of the script's folder that are not what they were when the plan was made.
    pub(super) fn changed_files(&self) -> Vec<&str> {
        let main = std::iter::once((self.name.as_str(), self.source.as_str()));
        let modules = self.modules.iter().map(|(name, source)| (name.as_str(), source.as_str()));
        main.chain(modules)
            .filter(|(name, _)| !name.starts_with('@'))
            .filter(|(name, source)| {
                std::fs::read(self.root.join(name)).map_or(true, |now| now != source.as_bytes())
            })
            .map(|(name, _)| name)
            .collect()
    }

    /// The job that the plan was made of, as the run `id`.
    pub(super) fn job(&self, id: RunId, mode: Mode) -> Job {
        Job {
            id,
            name: self.name.clone(),
            root: self.root.clone(),
            source: self.source.clone(),
            args: self.args.clone(),
            params: self.params.clone(),
            limits: self.limits.clone(),
            grants: self.grants.clone(),
            seed: self.seed,
            mode,
            asks: false,
            patience: Patience::None,
            sources: self.modules.clone().into_iter().collect(),
            planned: None,
            cause: self.playbook.clone().map(|(name, told)| NewCause {
                playbook: Some(name),
                told,
                writes: Vec::new(),
            }),
            kept: Kept::default(),
            raised: Vec::new(),
            past: None,
        }
    }
}

fn policy(app: &App) -> Option<Vec<String>> {
    app.live().policy.as_ref().map(|policy| policy.scripts.clone())
}

/// What a saved plan does is all known.
fn check_whole(plan: &Plan) -> Result<()> {
    if plan.ends.is_empty() {
        return Ok(());
    }
    let mut error = Error::new(Code::PlanOpen, "the plan does not go to the end, so it is not saved");
    error.details = plan
        .ends
        .iter()
        .map(|end| {
            let place = end.place.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{place} depends on {}", end.note)
        })
        .collect();
    Err(error)
}

fn unusable(file: &Path, what: &str) -> Error {
    Error::new(Code::PlanUnusable, format!("the plan `{}` {what}", file.display()))
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = Draft::of(file)?;
    draft.write_all(text.as_bytes())?;
    draft.keep()
}

fn read(file: &Path) -> std::io::Result<String> {
    let invalid = |reason: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, reason.to_owned());
    if !std::fs::metadata(file)?.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    let mut text = String::new();
    File::open(file)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(invalid("it is larger than any plan of mcrun"));
    }
    Ok(text)
}
