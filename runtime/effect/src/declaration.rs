//! Owns how an effect is declared: one Rust type, its parameters, whose doc comment is the effect's documentation.
//!
//! ```text
//! /// Stops a container and leaves it in place.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Stop { /// The container's name.
//!               name: String }
//! impl Declared for Stop { const NAME: &str = "containers.stop"; … }
//! impl Ensure for Stop { … observe, change, apply … }
//! ```
//!
//! From it come the Lua binding, type definitions, reference pages, argument errors and the plan.

use async_trait::async_trait;
use journal::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Change, Code, Context, Error, Need, Result, Rewind, erased};

pub use journal::Kind;

/// What the corridor knows of an effect without its types.
#[derive(Debug, Clone, Serialize)]
pub struct Declaration {
    /// `containers.ensure`.
    pub name: &'static str,
    /// Read, ensure, act or wait.
    pub kind: Kind,
    /// What becomes of a call when it is undone; none where nothing has to be done.
    pub rewind: Option<Rewind>,
    /// Markdown; the first sentence is the summary.
    pub doc: String,
    /// The capability in its documented form, `containers:write:NAME`; empty when none is needed.
    pub capability: &'static str,
    /// A Luau snippet that runs.
    pub example: &'static str,
    /// JSON schema of the parameters.
    pub parameters: Value,
    /// JSON schema of the result.
    pub result: Value,
}

/// An effect: the type holds the parameters of one call.
pub trait Declared: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `primitive.operation`.
    const NAME: &'static str;
    /// The capability in its documented form, empty when none is needed.
    const CAPABILITY: &'static str;
    /// A Luau snippet that runs as it is.
    const EXAMPLE: &'static str;
    /// What the effect needs to do its work: drivers, settings.
    type World: Send + Sync + 'static;
    /// What the script gets back.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send + Sync;

    /// The object this call is about, for people: a container's name, a path.
    fn subject(&self) -> String;

    /// The capabilities that exactly this request needs. All must be granted.
    ///
    /// # Errors
    /// When the request itself makes no sense, such as a path that is not absolute.
    fn needs(&self, world: &Self::World) -> Result<Vec<Need>>;

    /// The service that must not be changed by two runs at once, when there is one.
    fn lease(&self) -> Option<String> {
        None
    }
}

/// The JSON schema of an effect's parameters, against which [`crate::arguments::check`] holds what was recorded of a call.
#[must_use]
pub fn parameters<E: Declared>() -> Value {
    erased::schema::<E>()
}

/// An effect that changes nothing.
#[async_trait]
pub trait Read: Declared {
    /// Whether the answer is one of the moment, such as the time of day: a saved plan does not hold on to it.
    const PASSING: bool = false;

    /// Reads. Objects that a plan will have changed are answered from `context.overlay()`.
    async fn read(&self, world: &Self::World, context: &Context) -> Result<Self::Output>;
}

/// An effect that brings about the described state.
#[async_trait]
pub trait Ensure: Declared<Output = Ensured<Self::State>> {
    /// The state of one object as it can be observed and restored.
    type State: Serialize + DeserializeOwned + JsonSchema + Clone + Send + Sync;

    /// True when applying only writes records of our own database: these commit together with the end.
    const OWN_RECORDS: bool = false;

    /// Whether an earlier state of the object can be brought back with [`Ensure::rewind`].
    const UNDOABLE: bool = false;

    /// [`Ensure::OWN_RECORDS`] where that depends on the driver.
    fn writes_own_records(&self, _world: &Self::World) -> bool {
        Self::OWN_RECORDS
    }

    /// The key of the object, `containers:NODE/NAME`, the same for every effect on it.
    fn key(&self, context: &Context) -> String;

    /// Reads the object from the world. The corridor asks the plan's overlay first.
    async fn observe(&self, world: &Self::World, context: &Context) -> Result<Option<Self::State>>;

    /// Compares. Pure apart from looking up what the request leaves open (an image's defaults).
    async fn change(
        &self,
        world: &Self::World,
        context: &Context,
        before: Option<&Self::State>,
    ) -> Result<Change<Self::State>>;

    /// Makes it so. May have been cut anywhere by a kill before, and then runs again.
    async fn apply(
        &self,
        world: &Self::World,
        context: &Context,
        before: Option<&Self::State>,
        change: &Change<Self::State>,
    ) -> Result<Applied<Self::State>>;

    /// Reads the object for a rewind: without regard to what this call wants of it, and with all that undoing the undo
    /// would need.
    async fn observe_whole(&self, world: &Self::World, context: &Context) -> Result<Option<Self::State>> {
        self.observe(world, context).await
    }

