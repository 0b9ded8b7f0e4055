//! Arguments that no effect can take: for every field of every declared effect, derived from its schema, left out, unknown,
//! of the wrong type, too large, too deep. Each is refused with a code, in time, and nothing is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use containers::effects::{Choice, Engines, Prober};
use containers::{Driver, Health};
use effect::context::Shared;
use effect::policy::Grants;
use effect::session::Decisions;
use effect::{
    Code, Declaration, Error, Event, Mode, Observer, Overlay, Policy, Registry, Request, Sealer, Session,
};
use journal::{Identity, Journal, NewRun, SystemClock};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use system::{SecretStore, ServiceLogs};
use tempfile::TempDir;

use crate::harness::report;

/// What one refusal may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A refusal names the mistake; it does not repeat what it was given.
const LONGEST_WORDS: usize = 8192;

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: Event<'_>) {}
}

#[async_trait]
impl ServiceLogs for Nobody {
    async fn last_lines(&self, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

#[async_trait]
impl Prober for Nobody {
    async fn wait_healthy(
        &self,
        _: Arc<dyn Driver>,
        _: &str,
        _: &Health,
        _: Option<std::net::SocketAddr>,
    ) -> effect::Result<()> {
        Ok(())
    }
}

fn registry(root: &Path, state: &Path) -> Registry {
    let mut registry = Registry::default();
    system::register(&mut registry, &system::World::new(root, Arc::new(Nobody)));
    let process = containers::process::Options::new(state.to_owned(), "/bin/false".into());
    let world =
        containers::effects::World::new(Choice::Process, &Engines::default(), process, Arc::new(Nobody));
    let world = Arc::new(world);
    containers::effects::register(&mut registry, &world);
    let images = containers::images::effects::World::new(world, root, Arc::new(|| 0.5));
    containers::images::effects::register(&mut registry, &Arc::new(images));
    registry.undo();
    registry
}

/// The corridor of one run.
struct Corridor {
    registry: Arc<Registry>,
    session: Session,
    counter: AtomicU32,
    folder: TempDir,
}

impl Corridor {
    async fn new(mode: Mode, allow: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("scripts");
        std::fs::create_dir(&root).unwrap();
        let clock = Arc::new(SystemClock);
        let journal = Journal::open(&folder.path().join("state"), clock.clone()).unwrap();
        let run = journal.next_id().unwrap();
        let new = NewRun {
            id: run,
            name: "a.lua".into(),
            script: "a.lua".into(),
            args: Vec::new(),
            params: Value::Null,
            grants: Value::Null,
            limits: Value::Null,
            seed: 1,
            node: "here".into(),
            source: String::new(),
            root: root.to_string_lossy().into_owned(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        };
        journal.create_run(new).await.unwrap();
        let registry = Arc::new(registry(&root, &folder.path().join("state")));
        let allow = allow.iter().map(|text| (*text).to_owned()).collect();
        let shared = Shared {
            run,
            node: "here".into(),
            mode,
            policy: Policy::new(None, &Grants { allow, ..Grants::default() }).unwrap(),
            secrets: Arc::new(SecretStore::new(&BTreeMap::new(), &root).unwrap()),
            sealer: Arc::new(Sealer::ephemeral()),
            journal,
            clock,
            root,
            overlay: Overlay::default(),
        };
        let session =
            Session::new(registry.clone(), shared, Arc::new(Nobody), Vec::new(), Decisions::default());
        Self { registry, session, counter: AtomicU32::new(0), folder }
    }

    async fn call(&self, name: &str, arguments: String) -> Result<(), Error> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let request = Request {
            identity: Identity { scope: String::new(), counter, name: name.into() },
            arguments: RawValue::from_string(arguments).unwrap(),
            place: None,
        };
        let what = || format!("{name} {}", shortened(request.arguments.get()));
        let started = Instant::now();
        let answer = tokio::time::timeout(2 * PATIENCE, self.session.perform(request.clone())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{}: no answer", what()));
        assert!(started.elapsed() < PATIENCE, "{}: took {:?}", what(), started.elapsed());
        let answer = answer.unwrap_or_else(|stop| panic!("{}: the run stops: {stop:?}", what()));
        let error = match answer {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let not_of_arguments = [Code::Internal, Code::JournalBroken, Code::StateUnusable];
        assert!(!not_of_arguments.contains(&error.code), "{}: {error:?}", what());
        let words = error.message.len()
            + error.cause.as_deref().unwrap_or_default().len()
            + error.hint.as_deref().unwrap_or_default().len();
        assert!(words < LONGEST_WORDS, "{}: {words} bytes of words", what());
        Err(error)
    }

    /// Nothing but what the corridor itself has made.
    fn is_untouched(&self) -> bool {
        std::fs::read_dir(self.folder.path().join("scripts")).unwrap().next().is_none()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Values of a schema, as small as they can be.
struct Samples<'a> {
    root: &'a Value,
}

impl<'a> Samples<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let schema =
            match reference.and_then(|reference| self.root.pointer(reference.trim_start_matches('#'))) {
                Some(target) => self.resolve(target),
                None => schema,
            };
        let options = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        let is_null = |option: &Value| option.get("type") == Some(&json!("null"));
        match options.and_then(|options| options.iter().find(|option| !is_null(option))) {
            Some(option) => self.resolve(option),
            None => schema,
        }
    }

    fn value(&self, schema: &'a Value) -> Value {
        let schema = self.resolve(schema);
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return choices[0].clone();
        }
        if schema.get("x-secret").is_some() {
            return json!({ "$secret": [{ "name": "a", "tag": "00" }] });
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds[0].as_str(),
            Some(kind) => kind.as_str(),
            None => None,
        };
        match kind {
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            Some("array") => {
                let items = schema.get("items").map(|items| self.value(items));
                json!(items.into_iter().collect::<Vec<_>>())
            }
            Some("object") => Value::Object(self.required(schema)),
            _ => json!("x"),
        }
    }

    fn required(&self, schema: &'a Value) -> Map<String, Value> {
        let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let fields = schema.get("properties");
        names
            .filter_map(Value::as_str)
            .filter_map(|name| Some((name.to_owned(), self.value(fields?.get(name)?))))
            .collect()
    }

    /// Every field, also those within fields: its path, its schema, and whether it may be left out.
    fn fields(&self, schema: &'a Value, at: &[String], depth: usize, found: &mut Vec<Vec<String>>) {
        let schema = self.resolve(schema);
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = [at, std::slice::from_ref(name)].concat();
            found.push(path.clone());
            if depth > 0 {
                let field = self.resolve(field);
                self.fields(field, &path, depth - 1, found);
                if let Some(items) = field.get("items") {
                    self.fields(items, &[path.as_slice(), &["0".to_owned()]].concat(), depth - 1, found);
                }
            }
        }
    }

    /// Arguments that have `path`, with `value` there.
    fn with(&self, base: &Value, path: &[String], value: Value) -> Value {
        let mut whole = base.clone();
        let mut place = &mut whole;
        let mut schema = self.resolve(self.root);
        for (index, name) in path.iter().enumerate() {
            let inner = match schema.get("properties").and_then(|fields| fields.get(name)) {
                Some(field) => self.resolve(field),
                None => self.resolve(schema.get("items").unwrap_or(&Value::Null)),
            };
            if place.is_array() {
                if place.as_array().is_some_and(Vec::is_empty) {
                    *place = json!([self.value(inner)]);
                }
                place = &mut place[0];
            } else {
                if !place.is_object() {
                    *place = json!({});
                }
                let is_last = index + 1 == path.len();
                let fields = place.as_object_mut().expect("it was made one");
                place = fields
                    .entry(name.clone())
                    .or_insert_with(|| if is_last { Value::Null } else { self.value(inner) });
            }
            schema = inner;
        }
        *place = value;
        whole
    }
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

fn hostile_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(12.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("x\0y"),
        json!("../../etc/passwd"),
        json!("\u{1b}[2J\u{202e}\r\n"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!(vec![Value::Null; 2000]),
        deep(100),
        json!({ "$secret": 5 }),
        json!({ "$secret": [{ "name": "none", "tag": "zz" }] }),
        json!({ "$sealed": "x" }),
        json!({ "$unknown": ["x"] }),
    ]
}

/// Names that are taken from paths with numbers in them, as errors show them.
fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for name in path {
        match name.as_str() {
            "0" => text.push_str("[1]"),
            name if text.is_empty() => text.push_str(name),
            name => text.push_str(&format!(".{name}")),
        }
    }
    text
}

#[tokio::test]
async fn every_field_of_every_effect_refuses_what_it_cannot_be() {
    let denying = Corridor::new(Mode::Run, &[]).await;
    let planning = Corridor::new(Mode::Plan, &["*"]).await;
    let declarations: Vec<Declaration> = denying.registry.declarations().cloned().collect();
    let (mut tried, mut fields) = (0, 0);
    for declaration in &declarations {
        let name = declaration.name;
        let samples = Samples { root: &declaration.parameters };
        let base = samples.value(&declaration.parameters);
        // An effect that needs no capability is only planned: these really would sleep.
        let is_denied = !declaration.capability.is_empty();
        let one = if is_denied { &denying } else { &planning };
        let mut paths = Vec::new();
        samples.fields(&declaration.parameters, &[], 2, &mut paths);
        fields += paths.len();
        for path in &paths {
            for value in hostile_values() {
                let arguments = samples.with(&base, path, value).to_string();
                tried += 1;
                let answer = one.call(name, arguments.clone()).await;
                // A list shows what may be read, which is nothing here: it needs no grant by itself.
                // Nor does bringing back a change of the run's own, of which there is none.
                let is_read = declaration.kind == effect::Kind::Read || name == "runs.restore";
                assert!(
                    !is_denied || is_read || answer.is_err(),
                    "{name} {}: done without any grant",
                    shortened(&arguments)
                );
                // Granted all, it is compared with the world and not applied.
                tried += 1;
                let _ = planning.call(name, arguments).await;
            }
        }
    }
    assert!(declarations.len() > 45 && fields > 250, "{} effects, {fields} fields", declarations.len());
    assert!(tried > 10_000, "only {tried} were tried");
    assert!(denying.is_untouched() && planning.is_untouched());
    report("arguments that no effect can take, denied and planned", tried, "calls", 0);
}

#[tokio::test]
async fn a_field_that_is_unknown_or_missing_is_named() {
    let corridor = Corridor::new(Mode::Run, &[]).await;
    let declarations: Vec<Declaration> = corridor.registry.declarations().cloned().collect();
    let mut tried = 0;
    for declaration in &declarations {
        let name = declaration.name;
        let samples = Samples { root: &declaration.parameters };
        let base = samples.value(&declaration.parameters);
        let Value::Object(known) = &base else { continue };
        let unknown = samples.with(&base, &["xyzzy".to_owned()], json!(1));
        let error = corridor.call(name, unknown.to_string()).await.unwrap_err();
        assert_eq!(error.code, Code::UnknownField, "{name}: {error}");
        assert!(error.message.contains("`xyzzy`"), "{name}: {error}");
        tried += 1;
        for missing in known.keys() {
            let mut less = known.clone();
            less.remove(missing);
            let error = corridor.call(name, Value::Object(less).to_string()).await.unwrap_err();
            assert_eq!(error.code, Code::Argument, "{name} without {missing}: {error}");
            assert!(error.message.contains(&format!("`{missing}`")), "{name} without {missing}: {error}");
            tried += 1;
        }
        let mut paths = Vec::new();
        samples.fields(&declaration.parameters, &[], 2, &mut paths);
        for path in paths {
            let wrong = samples.with(&base, &path, deep(3));
            if let Err(error) = corridor.call(name, wrong.to_string()).await
                && let Some((_, place)) = error.message.split_once(": field `")
            {
                assert!(place.starts_with(&path[0]), "{name}: `{}`: {error}", shown(&path));
            }
            tried += 1;
        }
    }
    assert!(tried > 350, "only {tried} were tried");
}

#[tokio::test]
async fn arguments_that_are_no_table_are_refused() {
    let corridor = Corridor::new(Mode::Run, &[]).await;
    let names: Vec<&str> = corridor.registry.names().map(|(name, _)| name).collect();
    let deep_list = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep_table = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let wide = format!("[{}1]", "1,".repeat(200_000));
    let mut accepted = Vec::new();
    for name in names {
        for arguments in ["null", "[]", "5", "\"x\"", "[1,2]", "true", &deep_list, &deep_table, &wide] {
            // What takes one bare value is slept for, asked for or looked up: only the plain ones do.
            let takes_bare = matches!(name, "sleep" | "now" | "pause" | "approve" | "wait_for");
            if takes_bare && arguments.len() < 10 {
                continue;
            }
            if corridor.call(name, arguments.to_owned()).await.is_ok() {
                accepted.push(format!("{name} {}", shortened(arguments)));
            }
        }
    }
    let harmless = |call: &String| ["null", "[]"].iter().any(|end| call.ends_with(end));
    accepted.retain(|call| !harmless(call));
    assert_eq!(accepted, Vec::<String>::new());
}

#[tokio::test]
async fn an_effect_that_does_not_exist_is_refused() {
    let corridor = Corridor::new(Mode::Run, &["*"]).await;
    for name in
        ["", ".", "files", "files.", "files.erase", "FILES.read", "files.read ", "a\0b", &"x".repeat(100_000)]
    {
        let error = corridor.call(name, "{}".to_owned()).await.unwrap_err();
        assert_eq!(error.code, Code::UnknownEffect, "{name}");
    }
}
