//! The corridor with a world of three small effects: what is recorded, repeated, refused and asked about.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use effect::context::Shared;
use effect::plan::Plan;
use effect::policy::Grants;
use effect::session::{Decision, Decisions, Event, Observer, Request};
use effect::{
    Act, Action, Applied, Change, Code, Context, Declared, Doubt, Ensure, Ensured, Error, Mode, Need,
    OnDoubt, Overlay, Policy, Read, Registry, Result, Sealer, Secrets, Session, Stop,
};
use journal::{Expect, Identity, Journal, NewRun, Outcome, RunId, SystemClock, Write};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// A world of named boxes.
#[derive(Default)]
struct World {
    boxes: Mutex<BTreeMap<String, String>>,
    acts: Mutex<Vec<String>>,
    /// What the driver says of an act that was cut.
    memory: Mutex<Option<bool>>,
}

/// Puts a content into a box.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Put {
    name: String,
    content: String,
}

/// Puts a content into a box that can be taken back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Label {
    name: String,
    content: String,
}

/// What is in a box.
#[derive(Debug, Clone, serde::Serialize, Deserialize, JsonSchema)]
struct Text {
    text: String,
}

/// Looks into a box.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Look {
    name: String,
}

/// Rings a bell.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ring {
    on_doubt: Option<OnDoubt>,
    assume: Option<Value>,
}

/// Numbers something, in the records.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Number {
    name: String,
}

/// Takes a secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seal {
    secret: effect::Secret,
}

macro_rules! declared {
    ($type:ty, $name:literal, $output:ty, $subject:expr, $needs:expr) => {
        impl Declared for $type {
            const NAME: &'static str = $name;
            const CAPABILITY: &'static str = "";
            const EXAMPLE: &'static str = "";
            type World = World;
            type Output = $output;

            fn subject(&self) -> String {
                let subject: fn(&Self) -> String = $subject;
                subject(self)
            }

            fn needs(&self, _: &World) -> Result<Vec<Need>> {
                let needs: fn(&Self) -> Vec<Need> = $needs;
                Ok(needs(self))
            }
        }
    };
}

declared!(Put, "boxes.put", Ensured<String>, |it| it.name.clone(), |it| vec![Need::write("files", &it.name)]);
declared!(Label, "boxes.label", Ensured<Text>, |it| it.name.clone(), |it| vec![Need::write(
    "files", &it.name
)]);
declared!(Look, "boxes.look", Option<String>, |it| it.name.clone(), |it| vec![Need::read("files", &it.name)]);
declared!(Ring, "boxes.ring", u32, |_| String::new(), |_| vec![]);
declared!(Seal, "boxes.seal", usize, |_| String::new(), |_| vec![]);
declared!(Number, "boxes.number", Ensured<u32>, |it| it.name.clone(), |_| vec![]);

#[async_trait]
impl Ensure for Put {
    type State = String;

    fn key(&self, context: &Context) -> String {
        context.key("boxes", None, &self.name)
    }

    async fn observe(&self, world: &World, _: &Context) -> Result<Option<String>> {
        Ok(world.boxes.lock().unwrap().get(&self.name).cloned())
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&String>) -> Result<Change<String>> {
        Ok(match before {
            Some(content) if *content == self.content => Change::none(before.cloned()),
            Some(_) => Change::to(Action::Update, Some(self.content.clone()), Vec::new()),
            None => Change::to(Action::Create, Some(self.content.clone()), Vec::new()),
        })
    }

    async fn apply(
        &self,
        world: &World,
        _: &Context,
        _: Option<&String>,
        _: &Change<String>,
    ) -> Result<Applied<String>> {
        if self.content == "explode" {
            return Err(Error::new(Code::FileFailed, "it exploded"));
        }
        world.boxes.lock().unwrap().insert(self.name.clone(), self.content.clone());
        Ok(Applied::to(self.content.clone()))
    }
}

