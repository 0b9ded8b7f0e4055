//! What an effect changed comes back: every field, exactly the image, running or stopped as it was.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use containers::effects::{Container, Ensure, Prober, Remove, Start, Stop, World};
use containers::{Driver, Feature, Health, Port, Protocol, Spec};
use effect::context::Shared;
use effect::policy::Grants;
use effect::units::{Size, Span};
use effect::{
    Action, Change, Code, Context, Ensure as _, Error, Mode, Overlay, Policy, Result, Sealer, Secret, Secrets,
};
use journal::{Identity, Journal, RunId, SystemClock, Timestamp};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::bench::{Bench, IMAGE, OTHER_IMAGE, free_port};

/// Where the fields stand that belong to one life of a container.
const OF_ONE_LIFE: [&str; 6] = ["id", "pid", "started_at", "exit_code", "restarts", "state"];

/// Finds everybody content.
pub(crate) struct Content;

#[async_trait]
impl Prober for Content {
    async fn wait_healthy(
        &self,
        _: Arc<dyn Driver>,
        _: &str,
        _: &Health,
        _: Option<SocketAddr>,
    ) -> Result<()> {
        Ok(())
    }
}

/// One secret, called `token`.
struct Token(&'static str);

#[async_trait]
impl Secrets for Token {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        match name {
            "token" => Ok(Zeroizing::new(self.0.as_bytes().to_vec())),
            _ => Err(Error::new(Code::SecretUnknown, format!("there is no secret `{name}`"))),
        }
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(true)
    }
}

/// The effects on one driver's containers.
struct Stage {
    world: World,
    sealer: Arc<Sealer>,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(bench: &Bench) -> Self {
        let other = Arc::new(crate::bench::process_driver(bench.dir.path(), 1 << 20));
        let engine = bench.driver.clone();
        let process: Arc<dyn Driver> = if bench.is_engine() { other } else { engine.clone() };
        let world = World::of(engine, process, Arc::new(Content));
        Self { world, sealer: Arc::new(Sealer::ephemeral()), dir: tempfile::tempdir().unwrap() }
    }

    fn context(&self, token: &'static str) -> Context {
        let clock = Arc::new(SystemClock);
        let shared = Shared {
            run: RunId::new(Timestamp(1_800_000_000_000), 1),
            node: "rift".into(),
            mode: Mode::Run,
            policy: Policy::new(None, &Grants { allow: vec!["*".into()], deny: Vec::new() }).unwrap(),
            secrets: Arc::new(Token(token)),
            sealer: self.sealer.clone(),
            journal: Journal::open(&self.dir.path().join("journal"), clock.clone()).unwrap(),
            clock,
            root: self.dir.path().to_owned(),
            overlay: Overlay::default(),
        };
        let identity = Identity { scope: String::new(), counter: 1, name: "containers.test".into() };
        Context::new(Arc::new(shared), identity)
    }

    /// Does what the corridor does, and returns what was there before.
    async fn perform<E>(&self, effect: &E) -> Option<Container>
    where
        E: effect::Ensure<World = World, State = Container>,
    {
        let context = self.context("hunter2");
        let before = effect.observe(&self.world, &context).await.unwrap();
        let change = effect.change(&self.world, &context, before.as_ref()).await.unwrap();
        if !change.is_none() {
            effect.apply(&self.world, &context, before.as_ref(), &change).await.unwrap();
        }
        before
    }

    async fn rewound<E>(&self, effect: &E, earlier: Option<&Container>) -> Result<Change<Container>>
    where
        E: effect::Ensure<World = World, State = Container>,
    {
        let context = self.context("hunter2");
        let now = effect.observe_whole(&self.world, &context).await?;
        let change = effect.rewind(&self.world, &context, now.as_ref(), earlier).await?;
        if !change.is_none() {
            effect.apply_rewind(&self.world, &context, now.as_ref(), earlier, &change).await?;
        }
        let now = effect.observe_whole(&self.world, &context).await?;
        let again = effect.rewind(&self.world, &context, now.as_ref(), earlier).await?;
        assert!(again.is_none(), "a second undo finds nothing to do: {again:#?}");
        Ok(change)
    }

    async fn live(&self, name: &str) -> Option<Container> {
        let get = serde_json::from_value::<Stop>(json!({ "name": name })).unwrap();
        get.observe(&self.world, &self.context("hunter2")).await.unwrap()
    }
}

