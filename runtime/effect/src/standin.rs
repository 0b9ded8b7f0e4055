//! Owns the seam at which somebody else stands in for the world: in tests of scripts, calls are answered from a script
//! of faults instead of by the network and the programs of a machine. Arguments, policy, plan and journal stay what they
//! are; only the last step is another's.

use std::sync::Arc;

use async_trait::async_trait;
use journal::Timestamp;
use serde_json::Value;

use crate::declaration::{Declaration, Doubt, OnDoubt};
use crate::erased::{
    ActCall, Call, EnsureCall, Erased, Made, Operation, Pending, Planned, ReadCall, Rewind, WaitCall,
};
use crate::{Code, Context, Error, Kind, Need, Result};

/// One call as a stand-in sees it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The effect, `http.get`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The object that it is about.
    pub subject: &'a str,
    /// What the script gave.
    pub arguments: &'a Value,
}

/// Whoever stands in for the world.
#[async_trait]
pub trait StandIn: Send + Sync {
    /// Rewrites the arguments of a call before anybody looks at them: paths move into a scratch folder.
    fn relocate(&self, _effect: &'static str, _arguments: &mut Value) {}

    /// Undoes it in what the script gets back and sees.
    fn restore(&self, _value: &mut Value) {}

    /// The outcome of a read, an act or a wait; nothing when the effect itself is to do it. In a plan only reads ask.
    async fn answer(&self, asked: Asked<'_>, context: &Context) -> Option<Result<Value>>;

    /// Called before an `ensure` applies a change, which does not happen when this fails.
    async fn before(&self, asked: Asked<'_>, context: &Context) -> Result<()>;

    /// Called after it, and after an act or a wait that was left to the effect itself: the answer is lost when this
    /// fails.
    async fn after(&self, asked: Asked<'_>, context: &Context) -> Result<()>;
}

/// An effect with a stand-in before it.
pub(crate) struct StoodIn {
    inner: Arc<dyn Erased>,
    stand_in: Arc<dyn StandIn>,
}

impl StoodIn {
    pub(crate) fn new(inner: Arc<dyn Erased>, stand_in: Arc<dyn StandIn>) -> Self {
        Self { inner, stand_in }
    }
}

impl Erased for StoodIn {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn declaration(&self) -> &Declaration {
        self.inner.declaration()
    }

    fn rewind(&self) -> Option<Rewind> {
        self.inner.rewind()
    }

    fn decode(&self, mut arguments: Value) -> Result<Box<dyn Call>> {
        let given = arguments.clone();
        let subject = self.inner.decode(arguments.clone())?.subject();
        self.stand_in.relocate(self.name(), &mut arguments);
        let call = self.inner.decode(arguments)?;
        let (name, kind, stand_in) = (self.name(), self.kind(), self.stand_in.clone());
        Ok(Box::new(StoodInCall { call, name, kind, subject, given, stand_in }))
    }
}

struct StoodInCall {
    call: Box<dyn Call>,
    name: &'static str,
    kind: Kind,
    subject: String,
    given: Value,
    stand_in: Arc<dyn StandIn>,
}

impl StoodInCall {
    fn asked(&self) -> Asked<'_> {
        Asked { name: self.name, kind: self.kind, subject: &self.subject, arguments: &self.given }
    }

    fn restored(&self, mut value: Value) -> Value {
        self.stand_in.restore(&mut value);
        value
    }

    async fn answered(&self, context: &Context) -> Option<Result<Value>> {
        self.stand_in.answer(self.asked(), context).await
    }

    fn act_call(&self) -> &dyn ActCall {
        match self.call.operation() {
            Operation::Act(act) => act,
            _ => unreachable!("`operation` hands itself over as what the call is"),
        }
    }

    fn wait_call(&self) -> &dyn WaitCall {
        match self.call.operation() {
            Operation::Wait(wait) => wait,
            _ => unreachable!("`operation` hands itself over as what the call is"),
        }
    }
}

impl Call for StoodInCall {
    fn subject(&self) -> String {
        self.subject.clone()
    }

    fn needs(&self) -> Result<Vec<Need>> {
        match self.call.needs() {
            // A program that this machine lacks: it is not going to be started, only named.
            Err(error) if error.code == Code::ExecFailed => {
                let program = self.given.pointer("/argv/0").and_then(Value::as_str).unwrap_or_default();
                Ok(vec![Need::write("exec", program)])
            }
            needs => needs,
        }
    }

    fn lease(&self) -> Option<String> {
        self.call.lease()
    }

    fn operation(&self) -> Operation<'_> {
        match self.call.operation() {
            Operation::Read(_) => Operation::Read(self),
            Operation::Ensure(_) => Operation::Ensure(self),
            Operation::Act(_) => Operation::Act(self),
            Operation::Wait(_) => Operation::Wait(self),
        }
    }
}

#[async_trait]
impl ReadCall for StoodInCall {
    fn is_passing(&self) -> bool {
        matches!(self.call.operation(), Operation::Read(read) if read.is_passing())
    }

    async fn read(&self, context: &Context) -> Result<Value> {
        if let Some(answer) = self.answered(context).await {
            return answer;
        }
        match self.call.operation() {
            Operation::Read(read) => Ok(self.restored(read.read(context).await?)),
            _ => Err(Error::new(Code::Internal, "a read is no read")),
        }
    }
}

#[async_trait]
impl EnsureCall for StoodInCall {
    fn own_records(&self) -> bool {
        matches!(self.call.operation(), Operation::Ensure(ensure) if ensure.own_records())
    }

    fn undoable(&self) -> bool {
        matches!(self.call.operation(), Operation::Ensure(ensure) if ensure.undoable())
    }

    fn key(&self, context: &Context) -> String {
        match self.call.operation() {
            Operation::Ensure(ensure) => ensure.key(context),
            _ => self.subject.clone(),
        }
    }

    async fn compare_earlier<'a>(
        &'a self,
        context: &Context,
        mut earlier: Option<Value>,
    ) -> Result<Box<dyn Pending + 'a>> {
        // What was recorded names things as the script does.
        if let Some(earlier) = &mut earlier {
            self.stand_in.relocate(self.name, earlier);
        }
        match self.call.operation() {
            Operation::Ensure(ensure) => {
                let pending = ensure.compare_earlier(context, earlier).await?;
                Ok(Box::new(StoodInPending { call: self, pending }))
            }
            _ => Err(Error::new(Code::Internal, "an ensure is no ensure")),
        }
    }

