//! Owns the bridge from typed effects to the corridor, which handles them as JSON.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use journal::Timestamp;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::declaration::{Act, Declaration, Declared, Doubt, Ensure, Ensured, OnDoubt, Read, Wait};
use crate::plan::{Action, Change, FieldChange};
use crate::{Code, Context, Error, Kind, Need, Result, arguments};

/// An effect whose types are known only to itself.
pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn kind(&self) -> Kind;
    fn declaration(&self) -> &Declaration;
    /// What a transaction does about a call once it fails; none where nothing has to be done.
    fn rewind(&self) -> Option<Rewind>;
    /// Checks and decodes the arguments of one call.
    fn decode(&self, arguments: Value) -> Result<Box<dyn Call>>;
}

/// What becomes of a call when what it belongs to is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewind {
    /// The state before is brought back.
    Restore,
    /// It is made once more, after everything else was brought back.
    Repeat,
    /// It cannot be taken back.
    Refuse,
}

/// A decoded call.
#[async_trait]
pub(crate) trait Call: Send + Sync {
    fn subject(&self) -> String;
    fn needs(&self) -> Result<Vec<Need>>;
    fn lease(&self) -> Option<String>;
    fn operation(&self) -> Operation<'_>;
}

/// What a call does, by kind.
pub(crate) enum Operation<'a> {
    Read(&'a dyn ReadCall),
    Ensure(&'a dyn EnsureCall),
    Act(&'a dyn ActCall),
    Wait(&'a dyn WaitCall),
}

#[async_trait]
pub(crate) trait ReadCall: Send + Sync {
    fn is_passing(&self) -> bool;
    async fn read(&self, context: &Context) -> Result<Value>;
}

/// A change with its states as JSON.
pub(crate) struct Planned {
    pub(crate) action: Action,
    pub(crate) fields: Vec<FieldChange>,
    pub(crate) notes: Vec<String>,
    pub(crate) lost: Vec<String>,
    pub(crate) diff: Option<String>,
    pub(crate) unknown: Vec<&'static str>,
    pub(crate) before: Option<Value>,
    /// What the script gets in a plan: `{ changed, before, after }`.
    pub(crate) result: Value,
}

/// What `apply` left.
pub(crate) struct Made {
    pub(crate) after: Option<Value>,
    pub(crate) writes: Vec<journal::Write>,
}

/// The result of a comparison that `apply` can go on with.
#[async_trait]
pub(crate) trait Pending: Send + Sync {
    fn planned(&self) -> Result<Planned>;
    /// Enters the change into the plan's overlay.
    fn overlay(&self, context: &Context);
    async fn apply(&self, context: &Context) -> Result<Made>;
}

#[async_trait]
pub(crate) trait EnsureCall: Send + Sync {
    fn own_records(&self) -> bool;
    fn undoable(&self) -> bool;
    /// The key of the object.
    fn key(&self, context: &Context) -> String;
    /// Compares the object as it stands with an earlier state of it.
    async fn compare_earlier<'a>(
        &'a self,
        context: &Context,
        earlier: Option<Value>,
    ) -> Result<Box<dyn Pending + 'a>>;
    async fn compare<'a>(&'a self, context: &Context) -> Result<Box<dyn Pending + 'a>>;
}

#[async_trait]
pub(crate) trait ActCall: Send + Sync {
    fn askable(&self) -> bool;
    fn on_doubt(&self) -> OnDoubt;
    fn assume(&self) -> Option<Value>;
    fn summary(&self) -> Option<String>;
    fn admit(&self, context: &Context) -> Result<()>;
    /// The result that is told when the operator says that the act took place: the script's own word for it, or
    /// nothing where nothing is a result.
    fn result_of_done(&self) -> Option<Value>;
    async fn act(&self, context: &Context, key: &str) -> Result<Value>;
    async fn ask(&self, context: &Context, key: &str) -> Result<Doubt<Value>>;
}

#[async_trait]
pub(crate) trait WaitCall: Send + Sync {
    fn until(&self, now: Timestamp) -> Option<Timestamp>;
    fn parks(&self) -> bool;
    async fn promise(&self, context: &Context) -> Result<Value>;
    async fn wait(&self, context: &Context, until: Option<Timestamp>) -> Result<Value>;
    async fn due(&self, context: &Context, until: Option<Timestamp>) -> Result<bool>;
}

/// Encodes what crosses the corridor.
fn encode<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(Code::Internal, "a result cannot be encoded").because(error))
}