fn ensure(spec: &Spec) -> Ensure {
    serde_json::from_value(serde_json::to_value(spec).unwrap()).unwrap()
}

fn named<E: serde::de::DeserializeOwned>(spec: &Spec) -> E {
    serde_json::from_value(json!({ "name": spec.name })).unwrap()
}

/// Every field that says what it is, and not which life of it this is.
fn lasting(container: &Container) -> Value {
    let mut value = serde_json::to_value(container).unwrap();
    let fields = value.as_object_mut().unwrap();
    for field in OF_ONE_LIFE {
        fields.remove(field);
    }
    // Sealed anew each time; what they seal is compared by its hash.
    for field in ["env", "origins"] {
        for (_, hidden) in fields.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten() {
            hidden.as_object_mut().unwrap().remove("box");
        }
    }
    // The engine's own name for it.
    if let Some(env) = fields.get_mut("env").and_then(Value::as_object_mut) {
        env.remove("HOSTNAME");
    }
    // Anonymous volumes of the image have a name of their own in each life.
    if let Some(volumes) = fields.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !volume.as_str().unwrap().ends_with(":/cache"));
    }
    value
}

/// A spec with every field that the driver has.
fn everything(bench: &Bench) -> Spec {
    let dir = bench.dir.path().to_string_lossy().into_owned();
    let number = free_port();
    let mut spec = bench.sleeping("everything");
    if bench.is_engine() {
        spec.entrypoint = Some(vec!["/bin/busybox".to_owned()]);
        spec.cmd = Some(vec!["sleep".to_owned(), "1000".to_owned()]);
        spec.network = Some("bridge".to_owned());
        spec.read_only = Some(true);
        spec.devices = vec!["/dev/null:/dev/other".to_owned()];
        spec.cap_add = vec!["NET_ADMIN".to_owned()];
        spec.privileged = Some(false);
        spec.volumes = vec![format!("{dir}:/data:ro"), format!("{}:/named", bench.name("undo-volume"))];
        spec.ports = vec![Port {
            host: number,
            container: 80,
            address: Some("127.0.0.1".to_owned()),
            protocol: Protocol::Both,
        }];
    } else {
        spec.volumes = vec![format!("{dir}:{dir}")];
        if bench.driver.features().contains(&Feature::ReadOnly) {
            spec.read_only = Some(true);
            spec.volumes.push("/usr:/srv:ro".to_owned());
        }
        spec.ports = vec![Port { host: number, container: number, ..Port::default() }];
    }
    spec.env = [("A", "1"), ("HOME", "/elsewhere"), ("PATH", "/opt/bin:/bin")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    spec.labels.insert("tier".to_owned(), "web".to_owned());
    spec.user = Some("1234:1234".to_owned());
    spec.restart = Some("on-failure:3".parse().unwrap());
    spec.workdir = Some("/proc".to_owned());
    spec.stop_signal = Some("SIGUSR1".to_owned());
    spec.stop_timeout = Some(Span::seconds(1));
    spec.service = Some("other".to_owned());
    spec.health =
        Some(Health { http: Some("/".to_owned()), within: Some(Span::seconds(9)), ..Health::default() });
    if bench.driver.features().contains(&Feature::Memory) {
        spec.memory = Some(Size(64 << 20));
        spec.cpus = Some(0.5);
    }
    spec
}

fn with_token(stage: &Stage, mut spec: Spec, value: &str) -> Spec {
    let token = Secret::named("token", stage.sealer.tag(value.as_bytes()));
    spec.secrets.insert("TOKEN".to_owned(), token);
    spec
}

/// What the spec of these tests leaves out: what is not about the container, and what only the other drivers have.
fn check_that_nothing_is_left_out(bench: &Bench, spec: &Spec) {
    let schema = schemars::schema_for!(Spec).to_value();
    let known: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    let value = serde_json::to_value(spec).unwrap();
    let given: BTreeSet<String> = value.as_object().unwrap().keys().cloned().collect();
    let mut left: BTreeSet<&str> = known.difference(&given).map(String::as_str).collect();
    for field in ["adopt", "allow_latest", "node"] {
        left.remove(field);
    }
    let mut lacking = vec!["cap_add", "cmd", "devices", "entrypoint", "image", "network", "privileged"];
    if !bench.driver.features().contains(&Feature::ReadOnly) {
        lacking.push("read_only");
    }
    let limits = ["cpus", "memory"];
    let has = |feature| bench.driver.features().contains(&feature);
    left.retain(|field| has(Feature::Memory) || !limits.contains(field));
    let expected: &[&str] = if bench.is_engine() { &["exec"] } else { &lacking };
    assert_eq!(left.into_iter().collect::<Vec<_>>(), expected);
}

pub(crate) async fn what_was_replaced_comes_back_field_by_field(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = with_token(&stage, everything(bench), "hunter2");
    check_that_nothing_is_left_out(bench, &spec);
    assert!(stage.perform(&ensure(&spec)).await.is_none());
    let earlier = stage.live(&spec.name).await.unwrap();
    let other = Spec {
        name: spec.name.clone(),
        service: spec.service.clone(),
        image: spec.image.as_ref().map(|_| OTHER_IMAGE.to_owned()),
        exec: spec.exec.as_ref().map(|_| ["/bin/sleep", "2000"].map(str::to_owned).to_vec()),
        stop_timeout: Some(Span::seconds(0)),
        ..Spec::default()
    };
    let before = stage.perform(&ensure(&other)).await;
    assert_eq!(lasting(before.as_ref().unwrap()), lasting(&earlier));
    assert_ne!(lasting(&stage.live(&spec.name).await.unwrap()), lasting(&earlier));
    let change = stage.rewound(&ensure(&other), before.as_ref()).await.unwrap();
    assert_eq!(change.action, Action::Replace);
    assert!(
        change.notes.iter().any(|note| note.contains("outside its volumes is lost")),
        "{:?}",
        change.notes
    );
    let now = stage.live(&spec.name).await.unwrap();
    assert_eq!(lasting(&now), lasting(&earlier));
    assert!(now.is_up());
    // By the spec as well, which the comparison reads otherwise than undo.
    let context = stage.context("hunter2");
    let change = ensure(&spec).change(&stage.world, &context, Some(&now)).await.unwrap();
    assert_eq!((change.action, change.fields), (Action::None, Vec::new()));
    bench.inside(&spec, "cat \"$TOKEN_FILE\" | tr -d '\\n'").await;
}

pub(crate) async fn what_was_removed_comes_back_and_what_was_made_goes_away(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = with_token(&stage, everything(bench), "hunter2");
    let made = ensure(&spec);
    stage.perform(&made).await;
    let earlier = stage.live(&spec.name).await.unwrap();
    let remove = named::<Remove>(&spec);
    let before = stage.perform(&remove).await;
    assert!(stage.live(&spec.name).await.is_none());
    let change = stage.rewound(&remove, before.as_ref()).await.unwrap();
    assert_eq!(change.action, Action::Create);
    let now = stage.live(&spec.name).await.unwrap();
    assert_eq!(lasting(&now), lasting(&earlier));
    assert!(now.is_up());
    let change = stage.rewound(&made, None).await.unwrap();
    assert_eq!(change.action, Action::Remove);
    assert!(stage.live(&spec.name).await.is_none());
}

pub(crate) async fn what_was_stopped_runs_again_and_the_other_way_round(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = bench.sleeping("state");
    stage.perform(&ensure(&spec)).await;
    let running = stage.live(&spec.name).await.unwrap();
    let stop = named::<Stop>(&spec);
    let before = stage.perform(&stop).await;
    let stopped = stage.live(&spec.name).await.unwrap();
    assert!(!stopped.is_up());
    let change = stage.rewound(&stop, before.as_ref()).await.unwrap();
    assert_eq!((change.action, change.fields[0].path.as_str()), (Action::Update, "state"));
    let again = stage.live(&spec.name).await.unwrap();
    assert!(again.is_up() && again.id == running.id, "the same container runs again: {again:#?}");

    stage.perform(&stop).await;
    let start = named::<Start>(&spec);
    let before = stage.perform(&start).await;
    stage.rewound(&start, before.as_ref()).await.unwrap();
    assert!(!stage.live(&spec.name).await.unwrap().is_up());

    // One that was stopped comes back stopped, also where it has to be made again.
    let remove = named::<Remove>(&spec);
    let before = stage.perform(&remove).await;
    let change = stage.rewound(&remove, before.as_ref()).await.unwrap();
    assert!(change.notes.iter().any(|note| note.contains("left stopped")), "{:?}", change.notes);
    let again = stage.live(&spec.name).await.unwrap();
    assert!(!again.is_up());
    assert_eq!(lasting(&again), lasting(&running));
}

pub(crate) async fn an_undo_cut_off_anywhere_is_completed(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = bench.sleeping("cut");
    let other = Spec { env: [("B".to_owned(), "2".to_owned())].into(), ..spec.clone() };
    for cut in 0..3 {
        stage.perform(&ensure(&spec)).await;
        let before = stage.perform(&ensure(&other)).await;
        let driver = &bench.driver;
        driver.stop(&spec.name, None).await.unwrap();
        if cut > 0 {
            driver.remove(&spec.name, true).await.unwrap();
        }
        if cut > 1 {
            stage.rewound(&ensure(&other), before.as_ref()).await.unwrap();
            driver.stop(&spec.name, None).await.unwrap();
        }
        stage.rewound(&ensure(&other), before.as_ref()).await.unwrap();
        let now = stage.live(&spec.name).await.unwrap();
        assert_eq!(lasting(&now), lasting(before.as_ref().unwrap()), "cut after {cut} calls");
        assert!(now.is_up(), "cut after {cut} calls");
    }
}

pub(crate) async fn a_secret_whose_old_value_is_gone_is_named(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = with_token(&stage, bench.sleeping("rotated"), "hunter2");
    stage.perform(&ensure(&spec)).await;
    let remove = named::<Remove>(&spec);
    let before = stage.perform(&remove).await;
    let context = stage.context("other");
    let error = remove.rewind(&stage.world, &context, None, before.as_ref()).await.unwrap_err();
    assert_eq!(error.code, Code::NotUndoable, "{error:?}");
    assert!(error.message.contains("TOKEN") && error.cause.unwrap().contains("`token`"));
    let text = serde_json::to_string(&before).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("token\\\""), "{text}");
}