#[async_trait]
impl Ensure for Label {
    type State = Text;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("boxes", None, &self.name)
    }

    async fn observe(&self, world: &World, _: &Context) -> Result<Option<Text>> {
        Ok(world.boxes.lock().unwrap().get(&self.name).map(|text| Text { text: text.clone() }))
    }

    async fn change(&self, _: &World, _: &Context, _: Option<&Text>) -> Result<Change<Text>> {
        Ok(Change::to(Action::Update, Some(Text { text: self.content.clone() }), Vec::new()))
    }

    async fn apply(
        &self,
        world: &World,
        _: &Context,
        _: Option<&Text>,
        change: &Change<Text>,
    ) -> Result<Applied<Text>> {
        let after = change.after.clone().unwrap();
        world.boxes.lock().unwrap().insert(self.name.clone(), after.text.clone());
        Ok(Applied::to(after))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        _: Option<&Text>,
        earlier: Option<&Text>,
    ) -> Result<Change<Text>> {
        Ok(Change::to(Action::Update, earlier.cloned(), Vec::new()))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Text>,
        _: Option<&Text>,
        change: &Change<Text>,
    ) -> Result<Applied<Text>> {
        self.apply(world, context, now, change).await
    }
}

#[async_trait]
impl Read for Look {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<String>> {
        let planned = context.overlay.get::<String>(&context.key("boxes", None, &self.name));
        Ok(planned.unwrap_or_else(|| world.boxes.lock().unwrap().get(&self.name).cloned()))
    }
}

#[async_trait]
impl Read for Seal {
    async fn read(&self, _: &World, _: &Context) -> Result<usize> {
        Ok(self.secret.names().count())
    }
}

#[async_trait]
impl Act for Ring {
    const ASKABLE: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt.unwrap_or_default()
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    async fn act(&self, world: &World, _: &Context, key: &str) -> Result<u32> {
        let mut acts = world.acts.lock().unwrap();
        acts.push(key.to_owned());
        Ok(u32::try_from(acts.len()).unwrap())
    }

    async fn ask(&self, world: &World, _: &Context, _: &str) -> Result<Doubt<u32>> {
        Ok(match *world.memory.lock().unwrap() {
            Some(true) => Doubt::Done(77),
            Some(false) => Doubt::NotDone,
            None => Doubt::Unknown,
        })
    }
}

#[async_trait]
impl Ensure for Number {
    type State = u32;
    const OWN_RECORDS: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("numbers", None, &self.name)
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<u32>> {
        let found = context.journal.record("number", "here", &self.name).await?;
        Ok(found.map(|record| record.value.parse().unwrap()))
    }

    async fn change(&self, _: &World, context: &Context, before: Option<&u32>) -> Result<Change<u32>> {
        let taken = context.journal.records("number", None).await?.len();
        Ok(match before {
            Some(number) => Change::none(Some(*number)),
            None => Change::to(Action::Create, Some(u32::try_from(taken).unwrap() + 1), Vec::new()),
        })
    }

    async fn apply(
        &self,
        _: &World,
        _: &Context,
        _: Option<&u32>,
        change: &Change<u32>,
    ) -> Result<Applied<u32>> {
        let number = change.after.unwrap();
        let write = Write {
            kind: "number".into(),
            node: "here".into(),
            name: self.name.clone(),
            value: Some(number.to_string()),
            expect: Expect::Absent,
        };
        Ok(Applied::to(number).writing(vec![write]))
    }
}

struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        Err(Error::new(Code::SecretUnknown, name))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(false)
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        text.replace("hunter2", "***").into()
    }
}

struct Unwatched;

