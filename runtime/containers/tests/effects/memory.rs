//! A driver that keeps its containers in memory: any sequence of changes, and the way back through all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use containers::diff::predict;
use containers::effects::{Container, Ensure, Prober, Remove, Start, Stop, World};
use containers::{
    Attach, Attached, Driver, Exec, ExecOutput, Feature, FieldDiff, Health, ImageDefaults, LogLine, LogQuery,
    Observed, Port, Secrets, Spec, State,
};
use effect::units::{Size, Span};
use effect::{Code, Context, Error, Mode, Result};
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc;

use crate::bench::{Bench, NAME, effect};

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Observed>>);

impl Memory {
    fn with<T>(&self, name: &str, change: impl FnOnce(&mut Observed) -> T) -> Result<T> {
        let mut live = self.0.lock().unwrap();
        let found = live.get_mut(name).map(change);
        found.ok_or_else(|| Error::new(Code::ContainerUnknown, format!("there is no container `{name}`")))
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::new(Code::Unsupported, "nothing here asks for it"))
}

/// Two tags of different contents.
fn image(reference: &str) -> ImageDefaults {
    let is_second = reference.contains(":2");
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    ImageDefaults {
        id: format!("sha256:{}", if is_second { "b" } else { "a" }.repeat(64)),
        entrypoint: words("/entry"),
        cmd: words(if is_second { "serve two" } else { "serve" }),
        env: [("LEVEL".to_owned(), "info".to_owned())].into(),
        labels: [("vendor".to_owned(), "acme".to_owned())].into(),
        user: "1000".to_owned(),
        workdir: "/srv".to_owned(),
        digests: vec![format!("localhost/app@sha256:{}", if is_second { "d" } else { "c" }.repeat(64))],
        ..ImageDefaults::default()
    }
}

#[async_trait]
impl Driver for Memory {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn place(&self) -> String {
        "in memory".to_owned()
    }

    fn features(&self) -> &'static [Feature] {
        use Feature::*;
        &[
            Image,
            Entrypoint,
            Volumes,
            ReadOnlyVolumes,
            NamedVolumes,
            Ports,
            PortMapping,
            Network,
            HostNetwork,
            NoNetwork,
            User,
            Cpus,
            Memory,
            ReadOnly,
            Privileged,
            Devices,
            CapAdd,
            UpdateMemory,
            UpdateCpus,
        ]
    }

    async fn image_defaults(&self, reference: &str) -> Result<Option<ImageDefaults>> {
        let digest = |of: &str| reference.contains(&of.repeat(64));
        Ok(Some(image(if digest("b") || digest("d") || reference.contains(":2") { ":2" } else { ":1" })))
    }

    async fn inspect(&self, name: &str) -> Result<Option<Observed>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }

    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, _: &Secrets) -> Result<()> {
        let mut made = predict(spec, image, None, &BTreeMap::new(), self.name())?;
        made.state = State::Created;
        // As engines do: on the host's network nothing is published.
        if made.network == "host" {
            made.ports.clear();
        }
        let old = self.0.lock().unwrap().insert(spec.name.clone(), made);
        assert!(old.is_none(), "the old container was removed first");
        Ok(())
    }

    async fn update(&self, name: &str, _: &[FieldDiff], spec: &Spec) -> Result<()> {
        self.with(name, |live| (live.memory, live.cpus) = (spec.memory, spec.cpus))
    }

    async fn start(&self, name: &str) -> Result<Observed> {
        self.with(name, |live| {
            live.state = State::Running;
            live.clone()
        })
    }

    async fn stop(&self, name: &str, _: Option<Duration>) -> Result<()> {
        // One that does not exist, or never ran, is left alone.
        let _ = self.with(name, |live| {
            if live.is_up() {
                live.state = State::Exited;
            }
        });
        Ok(())
    }

    async fn remove(&self, name: &str, _: bool) -> Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    async fn logs(&self, _: &str, _: &LogQuery) -> Result<Vec<LogLine>> {
        unused()
    }

    async fn follow(&self, _: &str, _: &LogQuery) -> Result<mpsc::Receiver<LogLine>> {
        unused()
    }

    async fn exec(&self, _: &str, _: &Exec) -> Result<ExecOutput> {
        unused()
    }

    async fn attach(&self, _: &str, _: &Attach) -> Result<Attached> {
        unused()
    }

    async fn ping(&self) -> Result<String> {
        unused()
    }
}

struct Content;

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

/// One change of the container that all of this is about.
#[derive(Debug, Clone)]
enum Step {
    Ensure(Box<Spec>),
    Remove,
    Stop,
    Start,
}

fn optional<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(prop::sample::select(values))
}

fn words(texts: &[&str]) -> Vec<Vec<String>> {
    texts.iter().map(|text| text.split(' ').map(str::to_owned).collect()).collect()
}

fn map(names: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = prop::sample::select(vec!["", "info", "acme", "x y"]).prop_map(str::to_owned);
    prop::collection::btree_map(prop::sample::select(names).prop_map(str::to_owned), value, 0..3)
}