pub(crate) async fn an_image_that_is_gone_is_named(bench: &Bench) {
    let stage = Stage::new(bench);
    let image = format!("localhost/{}:1", bench.name("undo-image"));
    let context = bench.dir.path().join("image");
    crate::bench::write_image(&context, &bench.name("content"));
    let file = context.join("Containerfile");
    let (folder, file) = (context.to_string_lossy(), file.to_string_lossy());
    bench.engine(&["build", "--quiet", "--tag", &image, "--file", &file, &folder]);
    let spec = Spec { image: Some(image.clone()), ..bench.sleeping("gone") };
    stage.perform(&ensure(&spec)).await;
    let other = Spec { image: Some(IMAGE.to_owned()), ..spec.clone() };
    let before = stage.perform(&ensure(&other)).await;
    bench.engine(&["rmi", "--force", &image]);
    let error = stage.rewound(&ensure(&other), before.as_ref()).await.unwrap_err();
    assert_eq!(error.code, Code::ImageMissing, "{error:?}");
    assert!(stage.live(&spec.name).await.unwrap().is_up(), "what is there is left alone");
}

pub(crate) async fn what_somebody_else_made_is_left_alone(bench: &Bench) {
    let stage = Stage::new(bench);
    let spec = bench.sleeping("foreign");
    let made = ensure(&spec);
    stage.perform(&made).await;
    bench.driver.remove(&spec.name, true).await.unwrap();
    bench.engine(&["run", "--detach", "--name", &spec.name, IMAGE]);
    let error = stage.rewound(&made, None).await.unwrap_err();
    assert_eq!(error.code, Code::ForeignContainer, "{error:?}");

    // Stopped and started it may be: it stays what it is.
    let stop = named::<Stop>(&spec);
    let before = stage.perform(&stop).await;
    stage.rewound(&stop, before.as_ref()).await.unwrap();
    assert!(stage.live(&spec.name).await.unwrap().is_up());

    // Gone, it is beyond what mcrun has seen of it.
    let remove: Remove = serde_json::from_value(json!({ "name": spec.name, "foreign": true })).unwrap();
    let before = stage.perform(&remove).await;
    let error = stage.rewound(&remove, before.as_ref()).await.unwrap_err();
    assert_eq!(error.code, Code::NotUndoable, "{error:?}");
}
