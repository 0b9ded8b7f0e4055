//! Owns the effects through which a test speaks with the kit. `@std/test` is what people write; these are beneath it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use effect::policy::Grants;
use effect::{Act, Code, Context, Declared, Error, Need, OnDoubt, Read, Registry, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answers::Answer;
use super::faults::{Fault, Outcome};
use super::nested::{self, Ended, Nested};
use super::{Kit, Seen};

/// Registers the effects of the kit.
pub(super) fn register(registry: &mut Registry, kit: &Arc<Kit>) {
    registry.read::<Begin>(kit);
    registry.act::<AddFault>(kit);
    registry.act::<AddAnswer>(kit);
    registry.act::<Effects>(kit);
    registry.act::<Run>(kit);
    registry.act::<Heal>(kit);
}

macro_rules! declared {
    ($effect:ident, $name:literal, $output:ty, $example:literal, $subject:expr) => {
        impl Declared for $effect {
            const NAME: &'static str = $name;
            const CAPABILITY: &'static str = "";
            const EXAMPLE: &'static str = $example;
            type World = Kit;
            type Output = $output;

            fn subject(&self) -> String {
                let subject: fn(&Self) -> String = $subject;
                subject(self)
            }

            fn needs(&self, _: &Kit) -> Result<Vec<Need>> {
                Ok(Vec::new())
            }
        }
    };
}

/// An act of the kit itself: it takes place in a test only, which is never resumed.
macro_rules! act {
    ($effect:ident, $do:expr) => {
        #[async_trait]
        impl Act for $effect {
            fn on_doubt(&self) -> OnDoubt {
                OnDoubt::Redo
            }

            fn assume(&self) -> Option<Value> {
                None
            }

            async fn act(&self, kit: &Kit, _: &Context, _: &str) -> Result<Self::Output> {
                let act: fn(&Self, &Kit) -> Result<Self::Output> = $do;
                act(self, kit)
            }
        }
    };
}

/// Whether the test of this name is the one that runs. Only in `mcrun test`; `@std/test` asks it for every test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    /// The name of the test.
    name: String,
}

declared!(Begin, "world.begin", bool, "local test = require(\"@std/test\")", |begin| begin.name.clone());

#[async_trait]
impl Read for Begin {
    async fn read(&self, kit: &Kit, _: &Context) -> Result<bool> {
        let mut story = kit.story();
        if self.name.trim().is_empty() || story.names.contains(&self.name) {
            let message = format!("there are two tests of the name `{}`", self.name);
            return Err(Error::new(Code::TestFile, message).hint("every test has a name of its own"));
        }
        story.names.push(self.name.clone());
        Ok(kit.selected.as_ref() == Some(&self.name))
    }
}

/// Lets calls of an effect fail. Only in `mcrun test`; written as `test.fault { … }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddFault {
    /// The effect, such as `containers.ensure`.
    effect: String,
    /// The object, such as the name of a container; any unless given.
    subject: Option<String>,
    /// How many calls pass before the first that fails.
    #[serde(default)]
    skip: u32,
    /// How many fail then; all that follow unless given.
    times: Option<u32>,
    /// Whether it does nothing and fails, or does its work and then its answer is lost.
    #[serde(default)]
    outcome: Outcome,
    /// The code that it fails with; `MC-C002` unless given.
    code: Option<String>,
    /// What the error says.
    message: Option<String>,
    /// Whether the error says that the same call may succeed later.
    #[serde(default)]
    retryable: bool,
}

declared!(AddFault, "world.fault", (), "local test = require(\"@std/test\")", |fault| fault.effect.clone());
act!(AddFault, |fault, kit| {
    let code = match &fault.code {
        Some(code) => {
            code.parse().map_err(|error| Error::new(Code::Argument, format!("field `code`: {error}")))?
        }
        None => Code::EngineFailed,
    };
    kit.story().faults.add(Fault {
        effect: fault.effect.clone(),
        subject: fault.subject.clone(),
        skip: fault.skip,
        times: fault.times,
        outcome: fault.outcome,
        code,
        message: fault.message.clone(),
        retryable: fault.retryable,
    });
    Ok(())
});

/// Takes every fault back. Only in `mcrun test`; written as `test.heal()`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Heal {}

declared!(Heal, "world.heal", (), "local test = require(\"@std/test\")", |_| String::new());
act!(Heal, |_, kit| {
    kit.story().faults.clear();
    Ok(())
});

/// Says what a program or a web address answers. Only in `mcrun test`; written as `test.answer { … }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddAnswer {
    /// The effect: `http.get`, `http.request`, `dns.resolve`, `exec.run`, `exec.query`, `containers.exec`, `files.space` or
    /// `approve`.
    effect: String,
    /// The address or the words of the program; a `*` at the end stands for any rest. Any unless given.
    subject: Option<String>,
    /// The fields of its result that differ from those of a success with nothing to say.
    #[serde(default)]
    result: Map<String, Value>,
    /// How many calls it answers; all unless given.
    times: Option<u32>,
}

declared!(AddAnswer, "world.answer", (), "local test = require(\"@std/test\")", |answer| answer
    .effect
    .clone());
act!(AddAnswer, |given, kit| {
    let answer = Answer {
        effect: given.effect.clone(),
        subject: given.subject.clone(),
        result: given.result.clone(),
        times: given.times,
    };
    answer.check()?;
    kit.story().answers.add(answer);
    Ok(())
});

/// The effects of this test since the last call. Only in `mcrun test`; `test.effects` and `test.changes` compare them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Effects {}

declared!(Effects, "world.effects", Vec<Seen>, "local test = require(\"@std/test\")", |_| String::new());
act!(Effects, |_, kit| Ok(std::mem::take(&mut kit.story().seen)));

/// Runs or plans a whole script in the world of this test. Only in `mcrun test`; written as `test.run(file, options)` and
/// `test.plan(file, options)`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The script, relative to the test's folder.
    file: String,
    /// The words behind its name.
    #[serde(default)]
    args: Vec<String>,
    /// What `--set` gives.
    #[serde(default)]
    params: BTreeMap<String, Value>,
    /// What the `run` of a playbook is told; unless given `{ kind = "manual" }`.
    event: Option<Map<String, Value>>,
    /// What is granted; everything unless given.
    allow: Option<Vec<String>>,
    /// What is denied.
    #[serde(default)]
    deny: Vec<String>,
    /// Whether it is only planned.
    #[serde(default)]
    plan: bool,
}

declared!(Run, "world.run", Ended, "local test = require(\"@std/test\")", |run| run.file.clone());

#[async_trait]
impl Act for Run {
    fn on_doubt(&self) -> OnDoubt {
        OnDoubt::Redo
    }

    fn assume(&self) -> Option<Value> {
        None
    }

    async fn act(&self, kit: &Kit, context: &Context, _: &str) -> Result<Ended> {
        let Some(kit) = kit.itself.upgrade() else {
            return Err(Error::new(Code::Internal, "the world of the test is gone"));
        };
        let file: PathBuf = context.root.join(&self.file);
        let nested = Nested {
            file,
            args: self.args.clone(),
            params: Value::Object(self.params.clone().into_iter().collect()),
            grants: Grants {
                allow: self.allow.clone().unwrap_or_else(|| vec!["*".to_owned()]),
                deny: self.deny.clone(),
                ..Grants::default()
            },
            event: self.event.clone().map(Value::Object),
            plan: self.plan,
        };
        nested::run(kit, nested).await
    }
}