    async fn compare<'a>(&'a self, context: &Context) -> Result<Box<dyn Pending + 'a>> {
        match self.call.operation() {
            Operation::Ensure(ensure) => {
                Ok(Box::new(StoodInPending { call: self, pending: ensure.compare(context).await? }))
            }
            _ => Err(Error::new(Code::Internal, "an ensure is no ensure")),
        }
    }
}

struct StoodInPending<'a> {
    call: &'a StoodInCall,
    pending: Box<dyn Pending + 'a>,
}

#[async_trait]
impl Pending for StoodInPending<'_> {
    fn planned(&self) -> Result<Planned> {
        let mut planned = self.pending.planned()?;
        planned.before = planned.before.map(|value| self.call.restored(value));
        planned.result = self.call.restored(planned.result);
        Ok(planned)
    }

    fn overlay(&self, context: &Context) {
        self.pending.overlay(context);
    }

    async fn apply(&self, context: &Context) -> Result<Made> {
        self.call.stand_in.before(self.call.asked(), context).await?;
        let mut made = self.pending.apply(context).await?;
        made.after = made.after.map(|value| self.call.restored(value));
        self.call.stand_in.after(self.call.asked(), context).await?;
        Ok(made)
    }
}

#[async_trait]
impl ActCall for StoodInCall {
    fn askable(&self) -> bool {
        self.act_call().askable()
    }

    fn on_doubt(&self) -> OnDoubt {
        self.act_call().on_doubt()
    }

    fn assume(&self) -> Option<Value> {
        self.act_call().assume()
    }

    fn summary(&self) -> Option<String> {
        self.act_call().summary()
    }

    fn admit(&self, context: &Context) -> Result<()> {
        match self.act_call().admit(context) {
            // As with what it needs: it is not going to be started.
            Err(error) if error.code == Code::ExecFailed => Ok(()),
            admitted => admitted,
        }
    }

    fn result_of_done(&self) -> Option<Value> {
        self.act_call().result_of_done()
    }

    async fn act(&self, context: &Context, key: &str) -> Result<Value> {
        match self.answered(context).await {
            Some(answer) => answer,
            None => {
                let result = self.restored(self.act_call().act(context, key).await?);
                self.stand_in.after(self.asked(), context).await?;
                Ok(result)
            }
        }
    }

    async fn ask(&self, context: &Context, key: &str) -> Result<Doubt<Value>> {
        self.act_call().ask(context, key).await
    }
}

#[async_trait]
impl WaitCall for StoodInCall {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.wait_call().until(now)
    }

    fn parks(&self) -> bool {
        self.wait_call().parks()
    }

    async fn promise(&self, context: &Context) -> Result<Value> {
        self.wait_call().promise(context).await
    }

    async fn due(&self, context: &Context, until: Option<Timestamp>) -> Result<bool> {
        self.wait_call().due(context, until).await
    }

    async fn wait(&self, context: &Context, until: Option<Timestamp>) -> Result<Value> {
        match self.answered(context).await {
            Some(answer) => answer,
            None => {
                let result = self.wait_call().wait(context, until).await?;
                self.stand_in.after(self.asked(), context).await?;
                Ok(result)
            }
        }
    }
}
