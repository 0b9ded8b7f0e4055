//! Owns an executor without scripts: runs are recorded in a real journal, and what happens in them is what a test says.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use daemon::runs::{Cause, Effect, End, Order, Runs, Submission, Told, Watching, Wish};
use effect::policy::Grants;
use effect::{Code, Error, Result};
use journal::{
    End as Ended, Identity, Journal, Kind, Level, LogLine, NewCause, NewRun, Outcome, RunId, RunState, Write,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What is kept for a watcher that is slow.
const QUEUE: usize = 64;

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) journal: Journal,
    watchers: Mutex<HashMap<RunId, Vec<mpsc::Sender<Told>>>>,
    /// Each call that changes something, in words.
    pub(crate) calls: Mutex<Vec<String>>,
    /// The questions that are open.
    pub(crate) questions: Mutex<Vec<(RunId, u64)>>,
}

impl Executor {
    pub(crate) fn new(journal: Journal) -> Self {
        let (watchers, calls, questions) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { journal, watchers, calls, questions }
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    async fn begin(
        &self,
        (name, source): (&str, &str),
        params: Value,
        cause: Cause,
        playbook: Option<String>,
        writes: Vec<Write>,
    ) -> Result<RunId> {
        let id = self.journal.next_id()?;
        let told = serde_json::to_value(&cause).unwrap();
        let run = NewRun {
            id,
            name: name.into(),
            script: format!("/srv/{name}"),
            args: Vec::new(),
            params,
            grants: json!({}),
            limits: json!({}),
            seed: 1,
            node: "here".into(),
            source: source.into(),
            root: "/srv".into(),
            modules: [("./lib".to_owned(), "return 1".to_owned())].into(),
            plan: None,
            cause: Some(NewCause { playbook, told, writes }),
        };
        self.journal.create_run(run).await?;
        self.journal.set_state(&id, RunState::Running, None, None).await?;
        Ok(id)
    }

    /// A run of nothing.
    pub(crate) async fn any(&self) -> RunId {
        let cause: Cause = serde_json::from_value(json!({ "by": "daemon", "why": "a test" })).unwrap();
        self.begin(("any.lua", "print(1)"), json!({}), cause, None, Vec::new()).await.unwrap()
    }

    /// Watchers that are slow are left behind, as the contract says.
    pub(crate) fn tell(&self, run: &RunId, told: &Told) {
        let mut watchers = self.watchers.lock().unwrap();
        if let Some(watchers) = watchers.get_mut(run) {
            watchers.retain(|watcher| watcher.try_send(told.clone()).is_ok());
        }
    }

    pub(crate) fn watchers(&self, run: &RunId) -> usize {
        self.watchers.lock().unwrap().get(run).map_or(0, Vec::len)
    }

    /// Lets go of everybody who watches, as an executor that is short of memory would.
    pub(crate) fn forget_watchers(&self, run: &RunId) {
        self.watchers.lock().unwrap().remove(run);
    }

    pub(crate) fn log(&self, run: &RunId, number: u64, message: &str) {
        let line = LogLine {
            scope: "main".into(),
            number,
            level: Level::Info,
            message: message.into(),
            fields: Some("{\"n\":1}".into()),
            at: self.journal.clock().now(),
            place: None,
        };
        self.journal.log(run, line);
        let told = Told::Log {
            level: "info".into(),
            scope: "main".into(),
            number,
            message: message.into(),
            fields: Some("{\"n\":1}".into()),
        };
        self.tell(run, &told);
    }

    pub(crate) async fn effect(&self, run: &RunId, counter: u32, error: Option<Error>) {
        let identity = Identity { scope: "main".into(), counter, name: "files.write".into() };
        let outcome = match &error {
            None => Outcome::Done("{\"changed\":true}".into()),
            Some(error) => Outcome::Failed(serde_json::to_string(error).unwrap().into()),
        };
        let end = Ended {
            identity,
            kind: Kind::Ensure,
            arguments: "{}".into(),
            arguments_hash: [0; 16],
            place: None,
            before: None,
            changed: error.is_none(),
            outcome,
            writes: Vec::new(),
            fence: None,
        };
        self.journal.end_now(run, end).durable().await.unwrap();
        let effect = Effect {
            scope: "main".into(),
            counter,
            name: "files.write".into(),
            kind: "ensure",
            subject: format!("/srv/{counter}"),
        };
        self.tell(run, &Told::Ended { effect, action: "update".into(), error, millis: 3 });
    }

    pub(crate) async fn finish(&self, run: &RunId) {
        self.journal.set_state(run, RunState::Done, None, Some(0)).await.unwrap();
        let told = self.end(run).await;
        let watchers = self.watchers.lock().unwrap().remove(run).unwrap_or_default();
        for watcher in watchers {
            let _ = watcher.try_send(told.clone());
        }
    }

    async fn end(&self, run: &RunId) -> Told {
        let run = self.journal.run(run.as_str()).await.unwrap();
        let exit_code = u8::try_from(run.exit_code.unwrap_or(0)).unwrap();
        Told::End(Box::new(End { run, exit_code, trouble: Some(json!({ "place": "any.lua:1" })) }))
    }
}

#[async_trait]
impl Runs for Executor {
    async fn start(&self, order: Order) -> Result<RunId> {
        let Order { playbook, params, cause, writes } = order;
        let name = playbook.definition.name.clone();
        self.note(format!("start {name} {params}"));
        self.begin((&name, &playbook.source), params, cause, Some(name.clone()), writes).await
    }