impl Observer for Unwatched {
    fn event(&self, _: Event<'_>) {}
}

struct Bench {
    folder: tempfile::TempDir,
    world: Arc<World>,
    run: RunId,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        let run = journal.next_id().unwrap();
        let new = NewRun {
            id: run,
            name: "test.lua".into(),
            script: "/test.lua".into(),
            args: vec![],
            params: json!({}),
            grants: json!({}),
            limits: json!({}),
            seed: 1,
            node: "here".into(),
            source: String::new(),
            root: "/".into(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        journal.create_run(new).await.unwrap();
        Self { folder, world: Arc::default(), run }
    }

    fn session(
        &self,
        mode: Mode,
        allow: &[&str],
        open_entries: Vec<journal::Open>,
        decision: Option<Decision>,
    ) -> Session {
        let mut registry = Registry::default();
        registry.ensure::<Put>(&self.world);
        registry.ensure::<Label>(&self.world);
        registry.read::<Look>(&self.world);
        registry.act::<Ring>(&self.world);
        registry.ensure::<Number>(&self.world);
        registry.read::<Seal>(&self.world);
        registry.undo();
        let grants =
            Grants { allow: allow.iter().map(|word| (*word).to_owned()).collect(), ..Grants::default() };
        let shared = Shared {
            run: self.run,
            node: "here".into(),
            mode,
            policy: Policy::new(None, &grants).unwrap(),
            secrets: Arc::new(NoSecrets),
            sealer: Arc::new(Sealer::ephemeral()),
            journal: open(self.folder.path()),
            clock: Arc::new(SystemClock),
            root: "/".into(),
            overlay: Overlay::default(),
        };
        let decisions = Decisions { only: decision, ..Decisions::default() };
        Session::new(Arc::new(registry), shared, Arc::new(Unwatched), open_entries, decisions)
    }

    fn fresh(&self) -> Session {
        self.session(Mode::Run, &["files"], vec![], None)
    }

    /// The session of a resumed run, its history replayed.
    async fn resumed(&self, decision: Option<Decision>) -> Session {
        let open_entries = self.journal().open_entries(&self.run).await.unwrap();
        let session = self.session(Mode::Run, &["files"], open_entries, decision);
        while !session.next_history(2).await.unwrap().is_empty() {}
        session
    }

    fn journal(&self) -> Journal {
        open(self.folder.path())
    }

    /// An act or ensure as a killed host leaves it: begun, not ended.
    async fn cut(&self, name: &str, counter: u32, arguments: &Value, before: Option<&str>) {
        let text = arguments.to_string();
        let begin = journal::Begin {
            identity: identity(name, counter),
            kind: journal::Kind::Act,
            arguments: text.clone().into(),
            arguments_hash: effect::session::hash(&RawValue::from_string(text).unwrap()),
            place: None,
            before: before.map(ToOwned::to_owned),
            change: None,
            until: None,
            fence: None,
        };
        self.journal().begin(&self.run, begin).await.unwrap();
    }

    async fn entries(&self) -> Vec<journal::Entry> {
        self.journal().barrier().await.unwrap();
        self.journal().entries(&self.run, 0, 100).await.unwrap()
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, Arc::new(SystemClock)).unwrap()
}

fn identity(name: &str, counter: u32) -> Identity {
    Identity { scope: String::new(), counter, name: name.into() }
}

fn request(name: &str, counter: u32, arguments: &Value) -> Request {
    let arguments = RawValue::from_string(arguments.to_string()).unwrap();
    Request { identity: identity(name, counter), arguments, place: None }
}

async fn perform(session: &Session, name: &str, counter: u32, arguments: Value) -> Result<Value> {
    let answer = session.perform(request(name, counter, &arguments)).await.unwrap();
    answer.map(|raw| serde_json::from_str(raw.get()).unwrap())
}

async fn stop(session: &Session, name: &str, counter: u32, arguments: Value) -> Error {
    match session.perform(request(name, counter, &arguments)).await {
        Err(Stop::Pause(error)) => error,
        other => panic!("the run went on: {other:?}"),
    }
}

async fn settle(session: &Session) {
    session.shared().journal.barrier().await.unwrap();
}

fn put(name: &str, content: &str) -> Value {
    json!({ "content": content, "name": name })
}

#[tokio::test]
async fn an_ensure_acts_once_and_then_finds_nothing_to_do() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    let made = perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap();
    assert_eq!(made, json!({ "changed": true, "after": "x" }));
    let again = perform(&session, "boxes.put", 2, put("a", "x")).await.unwrap();
    assert_eq!(again, json!({ "changed": false, "before": "x", "after": "x" }));
    settle(&session).await;
    let entries = bench.entries().await;
    assert_eq!(entries.iter().map(|entry| entry.changed).collect::<Vec<_>>(), [true, false]);
    assert!(entries[0].begun_at.is_some() && entries[1].begun_at.is_none());
}

#[tokio::test]
async fn a_denied_effect_is_journaled() {
    let bench = Bench::new().await;
    let session = bench.session(Mode::Run, &["files:write:b"], vec![], None);
    let error = perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert_eq!(error.missing, ["files:write:a"]);
    settle(&session).await;
    assert!(bench.world.boxes.lock().unwrap().is_empty());
    assert_eq!(bench.entries().await[0].status, journal::Status::Failed);
}

#[tokio::test]
async fn mistakes_in_arguments_reach_the_script_under_their_code() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    let error = perform(&session, "boxes.put", 1, json!({ "contents": "x", "name": "a" })).await.unwrap_err();
    assert_eq!(error.code, Code::UnknownField);
    assert_eq!(error.effect.as_deref(), Some("boxes.put"));
    let error = perform(&session, "boxes.putt", 2, json!({})).await.unwrap_err();
    assert_eq!((error.code, error.hint.as_deref()), (Code::UnknownEffect, Some("did you mean `boxes.put`?")));
}