pub(crate) fn declare<E: Declared>(kind: Kind, rewind: Option<Rewind>) -> Declaration {
    let parameters = schema::<E>();
    let doc = parameters.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    Declaration {
        name: E::NAME,
        kind,
        rewind,
        doc,
        capability: E::CAPABILITY,
        example: E::EXAMPLE,
        result: schema::<E::Output>(),
        parameters,
    }
}

pub(crate) fn schema<T: schemars::JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

pub(crate) fn decode<E: Declared>(declaration: &Declaration, value: Value) -> Result<E> {
    checked(declaration, value).map_err(|mut error| {
        error.hint = error.hint.or_else(|| example_of_call(E::NAME, E::EXAMPLE));
        error
    })
}

/// The line of an effect's example that calls it, where it is whole.
fn example_of_call(name: &str, example: &str) -> Option<String> {
    let line = example.lines().find(|line| line.contains(name))?.trim();
    let is_whole = line.matches(['{', '(']).count() == line.matches(['}', ')']).count();
    is_whole.then(|| format!("for example `{line}`"))
}

fn checked<E: Declared>(declaration: &Declaration, mut value: Value) -> Result<E> {
    arguments::check(E::NAME, &declaration.parameters, &mut value)?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" field `{path}`") };
        Error::new(Code::Argument, format!("`{}`:{place} {}", E::NAME, error.inner()))
    })
}

macro_rules! erase {
    ($outer:ident, $call:ident, $bound:ident, $kind:expr, $variant:ident, $rewind:expr) => {
        pub(crate) struct $outer<E: $bound> {
            world: Arc<E::World>,
            declaration: OnceLock<Declaration>,
            effect: PhantomData<fn() -> E>,
        }

        impl<E: $bound> $outer<E> {
            pub(crate) fn new(world: Arc<E::World>) -> Self {
                Self { world, declaration: OnceLock::new(), effect: PhantomData }
            }
        }

        impl<E: $bound> Erased for $outer<E> {
            fn name(&self) -> &'static str {
                E::NAME
            }

            fn kind(&self) -> Kind {
                $kind
            }

            fn declaration(&self) -> &Declaration {
                self.declaration.get_or_init(|| declare::<E>($kind, $rewind))
            }

            fn rewind(&self) -> Option<Rewind> {
                $rewind
            }

            fn decode(&self, arguments: Value) -> Result<Box<dyn Call>> {
                let effect: E = decode(self.declaration(), arguments)?;
                Ok(Box::new($call { effect, world: self.world.clone() }))
            }
        }

        struct $call<E: $bound> {
            effect: E,
            world: Arc<E::World>,
        }

        impl<E: $bound> Call for $call<E> {
            fn subject(&self) -> String {
                self.effect.subject()
            }

            fn needs(&self) -> Result<Vec<Need>> {
                self.effect.needs(&self.world)
            }

            fn lease(&self) -> Option<String> {
                self.effect.lease()
            }

            fn operation(&self) -> Operation<'_> {
                Operation::$variant(self)
            }
        }
    };
}

erase!(OfRead, ReadOf, Read, Kind::Read, Read, None);
erase!(
    OfEnsure,
    EnsureOf,
    Ensure,
    Kind::Ensure,
    Ensure,
    Some(if E::UNDOABLE { Rewind::Restore } else { Rewind::Refuse })
);
erase!(OfAct, ActOf, Act, Kind::Act, Act, Some(if E::REPEATS { Rewind::Repeat } else { Rewind::Refuse }));
erase!(OfWait, WaitOf, Wait, Kind::Wait, Wait, None);

#[async_trait]
impl<E: Read> ReadCall for ReadOf<E> {
    fn is_passing(&self) -> bool {
        E::PASSING
    }

    async fn read(&self, context: &Context) -> Result<Value> {
        encode(&self.effect.read(&self.world, context).await?)
    }
}

struct Compared<'a, E: Ensure> {
    call: &'a EnsureOf<E>,
    before: Option<E::State>,
    change: Change<E::State>,
    /// The state that is brought back, where it is one.
    earlier: Option<Option<E::State>>,
}

impl<E: Ensure> EnsureOf<E> {
    fn planned(&self, context: &Context) -> Option<Option<E::State>> {
        context.overlay.get(&self.effect.key(context))
    }
}

#[async_trait]
impl<E: Ensure> EnsureCall for EnsureOf<E> {
    fn own_records(&self) -> bool {
        self.effect.writes_own_records(&self.world)
    }