    async fn submit(&self, submission: Submission) -> Result<RunId> {
        let Submission { name, source, params, cause, writes, .. } = submission;
        if source.contains("syntax error") {
            return Err(Error::new(Code::Syntax, "`bad.lua` does not compile").detail("bad.lua:1"));
        }
        self.note(format!("submit {name}"));
        self.begin((&name, &source), params, cause, None, writes).await
    }

    async fn go_on(&self, run: &RunId, wish: Wish) -> Result<()> {
        let found = self.journal.run(run.as_str()).await?;
        if found.state.is_final() {
            return Err(Error::new(Code::RunState, format!("the run {run} is {}", found.state)));
        }
        self.note(format!("go on {wish:?}"));
        Ok(())
    }

    async fn undo(&self, run: &RunId, force: bool, more: Grants, _: Cause) -> Result<RunId> {
        let Grants { allow, .. } = more;
        self.note(format!("undo {run} {force} {allow:?}"));
        Ok(self.any().await)
    }

    async fn operate(&self, operation: &str, service: &str, cause: Cause) -> Result<RunId> {
        self.note(format!("{operation} {service}"));
        self.begin((operation, "services"), json!({}), cause, None, Vec::new()).await
    }

    async fn interrupt(&self, run: &RunId, hard: bool) -> Result<()> {
        self.note(format!("interrupt {hard}"));
        self.tell(run, &Told::Interrupted { hard, cancelled: false });
        Ok(())
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        let found = self.journal.run(run.as_str()).await?;
        if found.state.is_final() {
            return Err(Error::new(Code::RunState, format!("the run {run} is {}", found.state)));
        }
        self.journal.request_cancel(run).await?;
        self.journal.set_state(run, RunState::Cancelled, None, Some(4)).await?;
        let told = self.end(run).await;
        self.tell(run, &told);
        Ok(())
    }

    async fn answer(&self, run: &RunId, question: u64, granted: bool) -> Result<()> {
        let mut questions = self.questions.lock().unwrap();
        match questions.iter().position(|open| *open == (*run, question)) {
            Some(at) => {
                questions.remove(at);
                self.note(format!("answer {question} {granted}"));
                Ok(())
            }
            None => Err(Error::new(Code::QuestionGone, format!("nobody asked {question}"))),
        }
    }

    async fn look_on(&self, run: &RunId, until_over: bool) -> Result<Watching> {
        self.note("look on".into());
        self.watch(run, until_over).await
    }

    async fn watch(&self, run: &RunId, _: bool) -> Result<Watching> {
        let (sender, told) = mpsc::channel(QUEUE);
        self.watchers.lock().unwrap().entry(*run).or_default().push(sender.clone());
        let found = self.journal.run(run.as_str()).await?;
        if found.state.is_final() {
            let _ = sender.try_send(self.end(run).await);
        }
        Ok(Watching { run: found, told })
    }
}