#[tokio::test]
async fn a_resumed_ensure_keeps_what_its_first_begin_found() {
    let bench = Bench::new().await;
    bench.cut("boxes.put", 1, &put("a", "new"), Some("\"old\"")).await;
    // The world was changed before the host died.
    bench.world.boxes.lock().unwrap().insert("a".into(), "new".into());
    let session = bench.resumed(None).await;
    let made = perform(&session, "boxes.put", 1, put("a", "new")).await.unwrap();
    assert_eq!(made, json!({ "changed": true, "before": "old", "after": "new" }));
    settle(&session).await;
    assert_eq!(bench.entries().await[0].before.as_deref(), Some("\"old\""));
}

#[tokio::test]
async fn an_act_in_doubt_asks_the_world_first() {
    for (memory, expected, rung) in [(true, 77, 0), (false, 1, 1)] {
        let bench = Bench::new().await;
        bench.cut("boxes.ring", 1, &json!({}), None).await;
        *bench.world.memory.lock().unwrap() = Some(memory);
        let session = bench.resumed(None).await;
        assert_eq!(perform(&session, "boxes.ring", 1, json!({})).await.unwrap(), expected);
        assert_eq!(bench.world.acts.lock().unwrap().len(), rung);
    }
}

#[tokio::test]
async fn an_act_in_doubt_pauses_until_the_operator_says() {
    let bench = Bench::new().await;
    bench.cut("boxes.ring", 1, &json!({ "assume": 5 }), None).await;
    let arguments = json!({ "assume": 5 });
    let error = stop(&bench.resumed(None).await, "boxes.ring", 1, arguments.clone()).await;
    assert_eq!(error.code, Code::InDoubt);
    assert!(error.hint.unwrap().contains(bench.run.as_str()));

    let failed =
        perform(&bench.resumed(Some(Decision::Fail)).await, "boxes.ring", 1, arguments.clone()).await;
    assert_eq!(failed.unwrap_err().code, Code::InDoubt);
    assert!(bench.world.acts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_operators_word_on_an_act_in_doubt_counts() {
    for (decision, expected, rung) in [(Decision::Redo, 1, 1), (Decision::Done, 5, 0)] {
        let bench = Bench::new().await;
        bench.cut("boxes.ring", 1, &json!({ "assume": 5 }), None).await;
        let session = bench.resumed(Some(decision)).await;
        assert_eq!(perform(&session, "boxes.ring", 1, json!({ "assume": 5 })).await.unwrap(), expected);
        assert_eq!(bench.world.acts.lock().unwrap().len(), rung);
    }
}

#[tokio::test]
async fn done_without_a_known_result_is_asked_again() {
    let bench = Bench::new().await;
    bench.cut("boxes.ring", 1, &json!({}), None).await;
    let error = stop(&bench.resumed(Some(Decision::Done)).await, "boxes.ring", 1, json!({})).await;
    assert_eq!(error.code, Code::InDoubt);
    assert!(error.hint.unwrap().contains("assume"));
}

#[tokio::test]
async fn every_act_in_doubt_is_named() {
    let bench = Bench::new().await;
    bench.cut("boxes.ring", 1, &json!({}), None).await;
    bench.cut("boxes.ring", 2, &json!({}), None).await;
    let error = stop(&bench.resumed(None).await, "boxes.ring", 1, json!({})).await;
    assert_eq!(error.details, ["effect #1 boxes.ring", "effect #2 boxes.ring as well"]);
    assert!(error.hint.unwrap().contains("--doubt #1=redo"));
}

#[tokio::test]
async fn a_result_that_cannot_reach_the_script_is_recorded_as_the_error_it_gets() {
    let bench = Bench::new().await;
    bench.world.boxes.lock().unwrap().insert("a".into(), "x".repeat(17 << 20));
    let session = bench.fresh();
    let error = perform(&session, "boxes.look", 1, json!({ "name": "a" })).await.unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
    settle(&session).await;
    assert_eq!(bench.entries().await[0].status, journal::Status::Failed);
}

#[tokio::test]
async fn a_secret_in_an_argument_takes_its_capability() {
    let bench = Bench::new().await;
    let session = bench.session(Mode::Run, &["files"], vec![], None);
    let secret = json!({ "$secret": [{ "name": "db", "tag": "00" }] });
    let error =
        perform(&session, "boxes.put", 1, json!({ "name": "a", "content": secret })).await.unwrap_err();
    assert_eq!(error.code, Code::SecretPlace);
    let error = perform(&session, "boxes.seal", 2, json!({ "secret": secret })).await.unwrap_err();
    assert_eq!((error.code, error.missing), (Code::Denied, vec!["secrets:read:db".to_owned()]));
}

#[tokio::test]
async fn on_doubt_decides_without_the_operator() {
    let bench = Bench::new().await;
    bench.cut("boxes.ring", 1, &json!({ "on_doubt": "redo" }), None).await;
    let session = bench.resumed(None).await;
    assert_eq!(perform(&session, "boxes.ring", 1, json!({ "on_doubt": "redo" })).await.unwrap(), 1);

    let bench = Bench::new().await;
    bench.cut("boxes.ring", 1, &json!({ "on_doubt": "fail" }), None).await;
    let session = bench.resumed(None).await;
    let error = perform(&session, "boxes.ring", 1, json!({ "on_doubt": "fail" })).await.unwrap_err();
    assert_eq!(error.code, Code::InDoubt);
}

#[tokio::test]
async fn another_request_than_the_begun_one_is_a_divergence() {
    let bench = Bench::new().await;
    bench.cut("boxes.put", 1, &put("a", "x"), None).await;
    let error = stop(&bench.resumed(None).await, "boxes.put", 1, put("a", "y")).await;
    assert_eq!(error.code, Code::Divergence);
    assert!(error.details[0].contains("\"x\"") && error.details[1].contains("\"y\""), "{error:?}");
}

#[tokio::test]
async fn a_begun_effect_that_is_not_asked_for_again_is_a_divergence() {
    let bench = Bench::new().await;
    bench.cut("boxes.put", 1, &put("a", "x"), None).await;
    let session = bench.resumed(None).await;
    assert_eq!(session.unclaimed().unwrap().code, Code::Divergence);
    perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap();
    assert!(session.unclaimed().is_none());
}

#[tokio::test]
async fn what_is_no_longer_allowed_is_refused_to_a_resumed_effect_too() {
    let bench = Bench::new().await;
    bench.cut("boxes.put", 1, &put("a", "x"), None).await;
    let open_entries = bench.journal().open_entries(&bench.run).await.unwrap();
    let session = bench.session(Mode::Run, &["http"], open_entries, None);
    let error = perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(bench.world.boxes.lock().unwrap().is_empty(), "nothing was put");
}

#[tokio::test]
async fn the_worker_cannot_choose_its_numbers() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap();
    for counter in [1, 3] {
        assert_eq!(stop(&session, "boxes.put", counter, put("a", "y")).await.code, Code::WorkerProtocol);
    }
}

#[tokio::test]
async fn a_failed_effect_is_recorded_with_its_error() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    let error = perform(&session, "boxes.put", 1, put("a", "explode")).await.unwrap_err();
    assert_eq!((error.code, error.effect.as_deref()), (Code::FileFailed, Some("boxes.put")));
    settle(&session).await;
    let history = bench.journal().history(&bench.run, 0, 10).await.unwrap();
    let Outcome::Failed(text) = &history[0].outcome else { panic!("{history:?}") };
    assert_eq!(effect::session::recorded_error(text).unwrap(), error);
}

