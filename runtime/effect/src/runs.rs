//! Owns what undo is made of as effects: `runs.changes` lists what a run changed, `runs.restore` brings back what was
//! there before one of these changes. Leaves the bringing back to the effect that made the change
//! ([`Ensure::rewind`](crate::Ensure::rewind)) and how a restore finds it to [`crate::session`].

use std::collections::BTreeMap;
use std::sync::OnceLock;

use async_trait::async_trait;
use journal::{Entry, Place, RunId, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::declaration::{Declaration, Declared, Ensured, Read};
use crate::erased::{Call, Erased, Rewind, declare};
use crate::{Code, Context, Error, Kind, Need, Result};

/// The most changes that are listed at once, and how many unless a call says.
const MOST: u32 = 1000;

/// What becomes of every effect that leaves something behind.
pub struct Rewinds(pub(crate) BTreeMap<&'static str, Rewind>);

/// Lists what a run changed, or may have changed because it was cut: the last change first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The run's id, or the beginning of it.
    run: String,
    /// Only what was completed before this entry: the `entry` of the last change of the page before.
    before: Option<u64>,
    /// How many changes at most; 1000 unless given.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// One change that a run made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The run's whole id.
    pub run: String,
    /// Its place in the order of completion; absent when the effect has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The scope that it was made in.
    pub scope: String,
    /// Its number in that scope.
    pub counter: u32,
    /// The effect.
    pub effect: String,
    /// The file that called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line that called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What undoing it takes: `restore`, `repeat` (made once more after everything else) or `refuse`.
    #[schemars(with = "String")]
    pub undo: Rewind,
    /// Its arguments, where it is to be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
}

impl Declared for Changes {
    const NAME: &'static str = "runs.changes";
    const CAPABILITY: &'static str = "runs:read:ID";
    const EXAMPLE: &'static str = "if args[1] then\n    for _, change in runs.changes { run = args[1] } do\n        print(change.effect)\n    end\nend";
    type World = Rewinds;
    type Output = Vec<Changed>;

    fn subject(&self) -> String {
        self.run.clone()
    }

    fn needs(&self, _: &Rewinds) -> Result<Vec<Need>> {
        Ok(vec![Need::read("runs", &self.run)])
    }
}

#[async_trait]
impl Read for Changes {
    async fn read(&self, rewinds: &Rewinds, context: &Context) -> Result<Vec<Changed>> {
        let run = context.journal.run(&self.run).await?.id;
        let limit = self.limit.unwrap_or(MOST).min(MOST);
        let changed = context.journal.changed(&run, self.before, limit as usize).await?;
        Ok(changed.into_iter().map(|entry| Changed::new(&run, entry, rewinds)).collect())
    }
}

impl Changed {
    fn new(run: &RunId, entry: Entry, rewinds: &Rewinds) -> Self {
        let undo = rewinds.0.get(entry.identity.name.as_str()).copied().unwrap_or(Rewind::Refuse);
        let (file, line) = entry.place.map(|Place { file, line }| (file, line)).unzip();
        Self {
            run: run.to_string(),
            entry: entry.order.filter(|_| entry.status != Status::Begun),
            arguments: serde_json::from_str(&entry.arguments).ok().filter(|_| undo == Rewind::Repeat),
            undo,
            scope: entry.identity.scope,
            counter: entry.identity.counter,
            effect: entry.identity.name,
            file,
            line,
        }
    }
}

/// Brings back what was there before one effect of a run changed it.
///
/// What a later run has built on top is not taken away: the restore is refused and names that run. It takes the
/// capabilities that the effect itself takes. A container comes back with what its volumes hold now; what it wrote
/// elsewhere is lost.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The run's id; the run that asks unless given.
    pub run: Option<String>,
    /// The scope of the change.
    pub scope: String,
    /// The number of the change in its scope.
    pub counter: u32,
    /// Whether it is brought back although a later run has changed the object too.
    #[serde(default)]
    pub force: bool,
}

impl Declared for Restore {
    const NAME: &'static str = "runs.restore";
    const CAPABILITY: &'static str = "runs:read:ID";
    const EXAMPLE: &'static str = "if args[1] then
    for _, change in runs.changes { run = args[1] } do
        if change.undo == \"restore\" then
            runs.restore { run = change.run, scope = change.scope, counter = change.counter }
        end
    end
end";
    type World = ();
    type Output = Ensured<Value>;

    fn subject(&self) -> String {
        format!("{}#{}", self.scope, self.counter)
    }

    fn needs(&self, (): &()) -> Result<Vec<Need>> {
        Ok(self.run.iter().map(|run| Need::read("runs", run)).collect())
    }
}

/// `runs.restore` in the registry. The corridor never decodes it alone: which effect it becomes stands in the journal.
#[derive(Default)]
pub(crate) struct OfRestore(OnceLock<Declaration>);

impl Erased for OfRestore {
    fn name(&self) -> &'static str {
        Restore::NAME
    }

    fn kind(&self) -> Kind {
        Kind::Ensure
    }

    fn declaration(&self) -> &Declaration {
        self.0.get_or_init(|| declare::<Restore>(Kind::Ensure, self.rewind()))
    }

    /// Bringing back is not brought back.
    fn rewind(&self) -> Option<Rewind> {
        None
    }

    fn decode(&self, _: Value) -> Result<Box<dyn Call>> {
        Err(Error::new(Code::Internal, "a restore was asked for outside of the corridor"))
    }
}