fn spec() -> impl Strategy<Value = Spec> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let program = (
        prop::sample::select(texts(&["localhost/app:1", "localhost/app:2"])),
        optional(words(&["/entry", "/bin/sh -c"])),
        optional(words(&["serve", "serve two", "other"])),
        map(&["LEVEL", "A", "PATH", "HOME", "TERM"]),
        map(&["vendor", "tier"]),
    );
    let place = (
        prop::collection::btree_set(
            prop::sample::select(texts(&["/a:/a", "/b:/data:ro", "named:/named"])),
            0..3,
        ),
        prop::collection::btree_set(1_u16..5, 0..3),
        optional(texts(&["host", "none", "bridge", "own"])),
        optional(texts(&["root", "1000", "1:1"])),
        optional(texts(&["/srv", "/", "/tmp"])),
    );
    let rest = (
        optional(vec![Size(64 << 20), Size(96 << 20)]),
        optional(vec![0.5, 1.5]),
        optional(texts(&["no", "always", "on-failure:3"])),
        optional(vec![Span::seconds(1), Span::seconds(10)]),
        optional(vec![true, false]),
        optional(vec![true, false]),
        optional(texts(&["SIGTERM", "SIGUSR1"])),
    );
    (program, place, rest).prop_map(|(program, place, rest)| Spec {
        name: NAME.to_owned(),
        image: Some(program.0),
        entrypoint: program.1,
        cmd: program.2,
        env: program.3,
        labels: program.4,
        volumes: place.0.into_iter().collect(),
        ports: place
            .1
            .into_iter()
            .map(|port| Port { host: port, container: 80, ..Port::default() })
            .collect(),
        network: place.2,
        user: place.3,
        workdir: place.4,
        memory: rest.0,
        cpus: rest.1,
        restart: rest.2.map(|text| text.parse().unwrap()),
        stop_timeout: rest.3,
        read_only: rest.4,
        privileged: rest.5,
        stop_signal: rest.6,
        ..Spec::default()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => spec().prop_map(|spec| Step::Ensure(Box::new(spec))),
        1 => Just(Step::Remove),
        1 => Just(Step::Stop),
        1 => Just(Step::Start),
    ]
}

/// What undo is to bring back: everything but which life of the container it is.
fn lasting(container: Option<&Container>) -> Option<(bool, Container)> {
    container.map(|it| (it.is_up(), Container { state: State::Created, ..it.clone() }))
}

async fn perform<E>(world: &World, context: &Context, effect: &E) -> Result<Option<Container>>
where
    E: effect::Ensure<World = World, State = Container>,
{
    let before = effect.observe(world, context).await?;
    let change = effect.change(world, context, before.as_ref()).await?;
    if !change.is_none() {
        effect.apply(world, context, before.as_ref(), &change).await?;
    }
    let again = effect.observe(world, context).await?;
    let left = effect.change(world, context, again.as_ref()).await?;
    assert!(left.is_none(), "apply(diff(a → b)) is b: {left:#?}");
    Ok(before)
}

async fn undo<E>(world: &World, context: &Context, effect: &E, earlier: Option<&Container>)
where
    E: effect::Ensure<World = World, State = Container>,
{
    let now = effect.observe_whole(world, context).await.unwrap();
    let change = effect.rewind(world, context, now.as_ref(), earlier).await.unwrap();
    if !change.is_none() {
        effect.apply_rewind(world, context, now.as_ref(), earlier, &change).await.unwrap();
    }
    let now = effect.observe_whole(world, context).await.unwrap();
    assert_eq!(lasting(now.as_ref()), lasting(earlier), "undo(b → a) is a: {change:#?}");
}

async fn there_and_back(steps: Vec<Step>) {
    let bench = Bench::new();
    let context = bench.context(Mode::Run, &["*"]);
    let driver: Arc<dyn Driver> = Arc::new(Memory::default());
    let world = World::of(driver.clone(), bench.world.process().clone(), Arc::new(Content));
    let named = json!({ "name": NAME });
    let mut done = Vec::new();
    for step in steps {
        let before = match &step {
            Step::Ensure(spec) => {
                perform(&world, &context, &effect::<Ensure>(serde_json::to_value(spec).unwrap())).await
            }
            Step::Remove => perform(&world, &context, &effect::<Remove>(named.clone())).await,
            Step::Stop => perform(&world, &context, &effect::<Stop>(named.clone())).await,
            Step::Start => perform(&world, &context, &effect::<Start>(named.clone())).await,
        };
        // Starting what is not there is refused, and has changed nothing.
        if let Ok(before) = before {
            done.push((step, before));
        }
    }
    for (step, before) in done.into_iter().rev() {
        let before = before.as_ref();
        match step {
            Step::Ensure(spec) => {
                undo(&world, &context, &effect::<Ensure>(serde_json::to_value(spec).unwrap()), before).await;
            }
            Step::Remove => undo(&world, &context, &effect::<Remove>(named.clone()), before).await,
            Step::Stop => undo(&world, &context, &effect::<Stop>(named.clone()), before).await,
            Step::Start => undo(&world, &context, &effect::<Start>(named.clone()), before).await,
        }
    }
    assert!(driver.list().await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_of_a_container_are_brought_there_and_back(steps in prop::collection::vec(step(), 1..7)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(there_and_back(steps));
    }
}