#[tokio::test]
async fn a_plan_changes_nothing_and_reads_what_it_will_have_changed() {
    let bench = Bench::new().await;
    let session = bench.session(Mode::Plan, &["files"], vec![], None);
    let planned = perform(&session, "boxes.put", 1, put("a", "x")).await.unwrap();
    assert_eq!(planned, json!({ "changed": true, "after": "x" }));
    assert_eq!(perform(&session, "boxes.look", 2, json!({ "name": "a" })).await.unwrap(), json!("x"));
    let again = perform(&session, "boxes.put", 3, put("a", "x")).await.unwrap();
    assert_eq!(again["changed"], json!(false));
    let rung = perform(&session, "boxes.ring", 4, json!({})).await.unwrap();
    assert_eq!(rung, json!({ "$sealed": "the result of `boxes.ring`" }));
    assert_eq!(perform(&session, "boxes.ring", 5, json!({ "assume": 3 })).await.unwrap(), json!(3));
    let plan: Plan = session.take_plan();
    let actions: Vec<Action> = plan.steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::Create, Action::Read, Action::None, Action::Act, Action::Act]);
    assert!(bench.world.boxes.lock().unwrap().is_empty() && bench.world.acts.lock().unwrap().is_empty());
    assert!(bench.entries().await.is_empty());
}