    /// What bringing back `earlier`, which `observe` found before this very call changed the object, changes about the
    /// object as it stands `now`. `None` is an object that is not there.
    async fn rewind(
        &self,
        _world: &Self::World,
        _context: &Context,
        _now: Option<&Self::State>,
        _earlier: Option<&Self::State>,
    ) -> Result<Change<Self::State>> {
        Err(not_undoable(Self::NAME))
    }

    /// Brings `earlier` back; `change` is what [`Ensure::rewind`] found. May have been cut anywhere, and then runs again.
    async fn apply_rewind(
        &self,
        _world: &Self::World,
        _context: &Context,
        _now: Option<&Self::State>,
        _earlier: Option<&Self::State>,
        _change: &Change<Self::State>,
    ) -> Result<Applied<Self::State>> {
        Err(not_undoable(Self::NAME))
    }
}

/// The refusal to undo an effect that cannot be undone.
pub(crate) fn not_undoable(name: &str) -> Error {
    Error::new(Code::NotUndoable, format!("`{name}` cannot be undone"))
}

/// What an `ensure` leaves behind.
#[derive(Debug)]
pub struct Applied<S> {
    /// The object afterwards, `None` when it is gone.
    pub after: Option<S>,
    /// Records that are written together with the end.
    pub writes: Vec<journal::Write>,
}

impl<S> Applied<S> {
    /// The object stands as `after`.
    pub fn to(after: S) -> Self {
        Self { after: Some(after), writes: Vec::new() }
    }

    /// The object is gone.
    #[must_use]
    pub fn gone() -> Self {
        Self { after: None, writes: Vec::new() }
    }

    /// The same with records to write.
    #[must_use]
    pub fn writing(mut self, writes: Vec<journal::Write>) -> Self {
        self.writes = writes;
        self
    }
}

/// The result of an `ensure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ensured<S> {
    /// Whether anything had to be done.
    pub changed: bool,
    /// The object as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<S>,
    /// The object as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<S>,
}

/// What to do when it is unknown whether an act took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDoubt {
    /// Pause the run and let the operator say.
    #[default]
    Ask,
    /// Do it again.
    Redo,
    /// Raise an error in the script.
    Fail,
}

/// What a driver can tell about an act that was cut.
#[derive(Debug)]
pub enum Doubt<T> {
    /// It took place, with this result.
    Done(T),
    /// It did not.
    NotDone,
    /// Nobody can tell.
    Unknown,
}

/// An effect that does something once.
#[async_trait]
pub trait Act: Declared {
    /// True when [`Act::ask`] can answer; otherwise the end of the act is committed at once.
    const ASKABLE: bool = false;

    /// Whether doing it once more is what undoing wants, after everything around it was brought back: a restart is. Such
    /// an act takes `only_running`, because what it was about may be gone again by then.
    const REPEATS: bool = false;

    /// The call's `on_doubt`.
    fn on_doubt(&self) -> OnDoubt;

    /// The call's `assume`: the result a plan goes on with.
    fn assume(&self) -> Option<Value>;

    /// What can be refused before anything is done, such as a secret that may not go there: asked by the plan and before
    /// the begin.
    fn admit(&self, _world: &Self::World, _context: &Context) -> Result<()> {
        Ok(())
    }

    /// Does it. `key` is the same whenever this very act is tried again.
    async fn act(&self, world: &Self::World, context: &Context, key: &str) -> Result<Self::Output>;

    /// Asks the world whether the act with `key` took place.
    async fn ask(&self, _world: &Self::World, _context: &Context, _key: &str) -> Result<Doubt<Self::Output>> {
        Ok(Doubt::Unknown)
    }

    /// What the plan's line adds, such as the argument vector.
    fn summary(&self) -> Option<String> {
        None
    }
}

/// An effect that waits for something.
#[async_trait]
pub trait Wait: Declared {
    /// The moment the wait ends by itself, when that is known at its begin. Recorded, so a resumed wait keeps it.
    fn until(&self, now: Timestamp) -> Option<Timestamp>;

    /// What can be refused before it is waited for: asked by the plan alone.
    async fn admit(&self, _world: &Self::World, _context: &Context) -> Result<()> {
        Ok(())
    }

    /// What a plan goes on with.
    fn promise(&self) -> Self::Output;

    /// Waits. `until` is what was recorded at the first begin.
    async fn wait(
        &self,
        world: &Self::World,
        context: &Context,
        until: Option<Timestamp>,
    ) -> Result<Self::Output>;

    /// Whether the run is shown as waiting meanwhile, and its worker freed when that takes long.
    fn parks(&self) -> bool {
        false
    }

    /// Whether [`Wait::wait`] would come to its end now: what a run whose worker was freed is continued for.
    async fn due(&self, _world: &Self::World, context: &Context, until: Option<Timestamp>) -> Result<bool> {
        Ok(until.is_none_or(|until| until <= context.now()))
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        crate::session::journal_error(error)
    }
}