    async fn compare<'a>(&'a self, context: &Context) -> Result<Box<dyn Pending + 'a>> {
        let before = match self.planned(context) {
            Some(planned) => planned,
            None => self.effect.observe(&self.world, context).await?,
        };
        let change = self.effect.change(&self.world, context, before.as_ref()).await?;
        Ok(Box::new(Compared { call: self, before, change, earlier: None }))
    }

    fn undoable(&self) -> bool {
        E::UNDOABLE
    }

    fn key(&self, context: &Context) -> String {
        self.effect.key(context)
    }

    async fn compare_earlier<'a>(
        &'a self,
        context: &Context,
        earlier: Option<Value>,
    ) -> Result<Box<dyn Pending + 'a>> {
        let unreadable =
            |error| Error::new(Code::JournalBroken, "a recorded state cannot be decoded").because(error);
        let earlier: Option<E::State> =
            earlier.map(serde_json::from_value).transpose().map_err(unreadable)?;
        let before = match self.planned(context) {
            Some(planned) => planned,
            None => self.effect.observe_whole(&self.world, context).await?,
        };
        let change = self.effect.rewind(&self.world, context, before.as_ref(), earlier.as_ref()).await?;
        Ok(Box::new(Compared { call: self, before, change, earlier: Some(earlier) }))
    }
}

#[async_trait]
impl<E: Ensure> Pending for Compared<'_, E> {
    fn planned(&self) -> Result<Planned> {
        let result = Ensured {
            changed: !self.change.is_none(),
            before: self.before.clone(),
            after: self.change.after.clone(),
        };
        Ok(Planned {
            action: self.change.action,
            fields: self.change.fields.clone(),
            notes: self.change.notes.clone(),
            lost: self.change.lost.clone(),
            diff: self.change.diff.clone(),
            unknown: self.change.unknown.clone(),
            before: self.before.as_ref().map(encode).transpose()?,
            result: encode(&result)?,
        })
    }

    fn overlay(&self, context: &Context) {
        context.overlay.set(&self.call.effect.key(context), self.change.after.as_ref());
    }

    async fn apply(&self, context: &Context) -> Result<Made> {
        let (effect, world, before) = (&self.call.effect, &self.call.world, self.before.as_ref());
        let applied = match &self.earlier {
            None => effect.apply(world, context, before, &self.change).await?,
            Some(earlier) => {
                effect.apply_rewind(world, context, before, earlier.as_ref(), &self.change).await?
            }
        };
        Ok(Made { after: applied.after.as_ref().map(encode).transpose()?, writes: applied.writes })
    }
}

#[async_trait]
impl<E: Act> ActCall for ActOf<E> {
    fn askable(&self) -> bool {
        E::ASKABLE
    }

    fn on_doubt(&self) -> OnDoubt {
        self.effect.on_doubt()
    }

    fn assume(&self) -> Option<Value> {
        self.effect.assume()
    }

    fn summary(&self) -> Option<String> {
        self.effect.summary()
    }

    fn admit(&self, context: &Context) -> Result<()> {
        self.effect.admit(&self.world, context)
    }

    fn result_of_done(&self) -> Option<Value> {
        let nothing = || serde_json::from_value::<E::Output>(Value::Null).is_ok().then_some(Value::Null);
        self.effect.assume().or_else(nothing)
    }

    async fn act(&self, context: &Context, key: &str) -> Result<Value> {
        encode(&self.effect.act(&self.world, context, key).await?)
    }

    async fn ask(&self, context: &Context, key: &str) -> Result<Doubt<Value>> {
        Ok(match self.effect.ask(&self.world, context, key).await? {
            Doubt::Done(output) => Doubt::Done(encode(&output)?),
            Doubt::NotDone => Doubt::NotDone,
            Doubt::Unknown => Doubt::Unknown,
        })
    }
}

#[async_trait]
impl<E: Wait> WaitCall for WaitOf<E> {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.effect.until(now)
    }

    fn parks(&self) -> bool {
        self.effect.parks()
    }

    async fn promise(&self, context: &Context) -> Result<Value> {
        self.effect.admit(&self.world, context).await?;
        encode(&self.effect.promise())
    }

    async fn wait(&self, context: &Context, until: Option<Timestamp>) -> Result<Value> {
        encode(&self.effect.wait(&self.world, context, until).await?)
    }

    async fn due(&self, context: &Context, until: Option<Timestamp>) -> Result<bool> {
        self.effect.due(&self.world, context, until).await
    }
}