#[tokio::test]
async fn a_plan_collects_every_missing_capability() {
    let bench = Bench::new().await;
    let session = bench.session(Mode::Plan, &[], vec![], None);
    for (counter, name) in [(1, "a"), (2, "b"), (3, "a")] {
        let answer = perform(&session, "boxes.put", counter, put(name, "x")).await.unwrap();
        assert!(answer["$sealed"].is_string());
    }
    assert_eq!(session.take_plan().missing(), ["files:write:a", "files:write:b"]);
}

#[tokio::test]
async fn records_commit_with_the_end_and_a_race_is_compared_again() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    let requests: Vec<Request> =
        (1..=5).map(|n| request("boxes.number", n, &json!({ "name": format!("n{n}") }))).collect();
    for request in requests {
        session.perform(request).await.unwrap().unwrap();
    }
    let records = bench.journal().records("number", None).await.unwrap();
    assert_eq!(records.len(), 5);
    let again = perform(&session, "boxes.number", 6, json!({ "name": "n1" })).await.unwrap();
    assert_eq!(again["changed"], json!(false));
}

#[tokio::test]
async fn a_secret_that_a_program_prints_is_masked_before_it_is_stored() {
    let bench = Bench::new().await;
    bench.world.boxes.lock().unwrap().insert("a".into(), "password=hunter2".into());
    let session = bench.fresh();
    let seen = perform(&session, "boxes.look", 1, json!({ "name": "a" })).await.unwrap();
    assert_eq!(seen, json!("password=***"));
    settle(&session).await;
    let history = bench.journal().history(&bench.run, 0, 10).await.unwrap();
    assert!(!format!("{history:?}").contains("hunter2"));
}

#[tokio::test]
async fn answers_leave_in_the_order_in_which_their_ends_are_recorded() {
    let bench = Bench::new().await;
    let session = bench.fresh();
    let order = Mutex::new(Vec::new());
    let one = async {
        session.perform(request("boxes.number", 1, &json!({ "name": "slow" }))).await.unwrap().unwrap();
        order.lock().unwrap().push(1);
    };
    let two = async {
        session.perform(request("boxes.look", 2, &json!({ "name": "quick" }))).await.unwrap().unwrap();
        order.lock().unwrap().push(2);
    };
    tokio::join!(one, two);
    settle(&session).await;
    let history = bench.journal().history(&bench.run, 0, 10).await.unwrap();
    let recorded: Vec<u32> = history.iter().map(|item| item.identity.counter).collect();
    assert_eq!(recorded, *order.lock().unwrap());
}

#[tokio::test]
async fn a_state_that_held_a_secret_in_plain_text_is_not_brought_back() {
    let bench = Bench::new().await;
    let labelled = |name: &str| json!({ "content": "new", "name": name });
    bench.world.boxes.lock().unwrap().insert("plain".into(), "open".into());
    bench.world.boxes.lock().unwrap().insert("held".into(), "password=hunter2".into());
    let session = bench.session(Mode::Run, &["*"], vec![], None);
    perform(&session, "boxes.label", 1, labelled("plain")).await.unwrap();
    perform(&session, "boxes.label", 2, labelled("held")).await.unwrap();
    settle(&session).await;
    let entries = bench.entries().await;
    assert!(!format!("{entries:?}").contains("hunter2"));
    let restored = perform(&session, "runs.restore", 3, json!({ "scope": "", "counter": 1 })).await.unwrap();
    assert_eq!(restored["changed"], json!(true));
    let refused =
        perform(&session, "runs.restore", 4, json!({ "scope": "", "counter": 2 })).await.unwrap_err();
    assert_eq!(refused.code, Code::NotUndoable);
    assert!(refused.cause.unwrap().contains("secret in plain text"));
    let boxes = bench.world.boxes.lock().unwrap().clone();
    assert_eq!((boxes["plain"].as_str(), boxes["held"].as_str()), ("open", "new"));
}
